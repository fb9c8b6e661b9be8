"""What happens to a document: it is announced (trigger), read, split and indexed.

trigger, arrival         messages of the queue; news of a file
index                    what becomes of a document: on news, and when people ask
lease, schedule          who works on it; when work goes on
fetch, aliases, erase    its file on this machine; others with the same bytes; the way out
generation               its text read, split, embedded and stored
read, split              a file → its parts → chunks            measure, language    of a text
"""
