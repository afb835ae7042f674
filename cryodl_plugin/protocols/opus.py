"""What the protocols of OPUS-TOMO share: a finished run as input, and its folder."""

import csv
import os

from cryodl_plugin.protocols.from_run import FromRun
from cryodl_plugin.protocols.tomography import CryoDLProtTomography

TRAIN_COMMAND = "opus-tomo train"
ANALYZE_COMMAND = "opus-tomo analyze"
VOLUMES_COMMAND = "opus-tomo volumes"
SELECT_COMMAND = "opus-tomo select"


class CryoDLProtOpus(FromRun, CryoDLProtTomography):
    """Base of the protocols that go on from a run of another one."""

    def _validate(self):
        return super()._validate() + self._runErrors()

    def _citations(self):
        return ["Luo2023"]


def readLatents(path):
    """Return the columns of an engine's table of latents: name -> list, numbers where they are.

    Parameters
    ----------
    path : str
        ``latents.csv``.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    return {
        name: values if name in ("name", "tomogram") else [float(value) for value in values]
        for name, values in columns.items()
    }


def keptEpochs(folder):
    """Return after which epochs a training kept its networks, the last excluded."""
    try:
        names = os.listdir(os.path.join(folder, "epochs"))
    except OSError:
        return []
    return sorted(int(n[6:9]) for n in names if n.startswith("model_") and n[6:9].isdigit())
