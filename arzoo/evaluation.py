"""Exact held-out likelihood: every example counted once, summed in float64, with its standard error."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from arzoo.data import TensorData
from arzoo.metrics import Evaluation
from arzoo.model import Context, Model

_VIEW_BLOCK = 1000


def model_context(model: Model, context: dict[str, Tensor] | None) -> Context:
    """Of a data set's context, what the model is conditioned on.

    Raises:
        ValueError: The data set lacks one of the model's names.
    """
    names, there = model.context_names, context or {}
    missing = [name for name in names if name not in there]
    if missing:
        has = f"it has {', '.join(there)}" if there else "it has no context"
        raise ValueError(f"this {model.family} is conditioned on {', '.join(missing)}, which the data set lacks; {has}")
    return {name: there[name] for name in names} or None


def set_labels(model: Model, data: TensorData) -> None:
    """Tells a model what its classes and categories are called in the data set.

    Raises:
        ValueError: There are more or fewer in the model.
    """
    classes, context = model.num_classes_by_context, data.spec.context
    try:
        model.labels = {name: known for name, known in data.labels.items() if name in classes or name not in context}
    except ValueError as error:
        raise ValueError(f"data set {data.spec.name!r}: {error}; change the recipe, or labels that are wrong") from None


@contextmanager
def _float32(device: torch.device) -> Iterator[None]:
    """Passes without the shorter numbers that training may take, and convolutions on a GPU take unasked (TF32)."""
    cudnn: Any = torch.backends.cudnn
    parts = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:
            part.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for part, precision in zip(parts, before, strict=True):
            part.fp32_precision = precision


@torch.no_grad()
def evaluate(
    model: Model,
    data: TensorData,
    *,
    batch_size: int = 100,
    num_examples: int | None = None,
    accelerator: Accelerator | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """The mean negative log-likelihood of a split, in float32 passes and float64 sums.

    Arguments:
        num_examples: How many, evenly spaced, since a split may be in some order; None takes all.
        accelerator: Splits the examples between its processes, each counted once.
        progress: Called with the number of examples done after every batch, in this process.

    Raises:
        ValueError: The data are not of the kind that the model is for.
    """
    config = model.config
    if (config.event_shape, config.num_categories) != (data.spec.event_shape, data.spec.num_categories):
        raise ValueError(
            f"the model is for events {config.event_shape} with {config.num_categories} categories, the data set"
            f" {data.spec.name} has {data.spec.event_shape} with {data.spec.num_categories}"
        )
    total = len(data) if num_examples is None else min(num_examples, len(data))
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    device = model.device
    was_training = model.training
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64)
    indices = torch.arange(total) * len(data) // total
    with _float32(device):
        for block in indices.split(_VIEW_BLOCK):
            # A random view is drawn for a block, so that neither batches nor processes change what is measured.
            x, context = data.batch(block, torch.Generator().manual_seed(int(block[0])))
            mine = torch.arange(len(block))[rank::world]
            for rows in mine.split(batch_size) if len(mine) else ():
                parts = {name: value[rows].to(device) for name, value in (context or {}).items()}
                measure = model.log_prob if data.spec.unit == "nats" else model.bits_per_dim
                measured = measure(x[rows].to(device), model_context(model, parts)).cpu().double()
                nll = -measured if data.spec.unit == "nats" else measured
                sums += torch.stack([nll.sum(), nll.square().sum()])
                if progress is not None:
                    progress(len(rows))
    model.train(was_training)
    if accelerator is not None and world > 1:
        sums = accelerator.reduce(sums.to(accelerator.device), "sum").cpu()
    value = float(sums[0]) / total
    variance = max(float(sums[1]) / total - value**2, 0.0) * total / max(total - 1, 1)
    error = math.sqrt(variance / total)
    if data.spec.unit == "perplexity":  # all documents count the same, long or short; the error is of first order
        value = float(torch.tensor(value, dtype=torch.float64).exp2())
        error *= value * math.log(2)
    return Evaluation(
        value=value,
        unit=data.spec.unit,
        standard_error=error,
        num_examples=total,
        dataset=data.spec.name,
        split=data.split,
        protocol=data.spec.protocol,
        likelihood=model.likelihood,
    )
