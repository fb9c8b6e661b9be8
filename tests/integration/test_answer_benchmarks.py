"""The benchmarks of answers, as programs: tiny runs without a model, on parts in memory."""

import json
from pathlib import Path

from benchmarks.answers import Outcome, Question, numbers, questions
from chalicelib.chat.fence import NOT_THERE
from chalicelib.chat.prompt import Findings
from chalicelib.records import Citation, Message, Retrieval
from tests.integration.test_benchmarks import numbers_of

IN_MEMORY = ("--retriever", "memory", "--embedder", "hashed")


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
        folder = tmp_path / name
        folder.mkdir()
        document = {"_id": "d1", "title": "", "text": f"Everything about the {word} stands here."}
        asked = [{"_id": "q1", "text": f"Everything about the {word}"}, {"_id": "q2", "text": "not judged"}]
        (folder / "corpus.jsonl").write_text(json.dumps(document) + "\n")
        (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
        (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td1\t0\n")

    found = numbers_of("grounding", "--data", str(tmp_path), *IN_MEMORY)

    assert found["false_refusal"] == 0
    assert found["refused"]["pets"].keys() == found["refused"]["stars"].keys() == {"pets", "stars"}
