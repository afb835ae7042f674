"""The number of threads that is asked for is the number that is used."""

from threadpoolctl import threadpool_info

from cryodl.core.run.threads import thread_limit


def test_limit_binds_matrix_libraries() -> None:
    import numpy as np

    np.ones((4, 4)) @ np.ones((4, 4))
    with thread_limit(1) as threads:
        assert threads == 1
        assert all(pool["num_threads"] == 1 for pool in threadpool_info())


def test_zero_takes_what_the_environment_allows(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with thread_limit(0) as threads:
        assert threads == 2
