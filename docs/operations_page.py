"""The parts of docs/cost.md and docs/operations.md that the program itself knows; docs/generate.py puts them there."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from chalicelib.metering.prices import Price, prices_of  # noqa: E402 - the folder above must be on the path first
from chalicelib.settings import Settings  # noqa: E402
from pai.operate.cost import FOLLOWED, WAITED_FOR, Line, Turn, floor, per_turns, total  # noqa: E402
from pai.operate.prices import aws_prices  # noqa: E402
from pai.operate.template import holds, load_template  # noqa: E402
from pai.operate.troubles import TROUBLES  # noqa: E402

MODEL = "us.anthropic.claude-sonnet-4-6"
"""The model whose price stands here: what `claude-sonnet` meant in us-east-1 when this was written."""
ASKED_TOKENS, ANSWERED_TOKENS = 1500, 300
"""Of a turn, with some history before the question: an assumption."""
FIRST_SONNET = Price(3, 15)
"""What Claude 3.5 Sonnet cost, the model of the table that is recomputed."""
SERVICES = {
    "KMS key": "KMS",
    "its rotations": "KMS",
    "key ring": "Secrets Manager",
    "logs": "logs, alarms",
    "alarms": "logs, alarms",
}
"""Which line of that table some of ours belong to. The others begin with its name."""


def template() -> dict[str, Any]:
    return load_template(ROOT / "infrastructure" / "resources.yaml")


def cost_idle() -> str:
    """What the stage costs that nobody uses, documents off and on, as its key is rotated."""
    rows = []
    for name, rag in (("off", False), ("on", True)):
        dollars = [total(floor(template(), rag=rag, rotations=years)) for years in (0, 1, 2)]
        rows.append((name, *(f"${amount:.2f}" for amount in dollars)))
    header = ("documents", "first year", "second year", "from the third on")
    lines = [(line.what, f"${line.dollars:.2f}", line.formula, line.why) for line in floor(template(), rag=True)]
    detail = table(("with documents, third year", "dollars", "formula", ""), lines)
    return f"{table(header, rows)}\n\n{detail}"


def cost_brief() -> str:
    """The table of the first plan, line by line with its own assumptions, beside what these cost and what PAI takes."""
    lambda_time = Line("", 1e6 * 5 * 0.5, "lambda_gb_s")
    x86 = Line("", 1e6 * 5 * 0.5, "lambda_x86_gb_s")
    requests = Line("", 1e6, "lambda_request")
    gateway = Line("", 1e6, "gateway_request").dollars
    reads_writes = total([Line("", 1e6, "dynamodb_write"), Line("", 1e6, "dynamodb_read")])
    model = (1e6 * FIRST_SONNET.input + 0.5e6 * FIRST_SONNET.output) / 1e6
    kms = total([Line("", 10_000, "kms_request"), Line("", 1, "kms_key")])
    secret = Line("", 1, "secret").dollars
    low, high = requests.dollars + lambda_time.dollars, requests.dollars + x86.dollars
    whole = gateway + low + reads_writes + model + kms + secret
    planned = {
        "API Gateway": ("1M requests", "$3.50", dollars(gateway), "right"),
        "Lambda": ("1M requests, 512 MB, 5 s", "$2.08", f"{dollars(low)} to {dollars(high)}", _lambda_note(lambda_time, x86)),
        "DynamoDB": ("1M reads, 1M writes", "$1.25", dollars(reads_writes), "since the prices were halved"),
        "Bedrock": ("1M asked, 500K answered", "~$15", dollars(model), "$3 and $15 a million; and one token a request"),
        "KMS": ("10K requests", "$0.03", dollars(kms), "the key itself was left out"),
        "Secrets Manager": ("1 secret", "$0.40", dollars(secret), "right"),
        "logs, alarms": ("–", "–", "–", "left out"),
        "**Total**": ("", "**~$22.26**", f"**{dollars(whole)}**", "with arm64"),
    }
    waited, followed = _by_service(WAITED_FOR), _by_service(FOLLOWED)
    rows = [(service, *cells, dollars(waited[service]), dollars(followed[service])) for service, cells in planned.items()]
    return table(("service", "as planned", "said", "is", "", "PAI, waited for", "PAI, followed"), rows)


def _by_service(turn: Turn) -> dict[str, float]:
    """Return what a month of a million turns costs, documents off, by the lines of the first plan."""
    lines = [*per_turns(1e6, turn), *floor(template(), rag=False)]
    sums = {"Bedrock": 1e6 * _model_dollars(), "**Total**": total(lines) + 1e6 * _model_dollars()}
    for line in lines:
        service = SERVICES.get(line.what) or line.what.partition(",")[0]
        sums[service] = sums.get(service, 0) + line.dollars
    return sums


def _lambda_note(arm: Line, x86: Line) -> str:
    return f"1M × 5 s × 0.5 GB = 2.5M GB-s: {dollars(arm.dollars)} (arm64), {dollars(x86.dollars)} (x86_64); off by 20×"


def cost_turns() -> str:
    """What 1k, 100k and 1M turns a month cost, of each kind, with what each number assumes."""
    return "\n\n".join(_turns_table(turn) for turn in (WAITED_FOR, FOLLOWED))


def _turns_table(turn: Turn) -> str:
    counts = (1_000, 100_000, 1_000_000)
    bills = [per_turns(count, turn) for count in counts]
    rows = [(lines[0].what, *(dollars(line.dollars) for line in lines), lines[0].why) for lines in zip(*bills, strict=True)]
    one, idle = _model_dollars(), total(floor(template(), rag=False))
    rows.append(("**AWS's share**", *(f"**{dollars(total(bill))}**" for bill in bills), ""))
    rows.append((f"model ({MODEL})", *(dollars(count * one) for count in counts), _model_tokens()))
    rows.append(("idle, documents off", *(dollars(idle) for _ in counts), "above"))
    sums = [total(bill) + count * one + idle for bill, count in zip(bills, counts, strict=True)]
    rows.append(("**total**", *(f"**{dollars(amount)}**" for amount in sums), ""))
    return table((f"{turn.kind}, a month", *(f"{count:,} turns" for count in counts), "of which each"), rows)


def _model_price() -> Price:
    price = prices_of(Settings()).of(MODEL)
    assert price is not None, MODEL
    return price


def _model_dollars() -> float:
    """Return what the model asks for a turn."""
    return (ASKED_TOKENS * _model_price().input + ANSWERED_TOKENS * _model_price().output) / 1e6


def _model_tokens() -> str:
    price = _model_price()
    return f"{ASKED_TOKENS:,} asked at ${price.input:g}, {ANSWERED_TOKENS:,} answered at ${price.output:g} a million"


def cost_prices() -> str:
    """The prices that all of this is made of."""
    prices = aws_prices()
    said = f"AWS, as of {prices.as_of}, in {prices.region}, before tax, free tiers left out:\n\n"
    rows = [(one.unit, f"${one.dollars:g}", f"{one.per:,}", one.source) for one in prices.prices.values()]
    return said + table(("", "dollars", "for", "source"), rows)


def troubles() -> str:
    """What goes wrong most, in the words people look for, with who says so and what to do."""
    parts = [f"### “{one.name}”\n\nSaid by {one.where}.\n\n{one.what_to_do}" for one in TROUBLES]
    return "\n\n".join(parts)


def alarm_list() -> str:
    """The alarms of the template, as they describe themselves."""
    found = [entry["Properties"] for entry in template()["Resources"].values() if entry["Type"] == "AWS::CloudWatch::Alarm"]
    rows = [
        (f"`{alarm['AlarmName']['Fn::Sub'].replace('${Environment}', '<stage>')}`", alarm["AlarmDescription"])
        for alarm in found
    ]
    return table(("alarm", "what it says"), rows)


def diagram() -> str:
    """The template's resources and how they refer to each other, by what they are for."""
    return f"```mermaid\nflowchart LR\n{chr(10).join(_drawn(template()))}\n```"


DRAWN = {
    "AWS::KMS::Key": "key",
    "AWS::DynamoDB::Table": "table",
    "AWS::SecretsManager::Secret": "secret",
    "AWS::S3::Bucket": "bucket",
    "AWS::SQS::Queue": "queue",
    "AWS::SNS::Topic": "topic",
    "AWS::CloudWatch::Alarm": "alarm",
    "AWS::Budgets::Budget": "budget",
    "AWS::RDS::DBCluster": "Aurora, 0 ACU at rest",
    "AWS::EC2::VPC": "isolated network",
    "AWS::RDS::DBSubnetGroup": "subnets",
    "AWS::EC2::Subnet": "subnet",
}
"""The types that are drawn, and what people call them. The rest are rights and names of these."""


def _drawn(content: dict[str, Any]) -> Iterator[str]:
    shown = {name: DRAWN[entry["Type"]] for name, entry in content["Resources"].items() if entry["Type"] in DRAWN}
    rag = set(shown) - set(holds(content, {"EnableRag": "false"}).resources(content))
    yield from (f'  {name}["{name}<br/>{kind}"]' for name, kind in shown.items() if name not in rag)
    yield '  subgraph rag["only with documents (EnableRag)"]'
    yield from (f'    {name}["{name}<br/>{kind}"]' for name, kind in shown.items() if name in rag)
    yield "  end"
    for name in shown:
        for other in dict.fromkeys(_named(content["Resources"][name].get("Properties", {}))):
            if other in shown and other != name:
                yield f"  {name} --> {other}"


def _named(value: Any) -> Iterator[str]:
    """Yield the resources that a piece of a template refers to."""
    if isinstance(value, list):
        for entry in value:
            yield from _named(entry)
    elif isinstance(value, dict):
        if isinstance(value.get("Ref"), str):
            yield value["Ref"]
        if isinstance(value.get("Fn::GetAtt"), list):
            yield value["Fn::GetAtt"][0]
        for entry in value.values():
            yield from _named(entry)


def dollars(amount: float) -> str:
    return "< $0.01" if 0 < amount < 0.005 else f"${amount:,.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PARTS = {
    "cost-idle": cost_idle,
    "cost-brief": cost_brief,
    "cost-turns": cost_turns,
    "cost-prices": cost_prices,
    "aws-troubles": troubles,
    "aws-alarms": alarm_list,
    "aws-diagram": diagram,
}
