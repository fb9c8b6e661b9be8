"""The stages of .chalice/config.json, for the commands that work on a deployment's parts themselves, not over HTTP."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chalicelib.errors import BadRequest, PaiError
from chalicelib.settings import Settings, read_settings

if TYPE_CHECKING:
    from chalice.config import Config

LOCAL = "local"

stage_option = click.option(
    "--stage", default=LOCAL, show_default=True, metavar="STAGE", help="Which stage of .chalice/config.json."
)


class StageError(click.ClickException):
    """The project or its stage is not there; the sentence says what to do."""

    exit_code = 2


class Refused(click.ClickException):
    """What was given can't be."""

    exit_code = 2


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a part, or the disk under it, can't do in this block into the command's failure."""
    try:
        yield
    except BadRequest as error:
        raise Refused(error.message) from error
    except PaiError as error:
        raise click.ClickException(error.message) from error
    except OSError as error:
        raise click.ClickException(f"{error.strerror or error} ({error.filename}).") from error


def project_folder() -> Path:
    """Return the folder with app.py: the one this package is in, or the one the person is in. `StageError` for neither."""
    for folder in (Path(__file__).resolve().parent.parent, Path.cwd()):
        if (folder / "app.py").is_file() and (folder / ".chalice" / "config.json").is_file():
            return folder
    raise StageError("Here is no app.py with a .chalice/config.json. Change to the folder that PAI was cloned to.")


def stage_config(stage: str) -> "Config":
    """Return Chalice's view of a stage; `StageError` when the file is broken or has no such stage."""
    from chalice.config import Config  # takes a while, and most commands need no stage

    path = project_folder() / ".chalice" / "config.json"
    try:
        content = json.loads(path.read_text())
        stages = sorted(content["stages"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"{path} is not a Chalice configuration with stages: {error}.") from error
    if stage not in stages:
        raise StageError(f"{path} has no stage {stage!r}; it has {', '.join(stages)}.")
    return Config(chalice_stage=stage, config_from_disk=content, user_provided_params={"project_dir": str(path.parent.parent)})


def enter_stage(stage: str) -> Settings:
    """Give this process the stage's environment and return its settings. What the person has set themselves stays.

    A stage on AWS has the environment of its function, where that is deployed and may be looked at: models are pinned there.
    """
    configured = stage_config(stage).environment_variables
    for name, value in {**configured, **(_deployed(stage) if configured.get("PAI_PLATFORM") == "aws" else {})}.items():
        if not os.environ.get(name):
            os.environ[name] = value
    # Whatever changes folder later means the same home.
    os.environ["PAI_HOME"] = str(Path(os.environ.get("PAI_HOME") or Settings.home).expanduser().absolute())
    with explained():
        return read_settings()


def _deployed(stage: str) -> Mapping[str, str]:
    from pai.operate.account import OperateError
    from pai.operate.deployed import environment

    try:
        return {name: value for name, value in environment(stage).items() if name.startswith("PAI_")}
    except OperateError:  # whoever asks for keys or budgets need not be allowed to look; what is wrong is said there
        return {}
