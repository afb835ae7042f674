"""The output folder of a run and everything that is written to it beside the results proper."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

import cryodl
from cryodl.core.config.parameters import CommandConfig
from cryodl.core.config.registry import Command
from cryodl.core.io.atomic import atomic_path, write_json
from cryodl.core.io.mrc import Volume, write_volume
from cryodl.core.run.report import Report
from cryodl.errors import ConfigError, CryodlError, InputError, ResourceError, TrainingError

OWN_FILES = (
    "config.json",
    "log.txt",
    "metrics.jsonl",
    "progress.json",
    "result.json",
    "report.html",
    ".lock",
)
_PROGRESS_INTERVAL_SECONDS = 1.0


class RunFolder:
    """One run's folder, held by one process at a time.

    Use as a context manager. A failure caused by bad input removes a folder that this run made,
    so that nothing half-done is left; any other failure leaves the log and the checkpoints.

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
        self._files: list[str] = []
        self._started = time.monotonic()
        self._progress_written = 0.0
        self._created = False
        self._lock: IO[str] | None = None

    # --- opening and closing -------------------------------------------------------------

    def __enter__(self) -> RunFolder:
        """Claim the folder and note the settings."""
        self._make()
        self._claim()
        try:
            self._open()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _open(self) -> None:
        previous = self._previous_config()
        if self.config.overwrite:
            self._clear()
        elif previous is not None:
            self._check_resumable(previous)
            self.finished_before = (self.folder / "result.json").exists()
        if not self.finished_before:
            self._note_settings()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Release the folder; remove it when bad input made the run impossible."""
        # Unlink before unlocking: nobody may lock a name that is about to vanish.
        (self.folder / ".lock").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
        bad_input = isinstance(error, (InputError, ConfigError))
        if self._created and bad_input:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self) -> None:
        self._created = not self.folder.exists()
        if not self._created and not self.folder.is_dir():
            raise InputError(
                f"--output {self.folder}: found a file, expected a folder or a free name; "
                "choose another"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--output {self.folder}: cannot be made ({error.strerror}), expected a writable "
                "place; choose another"
            ) from None

    def _claim(self) -> None:
        try:
            lock = (self.folder / ".lock").open("a", encoding="utf-8")
        except OSError as error:
            self._raise_unwritable(error)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise ConfigError(
                f"--output {self.folder}: found a run that is still going on in it, expected a "
                "free folder; wait for it, stop it, or choose another"
            ) from None
        self._lock = lock

    def _raise_unwritable(self, error: OSError) -> None:
        if self._created:
            shutil.rmtree(self.folder, ignore_errors=True)
        raise ResourceError(
            f"--output {self.folder}: cannot be written ({error.strerror}), expected a writable "
            "folder with free space; choose another"
        ) from None

    def _previous_config(self) -> dict[str, Any] | None:
        path = self.folder / "config.json"
        if path.exists():
            try:
                previous: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                raise InputError(
                    f"{path}: found no readable JSON, expected the settings of a run; "
                    "use --overwrite or another folder"
                ) from None
            if not (self.config.resume or self.config.overwrite):
                raise ConfigError(
                    f"--output {self.folder}: found a run of 'cryodl {previous.get('command')}', "
                    "expected an empty folder; use --resume, --overwrite or another folder"
                )
            return previous
        foreign = sorted(p.name for p in self.folder.iterdir() if p.name != ".lock")
        if foreign and not (self.config.resume or self.config.overwrite):
            raise ConfigError(
                f"--output {self.folder}: found other files ({foreign[0]}), expected an empty "
                "folder; choose another, or --overwrite to write beside them"
            )
        return None

    def _check_resumable(self, previous: dict[str, Any]) -> None:
        if previous.get("command") != self.command.name:
            raise ConfigError(
                f"--output {self.folder}: found a run of 'cryodl {previous.get('command')}', "
                f"expected one of 'cryodl {self.command.name}'; choose another folder"
            )
        before, now = previous.get("fixed", {}), self.config.fixed_values()
        for name in sorted(set(before) | set(now)):
            if before.get(name) != now.get(name):
                raise ConfigError(
                    f"--{name.replace('_', '-')}: found {now.get(name)!r}, expected "
                    f"{before.get(name)!r} as in the run to resume; use --overwrite to start afresh"
                )

    def _clear(self) -> None:
        """Remove what an earlier run wrote, and nothing else."""
        names: Iterable[str] = OWN_FILES
        try:
            earlier = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
            names = (*OWN_FILES, *earlier.get("files", []))
        except (OSError, ValueError):
            pass  # no finished run: our fixed names are all there can be
        for name in names:
            path = (self.folder / name).resolve()
            if name != ".lock" and path.is_file() and self.folder.resolve() in path.parents:
                path.unlink()
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)

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
            file.write(json.dumps(values, default=_plain) + "\n")

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
        if fraction < 1 and now - self._progress_written < _PROGRESS_INTERVAL_SECONDS:
            return
        self._progress_written = now
        elapsed = now - self._started
        left = elapsed * (1 - fraction) / fraction if fraction > 0 else None
        self._write_json(
            "progress.json",
            {
                "fraction": round(float(fraction), 4),
                "seconds_elapsed": round(elapsed, 1),
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
        self._results[key] = value

    def add_file(self, key: str, name: str) -> None:
        """Note a result file, by its path relative to the folder."""
        self._results[key] = name
        self._files.append(name)

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
        write_volume(
            self.path(name), values, like=like, pixel_size_angstrom=pixel_size_angstrom, label=label
        )
        self.add_file(key, name)

    def finish(self) -> None:
        """Write report and ``result.json``, once every promised file is really there.

        Raises
        ------
        CryodlError
            A promised file is missing or empty: a bug of ours, never reported as success.
        """
        for name in self._files:
            path = self.path(name)
            if not path.is_file() or path.stat().st_size == 0:
                raise CryodlError(f"{path}: found no such result after the run; report this bug")
        with atomic_path(self.path("report.html")) as temporary:
            temporary.write_text(self.report.html(self.config, self._results), encoding="utf-8")
        self._files.append("report.html")
        self._write_json(
            "result.json",
            {
                **self._results,
                "report": "report.html",
                "command": self.command.name,
                "version": cryodl.__version__,
                "seconds": round(time.monotonic() - self._started, 1),
                "files": sorted(set(self._files)),
            },
        )
        self.progress(1.0, "done")


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries a result depends on, without importing them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": ".".join(map(str, sys.version_info[:3])), "cryodl": cryodl.__version__}
    for name in ("torch", "numpy", "scipy", "mrcfile", "starfile", "lightning-fabric"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    found["host"] = os.uname().nodename
    return found


def _plain(value: Any) -> Any:
    """Turn numpy and torch scalars and paths into JSON."""
    return value.item() if hasattr(value, "item") else str(value)
