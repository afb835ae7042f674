"""Training of networks goes on exactly after a stop, and runs in two processes."""

import json

import numpy as np
import pytest
from alignment_cases import write_set
from safetensors.numpy import load_file

from cryodl.cli import main
from cryodl.methods.selfalign.data import PairSource


def train_words(folder, output, *others):
    return ["selfalign", "train", str(folder / "truth.star"), "--reference",
            str(folder / "reference.mrc"), "--tilt-min", "-60", "--tilt-max", "60", "--preset",
            "refcnn", "--steps", "6", "--batch-size", "4", "--devices", "cpu", *others,
            "--output", str(output)]  # fmt: skip


class StoppedError(Exception):
    """Ends the training in its middle."""


def test_a_stopped_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    write_set(tmp_path, count=4)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(train_words(tmp_path, whole)) == 0
    batch, calls = PairSource.batch, []

    def failing(self, step, *rest):
        calls.append(step)
        if len(calls) > 4:
            raise StoppedError
        return batch(self, step, *rest)

    monkeypatch.setattr(PairSource, "batch", failing)
    assert main(train_words(tmp_path, broken)) == 1
    assert len(calls) == 5 and not (broken / "model.safetensors").exists()
    monkeypatch.setattr(PairSource, "batch", batch)
    assert main(train_words(tmp_path, broken, "--resume")) == 0
    first, second = (load_file(path / "model.safetensors") for path in (whole, broken))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    write_set(tmp_path, count=4)
    out = tmp_path / "out"
    words = train_words(tmp_path, out)
    words[words.index("cpu")] = "cpu:2"
    assert main(words) == 0
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 6 and np.isfinite(lines[-1]["loss"])
    assert json.loads((out / "result.json").read_text())["model"] == "model.safetensors"
