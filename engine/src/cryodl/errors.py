"""What can go wrong, and the exit status each kind of failure ends a command with.

Every message is one line that names the file or parameter, what was found, what was expected
and what to do about it, so that a person who reads only that line can go on.
"""

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_BAD_INPUT = 2
EXIT_RESOURCE = 3
EXIT_NUMERICAL = 4
# As shells count: 128 and the number of the signal.
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141


class Stopped(KeyboardInterrupt):
    """Told to end by a signal, as a queue does when the time is up.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


class CryodlError(Exception):
    """Base of every failure that is not a bug of ours."""

    exit_status = EXIT_BUG


class InputError(CryodlError):
    """A file or a column of it is not what the command needs."""

    exit_status = EXIT_BAD_INPUT


class ConfigError(CryodlError):
    """A parameter is missing, unknown or out of range."""

    exit_status = EXIT_BAD_INPUT


class CheckpointError(InputError):
    """A model or training state cannot be read, or belongs to other settings."""


class ResourceError(CryodlError):
    """The machine cannot do it: device, memory or disk."""

    exit_status = EXIT_RESOURCE


class DeviceError(ResourceError):
    """A device that was asked for is absent or unusable."""


class TrainingError(CryodlError):
    """A computation went numerically wrong, for example a loss that is not finite."""

    exit_status = EXIT_NUMERICAL
