"""What infrastructure/parameters/<stage>.json says, and what of it may be used."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from pai.stage import StageError

API_KEY, BUCKET = "ApiKeyValue", "S3BucketName"
PLACEHOLDERS = ("your-", "<", "change-me", "changeme", "replace", "example")
"""What values begin with, or hold, that the file came with."""


class Exposed(click.ClickException):
    """A secret is where others can read it; nothing was deployed."""

    exit_code = 2


@dataclass(frozen=True)
class Parameters:
    """`template` are parameters of the stack. `api_key` is the owner's own, empty when they have none, as is `bucket`."""

    template: Mapping[str, str] = field(default_factory=dict)
    api_key: str = field(default="", repr=False)
    bucket: str = ""


def load_parameters(project: Path, stage: str) -> Parameters:
    """Return what the stage's file and the environment ($API_KEY, $S3_BUCKET_NAME, which come first) say.

    Raises `Exposed` for a real API key in a file that git tracks, `StageError` for a file that is not of the form
    [{"ParameterKey": …, "ParameterValue": …}, …], or of another stage.
    """
    path = project / "infrastructure" / "parameters" / f"{stage}.json"
    given = {name: value for name, value in _read(path).items() if not is_placeholder(value)}
    if given.get("Environment", stage) != stage:
        raise StageError(f"{path} is of {given['Environment']!r}, and this is {stage!r}. Correct its Environment.")
    if API_KEY in given and _tracked(path):
        raise Exposed(
            f"{path} holds an API key and is tracked by git: whoever has the repository has the key. Take it out (and, if it "
            "was ever committed, make another one), and give it as $API_KEY: API_KEY=… pai deploy. Nothing was deployed."
        )
    api_key = os.environ.get("API_KEY", "").strip() or given.pop(API_KEY, "")
    bucket = os.environ.get("S3_BUCKET_NAME", "").strip() or given.pop(BUCKET, "")
    own = {name: value for name, value in given.items() if name not in {API_KEY, BUCKET}}
    return Parameters({**own, "Environment": stage}, api_key, bucket)


def is_placeholder(value: str) -> bool:
    """Tell whether a value is one that only says what should stand there."""
    return any(value.lower().startswith(word) for word in PLACEHOLDERS) or "your-account-id" in value


def _read(path: Path) -> dict[str, str]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {entry["ParameterKey"]: _text(entry["ParameterValue"]) for entry in entries}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        form = '[{"ParameterKey": "Environment", "ParameterValue": "dev"}, …]'
        raise StageError(f"{path} is not a list of the form {form}: {error!r}.") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a value must be a text in quotes, not {value!r}")
    return value.strip()


def _tracked(path: Path) -> bool:
    """Tell whether git knows the file. Where there is no git, nothing is tracked."""
    command = ["git", "ls-files", "--error-unmatch", path.name]
    try:
        return subprocess.run(command, cwd=path.parent, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
