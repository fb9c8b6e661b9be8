"""Write the parts of the docs that the program itself knows; with --check, only say whether they are still true.

    python docs/generate.py [--check]

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; its NAME is one of the functions in PARTS.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import operations_page  # noqa: E402 - it stands beside this file
from api_page import Page  # noqa: E402 - so does this

from chalicelib import errors, settings  # noqa: E402 - the folder above must be on the path first
from chalicelib.description import description  # noqa: E402
from pai.cli import main as cli  # noqa: E402

MARKED = re.compile(r"(<!-- generated: ([a-z -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings_table() -> str:
    """The variables with their defaults and what their docstrings say."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    said = dict(_attribute_docstrings(settings.Settings))
    for field in fields(settings.Settings):
        rows.append(f"| `PAI_{field.name.upper()}` | `{field.default}` | {said.get(field.name, '')} |")
    return "\n".join(rows)


def _attribute_docstrings(kind: type) -> Iterator[tuple[str, str]]:
    """Yield each attribute that a string follows, with that string on one line."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    for statement, following in pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            yield statement.target.id, " ".join(ast.literal_eval(following.value).split())  # type: ignore[union-attr]


def error_tree() -> str:
    """The error tree as its docstring draws it."""
    return f"```\n{inspect.cleandoc(errors.__doc__ or '')}\n```"


def command_help() -> str:
    """What each command prints for --help."""
    return "\n\n".join(f"## `{path}`\n\n```\n{text}\n```" for path, text in _helps(cli, "pai", None))


def _helps(command: click.Command, path: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    context = click.Context(command, info_name=path.split()[-1], parent=parent, terminal_width=100, max_content_width=100)
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child and not child.hidden:
                yield from _helps(child, f"{path} {name}", context)


def app_excerpt() -> str:
    """The first routes of app.py, as they stand there."""
    source = (ROOT / "app.py").read_text()
    start = source.index('@route("/chat", "POST")')
    first, second, *_ = source[start:].split("\n" * 3)
    return f"```python\n{first}\n\n\n{second}\n```"


def api() -> str:
    """The API's description, as people read it."""
    return Page(description()).text()


PARTS = {
    "api": api,
    "settings": settings_table,
    "errors": error_tree,
    "commands": command_help,
    "app excerpt": app_excerpt,
    **operations_page.PARTS,
}


def generated(text: str) -> str:
    """Return a page with its generated parts made anew."""
    return MARKED.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}\n{part[3]}", text)


def main() -> None:
    stale = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text()
        fresh = generated(text)
        if fresh != text and "--check" not in sys.argv:
            page.write_text(fresh)
        elif fresh != text:
            stale.append(page.name)
    if stale:
        sys.exit(f"Stale: {', '.join(stale)}. Run `python docs/generate.py`.")


if __name__ == "__main__":
    main()
