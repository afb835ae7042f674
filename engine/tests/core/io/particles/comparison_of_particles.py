"""How two sets of particles are compared, and the real data; shared by the tests beside this."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryodl.core.io.particles.read import TOMOGRAMS_FILE, read_particles
from cryodl.core.io.particles.write import write_particles

SHARED = Path(__file__).resolve().parents[5].parent / "shared" / "data"
WARP = "subtomo_70s_warp/warptools_test_4-tomos_10-ptcls_box-32_angpix-12"
REAL = {
    "particles_200px": "particles_relion31_200px/sample_particles_relion31.star",
    "particles_256px": "particles_relion31_256px/relion31.star",
    "states_50s_D": "states_50s/10076_classD_32_sim.star",
    "states_50s_E": "states_50s/10076_classE_32_sim.star",
    "warp_particles": f"{WARP}.star",
    "warp_set": f"{WARP}_optimisation_set.star",
}
MANAGED = {
    *(f"rlnCoordinate{a}" for a in "XYZ"),
    *(f"rlnOrigin{a}" for a in "XYZ"),
    *(f"rlnOrigin{a}Angst" for a in "XYZ"),
    "rlnImageName",
    "rlnTomoName",
    "rlnMicrographName",
}
DATA = pytest.mark.skipif(not SHARED.exists(), reason="needs the developer data")


def same_particles(one, two):
    assert one.names == two.names
    assert one.tomograms == two.tomograms
    assert one.image_kind == two.image_kind
    assert one.image_paths == two.image_paths
    assert one.ctf_paths == two.ctf_paths
    assert one.box_size_px == two.box_size_px
    np.testing.assert_array_equal(one.image_indices, two.image_indices)
    np.testing.assert_allclose(one.rotations, two.rotations, atol=1e-7)
    np.testing.assert_allclose(one.shifts_angstrom, two.shifts_angstrom, atol=1e-5)
    np.testing.assert_allclose(one.pixel_size_angstrom, two.pixel_size_angstrom, rtol=1e-7)
    places = [p.coordinates_px * p.coordinate_pixel_size_angstrom[:, None] for p in (one, two)]
    np.testing.assert_allclose(*places, rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(one.half_sets, two.half_sets)
    np.testing.assert_array_equal(one.classes, two.classes)
    if one.visible_frames is not None:
        np.testing.assert_array_equal(one.visible_frames, two.visible_frames)
    np.testing.assert_allclose(*(p.box_poses()[0] for p in (one, two)), atol=1e-7)


def same_columns(old, new, but=()):
    for label in old:
        if label in but:
            continue
        assert label in new, f"{label} was lost"
        if pd.api.types.is_numeric_dtype(old[label]):
            np.testing.assert_allclose(old[label], new[label], rtol=1e-8, err_msg=label)
        else:
            assert old[label].tolist() == new[label].tolist(), label


def converted(particles, folder, dialect, name="converted.star"):
    write_particles(folder / name, particles, dialect=dialect)
    return read_particles(folder / name, tomograms=particles.companions.get(TOMOGRAMS_FILE))
