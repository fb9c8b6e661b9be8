"""The GitHub workflows: which branch goes where, what may run, and each job's own shell steps, run here as far as can be."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.standins.processes import ROOT

FOLDER = ROOT / ".github" / "workflows"
NAMES = ("deploy.yml", "test.yml")


def workflow(name: str) -> Any:
    """Return a workflow. YAML takes its key `on` for true."""
    content = yaml.safe_load((FOLDER / name).read_text())
    return {"on": content.pop(True), **content}


DEPLOY, TEST = (workflow(name) for name in NAMES)
JOB = DEPLOY["jobs"]["deploy"]


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in NAMES:
        for job, content in workflow(name)["jobs"].items():
            for step in content.get("steps", ()):
                yield f"{name} {job}: {step.get('name') or step['uses']}", step


def evaluated(expression: str, *, event: str, branch: str = "", chosen: str = "") -> Any:
    """Return what GitHub makes of an expression of ours: `&&`, `||` and `==` mean what they do in Python."""
    code = expression.removeprefix("${{").removesuffix("}}").replace("&&", " and ").replace("||", " or ").strip()
    for name, value in {"github.event_name": event, "github.ref_name": branch, "inputs.environment": chosen}.items():
        code = code.replace(name, repr(value))
    assert re.fullmatch(r"[\w\s'()=]+", code), code
    return eval(code, {"__builtins__": {}})


@pytest.mark.parametrize(
    ("given", "stage"),
    [
        ({"event": "push", "branch": "develop"}, "dev"),
        ({"event": "push", "branch": "main"}, "prod"),
        ({"event": "workflow_dispatch", "branch": "main", "chosen": "dev"}, "dev"),
        ({"event": "workflow_dispatch", "branch": "develop", "chosen": "prod"}, "prod"),
    ],
)
def test_each_branch_and_each_choice_goes_to_its_environment(given: dict[str, str], stage: str) -> None:
    group = JOB["concurrency"]["group"]
    assert evaluated(JOB["environment"], **given) == stage
    assert evaluated(JOB["env"]["STAGE"], **given) == stage
    assert group.startswith("deploy-")
    assert evaluated(group.removeprefix("deploy-"), **given) == stage


def test_nothing_else_deploys() -> None:
    assert set(DEPLOY["on"]) == {"push", "workflow_dispatch"}
    assert DEPLOY["on"]["push"] == {"branches": ["develop", "main"]}
    assert DEPLOY["on"]["workflow_dispatch"]["inputs"]["environment"]["options"] == ["dev", "prod"]


def test_what_is_deployed_was_tested_before() -> None:
    assert JOB["needs"] == "test"
    assert DEPLOY["jobs"]["test"]["uses"] == "./.github/workflows/test.yml"
    assert "workflow_call" in TEST["on"]


def test_tests_run_on_every_python_that_is_supported() -> None:
    assert TEST["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert TEST["jobs"]["package"]["strategy"]["matrix"]["stage"] == ["dev", "prod"]


def test_the_deployment_runs_on_lambda_s_python() -> None:
    [python] = [step["with"]["python-version"] for step in JOB["steps"] if "setup-python" in step.get("uses", "")]
    assert python == "3.12"


def test_credentials_come_by_oidc_or_by_access_keys_never_by_both() -> None:
    oidc, keys = [step for step in JOB["steps"] if "configure-aws-credentials" in step.get("uses", "")]
    assert JOB["permissions"] == {"contents": "read", "id-token": "write"}
    assert oidc["if"] == "${{ vars.AWS_ROLE_ARN != '' }}"
    assert keys["if"] == "${{ vars.AWS_ROLE_ARN == '' }}"
    assert oidc["with"]["role-to-assume"] == "${{ vars.AWS_ROLE_ARN }}"
    assert keys["with"]["aws-access-key-id"] == "${{ secrets.AWS_ACCESS_KEY_ID }}"
    assert keys["with"]["aws-secret-access-key"] == "${{ secrets.AWS_SECRET_ACCESS_KEY }}"


def test_no_workflow_may_more_than_it_needs() -> None:
    assert DEPLOY["permissions"] == TEST["permissions"] == {"contents": "read"}


def test_actions_are_official_and_pinned() -> None:
    used = [step["uses"] for _, step in steps() if "uses" in step]
    assert used
    assert all(re.fullmatch(r"(actions|aws-actions)/[\w-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", action) for action in used), used


def test_no_step_builds_its_shell_from_what_others_wrote() -> None:
    assert not [name for name, step in steps() if "${{" in step.get("run", "")]


SHELL = [pytest.param(step["run"], id=name) for name, step in steps() if "run" in step]


@pytest.mark.parametrize("text", SHELL)
def test_each_shell_step_is_clean(text: str) -> None:
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    program = Path(sys.executable).parent / "shellcheck"
    seen = subprocess.run([program, "-s", "bash", "-"], input=text, capture_output=True, text=True, check=False)
    assert seen.returncode == 0, seen.stdout


@pytest.mark.parametrize("text", SHELL)
def test_each_verb_and_file_that_a_step_calls_is_there(text: str) -> None:
    verbs = re.findall(r"^make (\w+)", text, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{verb}:", makefile, re.MULTILINE) for verb in verbs)
    assert all((ROOT / script).is_file() for script in re.findall(r"\./(scripts/[\w.-]+)", text) if "*" not in script)


def run(name: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a step of the deployment as GitHub does: `bash -e`, and with pipefail where it says that it wants bash."""
    [step] = [step for step in JOB["steps"] if step.get("name") == name]
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"] if step.get("shell") == "bash" else ["bash", "-ec"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [*command, step["run"]],
        cwd=folder,
        env={"PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_key_nothing_is_deployed(tmp_path: Path) -> None:
    refused = run("An API key must be given", tmp_path, API_KEY="")
    assert refused.returncode == 1
    assert "::error::Set the secret API_KEY" in refused.stdout
    assert run("An API key must be given", tmp_path, API_KEY="given").returncode == 0


def deploying(folder: Path, body: str) -> None:
    (folder / "scripts").mkdir()
    script = folder / "scripts" / "deploy.sh"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)


def test_the_stage_is_deployed_and_its_address_kept(tmp_path: Path) -> None:
    deploying(tmp_path, 'echo "stage $1" >&2; echo API_ENDPOINT=https://x.example/api')
    done = run("Deploy", tmp_path, STAGE="prod")
    assert (done.returncode, done.stderr) == (0, "stage prod\n")
    assert (tmp_path / "deployed.txt").read_text() == "API_ENDPOINT=https://x.example/api\n"


def test_a_deployment_that_fails_fails_the_job(tmp_path: Path) -> None:
    deploying(tmp_path, "exit 1")
    assert run("Deploy", tmp_path, STAGE="dev").returncode == 1


class Api(BaseHTTPRequestHandler):
    """An API that wants the key `secret`; its answers are the class's."""

    answer = b'{"message": "yes"}'

    def do_GET(self) -> None:
        self._send(200, b'{"status": "ok"}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["Authorization"] == "Bearer secret" and self.path == "/api/chat"
        self._send(200 if known else 403, self.answer if known else b"{}")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(answer: bytes = Api.answer) -> Iterator[str]:
    handler = type("Answering", (Api,), {"answer": answer})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("key", "answer", "passes"),
    [("secret", b'{"message": "yes"}', True), ("wrong", b'{"message": "yes"}', False), ("secret", b'{"message": ""}', False)],
)
def test_the_smoke_test_wants_a_real_answer(tmp_path: Path, key: str, answer: bytes, passes: bool) -> None:
    with served(answer) as address:
        (tmp_path / "deployed.txt").write_text(f"API_ENDPOINT={address}\n")
        done = run("Smoke test", tmp_path, API_KEY=key)
    assert (done.returncode == 0) is passes, done.stderr


def test_the_smoke_test_fails_where_no_address_was_given(tmp_path: Path) -> None:
    (tmp_path / "deployed.txt").write_text("Now: chalice deploy\n")
    assert run("Smoke test", tmp_path, API_KEY="secret").returncode != 0
