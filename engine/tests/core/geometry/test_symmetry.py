"""Point groups are RELION's, complete, and leave a symmetric volume as it is."""

import numpy as np
import pytest

from cryodl.core.geometry.rotations import (
    angular_distance_degrees,
    euler_to_matrix,
    random_rotations,
    rotate_volume,
)
from cryodl.core.geometry.symmetry import symmetrise, symmetry_matrices
from cryodl.errors import ConfigError, InputError


def blob(n, xyz, width=1.6):
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    square = (x - xyz[0]) ** 2 + (y - xyz[1]) ** 2 + (z - xyz[2]) ** 2
    return np.exp(-square / (2 * width**2)).astype(np.float32)


@pytest.mark.parametrize(
    ("group", "order"),
    [("c1", 1), ("C7", 7), ("D2", 4), ("D7", 14), ("T", 12), ("O", 24)]
    + [(name, 60) for name in ("I", "I1", "I2", "I3", "I4")],
)
def test_groups_are_complete_and_closed(group, order):
    rotations = symmetry_matrices(group)
    assert rotations.shape == (order, 3, 3)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 1, 9)
    known = rotations.reshape(1, -1, 9)
    assert np.abs(products - known).max(axis=2).min(axis=1).max() < 1e-6


@pytest.mark.parametrize(
    ("group", "member"),
    [
        ("T", [[-0.5, 0.866025, 0], [-0.866025, -0.5, 0], [0, 0, 1]]),
        ("O", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        ("I", [[0.5, 0.809017, 0.309017], [-0.809017, 0.309017, 0.5], [0.309017, -0.5, 0.809017]]),
        ("I1", [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        ("I3", [[-0.447214, 0, -0.894427], [0, -1, 0], [-0.894427, 0, 0.447214]]),
        ("D2", [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
    ],
)
def test_groups_are_oriented_as_in_relion(group, member):
    # Printed by relion_refine --print_symmetry_ops of RELION 3.1.3.
    difference = np.abs(symmetry_matrices(group) - np.array(member)).max(axis=(1, 2))
    assert difference.min() < 1e-5


@pytest.mark.parametrize("n", [24, 25])
@pytest.mark.parametrize("group", ["C4", "D3", "T", "O", "I1", "I2"])
def test_a_blob_is_copied_to_all_equivalent_places(n, group):
    point = np.array([5.0, 3.0, 2.0])
    matrices = symmetry_matrices(group)
    expected = sum(blob(n, matrix @ point) for matrix in matrices) / len(matrices)
    found = symmetrise(blob(n, point), group)
    np.testing.assert_allclose(found, expected, atol=0.02 / len(matrices) + 1e-3)


def test_a_symmetric_volume_stays_and_a_turned_one_does_not():
    volume = symmetrise(blob(24, (5, 3, 2)), "D3")
    np.testing.assert_allclose(symmetrise(volume, "D3"), volume, atol=2e-3)
    for matrix in symmetry_matrices("D3"):
        np.testing.assert_allclose(rotate_volume(volume, matrix, order=3), volume, atol=2e-3)
    turned = rotate_volume(volume, euler_to_matrix(20, 40, 0), order=3)
    assert np.abs(symmetrise(turned, "D3") - turned).max() > 0.05


def test_a_constant_stays_constant_up_to_the_corners():
    np.testing.assert_allclose(symmetrise(np.ones((12, 13, 14)), "O", order=1), 1, atol=1e-5)
    np.testing.assert_array_equal(symmetrise(blob(8, (1, 0, 0)), "C1"), blob(8, (1, 0, 0)))


@pytest.mark.parametrize("group", ["C1", "C6", "D2", "O", "I"])
def test_equivalent_poses_are_at_distance_zero(group):
    rng = np.random.default_rng(1)
    poses = random_rotations(5, rng)
    matrices = symmetry_matrices(group)
    same = poses @ matrices[rng.integers(len(matrices), size=5)]
    np.testing.assert_allclose(angular_distance_degrees(poses, same, group), 0, atol=1e-4)
    off = euler_to_matrix(0, 7, 0) @ same
    np.testing.assert_allclose(angular_distance_degrees(poses, off, group), 7, atol=1e-4)
    plain = angular_distance_degrees(poses, poses[::-1])
    assert (angular_distance_degrees(poses, poses[::-1], group) <= plain + 1e-9).all()


def test_distance_is_bounded_by_the_group():
    rng = np.random.default_rng(2)
    far = angular_distance_degrees(random_rotations(200, rng), random_rotations(200, rng), "O")
    assert 50 < far.max() < 62.8  # the largest turn that a cube cannot undo


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="symmetry"):
        symmetrise(np.zeros((4, 4, 4)), "Q7")
    with pytest.raises(InputError, match="three axes"):
        symmetrise(np.zeros((4, 4)), "C2")
    with pytest.raises(ConfigError, match="symmetry"):
        angular_distance_degrees(np.eye(3), np.eye(3), "C0")
