"""`python -m pai.operate.package STAGE…`: package each stage as Chalice does, and prove that what it made would start.

Lambda's Python is the one that packages, and it must be 3.12 or newer: older runtimes have a C library that some wheels
are not made for. An older Python hands the work to a newer one of this machine, in an environment of its own.

Chalice only warns when a wheel can't be had, and leaves it out. So the zip is opened, every binary in it is checked for the
architecture it was made for, and every module of ours is imported from it in a clean interpreter.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ELF_MACHINES = {62: "x86_64", 183: "arm64"}
"""e_machine in the ELF header: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html"""
OLDEST = (3, 12)
NEWER = ("python3.14", "python3.13", "python3.12")
IMPORTER = """
import importlib, pathlib, pkgutil, sys
host, package = sys.argv[1:]
sys.path[:0] = [host, package]
names = ["app", *(module.name for module in pkgutil.walk_packages([package + "/chalicelib"], "chalicelib."))]
names = [name for name in names if name.rpartition(".")[2] != "__main__"]  # those are run, not imported
names += [path.stem for path in pathlib.Path(package).iterdir() if (path / "__init__.py").exists()]
for name in names:
    importlib.import_module(name)
stray = [name for name, module in sys.modules.items() if "site-packages" in (getattr(module, "__file__", None) or "")]
assert not stray, f"not from the package: {stray}"
print(len(names))
"""


class PackageError(Exception):
    """The package would not start; the sentence says why."""


def package(stage: str, out: Path) -> Path:
    """Run `chalice package` into `out`; return the zip."""
    environment = {"AWS_DEFAULT_REGION": "us-east-1", **os.environ}
    command = [sys.executable, "-c", "from chalice.cli import main; main()", "package", "--stage", stage, str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or "Could not install dependencies" in done.stdout + done.stderr:
        raise PackageError(f"chalice package --stage {stage} failed:\n{done.stdout}{done.stderr}")
    return out / "deployment.zip"


def check(archive: Path, architecture: str) -> str:
    """Prove that the zip's binaries fit and its modules import; return a line that says what was found."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as files:
            files.extractall(folder)
        binaries = list(_binaries(Path(folder)))
        wrong = [f"{path.name} is for {machine}" for path, machine in binaries if machine != architecture]
        if wrong or not binaries:
            raise PackageError(f"{archive} should hold binaries for {architecture}: {wrong or 'it holds none'}")
        imported = _import_all(Path(folder))
    size_mb = archive.stat().st_size / 1e6
    return f"{size_mb:.1f} MB, {len(binaries)} binaries for {architecture}, {imported} modules imported"


def _binaries(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in folder.rglob("*.so*"):
        header = path.read_bytes()[:20]
        yield path, ELF_MACHINES.get(int.from_bytes(header[18:20], "little"), "an unknown machine")


def _import_all(folder: Path) -> int:
    with tempfile.TemporaryDirectory() as host:
        _install_native(folder, Path(host))
        command = [sys.executable, "-I", "-S", "-W", "error", "-c", IMPORTER, host, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackageError(f"A module of the package does not import:\n{done.stderr}")
    return int(done.stdout)


def _install_native(folder: Path, host: Path) -> None:
    """Put this machine's wheels of the packages with binaries beside the package, in the package's own versions."""
    wanted = [f"{name}=={version}" for name, version in _native(folder)]
    if not any(requirement.startswith("cryptography==") for requirement in wanted):
        raise PackageError(f"The package holds binaries of {', '.join(wanted) or 'nothing'}: a wheel is missing.")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target", str(host)]
    subprocess.run([*command, *wanted], check=True)


def _native(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield name and version of each installed package that has binaries, as its own record of its files says."""
    for info in folder.glob("*.dist-info"):
        name, version = re.fullmatch(r"(.+)-([^-]+)\.dist-info", info.name).groups()  # type: ignore[union-attr]
        if re.search(r"\.so[\w.]*,", (info / "RECORD").read_text()):
            yield name, version


def _newer_python() -> Path:
    """Return a Python that is new enough, in an environment with what packaging takes. Or exit."""
    python, environment = _found_python(), ROOT / ".venv-package"
    ours = environment / "bin" / "python"
    pip = [str(ours), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "venv", str(environment)], check=True)
    chalice = next(line for line in (ROOT / "requirements-local.txt").read_text().split() if line.startswith("chalice=="))
    subprocess.run([*pip, chalice, "-r", str(ROOT / "requirements.txt")], check=True)
    return ours


def _found_python() -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for python in (*NEWER, *map(str, pyenv.glob("versions/3.1[2-9].*/bin/python"))):
        # pyenv puts names on the PATH that only say that they are not active.
        if shutil.which(python) and not subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
            return python
    sys.exit(f"Packaging for AWS wants Python 3.12 or newer, and there is none of {', '.join(NEWER)} here.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="+", metavar="STAGE")
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    options = parser.parse_args()
    if sys.version_info < OLDEST:
        python = str(_newer_python())
        os.execv(python, [python, "-m", "pai.operate.package", *sys.argv[1:]])
    for stage in options.stages:
        try:
            found = check(package(stage, options.out / stage), "arm64")
        except PackageError as error:
            sys.exit(f"{stage}: {error}")
        print(f"{stage}: {found}")


if __name__ == "__main__":
    main()
