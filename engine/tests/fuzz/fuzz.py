"""Look for inputs that break the readers, guided by which lines of them are reached.

    pip install atheris
    python engine/tests/fuzz/fuzz.py 600

runs ten minutes, begins with the files in ``corpus`` and adds there those that reach new lines.
An input that breaks a reader is written as ``crash-...`` to the working folder.
"""

import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
LONGEST_INPUT = 4096

with atheris.instrument_imports(include=["cryodl"]):
    sys.path.insert(0, str(HERE))
    import particle_readers


def main() -> None:
    """Fuzz for as many seconds as the command line says."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "600"
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    particle_readers.prepare(folder)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_INPUT}",
        "-timeout=20",
        "-rss_limit_mb=4000",
        f"-dict={HERE / 'words.dict'}",
        *sys.argv[2:],
    ]
    corpus = str(HERE / "corpus")
    atheris.Setup(
        [sys.argv[0], *options, corpus], lambda data: particle_readers.run_one(data, folder)
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
