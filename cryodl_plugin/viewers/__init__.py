"""The viewers, found by Scipion through this module."""

from cryodl_plugin.viewers.viewer_autoencoder import (
    CryoDLViewerAE3DCluster,
    CryoDLViewerAE3DTrain,
    CryoDLViewerEDSS3DPredict,
    CryoDLViewerEDSS3DTrain,
)
from cryodl_plugin.viewers.viewer_correct import CryoDLViewerAnisoCorrect
from cryodl_plugin.viewers.viewer_explore import CryoDLViewerPickExplore
from cryodl_plugin.viewers.viewer_fsc3d import CryoDLViewerFsc3D
from cryodl_plugin.viewers.viewer_misalign import CryoDLViewerMisalignRefine
from cryodl_plugin.viewers.viewer_model import CryoDLViewerModel
from cryodl_plugin.viewers.viewer_opus import (
    CryoDLViewerOpusAnalyze,
    CryoDLViewerOpusEvalVols,
    CryoDLViewerOpusSelect,
    CryoDLViewerOpusTrain,
)
from cryodl_plugin.viewers.viewer_particles import (
    CryoDLViewerExportStar,
    CryoDLViewerParticles,
    CryoDLViewerSimulateTomograms,
)
from cryodl_plugin.viewers.viewer_pick import CryoDLViewerPickPredict, CryoDLViewerPickTrain
from cryodl_plugin.viewers.viewer_simulate import (
    CryoDLViewerSimulate,
    CryoDLViewerSimulateParticles,
)

# Scipion offers viewers in the order of these names: before its tables, after its own list of
# tomograms.
from cryodl_plugin.viewers.viewer_slices import CryoDLViewerGallery as ABCryoDLViewerGallery
from cryodl_plugin.viewers.viewer_slices import CryoDLViewerSlices as ABCryoDLViewerSlices
from cryodl_plugin.viewers.viewer_subtomos import (
    CryoDLViewerSubtomoAlign,
    CryoDLViewerSubtomoRefine,
    CryoDLViewerSubtomoTrain,
)

__all__ = [
    "ABCryoDLViewerGallery",
    "ABCryoDLViewerSlices",
    "CryoDLViewerAE3DCluster",
    "CryoDLViewerAE3DTrain",
    "CryoDLViewerAnisoCorrect",
    "CryoDLViewerEDSS3DPredict",
    "CryoDLViewerEDSS3DTrain",
    "CryoDLViewerExportStar",
    "CryoDLViewerFsc3D",
    "CryoDLViewerMisalignRefine",
    "CryoDLViewerModel",
    "CryoDLViewerOpusAnalyze",
    "CryoDLViewerOpusEvalVols",
    "CryoDLViewerOpusSelect",
    "CryoDLViewerOpusTrain",
    "CryoDLViewerParticles",
    "CryoDLViewerPickExplore",
    "CryoDLViewerPickPredict",
    "CryoDLViewerPickTrain",
    "CryoDLViewerSimulate",
    "CryoDLViewerSimulateParticles",
    "CryoDLViewerSimulateTomograms",
    "CryoDLViewerSubtomoAlign",
    "CryoDLViewerSubtomoRefine",
    "CryoDLViewerSubtomoTrain",
]
