"""How pgvector reaches PostgreSQL: a transport runs statements with named parameters (`:name`) and loads rows in bulk.

A transport's module exports `build(settings) -> Database`. `direct` and `data_api` are here; `pai.local.postgres` starts a
PostgreSQL of its own and hands out the first.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

Value: TypeAlias = "str | int | float | bool | bytes | array[float] | None"
"""What a parameter or a cell holds. There are no SQL arrays: send them as JSON text. Numbers of results are cast to integer
types or double precision. `array("f")` is a halfvec, as a parameter (`:vector::halfvec`); as a result it is cast to text."""
Row: TypeAlias = Sequence[Value]


class Connection(Protocol):
    """One transaction. Raises `LibraryUnavailable`, `LibraryWaking`; `SchemaMissing` when a table or function is not there.

    After an error it takes no more statements. It may not be idle for three minutes.
    """

    def fetch(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Sequence[Row]:
        """Run one statement and return its rows (none for a statement without a result): 1 MB in all, 64 KB a row.

        Parameters, all of them and no others, are `:name` in it. Where their type matters, it casts them: `:k::int`, for one
        transport gives an int as bigint and a str as varchar, and the other leaves it to PostgreSQL what they are.
        """
        ...

    def load(self, table: str, columns: Mapping[str, str], rows: Iterable[Row]) -> int:
        """Insert rows into a table, `columns` being name → SQL type, in the order of each row; return how many."""
        ...


class Database(Protocol):
    def transaction(self) -> AbstractContextManager[Connection]:
        """Begin a transaction: committed at the end of the block, rolled back when it raises."""
        ...

    def fetch(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Sequence[Row]:
        """Run one statement in a transaction of its own: one round trip."""
        ...


class SchemaMissing(Exception):
    """The schema is not there, or older than what is asked of it."""
