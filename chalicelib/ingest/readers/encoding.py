"""Bytes → text, in whatever encoding they are."""

import codecs

import chardet

SAMPLE_BYTES = 256 * 1024
DAMAGED = 0.001
"""Share of broken characters up to which text is damaged UTF-8, and not something else."""
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(data: bytes, named: str = "") -> str:
    """Decode text by its byte order mark, as UTF-8, by the encoding it names itself, or by the one it looks like."""
    for mark, encoding in BOMS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    for encoding in ("utf-8", named):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    damaged = data.decode("utf-8", "replace")
    if damaged.count("\ufffd") <= DAMAGED * len(damaged):
        return damaged
    likeliest = chardet.detect(data[:SAMPLE_BYTES])["encoding"]
    return data.decode(likeliest or "cp1252", "replace")
