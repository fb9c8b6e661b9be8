"""The archive that is deployed: equal files make equal bytes, and what no function reads stays out."""

import zipfile
from pathlib import Path

import pytest

from pai.operate.package import PackageError, check, slim

FILES = {
    "app.py": b"",
    "chalicelib/store.py": b'client("dynamodb")',
    "botocore/data/endpoints.json": b"{}",
    "botocore/data/dynamodb/2012-08-10/service-2.json.gz": b"1",
    "botocore/data/sagemaker/2017-07-24/service-2.json.gz": b"2",
    "selectolax/lexbor.c": b"int main;",
}


def archive(folder: Path, year: int, files: dict[str, bytes]) -> Path:
    path = folder / f"{year}.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), content)
    return path


def test_models_of_services_that_nothing_calls_are_left_out(tmp_path: Path) -> None:
    path = archive(tmp_path, 2026, FILES)

    slim(path)

    with zipfile.ZipFile(path) as kept:
        assert set(FILES) - set(kept.namelist()) == {
            "botocore/data/sagemaker/2017-07-24/service-2.json.gz",
            "selectolax/lexbor.c",
        }


def test_equal_files_make_equal_packages_whenever_they_were_made(tmp_path: Path) -> None:
    one = archive(tmp_path, 2026, FILES)
    other = archive(tmp_path, 2027, dict(reversed(FILES.items())))

    slim(one)
    slim(other)

    assert one.read_bytes() == other.read_bytes()


def test_package_without_binaries_for_lambda_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="it holds none"):
        check(archive(tmp_path, 2026, FILES), "arm64")
