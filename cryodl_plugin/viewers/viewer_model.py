"""View of a trained network."""

from pyworkflow.viewer import DESKTOP_TKINTER, Viewer

from cryodl_plugin.objects import CryoDLModel
from cryodl_plugin.protocols import CryoDLProtImportModel, CryoDLProtPickTrain
from cryodl_plugin.protocols.base import CryoDLProtBase
from cryodl_plugin.viewers.viewer_pick import TrainingView
from cryodl_plugin.viewers.windows import LossView


class CryoDLViewerModel(Viewer):
    """What a network is, and the curve of the run that trained it."""

    _name = "network"
    _targets = [CryoDLModel, CryoDLProtImportModel]
    _environments = [DESKTOP_TKINTER]

    def _visualize(self, obj, **kwargs):
        if isinstance(obj, CryoDLProtImportModel):
            return [self.infoMessage("\n".join(obj.summary()), "cryodl")]
        if isinstance(self.protocol, CryoDLProtPickTrain):
            return [TrainingView(self.protocol, self.getTkRoot())]
        if isinstance(self.protocol, CryoDLProtBase):
            return [LossView(self.protocol, self.getTkRoot())]
        return [self.infoMessage(f"{obj}\n{obj.getFileName()}", "cryodl")]
