"""What each model takes: what is known of it beforehand, and what is learnt when it refuses."""

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Traits:
    """What one model takes. `context_tokens` 0 is not known; `max_tokens` is the longest answer it allows, if known.

    `choices` are the ways to make it call a tool; `text_format` is Converse's own for answers in JSON.
    """

    context_tokens: int = 0
    cache_points: bool = False
    temperature: bool = True
    system: bool = True
    max_tokens: int | None = None
    top_p: bool = True
    top_p_and_temperature: bool = True
    stop: bool = True
    tools: bool = True
    choices: frozenset[str] = frozenset({"any", "tool"})
    text_format: bool = True


# Prompt caching: https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html. A point in front of which there
# are fewer tokens than the model's minimum (512 to 4,096) is ignored by Bedrock, at no cost, so minimums need no table.
# Context windows are those of the model cards; where a larger one must be asked for, this is the plain one.
_KNOWN = (
    ("anthropic.claude-3-5-haiku", Traits(200_000, cache_points=True)),
    ("anthropic.claude-3-7-sonnet", Traits(200_000, cache_points=True)),
    ("anthropic.claude-3", Traits(200_000)),
    ("anthropic.claude", Traits(200_000, cache_points=True)),
    ("amazon.nova-2", Traits(1_000_000, cache_points=True)),
    ("amazon.nova-premier", Traits(1_000_000, cache_points=True)),
    ("amazon.nova-micro", Traits(128_000, cache_points=True)),
    ("amazon.nova", Traits(300_000, cache_points=True)),
    ("deepseek.", Traits(128_000)),
    ("meta.llama", Traits(128_000)),
    ("mistral.", Traits(32_000)),
    ("openai.gpt-oss", Traits(128_000)),
)

_BOTH = re.compile(r"(temperature\b.*\btop_?p|top_?p\b.*\btemperature)\b.*\b(both|only one)\b", re.I | re.S)
_TOP_P = re.compile(r"\btop_?p\b", re.I)
_TEMPERATURE = re.compile(r"\btemperature\b", re.I)
_CACHE_POINT = re.compile(r"cache_?point|cache_control|prompt caching", re.I)
_SYSTEM = re.compile(r"\bsystem (prompt|message|instruction|field|parameter|role)s?\b", re.I)
_MAX_TOKENS = re.compile(r"max_?tokens|maximum tokens|output tokens", re.I)
_TOOLS = re.compile(r"n.t support (tool use|tools|function calling|the toolConfig)\b|extraneous key \[tool", re.I)
_CHOICE = re.compile(
    r"tool_?choice\b.*(supported for this model|forces tool use)|support the toolConfig\.toolChoice", re.I | re.S
)
_ONE_CHOICE = re.compile(r"toolChoice\.(any|tool)\b")
_TEXT_FORMAT = re.compile(
    r"output_?config.*(extra inputs|n.t support\b)|n.t support\b.*(output_?config|structured output)", re.I | re.S
)
_STOP = re.compile(r"n.t support\b.*stop_?sequences|extraneous key \[stop", re.I | re.S)
_OUT_OF_RANGE = "failed to satisfy constraint"
"""Such a refusal is of a value, not of the parameter: it says nothing about the next request."""
_LIMIT = re.compile(r"(?:limit of|lower than|less than or equal to|>)\s*([\d,]+)")


def traits_of(model_id: str) -> Traits:
    """Return what is known of a model by its id, inference profile id or ARN; nothing of an ARN that hides its model."""
    for beginning, traits in _KNOWN:
        if re.search(rf"(^|[./]){re.escape(beginning)}", model_id):
            return traits
    return Traits()


def learn(traits: Traits, refusal: str) -> Traits | None:
    """Return the traits that a refusal teaches, None when it teaches nothing new. `refusal` is the service's sentence."""
    learnt = _taught(traits, refusal)
    return None if learnt == traits else learnt


def _taught(traits: Traits, refusal: str) -> Traits:
    if _OUT_OF_RANGE in refusal:
        return traits
    if _CACHE_POINT.search(refusal):
        return replace(traits, cache_points=False)
    meant = _taught_of_meaning(traits, refusal)
    if meant != traits:
        return meant
    if _BOTH.search(refusal):
        return replace(traits, top_p_and_temperature=False)
    if _TEMPERATURE.search(refusal):
        return replace(traits, temperature=False)
    if _TOP_P.search(refusal):
        return replace(traits, top_p=False)
    if _SYSTEM.search(refusal):
        return replace(traits, system=False)
    limit = _LIMIT.search(refusal)
    if limit and _MAX_TOKENS.search(refusal):
        return replace(traits, max_tokens=min(traits.max_tokens or 1 << 31, int(limit[1].replace(",", ""))))
    return traits


def _taught_of_meaning(traits: Traits, refusal: str) -> Traits:
    """Return what is taught of that which can't be left out: who wants it of this model is refused from now on."""
    if _CHOICE.search(refusal):
        refused = set(_ONE_CHOICE.findall(refusal)) or traits.choices
        return replace(traits, choices=traits.choices - refused)
    if _TOOLS.search(refusal):
        return replace(traits, tools=False)
    if _TEXT_FORMAT.search(refusal):
        return replace(traits, text_format=False)
    return replace(traits, stop=False) if _STOP.search(refusal) else traits
