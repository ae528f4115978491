"""Configs and files: what a model is built from comes back."""

import json
import math
import tempfile

import torch
from safetensors.torch import load_file

from arzoo import checkpoints, registry
from arzoo.model import Model
from arzoo.testing.events import MOST_EVENTS, examples, scalar_sizes, seeded
from arzoo.testing.refusals import refused


def check_tiny_configs(family: type[Model]) -> None:
    """The smallest configs are the family's own, and of few events."""
    configs = family.tiny_configs()
    assert configs, f"{family.__name__}.tiny_configs() names no config"
    strange = [config for config in configs if type(config) is not family.config_class]
    assert not strange, (
        f"{family.__name__}.tiny_configs() holds {strange[:1]}, which is no {family.config_class.__name__}"
    )
    discrete = [config for config in configs if config.num_categories is not None]
    few = [config for config in discrete if math.prod(scalar_sizes(config)) <= MOST_EVENTS]
    assert few or not discrete, f"no tiny config of {family.__name__} has at most {MOST_EVENTS} events to enumerate"


def check_config_survives_json(model: Model) -> None:
    """A config is frozen, comes back equal from JSON, and refuses a field that it does not know."""
    config = model.config
    values = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert type(config).from_dict(values) == config, f"{config} is another after JSON"
    refused(lambda: setattr(config, "event_shape", (1,)), AttributeError, "a config can be changed: make it frozen")
    refused(
        lambda: type(config).from_dict({**values, "no_such_field": 1}), ValueError, "a config takes an unknown field"
    )


@torch.no_grad()
def check_saving_and_loading(model: Model) -> None:
    """A model that was saved and loaded gives the same log_prob, bit for bit."""
    x, context = examples(model, 8)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        if model.family in registry.list_families() and registry.get_family(model.family) is type(model):
            again = type(model).from_pretrained(folder)
        else:
            config = type(model).config_class.from_dict(checkpoints.read_config(folder)["model"])
            with seeded(99):
                again = type(model)(config).eval()
            again.load_state_dict(load_file(f"{folder}/model.safetensors"), strict=False)
    with seeded():
        before = model.log_prob(x, context)
    with seeded():
        after = again.log_prob(x, context)
    assert again.config == model.config, "the config is another after saving and loading"
    assert torch.equal(before, after), "log_prob is another after saving and loading: is all that was drawn saved?"
