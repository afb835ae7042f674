"""What a command is: a verb, a config class and the function that does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from cryodl.core.config.parameters import BareConfig, CommandConfig


@dataclass(frozen=True)
class Command:
    """One verb of the command line.

    Attributes
    ----------
    group
        Word before the verb, for example ``spisonet``.
    verb
        For example ``fsc3d``.
    summary
        One sentence for the list of commands.
    config
        The class that declares the parameters; its docstring is the long help. A `CommandConfig`
        has an output folder, a `BareConfig` none: such a command only prints.
    target
        ``module:function`` called with ``(config, run)``, or ``(config)`` without a folder;
        imported only when the command runs, so that ``--help`` never waits for PyTorch.
    """

    group: str
    verb: str
    summary: str
    config: type[BareConfig]
    target: str

    @property
    def name(self) -> str:
        """Return the words a user types, for example ``spisonet fsc3d``."""
        return f"{self.group} {self.verb}".strip()

    @property
    def has_folder(self) -> bool:
        """Return whether the command writes to an output folder."""
        return issubclass(self.config, CommandConfig)

    def load(self) -> Callable[..., Any]:
        """Import and return the function that does the work."""
        module, _, function = self.target.partition(":")
        loaded: Callable[..., Any] = getattr(import_module(module), function)
        return loaded
