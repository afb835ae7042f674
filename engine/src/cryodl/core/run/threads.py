"""How many CPU threads a computation may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from cryodl.core.training.devices import thread_count

_VARIABLE = "OMP_NUM_THREADS"


@contextmanager
def thread_limit(ncpus: int) -> Iterator[int]:
    """Bind computations to `ncpus` threads (0: all there are) and yield the number.

    Matrix libraries read their own variables at start; only threadpoolctl reaches them later. The
    training loop and the processes it starts go by ``OMP_NUM_THREADS`` (see `thread_count`), so
    that is set for as long as the context lasts.
    """
    before = os.environ.get(_VARIABLE)
    if ncpus:
        os.environ[_VARIABLE] = str(ncpus)
    threads = thread_count()
    try:
        with threadpool_limits(limits=threads):
            yield threads
    finally:
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before
