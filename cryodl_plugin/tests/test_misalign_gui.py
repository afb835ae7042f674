"""Form, wizards and viewer of the refinement with misalignment correction on a virtual screen."""

import pytest

from cryodl_plugin.tests import test_gui
from cryodl_plugin.tests.misalign_fixtures import MisalignTest, finishedRefinement

pytestmark = pytest.mark.gui


class TestMisalignWindows(MisalignTest, test_gui.TestWindows):
    """The same windows, of this protocol."""

    def testForms(self):
        """The form at expert level, with all its parameters."""
        prot = self.store(self.refinement(expertLevel=1))
        (count,) = self.open([["form", prot.getObjId()]])
        self.assertGreater(count, 50)

    def testWizards(self):
        """The circle starts from the diameter of the form, and gives it back."""
        prot = self.store(self.refinement(particleDiameter=80.0))
        (answer,) = self.open([["wizard", prot.getObjId(), "particleDiameter"]])
        self.assertAlmostEqual(float(answer), 80, delta=8)

    def testViewers(self):
        """All figures, with their sliders and buttons."""
        prot = finishedRefinement(self)
        (titles,) = self.open([["viewer", prot.getObjId(), "CryoDLViewerMisalignRefine"]])
        self.assertEqual(len(titles), 6)
