"""How the calls for the two half maps of an iteration agree on who does the work.

RELION calls the program once for each half map, usually at the same time, perhaps on two hosts,
perhaps one after the other. The first to create the lock file works for both; the other waits for
the record that the work is done, or that it failed. All files lie beside RELION's own and begin
with ``{run}_itNNN_spisonet``:

* ``.lock``: who works (host, process, half); its time is renewed every few seconds;
* ``.half1`` / ``.half2``: the call of this half is waiting, so its inputs are complete;
* ``.done`` / ``.failed``: the outcome, with the fingerprints of the inputs it belongs to, so that
  what an earlier run left behind is never taken for an answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryodl.core.io.atomic import write_json
from cryodl.errors import CryodlError, ResourceError
from cryodl.methods.spisonet.relion.processes import process_start

HEARTBEAT_SECONDS = 5.0
_FIRST_POLL_SECONDS = 0.1
_LONGEST_POLL_SECONDS = 1.0
_MISSED_POLLS = 3
_RECENT_FAILURE_SECONDS = 600.0


class WorkerFailedError(CryodlError):
    """The call that worked for both halves failed; the reason is its message."""

    exit_status = 1


@dataclass(frozen=True)
class Outcome:
    """What the call of the other half left for this one.

    Attributes
    ----------
    record : dict
        What the worker published.
    alone : bool
        True when it worked on its own half only, so that this call must do the same.
    """

    record: dict[str, Any]
    alone: bool = False


@dataclass
class Meeting:
    """The meeting place of the two calls of an iteration.

    Parameters
    ----------
    shared : Path
        What the names of both halves begin with, ``job/run_it007``.
    half : int
        Half of this call, 1 or 2.
    fingerprint : callable
        Gives for a half a text that changes whenever RELION writes its inputs anew; empty when
        they are not there.
    stale_seconds, timeout_seconds : float
        After so long without a sign of life the worker is replaced; after so long the wait ends.
    heartbeat_seconds : float
        Interval of the worker's signs of life.
    """

    shared: Path
    half: int
    fingerprint: Callable[[int], str]
    stale_seconds: float = 300.0
    timeout_seconds: float = 86400.0
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    took_over: bool = False
    _token: str = field(default_factory=lambda: secrets.token_hex(8))
    _lock_descriptor: int | None = None
    _lock_time: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def other(self) -> int:
        """The other half."""
        return 3 - self.half

    def path(self, what: str) -> Path:
        """Return the file ``lock``, ``half1``, ``half2``, ``done`` or ``failed``."""
        return self.shared.with_name(f"{self.shared.name}_spisonet.{what}")

    # --- the two ways through --------------------------------------------------------------

    def enter(self, check_alive: Callable[[], None] | None = None) -> Outcome | None:
        """Become the worker (None), or wait for the worker's outcome.

        `check_alive` is called at every look at the folder.

        Raises
        ------
        WorkerFailedError
            The worker failed or vanished.
        ResourceError
            The wait exceeded the time-out, or the folder cannot be written.
        """
        started = time.monotonic()
        poll, waited, missed = _FIRST_POLL_SECONDS, False, 0
        while True:
            names = self._names()
            outcome = self._outcome(names)
            if outcome is not None:
                return outcome
            self._raise_failure(names, waited)
            missed = missed + 1 if waited and "lock" not in names else 0
            if missed >= _MISSED_POLLS:
                raise WorkerFailedError(
                    f"{self.path('lock')}: the call for half {self.other} ended without a result; "
                    "see its message above"
                )
            # Who has waited never takes a lock that was just given back: its owner has ended,
            # and how it ended is in the folder at the next look.
            if not waited and "lock" not in names and self._try_lock():
                return self._outcome_or_work()
            if self._take_over_if_stale():
                # What was waited for is gone; from here on this call is like a first one.
                waited = False
                continue
            waited = True
            self._show_presence()
            if check_alive is not None:
                check_alive()
            if time.monotonic() - started > self.timeout_seconds:
                raise ResourceError(
                    f"{self.path('lock')}: the call for half {self.other} has worked for "
                    f"{self.timeout_seconds:g} s, longer than ISONET_TIMEOUT; raise it or make "
                    "the training shorter"
                )
            time.sleep(poll)
            poll = min(1.5 * poll, _LONGEST_POLL_SECONDS)

    @contextlib.contextmanager
    def working(self, check_alive: Callable[[], None] | None = None) -> Iterator[None]:
        """Show signs of life while the block runs; tell the other call if it fails.

        `check_alive` is called at every heartbeat, in the heartbeat's thread.
        """
        self._thread = threading.Thread(target=self._beat, args=(check_alive,), daemon=True)
        self._thread.start()
        try:
            yield
        except BaseException as error:
            self.fail(str(error) or type(error).__name__)
            raise
        finally:
            self._end_heartbeat()

    def partner_is_here(self, patience_seconds: float) -> bool:
        """Wait until the other half's call has come, which proves that its inputs are complete."""
        ends = time.monotonic() + patience_seconds
        path = self.path(f"half{self.other}")
        while True:
            # Only a call of now renews its file; one left over is older than the lock.
            with contextlib.suppress(OSError):
                here = f"half{self.other}" in self._names()
                if here and path.stat().st_mtime >= self._lock_time:
                    return True
            if time.monotonic() >= ends:
                return False
            time.sleep(_FIRST_POLL_SECONDS)

    def publish(self, record: dict[str, Any]) -> None:
        """Tell the other half that the work is done and give the lock back.

        Raises
        ------
        ResourceError
            Another call has replaced this one, or the record cannot be written.
        """
        if self._owner() != self._token:
            raise ResourceError(
                f"{self.path('lock')}: another call has taken over this work, expected to hold "
                "the lock; raise ISONET_STALE if this machine stops for long"
            )
        fingerprints = {str(half): self.fingerprint(half) for half in (1, 2)}
        write_json(self.path("done"), {**record, "worker": self.half, "inputs": fingerprints})
        self._unlock()

    def fail(self, message: str) -> None:
        """Tell the other half, as well as the disk allows, that the work failed."""
        if self._owner() != self._token:
            return
        fingerprints = {str(half): self.fingerprint(half) for half in (1, 2)}
        with contextlib.suppress(CryodlError, OSError):
            write_json(
                self.path("failed"),
                {"message": message, "worker": self.half, "inputs": fingerprints},
            )
        self._unlock()

    def leave(self, *, finished: bool) -> None:
        """Remove this call's traces; with `finished` the record of the outcome, too."""
        self._leave(f"half{self.half}")
        if finished:
            self._leave("done")

    # --- reading the folder ----------------------------------------------------------------

    def _names(self) -> set[str]:
        # Listing asks the server; on network file systems a test for one name may answer from
        # a cache.
        start = f"{self.shared.name}_spisonet."
        try:
            names = [path.name for path in self.shared.parent.iterdir()]
        except OSError as error:
            raise ResourceError(
                f"{self.shared.parent}: could not be listed ({error.strerror}), expected the "
                "folder of the job; check that it is still there"
            ) from error
        return {name.removeprefix(start) for name in names if name.startswith(start)}

    def _outcome(self, names: set[str]) -> Outcome | None:
        record = _read(self.path("done")) if "done" in names else None
        if record is None:
            return None
        results, inputs = record.get("results", {}), record.get("inputs", {})
        if str(self.half) in results:
            valid = inputs.get(str(self.half)) == self.fingerprint(self.half)
            return Outcome(record) if valid and self._has_result(record) else None
        worker = int(record.get("worker", self.half))
        if record.get("alone") and worker == self.other:
            if inputs.get(str(worker)) == self.fingerprint(worker):
                return Outcome(record, alone=True)
        elif record.get("fallback") and inputs.get(str(self.half)) == self.fingerprint(self.half):
            return Outcome(record)
        return None

    def _has_result(self, record: dict[str, Any]) -> bool:
        entry = record["results"][str(self.half)]
        path = self.shared.parent / entry["file"]
        return bool(path.is_file() and path.stat().st_size == entry["bytes"])

    def _raise_failure(self, names: set[str], waited: bool) -> None:
        record = _read(self.path("failed")) if "failed" in names else None
        if record is None or record.get("worker") == self.half:
            return
        if record.get("inputs", {}).get(str(self.half)) != self.fingerprint(self.half):
            return
        with contextlib.suppress(OSError):
            age = time.time() - self.path("failed").stat().st_mtime
            if waited or age < _RECENT_FAILURE_SECONDS:
                self._leave(f"half{self.half}")
                raise WorkerFailedError(
                    f"half {record['worker']}, which worked for both: {record['message']}"
                )

    # --- the lock --------------------------------------------------------------------------

    def _try_lock(self) -> bool:
        content = {
            "token": self._token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_start": process_start(os.getpid()),
            "half": self.half,
            "inputs": self.fingerprint(self.half),
        }
        path = self.path("lock")
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o664)
        except FileExistsError:
            return False
        except OSError as error:
            raise ResourceError(
                f"{path}: could not be written ({error.strerror}), expected a writable job "
                "folder; free some space or check the permissions"
            ) from error
        # A full disk may refuse the content: then the time of the file must do.
        with contextlib.suppress(OSError):
            os.write(descriptor, json.dumps(content).encode())
        self._lock_descriptor = descriptor
        self._lock_time = os.fstat(descriptor).st_mtime
        return True

    def _outcome_or_work(self) -> Outcome | None:
        # What the other call finished between the look at the folder and the lock still counts.
        outcome = self._outcome(self._names())
        if outcome is not None:
            self._unlock()
        else:
            for left_over in ("done", "failed", f"half{self.half}"):
                self._leave(left_over)
        return outcome

    def _owner(self) -> str | None:
        if self._lock_descriptor is None:
            return None
        content = _read(self.path("lock"))
        if content is not None:
            return str(content.get("token"))
        with contextlib.suppress(OSError):
            mine = os.fstat(self._lock_descriptor)
            if os.path.samestat(mine, self.path("lock").stat()):
                return self._token
        return None

    def _unlock(self) -> None:
        self._end_heartbeat()
        self._leave("lock")
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    def _take_over_if_stale(self) -> bool:
        path = self.path("lock")
        content = _read(path)
        if not self._is_stale(path, content):
            return False
        aside = path.with_name(f"{path.name}.{self._token}")
        try:
            path.rename(aside)
        except OSError:
            return False
        moved = _read(aside)
        if moved != content:
            # Somebody else was quicker, and this is his new lock: put it back.
            with contextlib.suppress(OSError):
                os.link(aside, path)
            aside.unlink(missing_ok=True)
            return False
        aside.unlink(missing_ok=True)
        self.took_over = True
        return True

    def _is_stale(self, path: Path, content: dict[str, Any] | None) -> bool:
        try:
            silent = self._server_time() - path.stat().st_mtime
        except OSError:
            return False
        if silent > self.stale_seconds:
            return True
        if content is None:
            return False
        half = int(content.get("half", self.half))
        if content.get("inputs") != self.fingerprint(half):
            return True
        if content.get("host") != socket.gethostname():
            return False
        pid = int(content.get("pid", 0))
        return process_start(pid) != content.get("process_start")

    def _server_time(self) -> float:
        """Return the time by the clock of the file system, to which file times belong."""
        self._show_presence()
        with contextlib.suppress(OSError):
            return self.path(f"half{self.half}").stat().st_mtime
        return time.time()

    def _show_presence(self) -> None:
        with contextlib.suppress(OSError):
            self.path(f"half{self.half}").touch()

    def _leave(self, what: str) -> None:
        with contextlib.suppress(OSError):
            self.path(what).unlink(missing_ok=True)

    def _beat(self, check_alive: Callable[[], None] | None) -> None:
        while not self._stop.wait(self.heartbeat_seconds):
            descriptor = self._lock_descriptor
            if descriptor is not None:
                # By descriptor: were the lock taken over, its new owner's time stays untouched.
                with contextlib.suppress(OSError):
                    os.utime(descriptor)
            if check_alive is not None:
                check_alive()

    def _end_heartbeat(self) -> None:
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None


def _read(path: Path) -> dict[str, Any] | None:
    """Read a record, or None while it is absent or incomplete."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
