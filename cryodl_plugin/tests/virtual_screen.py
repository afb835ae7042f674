"""A screen in memory for tests that open windows."""

import os
import subprocess
import time

_START_SECONDS = 10


class VirtualScreen:
    """Xvfb on a display number of its own choice, so that test processes do not meet."""

    def __init__(self, size="1400x1000x24"):
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writer), "-screen", "0", size, "-nolisten", "tcp"],
            pass_fds=[writer],
            stderr=subprocess.DEVNULL,
        )
        os.close(writer)
        os.set_blocking(reader, False)
        self.display = self._readDisplay(reader)
        os.close(reader)

    def _readDisplay(self, reader):
        until = time.monotonic() + _START_SECONDS
        text = b""
        while time.monotonic() < until and not text.endswith(b"\n"):
            try:
                text += os.read(reader, 16)
            except BlockingIOError:
                time.sleep(0.05)
        if not text.strip():
            self.process.kill()
            raise RuntimeError("Xvfb did not start")
        return f":{text.decode().strip()}"

    def environment(self):
        """Return the variables of a program that is to be seen on this screen."""
        return {**os.environ, "DISPLAY": self.display}

    def stop(self):
        """End it."""
        self.process.terminate()
        self.process.wait()
