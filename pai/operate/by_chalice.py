"""The other way to deploy: the base stack first, then `chalice deploy`, which knows no stack.

What the stack made is written into .chalice/config.json and, for the policies, into .chalice/policies/<stage>/. Until then
.chalice/deployed/<stage>.json, which Chalice reads before anything else, is one that it does not take: its message is ours.
What Chalice can't say of its functions and API is set once they are there, and again after each `chalice deploy`.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from chalicelib.platform.aws.clients import client
from pai.operate.account import refusals, stack_name, tags
from pai.operate.deployed import Function, chalice_record, made_by_chalice
from pai.operate.gateway import RETENTION_DAYS, may_log
from pai.operate.package import infrastructure

Json = dict[str, Any]
TRIES, PAUSE_S = 10, 3.0
QUEUES = {"DocumentsQueue": "QueueArn", "DeadLetters": "DeadLettersArn"}
"""Resource of resources.yaml → its output."""
FILLED = {"PAI_BUCKET": "Bucket", "PAI_QUEUE_URL": "QueueUrl"}
DATABASE = {"PAI_DATABASE_CLUSTER": "Cluster", "PAI_DATABASE_SECRET": "ClusterSecret", "PAI_DATABASE_NAME": "Database"}
"""Variable of the functions → output of resources.yaml."""


def fill(project: Path, stage: str, outputs: Mapping[str, str]) -> bool:
    """Have `chalice deploy` of this project use what the stage's base stack made, by its outputs; tell whether that is new."""
    before = (project / ".chalice" / "config.json").read_text()
    meant = meanings(stage, outputs)
    folder = project / ".chalice" / "policies" / stage
    folder.mkdir(parents=True, exist_ok=True)
    for template in folder.parent.glob("*.json"):
        _write(folder / template.name, filled_policy(json.loads(template.read_text()), meant))
    _change(project, stage, lambda config: _filled(config, stage, outputs))
    record = chalice_record(stage, project)
    if not is_deployed(project, stage):
        _write(record, {"schema_version": "2.0", "backend": "api", "resources": []})
    return before != (project / ".chalice" / "config.json").read_text()


def clear(project: Path, stage: str) -> None:
    """Have `chalice deploy` of this project ask for the base stack again."""
    shutil.rmtree(project / ".chalice" / "policies" / stage, ignore_errors=True)
    _change(project, stage, lambda config: _cleared(config, stage))
    _write(chalice_record(stage, project), unfilled(stage))


def is_filled(project: Path, stage: str) -> bool:
    """Tell whether `fill` has been here since the project was cloned, or cleared."""
    named = f'"policies/{stage}/' in (project / ".chalice" / "config.json").read_text()  # its policies may not have come along
    return named or (project / ".chalice" / "policies" / stage).is_dir()


def is_deployed(project: Path, stage: str) -> bool:
    """Tell whether `chalice deploy` has made something of this stage that is still there."""
    return bool(made_by_chalice(stage, project))


def region_of(project: Path, stage: str) -> str:
    """Return the region of what `chalice deploy` has made; empty where it has made nothing."""
    arns = (entry["lambda_arn"] for entry in made_by_chalice(stage, project) if "lambda_arn" in entry)
    return next((str(arn.split(":")[3]) for arn in arns), "")


def unfilled(stage: str) -> Json:
    """Return what stands in Chalice's own record until the stage is filled: it repeats the version that it does not know."""
    command = f"pai deploy --stage {stage} --base-only"
    return {"schema_version": f"this stage has no base stack here. Run `{command}` first, then this again", "resources": []}


def meanings(stage: str, outputs: Mapping[str, str]) -> dict[str, str]:
    """Return what the placeholders of .chalice/policies stand for."""
    _, partition, _, region, account, _ = outputs["Key"].split(":", 5)
    return {
        **outputs,
        "AWS::Partition": partition,
        "AWS::Region": region,
        "AWS::AccountId": account,
        "Environment": stage,
    }


def documents_variables(outputs: Mapping[str, str]) -> dict[str, str]:
    """Return what the functions are told about documents."""
    if "Cluster" not in outputs:
        return {"PAI_RETRIEVER": "none"}
    return {"PAI_RETRIEVER": "pgvector", "PAI_DATABASE": "data_api", **{name: outputs[key] for name, key in DATABASE.items()}}


def filled_policy(document: Json, meant: Mapping[str, str]) -> Json:
    """Return a policy with values for placeholders, without the statements about documents where there are none."""
    library = "Cluster" in meant
    statements = [entry for entry in document["Statement"] if library or not entry["Sid"].startswith("Library")]
    text = json.dumps({**document, "Statement": statements})
    for name, value in meant.items():
        text = text.replace(f"${{{name}}}", value)
    return dict(json.loads(text))


def _filled(config: Json, stage: str, outputs: Mapping[str, str]) -> None:
    _cleared(config, stage)
    variables = config["stages"][stage]["environment_variables"]
    variables |= {name: outputs[output] for name, output in FILLED.items() if output in outputs}
    variables |= documents_variables(outputs)
    for entry in _with_policies(config, stage):
        entry["iam_policy_file"] = f"policies/{stage}/{Path(entry['iam_policy_file']).name}"
    config["stages"][stage]["tags"] = tags(stage)


def _cleared(config: Json, stage: str) -> None:
    variables = config["stages"][stage]["environment_variables"]
    for name in (*FILLED, *DATABASE):
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
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    unfinished.replace(path)


# ---- What Chalice can't say ----


def finish(project: Path, stage: str, outputs: Mapping[str, str]) -> bool:
    """Give what `chalice deploy` made what it has in one stack: logs, queues, the worker's failures, the API's errors.

    Safe to repeat, and needed after each `chalice deploy`. False when Chalice has made nothing yet.
    """
    if not is_deployed(project, stage):
        return False
    with refusals(f"finish what Chalice deployed of {stack_name(stage)}"):
        _finish_api(project, stage, outputs)
        _finish_worker(stage, outputs)
        _finish_functions(stage, outputs)  # last: by them is seen that all is done
    return True


def is_finished(functions: Iterable[Function]) -> bool:
    """Tell whether `finish` came after the last `chalice deploy`, which takes from the functions what it was not told of."""
    of_queues = [function for function in functions if "-documents" in function.name]
    return bool(of_queues) and all("PAI_PARTIAL_BATCHES" in function.environment for function in of_queues)


def _api(project: Path, stage: str) -> str:
    return str(next(entry["rest_api_id"] for entry in made_by_chalice(stage, project) if "rest_api_id" in entry))


def _finish_functions(stage: str, outputs: Mapping[str, str]) -> None:
    wire, here = infrastructure("wire"), client("lambda", read_timeout=30)
    for function in wire.FUNCTIONS:
        name = wire.function_name(function, stage)
        change: Json = {"LoggingConfig": {"LogGroup": wire.log_group(function.logs, stage)}}
        if function.queue:
            variables = here.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            # What is on the queue waits for documents that the function itself was told of: else it would be given up.
            reads = variables.get("PAI_RETRIEVER", "none") != "none"
            _finish_queue(here, outputs[QUEUES[function.queue]], enabled=reads, answers=wire.PARTIAL_BATCHES)
            # Only now: where the mapping does not ask for partial answers, one would count as a success.
            change["Environment"] = {"Variables": {**variables, "PAI_PARTIAL_BATCHES": "1"}}
        if function.recursive:
            here.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
        here.update_function_configuration(FunctionName=name, **change)
        here.get_waiter("function_updated_v2").wait(FunctionName=name)
        _end_first_logs(f"/aws/lambda/{name}")


def _finish_queue(here: Any, queue: str, *, enabled: bool, answers: list[str]) -> None:
    for mapping in here.list_event_source_mappings(EventSourceArn=queue)["EventSourceMappings"]:
        change = {"UUID": mapping["UUID"], "FunctionResponseTypes": answers, "Enabled": enabled}
        for left in reversed(range(TRIES)):
            try:
                here.update_event_source_mapping(**change)
                break
            except here.exceptions.ResourceInUseException:  # Chalice has only just made it
                if not left:
                    raise
                time.sleep(PAUSE_S)


def _end_first_logs(group: str) -> None:
    """Have the log group end that Lambda made by itself before it was told of ours."""
    logs = client("logs")
    with suppress(logs.exceptions.ResourceNotFoundException):
        logs.put_retention_policy(logGroupName=group, retentionInDays=RETENTION_DAYS)


def _finish_worker(stage: str, outputs: Mapping[str, str]) -> None:
    wire = infrastructure("wire")
    client("lambda").put_function_event_invoke_config(
        FunctionName=f"{stack_name(stage)}-worker",
        MaximumRetryAttempts=wire.WORKER_RETRIES,
        MaximumEventAgeInSeconds=wire.WORKER_EVENT_AGE_S,
        DestinationConfig={"OnFailure": {"Destination": outputs["WorkerDeadLettersArn"]}},
    )


def _finish_api(project: Path, stage: str, outputs: Mapping[str, str]) -> None:
    wire, here = infrastructure("wire"), client("apigateway", read_timeout=30)
    api = _api(project, stage)
    _, partition, _, region, account, _ = outputs["Key"].split(":", 5)
    # The alarm and the dashboard know the API by this name; Chalice calls those of all stages `pai`.
    here.update_rest_api(restApiId=api, patchOperations=[{"op": "replace", "path": "/name", "value": stack_name(stage)}])
    for name, response in wire.gateway_responses().items():
        here.put_gateway_response(restApiId=api, responseType=name, **response)
    here.create_deployment(restApiId=api, stageName=wire.API_STAGE)
    limits = {"rateLimit": wire.THROTTLE["ThrottlingRateLimit"], "burstLimit": wire.THROTTLE["ThrottlingBurstLimit"]}
    changes = {f"/*/*/throttling/{name}": str(value) for name, value in limits.items()}
    if may_log():
        group = f"arn:{partition}:logs:{region}:{account}:log-group:{wire.log_group('ApiLogs', stage)}"
        changes |= {"/accessLogSettings/destinationArn": group, "/accessLogSettings/format": wire.ACCESS_LOG}
        changes |= {"/*/*/logging/loglevel": "ERROR", "/*/*/logging/dataTrace": "false"}
    operations = [{"op": "replace", "path": path, "value": value} for path, value in changes.items()]
    here.update_stage(restApiId=api, stageName=wire.API_STAGE, patchOperations=operations)
