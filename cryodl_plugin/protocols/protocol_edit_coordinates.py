"""A set of coordinates from another one and what was changed in it, by hand or by a threshold."""

import json
import os
import shutil

import numpy as np
from pwem.protocols import EMProtocol
from pyworkflow import BETA
from pyworkflow.object import Scalar
from pyworkflow.protocol import params
from pyworkflow.utils import Message
from tomo.constants import SCIPION
from tomo.objects import Coordinate3D, SetOfCoordinates3D

from cryodl_plugin.constants import ENGINE
from cryodl_plugin.convert.tomography import originOffset
from cryodl_plugin.convert.tomography.tomograms import tomogramsById
from cryodl_plugin.forms import Limits

_CHANGES = "changes.json"


class ChangesError(ValueError):
    """A file of changes cannot be used; one line says why."""


class CryoDLProtEditCoordinates(EMProtocol):
    """Edit coordinates: keep those above a score, remove some, add others.

    The slice viewer (*Analyze Results* on tomograms or coordinates) runs this protocol when points
    are saved as a new set; then all is filled in. It can also be run by itself, to keep the
    coordinates above a score.

    *Inputs*: coordinates, or only tomograms if all points were added by hand; a file of changes
    written by the viewer; a lowest score.

    *Outputs*: _coordinates_. Those that were kept have all they had before: pose, score, group and
    the columns of other programs. Those added by hand have no score (0) and no rotation; those that
    a lower threshold of the viewer let in have their score.

    *Hints*: the input is not changed. To go on editing, open the viewer on the output.
    """

    _label = "edit coordinates"
    _devStatus = BETA
    _possibleOutputs = {"coordinates": SetOfCoordinates3D}

    def _defineParams(self, form):
        form.addSection(label=Message.LABEL_INPUT)
        form.addParam(
            "inputCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates3D",
            allowsNull=True,
            important=True,
            label="Coordinates",
            help="The coordinates to edit. Leave it empty if all points were added by hand.",
        )
        form.addParam(
            "inputTomograms",
            params.PointerParam,
            pointerClass="SetOfTomograms",
            allowsNull=True,
            condition="inputCoordinates is None",
            label="Tomograms",
            help="The tomograms that the points lie in; needed only without coordinates.",
        )
        form.addParam(
            "minimumScore",
            params.FloatParam,
            allowsNull=True,
            label="Lowest score",
            help="Coordinates with a lower score are left out. Empty keeps all.",
        )
        form.addParam(
            "changesFile",
            params.FileParam,
            default="",
            allowsNull=True,
            label="File of changes",
            help="Written by the slice viewer: which coordinates were removed and where others "
            "were added (JSON).",
        )
        form.addParam(
            "newBoxSize",
            params.IntParam,
            allowsNull=True,
            expertLevel=params.LEVEL_ADVANCED,
            label="Box size (px)",
            validators=[Limits({"gt": 0}, optional=True)],
            help="Of the output, in voxels of the coordinates. Empty keeps that of the input, or "
            "takes the circles of the viewer.",
        )

    @classmethod
    def getClassLabel(cls, prependPackageName=True):
        """Return the label; people know the plugin by the name of its engine."""
        label = super().getClassLabel(prependPackageName=False)
        return f"{ENGINE} - {label}" if prependPackageName else label

    # --- steps -----------------------------------------------------------------------------

    def _insertAllSteps(self):
        self._insertFunctionStep(
            self.createOutputStep,
            json.dumps(self.readChanges(), sort_keys=True),
            self.minimumScore.get(),
            self.newBoxSize.get(),
            needsGPU=False,
        )

    def createOutputStep(self, changes, minimumScore, boxSize):
        """Copy what is kept, then append what was added."""
        changes = json.loads(changes)
        source = self.inputCoordinates.get()
        pointer = self.inputTomograms if source is None else source._precedentsPointer
        tomograms = pointer.get()
        output = SetOfCoordinates3D.create(self._getPath())
        output.setPrecedents(pointer)
        sampling = tomograms.getSamplingRate() if source is None else source.getSamplingRate()
        output.setSamplingRate(sampling)
        own = None if source is None else source.getBoxSize()
        scaled = changes.get("box_size", 0) * changes.get("sampling", sampling) / sampling
        output.setBoxSize(int(boxSize or own or max(round(scaled), 1)))
        pattern = None
        if source is not None:
            pattern = _copyKept(source, output, set(changes.get("removed", ())), minimumScore)
        _appendAdded(output, changes, tomogramsById(tomograms), pattern)
        if output.getSize() == 0:
            raise ChangesError(
                "No coordinates are left: found none above the lowest score and none added; "
                "lower the threshold"
            )
        if self.changesFile.get():
            _keepCopy(self.changesFile.get(), self._getExtraPath(_CHANGES))
        self._defineOutputs(coordinates=output)
        for one in (self.inputCoordinates, self.inputTomograms):
            if one.get() is not None:
                self._defineSourceRelation(one, output)

    def readChanges(self):
        """Return the changes, from the viewer's file or, if that is gone, from the copy of it.

        Raises
        ------
        ChangesError
            No such file, or something else in it.
        """
        name = self.changesFile.get()
        if not name:
            return {}
        path = name if os.path.exists(name) else self._getExtraPath(_CHANGES)
        return readChanges(path)

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = []
        changes = {}
        try:
            changes = self.readChanges()
        except ChangesError as error:
            errors.append(str(error))
        if self.inputCoordinates.get() is None:
            if self.inputTomograms.get() is None:
                errors.append("Give coordinates, or tomograms to add points to.")
            elif not errors and not changes.get("added"):
                errors.append("Without coordinates, a file of changes with added points is needed.")
        return errors

    def _warnings(self):
        source = self.inputCoordinates.get()
        nothing = self.minimumScore.get() is None and not self.changesFile.get()
        if source is not None and nothing:
            return ["Neither a lowest score nor changes were given: the output will be a copy."]
        return []

    def _summary(self):
        if not hasattr(self, "coordinates"):
            return ["Not finished yet."]
        changes = readChanges(self._getExtraPath(_CHANGES), missing={})
        source = self.inputCoordinates.get()
        before = 0 if source is None else source.getSize()
        words = [f"*{self.coordinates.getSize()}* coordinates of {before} and those added by hand."]
        if self.minimumScore.get() is not None:
            words.append(f"Lowest score: {self.minimumScore.get():.4g}.")
        if changes:
            words.append(
                f"Removed by hand: {len(changes.get('removed', ()))}, "
                f"added: {len(changes.get('added', ()))}."
            )
        return words

    def _methods(self):
        return ["Coordinates were inspected and edited in the slice viewer of cryodl."]

    def _citations(self):
        return []


def readChanges(path, missing=None):
    """Return what the viewer wrote, checked; `missing` where there is no file.

    Raises
    ------
    ChangesError
        No such file and no `missing`, or something else in it.
    """
    name = os.path.basename(path)
    if missing is not None and not os.path.exists(path):
        return missing
    try:
        with open(path, encoding="utf-8") as file:
            changes = json.load(file)
    except (OSError, ValueError) as error:
        raise ChangesError(
            f"{name}: found no changes that can be read ({error}), expected a file of the slice "
            "viewer; save from the viewer again"
        ) from None
    try:
        removed = [int(i) for i in changes.get("removed", ())]
        added = [
            {
                "tomogram": str(point["tomogram"]),
                "xyz": _finite(point["xyz"]),
                "group": int(point.get("group", 0)),
                "score": float(point.get("score", 0)),
            }
            for point in changes.get("added", ())
        ]
        numbers = {key: float(changes[key]) for key in ("sampling", "box_size") if key in changes}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ChangesError(
            f"{name}: found changes without {error}, expected lists 'removed' and 'added' with "
            "'tomogram' and 'xyz'; save from the viewer again"
        ) from None
    return {"removed": removed, "added": added, **numbers}


def _finite(values):
    x, y, z = (float(value) for value in values)
    if not np.isfinite([x, y, z]).all():
        raise ValueError("finite positions")
    return [x, y, z]


def _copyKept(source, output, removed, minimumScore):
    """Append copies of the coordinates that stay; return one to make others like it."""
    pattern = None
    for item in source.iterItems(orderBy="id"):
        if pattern is None:
            pattern = item.clone()
        low = minimumScore is not None and (item.getScore() or 0) < minimumScore
        if item.isEnabled() and not low and item.getObjId() not in removed:
            output.append(item.clone())
    return pattern


def _appendAdded(output, changes, tomograms, pattern):
    """Append the added points; their columns are those of the set, which the first item fixes."""
    factor = changes.get("sampling", output.getSamplingRate()) / output.getSamplingRate()
    for point in changes.get("added", ()):
        tomogram = tomograms.get(point["tomogram"])
        if tomogram is None:
            raise ChangesError(
                f"added points: found tomogram '{point['tomogram']}', expected one of "
                f"{', '.join(sorted(tomograms))}; give the tomograms that were on the screen"
            )
        item = _blank(pattern)
        item.setVolume(tomogram)
        item.setTomoId(point["tomogram"])
        offset = originOffset(tomogram, output.getSamplingRate())
        item.setPosition(*(np.array(point["xyz"]) * factor - offset), SCIPION)
        item.setMatrix(np.eye(4))
        item.setScore(point["score"])
        item.setGroupId(point["group"])
        output.append(item)


def _blank(pattern):
    """Return a new coordinate with the columns of the others, but none of their values."""
    if pattern is None:
        return Coordinate3D()
    item, own = pattern.clone(), set(dict(Coordinate3D().getAttributes()))
    item.setObjId(None)
    for name, attribute in item.getAttributes():
        if name not in own and isinstance(attribute, Scalar):
            attribute.set(None)
    return item


def _keepCopy(source, target):
    if os.path.exists(source) and os.path.abspath(source) != os.path.abspath(target):
        shutil.copyfile(source, f"{target}.tmp")
        os.replace(f"{target}.tmp", target)
