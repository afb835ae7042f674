"""Sort subvolumes into groups, and average each."""

from pyworkflow.object import Pointer
from tomo.objects import (
    AverageSubTomogram,
    SetOfAverageSubTomograms,
    SetOfClassesSubTomograms,
    SetOfCoordinates3D,
    SetOfSubTomograms,
)

from cryodl_plugin import convert, forms
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.autoencoder import CLUSTER_COMMAND, CryoDLProtAE3D

_UNSTABLE = 0.6


class CryoDLProtAE3DCluster(CryoDLProtAE3D):
    """Sort subvolumes into groups, whatever their orientation (Autoencoder3D).

    Codes of the network, invariants of rotation and the volumes in their normalised poses are
    compared, and what sorts both halves of the particles alike is taken. Particles are then sorted
    by likelihood, each in every orientation and never mirrored, and groups that differ no more than
    by chance are merged if their number was left open.

    *Input*: a run of *train autoencoder*.

    *Outputs*: _averages_ of the groups, each frequency by how often it was measured. Of
    subtomograms: _subtomograms_ with groups and poses, and _classes_ of them. Of tomograms:
    _coordinates_ with the number of the group.

    *Hints*: *Analyze Results* shows average and decoded centre of each group: click on those to
    keep, and save them as a new set, or go on with *train segmentation*. Ask for more groups than
    kinds if you select by eye: groups can be joined later.
    """

    _label = "group subvolumes"
    _command = CLUSTER_COMMAND
    _runParam = "inputTraining"
    _fedByProtocol = frozenset({"run", "method"})
    _possibleOutputs = {
        "classes": SetOfClassesSubTomograms,
        "subtomograms": SetOfSubTomograms,
        "coordinates": SetOfCoordinates3D,
        "averages": SetOfAverageSubTomograms,
    }
    _onGpu = False

    def _defineParams(self, form):
        form.addSection(label="Input")
        self._addRun(form, "CryoDLProtAE3DTrain", "Training", "A run of *train autoencoder*.")
        labels = {
            "clusters": {"label": "Number of groups"},
            "sweep": {"label": "Numbers to compare where none is given"},
            "features": {"label": "Compare"},
            "alignRounds": {"label": "Rounds of sorting by likelihood"},
            "rotations": {"label": "Orientations"},
            "starts": {"label": "Starts of k-means"},
            "stabilitySeeds": {"label": "Seeds for the stability"},
        }
        forms.addParameters(form, self._command, "Clusters", skip=self.fedNames(), **labels)
        self._addRunParameters(form, threads=2)

    def _machineParameters(self):
        return {"devices": "cpu"}

    # --- outputs ---------------------------------------------------------------------------

    def averageFiles(self):
        """Return the averages of the groups, in order."""
        return self._files("mean")

    def centerFiles(self):
        """Return the decoded centres of the groups, in order."""
        return self._files("centre")

    def _files(self, stem):
        result = self.readResult()
        return [result[f"{stem}_{k:03d}"] for k in range(len(self.sizes()))]

    def sizes(self):
        """Return the number of particles of each group."""
        return self.readResult().get("sizes", [])

    def createOutputStep(self, fingerprint):
        """Make averages; classes of subtomograms, or coordinates with groups."""
        table = tomography.readParticles(self.readResult()["star"])
        averages = SetOfAverageSubTomograms.create(self._getPath(), prefix="averages")
        averages.setSamplingRate(self.averageSampling())
        for name in self.averageFiles():
            average = AverageSubTomogram()
            average.setFileName(name)
            average.setSamplingRate(self.averageSampling())
            averages.append(average)
        self.define({"averages": averages}, [self.inputTraining])
        if self.sourceRun().fromSubtomograms():
            self._makeClasses(table)
        else:
            self._makeCoordinates(table)

    def averageSampling(self):
        """Return the sampling of the averages in Å; the network's box may be coarser."""
        source = self.sourceRun()
        box = convert.mapDimensions(self.averageFiles()[0])[0]
        return source.dataSampling() * source.model._boxSize.get() / box

    def _makeClasses(self, table):
        source = self.sourceRun().particles()
        output = self.newSubtomograms(source.getSamplingRate())
        output.copyInfo(source)
        left = tomography.updateSubtomograms(source, output, table)
        self.note([f"{left} particles were left out." if left else ""])
        self.define({"subtomograms": output}, [self.inputTraining])
        classes = SetOfClassesSubTomograms.create(self._getPath(), prefix="classes")
        classes.setImages(Pointer(self, extended="subtomograms"))
        assignment = {key: int(row["rlnClassNumber"]) for key, row in table.byId().items()}
        files = dict(enumerate(self.averageFiles(), start=1))
        tomography.fillClasses(classes, assignment, files)
        self.define({"classes": classes}, [self.inputTraining])

    def _makeCoordinates(self, table):
        source = self.sourceRun()
        tomograms, sampling = source.inputTomograms.get(), source.samplingRate()
        rows = [{**row, "cdlGroupId": row["rlnClassNumber"]} for row in table.rows]
        output = self.newCoordinates(source.inputTomograms, sampling, source.blobSizePx())
        tomography.appendCoordinates(output, rows, tomograms, sampling)
        self.define({"coordinates": output}, [self.inputTraining])

    def particleIds(self):
        """Return group -> ids of its items in the output."""
        found = {}
        if hasattr(self, "subtomograms"):
            pairs = [(item.getClassId(), item.getObjId()) for item in self.subtomograms]
        else:
            items = self.coordinates.iterCoordinates()
            pairs = [(item.getGroupId(), item.getObjId()) for item in items]
        for group, key in pairs:
            found.setdefault(group, []).append(key)
        return found

    # --- information -----------------------------------------------------------------------

    def _summaryOf(self, result):
        sizes = ", ".join(map(str, self.sizes()))
        lines = [
            f"*{result.get('clusters', 0)}* groups of {sizes} particles, told apart by "
            f"{result.get('features', '')}"
            + (", sorted by likelihood." if result.get("aligned") else "."),
            f"Stability *{result.get('stability', 0):.2f}* of 1 before the sorting.",
        ]
        if result.get("stability", 1) < _UNSTABLE:
            lines.append("Groups of one half of the particles are *not* those of the other half.")
        return [*lines, *self.notes(), *super()._summaryOf(result)]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [
            f"Subvolumes were sorted into {result.get('clusters', 0)} groups with cryodl "
            f"{result.get('version', '')}."
        ]
