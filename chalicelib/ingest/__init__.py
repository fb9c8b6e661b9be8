"""What happens to a document: it is announced (trigger), read, split and indexed."""
