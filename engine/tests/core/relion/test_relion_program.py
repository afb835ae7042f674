"""Which way a map is made, and RELION's own program where it is needed."""

import shutil
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryodl.core.relion.call import read_call
from cryodl.core.relion.job import read_refinement
from cryodl.core.relion.program import pass_to_program, regularised_map, unregularised_map
from cryodl.errors import ResourceError

JOB = Path("Refine3D/job005")
STAR = JOB / "run_it002_half1_class001_external_reconstruct.star"


def difference(a, b):
    return np.abs(a - b).max() / b.std()


@pytest.mark.relion
def test_gridded_map_is_that_of_relion(project_of):
    project_of("3.1.3")
    call = read_call(STAR)
    relions = mrcfile.read(call.unfiltered)
    call.unfiltered.unlink()
    before = sorted(JOB.iterdir())
    found = unregularised_map(call, read_refinement(call))
    assert difference(found, relions) < 1e-6
    assert sorted(JOB.iterdir()) == before  # and nothing is left behind


@pytest.mark.relion
def test_names_with_blanks_reach_the_program(project_of):
    project_of("3.1.3")
    shutil.copytree(JOB, "my job")
    star = Path("my job") / STAR.name
    star.write_text(star.read_text().replace(str(JOB), "my job"))
    for path in Path("my job").glob("*_optimiser.star"):
        path.write_text(path.read_text().replace(str(JOB), "my job"))
    blank, plain = (read_call(name) for name in (star, STAR))
    np.testing.assert_array_equal(
        regularised_map(blank, read_refinement(blank)),
        regularised_map(plain, read_refinement(plain)),
    )


@pytest.mark.relion
@pytest.mark.parametrize("make", [regularised_map, unregularised_map])
def test_maps_of_volumes_are_larger_by_the_box(project_of, make):
    project_of("3.1.3")
    call = read_call(STAR)
    call.unfiltered.unlink()
    state = read_refinement(call)
    volumes = replace(state, data_dimensionality=3)
    np.testing.assert_allclose(make(call, volumes), 14 * make(call, state), rtol=1e-6)


@pytest.mark.parametrize(
    "reference, data, factor", [("3", 2, 1), ("3", 3, 14), ("2", 3, 1), ("2", 2, 1)]
)
def test_what_the_program_does_alone_is_rescaled_too(
    project_of, monkeypatch, reference, data, factor
):
    folder = project_of("3.1.3")
    STAR.write_text(
        STAR.read_text().replace(
            "_rlnReferenceDimensionality                       3",
            f"_rlnReferenceDimensionality {reference}",
        )
    )
    call = read_call(STAR)
    program = folder / "relion_external_reconstruct"
    program.write_text(f"#!/bin/sh\ncp {call.unfiltered} {call.result}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    state = replace(read_refinement(call), data_dimensionality=data)
    assert pass_to_program(call, state) == 0
    np.testing.assert_allclose(
        mrcfile.read(call.result), factor * mrcfile.read(call.unfiltered), rtol=1e-6
    )


def test_failing_program_says_so(project_of, monkeypatch):
    folder = project_of("3.1.3")
    program = folder / "relion_external_reconstruct"
    program.write_text('#!/bin/sh\necho "ERROR: no such thing" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    call = read_call(STAR)
    with pytest.raises(ResourceError, match=r"status 1 on .*ERROR: no such thing"):
        regularised_map(call, read_refinement(call))


def test_without_the_program_the_formula_is_used_with_a_warning(project_of, monkeypatch, caplog):
    folder = project_of("3.1.3")
    monkeypatch.setenv("PATH", str(folder))
    call = read_call(STAR)
    assert regularised_map(call, read_refinement(call)).shape == (14, 14, 14)
    assert "gridding, which is left out" in caplog.text


def test_gradient_refinement_does_not_use_relions_unfiltered_map(project_of):
    project_of("5.0.1")
    call = read_call(STAR)
    expected = mrcfile.read(call.unfiltered)
    with mrcfile.open(call.unfiltered, "r+") as stream:
        stream.data[...] = np.flip(expected, 0)
    used = unregularised_map(call, read_refinement(call))
    np.testing.assert_array_equal(used, np.flip(expected, 0))
    path = JOB / "run_it001_optimiser.star"
    path.write_text(path.read_text().replace("--keep_lowres", "--grad"))
    assert difference(unregularised_map(call, read_refinement(call)), expected) < 1e-5
