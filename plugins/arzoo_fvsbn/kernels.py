"""The walk of bits as compiled loops; importing this needs numba."""

from typing import Any

from arzoo.kernels import compiled, draw_bit


@compiled
def draw(uniforms: Any, logits: Any, weights: Any, values: Any) -> None:
    """Draws the last S of D sites.

    Arguments:
        uniforms: Shape (S, B).
        logits: As the sites before say, shape (B, D).
        weights: What each of the D sites adds to all behind it, one behind the other, shape (D (D - 1) / 2,).
        values: The bits drawn, shape (B, S).
    """
    steps, (batch, dims) = len(uniforms), logits.shape
    start = len(weights) - steps * (steps - 1) // 2
    for step in range(steps):
        site = dims - steps + step
        added = weights[start : start + dims - site - 1]
        for b in range(batch):
            if draw_bit(logits[b, site], uniforms[step, b]) > 0:
                values[b, step] = 1
                later = logits[b, site + 1 :]
                for k in range(len(added)):
                    later[k] += added[k]
        start += len(added)
