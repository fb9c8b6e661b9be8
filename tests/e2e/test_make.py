"""The Makefile where Python is not as it should be."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.standins.processes import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")

TOOLS = ("sh", "awk", "echo", "mkdir", "rm", "touch")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the Makefile and what it looks at, and beside it a PATH on which there is no Python."""
    project, tools = tmp_path / "project", tmp_path / "tools"
    project.mkdir()
    tools.mkdir()
    for name in ("Makefile", "requirements.txt", "requirements-local.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, project)
    for tool in TOOLS:
        (tools / tool).symlink_to(shutil.which(tool) or "")
    return project


def make(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    tools = str(project.parent / "tools")
    # Nothing of a make that these tests run under, nor of a Python that it was told of.
    kept = {
        name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL"}
    }
    return subprocess.run(
        [shutil.which("make") or "make", *arguments],
        cwd=project,
        env={**kept, "PATH": tools},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def put_python(project: Path, name: str, script: str) -> None:
    """Put a program on the PATH that passes for a Python."""
    path = project.parent / "tools" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_make_alone_lists_the_verbs(project: Path) -> None:
    shown = make(project)

    assert shown.returncode == 0
    assert "make run" in shown.stdout
    assert "make test" in shown.stdout
    assert not (project / ".venv").exists()


def test_no_python_is_a_sentence(project: Path) -> None:
    failed = make(project, "run")

    assert failed.returncode != 0
    assert "PAI needs Python 3.11 or newer" in failed.stderr


def test_python_that_is_too_old_or_broken_is_passed_over(project: Path) -> None:
    put_python(project, "python3", "exit 1")  # 3.10
    put_python(project, "python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")

    failed = make(project, "run")

    assert "PAI needs Python 3.11 or newer" in failed.stderr


def test_python_without_venv_is_a_sentence_and_leaves_nothing(project: Path) -> None:
    put_python(project, "python3", 'case "$*" in *venv*) mkdir -p .venv/bin; exit 1;; *) exit 0;; esac')

    failed = make(project, "run")

    assert failed.returncode != 0
    assert "apt install python3-venv" in failed.stderr
    assert not (project / ".venv").exists()
