"""What a pixel's conditional depends on, found by changing every other pixel: no gradients, no trust in the code."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arzoo.autoregressive import Autoregressive

NOTHING = 1e-6
"""Nats below which a difference is taken for none: what float32 leaves of sums in another order."""
_BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class ReceptiveField:
    """
    Attributes:
        pixel: Row and column of the pixel that was asked about.
        before: Pixels that are visited before it, boolean, shape (H, W).
        influence: Mean of |change of log p(pixel | pixels before it)| in nats when a pixel takes other values, shape
            (H, W); 0 for pixels that are not before it.
    """

    pixel: tuple[int, int]
    before: Tensor
    influence: Tensor

    @property
    def seen(self) -> Tensor:
        """Pixels that the conditional depends on, boolean, shape (H, W)."""
        return self.influence > NOTHING


@torch.no_grad()
def receptive_field(
    model: Autoregressive,
    pixel: tuple[int, int] | None = None,
    *,
    num_events: int = 4,
    member: int = 0,
    generator: torch.Generator | None = None,
    progress: Callable[[float], None] | None = None,
) -> ReceptiveField:
    """What the conditional of a pixel depends on, in events that the model draws itself.

    Costs one pass over `num_events` events for every pixel before it.

    Arguments:
        model: One of images (C, H, W) whose values are categories.
        pixel: Row and column; None for the middle of the image.
        num_events: Number of events that are drawn.
        member: Of an ensemble, which order or mask.
        generator: Draws the events, and the values that pixels change to.
        progress: Called with the share that is done, up to 1.

    Raises:
        ValueError: The model is of no images, or has no such pixel.
    """
    shape, sizes = model.config.event_shape, model.config.num_categories
    if len(shape) != 3 or not isinstance(sizes, int):
        raise ValueError(f"a receptive field is of images (C, H, W) of K levels, this {model.family} is of {shape}")
    _, height, width = shape
    row, column = (height // 2, width // 2) if pixel is None else pixel
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"pixel must be in an image of {height}x{width}, got {(row, column)}")
    generator = generator or torch.Generator().manual_seed(0)
    context = model.example_context(num_events, generator)
    x = model.sample(num_events, context, generator=generator)

    ranks = model.order(member).argsort().view(-1, height, width)
    before = ranks.amax(0) < ranks[:, row, column].amin()
    influence = torch.zeros(height, width, dtype=torch.float64)
    places = before.nonzero().tolist()
    at_a_time = max(1, _BATCH_SIZE // num_events)
    for start in range(0, len(places), at_a_time):
        part = places[start : start + at_a_time]
        changed = x.repeat(len(part) + 1, 1, 1, 1)  # the first copy stays as it is
        others = torch.randint(1, sizes, (len(part), num_events, shape[0]), generator=generator).to(x.device)
        copies = changed.view(len(part) + 1, num_events, *shape)
        for number, (i, j) in enumerate(part):
            copies[number + 1, :, :, i, j] = (x[:, :, i, j] + others[number]) % sizes
        repeated = {name: value[torch.arange(len(changed)) % num_events] for name, value in (context or {}).items()}
        sites = model.member_log_prob(changed, repeated or None, member).view(
            len(part) + 1, num_events, -1, height, width
        )
        log_prob = sites[..., row, column].double().sum(2)  # (copies, events)
        moved = (log_prob[1:] - log_prob[0]).abs().mean(1).cpu()
        for (i, j), value in zip(part, moved.tolist(), strict=True):
            influence[i, j] = value
        if progress is not None:
            progress((start + len(part)) / len(places))
    return ReceptiveField(pixel=(row, column), before=before.cpu(), influence=influence)
