"""Which files a run has made or may make, kept on disk so that a later run can clear them."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

RESULT_NAME = "result.json"
JOURNAL_NAME = ".files"  # of a run that has not finished
_MAYBE = "? "  # before the name of a file that the run may write and need not


class RunFiles:
    """The result files of one run's folder.

    Names are noted in a journal before anything is written, so that whatever happens the files can
    be cleared. Once the run has finished ``result.json`` names them.

    Parameters
    ----------
    folder
        Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal = folder / JOURNAL_NAME
        self._promised: dict[str, None] = {}

    def promise(self, names: Iterable[str]) -> None:
        """Note files, relative to the folder, that have to be there in the end."""
        new = [name for name in names if name not in self._promised]
        self._promised.update(dict.fromkeys(new))
        self._note(new)

    def expect(self, names: Iterable[str]) -> None:
        """Note files that may be written."""
        self._note(_MAYBE + name for name in names)

    def absent(self) -> Iterator[Path]:
        """Yield the promised files that are missing or empty."""
        for path in map(self._folder.joinpath, self._promised):
            if not path.is_file() or path.stat().st_size == 0:
                yield path

    def names(self) -> list[str]:
        """Return what was promised."""
        return sorted(self._promised)

    def are_whole(self) -> bool:
        """Return whether an earlier run ended well and all its files are still there."""
        promised = self._named_by_result() + [n for n, maybe in self._noted() if not maybe]
        there = (self._folder / RESULT_NAME).exists()
        return there and all((self._folder / name).is_file() for name in promised)

    def clear(self, others: Iterable[str]) -> None:
        """Remove what an earlier run made, `others` among it, and nothing else."""
        noted = [name for name, _ in self._noted()]
        self._remove([*self._named_by_result(), *noted, *others])
        shutil.rmtree(self._folder / "checkpoints", ignore_errors=True)

    def drop_unpromised(self) -> None:
        """Remove what was expected and is no result: what an interrupted run left, for instance."""
        self._remove(n for n, maybe in self._noted() if maybe and n not in self._promised)

    def close(self) -> None:
        """Forget the journal, once the result names all files."""
        self._journal.unlink(missing_ok=True)

    def _note(self, lines: Iterable[str]) -> None:
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.writelines(line + "\n" for line in lines)

    def _noted(self) -> list[tuple[str, bool]]:
        """Return the names of the journal, and whether each need not be there."""
        lines: list[str] = []
        with contextlib.suppress(OSError, ValueError):
            lines = self._journal.read_text(encoding="utf-8").splitlines()
        return [(line.removeprefix(_MAYBE), line.startswith(_MAYBE)) for line in lines]

    def _named_by_result(self) -> list[str]:
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            result = json.loads((self._folder / RESULT_NAME).read_text(encoding="utf-8"))
            return [str(name) for name in result.get("files", [])]
        return []

    def _remove(self, names: Iterable[str]) -> None:
        top = self._folder.resolve()
        folders: set[Path] = set()
        for path in map(self._folder.joinpath, dict.fromkeys(names)):
            resolved = path.resolve()
            if top not in resolved.parents:
                continue  # a path that leads elsewhere is none of ours to remove
            if path.is_file() or path.is_symlink():
                path.unlink()
            folders.update(above for above in resolved.parents if top in above.parents)
        # Once for all files, deepest first: listing a folder anew for each of them takes long.
        for folder in sorted(folders, key=lambda f: len(f.parts), reverse=True):
            with contextlib.suppress(OSError):  # something else is in it, or it is not there
                folder.rmdir()
