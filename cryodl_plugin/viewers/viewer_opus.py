"""Views of OPUS-TOMO: the training, latents, densities of states, and particles chosen by them."""

import json
import os
import time

import numpy as np
from matplotlib.image import imread

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import (
    CryoDLProtOpusAnalyze,
    CryoDLProtOpusEvalVols,
    CryoDLProtOpusSelect,
    CryoDLProtOpusTrain,
)
from cryodl_plugin.protocols.opus import readLatents
from cryodl_plugin.protocols.protocol_opus_select import BY_LASSO
from cryodl_plugin.viewers import figures
from cryodl_plugin.viewers.base import REPORT_ROW, CryoDLViewerBase
from cryodl_plugin.viewers.latent_map import LatentModel
from cryodl_plugin.viewers.latent_window import LatentView, SeriesView
from cryodl_plugin.viewers.slices.saving import UPLOADS, saveSubset
from cryodl_plugin.viewers.viewer_particles import CryoDLViewerParticles
from cryodl_plugin.viewers.windows import LossView, chimeraView

_CURVES = (
    ("Misfit", ("misfit", "held_out"), "below 0 the densities explain something"),
    ("What the latents say", ("divergence",), "nats a particle"),
    ("Spread of the densities", ("spread",), "of the average"),
)
_COLLAPSED = 0.01
_SHOWN = 8

_SERIES_ROW = (
    "showSeries",
    "Densities",
    "The densities one after the other, in slices and sums, with one range of grey; as a movie.",
)
_CHIMERA_ROW = (
    "showChimera",
    "Densities in ChimeraX",
    "The series as surfaces that turn into each other. Needs ChimeraX.",
)


class StateTrainingView(LossView):
    """Misfit, latents and spread by epoch, drawn anew while the window is open."""

    def refresh(self):
        """Read what the engine has written so far and draw it."""
        drawCurves(self.figure, self.protocol.readMetrics(), self.protocol.readProgress())


def drawCurves(figure, rows, progress):
    """Draw the curves of a training, and the level below which its latents mean nothing."""
    figure.clear()
    for axes, (title, names, words) in zip(figure.subplots(1, len(_CURVES)), _CURVES):
        for name, color in zip(names, (figures.BLUE, figures.ORANGE)):
            points = [(i, row[name]) for i, row in enumerate(rows, start=1) if name in row]
            if points:
                axes.plot(*zip(*points), marker="o", ms=3, color=color, label=name)
        if "spread" in names:
            axes.axhline(_COLLAPSED, color=figures.GREY, ls="--", lw=1, label="collapse")
            axes.set_ylim(bottom=0)
        if axes.lines:
            axes.legend(fontsize=9, frameon=False)
        axes.grid(alpha=0.25)
        figures.tidy(axes, title, "epoch", words)
    if not rows:
        figure.axes[0].text(0.5, 0.5, "no epoch finished yet", ha="center", color=figures.GREY)
    done = progress.get("fraction", 0) if progress else 1
    if done < 1:
        figure.suptitle(f"{100 * done:.0f} % done   {progress.get('note', '')}", fontsize=11)
    return figure


class CryoDLViewerOpusTrain(CryoDLViewerBase):
    """The training, also while it runs, and the latents it ends with."""

    _label = "viewer of state training"
    _targets = [CryoDLProtOpusTrain]
    _rows = {
        "Training": [
            (
                "showTraining",
                "Curves",
                "Misfit of the particles that are trained on and of those held out, what the "
                "latents say, and how much the densities vary. Works during the run.",
            ),
            (
                "showLive",
                "What the networks do",
                "Of two particles what the encoder is given, the decoded density seen through CTF "
                "and wedge, and the particle. Works during the run.",
            ),
            (
                "showLatents",
                "Latents",
                "The latents before any clustering, coloured by direction, tomogram, class or "
                "misfit; draw around some to make a set of them.",
            ),
            REPORT_ROW,
        ]
    }

    def viewTraining(self):
        """Return the curves."""
        return [StateTrainingView(self.protocol, self.getTkRoot())]

    def viewLive(self):
        """Return the picture of the last epoch."""
        path = self.protocol.livePicture()
        if path is None:
            return [self.say("The first picture is drawn after the first epoch.")]
        figure = figures.newFigure(8, 5.6)
        axes = figure.add_subplot()
        axes.imshow(imread(path))
        axes.axis("off")
        return self.showFigure(figure, "After the last epoch")

    def viewLatents(self):
        """Return the map of the latents."""
        title = f"Latents - {self.protocol.getRunName()}"
        model = LatentModel(self.columns())
        return [LatentView(model, title, self.getTkRoot(), lambda _chosen: self.saveChosen(model))]

    def columns(self):
        """Return what is known of each particle."""
        with np.load(self.protocol.latentsFile(), allow_pickle=False) as stored:
            latents = {name: stored[name] for name in stored.files}
        rows = tomography.readParticles(self.protocol.readResult()["star"]).rows
        columns = {f"z{i + 1}": v for i, v in enumerate(latents["scaled"].T[:_SHOWN])}
        columns.update({f"linear{i + 1}": v for i, v in enumerate(latents["linear"].T[:2])})
        columns["beam_angle"] = np.degrees(np.arccos(np.clip(latents["direction"][:, 2], -1, 1)))
        columns["tomogram"] = latents["tomogram"]
        columns["class"] = np.array([int(float(row.get("rlnClassNumber", 0))) for row in rows])
        columns["misfit"] = latents["misfit"]
        columns["held_out"] = (~latents["trained_on"]).astype(float)
        columns["id"] = np.array([int(row[tomography.PARTICLE_ID]) for row in rows])
        return columns

    def saveChosen(self, model):
        """Launch the protocol that makes a set of what is chosen; return what to say."""
        if not model.count():
            raise ValueError("Nothing is chosen: click on a cluster or draw around particles.")
        made = saveSubset(self._project, self.protocol.subtomograms, model.ids())
        return f"Saved: '{made.getObjLabel()}' is running, its output will be the new set."


class CryoDLViewerOpusAnalyze(CryoDLViewerBase):
    """Latents on which a set is chosen, and the densities of the clusters."""

    _label = "viewer of states"
    _targets = [CryoDLProtOpusAnalyze]
    _rows = {
        "States": [
            (
                "showLatents",
                "Latents",
                "Particles by their latents, coloured by cluster, class, direction, defocus or "
                "tomogram: colours of the last three should be mixed. Choose clusters, or draw a "
                "line around particles, and save them as a new set.",
            ),
            _SERIES_ROW,
            _CHIMERA_ROW,
            REPORT_ROW,
        ]
    }

    def model(self):
        """Return the map of the latents, with the densities of the clusters."""
        columns = readLatents(self.protocol.readResult()["latents"])
        volumes = [convert.readMap(path) for path in self.protocol.seriesFiles()]
        return LatentModel(columns, volumes)

    def viewLatents(self):
        """Return the window of the latents."""
        model = self.model()
        title = f"Latents - {self.protocol.getRunName()}"
        window = LatentView(model, title, self.getTkRoot())
        window.onSave = lambda _chosen: self.saveChosen(model, window.line)
        return [window]

    def viewSeries(self):
        """Return the densities of the clusters."""
        return seriesViews(self, self.protocol.seriesFiles())

    def viewChimera(self):
        """Return the densities in ChimeraX."""
        return chimeraViews(self, self.protocol.seriesFolder(), self.protocol.seriesFiles())

    def saveChosen(self, model, line=None):
        """Make a set of what is chosen; by the line that was drawn where that is all there is."""
        if not model.count():
            raise ValueError("Nothing is chosen: click on a cluster or draw around particles.")
        if line is not None:
            made = self._selectByLine(model, line)
        else:
            made = saveSubset(self._project, self.protocol.subtomograms, model.ids())
        return f"Saved: '{made.getObjLabel()}' is running, its output will be the new set."

    def _selectByLine(self, model, line):
        folder = os.path.join(self._project.path, UPLOADS)
        os.makedirs(folder, exist_ok=True)
        name = os.path.join(UPLOADS, f"cryodl_lasso_{time.strftime('%Y%m%d_%H%M%S')}.json")
        content = {"x": model.x, "y": model.y, "points": model.corners(line)}
        with open(os.path.join(self._project.path, name), "w", encoding="utf-8") as file:
            json.dump(content, file)
        select = self._project.newProtocol(CryoDLProtOpusSelect, objLabel="states in a line")
        select.inputAnalysis.set(self.protocol)
        select.selectBy.set(BY_LASSO)
        select.lasso.set(name)
        self._project.launchProtocol(select)
        return select


class CryoDLViewerOpusEvalVols(CryoDLViewerBase):
    """Densities of states or along a motion."""

    _label = "viewer of decoded states"
    _targets = [CryoDLProtOpusEvalVols]
    _rows = {"Densities": [_SERIES_ROW, _CHIMERA_ROW, REPORT_ROW]}

    def viewSeries(self):
        """Return the densities in slices."""
        return seriesViews(self, self.protocol.seriesFiles())

    def viewChimera(self):
        """Return the densities in ChimeraX."""
        return chimeraViews(self, self.protocol.engineFolder(), self.protocol.seriesFiles())


class CryoDLViewerOpusSelect(CryoDLViewerParticles):
    """Images and poses of the particles that were chosen."""

    _label = "viewer of chosen states"
    _targets = [CryoDLProtOpusSelect]


def seriesViews(viewer, files):
    """Return the window of a series, or a message where there is none."""
    if not files:
        return [viewer.say("There are no densities (yet).")]
    volumes = {os.path.splitext(os.path.basename(f))[0]: convert.readMap(f) for f in files}
    title = f"Densities - {viewer.protocol.getRunName()}"
    return [SeriesView(volumes, title, viewer.getTkRoot())]


def chimeraViews(viewer, folder, files):
    """Return a series in ChimeraX by the engine's script, or a message."""
    script = os.path.join(folder, "series.cxc")
    if not files or not os.path.exists(script):
        return [viewer.say("There are no densities (yet).")]
    return [chimeraView([script], viewer.getTkRoot())]
