"""What the protocol viewers share: rows with an eye, each opening a view of its own."""

import os

from pwem.viewers import EmProtocolViewer
from pyworkflow.protocol import params
from pyworkflow.viewer import DESKTOP_TKINTER, MSG_INFO, MessageView

from cryodl_plugin.constants import ENGINE
from cryodl_plugin.viewers.windows import FigureView, ReportView


class CryoDLViewerBase(EmProtocolViewer):
    """Base of the protocol viewers: `_rows` names the views, in order, by section."""

    _environments = [DESKTOP_TKINTER]
    _targets = []
    _rows = {}
    """Section -> list of (parameter, label, help); ``showX`` opens what ``viewX`` returns.

    They differ in name, for Scipion puts the parameter's value on the viewer under its name.
    """

    @classmethod
    def getClassLabel(cls, prependPackageName=True):
        """Return the label; people know the plugin by the name of its engine."""
        label = super().getClassLabel(prependPackageName=False)
        return f"{ENGINE} - {label}" if prependPackageName else label

    def _defineParams(self, form):
        for section, rows in self._rows.items():
            form.addSection(label=section)
            for name, label, words in rows:
                form.addParam(name, params.LabelParam, label=label, help=words)

    def _getVisualizeDict(self):
        names = [row[0] for rows in self._rows.values() for row in rows]
        return {
            name: self._guarded(getattr(self, name.replace("show", "view", 1))) for name in names
        }

    def _guarded(self, method):
        """Return the method, answering with a message while the result it needs is missing."""

        def call(_name=None):
            try:
                return method()
            except (KeyError, AttributeError, OSError) as error:
                return [self.say(f"This result is not there (yet): {error}")]

        return call

    def say(self, words):
        """Return a message."""
        return MessageView(words, "cryodl", msgType=MSG_INFO, tkParent=self.getTkRoot())

    def showFigure(self, figure, title):
        """Return the window of a figure."""
        return [FigureView(figure, f"{title} - {self.protocol.getRunName()}", self.getTkRoot())]

    def viewReport(self):
        """Return the engine's report page."""
        path = self.protocol.enginePath("report.html")
        if not os.path.exists(path):
            return [self.say("The report is written at the end of the run.")]
        return [ReportView(path, self.getTkRoot())]


REPORT_ROW = (
    "showReport",
    "Report page",
    "Opens the page that the engine wrote: what was found, pictures, what to distrust.",
)
