"""doctor and bench: what they find, what they say, and when they fail."""

import re
import sys

from cryodl.cli import main
from cryodl.commands import doctor


def lines_of(text):
    return [line for line in text.splitlines() if line.strip()]


def test_doctor_says_what_is_here_and_makes_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and list(tmp_path.iterdir()) == []
    for word in ("Python", "cryodl", "torch", "numpy", "mrcfile", "CPU threads", "disk, here"):
        assert re.search(rf"^  ok  {word}", out, re.M), word
    for word in ("GPU", "RELION", "ChimeraX", "Xvfb"):
        assert f"  {word} " in out, word
    assert re.search(r"^  (ok  scipion-pyworkflow|-   Scipion)  *\S", out, re.M)
    assert lines_of(out)[-1] == "The engine works on this machine."


def test_what_is_missing_comes_with_its_remedy(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert main(["doctor"]) == 0
    lines = lines_of(capsys.readouterr().out)
    at = next(i for i, line in enumerate(lines) if "RELION" in line)
    assert lines[at].startswith("  -   ") and "no relion_refine on PATH" in lines[at]
    assert lines[at + 1].strip() == "mend: sudo apt-get install relion"


def test_an_environment_without_scipion_is_fine(monkeypatch, capsys):
    def version(name):
        if name.startswith("scipion"):
            raise doctor.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", version)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^  -   Scipion +not in this environment", out, re.M)
    assert "scipion-em" not in out


def test_a_missing_library_is_status_3_with_the_command_that_mends_it(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=1", "no-such-library>=2"])
    assert main(["doctor"]) == 3
    out, err = capsys.readouterr()
    assert "  X   no-such-library" in out and "works on this machine" not in out
    assert err.count("\n") == 1
    assert "no-such-library: found missing" in err
    assert f"{sys.executable} -m pip install no-such-library" in err


def test_torch_that_does_not_load_is_status_3(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["doctor"]) == 3
    assert "PyTorch" in capsys.readouterr().err


def test_required_libraries_are_those_that_the_distribution_declares():
    names = doctor._required_libraries()
    assert {"torch", "numpy", "lightning-fabric"} <= set(names)
    assert "pytest" not in names and "gemmi" not in names


def test_a_program_that_hangs_or_says_nothing(tmp_path, monkeypatch):
    for name, text in (("mute", "exit 0"), ("slow", "exec sleep 30"), ("told", "echo v4.0.1-beta")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(doctor, "_PROGRAM_SECONDS", 0.2)
    assert doctor._program("m", ["mute", "-v"], "mend").found.startswith("version unknown")
    assert doctor._program("t", ["told", "-v"], "mend").found.startswith("4.0.1")
    assert doctor._program("s", ["slow", "-v"], "mend").mark == "-"


def test_a_card_that_fails_is_told(monkeypatch):
    import torch

    class Card:
        name, total_memory = "Old card", 4 * 2**30

    def refuse(*arguments, **words):
        raise RuntimeError("no kernel image is\navailable")

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Card)
    monkeypatch.setattr(torch, "ones", refuse)
    finding = doctor._cuda_device(0)
    assert finding.mark == "-" and "Old card, 4 GiB" in finding.found
    assert "no kernel image is available" in finding.found and "\n" not in finding.found
