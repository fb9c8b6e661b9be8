"""`python -m pai.operate.package STAGE…`: package each stage as Chalice does, and prove that what it made would start.

Lambda's Python is the one that packages, and it must be 3.12 or newer: older runtimes have a C library that some wheels
are not made for. Nor may it be newer than any that Chalice knows of Lambda: that would name an older runtime than the wheels
are for. Any other Python leaves it to a fitting one of this machine, in an environment of its own.

Chalice only warns when a wheel can't be had, and leaves it out. So the zip is opened, every binary in it is checked for the
architecture it was made for, and every module of ours is imported from it in a clean interpreter.

boto3 is ours, not the runtime's: which one that has is not known before it runs, and it changes without us. Ours comes with
models of 400 services, which are 14 of 37 MB. Those that no file of ours names are left out.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = "arm64"
ELF_MACHINES = {62: "x86_64", 183: "arm64"}
"""e_machine in the ELF header: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html"""
OLDEST, NEWEST = (3, 12), (3, 15)
"""The newest is that of chalice/deploy/packager.py, which is also the newest that Lambda has."""
FITTING = ("python3.14", "python3.13", "python3.12")
LARGEST_MB = 35.0
BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can name: equal files are to make equal packages, and deploying them again no change."""
MODELS = "botocore/data/"
LINTERS = ("cfnlint", "samtranslator")
IMPORTER = """
import importlib, pathlib, pkgutil, sys
host, package, *services = sys.argv[1:]
sys.path[:0] = [host, package]
names = ["app", *(module.name for module in pkgutil.walk_packages([package + "/chalicelib"], "chalicelib."))]
names = [name for name in names if name.rpartition(".")[2] != "__main__"]  # those are run, not imported
names += [path.stem for path in pathlib.Path(package).iterdir() if (path / "__init__.py").exists()]
for name in names:
    importlib.import_module(name)
session = importlib.import_module("botocore.session").Session()
for service in services:
    session.create_client(service, region_name="us-east-1")
stray = [name for name, module in sys.modules.items() if "site-packages" in (getattr(module, "__file__", None) or "")]
assert not stray, f"not from the package: {stray}"
print(len(names))
"""


class PackageError(Exception):
    """The package would not start, or its template should not be deployed; the sentence says why."""


@dataclass(frozen=True)
class Package:
    """`template` names the archive by `CodeUri: ./deployment.zip`, to be replaced by its place in S3."""

    archive: Path
    template: Path


def package(stage: str, out: Path) -> Package:
    """Run `chalice package` with wire.py's template into `out`. Raises `PackageError`; exits where no Python fits."""
    out.mkdir(parents=True, exist_ok=True)
    merge = out / "merge.json"
    merge.write_text(json.dumps(infrastructure("wire").merge_template(stage), indent=2))
    environment = {"AWS_DEFAULT_REGION": "us-east-1", **os.environ}
    chalice = [str(_python()), "-c", "from chalice.cli import main; main()"]
    command = [*chalice, "package", "--stage", stage, "--merge-template", str(merge), str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if not (out / "sam.json").exists() or "Could not install dependencies" in done.stdout + done.stderr or done.returncode:
        raise PackageError(f"chalice package --stage {stage} failed:\n{done.stdout}{done.stderr}")
    slim(out / "deployment.zip")
    return Package(out / "deployment.zip", out / "sam.json")


def slim(archive: Path) -> None:
    """Leave out what no function reads, and all that differs between two packages of the same files."""
    slimmer = archive.with_suffix(".slim")
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(slimmer, "w") as kept:
        named = _named(_source(whole))
        for name in sorted(whole.namelist()):
            if _is_read(name, named):
                entry = zipfile.ZipInfo(name, BEGINNING)
                entry.external_attr = whole.getinfo(name).external_attr
                kept.writestr(entry, whole.read(name), zipfile.ZIP_DEFLATED, 9)
    slimmer.replace(archive)


def _source(archive: zipfile.ZipFile) -> str:
    ours = [name for name in archive.namelist() if name.endswith(".py") and name.startswith(("app.py", "chalicelib/"))]
    return "\n".join(archive.read(name).decode() for name in ours)


def _named(source: str) -> set[str]:
    """Return every text that could be the name of a service: a part of one's own may call one that nothing else does."""
    return set(re.findall(r"""["']([a-z0-9-]+)["']""", source))


def _is_read(name: str, named: set[str]) -> bool:
    if name.endswith((".c", ".pyx", ".pxd")):
        return False
    service, slash, _ = name.removeprefix(MODELS).partition("/")
    return not (name.startswith(MODELS) and slash) or service in named


def check(archive: Path, architecture: str) -> str:
    """Prove that the zip's binaries fit and its modules import; return a line that says what was found."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as files:
            files.extractall(folder)
            services = sorted(set(re.findall(r"""\bclient\(\s*["']([a-z0-9-]+)["']""", _source(files))))
        binaries = list(_binaries(Path(folder)))
        wrong = [f"{path.name} is for {machine}" for path, machine in binaries if machine != architecture]
        if wrong or not binaries:
            raise PackageError(f"{archive} should hold binaries for {architecture}: {wrong or 'it holds none'}")
        imported = _import_all(Path(folder), services)
    size_mb = archive.stat().st_size / 1e6
    if size_mb > LARGEST_MB:
        raise PackageError(f"{archive} has {size_mb:.1f} MB; {LARGEST_MB:.0f} are enough.")
    return f"{size_mb:.1f} MB, {len(binaries)} binaries for {architecture}, {imported} modules imported"


def check_template(template: Path) -> str:
    """Lint the template as it is and as AWS translates it, and see that it opens nothing; return a line about it."""
    if not all(map(find_spec, LINTERS)):
        return "its template was not looked at: that takes requirements-dev.txt"
    checks = infrastructure("checks")
    content = json.loads(template.read_text())
    translated = checks.translate(content)
    found = [*_lint(content), *_lint(translated), *checks.problems(translated)]
    if found:
        raise PackageError(f"{template} should not be deployed:\n" + "\n".join(found))
    return f"{len(translated['Resources'])} resources, linted as they are and as AWS translates them, nothing open"


def _lint(template: Any) -> Iterator[str]:
    from cfnlint.api import lint  # for developers only, and slow to import

    for match in lint(json.dumps(template)):
        yield f"{match.rule.id} {match.message} (line {match.linenumber})"


def infrastructure(name: str) -> Any:
    """Return a module of the project's infrastructure/, which is a folder of programs and no package that is installed."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    return import_module(f"infrastructure.{name}")


def _binaries(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in folder.rglob("*.so*"):
        header = path.read_bytes()[:20]
        yield path, ELF_MACHINES.get(int.from_bytes(header[18:20], "little"), "an unknown machine")


def _import_all(folder: Path, services: list[str]) -> int:
    with tempfile.TemporaryDirectory() as host:
        _install_native(folder, Path(host))
        command = [str(_python()), "-I", "-S", "-W", "error", "-c", IMPORTER, host, str(folder), *services]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackageError(f"A module of the package does not import:\n{done.stderr}")
    return int(done.stdout)


def _install_native(folder: Path, host: Path) -> None:
    """Put this machine's wheels of the packages with binaries beside the package, in the package's own versions."""
    wanted = [f"{name}=={version}" for name, version in _native(folder)]
    if not any(requirement.startswith("cryptography==") for requirement in wanted):
        raise PackageError(f"The package holds binaries of {', '.join(wanted) or 'nothing'}: a wheel is missing.")
    command = [str(_python()), "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target", str(host)]
    subprocess.run([*command, *wanted], check=True)


def _native(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield name and version of each installed package that has binaries, as its own record of its files says."""
    for info in folder.glob("*.dist-info"):
        name, version = re.fullmatch(r"(.+)-([^-]+)\.dist-info", info.name).groups()  # type: ignore[union-attr]
        if re.search(r"\.so[\w.]*,", (info / "RECORD").read_text()):
            yield name, version


@cache
def _python() -> Path:
    """Return a Python that Lambda has, with what packaging takes: this one, or another's environment. Or exit."""
    if fits(sys.version_info[:2]):
        return Path(sys.executable)
    python, environment = _found_python(), ROOT / ".venv-package"
    ours = environment / "bin" / "python"
    pip = [str(ours), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "venv", str(environment)], check=True)
    chalice = next(line for line in (ROOT / "requirements-local.txt").read_text().split() if line.startswith("chalice=="))
    subprocess.run([*pip, chalice, "-r", str(ROOT / "requirements.txt")], check=True)
    return ours


def fits(version: tuple[int, int]) -> bool:
    """Tell whether a Python of this version may package."""
    return OLDEST <= version <= NEWEST


def _found_python() -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for python in (*FITTING, *map(str, pyenv.glob("versions/3.1[2-5].*/bin/python"))):
        # pyenv puts names on the PATH that only say that they are not active.
        if shutil.which(python) and not subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
            return python
    oldest, newest = (".".join(map(str, version)) for version in (OLDEST, NEWEST))
    sys.exit(f"Packaging for AWS wants a Python from {oldest} to {newest}, and there is none of {', '.join(FITTING)} here.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="+", metavar="STAGE")
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    options = parser.parse_args()
    for stage in options.stages:
        try:
            made = package(stage, options.out / stage)
            found, templated = check(made.archive, ARCHITECTURE), check_template(made.template)
        except PackageError as error:
            sys.exit(f"{stage}: {error}")
        print(f"{stage}: {found}\n{stage}: {templated}")


if __name__ == "__main__":
    main()
