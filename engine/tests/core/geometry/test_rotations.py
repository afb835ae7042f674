import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryodl.core.geometry.rotations import (
    angular_distance_degrees,
    cube_rotations,
    euler_to_matrix,
    matrix_to_euler,
    pose_from_matrix,
    pose_matrix,
    random_rotations,
    rotate_cube,
    rotate_volume,
    total_pose,
)
from cryodl.errors import InputError

# The worked example of docs/conventions.md: rot, tilt, psi = 30, 50, 70; origin 3, -4, 5 A; 2 A/px.
A = np.array(
    [
        [-0.279454, 0.923721, -0.262003],
        [-0.694109, -0.005813, 0.719846],
        [0.663414, 0.383022, 0.642788],
    ]
)
SHIFT_PX = np.array([1.5, -2.0, 2.5])
M = np.array(
    [
        [-0.279454, -0.694109, 0.663414, 2.627572],
        [0.923721, -0.005813, 0.383022, 2.354763],
        [-0.262003, 0.719846, 0.642788, -0.225728],
        [0, 0, 0, 1],
    ]
)


def rotations(n=50, seed=0):
    return random_rotations(n, np.random.default_rng(seed))


def test_euler_angles_have_the_published_matrix():
    np.testing.assert_allclose(euler_to_matrix(30, 50, 70), A, atol=1e-6)
    np.testing.assert_allclose(matrix_to_euler(A), [30, 50, 70], atol=1e-3)


def test_euler_angles_agree_with_scipy():
    angles = np.random.default_rng(0).uniform(-360, 360, (5, 20, 3))
    expected = np.swapaxes(
        Rotation.from_euler("ZYZ", angles.reshape(-1, 3), degrees=True).as_matrix(), -1, -2
    )
    ours = euler_to_matrix(angles[..., 0], angles[..., 1], angles[..., 2])
    assert ours.shape == (5, 20, 3, 3)
    np.testing.assert_allclose(ours.reshape(-1, 3, 3), expected, atol=1e-12)


def test_euler_round_trip():
    matrices = rotations()
    angles = matrix_to_euler(matrices)
    assert (angles[:, 1] >= 0).all() and (angles[:, 1] <= 180).all()
    np.testing.assert_allclose(euler_to_matrix(*angles.T), matrices, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((10, 0, 20), (30, 0, 0)),
        ((10, 180, 20), (-10, 180, 0)),
        ((-170, -40, 95), (10, 40, -85)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_degenerate_euler_angles(given, found):
    matrix = euler_to_matrix(*given)
    np.testing.assert_allclose(matrix_to_euler(matrix), found, atol=1e-9)
    np.testing.assert_allclose(euler_to_matrix(*matrix_to_euler(matrix)), matrix, atol=1e-9)


@pytest.mark.parametrize("tilt", [1e-9, 1e-7, 1e-5, 1e-3, 180 - 1e-9, 180 - 1e-5])
def test_nearly_degenerate_euler_angles_keep_the_matrix(tilt):
    matrix = euler_to_matrix(33, tilt, -71)
    np.testing.assert_allclose(euler_to_matrix(*matrix_to_euler(matrix)), matrix, atol=2e-6)


def test_scipion_matrix_has_the_published_numbers():
    np.testing.assert_allclose(pose_matrix(A, SHIFT_PX), M, atol=2e-6)
    rotation, shift = pose_from_matrix(M)
    np.testing.assert_allclose(rotation, A)
    np.testing.assert_allclose(shift, SHIFT_PX, atol=1e-5)


def test_scipion_matrix_maps_particle_to_reference():
    matrices = rotations(20)
    shifts = np.random.default_rng(1).normal(size=(20, 3))
    reference = np.array([3.0, -1.0, 2.0])
    particle = matrices @ reference - shifts
    full = pose_matrix(matrices, shifts)
    back = np.einsum("nij,nj->ni", full[:, :3, :3], particle) + full[:, :3, 3]
    np.testing.assert_allclose(back, np.broadcast_to(reference, (20, 3)), atol=1e-12)
    again = pose_from_matrix(full)
    np.testing.assert_allclose(again[0], matrices)
    np.testing.assert_allclose(again[1], shifts, atol=1e-12)


def test_relion5_pose_has_the_published_numbers():
    sub, part = euler_to_matrix(10, 20, 30), euler_to_matrix(30, 50, 70)
    rotation, shift = total_pose(sub, part, [3.0, -4.0, 5.0])
    np.testing.assert_allclose(matrix_to_euler(rotation), [53.9578, 56.0460, 95.4344], atol=1e-4)
    np.testing.assert_allclose(shift, [-1.872034, -4.069348, 5.471371], atol=1e-6)
    full = pose_matrix(rotation, shift)
    np.testing.assert_allclose(full[:3, 3], part.T @ [3.0, -4.0, 5.0])


def test_cube_rotations_are_the_group():
    matrices = cube_rotations()
    assert matrices.shape == (24, 3, 3)
    np.testing.assert_array_equal(matrices[0], np.eye(3))
    np.testing.assert_array_equal(np.round(np.linalg.det(matrices)), 1)
    known = {matrix.tobytes() for matrix in matrices}
    assert len(known) == 24
    products = (matrices[:, None] @ matrices[None]).reshape(-1, 3, 3)
    assert {product.tobytes() for product in products} == known


@pytest.mark.parametrize("n", [5, 6])
def test_rotate_cube_moves_every_voxel_as_its_matrix_does(n):
    volume = np.random.default_rng(0).normal(size=(n, n, n))
    middle = (n - 1) / 2  # for odd boxes this is the centre voxel n // 2
    points_zyx = np.indices((n, n, n)).reshape(3, -1)
    for index, matrix in enumerate(cube_rotations()):
        moved = (matrix @ (points_zyx[::-1] - middle) + middle)[::-1].astype(int)
        rotated = rotate_cube(volume, index)
        np.testing.assert_array_equal(rotated[tuple(moved)], volume[tuple(points_zyx)])


def test_rotate_cube_composes_and_is_exact_for_both_kinds():
    volume = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype(np.float32)
    matrices = cube_rotations()
    for i in range(24):
        tensor = rotate_cube(torch.from_numpy(volume), i)
        np.testing.assert_array_equal(tensor.numpy(), rotate_cube(volume, i))
        for j in (1, 5, 10, 17):
            both = next(k for k in range(24) if (matrices[k] == matrices[i] @ matrices[j]).all())
            twice = rotate_cube(rotate_cube(volume, j), i)
            np.testing.assert_array_equal(twice, rotate_cube(volume, both))


def test_rotate_cube_agrees_with_interpolation_about_the_centre_voxel():
    volume = np.random.default_rng(0).normal(size=(7, 7, 7)).astype(np.float32)
    for index in (3, 8, 14, 23):
        expected = rotate_volume(volume, cube_rotations()[index])
        np.testing.assert_allclose(rotate_cube(volume, index), expected, atol=1e-5)


def test_random_rotations_are_uniform():
    matrices = rotations(20_000)
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    # Haar measure: the mean of each entry is 0, of its square 1/3; the trace has mean 0 and
    # variance 1; the angle has density (1 - cos) / pi.
    assert np.abs(matrices.mean(axis=0)).max() < 4 / np.sqrt(3 * 20_000)
    assert np.abs((matrices**2).mean(axis=0) - 1 / 3).max() < 0.01
    trace = np.trace(matrices, axis1=1, axis2=2)
    assert abs(trace.mean()) < 4 / np.sqrt(20_000)
    assert trace.var() == pytest.approx(1, abs=0.05)
    angle = np.deg2rad(angular_distance_degrees(matrices, np.eye(3)))
    edges = np.linspace(0, np.pi, 7)
    expected = np.diff(edges - np.sin(edges)) / np.pi
    share = np.histogram(angle, edges)[0] / 20_000
    np.testing.assert_allclose(share, expected, atol=0.015)
    np.testing.assert_array_equal(rotations(3, seed=5), rotations(3, seed=5))


def test_angular_distance_is_exact_from_0_to_180():
    for angle in (0, 1e-7, 1e-3, 1, 90, 179.999, 180 - 1e-6, 180):
        turned = Rotation.from_rotvec(np.deg2rad(angle) * np.array([0.6, 0, 0.8])).as_matrix()
        for matrix in rotations(5):
            found = angular_distance_degrees(matrix, turned @ matrix)
            assert found == pytest.approx(angle, abs=1e-5)
    a, b = rotations(10, 1), rotations(10, 2)
    np.testing.assert_allclose(angular_distance_degrees(a, b), angular_distance_degrees(b, a))
    assert angular_distance_degrees(a[:, None], b[None]).shape == (10, 10)


@pytest.mark.parametrize("shape", [(15, 15, 15), (16, 16, 16), (14, 17, 20)])
def test_a_bright_voxel_goes_where_the_matrix_says(shape):
    reference_xyz = np.array([4, -2, 3])
    centre = np.array(shape) // 2
    volume = np.zeros(shape, np.float32)
    volume[tuple(centre + reference_xyz[::-1])] = 1
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])  # x to y
    moved = rotate_volume(volume, quarter)
    at_xyz = (np.array(np.unravel_index(moved.argmax(), shape)) - centre)[::-1]
    np.testing.assert_array_equal(at_xyz, [2, 4, 3])
    assert moved.max() == pytest.approx(1)


@pytest.mark.parametrize("order", [1, 3])
def test_a_blob_goes_to_a_x_plus_t(order):
    n, centre = 32, 16
    zyx = np.indices((n, n, n)) - centre

    def blob(at_xyz):
        distance = sum((axis - c) ** 2 for axis, c in zip(zyx, at_xyz[::-1]))
        return np.exp(-distance / (2 * 2.0**2)).astype(np.float32)

    reference = np.array([5.0, -3.0, 2.0])
    for matrix in (A, *rotations(5)):
        moved = rotate_volume(blob(reference), matrix, translation_px=-SHIFT_PX, order=order)
        weights = moved / moved.sum()
        found = np.array([(axis * weights).sum() for axis in zyx])[::-1]
        exact = Rotation.from_matrix(matrix).as_matrix() @ reference - SHIFT_PX
        np.testing.assert_allclose(found, exact, atol=0.02)


def test_rotate_volume_keeps_the_centre_and_fills_the_corners():
    volume = np.full((8, 8, 8), 2.0, np.float32)
    moved = rotate_volume(volume, A, fill=-1.0)
    assert moved[4, 4, 4] == pytest.approx(2)
    assert moved[0, 0, 0] == -1
    assert moved.dtype == np.float32
    np.testing.assert_allclose(rotate_volume(volume, np.eye(3)), volume)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="angle tilt: 1 of 2 values"):
        euler_to_matrix([0, 0], [0, np.nan], 0)
    with pytest.raises(InputError, match="proper rotations"):
        matrix_to_euler(np.diag([1, 1, -1]))
    with pytest.raises(InputError, match="proper rotations"):
        angular_distance_degrees(np.eye(3), np.full((3, 3), np.nan))
    with pytest.raises(InputError, match="shape"):
        matrix_to_euler(np.eye(4))
    with pytest.raises(InputError, match="shape"):
        pose_from_matrix(np.eye(3))
    with pytest.raises(InputError, match="rotation 24"):
        rotate_cube(np.zeros((3, 3, 3)), 24)
    with pytest.raises(InputError, match="2 axes"):
        rotate_cube(np.zeros((3, 3)), 0)
    with pytest.raises(InputError, match="three axes"):
        rotate_volume(np.zeros((3, 3)), np.eye(3))
