"""A zoo of autoregressive generative models.

Every public name is imported when it is first used, so `import arzoo` costs next to nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arzoo.autoregressive import Autoregressive as Autoregressive
    from arzoo.autoregressive import Completion as Completion
    from arzoo.checkpoints import list_checkpoints as list_checkpoints
    from arzoo.data import DatasetSpec as DatasetSpec
    from arzoo.data import TensorData as TensorData
    from arzoo.data_loading import load_data as load_data
    from arzoo.decoding import Decoder as Decoder
    from arzoo.evaluation import evaluate as evaluate
    from arzoo.hookspecs import hookimpl as hookimpl
    from arzoo.hub import pull as pull
    from arzoo.hub import push as push
    from arzoo.loading import from_pretrained as from_pretrained
    from arzoo.loading import load as load
    from arzoo.metrics import Evaluation as Evaluation
    from arzoo.model import Model as Model
    from arzoo.model import ModelConfig as ModelConfig
    from arzoo.receptive_fields import ReceptiveField as ReceptiveField
    from arzoo.receptive_fields import receptive_field as receptive_field
    from arzoo.recipe import Recipe as Recipe
    from arzoo.recipe import load_recipe as load_recipe
    from arzoo.registry import create_model as create_model
    from arzoo.registry import get_dataset as get_dataset
    from arzoo.registry import get_family as get_family
    from arzoo.registry import list_datasets as list_datasets
    from arzoo.registry import list_families as list_families
    from arzoo.registry import list_plugins as list_plugins
    from arzoo.training import train as train

    __version__: str

_MODULES = {
    "Autoregressive": "autoregressive",
    "Completion": "autoregressive",
    "DatasetSpec": "data",
    "Decoder": "decoding",
    "Evaluation": "metrics",
    "Model": "model",
    "ModelConfig": "model",
    "ReceptiveField": "receptive_fields",
    "Recipe": "recipe",
    "TensorData": "data",
    "create_model": "registry",
    "evaluate": "evaluation",
    "from_pretrained": "loading",
    "get_dataset": "registry",
    "get_family": "registry",
    "hookimpl": "hookspecs",
    "list_checkpoints": "checkpoints",
    "list_datasets": "registry",
    "list_families": "registry",
    "list_plugins": "registry",
    "load": "loading",
    "load_data": "data_loading",
    "load_recipe": "recipe",
    "pull": "hub",
    "push": "hub",
    "receptive_field": "receptive_fields",
    "train": "training",
}

__all__ = [*_MODULES, "__version__"]

if not TYPE_CHECKING:  # a checker that saw __getattr__ would believe every misspelt name

    def __getattr__(name: str) -> object:
        value: object
        if name == "__version__":
            from importlib.metadata import version

            value = version("arzoo")
        elif name in _MODULES:
            from importlib import import_module

            value = getattr(import_module(f"arzoo.{_MODULES[name]}"), name)
        else:
            raise AttributeError(f"module 'arzoo' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
