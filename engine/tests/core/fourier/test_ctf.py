import numpy as np
import pytest
from tilt_cases import tilt_series

from cryodl.core.fourier.contrast_transfer import (
    contrast_transfer,
    electron_wavelength_angstrom,
)
from cryodl.core.fourier.ctf import ctf_image, ctf_sums, ctf_volume
from cryodl.core.fourier.grids import radius_grid_px
from cryodl.core.fourier.tilts import depths_angstrom, tilt_transfer, view_rotations
from cryodl.core.fourier.transform import friedel_mate
from cryodl.core.fourier.wedge import tilt_rotations, tilt_sampling
from cryodl.errors import ConfigError, InputError

BOXES = [15, 16]
ANGLES = [-60, -20, 0, 25, 55]


def test_wavelengths_are_those_of_the_tables():
    assert electron_wavelength_angstrom(300) == pytest.approx(0.019687, abs=2e-6)
    assert electron_wavelength_angstrom(200) == pytest.approx(0.025079, abs=2e-6)
    assert electron_wavelength_angstrom(100) == pytest.approx(0.037014, abs=2e-6)


def test_matter_is_bright_and_the_first_zero_where_the_formula_has_it():
    q, defocus = 0.1, 20000.0
    value = contrast_transfer(
        0.0, 0.0, defocus_u_angstrom=defocus, amplitude_contrast=q, spherical_aberration_mm=0
    )
    assert value == pytest.approx(q)
    # Without Cs: pi lambda dz s^2 + asin q = pi.
    wavelength = electron_wavelength_angstrom(300)
    zero = np.sqrt((np.pi - np.arcsin(q)) / (np.pi * wavelength * defocus))
    s = zero * np.array([0.5, 0.999999, 1.000001])
    found = contrast_transfer(
        s, 0.0, defocus_u_angstrom=defocus, amplitude_contrast=q, spherical_aberration_mm=0
    )
    assert found[0] > 0.5 and found[1] > 0 > found[2] and abs(found[1]) < 1e-4
    dark = contrast_transfer(s, 0.0, defocus_u_angstrom=defocus, matter="dark")
    np.testing.assert_allclose(dark, -contrast_transfer(s, 0.0, defocus_u_angstrom=defocus))


def test_astigmatism_has_u_along_its_angle():
    s, angle = 0.05, np.deg2rad(35)
    along = (s * np.cos(angle), s * np.sin(angle))
    across = (-s * np.sin(angle), s * np.cos(angle))
    given = {"defocus_u_angstrom": 31000, "defocus_v_angstrom": 25000, "astigmatism_degrees": 35}
    for direction, defocus in ((along, 31000), (across, 25000)):
        expected = contrast_transfer(s, 0.0, defocus_u_angstrom=defocus)
        assert contrast_transfer(*direction, **given) == pytest.approx(float(expected), abs=1e-9)


def test_phase_shift_scale_and_envelope():
    plate = contrast_transfer(0.0, 0.0, defocus_u_angstrom=5000, phase_shift_degrees=90)
    assert plate == pytest.approx(np.sqrt(1 - 0.07**2))
    s = 0.08
    plain = contrast_transfer(s, 0.0, defocus_u_angstrom=25000)
    found = contrast_transfer(s, 0.0, defocus_u_angstrom=25000, bfactor_angstrom2=100, scale=0.7)
    assert found == pytest.approx(float(plain) * 0.7 * np.exp(-25 * s**2))


@pytest.mark.parametrize("n", BOXES)
def test_an_image_of_it_is_centred_and_symmetric(n):
    given = {"defocus_u_angstrom": 31000, "defocus_v_angstrom": 25000, "astigmatism_degrees": 35}
    image = ctf_image(n, 4.0, **given)
    assert image.dtype == np.float32
    assert image[n // 2 + 2, n // 2 + 3] == pytest.approx(
        float(contrast_transfer(3 / (4 * n), 2 / (4 * n), **given)), abs=1e-6
    )
    assert image[n // 2, n // 2] == pytest.approx(0.07)
    mate = -np.arange(n) % n  # in FFT order
    shifted = np.fft.ifftshift(image)
    np.testing.assert_array_equal(shifted, shifted[np.ix_(mate, mate)])


@pytest.mark.parametrize("n", BOXES)
def test_one_level_tilt_is_the_ctf_on_the_central_plane(n):
    tilts = tilt_series([0], defocus=20000.0, defocus_v_angstrom=np.array([26000.0]))
    volume = ctf_volume(n, 4.0, tilts, dose="none", nyquist_limit=False)
    image = ctf_image(n, 4.0, defocus_u_angstrom=20000, defocus_v_angstrom=26000)
    np.testing.assert_allclose(volume[n // 2], image, atol=1e-6)
    assert np.abs(np.delete(volume, n // 2, axis=0)).max() == 0


def brute_force(n, pixel, tilts, heights):
    """Sum over all tilts at every frequency, one by one."""
    sums = np.zeros((2, n, n, n))
    for z, y, x in np.ndindex(n, n, n):
        k = np.array([x, y, z]) - n // 2
        for t, rotation in enumerate(tilt_rotations(tilts.tilt_angles_degrees, 84.7)):
            u, v, w = rotation @ k
            slab = max(0.0, 1 - abs(w))
            value = contrast_transfer(
                u / (n * pixel),
                v / (n * pixel),
                defocus_u_angstrom=tilts.defocus_u_angstrom[t] + tilts.hand * heights[t],
            )
            dose = tilts.dose_e_per_angstrom2[t]
            s = np.hypot(u, v) / (n * pixel)
            ne = np.inf if s == 0 else 0.245 * s**-1.665 + 2.81
            sums[0, z, y, x] += slab * value * np.exp(-dose / (2 * ne))
            sums[1, z, y, x] += slab
    return sums


@pytest.mark.parametrize("n", [7, 8])
def test_equals_the_sum_written_out(n):
    offset = np.array([200.0, -100.0, 900.0])
    tilts = tilt_series(ANGLES, axis=84.7, hand=-1)
    heights = [float(r[2] @ offset) for r in tilt_rotations(ANGLES, 84.7)]
    np.testing.assert_allclose(depths_angstrom(tilts, offset), heights)
    expected, slabs = brute_force(n, 6.0, tilts, heights)
    inside = radius_grid_px(n) < n / 2
    sums = ctf_sums(n, 6.0, tilts, offset_xyz_angstrom=offset)
    np.testing.assert_allclose(sums.transfer[inside], expected[inside], atol=1e-5)
    np.testing.assert_allclose(sums.slabs[inside], slabs[inside], atol=1e-5)
    volume = ctf_volume(n, 6.0, tilts, offset_xyz_angstrom=offset)
    np.testing.assert_allclose(volume[inside], (expected / np.maximum(slabs, 1))[inside], atol=1e-5)


@pytest.mark.parametrize("n", BOXES)
@pytest.mark.parametrize("axis", [0.0, 90.0, 84.7])
def test_volumes_are_symmetric_and_empty_where_the_wedge_is(n, axis):
    tilts = tilt_series(ANGLES, axis=axis, defocus_v_angstrom=np.full(5, 24000.0))
    sums = ctf_sums(n, 4.0, tilts)
    for volume in (*sums, ctf_volume(n, 4.0, tilts, slab="sinc")):
        np.testing.assert_array_equal(volume, friedel_mate(volume))
    sampling = tilt_sampling(n, ANGLES, tilt_axis_degrees=axis, combine="sum")
    np.testing.assert_allclose(sums.slabs, sampling, atol=1e-5)
    assert np.abs(sums.transfer[sampling == 0]).max() == 0
    assert (np.abs(sums.transfer) <= sums.slabs + 1e-5).all()
    assert np.abs(ctf_volume(n, 4.0, tilts)).max() <= 1


def test_normalisations_scale_and_visible_frames():
    tilts = tilt_series([0, 0, 0, 50], scale=np.array([1.0, 0.5, 0.0, 1.0]))
    centre = (8, 8, 8)
    assert ctf_volume(16, 4.0, tilts, normalisation="none")[centre] == pytest.approx(2.5 * 0.07)
    assert ctf_volume(16, 4.0, tilts, normalisation="tilts")[centre] == pytest.approx(0.625 * 0.07)
    assert ctf_volume(16, 4.0, tilts)[centre] == pytest.approx(0.625 * 0.07)
    seen = [True, False, False, True]
    assert ctf_volume(16, 4.0, tilts, visible=seen)[centre] == pytest.approx(0.07)


def test_an_unknown_defocus_leaves_sampling_and_dose():
    tilts = tilt_series(ANGLES, defocus=np.nan)
    sums = ctf_sums(16, 4.0, tilts, dose="none")
    np.testing.assert_allclose(sums.transfer, sums.slabs)
    damaged = ctf_sums(16, 4.0, tilts, dose="bfactor")
    assert damaged.transfer[8, 8, 8] == pytest.approx(5)
    assert damaged.transfer[8, 8, 14] < sums.transfer[8, 8, 14]


def test_projections_are_taken_before_angles_and_give_height_its_sign():
    given = tilt_rotations([30], 0.0)
    projections = np.concatenate([given * 1.0001, np.ones((1, 3, 1))], axis=2)
    tilts = tilt_series([12.0], projections=projections)
    np.testing.assert_allclose(view_rotations(tilts), given, atol=1e-9)
    higher = tilt_series([0], hand=1)
    s = np.array([0.03])
    found = tilt_transfer(higher, 0, s, 0 * s, dose="none", depth_angstrom=500.0)
    np.testing.assert_allclose(found, contrast_transfer(s, 0.0, defocus_u_angstrom=30500))
    mirrored = tilt_series([0], projections=np.diag([1.0, 1, -1, 1])[None, :3])
    with pytest.raises(InputError, match="mirrors"):
        view_rotations(mirrored)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"defocus_u_angstrom": np.nan}, "defocus"),
        ({"amplitude_contrast": 1.5}, "amplitude contrast"),
        ({"voltage_kv": 0}, "voltage"),
        ({"matter": "grey"}, "matter"),
        ({"n": 1}, "box size"),
        ({"pixel_size_angstrom": -1}, "pixel size"),
    ],
)
def test_bad_parameters_are_refused(change, words):
    good = {"n": 8, "pixel_size_angstrom": 4.0, "defocus_u_angstrom": 2e4}
    with pytest.raises(ConfigError, match=words):
        ctf_image(**{**good, **change})


def test_bad_tilts_are_refused():
    tilts = tilt_series(ANGLES)
    with pytest.raises(InputError, match="visible"):
        ctf_volume(8, 4.0, tilts, visible=[True])
    with pytest.raises(InputError, match="visible"):
        ctf_volume(8, 4.0, tilts, visible=[False] * 5)
    with pytest.raises(InputError, match="position"):
        ctf_volume(8, 4.0, tilts, offset_xyz_angstrom=[1, 2])
    with pytest.raises(ConfigError, match="normalisation"):
        ctf_volume(8, 4.0, tilts, normalisation="all")
