"""Volumes turned in torch agree with the conventions of the house, and stay sharp."""

import numpy as np
import pytest
import torch

from cryodl.core.fourier.grids import shell_index
from cryodl.core.fourier.transform import forward_centred
from cryodl.core.geometry.resample import (
    centred_to_rfft,
    rotate_fourier_weight,
    rotate_spline,
    spline_coefficients,
)
from cryodl.core.geometry.rotations import (
    cube_rotations,
    euler_to_matrix,
    random_rotations,
    rotate_volume,
)

BOXES = [24, 25]


def blobs(box):
    """Return a smooth density without symmetry, zero near the faces."""
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((box,) * 3)
    for (cx, cy, cz), width, height in (
        ((4, 0, 0), 1.6, 1.0),
        ((-1, 3, 2), 1.9, 0.7),
        ((0, -2, -4), 2.2, 0.5),
    ):
        square = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        volume += height * np.exp(-square / (2 * width**2))
    return volume.astype(np.float32)


def turned(volume, rotation):
    coefficients = spline_coefficients(torch.from_numpy(volume))
    return rotate_spline(coefficients, rotation).numpy()


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("box", BOXES)
def test_a_blob_on_x_goes_where_the_matrix_sends_it(box):
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    blob = np.exp(-((x - 6) ** 2 + y**2 + z**2) / 8).astype(np.float32)
    rotation = euler_to_matrix(35.0, 60.0, -20.0)
    found = turned(blob, rotation)
    weights = np.clip(found, 0, None)
    centre = [float((weights * grid).sum() / weights.sum()) for grid in (x, y, z)]
    np.testing.assert_allclose(centre, rotation @ [6.0, 0.0, 0.0], atol=0.02)


@pytest.mark.parametrize("box", BOXES)
def test_agrees_with_the_cubic_spline_of_scipy(box):
    volume = blobs(box)
    for rotation in random_rotations(3, np.random.default_rng(1)):
        expected = rotate_volume(volume, rotation, order=3)
        # Both are cubic splines; they differ in what they take to lie beyond the box.
        np.testing.assert_allclose(turned(volume, rotation), expected, atol=1e-3)


@pytest.mark.parametrize("box", BOXES)
def test_rotations_of_a_cube_are_exact(box):
    volume = blobs(box)
    axis = np.arange(box) - box // 2
    grids = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    inside = (np.abs(grids) < box // 2 - 1).all(axis=0)  # even boxes have one face without a mate
    for matrix in cube_rotations():
        source = np.einsum("ij,j...->i...", matrix.T[::-1, ::-1], grids)[:, inside] + box // 2
        expected = volume[tuple(source)]
        np.testing.assert_allclose(
            turned(volume, matrix.astype(float))[inside], expected, atol=1e-5
        )


def test_the_identity_gives_back_noise():
    volume = np.random.default_rng(0).normal(size=(24,) * 3).astype(np.float32)
    found = turned(volume, np.eye(3))
    inside = (slice(2, -2),) * 3
    np.testing.assert_allclose(found[inside], volume[inside], atol=1e-4)


def test_forth_and_back_keeps_what_trilinear_loses():
    box = 32
    shells = shell_index(box)
    noise = np.random.default_rng(2).normal(size=(box,) * 3)
    spectrum = np.fft.fftshift(np.fft.fftn(noise)) * ((shells > 5) & (shells < 9))
    volume = np.fft.ifftn(np.fft.ifftshift(spectrum)).real.astype(np.float32)
    rotation = random_rotations(1, np.random.default_rng(3))[0]
    again = turned(turned(volume, rotation), rotation.T)
    inside = shells < 9  # of real space here: what never left the box
    ratio = np.linalg.norm(again[inside]) / np.linalg.norm(volume[inside])
    linear = rotate_volume(rotate_volume(volume, rotation), rotation.T)
    assert ratio > 0.97
    assert np.linalg.norm(linear[inside]) / np.linalg.norm(volume[inside]) < 0.85
    assert correlation(again[inside], volume[inside]) > 0.999


@pytest.mark.parametrize("box", BOXES)
def test_the_transform_of_a_turned_map_is_the_turned_transform(box):
    volume = blobs(box)
    rotation = random_rotations(1, np.random.default_rng(4))[0]
    power = np.abs(forward_centred(volume)) ** 2
    expected = np.abs(forward_centred(turned(volume, rotation))) ** 2
    found = rotate_fourier_weight(torch.from_numpy(power), rotation).numpy()
    low = (shell_index(box) > 0) & (shell_index(box) < box // 3)
    assert correlation(found[low], expected[low]) > 0.97
    wrong = rotate_fourier_weight(torch.from_numpy(power), rotation.T).numpy()
    assert correlation(wrong[low], expected[low]) < 0.9


@pytest.mark.parametrize("box", [24, 25, 32])
@pytest.mark.parametrize("cube", [16, 24])
def test_a_cone_of_weight_turns_about_zero_frequency(box, cube):
    """A cone about z, turned by 90 degrees about y, is a cone about x, at any sampling."""

    def cone(size, along):
        axis = (np.arange(size) - size // 2) / size
        grids = dict(zip("zyx", np.meshgrid(axis, axis, axis, indexing="ij")))
        radius = np.sqrt(sum(grid**2 for grid in grids.values()))
        cosine = np.abs(grids[along]) / np.maximum(radius, 1e-9)
        return (1 / (1 + np.exp(-(cosine - 0.8) * 30))).astype(np.float32), radius

    weight, _ = cone(box, "z")
    rotation = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # z to x
    found = rotate_fourier_weight(torch.from_numpy(weight), rotation, cube).numpy()
    expected, radius = cone(cube, "x")
    compared = (radius > 0.15) & (radius < 0.45)
    assert found.shape == (cube,) * 3
    assert np.abs(found - expected)[compared].max() < 0.15
    assert np.abs(found - expected)[compared].mean() < 0.02


def test_weights_stay_within_their_bounds():
    weight = torch.rand(24, 24, 24, generator=torch.Generator().manual_seed(0))
    found = rotate_fourier_weight(weight, random_rotations(1, np.random.default_rng(5))[0], 16)
    assert float(found.min()) >= 0 and float(found.max()) <= float(weight.max())


@pytest.mark.parametrize("box", BOXES)
def test_centred_to_rfft_puts_zero_frequency_first(box):
    volume = np.random.default_rng(6).normal(size=(2, box, box, box)).astype(np.float32)
    full = np.fft.fftshift(np.fft.fftn(volume, axes=(1, 2, 3)), axes=(1, 2, 3))
    found = centred_to_rfft(torch.from_numpy(full)).numpy()
    np.testing.assert_allclose(found, np.fft.rfftn(volume, axes=(1, 2, 3)), rtol=1e-6, atol=1e-4)


def test_a_matrix_of_another_shape_is_refused():
    with pytest.raises((ValueError, IndexError, RuntimeError)):
        rotate_spline(torch.zeros(8, 8, 8), np.eye(2))
