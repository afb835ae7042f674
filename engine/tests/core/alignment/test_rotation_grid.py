"""Rotation grids are even, complete and free of equivalent poses."""

import numpy as np
import pytest

from cryodl.core.alignment.rotation_grid import (
    ball,
    even_rotations,
    lattice,
    rotation_vectors_to_matrices,
    smallest_trace_gap,
)
from cryodl.core.geometry.rotations import angular_distance_degrees, random_rotations
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.errors import ConfigError


def nearest(grid, poses, group):
    gaps = smallest_trace_gap(poses[:, None], grid[None], group)
    return gaps.min(axis=1)


@pytest.mark.parametrize("symmetry", ["C1", "C4", "D2", "O"])
def test_every_pose_is_near_one_of_the_grid(symmetry):
    grid = even_rotations(1152, symmetry)
    group = symmetry_matrices(symmetry)
    assert len(grid) == pytest.approx(1152 / len(group), rel=0.25)
    gaps = nearest(grid, random_rotations(60, np.random.default_rng(0)), group)
    # Spacing about 24 degrees: half of it on average, and no holes.
    assert gaps.mean() < 16 and gaps.max() < 27


def test_grid_is_of_rotations_and_even():
    grid = even_rotations(2304)
    np.testing.assert_allclose(np.linalg.det(grid), 1)
    np.testing.assert_allclose(
        grid @ np.swapaxes(grid, 1, 2), np.tile(np.eye(3), (2304, 1, 1)), atol=1e-9
    )
    # Uniform rotations turn by 126.5 degrees on average.
    assert angular_distance_degrees(grid, np.eye(3)).mean() == pytest.approx(126.5, abs=0.3)


def test_rotation_vectors_and_lattices():
    turned = rotation_vectors_to_matrices([0, 0, np.pi / 2]) @ [1, 0, 0]
    np.testing.assert_allclose(turned, [0, 1, 0], atol=1e-12)
    np.testing.assert_array_equal(rotation_vectors_to_matrices([0, 0, 0]), np.eye(3))
    assert len(lattice()) == 27 and not lattice()[0].any()
    assert len(ball(1.0, 1.0)) == 19 and len(ball(0.0, 1.0)) == 1


def test_bad_numbers_are_told():
    with pytest.raises(ConfigError, match="rotations"):
        even_rotations(0)
    with pytest.raises(ConfigError, match="shift"):
        ball(-1, 1)
