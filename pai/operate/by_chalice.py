"""The other way to deploy: the base stack first, then `chalice deploy`, which knows no stack.

What the stack made is written into .chalice/config.json and, for the policies, into .chalice/policies/<stage>/. Until then
.chalice/deployed/<stage>.json, which Chalice reads before anything else, is one that it does not take: its message is ours.
What Chalice can't say of its functions and API is set once they are there, and again after each `chalice deploy`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chalicelib.platform.aws.clients import client
from pai.operate.account import find_account, refusals, stack_name, tags
from pai.operate.deployed import chalice_record
from pai.operate.package import infrastructure

Json = dict[str, Any]
QUEUES = {"DocumentsQueue": "QueueArn", "DeadLetters": "DeadLettersArn"}
"""Resource of resources.yaml → its output."""
FILLED = ("PAI_BUCKET", "PAI_QUEUE_URL", "PAI_DATABASE_CLUSTER", "PAI_DATABASE_SECRET", "PAI_DATABASE_NAME")


def fill(project: Path, stage: str, outputs: Mapping[str, str]) -> None:
    """Have `chalice deploy` of this project use what the stage's base stack made, by its outputs."""
    meant = meanings(stage, outputs)
    folder = project / ".chalice" / "policies" / stage
    folder.mkdir(parents=True, exist_ok=True)
    for template in folder.parent.glob("*.json"):
        _write(folder / template.name, filled_policy(json.loads(template.read_text()), meant))
    _change(project, stage, lambda config: _filled(config, stage, outputs))
    record = chalice_record(stage, project)
    if not is_deployed(project, stage):
        _write(record, {"schema_version": "2.0", "backend": "api", "resources": []})


def clear(project: Path, stage: str) -> None:
    """Have `chalice deploy` of this project ask for the base stack again."""
    folder = project / ".chalice" / "policies" / stage
    for policy in folder.glob("*.json"):
        policy.unlink()
    if folder.is_dir():
        folder.rmdir()
    _change(project, stage, lambda config: _cleared(config, stage))
    _write(chalice_record(stage, project), unfilled(stage))


def is_deployed(project: Path, stage: str) -> bool:
    """Tell whether `chalice deploy` has made something of this stage that is still there."""
    try:
        return bool(json.loads(chalice_record(stage, project).read_text())["resources"])
    except (OSError, ValueError, LookupError):
        return False


def unfilled(stage: str) -> Json:
    """Return what stands in Chalice's own record until the stage is filled: it repeats the version that it does not know."""
    command = f"pai deploy --stage {stage} --base-only"
    return {"schema_version": f"this stage has no base stack here. Run `{command}` first, then this again", "resources": []}


def meanings(stage: str, outputs: Mapping[str, str]) -> dict[str, str]:
    """Return what the placeholders of .chalice/policies stand for."""
    partition = outputs["Key"].split(":")[1]
    account = find_account()
    own = {"AWS::Partition": partition, "AWS::Region": account.region, "AWS::AccountId": account.id, "Environment": stage}
    return {**outputs, **own}


def filled_policy(document: Json, meant: Mapping[str, str]) -> Json:
    """Return a policy with values for placeholders, without the statements about documents where there are none."""
    library = "Cluster" in meant
    statements = [entry for entry in document["Statement"] if library or not entry["Sid"].startswith("Library")]
    text = json.dumps({**document, "Statement": statements})
    for name, value in meant.items():
        text = text.replace(f"${{{name}}}", value)
    return dict(json.loads(text))


def _filled(config: Json, stage: str, outputs: Mapping[str, str]) -> None:
    names = {
        "PAI_BUCKET": "Bucket",
        "PAI_QUEUE_URL": "QueueUrl",
        "PAI_DATABASE_CLUSTER": "Cluster",
        "PAI_DATABASE_SECRET": "ClusterSecret",
        "PAI_DATABASE_NAME": "Database",
    }
    _cleared(config, stage)
    variables = config["stages"][stage]["environment_variables"]
    variables |= {name: outputs[output] for name, output in names.items() if output in outputs}
    variables["PAI_RETRIEVER"] = "pgvector" if "Cluster" in outputs else "none"
    for entry in _with_policies(config, stage):
        entry["iam_policy_file"] = f"policies/{stage}/{Path(entry['iam_policy_file']).name}"
    config["stages"][stage]["tags"] = tags(stage)


def _cleared(config: Json, stage: str) -> None:
    variables = config["stages"][stage]["environment_variables"]
    for name in FILLED:
        variables.pop(name, None)
    variables["PAI_RETRIEVER"] = "none"
    for entry in _with_policies(config, stage):
        entry["iam_policy_file"] = f"policies/{Path(entry['iam_policy_file']).name}"
    config["stages"][stage].pop("tags", None)


def _with_policies(config: Json, stage: str) -> list[Json]:
    own = config["stages"][stage]
    return [own, *own["lambda_functions"].values()]


def _change(project: Path, stage: str, change: Callable[[Json], None]) -> None:
    path = project / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    change(config)
    _write(path, config)


def _write(path: Path, content: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


# ---- What Chalice can't say ----


def finish(project: Path, stage: str, outputs: Mapping[str, str]) -> bool:
    """Give what `chalice deploy` made what it has in one stack: logs, queues, the worker's failures, the API's errors.

    Safe to repeat, and needed after each `chalice deploy`. False when Chalice has made nothing yet.
    """
    if not is_deployed(project, stage):
        return False
    with refusals(f"finish what Chalice deployed of {stack_name(stage)}"):
        _finish_functions(stage, outputs)
        _finish_worker(stage, outputs)
        _finish_api(project, stage)
    return True


def _finish_functions(stage: str, outputs: Mapping[str, str]) -> None:
    wire, here = infrastructure("wire"), client("lambda", read_timeout=30)
    for function in wire.FUNCTIONS:
        name = wire.function_name(function, stage)
        change: Json = {"LoggingConfig": {"LogGroup": wire.log_group(function, stage)}}
        if function.queue:
            _finish_queue(here, outputs[QUEUES[function.queue]], library="Cluster" in outputs, answers=wire.PARTIAL_BATCHES)
            # Only now: where the mapping does not ask for partial answers, one would count as a success.
            variables = here.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            change["Environment"] = {"Variables": {**variables, "PAI_PARTIAL_BATCHES": "1"}}
        if function.recursive:
            here.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
        here.update_function_configuration(FunctionName=name, **change)
        here.get_waiter("function_updated_v2").wait(FunctionName=name)


def _finish_queue(here: Any, queue: str, *, library: bool, answers: list[str]) -> None:
    for mapping in here.list_event_source_mappings(EventSourceArn=queue)["EventSourceMappings"]:
        here.update_event_source_mapping(UUID=mapping["UUID"], FunctionResponseTypes=answers, Enabled=library)


def _finish_worker(stage: str, outputs: Mapping[str, str]) -> None:
    wire = infrastructure("wire")
    client("lambda").put_function_event_invoke_config(
        FunctionName=f"{stack_name(stage)}-worker",
        MaximumRetryAttempts=wire.WORKER_RETRIES,
        MaximumEventAgeInSeconds=wire.WORKER_EVENT_AGE_S,
        DestinationConfig={"OnFailure": {"Destination": outputs["WorkerDeadLettersArn"]}},
    )


def _finish_api(project: Path, stage: str) -> None:
    wire, here = infrastructure("wire"), client("apigateway", read_timeout=30)
    resources = json.loads(chalice_record(stage, project).read_text())["resources"]
    api = next(entry["rest_api_id"] for entry in resources if entry["resource_type"] == "rest_api")
    # The alarm and the dashboard know the API by this name; Chalice calls those of all stages `pai`.
    here.update_rest_api(restApiId=api, patchOperations=[{"op": "replace", "path": "/name", "value": stack_name(stage)}])
    for name, response in wire.gateway_responses().items():
        here.put_gateway_response(restApiId=api, responseType=name, **response)
    here.create_deployment(restApiId=api, stageName=wire.API_STAGE)
    limits = {"rateLimit": wire.THROTTLE["ThrottlingRateLimit"], "burstLimit": wire.THROTTLE["ThrottlingBurstLimit"]}
    changes = [{"op": "replace", "path": f"/*/*/throttling/{name}", "value": str(value)} for name, value in limits.items()]
    here.update_stage(restApiId=api, stageName=wire.API_STAGE, patchOperations=changes)
