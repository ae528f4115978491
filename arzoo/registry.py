"""Which families, data sets and checkpoints are installed.

Names come from the metadata of the installed packages, so listing imports no plugin.  A module is imported
when one of its names is first asked for; each has a plugin manager of its own, so whatever is wrong with one
plugin concerns nobody but those who ask for its names.

`ARZOO_BLOCK_PLUGINS` and `ARZOO_ALLOW_PLUGINS` hold entry-point names or distributions, separated by commas.
What the first names is not used; if the second is set, neither is what it does not name.  Processes that are
started from this one inherit both.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arzoo.wording import did_you_mean, one_line

if TYPE_CHECKING:
    from arzoo.data import DatasetSpec
    from arzoo.model import Model

FAMILIES = "arzoo.families"
DATASETS = "arzoo.datasets"
CHECKPOINTS = "arzoo.checkpoints"

_BLOCK = "ARZOO_BLOCK_PLUGINS"
_ALLOW = "ARZOO_ALLOW_PLUGINS"
_WORDS = {FAMILIES: "family", DATASETS: "data set"}


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """One entry point.

    Attributes:
        name: A family or a data set; for checkpoints any name.
        group: The entry-point group.
        distribution: The package that brings it, as pip knows it.
        version: Of that package.
        module: What would be imported; for checkpoints the package that holds them.
        status: "conflict" if a name is declared twice; "available" if it was not asked for yet.
        error: Why it cannot be used, in one line; empty if it can.
    """

    name: str
    group: str
    distribution: str
    version: str
    module: str
    status: Literal["available", "loaded", "failed", "blocked", "conflict"] = "available"
    error: str = ""


class Registry:
    """The plugins that a set of entry points declares.

    Arguments:
        entry_points: Each with its distribution.
        block: Names or distributions that are not used.
        allow: The only names or distributions that are; None for all.
    """

    def __init__(
        self,
        entry_points: Iterable[EntryPoint],
        block: Collection[str] = (),
        allow: Collection[str] | None = None,
    ) -> None:
        plugins = sorted(_plugins(entry_points), key=_rank)
        self._plugins = _mark_conflicts([_mark_blocked(plugin, block, allow) for plugin in plugins])
        self._loaded: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._failed: dict[tuple[str, str, str], str] = {}

    def names(self, group: str) -> list[str]:
        """Names that may be asked for, sorted: neither blocked nor declared twice."""
        return sorted(p.name for p in self._plugins if p.group == group and p.status == "available")

    def find(self, group: str, name: str) -> PluginInfo:
        """The plugin that declares a name; imports nothing.

        Raises:
            LookupError: The name is unknown, blocked or declared twice.
        """
        word = _WORDS[group]
        candidates = [plugin for plugin in self._plugins if plugin.group == group and plugin.name == name]
        if not candidates:
            raise LookupError(f"no {word} {name!r} is installed; {did_you_mean(name, self.names(group))}")
        chosen = next((plugin for plugin in candidates if plugin.status != "blocked"), candidates[0])
        if chosen.error:
            raise LookupError(f"the {word} {name!r} of {chosen.distribution} cannot be used: {chosen.error}")
        return chosen

    def get(self, group: str, name: str) -> Any:
        """What the plugin of this name provides, importing it if need be.

        Raises:
            LookupError: The name is unknown, blocked or declared twice.
            ImportError: The plugin is broken.
        """
        plugin = self.find(group, name)
        key, cause = _key(plugin), None
        if key not in self._loaded and key not in self._failed:
            declared = [p.name for p in self._plugins if _key(p) == key]
            try:
                self._loaded[key] = _call_hook(plugin, declared)
            except (Exception, SystemExit) as error:
                self._failed[key] = one_line(f"{type(error).__name__}: {error}")
                cause = error
        if key in self._failed:
            raise ImportError(
                f"the {_WORDS[group]} {name!r} cannot be used: the plugin {plugin.module} of"
                f" {plugin.distribution} {plugin.version} is broken: {self._failed[key]}"
            ) from cause
        return self._loaded[key][name]

    def checkpoint_folders(self) -> dict[str, Path]:
        """The installed checkpoints: name -> folder, ours first."""
        return self._scan_checkpoints()[0]

    def list_plugins(self) -> list[PluginInfo]:
        """Every entry point and how it stands; ours first, then by distribution and name."""
        troubled = self._scan_checkpoints()[1]
        return [troubled.get(plugin) or self._status(plugin) for plugin in self._plugins]

    def _status(self, plugin: PluginInfo) -> PluginInfo:
        if plugin.status == "available" and _key(plugin) in self._loaded:
            return replace(plugin, status="loaded")
        if plugin.status == "available" and _key(plugin) in self._failed:
            return replace(plugin, status="failed", error=self._failed[_key(plugin)])
        return plugin

    def _scan_checkpoints(self) -> tuple[dict[str, Path], dict[PluginInfo, PluginInfo]]:
        """The checkpoint folders, and the plugins that have a trouble as they then stand."""
        folders: dict[str, Path] = {}
        owners: dict[str, str] = {}
        troubled = {}
        for plugin in self._plugins:
            if plugin.group != CHECKPOINTS or plugin.status != "available":
                continue
            try:
                found = _checkpoints_in(plugin.module)
            except Exception as error:  # the finders of other packages run here
                text = one_line(f"{type(error).__name__}: {error}")
                troubled[plugin] = replace(plugin, status="failed", error=text)
                continue
            twice = [f"{name} is also in {owners[name]}, which is used" for name in found if name in owners]
            if twice:
                troubled[plugin] = replace(plugin, status="conflict", error="; ".join(twice))
            folders |= {name: folder for name, folder in found.items() if name not in owners}
            owners = dict.fromkeys(found, plugin.distribution) | owners
        return folders, troubled


@cache
def installed() -> Registry:
    """The registry of this process: what is installed, less what the environment blocks."""
    found = [point for group in (FAMILIES, DATASETS, CHECKPOINTS) for point in entry_points(group=group)]
    allow = os.environ.get(_ALLOW)
    return Registry(found, _split(os.environ.get(_BLOCK, "")), None if allow is None else _split(allow))


def list_families() -> list[str]:
    """Names of the installed families, sorted; imports none of them."""
    return installed().names(FAMILIES)


def list_datasets() -> list[str]:
    """Names of the installed data sets, sorted; imports none of their plugins."""
    return installed().names(DATASETS)


def list_plugins() -> list[PluginInfo]:
    """Every plugin that the installed packages declare and how it stands; imports none of them."""
    return installed().list_plugins()


def get_family(name: str) -> type[Model]:
    """The class of a family.

    Raises:
        LookupError: The family is unknown, blocked or declared by two packages.
        ImportError: Its plugin is broken.
    """
    family: type[Model] = installed().get(FAMILIES, name)
    return family


def get_dataset(name: str) -> DatasetSpec:
    """The description of a data set.

    Raises:
        LookupError: The data set is unknown, blocked or declared by two packages.
        ImportError: Its plugin is broken.
    """
    dataset: DatasetSpec = installed().get(DATASETS, name)
    return dataset


def create_model(family: str, config: Mapping[str, object]) -> Model:
    """A new model, its weights drawn from torch's global generator.

    Arguments:
        family: Name of an installed family.
        config: Fields of the family's config; those left out have their defaults.

    Raises:
        LookupError: The family is not installed.
        ValueError: The config does not fit.
    """
    model_class = get_family(family)
    return model_class(model_class.config_class.from_dict(config, f"config of {family}"))


def family_distribution(name: str) -> str:
    """The package that brings a family, as pip knows it; imports nothing.

    Raises:
        LookupError: The family is unknown, blocked or declared by two packages.
    """
    return installed().find(FAMILIES, name).distribution


def checkpoint_folders() -> dict[str, Path]:
    """The checkpoints that come with the installed packages: name -> folder, ours first; imports nothing."""
    return installed().checkpoint_folders()


def _plugins(points: Iterable[EntryPoint]) -> list[PluginInfo]:
    points, plugins = list(points), []
    packages: dict[int, tuple[str, str]] = {}  # each read once, for that parses all of a package's metadata
    for point in points:
        package, key = point.dist, id(point.dist)
        if key not in packages:
            name, version = (package.name, package.version) if package else ("", "")
            packages[key] = name or "an unnamed package", version or "of unknown version"
        name, version = packages[key]
        plugins.append(
            PluginInfo(name=point.name, group=point.group, distribution=name, version=version, module=point.value)
        )
    return plugins


def _rank(plugin: PluginInfo) -> tuple[bool, str, str, str]:
    return plugin.distribution != "arzoo", plugin.distribution, plugin.group, plugin.name


def _key(plugin: PluginInfo) -> tuple[str, str, str]:
    return plugin.group, plugin.distribution, plugin.module


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _mark_blocked(plugin: PluginInfo, block: Collection[str], allow: Collection[str] | None) -> PluginInfo:
    own = {_normalized(plugin.name), _normalized(plugin.distribution)}
    named = [name for name in block if _normalized(name) in own]
    if named:
        return replace(plugin, status="blocked", error=f"{_BLOCK} blocks {named[0]}; take it out to use it")
    if allow is not None and not any(_normalized(name) in own for name in allow):
        return replace(plugin, status="blocked", error=f"{_ALLOW} does not name it; add it to use it")
    return plugin


def _mark_conflicts(plugins: list[PluginInfo]) -> list[PluginInfo]:
    """Refuses what two entry points declare, but for checkpoints: there the names mean nothing."""

    def mark(plugin: PluginInfo) -> PluginInfo:
        rivals = [p for p in plugins if (p.group, p.name) == (plugin.group, plugin.name) and p is not plugin]
        owners = [rival.distribution for rival in rivals if rival.status == "available"]
        if plugin.status == "blocked" or plugin.group == CHECKPOINTS or not owners:
            return plugin
        advice = f"uninstall one of them or name its package in {_BLOCK}"
        return replace(plugin, status="conflict", error=f"{' and '.join(owners)} declares it too; {advice}")

    return [mark(plugin) for plugin in plugins]


def _call_hook(plugin: PluginInfo, declared: list[str]) -> dict[str, Any]:
    """Imports a module and returns what its hook gives, by name.

    Raises:
        Exception: Whatever the module raises, or what is wrong with its hooks.
    """
    import pluggy

    from arzoo import hookspecs

    manager = pluggy.PluginManager("arzoo")
    manager.add_hookspecs(hookspecs)
    manager.register(importlib.import_module(plugin.module))
    manager.check_pending()
    if plugin.group == FAMILIES:
        hook, results = "arzoo_families", manager.hook.arzoo_families()
    else:
        hook, results = "arzoo_datasets", manager.hook.arzoo_datasets()
    if not results:
        raise ValueError(f"it has no hook {hook} that returns something; is it marked with @arzoo.hookimpl?")
    provided = {_name(plugin.group, item): item for item in results[0]}
    if sorted(provided) != sorted(declared) or len(provided) != len(results[0]):
        names = ", ".join(_name(plugin.group, item) for item in results[0]) or "nothing"
        raise ValueError(f"{hook} returns {names}, but its entry points declare {', '.join(declared)}")
    return provided


def _name(group: str, item: object) -> str:
    if group == FAMILIES:
        from arzoo.model import Model

        if not (isinstance(item, type) and issubclass(item, Model)):
            raise TypeError(f"arzoo_families must return classes derived from arzoo.Model, got {item!r}")
        return item.family
    from arzoo.data import DatasetSpec

    if not isinstance(item, DatasetSpec):
        raise TypeError(f"arzoo_datasets must return instances of arzoo.DatasetSpec, got {item!r}")
    return item.name


def _checkpoints_in(package: str) -> dict[str, Path]:
    """The folders of a package that are named as checkpoints are, with a dash; no module of it is imported.

    Raises:
        ModuleNotFoundError: There is no such package.
    """
    parts = package.split(".")
    spec = find_spec(parts[0])
    for end in range(2, len(parts) + 1):  # find_spec of a dotted name would import what stands before the dot
        path = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(".".join(parts[:end]), path) if path else None
    path = spec.submodule_search_locations if spec else None
    homes = [home for home in map(Path, path or ()) if home.is_dir()]
    if not homes:
        raise ModuleNotFoundError(f"there is no package {package!r}")
    folders = [folder for home in homes for folder in sorted(home.iterdir()) if folder.is_dir()]
    return {folder.name: folder for folder in folders if "-" in folder.name and not folder.name.startswith(".")}
