"""The optimisers of a training run as one: AdamW, and Muon for the matrices that the recipe names."""

import re
from collections.abc import Mapping
from fnmatch import fnmatch

import torch
from torch import Tensor

from arzoo.model import Model
from arzoo.muon import Muon
from arzoo.recipe import TrainConfig


class Optimizer:
    """Updates every parameter by AdamW, or by Muon if its name matches one of the recipe's patterns.

    One learning rate serves both; see `arzoo.muon`.

    Raises:
        ValueError: A pattern matches no weight of two dimensions or more.
    """

    def __init__(self, model: Model, config: TrainConfig) -> None:
        self._parameters = dict(model.named_parameters())
        matrices = [
            name for name in _matrices(self._parameters) if any(fnmatch(name, pattern) for pattern in config.muon)
        ]
        for pattern in config.muon:
            if not any(fnmatch(name, pattern) for name in matrices):
                known = sorted({re.sub(r"\.\d+(?=\.)", ".*", name) for name in _matrices(self._parameters)})
                raise ValueError(
                    f"muon names {pattern!r}, which matches no matrix of {model.family}; it has {', '.join(known)}"
                )
        others = [value for name, value in self._parameters.items() if name not in matrices]
        decay = config.weight_decay
        self._optimizers: list[torch.optim.Optimizer] = []
        if others:
            adamw = torch.optim.AdamW(others, config.lr, betas=config.betas, weight_decay=decay, fused=True)
            self._optimizers.append(adamw)
        if matrices:
            self._optimizers.append(Muon([self._parameters[name] for name in matrices], config.lr, decay))

    def step(self, lr: float) -> None:
        """One update at this learning rate from the gradients that are there, which are then gone."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad()

    def state(self) -> dict[str, Tensor]:
        """What the next step depends on, besides weights and gradients: "NAME.KEY" -> tensor."""
        return {
            f"{name}.{key}": moment
            for optimizer in self._optimizers
            for name, value in self._parameters.items()
            for key, moment in optimizer.state.get(value, {}).items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        for optimizer in self._optimizers:
            mine = {id(value) for group in optimizer.param_groups for value in group["params"]}
            for name, value in self._parameters.items():
                if id(value) in mine:
                    moments = {
                        key.removeprefix(f"{name}."): moment
                        for key, moment in state.items()
                        if key.rpartition(".")[0] == name
                    }
                    optimizer.state[value] = {key: moment.to(value.device) for key, moment in moments.items()}


def _matrices(parameters: Mapping[str, Tensor]) -> list[str]:
    return [name for name, value in parameters.items() if value.dim() >= 2]
