"""Running PAI in an AWS account: deploy it, look at it, take it away again. The commands over it are in pai/commands/."""

import click

STAGES = ("dev", "prod")

cloud_stage_option = click.option("--stage", type=click.Choice(STAGES), required=True, help="Which stage on AWS.")
