"""How the cubes of a step are shared out among processes."""

import pytest

from cryodl.methods.spisonet.data import DataSettings


@pytest.mark.parametrize(("batch", "accumulate", "world"), [(4, 1, 1), (4, 2, 2), (8, 2, 4)])
def test_a_step_holds_each_cube_once(batch, accumulate, world):
    settings = DataSettings(batch_size=batch, accumulate=accumulate)
    found = [
        serial
        for step in range(3)
        for micro in range(accumulate)
        for rank in range(world)
        for serial in settings.serials(step, micro, rank, world)
    ]
    assert sorted(found) == list(range(3 * batch))


@pytest.mark.parametrize(("batch", "accumulate", "world"), [(4, 2, 4), (1, 1, 3), (4, 4, 8)])
def test_more_processes_than_cubes_leave_none_without_work(batch, accumulate, world):
    settings = DataSettings(batch_size=batch, accumulate=accumulate)
    found = [
        list(settings.serials(step, micro, rank, world))
        for step in range(2)
        for micro in range(accumulate)
        for rank in range(world)
    ]
    assert all(len(serials) == 1 for serials in found)
    assert len({serials[0] for serials in found}) == len(found)
