"""The viewers, found by Scipion through this module."""

from cryodl_plugin.viewers.viewer_correct import CryoDLViewerAnisoCorrect
from cryodl_plugin.viewers.viewer_fsc3d import CryoDLViewerFsc3D
from cryodl_plugin.viewers.viewer_misalign import CryoDLViewerMisalignRefine
from cryodl_plugin.viewers.viewer_model import CryoDLViewerModel
from cryodl_plugin.viewers.viewer_simulate import CryoDLViewerSimulate

__all__ = [
    "CryoDLViewerAnisoCorrect",
    "CryoDLViewerFsc3D",
    "CryoDLViewerMisalignRefine",
    "CryoDLViewerModel",
    "CryoDLViewerSimulate",
]
