"""Poses whose reference lies elsewhere are brought back."""

import numpy as np

from cryodl.core.evaluation.poses import Poses, in_frame_of
from cryodl.core.geometry.rotations import angular_distance_degrees, random_rotations
from cryodl.core.geometry.symmetry import symmetry_matrices


def test_a_turned_and_moved_reference_is_found_in_spite_of_wrong_poses():
    generator = np.random.default_rng(3)
    rotations, shifts = random_rotations(40, generator), generator.normal(size=(40, 3))
    frame, offset = random_rotations(1, generator)[0], np.array([1.0, -2.0, 0.5])
    ring = symmetry_matrices("C7")[generator.integers(0, 7, 40)]
    found = Poses(rotations @ ring @ frame.T, shifts - np.einsum("nij,j->ni", rotations, offset))
    found.rotations[:5] = random_rotations(5, generator)
    back = in_frame_of(found, Poses(rotations, shifts), "C7")
    angles = angular_distance_degrees(back.rotations, rotations, "C7")
    assert angles[5:].max() < 0.1


def test_the_right_poses_stay():
    generator = np.random.default_rng(4)
    true = Poses(random_rotations(20, generator), generator.normal(size=(20, 3)))
    back = in_frame_of(true, true, "C1")
    assert np.allclose(back.rotations, true.rotations, atol=1e-6)
    assert np.allclose(back.shifts_px, true.shifts_px, atol=1e-6)
