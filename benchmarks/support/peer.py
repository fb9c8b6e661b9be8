"""A peer's way into PostgreSQL, as a program of the environment its package is in: PACKAGE STORE URL FOLDER.

Prints one JSON object. All chunks go in one call, each round's into a table of its own; the median counts.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

ROUNDS = 3

Vectors = list[list[float]]
Add = Callable[[list[str], Vectors], object]
"""Adds texts with their vectors."""


def langchain_store(url: str, dimensions: int, table: str) -> Add:
    from langchain_core.embeddings import FakeEmbeddings
    from langchain_postgres import PGEngine, PGVectorStore  # type: ignore[import-not-found]

    engine = PGEngine.from_connection_string(url.replace("postgresql:", "postgresql+psycopg:"))
    engine.init_vectorstore_table(table, dimensions)
    store = PGVectorStore.create_sync(engine, FakeEmbeddings(size=dimensions), table)
    return lambda texts, vectors: store.add_embeddings(texts, vectors)


def langchain_collection(url: str, dimensions: int, table: str) -> Add:
    from langchain_core.embeddings import FakeEmbeddings
    from langchain_postgres import PGVector

    embedding = FakeEmbeddings(size=dimensions)
    address = url.replace("postgresql:", "postgresql+psycopg:")
    store = PGVector(embedding, connection=address, collection_name=table, embedding_length=dimensions)
    return lambda texts, vectors: store.add_embeddings(texts, vectors)


def llama_index_store(url: str, dimensions: int, table: str) -> Add:
    from llama_index.core.schema import TextNode  # type: ignore[import-not-found]
    from llama_index.vector_stores.postgres import PGVectorStore  # type: ignore[import-not-found]

    store = PGVectorStore.from_params(
        connection_string=url.replace("postgresql:", "postgresql+psycopg2:"),
        async_connection_string=url.replace("postgresql:", "postgresql+asyncpg:"),
        table_name=table,
        embed_dim=dimensions,
    )
    store.add([])  # makes the table

    def add(texts: list[str], vectors: Vectors) -> object:
        return store.add([TextNode(text=text, embedding=vector) for text, vector in zip(texts, vectors, strict=True)])

    return add


STORES = {
    ("langchain-postgres", "PGVectorStore"): langchain_store,
    ("langchain-postgres", "PGVector"): langchain_collection,
    ("llama-index-vector-stores-postgres", "PGVectorStore"): llama_index_store,
}


def main() -> None:
    package, name, url, folder = sys.argv[1:]
    texts: list[str] = json.loads((Path(folder) / "texts.json").read_text())
    vectors: Vectors = np.load(Path(folder) / "vectors.npy").tolist()
    seconds = []
    for number in range(ROUNDS):
        add = STORES[package, name](url, len(vectors[0]), f"chunks_{number}")
        started = time.perf_counter()
        add(texts, vectors)
        seconds.append(time.perf_counter() - started)
    json.dump({"chunks_per_s": round(len(texts) / median(seconds), 1)}, sys.stdout)


if __name__ == "__main__":
    main()
