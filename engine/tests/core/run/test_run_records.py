"""What a run writes down: maps, results, metrics and progress."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from cryodl.core.config.parameters import CommandConfig
from cryodl.core.config.registry import Command
from cryodl.core.run.folder import RunFolder
from cryodl.errors import TrainingError

SAMPLE = Command("sample", "take", "Take.", CommandConfig, "os:getcwd")
NOISE = np.random.default_rng(0).standard_normal((8, 8, 8)).astype(np.float32)


def open_run(folder):
    return RunFolder(SAMPLE, CommandConfig(output=folder))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_not_written(tmp_path, value):
    data = NOISE.copy()
    data[0, 0, 0] = value
    with pytest.raises(TrainingError, match="not finite"), open_run(tmp_path / "run") as run:
        run.write_map("map", "map.mrc", data, pixel_size_angstrom=1.0)
    assert not (tmp_path / "run" / "map.mrc").exists()


def test_a_constant_map_is_not_written(tmp_path):
    with pytest.raises(TrainingError, match="constant"), open_run(tmp_path / "run") as run:
        run.write_map("map", "map.mrc", np.ones((8, 8, 8)), pixel_size_angstrom=1.0)


def test_map_keeps_values_and_pixel_size(tmp_path):
    import mrcfile

    with open_run(tmp_path / "run") as run:
        run.write_map("map", "map.mrc", NOISE, pixel_size_angstrom=1.5)
    with mrcfile.open(tmp_path / "run" / "map.mrc") as file:
        assert np.array_equal(file.data, NOISE)
        assert file.voxel_size.x == pytest.approx(1.5)


def test_results_and_metrics_are_plain_json(tmp_path):
    import torch

    with open_run(tmp_path / "run") as run:
        run.add_value("resolution", np.float32(3.5))
        run.add_value("nothing", float("nan"))
        run.add_value("curve", np.arange(3.0))
        run.add_value("loss", torch.tensor(0.5))
        run.add_value("path", Path("a/b"))
        run.add_value("deep", {"x": (np.int64(1), [np.bool_(True)])})
        run.metrics(step=np.int64(1), loss=torch.tensor(float("inf")), lr=1e-4)
        run.finish()

    def no_constants(text):
        raise AssertionError(text)

    text = (tmp_path / "run" / "result.json").read_text()
    result = json.loads(text, parse_constant=no_constants)
    assert result["resolution"] == 3.5 and result["nothing"] is None
    assert result["curve"] == [0, 1, 2] and result["loss"] == 0.5 and result["path"] == "a/b"
    assert result["deep"] == {"x": [1, [True]]}
    line = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=no_constants) == {"step": 1, "loss": None, "lr": 1e-4}


def test_metrics_after_a_step_are_dropped_with_the_line_a_kill_cut_short(tmp_path):
    with open_run(tmp_path / "run") as run:
        run.metrics_truncate(3)
        for step in range(5):
            run.metrics(step=step)
        with run.path("metrics.jsonl").open("a") as file:
            file.write('{"step": 2, "lo')
        run.metrics_truncate(3)
        steps = [json.loads(x)["step"] for x in run.path("metrics.jsonl").read_text().splitlines()]
    assert steps == [0, 1, 2, 3]


def read_progress(run):
    return json.loads(run.path("progress.json").read_text())


def test_progress_tells_the_time_left_from_what_was_done_since_the_start(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with open_run(tmp_path / "run") as run:
        run.progress(0.5, "resumed in the middle")
        assert read_progress(run)["seconds_left"] is None
        now[0] += 0.5
        run.progress(0.55)
        assert read_progress(run)["fraction"] == 0.5  # not more than once a second
        now[0] += 9.5
        run.progress(0.75, "on")
        assert read_progress(run) == {
            "fraction": 0.75,
            "seconds_elapsed": 10.0,
            "seconds_left": 10.0,
            "note": "on",
        }
        run.progress(1.0)
        assert read_progress(run)["seconds_left"] == 0
        now[0] += 2
        run.progress(7)
        assert read_progress(run)["fraction"] == 1
