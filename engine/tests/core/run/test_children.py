"""Processes that this one has started end with it."""

import multiprocessing
import os
import subprocess
import sys
import time

from cryodl.core.run.children import stop_children

WAIT = "import sys; sys.stdin.read()"


def test_listed_and_unlisted_children_end_and_others_do_not():
    listed = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    listed.start()
    # As one whose start was interrupted: it waits for what nobody will send.
    held = {"stdin": subprocess.PIPE}
    unlisted = subprocess.Popen([sys.executable, "-c", WAIT, "spawn_main"], **held)
    foreign = subprocess.Popen([sys.executable, "-c", WAIT], **held)
    try:
        stop_children()
        listed.join(20)
        assert listed.exitcode is not None
        assert unlisted.wait(20) == -15 or os.name != "posix"
        assert foreign.poll() is None
    finally:
        for process in (unlisted, foreign):
            process.kill()
            process.communicate()
