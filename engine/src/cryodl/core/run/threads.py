"""How many CPU threads a computation may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from cryodl.core.training.devices import thread_count


@contextmanager
def thread_limit(ncpus: int) -> Iterator[int]:
    """Bind matrix products to `ncpus` threads (0: all there are) and yield the number.

    Matrix libraries read their own variables at start; only threadpoolctl reaches them later.
    """
    threads = ncpus or thread_count()
    with threadpool_limits(limits=threads):
        yield threads
