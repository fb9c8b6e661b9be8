"""Statements with named parameters, `:name`: what they name, and the form that psycopg takes."""

import re
from collections.abc import Iterable
from functools import lru_cache

# What may hold a colon that is no parameter's, by PostgreSQL's lexical rules
# (https://www.postgresql.org/docs/current/sql-syntax-lexical.html); comments in comments are not told apart.
_TOKENS = re.compile(
    r"""
    [eE]'(?:[^'\\]|\\.|'')*'            # a string with backslash escapes
    | '(?:[^']|'')*'                    # a string
    | "(?:[^"]|"")*"                    # a quoted name
    | \$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$  # a dollar-quoted string
    | --[^\n]* | /\*.*?\*/              # comments
    | \w+                               # a word, which may end in e or hold dollars
    | ::                                # a cast
    | :(?P<name>[^\W\d]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


@lru_cache(maxsize=512)
def parameter_names(sql: str) -> frozenset[str]:
    """Return the names of a statement's parameters."""
    return frozenset(match["name"] for match in _TOKENS.finditer(sql) if match["name"])


@lru_cache(maxsize=512)
def for_psycopg(sql: str) -> str:
    """Return the statement with `:name` as `%(name)s`, and each % of its own doubled."""
    pieces, end = [], 0
    for match in _TOKENS.finditer(sql):
        if match["name"]:
            pieces += [sql[end : match.start()].replace("%", "%%"), f"%({match['name']})s"]
            end = match.end()
    return "".join([*pieces, sql[end:].replace("%", "%%")])


def check_names(sql: str, given: Iterable[str]) -> None:
    """Raise ValueError unless exactly the statement's parameters are given: one transport would forgive what another won't."""
    wrong = parameter_names(sql) ^ set(given)
    if wrong:
        raise ValueError(f"parameters that are named or given, but not both: {', '.join(sorted(wrong))}")
