"""What the protocols of Autoencoder3D and EDSS3D share: a finished run as input, groups as text."""

from pyworkflow.protocol import params

from cryodl_plugin.protocols.picking import CryoDLProtPicking

TRAIN_COMMAND = "autoencoder3d train"
CLUSTER_COMMAND = "autoencoder3d cluster"
SELECT_COMMAND = "autoencoder3d select"
SEGMENT_TRAIN_COMMAND = "autoencoder3d segment-train"
SEGMENT_COMMAND = "autoencoder3d segment"
METHOD = "autoencoder3d"


class CryoDLProtAE3D(CryoDLProtPicking):
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
        return getattr(self, self._runParam).get()

    def convertInputStep(self, fingerprint):
        """Nothing: the other run has its files."""

    def _inputParameters(self):
        source = self.sourceRun()
        return {} if source is None else {"run": source.engineFolder()}

    def _ownSettings(self):
        """Tell runs apart that were made anew under one name."""
        source = self.sourceRun()
        return {"source": None if source is None else source._fingerprint()}

    def _validate(self):
        errors = super(CryoDLProtPicking, self)._validate()
        source = self.sourceRun()
        if source is not None and not source.readResult():
            errors.append(
                f"*{self.getParam(self._runParam).getLabel()}*: {source.getRunName()} has no "
                "result yet, expected a finished run."
            )
        return errors

    def _citations(self):
        return ["Zeng2018"]


def readGroups(text):
    """Return the groups of each class, counted from 1, of a text such as ``1 3; 2``.

    Raises
    ------
    ValueError
        No numbers, or a group in two classes; with words for the user.
    """
    classes = [part.replace(",", " ").split() for part in (text or "").split(";") if part.strip()]
    found = []
    for words in classes:
        if not all(word.isdigit() and int(word) > 0 for word in words):
            raise ValueError(f"found '{' '.join(words)}', expected numbers of groups such as 1 3")
        found.append([int(word) for word in words])
    every = [group for groups in found for group in groups]
    if not every:
        raise ValueError("found none, expected numbers of groups such as 1 3; 2")
    twice = sorted({group for group in every if every.count(group) > 1})
    if twice:
        raise ValueError(f"found group {twice[0]} twice, expected each in one class")
    return found
