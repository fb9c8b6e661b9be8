"""Running PAI in an AWS account: deploy it, look at it, take it away again. The commands over it are in pai/commands/."""

import os

import click

STAGES = ("dev", "prod")

cloud_stage_option = click.option("--stage", type=click.Choice(STAGES), required=True, help="Which stage on AWS.")


def adopt_region() -> None:
    """Let botocore, here and in what is started from here, have $AWS_REGION, which AWS's own terminal prefers: it reads the
    other name alone."""
    if region := os.environ.get("AWS_REGION"):
        os.environ["AWS_DEFAULT_REGION"] = region
