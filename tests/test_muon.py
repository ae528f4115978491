"""Muon against singular values in double precision, and against torch's own, which multiplies in bfloat16."""

import pytest
import torch
from torch import nn

from arzoo.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(6, 6), (5, 17), (17, 5), (1, 4)])
def test_singular_values_go_through_the_quintic_five_times(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    assert values.min() > 0.1
    torch.testing.assert_close(orthogonalize(matrix).double(), u @ values.diag() @ v, rtol=1e-4, atol=1e-4)


def test_nothing_in_nothing_out() -> None:
    assert orthogonalize(torch.zeros(3, 4)).equal(torch.zeros(3, 4))


@pytest.mark.parametrize("shape", [(16, 48), (48, 16)])
def test_steps_are_those_of_torch_but_for_its_bfloat16(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(shape, generator=generator)
    mine, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    ours = Muon([mine], lr=0.1, weight_decay=0.3)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        mine.grad = torch.randn(shape, generator=generator)
        theirs.grad = mine.grad.clone()
        ours.step()
        reference.step()
    assert (mine - start).abs().mean() > 0.1
    torch.testing.assert_close(mine, theirs, rtol=0.0, atol=0.01)


def test_a_kernel_is_taken_as_the_matrix_of_outputs_and_all_else() -> None:
    generator = torch.Generator().manual_seed(2)
    kernel = nn.Parameter(torch.randn(4, 3, 2, 5, generator=generator).to(memory_format=torch.channels_last))
    matrix = nn.Parameter(kernel.detach().flatten(1))
    kernel.grad = torch.randn(kernel.shape, generator=generator)
    matrix.grad = kernel.grad.flatten(1)
    for weight in (kernel, matrix):
        Muon([weight], lr=0.1, weight_decay=0.3).step()
    assert kernel.flatten(1).equal(matrix)


def test_a_matrix_without_a_gradient_stays() -> None:
    matrix = nn.Parameter(torch.ones(2, 3))
    Muon([matrix], lr=0.1, weight_decay=0.3).step()
    assert matrix.equal(torch.ones(2, 3))
