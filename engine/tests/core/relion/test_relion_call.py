"""Names and star files of external reconstruction calls."""

from pathlib import Path

import numpy as np
import pytest

from cryodl.core.relion.call import MapName, read_arrays, read_call
from cryodl.errors import InputError

STAR = "Refine3D/job005/run_it002_half1_class001_external_reconstruct.star"


@pytest.mark.parametrize(
    "text, out, run, iteration, half, kind, number",
    [
        ("a/run_it002_half1_class001", "run", "run", 2, 1, "class", 1),
        ("a b/my_own_run_it012_half2_class001", "my_own_run", "my_own_run", 12, 2, "class", 1),
        ("run_ct12_it013_half1_class001", "run", "run_ct12", 13, 1, "class", 1),
        ("a/run_ct1_ct2_it003_half1_class001", "run_ct1", "run_ct1_ct2", 3, 1, "class", 1),
        ("a/run_it1203_class004", "run", "run", 1203, None, "class", 4),
        ("a/run_it004_half1_body002", "run", "run", 4, 1, "body", 2),
        ("a/x_it001_y_it007_class001", "x_it001_y", "x_it001_y", 7, None, "class", 1),
    ],
)
def test_names_of_all_kinds(text, out, run, iteration, half, kind, number):
    name = MapName.parse(Path(text))
    assert (name.out, name.run, name.iteration) == (out, run, iteration)
    assert (name.half, name.kind, name.number) == (half, kind, number)
    assert name.root(half) == Path(text)
    assert str(name.shared) + "_" in text


def test_partner_and_foreign_names():
    name = MapName.parse(Path("job/run_ct3_it1004_half1_class001"))
    assert name.root(2) == Path("job/run_ct3_it1004_half2_class001")
    assert name.root(None) == Path("job/run_ct3_it1004_class001")
    with pytest.raises(InputError, match="not RELION's, expected ROOT_itNNN"):
        MapName.parse(Path("job/postprocess"))


def test_star_of_each_version(project):
    call = read_call(STAR)
    assert call.root == Path("Refine3D/job005/run_it002_half1_class001")
    assert (call.box_size_px, call.current_size_px, call.padding) == (14, 14, 1)
    assert call.dimensionality == 3 and call.tau2_fudge == 1
    assert call.tau2.shape == call.fsc.shape == (8,)
    modern = project != "3.1.3"
    assert call.pixel_size_angstrom == (10.0 if modern else None)
    assert call.particle_diameter_angstrom == (112.0 if modern else None)
    real, _, weight = read_arrays(call)
    assert real.shape == weight.shape == (14, 14, 8) and weight.min() >= 0


def test_stars_of_joined_and_classification_calls(project):
    joined = read_call("Refine3D/job009/run_it007_class001_external_reconstruct.star")
    assert joined.name.half is None and joined.name.iteration == 7
    classified = read_call("Class3D/job007/run_it001_class002_external_reconstruct.star")
    assert classified.name.number == 2 and classified.tau2_fudge == 4
    assert not classified.fsc.any()


def test_damaged_calls_are_refused(project_of):
    project_of("4.0.2")
    star = Path(STAR)
    text = star.read_text()
    star.write_text(text.replace("external_reconstruct_tau2", "other"))
    with pytest.raises(InputError, match="no block data_external_reconstruct_tau2"):
        read_call(STAR)
    star.write_text(text[: text.rindex("7 3.9")])
    with pytest.raises(InputError, match="found 7 shells, expected 8"):
        read_call(STAR)
    star.write_text(text.replace("_rlnCurrentImageSize ", "_rlnOther "))
    with pytest.raises(InputError, match="found no _rlnCurrentImageSize"):
        read_call(STAR)
    star.write_text(text.replace("1.000000\n_rlnReferenceD", "1.500000\n_rlnReferenceD"))
    with pytest.raises(InputError, match=r"padding factor 1\.5, expected a whole number"):
        read_call(STAR)


def test_damaged_arrays_are_refused(project_of):
    project_of("4.0.2")
    call = read_call(STAR)
    call.weight.write_bytes(call.unfiltered.read_bytes())
    with pytest.raises(InputError, match=r"shape \(14, 14, 14\), expected \(14, 14, 8\)"):
        read_arrays(call)
    call.weight.unlink()
    with pytest.raises(InputError, match="does not exist"):
        read_arrays(call)


def test_tau2_that_is_no_number_counts_as_unknown(project_of):
    project_of("4.0.2")
    star = Path(STAR)
    star.write_text(star.read_text().replace("0.050331", "nan"))
    assert read_call(STAR).tau2[4] == 0 and np.isfinite(read_call(STAR).tau2).all()
