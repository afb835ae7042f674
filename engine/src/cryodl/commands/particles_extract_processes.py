"""Several tomograms of ``cryodl particles extract`` at the same time, and the time that is left."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from cryodl.commands.particles_extract_job import TomogramAccount, TomogramJob, extract_tomogram
from cryodl.core.run.children import stop_children
from cryodl.core.training.devices import available_cores
from cryodl.core.training.progress import duration
from cryodl.errors import ResourceError

if TYPE_CHECKING:
    from cryodl.core.run.folder import RunFolder

_LOG_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_counter: Any = None  # of the points dealt with, shared by all processes


class Pace:
    """Tells how far the work is and how long it will take."""

    def __init__(self, run: RunFolder, earlier: int, total: int) -> None:
        self._run, self._earlier, self._total = run, earlier, total
        self._started = self._logged = time.monotonic()
        run.progress(earlier / total, "extracting")

    def at(self, done: int) -> None:
        """Note how many points this process and its children have dealt with."""
        self._run.progress((self._earlier + done) / self._total, "extracting")
        now = time.monotonic()
        if done and now - self._logged > _LOG_SECONDS:
            self._logged = now
            left = (now - self._started) / done * (self._total - self._earlier - done)
            self._run.log(
                f"{self._earlier + done} of {self._total} points, about {duration(left)} left"
            )


def extract_tomograms(jobs: list[TomogramJob], ncpus: int, pace: Pace) -> list[TomogramAccount]:
    """Do jobs, `ncpus` at a time (0: as many as there are cores), and return their accounts.

    Raises
    ------
    CryodlError
        The first failure of a job.
    ResourceError
        A process was killed.
    """
    processes = min(ncpus or available_cores(), len(jobs))
    return _in_processes(jobs, processes, pace) if processes > 1 else _one_by_one(jobs, pace)


def _one_by_one(jobs: list[TomogramJob], pace: Pace) -> list[TomogramAccount]:
    done = 0

    def count(points: int) -> None:
        nonlocal done
        done += points
        pace.at(done)

    with threadpool_limits(limits=1):
        return [extract_tomogram(job, count) for job in jobs]


def _in_processes(jobs: list[TomogramJob], processes: int, pace: Pace) -> list[TomogramAccount]:
    """Work on several tomograms at once; each process has one thread."""
    # Not forked: a fork copies locks that threads of the matrix library may hold.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(counter,)
    ) as pool:
        futures = [pool.submit(_work, job) for job in jobs]
        try:
            _watch(futures, counter, pace)
            return [future.result() for future in futures]
        except BrokenProcessPool:
            raise ResourceError(
                f"--ncpus: one of {processes} processes was killed, most likely for memory; use "
                "fewer, or a smaller box"
            ) from None
        except KeyboardInterrupt:
            # A signal to this process alone: nobody waits for tomograms that are half done.
            stop_children()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _watch(futures: list[Future[TomogramAccount]], counter: Any, pace: Pace) -> None:
    """Wait until all is done or one has failed."""
    waiting = set(futures)
    while waiting:
        finished, waiting = wait(waiting, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        pace.at(counter.value)
        if any(future.exception() is not None for future in finished):
            for future in waiting:
                future.cancel()
            return


def _begin(counter: Any) -> None:
    """Prepare a new process."""
    global _counter
    _counter = counter
    threadpool_limits(limits=1)


def _work(job: TomogramJob) -> TomogramAccount:
    def count(points: int) -> None:
        with _counter.get_lock():
            _counter.value += points

    return extract_tomogram(job, count)
