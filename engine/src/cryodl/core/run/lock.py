"""One process at a time in an output folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from cryodl.errors import ConfigError

_HELD_ELSEWHERE = (errno.EAGAIN, errno.EACCES)
LOCK_NAME = ".lock"


class FolderLock:
    """A lock that ends with its process, however that ends.

    Parameters
    ----------
    folder
        An existing folder; the lock is a file in it while it is held.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        ConfigError
            Another process holds it.
        OSError
            The folder cannot be written.
        """
        while True:
            file = self._path.open("a", encoding="utf-8")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _HELD_ELSEWHERE:
                    file.close()
                    raise ConfigError(
                        f"--output {self._path.parent}: found a run that is still going on in it, "
                        "expected a free folder; wait for it, stop it, or choose another"
                    ) from None
                # Some network file systems have no locks: better to run than to refuse for ever.
            if self._is_in_place(file):
                self._file = file
                return
            file.close()  # its holder removed the name between our opening and our locking

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._file is None:
            return
        # Unlink before unlocking: nobody may lock a name that is about to vanish.
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._file.close()
        self._file = None

    def _is_in_place(self, file: IO[str]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False
