"""The readers: what turns a file into blocks of text, in a process of its own. One module for each family of formats.

Each has `open_document(task) -> Opened`. They see files that anybody may have made: a reader may fail in any way, and
`chalicelib.ingest.read` turns each into a typed error.
"""
