"""`pai deploy`: one command to the owner's AWS account."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pai.commands import make_sure
from pai.operate import cloud_stage_option
from pai.terminal.screen import print_note

if TYPE_CHECKING:
    from pai.operate.deploy import Deployed


@click.command(short_help="Bring a stage to your AWS account, or up to date.")
@cloud_stage_option
@click.option(
    "--rag/--no-rag", default=None, help="Turn documents on or off. Without it they stay as they are; at first, off."
)
@click.option(
    "--base-only", is_flag=True, help="Only what `chalice deploy` builds on: data, keys, alarms. Before and after it."
)
@click.option(
    "--model", default="", metavar="NAME", help="Answer with this family or model id, and take the newest of each family."
)
@click.option(
    "--package",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Deploy what `make package` has put into this folder. Without it, packages anew.",
)
@click.option("--yes", is_flag=True, help="With --no-rag: do not ask before the search index is deleted.")
def deploy(stage: str, rag: bool | None, base_only: bool, model: str, package: Path | None, yes: bool) -> None:
    """Bring a stage to your AWS account, or bring it up to date. Nothing is asked that can be found out.

    Account and region are those of your AWS credentials. infrastructure/parameters/STAGE.json may name the deployment
    bucket, an address for alarms and a key of your own ($S3_BUCKET_NAME and $API_KEY come first); without a key of your
    own one is made, and shown this once. Models are pinned: only --model changes them.

    For people who live in Chalice: --base-only, then `chalice deploy`, then --base-only again, which sets what Chalice can't.

    Killed half-way, run it again: it goes on. Steps go to stderr; the last lines, to stdout, are the address and a first
    question to ask.
    """
    if base_only and (package or model):
        raise click.UsageError("--package and --model are of the functions, which --base-only leaves to `chalice deploy`.")
    from pai.operate.deploy import Wish, has_library
    from pai.operate.deploy import deploy as bring_up
    from pai.stage import project_folder

    if rag is False and not yes and has_library(stage):
        make_sure("Delete the search index? The documents stay, but nothing finds them.", "Nothing was deployed.")
    done = bring_up(Wish(stage, project_folder(), rag, base_only, model, package))
    _show(stage, done, base_only=base_only)


def _show(stage: str, done: "Deployed", *, base_only: bool) -> None:
    if done.token:
        print_note("This is the API key. Keep it: it is not shown again.")
        click.echo(f"API_KEY={done.token}")
    if not done.endpoint:
        print_note(f"Now: chalice deploy --stage {stage}; then this again, which sets what Chalice can't.")
        return
    if base_only:
        print_note(f"After each `chalice deploy --stage {stage}`, this again: it sets what Chalice can't.")
    if not done.token:
        print_note(
            "API_KEY is your own."
            if done.own_key
            else f"A key is shown only once: `pai keys create --stage {stage}` makes another."
        )
    click.echo(f"API_ENDPOINT={done.endpoint}")
    click.echo(
        f'curl -X POST {done.endpoint}/chat -H "Authorization: Bearer $API_KEY" -H "Content-Type: application/json" '
        '-d \'{"message": "Hello!"}\''
    )
