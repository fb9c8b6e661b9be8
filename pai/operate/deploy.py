"""From a folder and an account to a deployment that answers, step by step. Each step finds what an earlier run has done."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.embedder.bedrock import DEFAULT_MODEL
from chalicelib.platform.aws.clients import client
from chalicelib.platform.aws.keys import SecretKeys
from chalicelib.settings import read_settings
from pai.operate import by_chalice
from pai.operate.account import Account, OperateError, find_account, refusals, stack_name, tag_list
from pai.operate.deployed import chalice_record, endpoint, environment, knows_type
from pai.operate.first_key import Given, ensure_key
from pai.operate.gateway import keep_execution_logs, logging_role
from pai.operate.models import pinned_models
from pai.operate.package import ARCHITECTURE, OLDEST, PackageError, check, package
from pai.operate.parameters import Parameters, load_parameters
from pai.operate.pin import MODEL, environments, narrow, write
from pai.operate.stack import Stack
from pai.operate.steps import remark, step
from pai.operate.storage import DeploymentBucket
from pai.operate.template import dump_template, load_template, place_code
from pai.operate.troubles import NO_LOGGING_ROLE
from pai.stage import explained, stage_config

ARCHIVE = "deployment.zip"
OFF = "OFF"
BUDGET = "AWS::Budgets::Budget"
TEMPLATES = ("sam.json", "template.json")
"""What `make package` may have made beside the archive."""


@dataclass(frozen=True)
class Wish:
    """What to deploy. `rag` None leaves it as it is; `model` is empty, a family or an id; `package` is a folder or None."""

    stage: str
    project: Path
    rag: bool | None = None
    base_only: bool = False
    model: str = ""
    package: Path | None = None


@dataclass(frozen=True)
class Deployed:
    """What came of it. `endpoint` has no slash at its end, and is empty for the base alone; `token` is shown this once."""

    endpoint: str
    token: str
    own_key: bool


def deploy(wish: Wish) -> Deployed:
    """Deploy a stage; nothing that can be found out is asked. Raises `OperateError`, `PaiError` and what click shows."""
    parameters = load_parameters(wish.project, wish.stage)
    with step("account") as say:
        account = find_account()
        say(f"{account.id} in {account.region}")
    bucket = _bucket(account, parameters)
    stack = Stack(stack_name(wish.stage))
    _refuse_other_way(wish, stack)
    if not wish.base_only and by_chalice.is_filled(wish.project, wish.stage):
        by_chalice.clear(wish.project, wish.stage)
    base = wish.project / "infrastructure" / "resources.yaml"
    template = load_template(base) if wish.base_only else _packaged(wish, bucket)
    _leave_out_what_is_not_there(template)
    _stack(wish, stack, template, parameters, bucket)
    outputs = stack.outputs()
    if "Cluster" in outputs:
        _migrate(wish.stage, outputs)
    if wish.base_only:
        _for_chalice(wish, outputs)
    address = endpoint(wish.stage, outputs, wish.project)
    _look_at_logging(wish)
    # Last: a key that is made is shown once, so that nothing may fail in between.
    given = _key(wish.stage, outputs, parameters.api_key)
    return Deployed(address, given.token, bool(parameters.api_key))


def _refuse_other_way(wish: Wish, stack: Stack) -> None:
    """A stage is deployed whole, or its base here and its functions by Chalice: going over takes the other's away first."""
    if by_chalice.is_deployed(wish.project, wish.stage) and not wish.base_only:
        raise OperateError(
            f"`chalice deploy` has made this stage's functions. Bring the rest up to date with --base-only; or, to deploy the "
            f"stage whole from now on, `chalice delete --stage {wish.stage}` first. Conversations and documents stay."
        )
    whole = any(resource.type == "AWS::ApiGateway::RestApi" for resource in stack.resources())
    if whole and wish.base_only:
        raise OperateError("This stage is deployed whole: --base-only would take its API away. Deploy it without.")


def _for_chalice(wish: Wish, outputs: Mapping[str, str]) -> None:
    """Have `chalice deploy` use the base, and give what it has made what it can't say itself."""
    with step("chalice deploy") as say:
        changed = by_chalice.fill(wish.project, wish.stage, outputs)
        finished = by_chalice.finish(wish.project, wish.stage, outputs)
        say("its functions and API are finished" if finished else ".chalice/ has what it needs")
    if changed and finished:
        remark(f"What the functions are told has changed: `chalice deploy --stage {wish.stage}`, then this again.")
    if not finished and environment(wish.stage):
        record = chalice_record(wish.stage, wish.project)
        remark(
            f"There are functions of this stage, but {record} does not know them: "
            "bring that file back from where they were made."
        )
    if sys.version_info < OLDEST:
        newer = ".".join(map(str, OLDEST))
        remark(
            f"`chalice deploy` has Lambda run this Python's version, and that should be {newer} or newer: "
            "make clean run PYTHON=/path/to/it."
        )


def has_library(stage: str) -> bool:
    """Tell whether the stage is deployed with documents turned on."""
    return Stack(stack_name(stage)).parameters().get("EnableRag") == "true"


def _bucket(account: Account, parameters: Parameters) -> DeploymentBucket:
    bucket = DeploymentBucket(account, parameters.bucket)
    with step("deployment bucket") as say:
        say(f"{bucket.name}, {'made' if bucket.ensure() else 'there'}")
    return bucket


def _leave_out_what_is_not_there(template: dict[str, Any]) -> None:
    """Take the budget out of the template where CloudFormation has none: it would refuse the whole."""
    budgets = [name for name, entry in template["Resources"].items() if entry["Type"] == BUDGET]
    if budgets and not knows_type(BUDGET):
        for name in budgets:
            del template["Resources"][name]
        remark("AWS Budgets can't be made by CloudFormation in this region: nobody is told of money spent, but by `pai cost`.")


def _packaged(wish: Wish, bucket: DeploymentBucket) -> dict[str, Any]:
    """Package, upload the archive, and return the template that names it and the models."""
    pins = pinned_models(wish.stage, wish.model)
    with step("package") as say:
        archive, made = _package(wish)
        template = load_template(made)
        say(f"{archive.stat().st_size / 1e6:.1f} MB")
    with step("upload") as say:
        key = bucket.upload_file(wish.stage, archive)
        say(f"s3://{bucket.name}/{key}")
    place_code(template, bucket.name, key)
    if not any(MODEL in variables for variables in environments(template)):
        raise OperateError(f"{made} has no function with {MODEL}: no model could be pinned. Package it anew: make package.")
    write(template, pins)
    configured = stage_config(wish.stage).environment_variables
    narrow(template, pins, configured.get("PAI_EMBEDDING_MODEL") or DEFAULT_MODEL)
    return template


def _package(wish: Wish) -> tuple[Path, Path]:
    """Return the archive and the template: those of the folder that was named, or new ones."""
    folder = wish.package or wish.project / "out" / wish.stage
    if wish.package is None:
        try:
            check(package(wish.stage, folder).archive, ARCHITECTURE)
        except PackageError as error:
            raise OperateError(f"It can't be packaged: {error}") from error
    template = next((folder / name for name in TEMPLATES if (folder / name).is_file()), None)
    if template is None or not (folder / ARCHIVE).is_file():
        raise OperateError(
            f"{folder} is no package: `make package STAGE={wish.stage}` makes one, with {ARCHIVE} and a template."
        )
    return folder / ARCHIVE, template


def _stack(wish: Wish, stack: Stack, template: dict[str, Any], parameters: Parameters, bucket: DeploymentBucket) -> None:
    with step("stack") as say:
        values = _parameters(wish, stack, template, parameters)
        key = bucket.upload(wish.stage, dump_template(template), ".json")
        stack.apply(bucket.url(key), values, tag_list(wish.stage), say)


def _parameters(wish: Wish, stack: Stack, template: dict[str, Any], parameters: Parameters) -> dict[str, str]:
    """Return the template's parameters: as they were, then as the file says, then as was asked for now."""
    known = template.get("Parameters", {})
    before = _visible(stack.parameters(), known)
    # What the file says turns documents on, but never off: with them goes the search index.
    on = "true" in (before.get("EnableRag"), parameters.template.get("EnableRag")) if wish.rag is None else wish.rag
    values = {**before, **parameters.template, "EnableRag": str(on).lower()}
    if "ApiLogLevel" not in parameters.template:
        values["ApiLogLevel"] = _log_level(before.get("ApiLogLevel", OFF))
    if "EnableRag" not in known and wish.rag:
        raise OperateError("This template has no parameter EnableRag: documents can't be turned on with it.")
    return {name: value for name, value in values.items() if name in known}


def _log_level(before: str) -> str:
    """Return how much API Gateway is to log beside requests: nothing where it may not, what it did before, or errors."""
    try:
        return (before if before != OFF else "ERROR") if logging_role() else OFF
    except OperateError:  # whoever deploys need not be allowed to look
        return before


def _visible(values: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in values.items() if not known.get(name, {}).get("NoEcho")}


def _migrate(stage: str, outputs: Mapping[str, str]) -> None:
    """Bring the index's schema up to date, which also sees that the database can be reached."""
    from chalicelib.retriever.pgvector.data_api import build
    from chalicelib.retriever.pgvector.schema import migrate
    from chalicelib.wiring import Parts

    variables = by_chalice.documents_variables(outputs)
    settings = read_settings({**stage_config(stage).environment_variables, **variables})
    with step("database schema") as say, refusals("bring the database's schema up to date"):
        migrate(build(settings), Parts(settings).embedder.space)
        say("up to date")


def _key(stage: str, outputs: Mapping[str, str], own: str) -> Given:
    with step("API key") as say, explained():
        keys = SecretKeys(client("secretsmanager"), outputs.get("KeyRing", f"pai/{stage}/keys"), outputs.get("Key", ""))
        given = ensure_key(keys, own, stage)
        say(given.said)
    return given


def _look_at_logging(wish: Wish) -> None:
    """Say whether API Gateway may log, and look after what it does. Whoever deploys need not be allowed to."""
    with suppress(OperateError):
        if logging_role():
            keep_execution_logs(wish.stage, wish.project)
        else:
            remark(f"{NO_LOGGING_ROLE.name}: {NO_LOGGING_ROLE.what_to_do}")
