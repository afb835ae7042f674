"""RELION's reconstruction, against RELION's own maps and against direct sums."""

import mrcfile
import numpy as np
import pytest

from cryodl.core.relion.call import read_arrays, read_call
from cryodl.core.relion.reconstruct import (
    Prior,
    prior_attenuation,
    reconstruct_map,
    sharpen_tau2,
)
from cryodl.errors import InputError

STAR = "Refine3D/job005/run_it002_half1_class001_external_reconstruct.star"


def difference(a, b):
    """Largest difference in standard deviations of `b`."""
    return np.abs(a - b).max() / b.std()


def point_transform(n, padding, position_zyx, radius_px):
    """Return data and weights of a point seen evenly from all sides, weight 2."""
    p = n * padding
    k = np.fft.fftfreq(p) * p
    kz, ky, kx = k[:, None, None], k[None, :, None], np.arange(p // 2 + 1)[None, None, :]
    phase = 2 * np.pi * (kz * position_zyx[0] + ky * position_zyx[1] + kx * position_zyx[2]) / p
    inside = kz**2 + ky**2 + kx**2 <= (padding * radius_px) ** 2
    weight = np.where(inside, 2.0, 0.0)
    data = weight * np.exp(-1j * phase)
    return data.real, data.imag, weight


@pytest.mark.parametrize("version", ["4.0.2", "5.0.1"])
def test_unregularised_map_of_an_ungridded_run(project_of, version):
    project_of(version)
    call = read_call(STAR)
    ours = reconstruct_map(*read_arrays(call), box_size_px=14, current_size_px=14)
    relions = mrcfile.read(call.unfiltered)
    assert difference(ours, relions) < 2e-6


def test_points_at_the_limit_matter(project_of):
    project_of("5.0.1")
    call = read_call(STAR)
    arrays = read_arrays(call)
    kept = reconstruct_map(*arrays, box_size_px=14, current_size_px=14)
    left_out = reconstruct_map(*arrays, box_size_px=14, current_size_px=14, keep_limit=False)
    assert difference(kept, left_out) > 1e-3


@pytest.mark.parametrize("padding", [1, 2])
def test_map_of_volumes_is_larger_by_the_box(padding):
    arrays = point_transform(16, padding, (0, 0, 0), 7)
    sizes = {"box_size_px": 16, "current_size_px": 14}
    images = reconstruct_map(*arrays, **sizes)
    volumes = reconstruct_map(*arrays, **sizes, data_dimensionality=3)
    np.testing.assert_allclose(volumes, 16 * images, rtol=1e-6)
    with pytest.raises(InputError, match="rlnDataDimensionality: found 4, expected 2 or 3"):
        reconstruct_map(*arrays, **sizes, data_dimensionality=4)


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("n", [15, 16])
def test_a_point_comes_back_where_it_was(n, padding):
    arrays = point_transform(n, padding, (2, -1, 3), n // 2 - 1)
    volume = reconstruct_map(*arrays, box_size_px=n, current_size_px=2 * (n // 2 - 1))
    at = np.unravel_index(np.argmax(volume), volume.shape)
    assert np.subtract(at, n // 2).tolist() == [2, -1, 3]
    # The sum over all frequencies, on RELION's scale, times the correction for the insertion.
    count = sum(
        (np.count_nonzero(w) * (2 if 0 < x < n * padding / 2 else 1))
        for x, w in enumerate(np.moveaxis(arrays[2], -1, 0))
    )
    expected = count / (padding**3 * n) / np.sinc(np.sqrt(14) / (n * padding)) ** 2
    assert volume.max() == pytest.approx(expected, rel=1e-6)


def test_prior_scales_each_shell(project_of):
    n, radius = 16, 7
    arrays = point_transform(n, 1, (0, 0, 0), radius)
    tau2 = np.full(n // 2 + 1, 0.5)  # 1 / tau2 equals the weight: half of the signal is left
    box = {"box_size_px": n, "current_size_px": 2 * radius}
    plain = reconstruct_map(*arrays, **box, keep_limit=False)
    halved = reconstruct_map(*arrays, **box, keep_limit=False, prior=Prior(tau2, 1.0, 0))
    np.testing.assert_allclose(halved, plain / 2, atol=1e-6 * plain.max())
    untouched = Prior(tau2, 1.0, minres_shell=n)
    same = reconstruct_map(*arrays, **box, keep_limit=False, prior=untouched)
    np.testing.assert_array_equal(same, plain)


def test_attenuation_follows_sampling():
    n = 12
    weight = np.zeros((2 * n, 2 * n, n + 1), np.float32)
    weight[:, 0, :] = 3.0  # only the plane y = 0 is seen
    tau2 = np.full(n // 2 + 1, 1 / 8)
    found = prior_attenuation(weight, box_size_px=n, current_size_px=n, prior=Prior(tau2, 1.0))
    assert found.shape == (n, n, n // 2 + 1) and found[0, 0, 0] == 1
    assert found[2, 0, 2] == pytest.approx(3 * 8 / 8 / (1 + 3 * 8 / 8))
    assert found[2, 2, 2] == 0 and found[n // 2, n // 2, n // 2] == 0


def test_lost_digits_of_the_prior_come_back(project):
    call = read_call(STAR)
    _, _, weight = read_arrays(call)
    box = {"box_size_px": 14, "current_size_px": 14, "fudge": 1.0}
    sharp = sharpen_tau2(call.tau2, call.fsc, weight, **box)
    assert np.abs(sharp - call.tau2).max() < 1.5e-6  # never beyond the last digit
    assert 1e-5 < abs(sharp[5] / call.tau2[5] - 1) < 1e-3
    # Of numbers with all their digits nothing changes, nor where tau2 is not that of the FSC.
    np.testing.assert_array_equal(sharp[call.tau2 < 9e-4], call.tau2[call.tau2 < 9e-4])
    np.testing.assert_array_equal(
        sharpen_tau2(3 * call.tau2, call.fsc, weight, **box), 3 * call.tau2
    )


def test_shapes_are_checked():
    good = np.zeros((8, 8, 5))
    with pytest.raises(InputError, match="multiple of the box, 6 px"):
        reconstruct_map(good, good, good, box_size_px=6, current_size_px=6)
    with pytest.raises(InputError, match="data_imag: shape"):
        reconstruct_map(good, good[:-1], good, box_size_px=8, current_size_px=8)
