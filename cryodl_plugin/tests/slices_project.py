"""A project with tomograms, coordinates, masks and subtomograms, for tests of what shows them."""

import json

import numpy as np
from pwem.objects import Transform
from pyworkflow.object import Float, Pointer
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import (
    Coordinate3D,
    SetOfCoordinates3D,
    SetOfSubTomograms,
    SetOfTomograms,
    SetOfTomoMasks,
    SubTomogram,
    Tomogram,
    TomoMask,
)

from cryodl_plugin import convert
from cryodl_plugin.protocols.protocol_edit_coordinates import (
    CryoDLProtEditCoordinates,
)
from cryodl_plugin.tests.fixtures import PluginTest, SourceProtocol

SHAPE, SAMPLING = (12, 31, 40), 8.0
PLACES = {"TS_1": [(5, 6, 2), (20, 10, 4), (30.5, 25, 6)], "TS_2": [(9, 9, 3), (39, 0, 11)]}
TURN = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1.0]])


def makeTomograms(prot):
    """Return two tomograms, one with an origin of its own."""
    tomograms = SetOfTomograms.create(prot._getPath(), template="tomograms%s.sqlite")
    tomograms.setSamplingRate(SAMPLING)
    for i, tsId in enumerate(PLACES):
        path = prot._getExtraPath(f"{tsId}.mrc")
        z, y, x = np.indices(SHAPE)
        convert.writeMap(path, 10000.0 * z + 100 * y + x + i, SAMPLING)
        tomogram = Tomogram()
        tomogram.setFileName(path)
        tomogram.setSamplingRate(SAMPLING)
        tomogram.setTsId(tsId)
        tomogram.setOrigin()
        if i:
            origin = Transform()
            origin.setShifts(-80, -40, -16)
            tomogram.setOrigin(origin)
        tomograms.append(tomogram)
    return tomograms


def fillCoordinates(prot, coordinates, tomograms, sampling=SAMPLING):
    """Append the places to a set, with scores, groups, poses, and a column of another program."""
    coordinates.setPrecedents(Pointer(prot, extended="tomograms"))
    coordinates.setSamplingRate(sampling)
    coordinates.setBoxSize(10)
    names = {t.getTsId(): t.clone() for t in tomograms}
    score = 0.1
    for tsId, places in PLACES.items():
        for place in places:
            item = Coordinate3D()
            item.setVolume(names[tsId])
            item.setPosition(*place, BOTTOM_LEFT_CORNER)
            item.setMatrix(TURN)
            item.setScore(score)
            item.setGroupId(1 if score < 0.3 else 2)
            item._rlnDistance = Float(100 * score)
            score += 0.1
            coordinates.append(item)
    return coordinates


class SlicesTest(PluginTest):
    """A project with tomograms, coordinates, masks and subtomograms."""

    @classmethod
    def makeSource(cls):
        """Return a protocol that has them all."""
        prot = cls.newProtocol(SourceProtocol, objLabel="tomography")
        cls.proj.saveProtocol(prot)
        prot.makePathsAndClean()
        tomograms = makeTomograms(prot)
        prot._defineOutputs(tomograms=tomograms)
        coordinates = SetOfCoordinates3D.create(prot._getPath())
        prot._defineOutputs(coordinates=fillCoordinates(prot, coordinates, tomograms))
        masks = SetOfTomoMasks.create(prot._getPath(), template="tomomasks%s.sqlite")
        masks.setSamplingRate(SAMPLING)
        for tomogram in tomograms:
            mask = TomoMask()
            mask.copyInfo(tomogram)
            mask.setFileName(tomogram.getFileName().replace("TS_", "mask_"))
            mask.setTsId(tomogram.getTsId())
            mask.setVolName(tomogram.getFileName())
            convert.writeMap(mask.getFileName(), np.ones(SHAPE), SAMPLING)
            masks.append(mask)
        prot._defineOutputs(masks=masks)
        prot._defineOutputs(subtomograms=cls.makeSubtomograms(prot))
        cls.proj._storeProtocol(prot)
        return prot

    @classmethod
    def makeSubtomograms(cls, prot):
        """Return a subtomogram for each coordinate."""
        subtomograms = SetOfSubTomograms.create(prot._getPath())
        subtomograms.setSamplingRate(SAMPLING)
        subtomograms.setCoordinates3D(Pointer(prot, extended="coordinates"))
        for coordinate in prot.coordinates.iterCoordinates():
            item = SubTomogram()
            item.setFileName(prot._getExtraPath(f"sub_{coordinate.getObjId()}.mrc"))
            convert.writeMap(item.getFileName(), np.random.rand(8, 8, 8), SAMPLING)
            item.setSamplingRate(SAMPLING)
            item.setVolName(coordinate.getTomoId())
            item.setCoordinate3D(coordinate.clone())
            item.setTransform(Transform())
            item.setClassId(1 + coordinate.getObjId() % 2)
            subtomograms.append(item)
        return subtomograms

    def places(self, coordinates):
        """Return tsId -> places from the first voxel, as Scipion itself tells them."""
        found = {}
        for item in coordinates.iterCoordinates():
            found.setdefault(item.getTomoId(), []).append(item.getPosition(BOTTOM_LEFT_CORNER))
        return found

    def edit(self, changes=None, **values):
        """Return a stored protocol with changes in a file."""
        prot = self.newProtocol(CryoDLProtEditCoordinates, **values)
        if changes is not None:
            path = self.getOutputPath("changes.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(changes, file)
            prot.changesFile.set(path)
        return self.store(prot)

    def run_(self, prot):
        """Run the one step in this process; return the output."""
        prot.createOutputStep(
            json.dumps(prot.readChanges()), prot.minimumScore.get(), prot.newBoxSize.get()
        )
        return prot.coordinates

    def onCoordinates(self, changes=None, **values):
        """Return a protocol on the coordinates."""
        prot = self.edit(changes, **values)
        prot.inputCoordinates.set(self.source)
        prot.inputCoordinates.setExtended("coordinates")
        return prot
