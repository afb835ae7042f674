"""Windows of the refinement with misalignment correction: its command, the particle's diameter."""

import pwem.constants as emcts
from pwem.objects import Volume
from pwem.wizards.wizard import EmWizard, VolumeMaskRadiusWizard
from pyworkflow.gui import dialog
from pyworkflow.gui.tree import ListTreeProvider

from cryodl_plugin import convert
from cryodl_plugin.protocols import CryoDLProtMisalignRefine

_COLUMNS, _MOST_LINES = 96, 46


class CommandDialog(dialog.Dialog):
    """A text to read, select and copy."""

    def __init__(self, parent, text):
        self.text = text
        super().__init__(
            parent, "Command", buttons=[("Close", dialog.RESULT_CLOSE)], default="Close"
        )

    def body(self, bodyFrame):
        """Fill the window."""
        import tkinter as tk

        lines = self.text.count("\n") + 1
        box = tk.Text(
            bodyFrame,
            width=_COLUMNS,
            height=min(lines, _MOST_LINES) + 1,
            font="TkFixedFont",
            background="white",
            padx=10,
            pady=8,
        )
        box.insert("1.0", self.text)
        box.configure(state=tk.DISABLED)
        bar = tk.Scrollbar(bodyFrame, command=box.yview)
        box.configure(yscrollcommand=bar.set)
        bar.pack(side=tk.RIGHT, fill=tk.Y)
        box.pack(side=tk.LEFT, fill=tk.BOTH, expand=True)
        tk.Button(bodyFrame, text="Copy", command=self._copy).place(
            relx=1.0, rely=1.0, x=-28, y=-10, anchor="se"
        )

    def _copy(self):
        self.clipboard_clear()
        self.clipboard_append(self.text)


class CryoDLCommandWizard(EmWizard):
    """Shows the whole command that the form stands for."""

    _targets = [(CryoDLProtMisalignRefine, ["showCommand"])]

    def show(self, form, *params):
        """Open the window."""
        protocol = form.protocol
        if protocol.inputParticles.get() is None or protocol.inputReference.get() is None:
            dialog.showWarning(
                "Empty input", "Select the particles and the reference first.", form.root
            )
            return
        CommandDialog(form.root, protocol.commandText())


class CryoDLParticleDiameterWizard(VolumeMaskRadiusWizard):
    """Chooses the particle diameter as a circle on the reference."""

    _targets = [(CryoDLProtMisalignRefine, ["particleDiameter"])]

    def _getProvider(self, protocol):
        reference = protocol.inputReference.get()
        if reference is None or convert.mapDimensions(reference.getFileName()) is None:
            return None
        volume = Volume(objLabel="reference")
        volume.setFileName(reference.getFileName())
        volume.setSamplingRate(reference.getSamplingRate())
        return ListTreeProvider([volume])

    def show(self, form, *params):
        """Open the window and put the diameter, in Å, into the form."""
        protocol = form.protocol
        radius = -1
        if protocol.inputParticles.get() is not None:
            radius = protocol.diameter() / 2
        super().show(form, radius, "particleDiameter", emcts.UNIT_ANGSTROM)

    def setVar(self, form, label, value):
        """Set the diameter from the radius that the window gives."""
        form.setVar(label, 2 * value)
