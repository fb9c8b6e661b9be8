"""What is said of an answer, or of its being late."""

from pai.client.errors import ClientError
from pai.client.wire import ChatReply


def cut_off(reply: ChatReply) -> str:
    """Say why an answer ends before its end; nothing when it does not."""
    reasons = {
        "deadline": "cut off by the time limit",
        "max_tokens": "cut off by the length limit",
        "stopped": "stopped before its end",
    }
    return reasons.get(reply.get("stop_reason", ""), "")


def unsure(reply: ChatReply) -> str:
    """Say when an answer had to be made without the documents; else nothing."""
    failed = reply.get("retrieval", {}).get("status") == "failed"
    return "The documents could not be consulted: this answer is without them." if failed else ""


def about(reply: ChatReply, took_s: float, first_word_s: float | None) -> str:
    """Say which model answered, what it counted, how long that took and how long it was until the first word."""
    tokens = reply["usage"]
    known = f", {tokens['cache_read_tokens']} in the cache" if "cache_read_tokens" in tokens else ""
    counted = f"tokens: {tokens['input_tokens']} in{known}, {tokens['output_tokens']} out"
    first = "" if first_word_s is None else f"first word after {first_word_s:.1f} s"
    return " · ".join(filter(None, (reply["model"], counted, f"{took_s:.1f} s", first, cut_off(reply))))


def retrying(pause_s: float, error: ClientError) -> str:
    return f"· {error.message} Asking again in {pause_s:.0f} s."
