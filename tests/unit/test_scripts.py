"""The scripts that people look for: what each calls, and how it refuses what is wrong."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.standins.processes import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.sh"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clone in which `pai`, `python` and `make` only say how they were called."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for name, folder in (("pai", ".venv/bin"), ("python", ".venv/bin"), ("make", "bin")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text(f'#!/bin/sh\nprintf "%s" {name}; printf " [%s]" "$@"; echo\n')
        (tmp_path / folder / name).chmod(0o755)
    return tmp_path


def run(project: Path, script: str, *arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    path = f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(project / "scripts" / script), *arguments],
        cwd=cwd or project,
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("script", "arguments", "called"),
    [
        ("deploy.sh", ("dev",), "pai [deploy] [--stage] [dev]"),
        ("deploy.sh", ("prod", "--enable-rag"), "pai [deploy] [--stage] [prod] [--rag]"),
        ("deploy.sh", ("dev", "--model", "a b"), "pai [deploy] [--stage] [dev] [--model] [a b]"),
        ("cleanup.sh", ("prod",), "pai [destroy] [--stage] [prod]"),
        ("cleanup.sh", ("dev", "--yes"), "pai [destroy] [--stage] [dev] [--yes]"),
        ("package-lambdas.sh", (), "make [package] [STAGE=dev]"),
        ("package-lambdas.sh", ("prod",), "make [package] [STAGE=prod]"),
        ("setup-apigateway-logging.sh", (), "python [-m] [pai.operate.gateway]"),
        ("setup-apigateway-logging.sh", ("dev", "--level", "OFF"), "python [-m] [pai.operate.gateway] [dev] [--level] [OFF]"),
    ],
)  # fmt: skip
def test_a_script_calls_what_does_its_work_from_wherever_it_is_called(
    project: Path, tmp_path_factory: pytest.TempPathFactory, script: str, arguments: tuple[str, ...], called: str
) -> None:
    for folder in (project, tmp_path_factory.mktemp("elsewhere")):
        done = run(project, script, *arguments, cwd=folder)
        assert (done.returncode, done.stdout) == (0, f"{called}\n")


@pytest.mark.parametrize("script", ["deploy.sh", "cleanup.sh"])
@pytest.mark.parametrize("arguments", [(), ("production",), ("--enable-rag",), ("",)])
def test_a_stage_that_is_none_is_refused_with_the_usage(project: Path, script: str, arguments: tuple[str, ...]) -> None:
    done = run(project, script, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"usage: ./scripts/{script} dev|prod")


def test_a_fresh_clone_gets_its_environment_first(project: Path) -> None:
    (project / ".venv" / "bin" / "pai").unlink()
    assert "make [--silent] [.venv/run.stamp]" in run(project, "deploy.sh", "dev").stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_clean_and_may_be_run(script: str) -> None:
    path = ROOT / "scripts" / script
    seen = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, check=False, env=_environment())
    assert seen.returncode == 0, seen.stdout
    assert os.access(path, os.X_OK)


def _environment() -> dict[str, str]:
    """shellcheck comes with requirements-dev.txt, beside the Python that runs this."""
    import sys

    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_the_scripts_are_those_that_people_look_for() -> None:
    assert SCRIPTS == ["cleanup.sh", "deploy.sh", "package-lambdas.sh", "setup-apigateway-logging.sh"]
