"""The losses of the correction: known answers, and gradients that reach the network."""

import numpy as np
import pytest
import torch
from torch import nn

from cryodl.core.geometry.resample import centred_to_rfft
from cryodl.core.geometry.rotations import cube_rotations, rotate_cube
from cryodl.methods.spisonet.data import DataSettings
from cryodl.methods.spisonet.losses import CrossDirectionLoss, PublishedLoss, fourier_filter
from cryodl.methods.spisonet.published import PublishedData, RotationAverage, cube_weight

CUBE = 16


def cubes(seed, count=3, size=CUBE):
    return torch.randn(count, 1, size, size, size, generator=torch.Generator().manual_seed(seed))


def cone_weight():
    axis = np.arange(CUBE) - CUBE // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    weight = (np.hypot(x, y) >= 0.6 * np.abs(z)).astype(np.float32)
    return cube_weight(weight, CUBE)


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv3d(1, 1, 3, padding=1)
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return x + self.layer(x)


def published_batch(seed=0):
    return {"x1": cubes(seed), "x2": cubes(seed + 1), "rotation": torch.tensor([0, 7, 23])}


# --- the published loss ------------------------------------------------------------------------


def test_nothing_is_missing_and_nothing_is_changed_so_nothing_is_lost():
    everything = torch.ones(CUBE, CUBE, CUBE // 2 + 1)
    terms = PublishedLoss(nn.Identity(), everything)(published_batch())
    assert float(terms["Lc1"]) < 1e-6 and float(terms["Le1"]) < 1e-6
    assert float(terms["Lc2"]) > 0.5


def turned_by_the_matrix(cube, index):
    """Turn by numpy indexing: the value at p comes from R^-1 p, about the middle of the box."""
    matrix = cube_rotations()[index].T[::-1, ::-1]
    grid = np.stack(np.meshgrid(*[np.arange(CUBE)] * 3, indexing="ij")) - (CUBE - 1) / 2
    source = np.einsum("ij,j...->i...", matrix, grid) + (CUBE - 1) / 2
    return cube[tuple(np.rint(source).astype(int))]


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.5), (2.0, 0.0), (0.0, 1.5), (0.3, 0.7)])
def test_equals_the_formula_written_out_in_numpy(alpha, beta):
    """The formula of the paper with a full complex transform and turns by plain indexing."""
    weight = cone_weight()
    network = Convolution()
    layout = centred_to_rfft(torch.from_numpy(weight))
    batch = published_batch()
    found = PublishedLoss(network, layout, alpha, beta)(batch)["loss"]

    def N(values):
        with torch.no_grad():
            return network(torch.from_numpy(values.copy())[:, None].float())[:, 0].numpy()

    def A(values):
        spectrum = np.fft.fftn(values, axes=(1, 2, 3))
        return np.fft.ifftn(spectrum * np.fft.ifftshift(weight), axes=(1, 2, 3)).real

    def g(values):
        return np.stack([turned_by_the_matrix(v, int(i)) for v, i in zip(values, (0, 7, 23))])

    def L1(a, b):
        return np.abs(a - b).mean()

    x1, x2 = (batch[name][:, 0].numpy() for name in ("x1", "x2"))
    p1, p2 = N(x1), N(x2)
    q = N(A(g(p1)))
    expected = alpha * L1(q, g(p1)) + L1(A(p1), x1)
    expected += beta * (alpha * L1(q, g(p2)) + L1(A(p1), x2))
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-4)


def test_without_beta_the_second_half_is_never_looked_at():
    layout = centred_to_rfft(torch.from_numpy(cone_weight()))
    network = Convolution()
    batch = published_batch()
    batch["x2"] = torch.full_like(batch["x2"], float("nan"))
    terms = PublishedLoss(network, layout, beta=0.0)(batch)
    assert set(terms) == {"loss", "Lc1", "Le1"}
    assert bool(torch.isfinite(terms["loss"]))
    assert len(network.seen) == 2
    alone = {name: batch[name] for name in ("x1", "rotation")}
    again = PublishedLoss(Convolution(), layout, beta=0.5)(alone)
    assert float(again["loss"].detach()) == float(terms["loss"].detach())


def test_gradients_of_the_published_loss_flow_through_every_pass():
    layout = centred_to_rfft(torch.from_numpy(cone_weight()))
    batch = published_batch()
    for alpha, beta in ((1.0, 0.0), (1.0, 0.5)):
        network = Convolution()
        PublishedLoss(network, layout, alpha, beta)(batch)["loss"].backward()
        gradient = network.layer.weight.grad
        assert gradient is not None and float(gradient.abs().max()) > 1e-4


def test_the_filter_of_the_loss_removes_what_the_weight_lacks():
    layout = centred_to_rfft(torch.from_numpy(cone_weight()))
    filtered = fourier_filter(cubes(4), layout)
    spectrum = torch.fft.rfftn(filtered, dim=(-3, -2, -1)).abs()
    assert float(spectrum[..., layout == 0].max()) < 1e-3
    kept = torch.fft.rfftn(cubes(4), dim=(-3, -2, -1)).abs()[..., layout == 1]
    torch.testing.assert_close(spectrum[..., layout == 1], kept, rtol=1e-3, atol=1e-3)


def test_all_24_rotations_are_drawn_evenly_and_are_distinct():
    rng = np.random.default_rng(0)
    halves = [rng.normal(size=(20,) * 3).astype(np.float32) for _ in range(2)]
    data = PublishedData(halves, np.ones((20,) * 3), DataSettings(cube_size_px=16, batch_size=8))
    drawn = np.concatenate([data.batch(step, 0, 0, 1)["rotation"].numpy() for step in range(90)])
    counts = np.bincount(drawn, minlength=24)
    assert len(counts) == 24 and counts.min() > 10 and counts.max() < 55
    sample = cubes(5, 1)[0, 0]
    turned = {rotate_cube(sample, int(index)).numpy().tobytes() for index in np.unique(drawn)}
    assert len(turned) == 24


def test_halves_are_swapped_about_half_of_the_time_and_cut_alike():
    halves = [np.full((20,) * 3, value, np.float32) for value in (1.0, 2.0)]
    ramp = np.arange(20.0**3, dtype=np.float32).reshape(20, 20, 20)
    halves = [half * 1e5 + ramp for half in halves]
    data = PublishedData(halves, np.ones((20,) * 3), DataSettings(cube_size_px=16, batch_size=4))
    swapped = []
    for step in range(20):
        batch = data.batch(step, 0, 0, 1)
        difference = (batch["x2"] - batch["x1"]).flatten(1)
        assert torch.equal(difference, difference[:, :1].expand_as(difference))
        swapped += (difference[:, 0] < 0).tolist()
    assert 0.3 < np.mean(swapped) < 0.7


# --- the default loss --------------------------------------------------------------------------


def cross_batch():
    weight = torch.rand(3, 1, CUBE, CUBE, CUBE // 2 + 1, generator=torch.Generator().manual_seed(8))
    return {"input": cubes(6), "target": cubes(7), "weight": weight}


def test_doing_nothing_costs_exactly_one():
    terms = CrossDirectionLoss(nn.Identity(), CUBE)(cross_batch())
    assert float(terms["loss"]) == pytest.approx(1.0, abs=1e-6)


def test_the_right_answer_costs_nothing():
    batch = cross_batch()

    class Knows(nn.Module):
        def forward(self, x):
            return batch["target"]

    assert float(CrossDirectionLoss(Knows(), CUBE)(batch)["loss"]) == 0.0


def test_errors_where_nothing_was_measured_cost_nothing():
    batch = cross_batch()
    batch["weight"] = torch.zeros_like(batch["weight"])
    batch["weight"][..., 0, 0, 0] = 1.0

    class AddsAWave(nn.Module):
        def forward(self, x):
            wave = torch.cos(2 * torch.pi * 3 * torch.arange(CUBE) / CUBE)
            return x + 5 * wave

    terms = CrossDirectionLoss(AddsAWave(), CUBE, whole_box=True)(batch)
    assert float(terms["loss"]) == pytest.approx(1.0, abs=1e-2)


def test_gradients_of_the_default_loss_reach_the_network():
    network = Convolution()
    terms = CrossDirectionLoss(network, CUBE)(cross_batch())
    terms["loss"].backward()
    assert float(network.layer.weight.grad.abs().max()) > 1e-3
    assert not terms["error"].requires_grad


# --- the average over rotations ----------------------------------------------------------------


def test_a_network_that_knows_no_direction_is_not_changed_by_averaging():
    volume = cubes(9, 2)
    torch.testing.assert_close(RotationAverage(nn.Identity())(volume), volume)


def test_the_average_commutes_with_every_rotation():
    class Shears(nn.Module):
        def forward(self, x):
            return x * torch.arange(CUBE) + x.roll(1, -2)

    average = RotationAverage(Shears())
    volume = cubes(10, 1)
    for index in (1, 9, 17):
        first = average(rotate_cube(volume, index))
        torch.testing.assert_close(first, rotate_cube(average(volume), index), rtol=1e-4, atol=1e-3)


def test_a_rotation_that_does_not_exist_is_refused():
    from cryodl.errors import InputError

    layout = torch.ones(CUBE, CUBE, CUBE // 2 + 1)
    batch = {**published_batch(), "rotation": torch.tensor([0, 24, 1])}
    with pytest.raises(InputError, match="24"):
        PublishedLoss(nn.Identity(), layout)(batch)
