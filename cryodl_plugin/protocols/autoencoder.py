"""What the protocols of Autoencoder3D and EDSS3D share: a finished run as input, groups as text."""

from cryodl_plugin.protocols.from_run import FromRun
from cryodl_plugin.protocols.picking import CryoDLProtPicking

TRAIN_COMMAND = "autoencoder3d train"
CLUSTER_COMMAND = "autoencoder3d cluster"
SELECT_COMMAND = "autoencoder3d select"
SEGMENT_TRAIN_COMMAND = "autoencoder3d segment-train"
SEGMENT_COMMAND = "autoencoder3d segment"
METHOD = "autoencoder3d"


class CryoDLProtAE3D(FromRun, CryoDLProtPicking):
    """Base of the protocols that go on from a run of another one."""

    def convertInputStep(self, fingerprint):
        """Nothing: the other run has its files."""

    def _validate(self):
        return super(CryoDLProtPicking, self)._validate() + self._runErrors()

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
