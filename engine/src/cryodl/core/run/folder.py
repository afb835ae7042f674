"""The output folder of a run and everything that is written to it beside the results proper."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import cryodl
from cryodl.core.config.parameters import CommandConfig, traits
from cryodl.core.config.registry import Command
from cryodl.core.config.schema import flag
from cryodl.core.io.atomic import atomic_path, write_json
from cryodl.core.io.mrc import Volume, write_volume
from cryodl.core.run.files import JOURNAL_NAME, RESULT_NAME, RunFiles
from cryodl.core.run.lock import LOCK_NAME, FolderLock
from cryodl.core.run.records import library_versions, plain
from cryodl.core.run.report import Report
from cryodl.errors import (
    ConfigError,
    CryodlError,
    DeviceError,
    InputError,
    ResourceError,
    TrainingError,
)

OWN_FILES = (
    "config.json",
    "log.txt",
    "metrics.jsonl",
    "progress.json",
    RESULT_NAME,
    "report.html",
    JOURNAL_NAME,
)
_LEFTOVERS = ".cryodl-*"  # what a kill leaves of an atomic write
_PROGRESS_INTERVAL_SECONDS = 1.0


class RunFolder:
    """One run's folder, held by one process at a time.

    Use as a context manager. A failure caused by bad input leaves no trace in a folder that was new
    or empty, unless there are checkpoints by then; any other failure leaves log and checkpoints.

    Parameters
    ----------
    command
        The command that runs.
    config
        Its checked parameters; `config.output` is the folder.

    Raises
    ------
    ConfigError
        The folder belongs to another run, or the settings of a resumed run differ.
    InputError, ResourceError
        The folder cannot be made or written.
    """

    def __init__(self, command: Command, config: CommandConfig) -> None:
        self.command = command
        self.config = config
        self.folder = Path(config.output)
        self.report = Report(f"cryodl {command.name}")
        self.finished_before = False
        self._results: dict[str, Any] = {}
        self._files = RunFiles(self.folder)
        self._started = time.monotonic()
        self._progress_written = 0.0
        self._first_progress: tuple[float, float] | None = None
        self._made: list[Path] = []
        self._was_empty = False
        self._lock = FolderLock(self.folder)

    # --- opening and closing -------------------------------------------------------------

    def __enter__(self) -> RunFolder:
        """Claim the folder and note the settings."""
        try:
            self._make()
            self._claim()
            self._open()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _open(self) -> None:
        for leftover in self.folder.rglob(_LEFTOVERS):
            leftover.unlink(missing_ok=True)
        self._was_empty = not self._present()
        previous = self._previous_config()
        if self.config.overwrite:
            self._files.clear(OWN_FILES)
        elif previous is not None:
            self._check_resumable(previous)
            self.finished_before = self._files.are_whole()
        if not self.finished_before:
            (self.folder / RESULT_NAME).unlink(missing_ok=True)
            self._note_settings()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Release the folder; leave no trace when bad input made the run impossible."""
        if isinstance(error, (InputError, ConfigError, DeviceError)) and self._leave_no_trace():
            with contextlib.suppress(OSError):
                if self.folder in self._made:
                    shutil.rmtree(self.folder)
                else:
                    self._files.clear(OWN_FILES)
        self._lock.release()
        if error is not None:
            for folder in reversed(self._made):
                with contextlib.suppress(OSError):  # something is in it, and it stays
                    folder.rmdir()

    def _leave_no_trace(self) -> bool:
        """Return whether all that is in the folder is from this run and cheap to make again."""
        return self._was_empty and not any((self.folder / "checkpoints").glob("*"))

    def _make(self) -> None:
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise InputError(
                    f"--output {self.folder}: found a file, expected a folder or a free name; "
                    "choose another"
                )
            absent = [f for f in (self.folder, *self.folder.parents) if not f.exists()]
            for folder in reversed(absent):
                with contextlib.suppress(FileExistsError):  # another process was faster
                    folder.mkdir()
                    self._made.append(folder)
        except OSError as error:
            raise InputError(
                f"--output {self.folder}: cannot be made ({error.strerror}), expected a writable "
                "place; choose another"
            ) from None

    def _claim(self) -> None:
        try:
            self._lock.acquire()
        except OSError as error:
            self._raise_unwritable(error)

    def _raise_unwritable(self, error: OSError) -> NoReturn:
        raise ResourceError(
            f"--output {self.folder}: cannot be written ({error.strerror}), expected a writable "
            "folder with free space; choose another"
        ) from None

    def _present(self) -> list[str]:
        return sorted(p.name for p in self.folder.iterdir() if p.name != LOCK_NAME)

    def _previous_config(self) -> dict[str, Any] | None:
        path = self.folder / "config.json"
        permitted = self.config.resume or self.config.overwrite
        if path.exists():
            previous = self._read_settings(path)
            if not permitted:
                raise ConfigError(
                    f"--output {self.folder}: found a run of 'cryodl {previous.get('command')}', "
                    "expected an empty folder; use --resume, --overwrite or another folder"
                )
            return previous
        foreign = self._present()
        if foreign and not permitted:
            raise ConfigError(
                f"--output {self.folder}: found other files ({foreign[0]}), expected an empty "
                "folder; choose another, or --overwrite to write beside them"
            )
        return None

    def _read_settings(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            content = None
        if not isinstance(content, dict) and not self.config.overwrite:
            raise InputError(
                f"{path}: found no settings of a run, expected those that this program wrote; "
                "use --overwrite or another folder"
            )
        return content if isinstance(content, dict) else {}

    def _check_resumable(self, previous: dict[str, Any]) -> None:
        if previous.get("command") != self.command.name:
            raise ConfigError(
                f"--output {self.folder}: found a run of 'cryodl {previous.get('command')}', "
                f"expected one of 'cryodl {self.command.name}'; choose another folder"
            )
        before, now = previous.get("fixed", {}), self.config.fixed_values()
        for name in sorted(set(before) | set(now)):
            if before.get(name) != now.get(name):
                field = type(self.config).model_fields.get(name)
                positional = field is not None and traits(field).get("positional")
                raise ConfigError(
                    f"{name.upper() if positional else flag(name)}: found {now.get(name)!r}, "
                    f"expected {before.get(name)!r} as in the run to resume; use --overwrite to "
                    "start afresh"
                )

    def _note_settings(self) -> None:
        self._write_json(
            "config.json",
            {
                "command": self.command.name,
                "version": cryodl.__version__,
                "versions": library_versions(),
                "arguments": shlex.join(sys.argv),
                "parameters": self.config.model_dump(
                    mode="json", exclude={"output", "resume", "overwrite"}
                ),
                "fixed": self.config.fixed_values(),
            },
        )

    def _write_json(self, name: str, content: Any) -> None:
        try:
            write_json(self.folder / name, content)
        except OSError as error:
            self._raise_unwritable(error)

    # --- while it runs ---------------------------------------------------------------------

    def log(self, message: str) -> None:
        """Write one line for people, with the time, to the log file and standard output."""
        line = f"{time.strftime('%H:%M:%S')}  {message}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def metrics(self, **values: Any) -> None:
        """Append one object to ``metrics.jsonl``."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(values), allow_nan=False) + "\n")

    def metrics_truncate(self, step: int) -> None:
        """Drop the metrics after `step`: a resumed run writes them again."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line).get("step", 0) <= step:
                    kept.append(line)
            except ValueError:
                continue  # the line a kill cut short
        with atomic_path(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def progress(self, fraction: float, note: str = "") -> None:
        """Rewrite ``progress.json``: fraction done in [0, 1], seconds left, what is going on."""
        now = time.monotonic()
        fraction = min(max(float(fraction), 0.0), 1.0)
        # A resumed run begins in the middle: time left goes by what was done since.
        started, begun = self._first_progress = self._first_progress or (now, fraction)
        if fraction < 1 and now - self._progress_written < _PROGRESS_INTERVAL_SECONDS:
            return
        self._progress_written = now
        left = (now - started) * (1 - fraction) / (fraction - begun) if fraction > begun else None
        self._write_json(
            "progress.json",
            {
                "fraction": round(fraction, 4),
                "seconds_elapsed": round(now - self._started, 1),
                "seconds_left": None if left is None else round(left, 1),
                "note": note,
            },
        )

    # --- results ---------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.folder / name

    def add_value(self, key: str, value: Any) -> None:
        """Note a number or text of the result."""
        self._results[key] = plain(value)

    def add_file(self, key: str, name: str) -> None:
        """Note a result file, by its path relative to the folder."""
        self._results[key] = name
        self.add_files([name])

    def add_files(self, names: Iterable[str]) -> None:
        """Note result files that need no key of their own, best before they are written.

        All have to be there when the run finishes; a later run with --overwrite removes them.
        """
        self._files.promise(names)

    def expect_files(self, names: Iterable[str]) -> None:
        """Note files that the run may write; those that are no result by the end are removed."""
        self._files.expect(names)

    def write_map(
        self,
        key: str,
        name: str,
        data: np.ndarray,
        *,
        like: Volume | None = None,
        pixel_size_angstrom: float | None = None,
    ) -> None:
        """Write a volume atomically and note it, after making sure that it holds something.

        Raises
        ------
        TrainingError
            The volume is not finite, or constant.
        """
        values = np.asarray(data, dtype=np.float32)
        if not np.isfinite(values).all():
            raise TrainingError(f"{name}: found values that are not finite, nothing was written")
        if values.min() == values.max():
            raise TrainingError(f"{name}: found a constant volume, nothing was written")
        label = f"cryodl {cryodl.__version__} {self.command.name}"
        self.add_file(key, name)  # before it is there, so that whatever happens it can be cleared
        write_volume(
            self.path(name), values, like=like, pixel_size_angstrom=pixel_size_angstrom, label=label
        )

    def finish(self) -> None:
        """Write report and ``result.json``, once every promised file is really there.

        Raises
        ------
        CryodlError
            A promised file is missing or empty: a bug of ours, never reported as success.
        """
        for path in self._files.absent():
            raise CryodlError(f"{path}: found no such result after the run; report this bug")
        self._files.drop_unpromised()
        with atomic_path(self.path("report.html")) as temporary:
            temporary.write_text(self.report.html(self.config, self._results), encoding="utf-8")
        self.add_files(["report.html"])
        self._write_json(
            RESULT_NAME,
            {
                **self._results,
                "report": "report.html",
                "command": self.command.name,
                "version": cryodl.__version__,
                "seconds": round(time.monotonic() - self._started, 1),
                "files": self._files.names(),
            },
        )
        self._files.close()
        self.progress(1.0, "done")
