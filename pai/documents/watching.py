"""Files that come, change and go while somebody watches."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from pai.client.errors import ClientError
from pai.documents.finding import File, find_files

LOOK_S = 2.0

Seen = Mapping[Path, File]


@dataclass(frozen=True)
class Changes:
    """What to do after a look: files that are new or changed, and paths that are gone."""

    fresh: Sequence[File] = ()
    gone: Sequence[Path] = ()


@dataclass
class Watch:
    """Compares looks. A change counts once it was seen twice alike: until then somebody may still be writing.

    `known` are the files that are in the library. Where all of them vanish at once, a disk was taken out rather than each
    file deleted: then nothing is gone.
    """

    known: dict[Path, File]
    _changed: dict[Path, File] = field(default_factory=dict)
    _missed: set[Path] = field(default_factory=set)

    def compare(self, now: Seen) -> Changes:
        """Return what two looks agree on."""
        changed = {path: file for path, file in now.items() if self.known.get(path) != file}
        missed = self.known.keys() - now.keys() if now or len(self.known) == 1 else set()
        fresh = [file for path, file in changed.items() if self._changed.get(path) == file]
        gone = sorted(missed & self._missed)
        self._changed, self._missed = changed, missed
        return Changes(fresh, gone)


def watch(
    paths: Sequence[Path],
    known: Sequence[File],
    add: Callable[[Sequence[File]], object],
    remove: Callable[[Path], object],
    complain: Callable[[str], object],
) -> None:
    """Have files added as they come and change, and removed as they go, until interrupted. What fails is tried again."""
    watching = Watch({file.path: file for file in known})
    complaint = ""
    while True:
        time.sleep(LOOK_S)
        try:
            changes = watching.compare({file.path: file for file in find_files(paths).files})
            for path in changes.gone:
                remove(path)
                del watching.known[path]
            if changes.fresh:
                add(changes.fresh)
                watching.known |= {file.path: file for file in changes.fresh}
            complaint = ""
        except (ClientError, click.UsageError) as error:
            if str(error) != complaint:
                complaint = str(error)
                complain(complaint)
