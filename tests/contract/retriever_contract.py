"""The retriever's contract as tests. A backend of your own passes them like this, in any test file:

class TestMyRetriever(RetrieverContract):
    @pytest.fixture
    def retriever(self) -> Retriever:
        return MyRetriever()
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.embedder import Space
from chalicelib.embedder.hashed import HashedEmbedder
from chalicelib.errors import EmbedderChanged
from chalicelib.records import Chunk, Passage
from chalicelib.retriever import Indexed, Indexing, Query, Removed, Retriever

EMBEDDER = HashedEmbedder(64)
PETS = "Pets are allowed with a deposit of 300 euros."
RENT = "The rent is due on the third of each month."
KEYS = "Two keys are handed over on moving in."
NONSENSE = (
    "",
    "   ",
    "the of and",
    "'; DROP TABLE pai.chunks; --",
    "a & b | !c <-> (d:*",
    "nul\0 in it",
    "word " * 2000,
    "\ud800",
)


def chunk(ordinal: int, text: str, context: str = "Lease") -> Chunk:
    return Chunk(ordinal, 0, 1, context, text, ordinal * 100)


def index(
    retriever: Retriever, owner: str, document_id: str, texts: Sequence[str], *, generation: str = "1", language: str = "en"
) -> None:
    """Index a document whose chunks are no neighbours."""
    chunks = [chunk(number * 2, text) for number, text in enumerate(texts)]
    store(retriever, owner, document_id, chunks, generation=generation, language=language)


def store(
    retriever: Retriever,
    owner: str,
    document_id: str,
    chunks: Sequence[Chunk],
    *,
    generation: str = "1",
    language: str = "en",
    last: bool = True,
) -> None:
    vectors = EMBEDDER.embed([one.text for one in chunks], "passage")
    indexing = Indexing(owner, document_id, generation, EMBEDDER.space, language)
    retriever.replace(indexing, chunks, vectors, last=last)


def ask(retriever: Retriever, owner: str, text: str, k: int = 6, documents: tuple[str, ...] = ()) -> Sequence[Passage]:
    [vector] = EMBEDDER.embed([text], "query")
    return retriever.search(Query(owner, text, vector, EMBEDDER.space, k, documents))


def found(passages: Sequence[Passage]) -> list[str]:
    return [passage.text for passage in passages]


class RetrieverContract:
    def test_the_passage_that_answers_comes_first(self, retriever: Retriever) -> None:
        index(retriever, "ana", "lease", [RENT, PETS, KEYS])
        [best, *_] = ask(retriever, "ana", "are pets allowed?")
        assert (best.text, best.document_id, best.page, best.id) == (PETS, "lease", 1, "2")
        assert 0 < best.score <= 1.001
        assert best.similarity is not None
        assert best.bm25 is not None

    def test_an_empty_index_finds_nothing(self, retriever: Retriever) -> None:
        assert list(ask(retriever, "ana", "pets")) == []
        assert list(retriever.chunks("ana", "lease")) == []
        assert list(retriever.inventory()) == []

    def test_nobody_finds_what_is_anothers(self, retriever: Retriever) -> None:
        index(retriever, "ana", "lease", [PETS])
        index(retriever, "bob", "other", [RENT])
        assert found(ask(retriever, "bob", "pets deposit")) == [RENT]
        assert list(ask(retriever, "bob", "pets", documents=("lease",))) == []
        assert list(retriever.chunks("bob", "lease")) == []
        assert retriever.remove("bob", "lease") == Removed(0, 0)
        assert found(ask(retriever, "ana", "pets")) == [PETS]

    def test_owners_may_use_the_same_document_id(self, retriever: Retriever) -> None:
        index(retriever, "ana", "lease", [PETS])
        index(retriever, "bob", "lease", [RENT])
        assert found(ask(retriever, "ana", "rent", documents=("lease",))) == [PETS]

    def test_an_owner_of_little_is_found_among_thousands_of_nearer_chunks_of_others(self, retriever: Retriever) -> None:
        index(retriever, "bob", "many", [f"pets deposit {number}" for number in range(1500)])
        index(retriever, "ana", "lease", [RENT, KEYS])
        assert {*found(ask(retriever, "ana", "pets deposit"))} == {RENT, KEYS}

    def test_a_search_within_documents_finds_only_theirs(self, retriever: Retriever) -> None:
        index(retriever, "ana", "lease", [PETS])
        index(retriever, "ana", "second", [RENT])
        index(retriever, "ana", "third", [KEYS])
        assert {*found(ask(retriever, "ana", "pets", documents=("second", "third", "missing")))} == {RENT, KEYS}

    def test_a_new_generation_is_seen_whole_or_not_at_all(self, retriever: Retriever) -> None:
        index(retriever, "ana", "lease", [PETS])
        store(retriever, "ana", "lease", [chunk(0, RENT)], generation="2", last=False)
        assert found(ask(retriever, "ana", "rent")) == [PETS]
        assert list(retriever.inventory()) == [Indexed("ana", "lease", "1", 1, 1)]
        store(retriever, "ana", "lease", [chunk(2, KEYS)], generation="2")
        assert {*found(ask(retriever, "ana", "rent"))} == {RENT, KEYS}
        assert list(retriever.inventory()) == [Indexed("ana", "lease", "2", 2, 0)]

    def test_a_first_generation_is_not_seen_before_its_end(self, retriever: Retriever) -> None:
        store(retriever, "ana", "lease", [chunk(0, PETS)], last=False)
        assert list(ask(retriever, "ana", "pets")) == []
        assert list(retriever.chunks("ana", "lease")) == []
        store(retriever, "ana", "lease", [], last=True)
        assert found(ask(retriever, "ana", "pets")) == [PETS]

    def test_a_stretch_that_comes_twice_is_there_once(self, retriever: Retriever) -> None:
        for text in (RENT, PETS):
            store(retriever, "ana", "lease", [chunk(0, text), chunk(2, KEYS)], last=False)
        store(retriever, "ana", "lease", [chunk(0, PETS), chunk(2, KEYS)])
        assert [one.text for one in retriever.chunks("ana", "lease")] == [PETS, KEYS]
        assert {*found(ask(retriever, "ana", "pets"))} == {PETS, KEYS}

    def test_removing_says_what_was_there_and_leaves_nothing(self, retriever: Retriever) -> None:
        index(retriever, "ana", "lease", [PETS, RENT])
        store(retriever, "ana", "lease", [chunk(0, KEYS)], generation="2", last=False)
        removed = retriever.remove("ana", "lease")
        assert removed.chunks == 3
        assert removed.postings > 3
        assert list(ask(retriever, "ana", "pets")) == []
        assert list(retriever.inventory()) == []
        assert retriever.remove("ana", "lease") == Removed(0, 0)

    def test_neighbours_that_both_belong_are_one_passage(self, retriever: Retriever) -> None:
        store(retriever, "ana", "lease", [chunk(4, PETS), chunk(5, "The pets' deposit is paid back."), chunk(9, KEYS)])
        [best, *_] = ask(retriever, "ana", "pets deposit")
        assert (best.id, [one.ordinal for one in best.chunks]) == ("4-5", [4, 5])

    def test_chunks_are_given_by_ordinal(self, retriever: Retriever) -> None:
        store(retriever, "ana", "lease", [chunk(number, f"Number {number}.") for number in range(450)])
        assert [one.ordinal for one in retriever.chunks("ana", "lease", 3, 5)] == [3, 4, 5]
        assert list(retriever.chunks("ana", "lease")) == [chunk(number, f"Number {number}.") for number in range(450)]

    @pytest.mark.parametrize(
        ("language", "text", "question"),
        [
            ("de", "Die Mieträume dürfen nicht untervermietet werden.", "Mieträume"),
            ("zh", "租客可以养猫和狗，但需支付押金。", "押金"),
            ("ja", "ペットの飼育は許可されています。", "飼育"),
            ("th", "อนุญาตให้เลี้ยงสัตว์", "เลี้ยงสัตว์"),
            ("ar", "يسمح بالحيوانات الأليفة", "الحيوانات الأليفة يسمح"),
            ("", "Lift/drag of the ﬁnest wings", "drag finest"),
        ],
    )
    def test_words_are_found_in_many_languages(self, retriever: Retriever, language: str, text: str, question: str) -> None:
        index(retriever, "ana", "doc", [text], language=language)
        [passage] = ask(retriever, "ana", question)
        assert passage.bm25 is not None

    @pytest.mark.parametrize("question", NONSENSE, ids=range(len(NONSENSE)))
    def test_any_question_has_an_answer(self, retriever: Retriever, question: str) -> None:
        index(retriever, "ana", "lease", [PETS])
        [vector] = EMBEDDER.embed(["pets"], "query")
        assert found(retriever.search(Query("ana", question, vector, EMBEDDER.space))) == [PETS]

    @pytest.mark.parametrize(("k", "passages"), [(-1, 1), (0, 1), (1, 1), (3, 3), (10_000, 10)])
    def test_k_is_kept_within_bounds(self, retriever: Retriever, k: int, passages: int) -> None:
        index(retriever, "ana", "lease", [f"{PETS} {number}" for number in range(10)])
        assert len(ask(retriever, "ana", "pets", k)) == passages

    def test_a_text_with_a_nul_is_stored(self, retriever: Retriever) -> None:
        index(retriever, "ana", "lease", ["pets\0 allowed"])
        assert len(ask(retriever, "ana", "pets")) == 1

    def test_vectors_of_another_model_are_refused(self, retriever: Retriever) -> None:
        index(retriever, "ana", "lease", [PETS])
        other = Space("other", 64)
        [vector] = EMBEDDER.embed([PETS], "query")
        with pytest.raises(EmbedderChanged, match="pai docs reindex"):
            retriever.search(Query("ana", "pets", vector, other))
        with pytest.raises(EmbedderChanged):
            retriever.replace(Indexing("ana", "new", "1", other), [chunk(0, PETS)], [vector], last=True)

    def test_documents_indexed_at_the_same_time_are_all_there(self, retriever: Retriever) -> None:
        index(retriever, "ana", "first", [PETS])

        def work(number: int) -> None:
            index(retriever, "ana", f"doc-{number % 4}", [PETS, RENT, KEYS], generation=str(number))
            ask(retriever, "ana", "pets")
            if number % 4 == 3:
                retriever.remove("ana", f"doc-{number % 4}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(8)))
        documents = {one.document_id: one.chunks for one in retriever.inventory()}
        assert {name: documents[name] for name in ("first", "doc-0", "doc-1", "doc-2")} == {
            "first": 1,
            **{f"doc-{number}": 3 for number in range(3)},
        }
