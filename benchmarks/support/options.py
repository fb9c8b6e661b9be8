"""What benchmarks are told on the command line: options that several have, and how one is run by its own."""

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.engine import DEFAULT_MODEL
from benchmarks.support.printing import Numbers, parser, show


@dataclass(frozen=True)
class Option:
    """`--max-tokens` for the argument `max_tokens` of a benchmark's `measure`. What has no default is None, if not required.

    `many`: one or more of them, as a list.
    """

    name: str
    help: str
    type: Callable[[str], object] = str
    default: object = None
    required: bool = False
    many: bool = False

    def add_to(self, arguments: ArgumentParser) -> None:
        arguments.add_argument(
            f"--{self.name.replace('_', '-')}",
            type=self.type,
            nargs="+" if self.many else None,
            default=self.default,
            required=self.required,
            help=self.help,
        )


MODEL = Option("model", "a name of the catalogue, or the path of a GGUF file", default=DEFAULT_MODEL)
COLLECTIONS = Option("data", "a folder of judged collections", Path, required=True)
CACHE = Option("cache", "a folder that keeps embeddings between runs", Path)
RETRIEVER = Option("retriever", "as PAI_RETRIEVER", default="pgvector")
EMBEDDER = Option("embedder", "as PAI_EMBEDDER", default="pai.local.minilm")


def number(name: str, default: int, help: str) -> Option:
    return Option(name, help, int, default)


def run(description: str | None, measure: Callable[..., Numbers], *options: Option) -> None:
    """Be a benchmark's program: measure what the command line asks for, and print the numbers."""
    arguments = parser(description)
    for option in options:
        option.add_to(arguments)
    given = vars(arguments.parse_args())
    as_json = given.pop("json")
    show(measure(**given), as_json)
