"""The benchmarks of answers, as programs: tiny runs without a model, on parts in memory."""

import json
from pathlib import Path

from benchmarks.answers import Outcome, Question, numbers, questions
from chalicelib.chat.fence import NOT_THERE
from chalicelib.chat.prompt import Findings
from chalicelib.records import Citation, Message, Retrieval
from tests.integration.test_benchmarks import numbers_of

IN_MEMORY = ("--retriever", "memory", "--embedder", "hashed")


def write_collection(
    folder: Path, records: dict[str, str], queries: dict[str, str], judgements: dict[tuple[str, str], int]
) -> None:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"_id": id, "title": "", "text": text}) for id, text in records.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": id, "text": text}) for id, text in queries.items()))
    judged = [f"{query}\t{record}\t{gain}" for (query, record), gain in judgements.items()]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]))


def test_documents_are_read_and_looked_through_for_the_questions(tmp_path: Path) -> None:
    (tmp_path / "testStandardsExtractor.txt").write_text("Publication 197 of FIPS is the Advanced Encryption Standard.")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing else")

    found = numbers_of("answers", "--docs", str(tmp_path), "--retrieval-only", *IN_MEMORY)

    assert (found["questions"], found["with_answer"]) == (60, 30)
    assert (found["documents"], found["documents_ready"], found["chunks"]) == (2, 1, 1)
    assert found["retrieval"]["right_document"] > 0
    assert "right_source" not in found


def test_half_of_the_questions_have_an_answer_and_each_says_where_and_in_which_words() -> None:
    asked = questions()

    assert len({question.question for question in asked}) == 60
    assert sum(bool(question.documents) for question in asked) == 30
    assert all(bool(question.documents) == bool(question.words) for question in asked)


def outcome(question: Question, content: str, *citations: Citation, status: str = "used") -> Outcome:
    answer = Message("2", "assistant", content, "", citations=citations, retrieval=Retrieval(status))  # type: ignore[arg-type]
    return Outcome(question, Findings(), answer, 1.0)


def test_answers_count_by_what_they_cite_and_refusals_by_what_they_say() -> None:
    known, unknown = Question("rent?", ("lease.pdf",), ("950 euros|€ 950",)), Question("moons?")
    right = Citation(1, "d", "0", "lease.pdf", 1, "the rent is\n950 Euros a month", 0.5)
    wrong = Citation(1, "d", "0", "diary.txt", None, "it was a fine day for all", 0.5)

    found = numbers(
        [
            outcome(known, "It is 950 euros [1].", right),
            outcome(known, "It was fine [1].", wrong),
            outcome(known, NOT_THERE, status="empty"),
            outcome(known, "The documents do not say that."),
            outcome(unknown, NOT_THERE, status="empty"),
            outcome(unknown, "This is not in your documents."),
            outcome(unknown, "Seventy-nine."),
            outcome(unknown, "The documents do not say it, but it was fine [1].", wrong),
        ],
        with_model=True,
    )

    assert (found["right_source"], found["gold_in_quote"], found["gold_in_answer"]) == (0.25, 0.25, 0.25)
    assert (found["refused_wrongly"], found["refused_rightly"]) == (0.5, 0.5)


def test_threshold_is_measured_on_each_set_against_its_own_documents_and_the_others(tmp_path: Path) -> None:
    for name, word in (("pets", "dog"), ("stars", "galaxy")):
        write_collection(
            tmp_path / name,
            {"d1": f"Everything about the {word} stands here."},
            {"q1": f"Everything about the {word}", "q2": "not judged"},
            {("q1", "d1"): 1, ("q2", "d1"): 0},
        )

    found = numbers_of("grounding", "--data", str(tmp_path), *IN_MEMORY)

    assert found["false_refusal"] == 0
    assert found["refused"]["pets"].keys() == found["refused"]["stars"].keys() == {"pets", "stars"}


def test_every_owner_asks_every_question_and_finds_only_their_own(tmp_path: Path) -> None:
    said = "We met at the pottery class in June."
    write_collection(tmp_path / "talks", {"ana/1": said, "ben/1": said}, {"q": said}, {("q", "ana/1"): 1})
    write_collection(tmp_path / "papers", {"1": said}, {"q": said}, {("q", "1"): 1})

    found = numbers_of("isolation", "--data", str(tmp_path), *IN_MEMORY)

    assert found == {"owners": 2, "searches": 2, "found": 2, "foreign": 0}
