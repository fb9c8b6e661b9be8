"""Every setting PAI has: environment variables `PAI_*` → one frozen `Settings`. No other file reads the environment.

Read when called, never at import: Chalice's test client swaps the environment for each call.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from chalicelib.errors import Misconfigured


@dataclass(frozen=True)
class Settings:
    """Each field `x` is the variable `PAI_X`. The stages in `.chalice/config.json` set what they need; the rest is as here."""

    stage: str = "local"
    """Name of the stage; with `deployment` it separates the keys of two deployments in one account."""
    deployment: str = "pai"
    llm: str = "echo"
    """A module of chalicelib.llm, or any importable module by its dotted path. So for store, platform and retriever."""
    store: str = "memory"
    platform: str = "memory"
    retriever: str = "none"
    """Where documents are searched: `pgvector`, `memory`, or `none`, which turns documents off."""
    embedder: str = "hashed"
    embedding_model: str = ""
    """What the embedder calls its model; empty is its default."""
    embedding_dimensions: int = 0
    """Dimensions of the vectors, where the model offers a choice; 0 is its default."""
    database: str = "direct"
    """How `pgvector` reaches PostgreSQL: `direct` (a connection), `data_api` (RDS), or any importable module's dotted path."""
    database_url: str = ""
    """libpq address for `direct`."""
    database_cluster: str = ""
    """ARN of the Aurora cluster for `data_api`; with the ARN of its secret and the database's name."""
    database_secret: str = ""
    database_name: str = "pai"
    queue_url: str = ""
    """The SQS queue of file events, on AWS."""
    partial_batches: int = 0
    """1 where the queue's event source mapping reports batch item failures: its function then need not fail as a whole."""
    upload_bytes: int = 50_000_000
    """Largest file that may be uploaded."""
    read_s: float = 180.0
    """How long one range of a document is read and indexed before the next message takes over."""
    home: str = ".pai"
    """Folder of everything that one machine keeps (stage local)."""
    models_home: str = ""
    """Folder of model files, shared by every home of a user; empty is `pai/models` in the user's cache folder."""
    public_url: str = "http://127.0.0.1:8000"
    """Where people reach this server; local upload addresses begin with it."""
    table: str = "PAI-Conversations-local"
    kms_key: str = ""
    keys_secret: str = ""
    bucket: str = ""
    job_function: str = ""
    """Function that runs jobs on AWS, as a prefix: `<prefix>-<job>`."""
    model: str = ""
    """The default: a family (`claude-sonnet`), a model or inference profile id, a catalogue name or a path to a GGUF file."""
    models: str = ""
    """Further models that requests may name, with commas between."""
    fallback_models: str = ""
    """Models to try, in order, when the asked-for one is throttled; with commas between."""
    guardrail: str = ""
    """A Bedrock guardrail as `id:version`."""
    openai_base_url: str = "http://127.0.0.1:11434/v1"
    openai_api_key: str = ""
    system_prompt: str = (
        "You are PAI, a helpful personal assistant. Answer briefly and truthfully; say so when you do not know."
    )
    """System prompt of conversations that have none of their own."""
    max_tokens: int = 1024
    """Longest answer, in tokens, unless a request asks for less or more."""
    history_tokens: int = 6000
    """How much of the conversation the model is shown, in tokens as chat.prompt counts them."""
    passage_tokens: int = 1200
    """How much of the documents the model is shown with a question, in tokens as chat.prompt counts them."""
    context_tokens: int = 8192
    """Context window of a model in this process."""
    threads: int = 0
    """Threads of a model in this process; 0 is one for each core."""
    deadline_s: float = 25.0
    """When a synchronous turn is stored and returned as far as it has come."""
    worker_deadline_s: float = 300.0
    """When a turn in the background is stored as far as it has come."""
    titles: int = 1
    """1 to have the model name a conversation after its first answer; 0 to go on calling it after its first question."""
    budget: str = ""
    """What may be spent, such as `day-dollars=2, month-dollars=20, key-minute-requests=60`: the options of
    `pai budget set`, which changes it while PAI runs. `none` is no limit. Empty is none on stage local, else a safe cap."""
    prices: str = ""
    """Prices of models beside those in chalicelib/prices.json, or instead of them: JSON of the same form, or a file's path."""
    retention_days: int = 0
    """Days that a message is kept; 0 is for ever."""
    backup_days: int = 0
    """Days that point-in-time backups of the store reach back; deletion receipts name their end."""
    key_cache_s: float = 60.0
    """How long a process trusts the key ring it has read; 0 reads it for every request, which one machine can afford."""


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this environment (by default the process's); `Misconfigured` names the variable that is wrong."""
    environment = os.environ if environment is None else environment
    given: dict[str, Any] = {}
    for variable, name, convert in _VARIABLES:
        text = environment.get(variable)
        if text:
            try:
                given[name] = convert(text)
            except ValueError:
                raise Misconfigured(f"{variable} is {text!r}; it must be a number.") from None
    return Settings(**given)


_CONVERT: Mapping[Any, Callable[[str], str | int | float]] = {str: str, int: int, float: float}
_VARIABLES = tuple((f"PAI_{field.name.upper()}", field.name, _CONVERT[field.type]) for field in fields(Settings))


_PLAIN = ("PATH", "LD_LIBRARY_PATH", "TESSDATA_PREFIX", "TMPDIR", "LANG", "LC_ALL")


def child_environment() -> Mapping[str, str]:
    """Return what a program that we start may know: where programs, libraries and temporary files are, and the language.

    No setting, no credential, nothing else that somebody has put there.
    """
    return {name: os.environ[name] for name in _PLAIN if name in os.environ}
