"""What training needs of a loss."""

import copy

import torch

from arzoo.model import Model
from arzoo.testing.events import add_noise, differs, examples, fixed_generator, rows_of, seeded, shape_of


@torch.no_grad()
def check_loss(model: Model) -> None:
    """The loss is in nats an event: -log_prob, or what a family puts in its place, of the same size."""
    x, context = examples(model, 64)
    noise = model.noise(64, fixed_generator())
    if noise is not None:
        assert len(noise) == 64, f"noise for 64 examples has {len(noise)} rows"
        assert torch.equal(noise, model.noise(64, fixed_generator())), "noise does not follow from its generator"  # type: ignore[arg-type]
    with seeded():
        loss = model.loss(x, context, noise)
    with seeded():
        forward = model(x, context, noise)
    assert shape_of(loss) == (64,), f"the loss of 64 events has shape {shape_of(loss)}, not (64,)"
    assert bool(loss.isfinite().all()), "the loss of a valid event is not finite"
    assert torch.equal(loss, forward), "the model's call is not its loss"
    with seeded():
        nll = -model.log_prob(x, context)
        if type(model).loss is Model.loss:
            assert torch.equal(loss, nll), "the loss is not -log_prob"
            return
        mean = sum(float(model.loss(x, context).double().mean()) for _ in range(32)) / 32
    truth = float(nll.double().mean())
    # Bounds and masks lie above, orders and smoothed labels on both sides: but none at a fraction, as a mean would.
    assert truth <= 0 or mean > 0.7 * truth, (
        f"the loss is {mean:.4g} on average, -log_prob {truth:.4g} nats: a mean over dimensions instead of a sum?"
    )


def check_every_parameter_is_used(model: Model) -> None:
    """Every parameter has a gradient, under some noise and some weights: a ReLU may be dead for others."""
    if not list(model.parameters()):
        return
    x, context = examples(model, 64)
    used: set[str] = set()
    for seed in range(16):
        copied = copy.deepcopy(model).train()
        add_noise(copied, seed)
        with seeded():
            copied(x, context, copied.noise(64, fixed_generator(seed))).mean().backward()
        for name, parameter in copied.named_parameters():
            if parameter.grad is not None:
                assert bool(parameter.grad.isfinite().all()), f"the gradient of {name} is not finite"
                used |= {name} if bool(parameter.grad.any()) else set()
    for name, parameter in model.named_parameters():
        assert name in used or not parameter.requires_grad, (
            f"the loss does not depend on the parameter {name}: a parameter nothing uses"
        )


@torch.no_grad()
def check_splitting_the_batch_changes_nothing(model: Model) -> None:
    """The loss of a part of the batch, with its rows of the noise, is that part of the batch's loss."""
    x, context = examples(model, 12)
    noise = model.noise(12, fixed_generator())
    with seeded():
        whole = model.loss(x, context, noise)
    if model.likelihood != "exact":
        return
    for rows in (torch.arange(0, 12, 2), torch.arange(1, 12, 2), torch.arange(5)):
        with seeded():
            part = model.loss(x[rows], rows_of(context, rows), None if noise is None else noise[rows])
        assert not differs(part, whole[rows], 1e-4), "the loss of a part of the batch is not that part of its loss"
