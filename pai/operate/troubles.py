"""What goes wrong most, by the words that AWS has for it: the name people know it by, and what to do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

LOGGING_SCRIPT = "./scripts/setup-apigateway-logging.sh"


@dataclass(frozen=True)
class Trouble:
    """`pattern` is what AWS's message, or a line of a log, has in it. `where` is who says so."""

    name: str
    pattern: str
    what_to_do: str
    where: str


NO_BUCKET = Trouble(
    "S3 bucket not found",
    r"NoSuchBucket|specified bucket does not exist|S3 bucket not found|HeadBucket.*404",
    "Ensure that S3BucketName in infrastructure/parameters/<stage>.json (or $S3_BUCKET_NAME) is correct, or leave it out: "
    "`pai deploy` then takes pai-deployment-<account>-<region>. It creates the bucket if it doesn't exist; but a name that "
    "another account has can't be had.",
    "`pai deploy`",
)
RATE_LIMIT = Trouble(
    "Rate limit exceeded",
    r"Rate limit exceeded|ModelThrottled|ModelQuotaSpent|Too many tokens|Too many requests, please wait",
    "Check Bedrock's service quotas in this region (AWS Service Quotas, Amazon Bedrock) and request a quota increase; "
    "PAI_FALLBACK_MODELS names models to ask meanwhile.",
    "the API (503 with Retry-After), `pai logs`",
)
UNAUTHORIZED = Trouble(
    "Unauthorized",
    r"\bUnauthorized\b|\bForbidden\b.*API key",
    "Verify that the API key is correct (`pai keys list --stage <stage>`) and that the header reads "
    "`Authorization: Bearer YOUR_API_KEY`.",
    "the API (401 without a key, 403 for a wrong one), `pai logs`",
)
TIMEOUT = Trouble(
    "Lambda timeout errors",
    r"Task timed out after",
    "Long answers belong into the background: ask with `Prefer: respond-async`. For a function of its own more time, raise "
    "`lambda_timeout` in .chalice/config.json (API Gateway itself hangs up after 29 s) and deploy again; a smaller "
    "PAI_MAX_TOKENS or PAI_HISTORY_TOKENS makes requests to Bedrock shorter.",
    "`pai logs`",
)
THROTTLED_TABLE = Trouble(
    "DynamoDB throttling",
    r"ProvisionedThroughputExceeded|Throughput exceeds the current capacity|BillingMode is PROVISIONED",
    "The table is on demand and should not throttle; somebody may have switched it to provisioned throughput. Switch back: "
    "`aws dynamodb update-table --table-name PAI-Conversations-<stage> --billing-mode PAY_PER_REQUEST`.",
    "`pai status`, `pai logs`",
)
NO_LOGGING_ROLE = Trouble(
    "CloudWatch Logs role ARN must be set",
    r"CloudWatch Logs role ARN must be set",
    f"API Gateway may not write logs in this account and region yet. Run `{LOGGING_SCRIPT} <stage>` once; then deploy again.",
    "`pai deploy`",
)
TAKEN = r"already ?exists"
KEPT = (
    "An earlier {stage} has left what CloudFormation keeps: {kept}. A new stack does not take it over by itself, and "
    "`pai destroy --stage {stage}` deletes all of it for good. To go on with it, have CloudFormation import it (a change set "
    "of ChangeSetType=IMPORT). Or save it before you destroy it: `pai backup --stage {stage} FILE`, and afterwards "
    "`pai restore FILE --stage {stage}`. Both stand step by step in docs/operations.md, under “already exists”."
)
"""What to do where a stack is to be made, and the data of one that was deleted by hand is in its way."""
TROUBLES: Sequence[Trouble] = (NO_BUCKET, RATE_LIMIT, UNAUTHORIZED, TIMEOUT, THROTTLED_TABLE, NO_LOGGING_ROLE)
OTHERS: Sequence[tuple[str, str]] = (
    (
        TAKEN,
        "Something of that name is there, and it was not made here. Look whose it is, and what it holds. If nobody needs it, "
        "delete or rename that one thing, and run this again. Nothing else is in the way: leave alone what the stage holds.",
    ),
    (
        r"AWS::EarlyValidation",
        "CloudFormation's DescribeEvents says which resource that is about: allow `DescribeEvents` for whoever runs this, and "
        "run it again.",
    ),
    (
        r"MasterUsername admin|admin.*reserved word|engine version.*(not|un)supported|MinCapacity",
        "The database must be Aurora PostgreSQL 16.3 or newer, which can go down to 0 ACU, and PostgreSQL reserves the name "
        "`admin`: deploy infrastructure/resources.yaml as it comes.",
    ),
    (
        r"(LimitExceeded|limit).*(concurren|UnreservedConcurrentExecution)",
        "A new account has few concurrent Lambda executions. Request a quota increase (AWS Service Quotas, AWS Lambda).",
    ),
)
"""Other words of CloudFormation, and what to do about them."""


def is_taken(text: str) -> bool:
    """Tell whether a message of AWS is about something in the way that has the same name."""
    return re.search(TAKEN, text, re.IGNORECASE) is not None


def find(text: str) -> Trouble | None:
    """Return the trouble that a message of AWS, or a line of a log, is about."""
    return next((trouble for trouble in TROUBLES if re.search(trouble.pattern, text)), None)


def advice(text: str) -> str:
    """Return what to do about a message of AWS, empty when it is none of those known."""
    if trouble := find(text):
        return f"{trouble.name}: {trouble.what_to_do}"
    return next((what for pattern, what in OTHERS if re.search(pattern, text, re.IGNORECASE)), "")
