"""Names that several modules of the plugin share."""

ENGINE = "cryodl"
ENGINE_VERSION = "0.1.0"

CRYODL_PYTHON = "CRYODL_PYTHON"
CRYODL_ENV_ACTIVATION = "CRYODL_ENV_ACTIVATION"
CRYODL_ENGINE_SOURCE = "CRYODL_ENGINE_SOURCE"

ENGINE_FOLDER = "engine"
"""Folder of the engine's run inside a protocol's extra folder."""

VOID_GPU = 99
"""The number by which Scipion marks a GPU slot as not to be used."""

FSC_THRESHOLD = 0.143
MEAN_COSINE_THRESHOLD = 0.112
"""What the mean cosine of phase differences is where the FSC is 0.143."""

INPUT_VOLUME, INPUT_TWO_HALVES, INPUT_ONE_MAP = range(3)
INPUT_CHOICES = ["volume with half maps", "two half maps", "one map alone"]

MASK_AUTOMATIC, MASK_VOLUME, MASK_SPHERE = range(3)
