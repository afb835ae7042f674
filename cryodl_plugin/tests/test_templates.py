"""The workflow templates name classes, parameters and outputs that exist."""

import json
import os

from pyworkflow import Config

from cryodl_plugin.tests.fixtures import PlainTest

NOT_PARAMETERS = {"runName", "runMode", "hostName", "numberOfThreads", "numberOfMpi"}


class TestTemplates(PlainTest):
    """Renaming a parameter or an output breaks these."""

    @classmethod
    def setUpClass(cls):
        """Load the templates as Scipion does."""
        domain = Config.getDomain()
        cls.plugin = domain.getPlugins()["cryodl_plugin"]._pluginInstance
        cls.classes = domain.getProtocols()

    def parsed(self):
        """Return the templates, each with its protocols by id."""
        for template in self.plugin.getTemplates():
            template.replaceEnvVariables()
            template.parseContent()
            for field in template.params.values():
                self.assertIsNone(field.validate(), field.getTitle())
                self.assertTrue(field.getAlias(), field.getTitle())
            path = template.createTemplateFile()
            self.addCleanup(os.remove, path)
            with open(path, encoding="utf-8") as file:
                protocols = json.load(file)
            yield template, {entry["object.id"]: entry for entry in protocols}

    def testThereIsOne(self):
        """The template of this plugin is found, with a description."""
        names = {template.name: template.description for template, _ in self.parsed()}
        self.assertIn("half_maps_to_isotropic_map", names)
        self.assertGreater(len(names["half_maps_to_isotropic_map"]), 100)

    def testAliasesAreUnique(self):
        """Two fields with one alias would be set together."""
        for template, _ in self.parsed():
            aliases = [field.getAlias() for field in template.params.values()]
            self.assertEqual(len(aliases), len(set(aliases)))

    def testContents(self):
        """Classes, parameters, pointers, and values that the form accepts."""
        for template, protocols in self.parsed():
            for entry in protocols.values():
                self.checkProtocol(template.name, entry, protocols)

    def checkProtocol(self, name, entry, protocols):
        """Check one protocol of a template."""
        cls = self.classes[entry["object.className"]]
        attributes = dict(cls().iterDefinitionAttributes())
        prot = cls()
        for key, value in entry.items():
            if key.startswith(("object.", "_")) or key in NOT_PARAMETERS:
                continue
            self.assertIn(key, attributes, name)
            if attributes[key].isPointer() and value:
                source, _, output = value.partition(".")
                self.assertIn(source, protocols, f"{name}: {key}")
                made = self.classes[protocols[source]["object.className"]]._possibleOutputs
                if output:  # without one it is the run itself; more points to an item of a set
                    self.assertIn(output.split(".")[0], made, f"{name}: {key}")
            elif value is not None:
                attributes[key].set(value)
                self.assertEqual(prot.getParam(key).validate(attributes[key].get()), [], key)
