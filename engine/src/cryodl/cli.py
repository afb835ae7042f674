"""The ``cryodl`` command: finds the method, checks the parameters, runs it, reports in one line."""

from __future__ import annotations

import errno
import inspect
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cryodl import __version__
from cryodl.errors import (
    EXIT_BAD_INPUT,
    EXIT_BUG,
    EXIT_CLOSED_PIPE,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_RESOURCE,
    CryodlError,
    Stopped,
)

if TYPE_CHECKING:
    import typer

    from cryodl.core.config.parameters import BareConfig
    from cryodl.core.config.registry import Command

# Word -> (module with COMMANDS, one sentence). Modules are imported only when their word is used.
GROUPS: dict[str, tuple[str, str]] = {
    "spisonet": (
        "cryodl.methods.spisonet.cli",
        "Directional resolution (3DFSC) and anisotropy correction of half maps.",
    ),
    "cet-pick": (
        "cryodl.methods.cet_pick.cli",
        "Particle picking in tomograms from a few labelled particles.",
    ),
    "opus-tomo": (
        "cryodl.methods.opus_tomo.cli",
        "States and motions among aligned subtomograms.",
    ),
    "autoencoder3d": (
        "cryodl.methods.autoencoder3d.cli",
        "Group the subvolumes of tomograms without labels, and segment by chosen groups.",
    ),
    "selfalign": (
        "cryodl.methods.selfalign.cli",
        "Subtomogram alignment and averaging, with networks and with an exhaustive search.",
    ),
    "simulate": ("cryodl.commands.simulate", "Test data with known truth."),
    "particles": (
        "cryodl.commands.particles",
        "Particle files: look at them, turn one dialect into another, extract subtomograms.",
    ),
}
SINGLES: dict[str, tuple[str, str]] = {
    "doctor": (
        "cryodl.commands.doctor",
        "What is installed, what is missing, and the command that mends it.",
    ),
    "demo": ("cryodl.commands.demo", "Simulated tomograms to a map, compared with the truth."),
    "bench": ("cryodl.commands.bench", "Time the core operations on this machine."),
}

# What a disk may answer at any moment; everything foreseen has been turned into our own errors.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def commands_of(word: str) -> list[Command]:
    """Return the commands under a word of the command line; imports only their module."""
    module, _ = {**GROUPS, **SINGLES}[word]
    found: list[Command] = import_module(module).COMMANDS
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status (see `cryodl.errors`)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        with _signals_stop():
            return run_command(arguments)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CLOSED_PIPE
    except BaseException as error:  # one line for people, whatever happened
        status, line = _explain(error)
        if debug and status != EXIT_DONE:
            traceback.print_exception(error)
        if line:
            sys.stderr.write(f"error: {' '.join(line.split())}\n")
        return status


@contextmanager
def _signals_stop() -> Iterator[None]:
    """Let the signals of queues and lost terminals end a run as Ctrl-C does: with a last word."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one of them
                before[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for numbered, handler in before.items():
            signal.signal(numbered, handler)


def _stop(number: int, frame: object) -> None:
    raise Stopped(number)


def run_command(arguments: list[str]) -> int:
    """Run one command line; failures are raised, not printed."""
    if arguments[:1] == ["--version"]:
        sys.stdout.write(f"cryodl {__version__}\n")
        return EXIT_DONE
    if arguments[:1] == ["schema"] and "--help" not in arguments:
        return _schema(arguments[1:])
    word = arguments[0] if arguments else "--help"
    chosen: list[tuple[Command, BareConfig]] = []
    application = _application(word, chosen)
    if word in GROUPS or word in SINGLES:
        arguments = _normalise(arguments)
    # typer only reads the words. The work is done outside it, for it takes some exceptions (the
    # end of a truncated file, an interrupt) for its own.
    status = application(args=arguments or ["--help"], prog_name="cryodl", standalone_mode=False)
    for command, config in chosen:
        execute(command, config)
    sys.stdout.flush()
    return status or EXIT_DONE


def _normalise(arguments: list[str]) -> list[str]:
    from cryodl.core.config.command_line import normalise_arguments

    depth = 2 if arguments[0] in GROUPS else 1
    for command in commands_of(arguments[0]):
        if depth == 1 or arguments[1:2] == [command.verb]:
            return arguments[:depth] + normalise_arguments(arguments[depth:], command)
    return arguments


def _application(word: str, chosen: list[tuple[Command, BareConfig]]) -> typer.Typer:
    """Build the typer application; only the group in use gets its real commands.

    A command that is called with good values is noted in `chosen`.
    """
    import typer

    application = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Deep learning for cryo-EM and cryo-ET. `cryodl METHOD VERB --help` explains a "
        "command; `cryodl METHOD VERB --config FILE.json` runs one from a file.",
    )
    for name, (_, sentence) in GROUPS.items():
        group = typer.Typer(help=sentence, no_args_is_help=True)
        if name == word:
            for command in commands_of(name):
                _add(group, command, chosen)
        else:
            group.callback()(lambda: None)
        application.add_typer(group, name=name)
    for name, (_, sentence) in SINGLES.items():
        if name == word:
            _add(application, commands_of(name)[0], chosen)
        else:
            application.command(name, help=sentence)(lambda: None)
    application.command("schema", help="Print the parameters of METHOD VERB as JSON.")(lambda: None)
    return application


def _add(
    application: typer.Typer, command: Command, chosen: list[tuple[Command, BareConfig]]
) -> None:
    from cryodl.core.config.command_line import build_function

    name = command.verb or command.group
    function = build_function(command, lambda *call: chosen.append(call))
    # A line break inside a paragraph would be kept by the help page.
    written = inspect.cleandoc(command.config.__doc__ or "").split("\n\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in written]
    text = "\n\n".join(dict.fromkeys([command.summary, *paragraphs]))
    application.command(name, help=text, short_help=command.summary)(function)


def execute(command: Command, config: BareConfig) -> None:
    """Run a command in its output folder; a finished run that is resumed is left as it is."""
    from cryodl.core.config.parameters import CommandConfig

    if not isinstance(config, CommandConfig):
        command.load()(config)
        return
    from cryodl.core.training.launch import process_rank

    if process_rank(config.launcher) > 0:
        from cryodl.core.run.follower import FollowerRun

        command.load()(config, FollowerRun(command.name, config))
        return
    from cryodl.core.run.folder import RunFolder

    with RunFolder(command, config) as run:
        if run.finished_before:
            run.log(f"{run.folder}: this run is finished; nothing to do")
            return
        try:
            command.load()(config, run)
            run.finish()
        except BaseException as error:
            _note_failure(run.folder, error)
            raise
        run.log(f"done; report: {run.path('report.html')}")


def _note_failure(folder: Any, error: BaseException) -> None:
    """Keep the traceback in the log; a full disk must not hide the failure itself."""
    try:
        with (folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)))
    except OSError:
        pass


def _schema(words: list[str]) -> int:
    from cryodl.core.config.schema import describe
    from cryodl.errors import ConfigError

    known = {**GROUPS, **SINGLES}
    if not words or words[0] not in known:
        raise ConfigError(
            f"schema: found {words[:1] or 'nothing'}, expected one of {', '.join(known)}"
        )
    commands = {command.verb: command for command in commands_of(words[0])}
    verb = words[1] if len(words) > 1 else ""
    if verb not in commands:
        raise ConfigError(f"schema: found {verb!r}, expected one of {', '.join(commands)}")
    sys.stdout.write(json.dumps(describe(commands[verb]), indent=1) + "\n")
    sys.stdout.flush()
    return EXIT_DONE


def _explain(error: BaseException) -> tuple[int, str]:
    """Return exit status and the one line for a failure."""
    if isinstance(error, CryodlError):
        return error.exit_status, str(error)
    if hasattr(error, "format_message"):  # a fault in the words of the command line
        return EXIT_BAD_INPUT, f"{error.format_message()} See cryodl --help."
    if isinstance(error, SystemExit):
        return int(error.code or 0) if not isinstance(error.code, str) else EXIT_BUG, ""
    if type(error).__name__ in ("Exit", "NoArgsIsHelpError"):
        return int(getattr(error, "exit_code", EXIT_DONE)), ""
    if isinstance(error, Stopped):
        name = signal.Signals(error.exit_status - 128).name
        return error.exit_status, f"stopped by {name}; the same command with --resume goes on"
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, "interrupted; the same command with --resume goes on"
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)  # torch says so on the CPU
    ):
        return EXIT_RESOURCE, (
            "memory: found too little for this box or batch, expected more; use a smaller "
            "--batch-size or another machine"
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        return EXIT_RESOURCE, (
            f"{error.filename or 'disk'}: cannot be used ({error.strerror}), expected permission "
            "and free space; mend that or choose another --output"
        )
    return EXIT_BUG, f"{type(error).__name__}: {error} (a bug; run again with --debug and report)"
