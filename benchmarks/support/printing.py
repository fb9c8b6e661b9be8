"""What every benchmark's command line shares: `--json` prints one JSON object and nothing else."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout

Numbers = Mapping[str, object]


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    made.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    return made


@contextmanager
def product_silenced() -> Iterator[None]:
    """Let the product write its log lines, as it must, to where nobody reads them. Import it in this block."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def show(numbers: Numbers, as_json: bool) -> None:
    if as_json:
        json.dump(numbers, sys.stdout)
        print()
        return
    width = max(map(len, numbers))
    for name, value in numbers.items():
        print(f"{name:<{width}}  {value}")
