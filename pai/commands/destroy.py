"""`pai destroy`: a stage out of the AWS account, and the proof of it."""

import sys

import click

from pai.operate import cloud_stage_option
from pai.terminal.screen import print_note


@click.command(short_help="Delete a stage and everything it holds.")
@cloud_stage_option
@click.option("--yes", is_flag=True, help="Do not ask for the stage's name.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=90,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for what AWS shows for a while after it is gone.",
)
def destroy(stage: str, yes: bool, wait_s: float) -> None:
    """Delete a stage and all that it holds, for good: conversations, documents, keys, logs, and what CloudFormation keeps.

    The key is deleted by AWS 7 days later, the fewest it takes; until then `aws kms cancel-key-deletion` brings it back,
    but nothing else does. Lists what is left in the end; exit status 1 if that is more than the key. Twice does no harm.
    """
    if not yes:
        _make_sure(stage)
    from pai.operate.destroy import destroy as take_down
    from pai.stage import project_folder

    remaining = take_down(stage, project_folder(), wait_s)
    for one in remaining:
        click.echo(str(one))
    wrong = [one for one in remaining if not one.until]
    if wrong:
        print_note(f"{len(wrong)} of these should be gone. Run it again; what stays is to be deleted by hand.")
        sys.exit(1)
    print_note("Nothing else is left." if remaining else "Nothing is left.")


def _make_sure(stage: str) -> None:
    from pai.operate.account import find_account

    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask whether this is meant; add --yes.")
    account = find_account()
    place = f"account {account.id}, {account.region}"
    words = f"This deletes every conversation, document and key of {stage} in {place}. Type the stage's name to go on"
    if click.prompt(words, default="", show_default=False, err=True).strip() != stage:
        raise click.ClickException("Nothing was deleted.")
