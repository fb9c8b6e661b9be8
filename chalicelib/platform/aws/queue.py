"""SQS as the queue: its event source mapping calls the function, its redrive policy makes dead letters."""

from typing import Any

from chalicelib.errors import QueueUnavailable
from chalicelib.platform.aws.failures import Meanings, aws_failures
from chalicelib.platform.limits import check_message

_SERVICE = "SQS"
_COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


class SqsQueue:
    """`url` is the queue's address; the dead letters are another queue, which nothing here sends to."""

    one_at_a_time = False

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url
        self._meanings = _meanings(url)

    def send(self, body: str, *, delay_s: int = 0) -> None:
        check_message(body, delay_s)
        with aws_failures(QueueUnavailable, _SERVICE, self._meanings):
            self._client.send_message(QueueUrl=self._url, MessageBody=body, DelaySeconds=delay_s)

    def retry_in(self, receipt: str, delay_s: int) -> None:
        with aws_failures(QueueUnavailable, _SERVICE, self._meanings):
            self._client.change_message_visibility(QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=delay_s)

    def waiting(self) -> int:
        with aws_failures(QueueUnavailable, _SERVICE, self._meanings):
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(_COUNTS))
        return sum(int(answer["Attributes"][name]) for name in _COUNTS)


def _meanings(url: str) -> Meanings:
    missing = f"There is no queue {url!r}. Check PAI_QUEUE_URL, or deploy this stage's resources."
    over = "The message is not being handled any more: its time was over, or it is done."
    return {
        "AWS.SimpleQueueService.NonExistentQueue": (QueueUnavailable, missing),
        "QueueDoesNotExist": (QueueUnavailable, missing),
        "MessageNotInflight": (QueueUnavailable, over),
        "AWS.SimpleQueueService.MessageNotInflight": (QueueUnavailable, over),
        "ReceiptHandleIsInvalid": (QueueUnavailable, over),
        "InvalidParameterValue": (QueueUnavailable, over),
    }
