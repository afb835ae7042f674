"""A finished run of another protocol as input."""

from pyworkflow.protocol import params


class FromRun:
    """What protocols share that go on from a run; put before the base of a protocol."""

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

    def _inputParameters(self):
        source = self.sourceRun()
        return {} if source is None else {"run": source.engineFolder()}

    def _ownSettings(self):
        """Tell runs apart that were made anew under one name."""
        source = self.sourceRun()
        return {"source": None if source is None else source._fingerprint()}

    def _runErrors(self):
        """Return what is wrong with the run."""
        source = self.sourceRun()
        if source is None or source.readResult():
            return []
        label = self.getParam(self._runParam).getLabel()
        return [f"*{label}*: {source.getRunName()} has no result yet, expected a finished run."]
