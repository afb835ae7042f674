"""What is found out of a refinement from the files it leaves."""

import shutil
from pathlib import Path

import pytest

from cryodl.core.relion.call import read_call
from cryodl.core.relion.job import (
    CommandLine,
    initial_map,
    newest_optimiser,
    pixel_size_angstrom,
    read_refinement,
)
from cryodl.errors import InputError

JOB = Path("Refine3D/job005")
STAR = JOB / "run_it002_half1_class001_external_reconstruct.star"
CONTINUED = JOB / "run_ct1_it002_half1_class001_external_reconstruct.star"


def rewrite(path, *changes):
    text = Path(path).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path(path).write_text(text)


def test_command_lines():
    line = CommandLine.parse("--o my folder/run --ini_high 30 --offset -3 --zero_mask --a=b ")
    assert line.text("--o") == "my folder/run" and line.number("--offset") == -3
    assert "--zero_mask" in line and line.text("--zero_mask") is None
    assert line.text("--a") == "b" and line.number("--missing") is None
    with pytest.raises(InputError, match="--o: found 'my folder/run', expected a number"):
        line.number("--o")
    assert CommandLine.parse("--o it's").text("--o") == "it's"


def test_plain_run_of_each_version(project):
    call = read_call(STAR)
    assert newest_optimiser(call) == JOB / "run_it001_optimiser.star"
    state = read_refinement(call)
    assert state.version == tuple(int(part) for part in project.split("."))
    assert state.grids == (project == "3.1.3")
    assert state.healpix_order == 1 and state.symmetry == "C1"
    assert state.mask == Path("mask.mrc")
    assert state.auto_refine and state.split_halves and not state.gradient_refinement
    assert state.initial_low_pass_angstrom == 45 and "--keep_lowres" in state.command
    assert state.minres_map_shell == 5 and not state.sequential_halves
    assert state.particle_diameter_angstrom == 112
    assert pixel_size_angstrom(call, state) == pytest.approx(10)


def test_continued_run_knows_the_first_command_line(project):
    call = read_call(CONTINUED)
    assert newest_optimiser(call) == JOB / "run_ct1_it001_optimiser.star"
    state = read_refinement(call)
    assert "--continue" in state.command and "--ini_high" not in state.command
    assert state.initial_low_pass_angstrom == 45 and "--ref" in state.original
    assert state.healpix_order == 1  # by the path in the optimiser, or beside it
    assert state.roots[0] == JOB / "run_ct1" and JOB / "run" in state.roots


def test_reference_of_iteration_0_lies_under_the_old_root(project_of):
    project_of("5.0.1")
    call = read_call(CONTINUED)
    assert initial_map(call, read_refinement(call)) is None
    shutil.copy("ref.mrc", JOB / "run_it000_half1_class001.mrc")
    found = initial_map(call, read_refinement(call))
    assert found == JOB / "run_it000_half1_class001.mrc"


def test_run_continued_under_its_own_root_names_itself(project_of):
    project_of("4.0.2")
    optimiser = JOB / "run_it001_optimiser.star"
    lines = optimiser.read_text().splitlines(keepends=True)
    lines[1] = f"# --continue {optimiser} --o Refine3D/job005/run --external_reconstruct\n"
    optimiser.write_text("".join(lines))
    state = read_refinement(read_call(STAR))
    assert state.initial_low_pass_angstrom == 45  # from iteration 0
    (JOB / "run_it000_optimiser.star").unlink()
    assert read_refinement(read_call(STAR)).initial_low_pass_angstrom is None


def test_two_files_that_continue_each_other_do_not_hang(project_of):
    project_of("4.0.2")
    for name, other in (("run_it000", "run_it001"), ("run_it001", "run_it000")):
        lines = (JOB / f"{name}_optimiser.star").read_text().splitlines(keepends=True)
        lines[1] = f"# --continue {JOB}/{other}_optimiser.star --o {JOB}/run\n"
        (JOB / f"{name}_optimiser.star").write_text("".join(lines))
    assert read_refinement(read_call(STAR)).initial_low_pass_angstrom is None


def test_first_iteration_after_continuing_uses_the_old_files(project_of):
    project_of("3.1.3")
    for path in JOB.glob("run_ct1_it*_optimiser.star"):
        path.unlink()
    assert newest_optimiser(read_call(CONTINUED)) == JOB / "run_it001_optimiser.star"


def test_gridding_by_command_line(project_of):
    project_of("3.1.3")
    rewrite(JOB / "run_it001_optimiser.star", ("--keep_lowres", "--skip_gridding"))
    assert not read_refinement(read_call(STAR)).grids
    project_of("5.0.1")
    rewrite(JOB / "run_it001_optimiser.star", ("--keep_lowres", "--dont_skip_gridding"))
    assert read_refinement(read_call(STAR)).grids


@pytest.mark.parametrize("version, grids", [("3.1.3", True), ("4.0.2", False)])
def test_without_optimiser_the_star_tells_the_version(project_of, version, grids):
    project_of(version)
    for path in JOB.glob("*_optimiser.star"):
        path.unlink()
    state = read_refinement(read_call(STAR))
    assert state.grids == grids and state.healpix_order is None and state.mask is None


def test_pixel_size_of_3_1(project_of):
    project_of("3.1.3")
    call = read_call(STAR)
    call.unfiltered.unlink()
    assert pixel_size_angstrom(call, read_refinement(call)) == 10  # optics table
    (JOB / "run_it001_data.star").unlink()
    with pytest.raises(InputError, match="found no pixel size"):
        pixel_size_angstrom(call, read_refinement(call))


def test_subtomograms_of_relion_5(project_of):
    project_of("5.0.1")
    star = "Refine3D/job010/run_it001_half1_class001_external_reconstruct.star"
    call = read_call(star)
    assert pixel_size_angstrom(call, read_refinement(call)) == pytest.approx(12.0024, abs=1e-4)
    rewrite(star, ("_rlnPixelSize ", "_rlnOther "))
    rewrite("Refine3D/job010/run_it001_optimiser.star", ("RELION optimiser", "RELION"))
    shutil.move("Refine3D/job010/run_it001_data.star", "Refine3D/job010/run_it000_data.star")
    shutil.move(
        "Refine3D/job010/run_it001_optimiser.star", "Refine3D/job010/run_it000_optimiser.star"
    )
    rewrite("Refine3D/job010/run_it000_optimiser.star", ("it001_data", "it000_data"))
    call = read_call(star)
    # data_general comes before the optics table there.
    assert pixel_size_angstrom(call, read_refinement(call)) == 12


def model_of_volumes(path):
    Path(path).write_text("data_model_general\n\n_rlnDataDimensionality 3\n\ndata_other\n")


def test_dimensionality_of_the_particles(project):
    call = read_call(STAR)
    assert read_refinement(call).data_dimensionality == 2  # optics table
    model_of_volumes(JOB / "run_it001_half1_model.star")  # as the optimiser names it
    assert read_refinement(call).data_dimensionality == 3
    rewrite(JOB / "run_it001_optimiser.star", ("half1_model", "half1_gone"))
    assert read_refinement(call).data_dimensionality == 3  # beside it
    (JOB / "run_it001_half1_model.star").unlink()
    (JOB / "run_it001_data.star").write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnImageDimensionality #2\n1 3\n"
    )
    assert read_refinement(call).data_dimensionality == 3
    (JOB / "run_it001_data.star").unlink()
    assert read_refinement(call).data_dimensionality == 2


def test_damaged_optimiser_is_refused(project_of):
    project_of("4.0.2")
    (JOB / "run_it001_optimiser.star").write_text("data_other\n\n_rlnA 1\n")
    with pytest.raises(InputError, match="no block data_optimiser_general"):
        read_refinement(read_call(STAR))
