"""The measured numbers as Markdown, with the targets beside them."""

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.support.targets import COLLECTIONS, TARGETS, Numbers, Results

TURN_ROWS = {
    "reads": "DynamoDB reads",
    "read_units": "read units",
    "writes": "DynamoDB writes",
    "budget_writes": "… of them to reserve and settle the budget",
    "write_units": "write units, index included",
    "bedrock_calls": "Bedrock calls",
    "kms_calls": "KMS calls",
    "bytes_sent": "bytes sent",
    "bytes_received": "bytes received",
    "sdk_cpu_ms": "CPU of bare boto3, ms",
    "own_cpu_ms": "CPU of PAI, ms",
}

STREAM_ROWS = {
    "first_word_ms": "one machine: first word of a followed turn, ms",
    "engine_first_word_ms": "… of the bare engine, ms",
    "aws_answer_s": "AWS: how long the model speaks, s",
    "aws_total_extra_ms": "… the turn's end after the model's, ms",
    "polls_per_turn": "… requests for events in a turn",
    "aws_write_units": "… DynamoDB write units",
    "aws_read_units": "… DynamoDB read units",
    "dollars_per_million_turns": "dollars for a million turns: requests and DynamoDB",
    "dollars_per_million_turns_of_function_time": "… Lambda's time: worker (0.5 GB) and followers (1 GB) wait for the model",
}

LEGS = ("vector", "bm25", "hybrid")
INGEST_ROWS = {
    "pages_per_s": "PDF pages a CPU second",
    "pypdf_pages_per_s": "… pypdf's, of the same PDFs",
    "wall_pages_per_s": "PDF pages a second, all in all",
    "chunks_per_s": "chunks a second, vectors and postings",
    "chunks_per_s_vector_only": "chunks a second, vectors only",
    "copy_chunks_per_s": "… a raw binary COPY of the same rows in the same transactions",
    "copy_at_once_chunks_per_s": "… a raw binary COPY of them all in one",
    "hnsw_build_s": "seconds to build HNSW over them",
    "hnsw_insert_per_s": "chunks a second, with HNSW in place",
}
ANSWER_ROWS = {
    "right_source": "with an answer there: the right document is cited",
    "gold_in_quote": "… the decisive words are in a quote",
    "gold_in_answer": "… the decisive words are in the answer",
    "refused_wrongly": "… told that it is not there",
    "refused_rightly": "with none there: told so",
    "stopped_early": "… without asking the model",
}
PASSAGE_ROWS = {
    "right_document": "with an answer there: the right document is among the passages",
    "gold_in_passages": "… the decisive words are among the passages",
}
GROUNDING_ROWS = {
    "false_refusal": "threshold, on the four collections: their own questions refused",
    "false_answer": "… the others' questions let pass",
}


def tables(results: Results) -> str:
    """Return the Markdown of what was measured; of programs without results, nothing."""
    parts = [_targets(results)]
    if "turn" in results:
        parts.append(_turns(results["turn"]))
    if "stream" in results:
        parts.append(_stream(results["stream"]))
    if "tokens" in results:
        parts.append(_estimates(results["tokens"]))
    if "retrieval" in results:
        parts += [_collections(results["retrieval"]), _scale(results["retrieval"]["scale"])]
    if "ingest" in results:
        parts.append(_ingest(results["ingest"]))
    if "answers" in results:
        parts.append(_answers(results["answers"], results.get("grounding")))
    parts.append(_origins(results))
    return "\n\n".join(parts)


def _targets(results: Results) -> str:
    rows = [target.row(results) for target in TARGETS if target.program in results]
    return "## Targets\n\n" + _table(["what", "target", "measured", "reached"], rows)


def _turns(numbers: Numbers) -> str:
    header = ["turns before it", "0 (begins a conversation)", *map(str, numbers["lengths"])]
    rows = [[what, str(numbers["first_turn"][name]), *map(str, numbers[name])] for name, what in TURN_ROWS.items()]
    return "## One turn of 2.7 KB\n\n" + _table(header, rows)


def _stream(numbers: Numbers) -> str:
    rows = [[what, str(numbers[name])] for name, what in STREAM_ROWS.items()]
    return "## Following an answer\n\n" + _table(["what", "measured"], rows)


def _estimates(numbers: Numbers) -> str:
    columns = (numbers[name] for name in ("kinds", "bytes", "tokens", "ratio"))
    rows = [list(map(str, row)) for row in zip(*columns, strict=True)]
    title = f"## The estimate of tokens, against {numbers['model']}"
    return f"{title}\n\n" + _table(["text", "bytes", "tokens", "estimate ÷ tokens"], rows)


def _collections(numbers: Numbers) -> str:
    header = [
        "collection",
        "chunks",
        *(f"{leg} nDCG@10" for leg in LEGS),
        "hybrid recall@100",
        "hybrid MRR@10",
        "p50 ms",
        "p95 ms",
    ]
    rows = [_collection(name, numbers[name]) for name in COLLECTIONS]
    embedding = numbers[next(iter(COLLECTIONS))]["embed_ms"]
    after = f"The times are the SQL statement's, hybrid. To embed a question takes {embedding} ms more (median)."
    return f"## Finding passages\n\n{_table(header, rows)}\n\n{after}"


def _collection(name: str, numbers: Numbers) -> list[str]:
    hybrid = numbers["hybrid"]
    qualities = [f"{numbers[leg]['ndcg10']:.3f}" for leg in LEGS]
    rest = [f"{hybrid['recall100']:.3f}", f"{hybrid['mrr10']:.3f}", str(hybrid["p50_ms"]), str(hybrid["p95_ms"])]
    return [name, str(numbers["chunks"]), *qualities, *rest]


def _scale(numbers: Numbers) -> str:
    times = f"hybrid search {numbers['p50_ms']} ms in the median, {numbers['p95_ms']} ms at the 95th percentile"
    said = f"Among 20,000 chunks with vectors of 1024 dimensions: {times}; recall@10 of the vectors {numbers['recall10']}."
    said += " How PostgreSQL looks for the vectors:"
    return f"{said}\n\n```\n{numbers['plan']}\n```"


def _ingest(numbers: Numbers) -> str:
    rows = [[what, f"{numbers[name]:,}"] for name, what in INGEST_ROWS.items()]
    rows += [
        [f"{name} {peer['version']}: chunks a second", f"{peer['chunks_per_s']:,}"] for name, peer in numbers["peers"].items()
    ]
    ends = ", ".join(f"{count} {end}" for end, count in numbers["ends"].items())
    return f"## Taking documents in\n\n{_table(['what', 'measured'], rows)}\n\nOf {numbers['files']} files: {ends}."


def _answers(numbers: Numbers, grounding: Numbers | None) -> str:
    rows = [[what, str(numbers[name])] for name, what in ANSWER_ROWS.items()]
    rows += [[what, str(numbers["retrieval"][name])] for name, what in PASSAGE_ROWS.items()]
    if grounding:
        rows += [[what, str(grounding[name])] for name, what in GROUNDING_ROWS.items()]
    return f"## Answers from documents, by {numbers['model']}\n\n" + _table(["what", "share"], rows)


def _origins(results: Results) -> str:
    return "## Where this was measured\n\n" + "\n".join(_origin(name, results[name]["machine"]) for name in results)


def _origin(program: str, machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "boto3", "chalice", "cryptography", "xllamacpp"))
    return (
        f"- `{program}`: {machine['measured_at'][:10]}, {machine['cores']} cores of {machine['cpu']}, {machine['system']}, "
        f"{versions}; load average {machine['load_before']:.1f} before and {machine['load_after']:.1f} after"
    )


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---", *(["---:"] * (len(header) - 1))], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
