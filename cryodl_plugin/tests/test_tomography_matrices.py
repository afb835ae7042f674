"""Poses between RELION and Scipion: the published numbers, and what must hold for any pose."""

import numpy as np
from pwem.objects import Transform
from tomo.constants import TR_RELION
from tomo.objects import SubTomogram

from cryodl_plugin.convert import tomography
from cryodl_plugin.tests.fixtures import PlainTest

ANGLES, ORIGIN_ANGSTROM, PIXEL = (30, 50, 70), np.array([3.0, -4.0, 5.0]), 2.0
A = [
    [-0.279454, 0.923721, -0.262003],
    [-0.694109, -0.005813, 0.719846],
    [0.663414, 0.383022, 0.642788],
]
M = [
    [-0.279454, -0.694109, 0.663414, 2.627572],
    [0.923721, -0.005813, 0.383022, 2.354763],
    [-0.262003, 0.719846, 0.642788, -0.225728],
    [0, 0, 0, 1],
]


def close(found, expected, atol=2e-6):
    """Check that arrays are equal to the digits that are given."""
    np.testing.assert_allclose(found, expected, atol=atol)


class TestMatrices(PlainTest):
    """RELION's A and s, Scipion's M, and N."""

    def testKnownPose(self):
        """A, M and N of one pose, and back."""
        rotation = tomography.eulerToMatrix(*ANGLES)
        close(rotation, A)
        transform = tomography.poseToTransform(rotation, ORIGIN_ANGSTROM / PIXEL)
        close(transform, M)
        relion = tomography.transformToRelionMatrix(transform)
        close(relion[:3, :3], np.transpose(A))
        close(relion[:3, 3], (-1.5, 2.0, -2.5))
        back, shift = tomography.transformToPose(transform)
        close(tomography.matrixToEuler(back), ANGLES)
        close(shift * PIXEL, ORIGIN_ANGSTROM)

    def testScipionAgrees(self):
        """Scipion takes M as it is, gives N, and N is what it expects where RELION's is said."""
        transform = tomography.poseToTransform(tomography.eulerToMatrix(*ANGLES), [1.5, -2, 2.5])
        item = SubTomogram()
        item.setTransform(Transform(transform))
        close(item.getTransform().getMatrix(), M)
        relion = tomography.transformToRelionMatrix(transform)
        close(item.getTransform(TR_RELION).getMatrix(), relion)
        item.setTransform(Transform(relion), convention=TR_RELION)
        close(item.getTransform().getMatrix(), M)

    def testTheClassicMistakeIsNotMade(self):
        """M given as if it were N has the right angles and wrong shifts; ours has neither wrong."""
        item = SubTomogram()
        item.setTransform(Transform(np.array(M)), convention=TR_RELION)
        rotation, shift = tomography.transformToPose(item.getTransform().getMatrix())
        close(tomography.matrixToEuler(rotation), ANGLES, 1e-4)
        close(shift * PIXEL, (-5.255145, -4.709527, 0.451455), 2e-5)

    def testDegenerate(self):
        """Where only a sum of angles counts, the matrix is the same and psi is 0."""
        for given, expected in (
            ((10, 0, 20), (30, 0, 0)),
            ((10, 180, 20), (-10, 180, 0)),
            ((-170, -40, 95), (10, 40, -85)),
            ((0, 0, 0), (0, 0, 0)),
        ):
            matrix = tomography.eulerToMatrix(*given)
            found = tomography.matrixToEuler(matrix)
            close(found, expected, 1e-6)
            close(tomography.eulerToMatrix(*found), matrix, 1e-12)

    def testAnyPose(self):
        """Angles -> matrix -> angles -> matrix keeps every matrix, also next to the poles."""
        random = np.random.default_rng(0)
        angles = random.uniform(-180, 180, (200, 3))
        angles[:20, 1] = random.choice([0, 180], 20) + random.uniform(-1e-6, 1e-6, 20)
        for row in angles:
            matrix = tomography.eulerToMatrix(*row)
            close(matrix @ matrix.T, np.eye(3), 1e-12)
            self.assertAlmostEqual(np.linalg.det(matrix), 1)
            close(tomography.eulerToMatrix(*tomography.matrixToEuler(matrix)), matrix, 1e-7)

    def testMirrorIsRefused(self):
        """A matrix that mirrors or stretches is no pose."""
        for wrong in (np.diag([-1, 1, 1, 1]), np.diag([2, 2, 2, 1]), np.diag([2, 0.5, 1, 1])):
            with self.assertRaisesRegex(ValueError, "no rotation"):
                tomography.transformToPose(wrong)

    def testSplitPose(self):
        """The two parts of a pose of RELION 5 make one, and come apart again."""
        box = tomography.eulerToMatrix(10, 20, 30)
        inside = tomography.eulerToMatrix(*ANGLES)
        rotation, shift = tomography.combinePose(box, inside, ORIGIN_ANGSTROM)
        close(tomography.matrixToEuler(rotation), (53.9578, 56.0460, 95.4344), 5e-5)
        close(shift, (-1.872034, -4.069348, 5.471371))
        transform = tomography.poseToTransform(rotation, shift / PIXEL)
        close(transform[:3, 3], inside.T @ (ORIGIN_ANGSTROM / PIXEL))
        back = tomography.splitPose(box, rotation, shift)
        close(back[0], inside, 1e-12)
        close(back[1], ORIGIN_ANGSTROM, 1e-12)

    def testCentredCoordinates(self):
        """RELION 5 counts in Å from the middle, at half the size also where that is odd."""
        size = (33, 32, 17)
        centred = tomography.pixelsToCentred((10, 20, 5), size, PIXEL)
        close(centred, (-13, 8, -7))
        close(tomography.centredToPixels(centred, size, PIXEL), (10, 20, 5))
