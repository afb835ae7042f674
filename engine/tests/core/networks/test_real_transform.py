"""Transforms whose gradient costs no more than themselves."""

import pytest
import torch

from cryodl.core.networks.real_transform import real_transform


@pytest.mark.parametrize("norm", ["backward", "ortho"])
@pytest.mark.parametrize("shape", [(2, 6, 6, 6), (5, 5, 5), (1, 4, 6, 7)])
def test_values_and_gradient_are_those_of_pytorch(shape, norm):
    torch.manual_seed(0)
    values = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    theirs = torch.fft.rfftn(values, dim=(-3, -2, -1), norm=norm)
    ours = real_transform(values, norm)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    # A cotangent without any symmetry: no loss of ours has one, but all are to be right.
    outer = torch.randn_like(theirs)
    expected = torch.autograd.grad(theirs, values, outer)[0]
    torch.testing.assert_close(torch.autograd.grad(ours, values, outer)[0], expected)


def test_half_transforms_are_refused_as_pytorch_does():
    with pytest.raises(RuntimeError):
        real_transform(torch.zeros(4, 4, 4, dtype=torch.bfloat16))
