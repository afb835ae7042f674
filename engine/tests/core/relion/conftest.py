"""A copy of RELION's files to work in, as the project folder of a refinement."""

import shutil
from pathlib import Path

import pytest

FIXTURES = Path(__file__).resolve().parents[2] / "data" / "relion_fixtures"


@pytest.fixture(params=["3.1.3", "4.0.2", "5.0.1"])
def project(request, tmp_path, monkeypatch):
    """The working folder becomes the project folder of a run of one version; gives the version."""
    shutil.copytree(FIXTURES / request.param, tmp_path, dirs_exist_ok=True)
    shutil.copytree(FIXTURES / "toy_input", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return request.param


@pytest.fixture
def project_of(tmp_path, monkeypatch):
    """Make the working folder the project folder of a run of a version given."""

    def enter(version):
        shutil.copytree(FIXTURES / version, tmp_path, dirs_exist_ok=True)
        shutil.copytree(FIXTURES / "toy_input", tmp_path, dirs_exist_ok=True)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return enter
