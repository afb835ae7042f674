"""Projections in known directions give their object back, in place and unmirrored."""

import numpy as np
import pytest

from cryodl.core.fourier.contrast_transfer import contrast_transfer
from cryodl.core.fourier.insertion import SliceInsertion, gridding_correction
from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.volumes.averaging import divide_by_weight
from cryodl.errors import InputError

POINTS = np.array([[4.0, 0, 0], [-1.5, 3, 2], [0, -3, -5], [-4, -4, 3]])
HEIGHTS = (1.0, 0.7, 0.5, 0.6)
WIDTH = 1.4


def blobs(n, points, dimensions):
    axes = np.meshgrid(*[np.arange(n) - n // 2] * dimensions, indexing="ij")[::-1]
    total = np.zeros((n,) * dimensions)
    for point, height in zip(points, HEIGHTS):
        square = sum((axis - p) ** 2 for axis, p in zip(axes, point))
        total += height * np.exp(-square / (2 * WIDTH**2))
    # The integral of a Gaussian along z makes its projection.
    return total * (np.sqrt(2 * np.pi) * WIDTH if dimensions == 2 else 1)


def projections(n, count, seed=0):
    rng = np.random.default_rng(seed)
    views, shifts = random_rotations(count, rng), rng.uniform(-2, 2, (count, 2))
    images = [blobs(n, (POINTS @ v.T)[:, :2] - s, 2) for v, s in zip(views, shifts)]
    return np.stack(images), views, shifts


def reconstruct(insertion):
    data, weight = insertion.sums()
    return divide_by_weight(data, weight, insertion.n) / gridding_correction(insertion.n)


@pytest.mark.parametrize("n", [23, 24])
def test_projections_give_the_object_back(n):
    images, views, shifts = projections(n, 400)
    insertion = SliceInsertion(n)
    insertion.insert(images[:150], views[:150], shifts[:150])
    insertion.insert(images[150:], views[150:], shifts[150:])
    found, true = reconstruct(insertion), blobs(n, POINTS, 3)
    assert insertion.count == 400
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.995
    np.testing.assert_allclose(found, true, atol=0.06)
    for mirrored in (true[::-1], true[:, ::-1], true[:, :, ::-1]):
        moved = np.roll(mirrored, 1 - n % 2, axis=(0, 1, 2))
        assert np.corrcoef(found.ravel(), moved.ravel())[0, 1] < 0.9


@pytest.mark.parametrize("premultiplied", [False, True])
def test_the_ctf_is_divided_out(premultiplied):
    n, pixel = 24, 8.0
    images, views, shifts = projections(n, 400, seed=1)
    insertion = SliceInsertion(n)
    axis = np.fft.fftfreq(n, pixel)
    x, y = insertion.frequencies_px.T / (n * pixel)
    for i, image in enumerate(images):
        given = {"defocus_u_angstrom": 15000.0 + 40 * i, "astigmatism_degrees": 30.0}
        given["defocus_v_angstrom"] = given["defocus_u_angstrom"] + 2000
        whole = contrast_transfer(axis[None, :], axis[:, None], **given)
        whole **= 2 if premultiplied else 1
        seen = np.fft.ifft2(np.fft.fft2(image) * whole).real
        c = contrast_transfer(x, y, **given)
        args = (seen[None], views[i : i + 1], shifts[i : i + 1])
        insertion.insert(*args, 1.0 if premultiplied else c, c**2)
    found, true = reconstruct(insertion), blobs(n, POINTS, 3)
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("n", [11, 12])
def test_sums_belong_to_a_real_volume(n):
    rng = np.random.default_rng(2)
    insertion = SliceInsertion(n)
    insertion.insert(rng.normal(size=(5, n, n)), random_rotations(5, rng), np.zeros((5, 2)))
    data, weight = insertion.sums()
    assert weight.shape == (2 * n, 2 * n, n + 1) and weight.min() >= 0
    opposite = np.ix_(-np.arange(2 * n) % (2 * n), -np.arange(2 * n) % (2 * n))
    for values in (data[..., 0], weight[..., 0]):
        np.testing.assert_allclose(values, values[opposite].conj(), atol=1e-4)
    # Each image has one value at zero frequency, and the sum counts both of its halves.
    assert weight[0, 0, 0] == pytest.approx(10)
    assert weight.sum() > 5 * len(insertion.frequencies_px) - 1e-3


def test_bad_input_is_refused():
    insertion = SliceInsertion(8)
    images, views, shifts = np.zeros((2, 8, 8)), np.stack([np.eye(3)] * 2), np.zeros((2, 2))
    with pytest.raises(InputError, match="images"):
        insertion.insert(images[:, :7], views, shifts)
    with pytest.raises(InputError, match="images"):
        insertion.insert(images + np.nan, views, shifts)
    with pytest.raises(InputError, match="views"):
        insertion.insert(images, views[:1], shifts)
    with pytest.raises(InputError, match="shifts"):
        insertion.insert(images, views, np.zeros((2, 3)))
