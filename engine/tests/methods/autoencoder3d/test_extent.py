"""How much of the boxes particles fill."""

import numpy as np
import pytest
from subvolume_cases import shape, turned

from cryodl.core.geometry.rotations import random_rotations
from cryodl.methods.autoencoder3d.averages import working_boxes
from cryodl.methods.autoencoder3d.data import standardised
from cryodl.methods.autoencoder3d.extent import particle_edge_px


def boxes_of(n, noise, seed, neighbours=False):
    """Return particles of some 14 voxels in wide boxes."""
    rng = np.random.default_rng(seed)
    found = []
    for rotation in random_rotations(40, rng):
        box = rng.normal(0, noise, (n,) * 3)
        part = slice(n // 2 - 8, n // 2 + 8)
        box[part, part, part] += turned(shape(1), rotation, rng.uniform(-1, 1, 3))
        if neighbours:
            box[:5] += 3 * rng.random()
        found.append(standardised(box.astype(np.float32)))
    return np.stack(found)


@pytest.mark.parametrize("neighbours", [False, True])
@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_particles_are_found_in_wide_boxes(noise, neighbours):
    edge = particle_edge_px(boxes_of(32, noise, 1, neighbours))
    assert 16 <= edge <= 24
    assert 14 <= particle_edge_px(boxes_of(16, noise, 2)) <= 16


def test_where_nothing_stands_out_the_box_is_kept():
    noise = np.random.default_rng(3).normal(size=(50, 24, 24, 24))
    assert particle_edge_px(noise.astype(np.float32)) == 24


def test_the_middle_of_a_box_keeps_its_detail():
    boxes = boxes_of(32, 0.0, 4)
    cut = working_boxes(boxes, 16, None, 16)
    assert cut.shape == (40, 16, 16, 16)
    assert np.array_equal(cut, boxes[:, 8:24, 8:24, 8:24])
    assert working_boxes(boxes, 16, None, 20).shape == (40, 16, 16, 16)
