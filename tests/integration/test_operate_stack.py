"""What state a stack may be in when somebody deploys or destroys, and what is then done or said."""

from collections.abc import Callable

import boto3
import pytest

from pai.operate import stack
from pai.operate.account import OperateError
from pai.operate.stack import NOTHING, Stack
from tests.integration.operating import account  # noqa: F401 - fixture
from tests.standins.intervening import Answer, Intervening

TEMPLATE = '{"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "pai-dev-alarms"}}}}'
DESCRIBE, EVENTS = "Action=DescribeStacks", "Action=DescribeStackEvents"
TAKEN = "Resource of type 'AWS::SNS::Topic' with identifier 'pai-dev-alarms' already exists."
EARLY = (
    "The following hook(s)/validation failed: [AWS::EarlyValidation::ResourceExistenceCheck]. To troubleshoot Early "
    "Validation errors, use the DescribeEvents API for detailed failure information."
)
EXECUTED = Answer(
    ("Action=ExecuteChangeSet",), "<ExecuteChangeSetResponse><ExecuteChangeSetResult/></ExecuteChangeSetResponse>"
)
DENIED = (
    "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized to perform that</Message></Error></ErrorResponse>"
)


def described(state: str) -> str:
    """DescribeStacks' answer for a stack in this state."""
    return (
        "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>pai-dev</StackName>"
        "<StackId>arn:aws:cloudformation:us-east-1:123456789012:stack/pai-dev/1</StackId>"
        f"<CreationTime>2026-11-01T00:00:00Z</CreationTime><StackStatus>{state}</StackStatus></member></Stacks>"
        "</DescribeStacksResult></DescribeStacksResponse>"
    )


def happened(*events: tuple[str, str, str]) -> str:
    """DescribeStackEvents' answer, newest first: of each its resource, its status and the reason. A status has one id."""
    members = "".join(
        f"<member><EventId>{name}-{status}</EventId><StackId>s</StackId><StackName>pai-dev</StackName>"
        f"<LogicalResourceId>{name}</LogicalResourceId><Timestamp>2026-11-01T00:00:00Z</Timestamp>"
        f"<ResourceStatus>{status}</ResourceStatus><ResourceStatusReason>{reason}</ResourceStatusReason></member>"
        for name, status, reason in events
    )
    return (
        f"<DescribeStackEventsResponse><DescribeStackEventsResult><StackEvents>{members}</StackEvents>"
        "</DescribeStackEventsResult></DescribeStackEventsResponse>"
    )


def refused(reason: str) -> Answer:
    """DescribeChangeSet's answer for one that failed."""
    return Answer(
        ("Action=DescribeChangeSet",),
        f"<DescribeChangeSetResponse><DescribeChangeSetResult><Status>FAILED</Status><StatusReason>{reason}</StatusReason>"
        "</DescribeChangeSetResult></DescribeChangeSetResponse>",
    )


def found_invalid(*events: tuple[str, str, str]) -> Answer:
    """DescribeEvents' answer: of each check that failed its resource, the reason, and FAIL or WARN."""
    members = "".join(
        "<member><EventId>e</EventId><EventType>VALIDATION_ERROR</EventType><ValidationStatus>FAILED</ValidationStatus>"
        f"<LogicalResourceId>{name}</LogicalResourceId><ValidationStatusReason>{reason}</ValidationStatusReason>"
        f"<ValidationFailureMode>{mode}</ValidationFailureMode></member>"
        for name, reason, mode in events
    )
    return Answer(
        ("Action=DescribeEvents",),
        f"<DescribeEventsResponse><DescribeEventsResult><OperationEvents>{members}</OperationEvents></DescribeEventsResult>"
        "</DescribeEventsResponse>",
    )


def listed(*resources: tuple[str, str, str]) -> Answer:
    """ListStackResources' answer: of each resource its name, type and status."""
    members = "".join(
        f"<member><LogicalResourceId>{name}</LogicalResourceId><PhysicalResourceId>{name}-1</PhysicalResourceId>"
        f"<ResourceType>{kind}</ResourceType><ResourceStatus>{status}</ResourceStatus></member>"
        for name, kind, status in resources
    )
    return Answer(
        ("Action=ListStackResources",),
        f"<ListStackResourcesResponse><ListStackResourcesResult><StackResourceSummaries>{members}</StackResourceSummaries>"
        "</ListStackResourcesResult></ListStackResourcesResponse>",
    )


class World:
    """The stack pai-dev, the address of its template, and what was said meanwhile."""

    def __init__(self) -> None:
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="templates")
        s3.put_object(Bucket="templates", Key="t.json", Body=TEMPLATE.encode())
        self.said: list[str] = []

    def change(self) -> None:
        """Have the next `apply` find another template."""
        boto3.client("s3").put_object(Bucket="templates", Key="t.json", Body=TEMPLATE.replace("alarms", "others").encode())

    def keep(self) -> None:
        """Leave what CloudFormation keeps where somebody deletes a stack of PAI's by hand."""
        boto3.client("dynamodb").create_table(
            TableName="PAI-Conversations-dev",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        )
        boto3.client("secretsmanager").create_secret(Name="pai/dev/keys")

    def apply(self) -> None:
        Stack("pai-dev", poll_s=0.01).apply("https://templates.s3.us-east-1.amazonaws.com/t.json", {}, [], self.said.append)

    def delete(self) -> None:
        Stack("pai-dev", poll_s=0.01).delete(self.said.append)

    def state(self) -> str:
        return Stack("pai-dev").state()


@pytest.fixture
def world(account: str) -> World:  # noqa: F811
    return World()


Between = Callable[..., Intervening]


@pytest.fixture
def between(account: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Between:  # noqa: F811
    """Put answers between the stack and its account."""

    def between(*answers: Answer) -> Intervening:
        standin = Intervening(account, *answers)
        request.addfinalizer(lambda: standin.__exit__())
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", standin.url)
        return standin

    return between


def test_a_stack_is_made_then_left_alone_where_nothing_changed(world: World) -> None:
    world.apply()
    world.apply()
    assert world.said[0] == "created" or world.said[-2] == "created"
    assert world.said[-1] == "no change"
    assert world.state() == "CREATE_COMPLETE"


def test_a_killed_run_s_change_set_is_no_obstacle(world: World) -> None:
    """A run that was killed before it executed its change set leaves a stack in REVIEW_IN_PROGRESS."""
    boto3.client("cloudformation").create_change_set(
        StackName="pai-dev", ChangeSetName="killed", ChangeSetType="CREATE", TemplateBody=TEMPLATE
    )
    assert world.state() == "REVIEW_IN_PROGRESS"

    world.apply()

    assert world.state() == "CREATE_COMPLETE"


@pytest.mark.parametrize("state", ["CREATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"])
def test_what_another_run_has_begun_is_waited_for(world: World, between: Between, state: str) -> None:
    world.apply()
    between(Answer((DESCRIBE,), described(state), times=2))

    world.apply()

    assert world.said.count(f"pai-dev is {state} from another run; waiting for it") == 2
    assert world.said[-1] == "no change"


def test_a_first_deployment_that_failed_is_cleared_away_and_made_anew(world: World, between: Between) -> None:
    world.apply()
    standin = between(Answer((DESCRIBE,), described("ROLLBACK_COMPLETE"), times=1))

    world.apply()

    assert any("ROLLBACK_COMPLETE: its first deployment failed" in words for words in world.said)
    assert any("Action=DeleteStack" in request for request in standin.requests)
    assert world.said[-1] == "created"


@pytest.mark.parametrize(
    ("state", "what_to_do"),
    [
        ("UPDATE_ROLLBACK_FAILED", "aws cloudformation continue-update-rollback --stack-name pai-dev"),
        ("DELETE_FAILED", "pai destroy --stage dev"),
    ],
)
def test_a_stack_that_is_stuck_is_left_with_a_sentence(world: World, between: Between, state: str, what_to_do: str) -> None:
    standin = between(Answer((DESCRIBE,), described(state)))

    with pytest.raises(OperateError, match=state) as failure:
        world.apply()

    assert what_to_do in failure.value.message
    assert not any("CreateChangeSet" in request for request in standin.requests)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("CloudWatch Logs role ARN must be set in account settings to enable logging", "setup-apigateway-logging.sh"),
        ("S3 error: The specified bucket does not exist", "S3 bucket not found"),
        ("pai-dev-alarms already exists in stack", "Look whose it is"),
        ("MasterUsername admin cannot be used as it is a reserved word", "16.3 or newer"),
    ],
)
def test_a_deployment_that_fails_says_what_failed_first_and_what_to_do(
    world: World, between: Between, reason: str, words: str
) -> None:
    world.apply()
    world.change()
    between(
        Answer((EVENTS,), happened(("Before", "CREATE_COMPLETE", "")), times=1),
        Answer((EVENTS,), happened(("Later", "UPDATE_FAILED", "Resource update cancelled"), ("Api", "UPDATE_FAILED", reason))),
        EXECUTED,
        Answer((DESCRIBE,), described("CREATE_COMPLETE"), times=1),
        Answer((DESCRIBE,), described("UPDATE_IN_PROGRESS"), times=1),
        Answer((DESCRIBE,), described("UPDATE_ROLLBACK_COMPLETE")),
    )

    with pytest.raises(OperateError, match=r"UPDATE_ROLLBACK_COMPLETE\. Api: ") as failure:
        world.apply()

    assert reason in failure.value.message
    assert words in failure.value.message


def test_a_state_from_before_the_change_is_not_taken_for_its_end(world: World, between: Between) -> None:
    world.apply()
    world.change()
    between(
        Answer((EVENTS,), happened(("Before", "CREATE_COMPLETE", "")), times=2),
        Answer((EVENTS,), happened(("Api", "UPDATE_FAILED", "It broke"))),
        EXECUTED,
        Answer((DESCRIBE,), described("CREATE_COMPLETE"), times=2),
        Answer((DESCRIBE,), described("UPDATE_ROLLBACK_COMPLETE")),
    )
    with pytest.raises(OperateError, match=r"UPDATE_ROLLBACK_COMPLETE\. Api: It broke"):
        world.apply()


def test_who_may_not_see_events_waits_a_little_longer_and_no_more(world: World, between: Between) -> None:
    standin = between(Answer((EVENTS,), DENIED, status=403))

    world.apply()

    assert world.said[-1] == "created"
    assert sum(DESCRIBE in request for request in standin.requests) == stack.LOOKS + 1


def test_a_template_that_is_refused_is_told_in_cloudformation_s_words(world: World, between: Between) -> None:
    between(refused("Transform failed with: no such bucket"))
    with pytest.raises(OperateError, match="does not take the template: Transform failed with"):
        world.apply()


def test_what_is_found_before_a_change_is_told_of_each_resource(world: World, between: Between) -> None:
    standin = between(
        refused(EARLY), found_invalid(("Topic", TAKEN, "FAIL"), ("Bucket", "It is not empty.", "WARN"), ("Key", "No.", "FAIL"))
    )

    with pytest.raises(OperateError, match=f"the template: Topic: {TAKEN} Key: No") as failure:
        world.apply()

    assert "Bucket" not in failure.value.message
    asked = [request.split("Action=")[1].split("&")[0] for request in standin.requests]
    assert asked.index("DescribeEvents") < asked.index("DeleteChangeSet")


def test_who_may_not_be_told_of_each_resource_hears_the_check_and_what_to_allow(world: World, between: Between) -> None:
    between(refused(EARLY), Answer(("Action=DescribeEvents",), DENIED, status=403))
    with pytest.raises(OperateError, match=r"ResourceExistenceCheck\]\. .*allow `DescribeEvents`"):
        world.apply()


def test_what_is_in_the_way_of_a_stack_with_data_is_named_and_nothing_is_to_be_destroyed(
    world: World, between: Between
) -> None:
    world.apply()
    world.keep()
    world.change()
    between(refused(EARLY), found_invalid(("Topic", TAKEN, "FAIL")))

    with pytest.raises(OperateError, match=f"Topic: {TAKEN} .*Look whose it is") as failure:
        world.apply()

    assert "destroy" not in failure.value.message


def test_what_an_earlier_stage_has_kept_is_named_with_two_ways_to_keep_it(world: World, between: Between) -> None:
    world.keep()
    between(refused(EARLY), found_invalid(("ConversationsTable", TAKEN, "FAIL")))

    with pytest.raises(OperateError) as failure:
        world.apply()

    said = failure.value.message
    assert "table PAI-Conversations-dev (conversations), secret pai/dev/keys (API keys)." in said
    assert "`pai destroy --stage dev` deletes all of it for good" in said
    assert "ChangeSetType=IMPORT" in said
    assert said.index("save it before you destroy it: `pai backup --stage dev FILE`") < said.index("`pai restore FILE")


def test_that_is_said_too_where_it_is_found_only_when_the_stack_is_made(world: World, between: Between) -> None:
    world.keep()
    between(
        Answer((EVENTS,), happened(), times=1),
        Answer((EVENTS,), happened(("KeyRing", "CREATE_FAILED", "The secret pai/dev/keys already exists."))),
        EXECUTED,
        Answer((DESCRIBE,), described("REVIEW_IN_PROGRESS"), times=1),
        Answer((DESCRIBE,), described("ROLLBACK_COMPLETE")),
    )
    with pytest.raises(OperateError, match=r"KeyRing: The secret pai/dev/keys already exists\. An earlier dev has left"):
        world.apply()


def test_a_new_stack_with_nothing_of_an_earlier_one_only_meets_a_stranger(world: World, between: Between) -> None:
    between(refused(EARLY), found_invalid(("Topic", TAKEN, "FAIL")))
    with pytest.raises(OperateError, match="Look whose it is") as failure:
        world.apply()
    assert "destroy" not in failure.value.message


def test_what_is_deleted_is_none_of_a_stack_s_resources(world: World, between: Between) -> None:
    world.apply()
    between(
        listed(
            ("RestAPI", "AWS::ApiGateway::RestApi", "DELETE_COMPLETE"),
            ("Table", "AWS::DynamoDB::Table", "DELETE_SKIPPED"),
            ("Topic", "AWS::SNS::Topic", "CREATE_COMPLETE"),
        )
    )
    assert [resource.name for resource in Stack("pai-dev").resources()] == ["Table", "Topic"]


def test_deleting_twice_is_fine(world: World) -> None:
    world.apply()
    world.delete()
    world.delete()
    assert world.said[-1] == "not there"
    assert world.state() == NOTHING


def test_a_deletion_that_fails_says_why(world: World, between: Between) -> None:
    world.apply()
    between(
        Answer(("Action=DeleteStack",), "<DeleteStackResponse/>"),
        Answer((DESCRIBE,), described("CREATE_COMPLETE"), times=2),
        Answer((DESCRIBE,), described("DELETE_FAILED")),
        Answer((EVENTS,), happened(), times=1),
        Answer((EVENTS,), happened(("Bucket", "DELETE_FAILED", "The bucket you tried to delete is not empty"))),
    )
    with pytest.raises(OperateError, match=r"DELETE_FAILED\. Bucket: The bucket you tried to delete is not empty"):
        world.delete()


def test_what_is_not_allowed_is_named(world: World, between: Between) -> None:
    between(Answer(("Action=CreateChangeSet",), DENIED, status=403))
    with pytest.raises(OperateError, match="Allow `CreateChangeSet`") as failure:
        world.apply()
    assert "not authorized to perform" in failure.value.message


def test_an_answer_that_can_t_be_read_is_no_crash(world: World, between: Between) -> None:
    between(Answer((DESCRIBE,), "<!doctype html><html lang=en><title>502</title>", status=502))
    with pytest.raises(OperateError, match="its answer can't be read"):
        world.apply()
