"""Mean and deviation of tomograms, whatever lies in them."""

import numpy as np
import pytest

from cryodl.core.volumes.tomogram_statistics import tomogram_statistics
from cryodl.errors import InputError


def ice(shape=(40, 60, 70)):
    return (np.random.default_rng(0).normal(size=shape) * 3 + 1000).astype(np.float32)


def test_plain_moments_are_those_of_numpy():
    values = ice()
    found = tomogram_statistics(values, robust=False)
    assert found.n_voxels == values.size
    assert found.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-9)
    assert found.deviation == pytest.approx(values.std(dtype=np.float64), rel=1e-6)


def test_gold_beads_do_not_count():
    values = ice()
    values[10:16, 20:26, 30:36] = 500
    values[20:26, 40:46, 10:16] = 400
    plain = tomogram_statistics(values, robust=False)
    robust = tomogram_statistics(values)
    assert plain.deviation > 20
    assert robust.mean == pytest.approx(1000, abs=0.05)
    assert robust.deviation == pytest.approx(3, rel=0.01)


def test_sampled_rows_tell_the_same_and_are_few():
    values = ice((64, 128, 128))
    found = tomogram_statistics(values, robust=False, most_voxels=values.size // 20)
    assert values.size / 40 < found.n_voxels < values.size / 19
    assert found.mean == pytest.approx(1000, abs=0.1)
    assert found.deviation == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize("shape", [(1, 1, 400), (400, 1, 2), (2, 300, 1)])
def test_odd_shapes_leave_something_to_read(shape):
    assert tomogram_statistics(ice(shape), most_voxels=10).n_voxels > 1


def test_integers_transposed_and_not_finite():
    values = ice().astype(np.int16)
    expected = tomogram_statistics(values)
    assert tomogram_statistics(values.transpose(2, 0, 1)) == pytest.approx(expected) or (
        tomogram_statistics(values.transpose(2, 0, 1)).deviation
        == pytest.approx(expected.deviation)
    )
    broken = values.astype(np.float32)
    broken[0, 0, :5] = np.nan, np.inf, -np.inf, np.nan, np.nan
    found = tomogram_statistics(broken, robust=False)
    assert found.n_voxels == broken.size - 5
    assert np.isfinite([found.mean, found.deviation]).all()


def test_mostly_empty_tomogram_keeps_what_varies():
    values = np.zeros((40, 60, 70), dtype=np.float32)
    values[20, 10:20] = ice((10, 70))
    found = tomogram_statistics(values)
    assert found.n_voxels == values.size and found.deviation > 0


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_blank_tomogram_is_refused(value):
    with pytest.raises(InputError, match="blank"):
        tomogram_statistics(np.full((8, 8, 8), value, dtype=np.float32))
