"""One command of a demonstration."""

from __future__ import annotations


def step(arguments: list[str]) -> None:
    """Run one command of ours in this process; go on where an interrupted demo stopped."""
    from cryodl.cli import run_command

    run_command([*arguments, "--resume"])
