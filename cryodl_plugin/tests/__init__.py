"""Tests of the plugin: ``python -m pytest cryodl_plugin/tests`` or ``scipion tests``."""
