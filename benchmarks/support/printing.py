"""What every benchmark's command line shares: `--json` prints one JSON object and nothing else."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from tempfile import TemporaryFile

Numbers = Mapping[str, object]


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    made.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    return made


@contextmanager
def product_silenced() -> Iterator[None]:
    """Keep the product's log lines, which it writes as always, from standard output. Import it in this block.

    When something goes wrong, the last line says what.
    """
    with TemporaryFile("w+") as log, redirect_stdout(log):
        try:
            yield
        except RuntimeError as error:
            log.seek(0)
            raise RuntimeError(f"{error}\n{log.read()[-2000:]}") from error


def show(numbers: Numbers, as_json: bool) -> None:
    if as_json:
        json.dump(numbers, sys.stdout)
        print()
        return
    width = max(map(len, numbers))
    for name, value in numbers.items():
        print(f"{name:<{width}}  {value}")
