"""A run as the other processes of torchrun or SLURM see it: they compute and keep silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryodl.core.config.parameters import CommandConfig
from cryodl.core.run.report import Report


class FollowerRun:
    """Takes the place of a `RunFolder` where another process holds the folder.

    Everything that would write is left to the first process; reading goes to the same folder.

    Parameters
    ----------
    title
        Name of the command.
    config
        Its checked parameters.
    """

    def __init__(self, title: str, config: CommandConfig) -> None:
        self.config = config
        self.folder = Path(config.output)
        self.report = Report(title)

    def path(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.folder / name

    def log(self, message: str) -> None:
        """Say nothing."""

    def metrics(self, **values: Any) -> None:
        """Write nothing."""

    def metrics_truncate(self, step: int) -> None:
        """Drop nothing."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Write nothing."""

    def add_value(self, key: str, value: Any) -> None:
        """Note nothing."""

    def add_file(self, key: str, name: str) -> None:
        """Promise nothing."""

    def write_map(self, key: str, name: str, data: Any, **options: Any) -> None:
        """Write nothing."""
