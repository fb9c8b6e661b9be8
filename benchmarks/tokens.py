"""How far the estimate of tokens (chalicelib.chat.prompt.count_tokens) is from a real tokenizer, on many kinds of text."""

import httpx

from benchmarks.support.engine import DEFAULT_MODEL, bare_engine, model_file
from benchmarks.support.options import MODEL, run
from benchmarks.support.printing import Numbers
from benchmarks.support.texts import TEXTS
from chalicelib.chat.prompt import count_tokens


def measure(model: str = DEFAULT_MODEL) -> Numbers:
    """Return for each kind of text its size, its tokens as the model counts them, and the estimate over these."""
    with bare_engine(model_file(model)) as (_, socket), httpx.Client(transport=httpx.HTTPTransport(uds=socket)) as client:
        tokens = {kind: _tokens(client, text) for kind, text in TEXTS.items()}
    ratios = {kind: round(count_tokens(text) / tokens[kind], 2) for kind, text in TEXTS.items()}
    return {
        "model": model,
        "kinds": list(TEXTS),
        "bytes": [len(text.encode()) for text in TEXTS.values()],
        "tokens": list(tokens.values()),
        "ratio": list(ratios.values()),
        "lowest_ratio": min(ratios.values()),
        "highest_ratio": max(ratios.values()),
    }


def _tokens(client: httpx.Client, text: str) -> int:
    answer = client.post("http://engine/tokenize", json={"content": text}).raise_for_status()
    return len(answer.json()["tokens"])


if __name__ == "__main__":
    run(__doc__, measure, MODEL)
