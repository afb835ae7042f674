"""Forms from schemas: names, labels, types, limits, hashes."""

import os
import tempfile
from unittest import mock

from pyworkflow.protocol import params
from pyworkflow.protocol.constants import LEVEL_ADVANCED, LEVEL_NORMAL

from cryodl_plugin import forms
from cryodl_plugin.protocols import CryoDLProtAnisoCorrect
from cryodl_plugin.tests.fixtures import PlainTest


def parameter(**traits):
    """Return a schema parameter."""
    plain = {
        "name": "some_value",
        "flag": "--some-value",
        "type": "number",
        "choices": None,
        "optional": False,
        "list": False,
        "default": 1.5,
        "required": False,
        "limits": {},
        "help": "What it does.",
        "unit": None,
        "group": "Training",
        "expert": False,
        "original": "--some_value",
        "positional": False,
        "changeable": False,
    }
    return {**plain, **traits}


def added(**traits):
    """Return name, class and arguments that addParameter gives to a form."""
    form = mock.Mock()
    forms.addParameter(form, parameter(**traits))
    (name, paramClass), arguments = form.addParam.call_args
    return name, paramClass, arguments


class TestAddParameter(PlainTest):
    """One schema parameter becomes one form parameter."""

    def testNameLabelHelp(self):
        """camelCase, plain words with the unit, both command-line names in the help."""
        name, paramClass, arguments = added(name="limit_res", unit="angstrom")
        self.assertEqual(name, "limitRes")
        self.assertIs(paramClass, params.FloatParam)
        self.assertEqual(arguments["label"], "Limit resolution (Å)")
        for part in ("What it does.", "--some-value", "--some_value"):
            self.assertIn(part, arguments["help"])

    def testTypes(self):
        """Each schema type has its form class."""
        for kind, expected in (
            ("integer", params.IntParam),
            ("number", params.FloatParam),
            ("boolean", params.BooleanParam),
            ("path", params.FileParam),
            ("text", params.StringParam),
        ):
            self.assertIs(added(type=kind)[1], expected)

    def testChoices(self):
        """Choices keep their order; the default is an index; many are a combo box."""
        _, paramClass, arguments = added(type="text", choices=["a", "b", "c"], default="b")
        self.assertIs(paramClass, params.EnumParam)
        self.assertEqual(arguments["choices"], ["a", "b", "c"])
        self.assertEqual(arguments["default"], 1)
        self.assertEqual(arguments["display"], params.EnumParam.DISPLAY_HLIST)
        many = added(type="text", choices=list("abcd"), default="a")[2]
        self.assertEqual(many["display"], params.EnumParam.DISPLAY_COMBO)

    def testExpertAndOptional(self):
        """Expert goes to the advanced level; an optional number may stay empty."""
        self.assertEqual(added(expert=True)[2]["expertLevel"], LEVEL_ADVANCED)
        arguments = added(optional=True, default=None)[2]
        self.assertEqual(arguments["expertLevel"], LEVEL_NORMAL)
        self.assertTrue(arguments["allowsNull"])
        self.assertIsNone(arguments["default"])

    def testLimits(self):
        """A validator says in words what the limits are, and lets an optional value be empty."""
        validator = forms.Limits({"ge": 16, "multiple_of": 8})
        self.assertEqual(validator(24), [])
        self.assertEqual(validator(20), ["should be at least 16 and a multiple of 8"])
        self.assertTrue(validator(8))
        self.assertTrue(validator(None))
        self.assertTrue(validator("many"))
        self.assertEqual(forms.Limits({"gt": 0}, optional=True)(None), [])
        self.assertTrue(forms.Limits({"gt": 0})(0))
        self.assertTrue(forms.Limits({"le": 90})(91))
        self.assertTrue(forms.Limits({"lt": 1})(1))

    def testLists(self):
        """A list is one line of words; each word has the engine's type; empty is an empty list."""
        found = added(name="some", type="text", list=True, default=["a", "b c"])
        self.assertIs(found[1], params.StringParam)
        self.assertEqual(found[2]["default"], "a 'b c'")
        schema = {
            "parameters": [
                parameter(name="words", type="text", list=True, default=["a"]),
                parameter(name="shares", type="number", list=True, default=[]),
            ]
        }
        protocol = mock.Mock()
        given = {"words": "x 'y z'", "shares": "1 2.5"}
        protocol.getAttributeValue = given.get
        with mock.patch.object(forms, "loadSchema", return_value=schema):
            values = forms.engineValues(protocol, "any")
            self.assertEqual(values, {"words": ["x", "y z"], "shares": [1.0, 2.5]})
            given["shares"] = ""
            self.assertEqual(forms.engineValues(protocol, "any")["shares"], [])

    def testListsOfFilesInTheFingerprint(self):
        """Files of a list count with their size and time, unless the protocol makes them."""
        schema = {"parameters": [parameter(name="files", type="path", list=True)]}
        patched = mock.patch.object(forms, "loadSchema", return_value=schema)
        with patched, tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "a.mrc")
            values = {"files": [path]}
            before = forms.fingerprint("any", values)
            own = forms.fingerprint("any", values, ownFolder=folder)
            with open(path, "w", encoding="utf-8") as file:
                file.write("more")
            self.assertNotEqual(before, forms.fingerprint("any", values))
            self.assertEqual(own, forms.fingerprint("any", values, ownFolder=folder))


class TestValues(PlainTest):
    """A filled-in form goes back to engine parameters."""

    def testTypesComeBack(self):
        """Choices by name, numbers as numbers, empty ones left out."""
        prot = CryoDLProtAnisoCorrect()
        prot.width.set(2)
        prot.epochs.set(7)
        prot.alpha.set(2)
        prot.independent.set(True)
        values = forms.engineValues(prot, prot._command, skip=prot.fedNames())
        self.assertEqual(values["width"], "16")
        self.assertEqual(values["epochs"], 7)
        self.assertIs(type(values["alpha"]), float)
        self.assertIs(values["independent"], True)
        self.assertNotIn("limit_res", values)
        prot.limitRes.set(3.5)
        values = forms.engineValues(prot, prot._command, skip=prot.fedNames())
        self.assertEqual(values["limit_res"], 3.5)
        self.assertNotIn("half1", values)

    def testFormRefusesWhatTheEngineRefuses(self):
        """The limits of the schema reach the form's validation."""
        prot = CryoDLProtAnisoCorrect()
        for name, value in (("cubeSize", 17), ("epochs", -1), ("limitRes", -2.0), ("beta", -0.1)):
            param = prot.getParam(name)
            self.assertEqual(param.validate(param.paramClass(param.default.get()).get()), [])
            self.assertTrue(param.validate(value), name)


class TestFingerprint(PlainTest):
    """What decides the result changes the hash; what does not, does not."""

    command = "spisonet correct"

    def testSettings(self):
        """Epochs count, threads do not; the protocol's own settings count."""
        one = forms.fingerprint(self.command, {"epochs": 3, "ncpus": 1})
        self.assertEqual(one, forms.fingerprint(self.command, {"epochs": 3, "ncpus": 8}))
        self.assertNotEqual(one, forms.fingerprint(self.command, {"epochs": 4, "ncpus": 1}))
        radius = forms.fingerprint(self.command, {"epochs": 3}, settings={"maskRadius": 7})
        self.assertNotEqual(one, radius)

    def testFiles(self):
        """A changed input of the same name counts; a file the protocol makes itself does not."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "half1.mrc")

            def write(text):
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                os.utime(path, (1000, 1000))

            write("one")
            values = {"half1": path}
            given = forms.fingerprint(self.command, values)
            own = forms.fingerprint(self.command, values, ownFolder=folder)
            write("other")
            self.assertNotEqual(given, forms.fingerprint(self.command, values))
            self.assertEqual(own, forms.fingerprint(self.command, values, ownFolder=folder))
            os.remove(path)
            self.assertEqual(own, forms.fingerprint(self.command, values, ownFolder=folder))
