"""Maps and curves: known answers, invariants, bad input."""

import os
import tempfile

import mrcfile
import numpy as np

from cryodl_plugin import convert
from cryodl_plugin.convert.maps import plainName
from cryodl_plugin.tests.fixtures import BOX, PlainTest, blobs, directionalWeight


class TestMaps(PlainTest):
    """Files."""

    def setUp(self):
        """Make a folder."""
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        """Return a path in the folder."""
        return os.path.join(self.folder.name, name)

    def testRoundTrip(self):
        """An off-centre object keeps its place, its values and its pixel size."""
        data = blobs()
        convert.writeMap(self.path("a.mrc"), data, 1.25)
        np.testing.assert_array_equal(convert.readMap(self.path("a.mrc")), data)
        with mrcfile.open(self.path("a.mrc")) as mrc:
            self.assertTrue(mrc.is_volume())
            self.assertAlmostEqual(float(mrc.voxel_size.x), 1.25, places=5)
        self.assertEqual(os.listdir(self.folder.name), ["a.mrc"])

    def testAverage(self):
        """The mean is exact, and origin and pixel size are those of the first."""
        convert.writeMap(self.path("a.mrc"), blobs(seed=1, noise=1), 2)
        convert.writeMap(self.path("b.mrc"), blobs(seed=2, noise=1), 2)
        with mrcfile.open(self.path("a.mrc"), mode="r+") as mrc:
            mrc.header.origin.x = -7
            mrc.header.nxstart = 3
        convert.averageMaps(self.path("a.mrc"), self.path("b.mrc"), self.path("c.mrc"))
        expected = (blobs(seed=1, noise=1) + blobs(seed=2, noise=1)) / 2
        np.testing.assert_allclose(convert.readMap(self.path("c.mrc")), expected, atol=1e-6)
        with mrcfile.open(self.path("c.mrc"), header_only=True) as mrc:
            self.assertEqual(float(mrc.header.origin.x), -7)
            self.assertEqual(int(mrc.header.nxstart), 3)
            self.assertAlmostEqual(float(mrc.voxel_size.z), 2)

    def testDimensions(self):
        """x, y, z in this order; None for what is no map."""
        convert.writeMap(self.path("a.mrc"), np.zeros((4, 5, 6), np.float32), 1)
        self.assertEqual(convert.mapDimensions(self.path("a.mrc")), (6, 5, 4))
        with open(self.path("bad.mrc"), "w", encoding="utf-8") as file:
            file.write("no map")
        self.assertIsNone(convert.mapDimensions(self.path("bad.mrc")))
        self.assertIsNone(convert.mapDimensions(self.path("none.mrc")))

    def testNames(self):
        """Scipion's format suffix goes; MRC files are used in place, others are converted."""
        convert.writeMap(self.path("a.map"), blobs(), 1)
        self.assertEqual(plainName(self.path("a.map") + ":mrc"), self.path("a.map"))
        self.assertEqual(convert.engineMap(self.path("a.map") + ":mrc", "x"), self.path("a.map"))
        one = convert.engineMapName("Runs/1/map.vol", "extra/input")
        other = convert.engineMapName("Runs/2/map.vol", "extra/input")
        self.assertNotEqual(one, other)
        self.assertTrue(one.startswith("extra/input/") and one.endswith(".mrc"))

    def testConversion(self):
        """A SPIDER volume comes out as the same volume in MRC."""
        from pwem.emlib.image import ImageHandler

        convert.writeMap(self.path("a.mrc"), blobs(), 1)
        ImageHandler().convert(self.path("a.mrc"), self.path("a.vol"))
        made = convert.engineMap(self.path("a.vol"), self.path("input"))
        np.testing.assert_allclose(convert.readMap(made), blobs(), atol=1e-6)

    def testSphere(self):
        """1 inside the radius, 0 beyond the edge, centred on voxel n // 2, for odd boxes too."""
        for box in (31, 32):
            mask = convert.sphereMask(box, 8, softEdge=4)
            middle = box // 2
            line = mask[middle, middle, middle:]
            np.testing.assert_array_equal(line[:9], 1)
            np.testing.assert_allclose(line[12:], 0, atol=1e-6)
            self.assertTrue(0.4 < line[10] < 0.6)
            self.assertEqual(mask[middle, middle, middle - 8], 1)


class TestCurves(PlainTest):
    """FSC and directions."""

    def testFscKnownAnswers(self):
        """1 with itself, -1 with its negative, near 0 between noises; as a direct loop says."""
        one = blobs(16, 1, 1.0)
        two = blobs(16, 2, 1.0)
        np.testing.assert_allclose(convert.fourierShellCorrelation(one, 3 * one), 1, atol=1e-9)
        np.testing.assert_allclose(convert.fourierShellCorrelation(one, -one)[1:], -1, atol=1e-9)
        curve = convert.fourierShellCorrelation(one, two)
        f, g = (np.fft.fftshift(np.fft.fftn(m.astype(float))) for m in (one, two))
        index = np.indices(one.shape) - 8
        shell = np.rint(np.sqrt((index**2).sum(axis=0))).astype(int)
        for k in range(1, 9):
            a, b = f[shell == k], g[shell == k]
            expected = (a * b.conj()).sum().real
            expected /= np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum())
            self.assertAlmostEqual(curve[k], expected, places=6)

    def testFscOddBox(self):
        """An odd box has no Nyquist plane to count once."""
        one, two = blobs(15, 1, 1.0), blobs(15, 2, 1.0)
        curve = convert.fourierShellCorrelation(one, two)
        f, g = (np.fft.fftshift(np.fft.fftn(m.astype(float))) for m in (one, two))
        index = np.indices(one.shape) - 7
        shell = np.rint(np.sqrt((index**2).sum(axis=0))).astype(int)
        a, b = f[shell == 5], g[shell == 5]
        expected = (a * b.conj()).sum().real
        expected /= np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum())
        self.assertAlmostEqual(curve[5], expected, places=6)

    def testResolution(self):
        """A straight line crosses where it must; one that never falls ends at its last point."""
        frequency = np.linspace(0, 0.5, 11)
        self.assertAlmostEqual(convert.resolutionAt(frequency, 1 - 2 * frequency, 0.5), 4.0)
        self.assertAlmostEqual(convert.resolutionAt(frequency, np.ones(11)), 2.0)
        self.assertAlmostEqual(convert.resolutionAt(frequency, np.eye(11)[0], 0.5), 1 / 0.025)
        self.assertAlmostEqual(convert.resolutionAt(frequency, np.zeros(11)), 1 / 0.05)

    def testHemisphere(self):
        """Unit vectors with z >= 0 that leave no direction out."""
        directions = convert.hemisphere(500)
        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
        self.assertGreaterEqual(directions[:, 2].min(), 0)
        np.testing.assert_allclose(directions.T @ directions / 500, np.eye(3) / 3, atol=0.01)

    def testDirections(self):
        """A missing cone along z shows along z, and x of the file is x of the vector."""
        weight = directionalWeight()
        curves = convert.directionalCurves(weight, np.eye(3))
        along = convert.directionalResolutions(curves, BOX, 2.0)
        self.assertEqual(curves.shape, (3, 13))
        self.assertAlmostEqual(along[0], along[1], places=6)
        self.assertGreater(along[2], 2 * along[0])
        turned = convert.directionalCurves(np.swapaxes(weight, 0, 2), np.eye(3))
        np.testing.assert_allclose(turned[0], curves[2], atol=0.02)

    def testIsotropic(self):
        """An isotropic 3DFSC has one resolution in all directions."""
        axis = np.arange(BOX) - BOX // 2
        radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
        weight = np.clip(1 - radius / 12, 0, 1).astype(np.float32)
        curves = convert.directionalCurves(weight, convert.hemisphere(50))
        self.assertLess(np.ptp(convert.directionalResolutions(curves, BOX, 2.0)), 0.1)

    def testScipionsCurve(self):
        """The curve starts at 1 and holds no NaN, which Scipion's own viewer cannot take."""
        fsc = convert.makeFsc("half maps", [0, 0.1, 0.2, 0.3], [0.2, 0.9, 0.1, np.nan])
        x, y = fsc.getData()
        self.assertEqual([float(v) for v in y], [1.0, 0.9, 0.1, 0.0])
        self.assertAlmostEqual(float(fsc.calculateResolution()), 1 / 0.194625, places=2)
        self.assertEqual(fsc.getObjLabel(), "half maps")
