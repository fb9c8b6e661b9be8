"""Times as PAI writes them: ISO-8601 UTC with milliseconds and `Z`, so that they sort as strings."""

from datetime import UTC, datetime


def iso(seconds: float) -> str:
    """Return Unix seconds as `2026-01-31T12:00:00.000Z`, cut down to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(iso: str) -> float:
    """Return a time in Unix seconds. Raises ValueError for text that is not ISO-8601, or names no offset from UTC."""
    time = datetime.fromisoformat(iso)
    if time.tzinfo is None:
        raise ValueError("The time names no offset from UTC; write it like 2026-01-31T12:00:00.000Z.")
    return time.timestamp()
