"""What every transport to PostgreSQL does, whatever it runs over. A suite subclasses this and provides `database`."""

import threading
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.errors import LibraryUnavailable, PaiError
from chalicelib.retriever.pgvector.database import Database, SchemaMissing, Value

TEXTS = ["", "plain", "Grüße, 日本語, 👩‍🚀", "a 'quoted' \"name\" \\ back\nslash %s %(x)s :x ::y $1", "x" * 60_000]
SECRET = "the lease says 4711"
COLUMNS = {"id": "bigint", "body": "text", "score": "double precision", "seen": "boolean", "digest": "bytea"}


class DatabaseContract:
    @pytest.fixture
    def notes(self, database: Database) -> Database:
        """A database with an empty table of notes."""
        database.fetch(
            "CREATE TABLE notes (id bigint PRIMARY KEY, body text, score double precision, seen boolean, digest bytea)"
        )
        return database

    @pytest.mark.parametrize(
        ("sql", "value"),
        [
            *(("SELECT :value::text", text) for text in TEXTS),
            ("SELECT :value::bigint", 0),
            ("SELECT :value::bigint", -(2**63)),
            ("SELECT :value::bigint", 2**63 - 1),
            ("SELECT :value::double precision", 0.1),
            ("SELECT :value::double precision", -1e300),
            ("SELECT :value::boolean", True),
            ("SELECT :value::boolean", False),
            ("SELECT :value::bytea", b""),
            ("SELECT :value::bytea", bytes(range(256))),
            ("SELECT :value::text", None),
            ("SELECT :value::bigint", None),
        ],
    )
    def test_value_comes_back_as_it_was_given(self, database: Database, sql: str, value: Value) -> None:
        [[found]] = database.fetch(sql, {"value": value})

        assert found == value
        assert type(found) is type(value)

    def test_vector_goes_in_as_a_parameter_and_by_load(self, database: Database) -> None:
        database.fetch("CREATE EXTENSION vector")
        database.fetch("CREATE TABLE vectors (id bigint, embedding halfvec(3))")
        vector = array("f", [0.5, -0.25, 65504.0])

        with database.transaction() as connection:
            connection.load("vectors", {"id": "bigint", "embedding": "halfvec(3)"}, [(1, vector), (2, None)])
        [[text, distance]] = database.fetch(
            "SELECT embedding::text, embedding <-> :v::halfvec FROM vectors WHERE id = 1", {"v": vector}
        )

        assert (text, distance) == ("[0.5,-0.25,65504]", 0.0)

    def test_statement_without_a_result_returns_no_rows(self, notes: Database) -> None:
        assert list(notes.fetch("DELETE FROM notes")) == []

    def test_question_without_an_answer_returns_no_rows(self, notes: Database) -> None:
        assert list(notes.fetch("SELECT id FROM notes")) == []

    def test_colons_that_are_no_parameters_are_left_alone(self, database: Database) -> None:
        sql = """SELECT ':a ''::b', E'\\':c', $$ :d $$, $x$ :e $x$, "f" -- :g
                 FROM (VALUES ('100%'::text)) AS t("f") /* :h */ WHERE :i::int = 7 AND 7 % 4 = 3"""

        assert [list(row) for row in database.fetch(sql, {"i": 7})] == [[":a '::b", "':c", " :d ", " :e ", "100%"]]

    def test_block_of_statements_in_dollar_quotes_is_one_statement(self, notes: Database) -> None:
        notes.fetch("DO $$ BEGIN INSERT INTO notes (id) VALUES (1); INSERT INTO notes (id) VALUES (2); END $$")

        assert [list(row) for row in notes.fetch("SELECT count(*) FROM notes")] == [[2]]

    @pytest.mark.parametrize("given", [{}, {"a": 1, "b": 2}])
    def test_parameters_must_be_those_of_the_statement(self, database: Database, given: dict[str, Value]) -> None:
        with pytest.raises(ValueError, match=r"named or given"):
            database.fetch("SELECT :a::int", given)

    @pytest.mark.parametrize(
        "text", ["'; DROP TABLE notes; --", "1 OR 1=1", "$$; DROP TABLE notes", "\\'; DROP TABLE notes; --"]
    )
    def test_sql_in_a_value_stays_a_value(self, notes: Database, text: str) -> None:
        notes.fetch("INSERT INTO notes (id, body) VALUES (1, :body)", {"body": text})
        with notes.transaction() as connection:
            connection.load("notes", {"id": "bigint", "body": "text"}, [(2, text)])

        assert list(notes.fetch("SELECT id FROM notes WHERE body = :body ORDER BY id", {"body": text + "!"})) == []
        assert [row[0] for row in notes.fetch("SELECT id FROM notes WHERE body = :body ORDER BY id", {"body": text})] == [1, 2]

    def test_two_statements_at_once_are_refused(self, notes: Database) -> None:
        with pytest.raises(PaiError):
            notes.fetch("SELECT 1; DROP TABLE notes")

        assert list(notes.fetch("SELECT id FROM notes")) == []

    def test_transaction_is_kept_as_a_whole(self, notes: Database) -> None:
        with notes.transaction() as connection:
            connection.fetch("INSERT INTO notes (id) VALUES (:id)", {"id": 1})
            connection.fetch("INSERT INTO notes (id) VALUES (:id)", {"id": 2})

        assert self._ids(notes) == [1, 2]

    def test_transaction_that_fails_leaves_nothing(self, notes: Database) -> None:
        with pytest.raises(RuntimeError), notes.transaction() as connection:  # noqa: PT012 - the block is the test
            connection.fetch("INSERT INTO notes (id) VALUES (1)")
            connection.load("notes", {"id": "bigint"}, [(2,)])
            raise RuntimeError

        assert self._ids(notes) == []

    def test_refused_statement_undoes_its_transaction(self, notes: Database) -> None:
        with pytest.raises(PaiError), notes.transaction() as connection:  # noqa: PT012 - the block is the test
            connection.fetch("INSERT INTO notes (id) VALUES (1)")
            connection.fetch("INSERT INTO notes (id) VALUES (1)")

        assert self._ids(notes) == []

    def test_transactions_do_not_see_each_others_unfinished_work(self, notes: Database) -> None:
        with notes.transaction() as first, notes.transaction() as second:
            first.fetch("INSERT INTO notes (id) VALUES (1)")
            seen = second.fetch("SELECT id FROM notes")

        assert list(seen) == []
        assert self._ids(notes) == [1]

    def test_threads_use_it_at_once(self, notes: Database) -> None:
        barrier = threading.Barrier(12)

        def insert(id_: int) -> None:
            barrier.wait()
            with notes.transaction() as connection:
                connection.fetch("INSERT INTO notes (id) VALUES (:id)", {"id": id_})

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(insert, range(12)))

        assert self._ids(notes) == list(range(12))

    def test_load_keeps_every_value(self, notes: Database) -> None:
        rows = [(i, text, i / 3, bool(i % 2), bytes([i])) for i, text in enumerate(TEXTS)]
        rows_with_nothing = [*rows, (99, None, None, None, None)]

        with notes.transaction() as connection:
            loaded = connection.load("notes", COLUMNS, rows_with_nothing)

        found = notes.fetch("SELECT id, body, score, seen, digest FROM notes WHERE id < 4 OR id = 99 ORDER BY id")
        assert loaded == 6
        assert [tuple(row) for row in found] == [*rows[:4], rows_with_nothing[-1]]

    def test_load_takes_more_than_fits_into_one_request(self, notes: Database) -> None:
        def rows() -> Iterator[tuple[int, str]]:
            for i in range(300):
                yield i, "ä" * 10_000

        with notes.transaction() as connection:
            assert connection.load("notes", {"id": "bigint", "body": "text"}, rows()) == 300

        assert [list(row) for row in notes.fetch("SELECT count(*), sum(length(body))::bigint FROM notes")] == [
            [300, 3_000_000]
        ]

    def test_load_of_nothing_is_no_error(self, notes: Database) -> None:
        with notes.transaction() as connection:
            assert connection.load("notes", {"id": "bigint"}, []) == 0

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT * FROM nowhere",
            "SELECT nothing()",
            "SELECT missing FROM notes",
            "SELECT 'x'::unheard",
            "SELECT 1 FROM no.where",
        ],
    )
    def test_missing_schema_is_told_from_other_refusals(self, notes: Database, sql: str) -> None:
        with pytest.raises(SchemaMissing):
            notes.fetch(sql)
        with pytest.raises(SchemaMissing), notes.transaction() as connection:
            connection.fetch(sql)

    def test_load_into_a_missing_table_is_told_too(self, database: Database) -> None:
        with pytest.raises(SchemaMissing), database.transaction() as connection:
            connection.load("nowhere", {"id": "bigint"}, [(1,)])

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT :text::bigint",
            "INSERT INTO notes (id, body) SELECT 1, :text FROM generate_series(1, 2)",
            "SELECT 1 / 0 FROM notes RIGHT JOIN (SELECT :text::text) AS t ON true",
            "SELECT count(:text::text) FROM nowhere_4711",
            "SELEKT :text",
        ],
    )
    def test_refusal_repeats_neither_statement_nor_value(self, notes: Database, sql: str) -> None:
        with pytest.raises((PaiError, SchemaMissing)) as refused:
            notes.fetch(sql, {"text": SECRET})

        told = f"{refused.value!r} {refused.value.__cause__!r}"
        assert not any(word in told for word in (SECRET, "4711", "SELECT", "INSERT", "SELEKT"))
        assert refused.value.__suppress_context__

    def test_it_goes_on_after_a_refusal(self, notes: Database) -> None:
        with pytest.raises(PaiError):
            notes.fetch("SELECT 1 / 0")

        assert [list(row) for row in notes.fetch("SELECT 1")] == [[1]]

    def test_statement_that_takes_too_long_is_given_up(self, impatient: Database) -> None:
        with pytest.raises(LibraryUnavailable, match="too long"):
            impatient.fetch("SELECT pg_sleep(30)")

    def _ids(self, database: Database) -> list[Value]:
        return [row[0] for row in database.fetch("SELECT id FROM notes ORDER BY id")]
