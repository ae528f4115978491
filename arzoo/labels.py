"""Classes that events are conditioned on: integers (B,) from 0, or -1 for no class."""

import torch
import torch.nn.functional as F
from torch import Tensor


def check_labels(name: str, labels: Tensor, num_classes: int) -> Tensor:
    """The labels as int64.

    Arguments:
        name: What the context calls them.
        labels: Shape (B,).

    Raises:
        ValueError: They are no integers of this shape, or out of range.
    """
    if labels.dim() != 1 or labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"context {name} must be integers of shape (B,), got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    labels = labels.long()
    wrong = labels[(labels < -1) | (labels >= num_classes)]
    if len(wrong):
        raise ValueError(f"context {name} must be 0 to {num_classes - 1}, or -1 for none, got {int(wrong[0])}")
    return labels


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Checked labels as ones and zeros, shape (B, num_classes); zeros alone for no class."""
    return F.one_hot(labels + 1, num_classes + 1)[:, 1:]
