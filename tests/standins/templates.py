"""The template of a stage as `chalice package` makes it with wire.py's, in a second: without wheels, and with no zip."""

import json
import sys
from pathlib import Path
from typing import Any

from botocore.session import Session
from chalice.awsclient import TypedAWSClient
from chalice.cli.factory import CLIFactory
from chalice.deploy.appgraph import ApplicationGraphBuilder, DependencyBuilder
from chalice.deploy.deployer import BaseDeployStep, BuildStage, InjectDefaults, PolicyGenerator, SwaggerBuilder
from chalice.deploy.swagger import CFNSwaggerGenerator
from chalice.package import PackageOptions, ResourceBuilder, SAMTemplateGenerator, TemplateDeepMerger
from chalice.utils import OSUtils

from infrastructure import wire


class NoPackage(BaseDeployStep):
    def handle_deploymentpackage(self, _: Any, resource: Any) -> None:
        resource.filename = "./deployment.zip"


def sam_template(stage: str, project: Path = wire.ROOT) -> dict[str, Any]:
    """Return it as a program of its own would see it: importing app.py changes nothing here but what it changes anyway."""
    osutils = OSUtils()
    config = CLIFactory(str(project), environ={}).create_config_obj(stage)
    steps = [
        InjectDefaults(),
        NoPackage(),
        PolicyGenerator(policy_gen=None, osutils=osutils),  # type: ignore[arg-type]
        SwaggerBuilder(swagger_generator=CFNSwaggerGenerator()),
    ]
    session = Session()
    session.set_config_variable("region", "us-east-1")
    builder = ResourceBuilder(ApplicationGraphBuilder(), DependencyBuilder(), BuildStage(steps))
    resources = builder.construct_resources(config, stage)
    template = SAMTemplateGenerator(config, PackageOptions(TypedAWSClient(session))).generate(resources)
    return dict(TemplateDeepMerger().merge(wire.merge_template(stage), template))


if __name__ == "__main__":
    print(json.dumps(sam_template(sys.argv[1]), default=str))
