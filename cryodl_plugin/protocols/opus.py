"""What the protocols of OPUS-TOMO share: a finished run as input, and its folder."""

import csv
import os

from pyworkflow.protocol import params

from cryodl_plugin.protocols.tomography import CryoDLProtTomography

TRAIN_COMMAND = "opus-tomo train"
ANALYZE_COMMAND = "opus-tomo analyze"
VOLUMES_COMMAND = "opus-tomo volumes"
SELECT_COMMAND = "opus-tomo select"


class CryoDLProtOpus(CryoDLProtTomography):
    """Base of the protocols that go on from a run of another one."""

    _runParam = ""
    """Name of the parameter that points to it."""

    def _addRun(self, form, name, label, words):
        form.addParam(
            self._runParam,
            params.PointerParam,
            pointerClass=name,
            important=True,
            label=label,
            help=words,
        )

    def sourceRun(self):
        """Return the run to go on from, or None."""
        pointer = getattr(self, self._runParam)
        return pointer.get()

    def _inputParameters(self):
        source = self.sourceRun()
        return {} if source is None else {"run": source.engineFolder()}

    def _ownSettings(self):
        """Tell runs apart that were made anew under one name."""
        source = self.sourceRun()
        return {"source": None if source is None else source._fingerprint()}

    def _validate(self):
        errors = super()._validate()
        source = self.sourceRun()
        if source is not None and not source.readResult():
            errors.append(
                f"*{self.getParam(self._runParam).getLabel()}*: {source.getRunName()} has no "
                "result yet, expected a finished run."
            )
        return errors

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
