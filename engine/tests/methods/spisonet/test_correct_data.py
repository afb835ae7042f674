"""Training data: a function of counters alone, on any box."""

import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage

from cryodl.core.fourier.grids import shell_index
from cryodl.core.geometry.resample import centred_to_rfft, rotate_fourier_weight
from cryodl.errors import InputError
from cryodl.methods.spisonet.data import (
    CrossDirectionData,
    DataSettings,
    choose_cube,
    fitting_cube_size,
)
from cryodl.methods.spisonet.predict import Corrector
from cryodl.methods.spisonet.problem import Problem, normalise
from cryodl.methods.spisonet.published import PublishedData

CONE = 0.7  # cosine


def case(box, count=2, seed=0):
    """Return half maps, directional weight with a missing cone about z, and mask."""
    rng = np.random.default_rng(seed)
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    truth = ndimage.gaussian_filter(rng.normal(size=(box,) * 3), 1.5)
    mask = np.clip(box * 0.35 - np.sqrt((x - 2) ** 2 + y**2 + z**2), 0, 1).astype(np.float32)
    truth = np.clip(truth, 0, None) * mask
    radius = np.maximum(np.sqrt(x**2 + y**2 + z**2), 1e-6)
    weight = np.where(np.abs(z) / radius > CONE, 0.05, 0.9) * np.exp(-radius / box)
    halves = []
    for _ in range(count):
        noisy = truth + rng.normal(scale=0.2 * truth.std(), size=truth.shape)
        spectrum = np.fft.fftshift(np.fft.fftn(noisy)) * np.where(np.abs(z) / radius > CONE, 0, 1)
        half = np.fft.ifftn(np.fft.ifftshift(spectrum)).real
        halves.append((3 + 50 * half).astype(np.float32))
    return {
        "halves": halves,
        "fsc3d": weight.astype(np.float32),
        "mask": mask,
        "fill_iterations": 3,
    }


def settings(**changes):
    return DataSettings(**{"cube_size_px": 16, "batch_size": 4, **changes})


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(scope="module")
def source():
    return CrossDirectionData(case(32), settings())


def published(**changes):
    arguments = case(32)
    return PublishedData(arguments["halves"], arguments["mask"], settings(**changes))


def test_a_batch_is_what_the_loss_takes(source):
    batch = source.batch(0, 0, 0, 1)
    assert batch["input"].shape == batch["target"].shape == (4, 1, 16, 16, 16)
    assert batch["weight"].shape == (4, 1, 16, 16, 9)
    assert all(t.dtype == torch.float32 and bool(torch.isfinite(t).all()) for t in batch.values())
    assert float(batch["weight"].min()) >= 0 and float(batch["weight"].max()) > 0


def test_the_same_counters_give_the_same_batch_in_any_order(source):
    first = source.batch(3, 0, 0, 1)
    for step in (0, 9, 4):
        source.batch(step, 0, 0, 1)
    assert same(source.batch(3, 0, 0, 1), first)
    assert same(CrossDirectionData(case(32), settings()).batch(3, 0, 0, 1), first)


def test_a_copy_sent_to_another_process_gives_the_same(source):
    source.batch(0, 0, 0, 1)
    sent = pickle.dumps(source)
    assert len(sent) < 8 * 32**3 * 4, "derived volumes travelled along"
    assert same(pickle.loads(sent).batch(2, 0, 0, 1), source.batch(2, 0, 0, 1))


@pytest.mark.parametrize("kind", ["cross-direction", "published"])
def test_steps_ranks_and_seeds_differ(source, kind):
    data = source if kind == "cross-direction" else published()
    name = "input" if kind == "cross-direction" else "x1"
    drawn = [data.batch(*counters)[name] for counters in ((0, 0, 0, 1), (1, 0, 0, 1))]
    drawn += [data.batch(0, 0, rank, 2)[name] for rank in (0, 1)]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[2], drawn[3])
    other = published(seed=1) if kind == "published" else None
    if other is not None:
        assert not torch.equal(other.batch(0, 0, 0, 1)[name], drawn[0])


@pytest.mark.parametrize("kind", ["cross-direction", "published"])
def test_processes_and_micro_batches_share_out_the_same_cubes(source, kind):
    if kind == "cross-direction":
        halved = CrossDirectionData(case(32), settings(accumulate=2))
        data = source
    else:
        halved, data = published(accumulate=2), published()
    whole = data.batch(5, 0, 0, 1)
    two = [data.batch(5, 0, rank, 2) for rank in (0, 1)]
    parts = [halved.batch(5, micro, 0, 1) for micro in (0, 1)]
    assert [len(next(iter(part.values()))) for part in two + parts] == [2] * 4
    for name, expected in whole.items():
        for pieces in (two, parts):
            assert torch.equal(torch.cat([piece[name] for piece in pieces]), expected)


def test_serial_numbers_never_repeat():
    chosen = settings(batch_size=8, accumulate=2)
    drawn = [
        serial
        for step in range(5)
        for micro in range(2)
        for rank in range(2)
        for serial in chosen.serials(step, micro, rank, 2)
    ]
    assert sorted(drawn) == list(range(40))


# --- where cubes come from ---------------------------------------------------------------------


@pytest.mark.parametrize(("box", "cube"), [(24, 16), (25, 16), (33, 24), (32, 32)])
def test_cubes_are_centred_in_the_mask_and_fit(box, cube):
    mask = torch.zeros(box, box, box)
    where = box // 2 - (1 if cube < box else 0)
    mask[where, where : where + 2, where] = 1.0
    centres = set()
    for seed in range(40):
        cut = choose_cube(mask, cube, np.random.default_rng(seed))
        assert all(s.stop - s.start == cube and s.start >= 0 and s.stop <= box for s in cut)
        centres.add(tuple(s.start + cube // 2 for s in cut))
    expected = {(where, where, where), (where, where + 1, where)} if cube < box else {(where,) * 3}
    assert centres == expected


def test_cubes_reach_every_place_of_the_mask():
    mask = torch.zeros(24, 24, 24)
    mask[8:17, 8:17, 8:17] = 1.0  # all the centres that a cube of 16 can have
    corners = [choose_cube(mask, 16, np.random.default_rng(s))[0].start for s in range(300)]
    assert min(corners) == 0 and max(corners) == 8


def test_a_mask_out_of_reach_leaves_cubes_that_fit():
    mask = torch.zeros(24, 24, 24)
    mask[0, 0, 0] = 1.0
    cut = choose_cube(mask, 16, np.random.default_rng(0))
    assert all(s.start >= 0 and s.stop <= 24 for s in cut)


@pytest.mark.parametrize("box", range(24, 140))
def test_the_cube_that_fits_a_box(box):
    for wanted in (16, 24, 48, 64):
        found = fitting_cube_size(wanted, box)
        assert found % 8 == 0 and 16 <= found <= min(wanted, box)
        if box >= wanted + 16:
            assert found == wanted


# --- the simulation behind it ------------------------------------------------------------------


@pytest.fixture(scope="module")
def problem():
    return Problem(**case(32))


def test_the_input_lacks_the_cone_and_the_target_another(problem):
    """Data are missing in the frame of the map; the target's cone has turned with the map."""
    simulation = problem.simulate(0, np.random.default_rng(3))
    spectrum = torch.fft.rfftn(simulation.target).abs().square()
    own = centred_to_rfft(simulation.weight)
    inner = (problem.shell > 4) & (problem.shell < 12)
    measured = spectrum[inner & (own > 0.5)].mean()
    assert float(spectrum[inner & (own < 0.05)].mean()) < 0.25 * float(measured)
    expected = rotate_fourier_weight(problem.rho, simulation.rotation)
    torch.testing.assert_close(simulation.weight, expected.clamp(max=1.0))
    assert np.allclose(simulation.rotation @ simulation.rotation.T, np.eye(3), atol=1e-6)


def test_the_target_is_the_other_half_or_the_same_when_there_is_but_one():
    arguments = case(32)
    two = Problem(**arguments)
    changed = {**arguments, "halves": [arguments["halves"][0], arguments["halves"][1] * -2]}
    other = Problem(**changed)
    for half, moves in ((0, True), (1, False)):
        first = two.simulate(half, np.random.default_rng(0)).target
        second = other.simulate(half, np.random.default_rng(0)).target
        assert torch.equal(first, second) is not moves
    alone = Problem(**{**arguments, "halves": arguments["halves"][:1]})
    simulation = alone.simulate(0, np.random.default_rng(0))
    torch.testing.assert_close(simulation.target, two.simulate(1, np.random.default_rng(0)).target)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_grey_values_do_not_matter(scale):
    arguments = case(24)
    half, mask = arguments["halves"][0], arguments["mask"]
    expected, _ = normalise(half, mask)
    found, kept = normalise(half * scale + 1e4 * scale, mask)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_allclose(
        found * kept.deviation + kept.level, half * scale + 1e4 * scale, rtol=1e-5
    )
    assert np.abs(expected[mask < 0.01].mean()) < 1e-3
    assert (expected * mask).std() == pytest.approx(1.0, rel=1e-3)


def test_a_map_without_density_in_the_mask_is_refused():
    with pytest.raises(InputError, match="no variation inside the mask"):
        normalise(np.full((24,) * 3, 7.0, np.float32), case(24)["mask"])


@pytest.mark.parametrize("box", [24, 33, 35])
@pytest.mark.parametrize("count", [1, 2])
def test_the_whole_way_on_odd_and_tiny_boxes(box, count):
    arguments = case(box, count)
    cube = fitting_cube_size(24, box)
    data = CrossDirectionData(arguments, settings(cube_size_px=cube, batch_size=2))
    batch = data.batch(0, 0, 0, 1)
    assert batch["input"].shape == (2, 1, cube, cube, cube)
    corrector = Corrector(
        data.problem, torch.nn.Identity(), cube_size_px=cube, tile_size_px=cube + 16
    )
    seen = []
    calibration = corrector.calibrate(0, seen.append)
    assert seen == [0.25, 0.5, 0.75, 1.0]
    for half in range(count):
        found = corrector.correct(half, calibration)
        assert found.shape == (box,) * 3 and np.isfinite(found).all()
        given = arguments["halves"][half]
        inside = arguments["mask"] > 0.5
        assert np.corrcoef(found[inside], given[inside])[0, 1] > 0.8
        assert 0.5 < found[inside].std() / given[inside].std() < 1.5
        assert shell_index(box).shape == found.shape
