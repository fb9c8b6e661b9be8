"""`pai open`: where a stage on AWS is."""

import click

from pai.operate import cloud_stage_option
from pai.terminal.screen import for_people


@click.command("open", short_help="Print a stage's address, and open it in the browser.")
@cloud_stage_option
def open_stage(stage: str) -> None:
    """Print a stage's address and, on a screen, open the page that says that it answers.

    For a program only the address: API_ENDPOINT=$(pai open --stage prod).
    """
    from pai.operate.deployed import endpoint, stack_of
    from pai.stage import project_folder

    address = endpoint(stage, stack_of(stage).outputs(), project_folder())
    if not address:
        raise click.ClickException(f"Stage {stage} is not deployed here. `pai deploy --stage {stage}` brings it up.")
    click.echo(address)
    if for_people():
        click.launch(f"{address}/health")
