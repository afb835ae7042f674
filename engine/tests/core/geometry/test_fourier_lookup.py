"""Transforms off the grid equal the sum that defines them."""

import numpy as np
import pytest
import torch

from cryodl.core.fourier.grids import half_frequency_grid_xyz_px
from cryodl.core.fourier.transform import forward_centred
from cryodl.core.geometry.fourier_lookup import (
    PADDING,
    FourierLookup,
    cubic_lookup,
    linear_lookup,
)

BOXES = [11, 12]


def blob(n):
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.exp(-((x - 2) ** 2 + (y + 1) ** 2 + z**2) / 3).astype(np.float32)
    return volume, np.stack([x, y, z], axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("n", BOXES)
def test_on_and_off_the_grid(n):
    volume, places = blob(n)
    lookup = FourierLookup(n, torch.device("cpu"))
    turned = torch.rand(1, 200, 3, generator=torch.Generator().manual_seed(0)) * n - n / 2
    turned[..., 0] = turned[..., 0].abs()
    transform = lookup.padded_transform(torch.from_numpy(volume)[None])
    for points, tolerance in ((turned, 4e-2), (lookup.points[None], 1e-3)):
        found = cubic_lookup(transform, points * PADDING)[0].numpy()
        phase = np.exp(-2j * np.pi / n * (points[0].numpy() @ places.T))
        np.testing.assert_allclose(found, phase @ volume.ravel(), atol=tolerance)


@pytest.mark.parametrize("n", BOXES)
def test_points_and_the_half_layout_belong_together(n):
    lookup = FourierLookup(n, torch.device("cpu"))
    for i in range(3):
        spread = lookup.to_half(lookup.points[:, i])
        grid = half_frequency_grid_xyz_px(n)[..., i]
        np.testing.assert_array_equal(spread[lookup.inside], grid[lookup.inside])
        assert np.abs(spread[~lookup.inside]).max() == 0


@pytest.mark.parametrize("n", BOXES)
def test_linear_values_are_those_of_the_grid_up_to_nyquist(n):
    weight = np.abs(forward_centred(blob(n)[0]))
    centred = torch.from_numpy(weight)[None]
    points = torch.tensor([[[0.0, 0, 0], [2, -1, 3], [0.5, 0, 0], [n / 2, 0, 0]]])
    found = linear_lookup(centred, points, n)[0].numpy()
    c = n // 2
    between = (weight[c, c, c] + weight[c, c, c + 1]) / 2
    last = weight[c, c, 0 if n % 2 == 0 else n - 1]
    expected = [weight[c, c, c], weight[c + 3, c - 1, c + 2], between, last]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_is_no_batch_of_volumes_is_refused():
    lookup = FourierLookup(8, torch.device("cpu"))
    with pytest.raises((RuntimeError, IndexError)):
        lookup.padded_transform(torch.zeros(8, 8, 9)[None])
