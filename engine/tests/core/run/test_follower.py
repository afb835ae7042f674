"""Under torchrun only the first process may touch the run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryodl.cli import execute
from cryodl.core.config.parameters import CommandConfig
from cryodl.core.config.registry import Command

SEEN: list[str] = []


def work(config: CommandConfig, run: object) -> None:
    SEEN.append(type(run).__name__)
    run.log("hello")  # type: ignore[attr-defined]
    run.metrics(step=1)  # type: ignore[attr-defined]
    run.add_value("answer", 42)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("rank", "kind"), [("0", "RunFolder"), ("1", "FollowerRun")])
def test_only_the_first_process_opens_the_folder(
    rank: str, kind: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    command = Command("test", "work", "Work.", CommandConfig, f"{__name__}:work")
    SEEN.clear()

    execute(command, CommandConfig(output=tmp_path / "out", launcher="torchrun"))

    assert [kind] == SEEN
    assert (tmp_path / "out" / "result.json").exists() == (kind == "RunFolder")
    assert bool(capsys.readouterr().out) == (kind == "RunFolder")
