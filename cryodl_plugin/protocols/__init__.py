"""The protocols, found by Scipion through this module."""

from cryodl_plugin.protocols.protocol_ae3d_cluster import CryoDLProtAE3DCluster
from cryodl_plugin.protocols.protocol_ae3d_train import CryoDLProtAE3DTrain
from cryodl_plugin.protocols.protocol_correct import CryoDLProtAnisoCorrect
from cryodl_plugin.protocols.protocol_edit_coordinates import CryoDLProtEditCoordinates
from cryodl_plugin.protocols.protocol_edss3d_predict import CryoDLProtEDSS3DPredict
from cryodl_plugin.protocols.protocol_edss3d_train import CryoDLProtEDSS3DTrain
from cryodl_plugin.protocols.protocol_export_star import CryoDLProtExportStar
from cryodl_plugin.protocols.protocol_extract import CryoDLProtExtractSubtomos
from cryodl_plugin.protocols.protocol_fsc3d import CryoDLProtFsc3D
from cryodl_plugin.protocols.protocol_import_model import CryoDLProtImportModel
from cryodl_plugin.protocols.protocol_import_star import CryoDLProtImportParticlesStar
from cryodl_plugin.protocols.protocol_misalign import CryoDLProtMisalignRefine
from cryodl_plugin.protocols.protocol_opus_analyze import CryoDLProtOpusAnalyze
from cryodl_plugin.protocols.protocol_opus_select import CryoDLProtOpusSelect
from cryodl_plugin.protocols.protocol_opus_train import CryoDLProtOpusTrain
from cryodl_plugin.protocols.protocol_opus_volumes import CryoDLProtOpusEvalVols
from cryodl_plugin.protocols.protocol_pick_explore import CryoDLProtPickExplore
from cryodl_plugin.protocols.protocol_pick_predict import CryoDLProtPickPredict
from cryodl_plugin.protocols.protocol_pick_train import CryoDLProtPickTrain
from cryodl_plugin.protocols.protocol_simulate import CryoDLProtSimulateHalfMaps
from cryodl_plugin.protocols.protocol_simulate_particles import CryoDLProtSimulateParticles
from cryodl_plugin.protocols.protocol_simulate_tomography import (
    CryoDLProtSimulateSubtomograms,
    CryoDLProtSimulateTomograms,
)
from cryodl_plugin.protocols.protocol_subtomo_align import CryoDLProtSubtomoAlign
from cryodl_plugin.protocols.protocol_subtomo_refine import CryoDLProtSubtomoRefine
from cryodl_plugin.protocols.protocol_subtomo_train import CryoDLProtSubtomoTrain

__all__ = [
    "CryoDLProtAE3DCluster",
    "CryoDLProtAE3DTrain",
    "CryoDLProtAnisoCorrect",
    "CryoDLProtEDSS3DPredict",
    "CryoDLProtEDSS3DTrain",
    "CryoDLProtEditCoordinates",
    "CryoDLProtExportStar",
    "CryoDLProtExtractSubtomos",
    "CryoDLProtFsc3D",
    "CryoDLProtImportModel",
    "CryoDLProtImportParticlesStar",
    "CryoDLProtMisalignRefine",
    "CryoDLProtOpusAnalyze",
    "CryoDLProtOpusEvalVols",
    "CryoDLProtOpusSelect",
    "CryoDLProtOpusTrain",
    "CryoDLProtPickExplore",
    "CryoDLProtPickPredict",
    "CryoDLProtPickTrain",
    "CryoDLProtSimulateHalfMaps",
    "CryoDLProtSimulateParticles",
    "CryoDLProtSimulateSubtomograms",
    "CryoDLProtSimulateTomograms",
    "CryoDLProtSubtomoAlign",
    "CryoDLProtSubtomoRefine",
    "CryoDLProtSubtomoTrain",
]
