"""The correction on several processes and in half precision."""

import json

import numpy as np
import pytest
from correction_cases import correct, load, log_of, write_case

TRAINING = ["--norm", "instance", "--n-subvolume", "4", "--epochs", "1"]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def alone(case, tmp_path_factory):
    return correct(case, tmp_path_factory.mktemp("alone") / "out", *TRAINING)[0]


def distance(first, second):
    a, b = (load(folder / "corrected_half1.mrc") for folder in (first, second))
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def losses(folder):
    return [
        json.loads(line)["loss"]
        for line in (folder / "metrics.jsonl").read_text().split("\n")
        if line
    ]


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (["--devices", "cpu:2"], 1e-4),
        (["--acc-batches", "2"], 1e-4),
        (["--precision", "bf16"], 0.05),
    ],
    ids=["two processes", "accumulated", "bf16"],
)
def test_the_result_hardly_depends_on_how_it_was_computed(
    options, tolerance, case, alone, tmp_path
):
    folder, _ = correct(case, tmp_path / "out", *TRAINING, *options)
    assert losses(folder) == pytest.approx(losses(alone), rel=max(tolerance, 1e-3))
    assert distance(alone, folder) < tolerance
    assert distance(alone, folder) > 0 or "--precision" not in options


@pytest.mark.parametrize("threads", [1, 2])
def test_as_many_threads_as_were_asked_for(threads, case, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1" if threads == 2 else "2")
    folder, _ = correct(case, tmp_path / "out", "--ncpus", threads)
    assert f"{threads} threads" in log_of(folder)
