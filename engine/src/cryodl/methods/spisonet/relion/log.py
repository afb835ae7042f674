"""What the calls of a refinement report: a line for people, a row for machines."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cryodl.core.io.atomic import write_json
from cryodl.errors import ResourceError
from cryodl.methods.spisonet.relion.settings import RelionSettings

LOG_NAME = "spisonet_log.csv"
SETTINGS_NAME = "spisonet_settings.json"


@dataclass
class CallReport:
    """One call of the external reconstruction; the columns of ``spisonet_log.csv``.

    Attributes
    ----------
    time : str
        When the call ended, in UTC.
    run : str
        Root name of the run.
    iteration, half : int or None
        Iteration; half 1 or 2, empty for a map of all particles.
    map : str
        Kind and number, ``class001``.
    relion_version : str
        As the optimiser file says.
    healpix_order : int or None
        Of the last iteration's sampling, before oversampling.
    resolution_0143, resolution_05, limit_resolution : float or None
        Resolution of the half maps in Angstrom, and up to where the network corrects.
    gate : str
        ``open``, ``closed``, or ``none`` where no network is meant to run.
    reason : str
        Why.
    action : str
        ``network``, ``relion``, ``unfil``, ``program``, ``fallback`` or ``failed``.
    role : str
        ``worker`` for both halves, ``waiter``, or ``alone``.
    weight : str
        Source of the directional weight.
    keep_lowres : bool
        Whether the low resolution of a reference was kept.
    sd_result, sd_relion : float or None
        Standard deviations of what was returned and of RELION's own map.
    seconds : float
        Duration of the call.
    message : str
        Warnings and errors.
    """

    time: str = ""
    run: str = ""
    iteration: int | None = None
    half: int | None = None
    map: str = ""
    relion_version: str = ""
    healpix_order: int | None = None
    resolution_0143: float | None = None
    resolution_05: float | None = None
    limit_resolution: float | None = None
    gate: str = "none"
    reason: str = ""
    action: str = ""
    role: str = ""
    weight: str = ""
    keep_lowres: bool = False
    sd_result: float | None = None
    sd_relion: float | None = None
    seconds: float = 0.0
    message: str = ""

    def warn(self, message: str, *, print_it: bool = True) -> None:
        """Note a warning in the row, and print it for people."""
        self.message = f"{self.message} {message}".strip()
        if print_it:
            sys.stderr.write(f"\n spIsoNet: WARNING: {message}\n")
            sys.stderr.flush()

    def line(self) -> str:
        """Return the line for people."""
        parts = [f"it{self.iteration:03d}" if self.iteration is not None else "?"]
        parts.append(self.map if self.half is None else f"half{self.half}")
        what = {
            "network": "corrected by the network",
            "relion": "RELION's own map",
            "unfil": "unregularised map",
            "program": "left to relion_external_reconstruct",
            "fallback": "RELION's own map, for the correction FAILED",
            "failed": "FAILED",
        }.get(self.action, self.action)
        details = []
        if self.resolution_0143 is not None:
            details.append(f"FSC 0.143 at {self.resolution_0143:.2f} A")
        if self.healpix_order is not None:
            details.append(f"order {self.healpix_order}")
        details += [text for text in (self.reason, self.role) if text]
        if self.keep_lowres:
            details.append("low resolution kept")
        details.append(f"{self.seconds:.1f} s")
        return f"spIsoNet {' '.join(parts)}: {what} ({'; '.join(details)})"


def announce(report: CallReport, folder: Path) -> None:
    """Print the line and append the row.

    Raises
    ------
    ResourceError
        The log cannot be written.
    """
    report.time = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    # RELION's own output shares the stream and may be in the middle of a progress bar.
    sys.stdout.write(f"\n {report.line()}\n")
    sys.stdout.flush()
    append_row(report, folder / LOG_NAME)


def append_row(report: CallReport, path: Path) -> None:
    """Append a row to the log; both halves may do so at once."""
    row = {name: _plain(value) for name, value in asdict(report).items()}
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in fields(CallReport)])
    try:
        with path.open("a", encoding="utf-8", newline="") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if os.fstat(stream.fileno()).st_size == 0:
                writer.writeheader()
            writer.writerow(row)
            stream.write(text.getvalue())
            stream.flush()
    except OSError as error:
        raise ResourceError(
            f"{path}: could not be written ({error.strerror}), expected a writable job folder; "
            "free some space or check the permissions"
        ) from error


def note_settings(settings: RelionSettings, folder: Path) -> None:
    """Write the settings in effect to the job's folder, unless they are there already."""
    path = folder / SETTINGS_NAME
    values = settings.as_variables()
    try:
        if json.loads(path.read_text(encoding="utf-8")) == values:
            return
    except (OSError, ValueError):
        pass
    write_json(path, values)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return " ".join(value.split())
    return value
