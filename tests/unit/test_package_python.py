"""Which Python packages for AWS: one that Lambda has, as far as the Chalice that is pinned knows."""

import re

import pytest
from botocore.model import StringShape
from botocore.session import Session
from chalice.deploy.packager import BaseLambdaDeploymentPackager

from pai.operate.package import FITTING, NEWEST, OLDEST, fits


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 11), False), (OLDEST, True), ((3, 13), True), (NEWEST, True), ((3, NEWEST[1] + 1), False)]
)
def test_a_python_packages_if_lambda_has_it(version: tuple[int, int], ok: bool) -> None:
    assert fits(version) is ok


def test_the_newest_is_the_newest_that_chalice_and_lambda_have() -> None:
    lambdas = Session().get_service_model("lambda").shape_for("Runtime")
    assert isinstance(lambdas, StringShape)
    known = [name for name in BaseLambdaDeploymentPackager._RUNTIME_TO_ABI if name in lambdas.enum]
    assert max(map(version_of, known)) == NEWEST


def test_those_that_are_looked_for_fit() -> None:
    assert all(fits(version_of(name)) for name in FITTING)


def version_of(name: str) -> tuple[int, int]:
    found = re.fullmatch(r"python(\d+)\.(\d+)", name)
    assert found, name
    return int(found[1]), int(found[2])
