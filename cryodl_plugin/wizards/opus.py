"""Wizards of OPUS-TOMO: clusters with their sizes, and epochs whose networks were kept."""

from pwem.wizards.wizard import EmWizard
from pyworkflow.gui import dialog

from cryodl_plugin.protocols import CryoDLProtOpusAnalyze, CryoDLProtOpusSelect
from cryodl_plugin.protocols.opus import keptEpochs
from cryodl_plugin.wizards.tomography import chooseFrom


class CryoDLClusterWizard(EmWizard):
    """Lists the clusters of an analysis with how many particles each has."""

    _targets = [(CryoDLProtOpusSelect, ["clusters"])]

    def show(self, form, *params):
        """Open the list and put the numbers into the form, with commas between."""
        source = form.protocol.sourceRun()
        sizes = source.clusterSizes() if source is not None else []
        if not sizes:
            dialog.showWarning("No clusters", "Select a finished analysis first.", form.root)
            return
        choices = [f"{i}: {size} particles" for i, size in enumerate(sizes, start=1)]
        words = "Select clusters; hold Ctrl or Shift for more than one."
        chosen = chooseFrom(form, "Clusters", words, choices, several=True)
        if chosen:
            form.setVar("clusters", ",".join(text.split(":")[0] for text in chosen))


class CryoDLEpochWizard(EmWizard):
    """Lists the epochs whose networks a training has kept."""

    _targets = [(CryoDLProtOpusAnalyze, ["epoch"])]

    def show(self, form, *params):
        """Open the list and put the epoch into the form."""
        source = form.protocol.sourceRun()
        if source is None or not source.readResult():
            dialog.showWarning("No training", "Select a finished training first.", form.root)
            return
        epochs = [*keptEpochs(source.engineFolder()), source.model.getEpoch()]
        words = "Networks after which epoch?"
        chosen = chooseFrom(form, "Epochs", words, [str(epoch) for epoch in epochs])
        if chosen:
            form.setVar("epoch", int(chosen[0]))
