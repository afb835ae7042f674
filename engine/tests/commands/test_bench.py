"""bench: times of operations and of training steps, and what it refuses."""

import json

import pytest

from cryodl.cli import main
from cryodl.commands import bench_run
from cryodl.commands.bench_methods import METHODS, chosen_methods, explanation, table_line
from cryodl.errors import ConfigError

SMALL = ["--box-size-px", "16", "--cube-size-px", "16", "--repeats", "1"]


def lines_of(text):
    return [line for line in text.splitlines() if line.strip()]


def test_bench_prints_a_time_for_each_operation(capsys):
    assert main(["bench", *SMALL, "--devices", "cpu", "--methods", "none"]) == 0
    lines = lines_of(capsys.readouterr().out)
    assert len(lines) == 7 and "torch" in lines[0]
    assert all(float(line.split()[-1]) >= 0 for line in lines[2:])
    assert "16³" in lines[2]


@pytest.mark.parametrize(("devices", "status"), [("gpu", 2), ("0,1", 2), ("99", 3), ("cuda:0", 2)])
def test_bench_on_a_device_that_is_not_there(capsys, devices, status):
    assert main(["bench", *SMALL, "--devices", devices]) == status
    assert "--devices" in capsys.readouterr().err


def test_bench_takes_the_best_of_its_repeats(monkeypatch):
    times = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(bench_run.time, "perf_counter", lambda: next(times))
    assert [bench_run._time(lambda: None) for _ in range(3)] == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("methods", ["opus-tomo", pytest.param("all", marks=pytest.mark.slow)])
def test_a_step_of_each_method_in_a_table_and_in_a_file(tmp_path, capsys, methods):
    results = tmp_path / "bench.json"
    words = [*SMALL, "--devices", "cpu", "--scale", "tiny", "--methods", methods]
    assert main(["bench", *words, "--results", str(results)]) == 0
    found = json.loads(results.read_text())
    assert [row["method"] for row in found["methods"]] == chosen_methods(methods)
    printed = capsys.readouterr().out
    for row in found["methods"]:
        assert table_line(row) in printed
        if row["method"] != "alignment":
            assert row["step_seconds"] > 0.5 * row["alone_seconds"][row["dominating"]]
            assert row["counted_seconds"]["convolution"] < row["step_seconds"]
    assert "Best rates" in explanation(found["methods"]) or methods == "alignment"


def test_methods_are_named_as_commands_are():
    assert chosen_methods("all") == list(METHODS) and chosen_methods("none") == []
    assert chosen_methods("opus_tomo, cet-pick") == ["opus-tomo", "cet-pick"]
    with pytest.raises(ConfigError, match="--methods: found 'x', expected all"):
        chosen_methods("spisonet,x")
