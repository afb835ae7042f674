"""Where a training run reports to, also from a process that does not own the run folder."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol


class Run(Protocol):
    """What the loop needs of a run folder (`cryodl.core.run.folder.RunFolder` has it)."""

    @property
    def folder(self) -> Path:
        """The output folder."""

    def log(self, message: str) -> None:
        """Write one line for people."""

    def metrics(self, **values: Any) -> None:
        """Append one object to the metrics."""

    def metrics_truncate(self, step: int) -> None:
        """Drop the metrics beyond a step."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Say how far the run is, 0 to 1."""


class SilentRun:
    """The run as seen by all processes but the first: a folder to read from, and no voice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log(self, message: str) -> None:
        """Say nothing."""

    def metrics(self, **values: Any) -> None:
        """Say nothing."""

    def metrics_truncate(self, step: int) -> None:
        """Leave the metrics alone."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Say nothing."""


class RelayedRun:
    """The run as seen by the first of several started processes.

    Each call is sent to the process that owns the folder and returns when it has been carried
    out there, so that metrics are on disk before the checkpoint that follows them.
    """

    def __init__(self, folder: Path, connection: Connection) -> None:
        self.folder = folder
        self._connection = connection

    def log(self, message: str) -> None:
        """Write one line for people."""
        self._call("log", message=message)

    def metrics(self, **values: Any) -> None:
        """Append one object to the metrics."""
        self._call("metrics", **values)

    def metrics_truncate(self, step: int) -> None:
        """Drop the metrics beyond a step."""
        self._call("metrics_truncate", step=step)

    def progress(self, fraction: float, note: str = "") -> None:
        """Say how far the run is."""
        self._call("progress", fraction=fraction, note=note)

    def _call(self, method: str, /, **arguments: Any) -> None:
        self._connection.send((method, arguments))
        failure = self._connection.recv()
        if failure is not None:
            raise failure


class RelayServer:
    """Carries out the calls of a `RelayedRun` in a thread of the process that owns the folder."""

    def __init__(self, run: Run, connection: Connection) -> None:
        self._run = run
        self._connection = connection
        self._thread = threading.Thread(target=self._serve, daemon=True, name="run-relay")

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the other side is gone and its last call has been carried out."""
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                method, arguments = self._connection.recv()
            except (EOFError, OSError):
                return
            failure: Exception | None = None
            try:
                getattr(self._run, method)(**arguments)
            except Exception as error:  # it is raised again by the caller in the other process
                failure = error
            try:
                self._connection.send(failure)
            except OSError:
                return
