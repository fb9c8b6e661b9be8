"""The command `pai` as a whole: its help, how fast it is there, what is installed with it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pai.cli import SECTIONS, main

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("httpx", "rich", "prompt_toolkit", "boto3", "chalice", "tomlkit", "cryptography", "xllamacpp")
COMMANDS = [(name, purpose) for commands in SECTIONS.values() for name, (_, purpose) in commands.items()]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["ask", "--help"],
        ["conversations", "list", "--help"],
        ["docs", "add", "--help"],
        ["search", "--help"],
    ],
)
def test_help_is_there_before_anything_heavy_is_loaded(arguments: list[str]) -> None:
    program = (
        "import sys; from pai.cli import main; main(sys.argv[1:], prog_name='pai', standalone_mode=False)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    outcome = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert outcome.stdout.splitlines()[-1] == "[]"


def test_the_help_lists_every_command_and_exit_status() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    assert all(name in text for name, _ in COMMANDS)
    assert "130  interrupted" in text


@pytest.mark.parametrize(("name", "purpose"), COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str, purpose: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == purpose


def test_a_mistyped_command_is_guessed() -> None:
    outcome = CliRunner().invoke(main, ["conversation"])
    assert outcome.exit_code == 2
    assert "Did you mean 'conversations'" in outcome.output


def pinned(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {line for line in lines if line and not line.startswith(("#", "-r"))}


def test_an_installed_pai_has_the_pinned_dependencies_of_the_clone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) == pinned("requirements.txt") | pinned("requirements-local.txt")
