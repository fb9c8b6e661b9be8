"""What every embedder does. A test class of a backend inherits this and gives it an `embedder`."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.embedder import Embedder, Vector

LEASE = "The tenant may keep one small dog in the flat."
PARAPHRASE = "A small dog may be kept in the flat by the tenant."
OTHER = "Photosynthesis turns sunlight and water into sugar."


def cosine(one: "Vector[float]", other: "Vector[float]") -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


class EmbedderContract:
    def test_vectors_come_in_the_order_of_the_texts(self, embedder: Embedder) -> None:
        texts = [LEASE, OTHER, "", PARAPHRASE]

        together = embedder.embed(texts, "passage")

        for text, vector in zip(texts, together, strict=True):
            assert cosine(vector, embedder.embed([text], "passage")[0]) == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize(
        "text",
        [
            LEASE,
            "",
            " \n\t",
            "Die Straße ist naß.",
            "猫は部屋にいる。",
            "الكلب صغير",
            "🐕",
            "a\x00b",
            "x" * 300_000,
            "дом " * 20_000,
        ],
        ids=["plain", "empty", "blank", "german", "japanese", "arabic", "emoji", "control", "one long word", "long"],
    )
    def test_any_text_has_a_vector_of_unit_length(self, embedder: Embedder, text: str) -> None:
        [vector] = embedder.embed([text], "passage")

        assert vector.typecode == "f"
        assert len(vector) == embedder.space.dimensions
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)

    def test_no_texts_have_no_vectors(self, embedder: Embedder) -> None:
        assert list(embedder.embed([], "passage")) == []

    def test_text_is_nearer_to_its_paraphrase_than_to_another(self, embedder: Embedder) -> None:
        [query] = embedder.embed([PARAPHRASE], "query")
        near, far = embedder.embed([LEASE, OTHER], "passage")

        assert cosine(query, near) > cosine(query, far) + 0.2

    def test_many_texts_at_once_are_the_same_as_by_themselves(self, embedder: Embedder) -> None:
        texts = [f"Page {number} of the lease" for number in range(200)]

        vectors = embedder.embed(texts, "passage")

        assert len(vectors) == 200
        assert cosine(vectors[150], embedder.embed([texts[150]], "passage")[0]) == pytest.approx(1, abs=1e-5)

    def test_threads_at_once_get_the_vectors_of_their_own_texts(self, embedder: Embedder) -> None:
        texts = [f"Room {number} has a window" for number in range(24)]
        with ThreadPoolExecutor(8) as threads:
            vectors = list(threads.map(lambda text: embedder.embed([text], "passage")[0], texts))

        expected = embedder.embed(texts, "passage")
        assert all(cosine(a, b) == pytest.approx(1, abs=1e-5) for a, b in zip(vectors, expected, strict=True))
