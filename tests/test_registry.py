"""What is installed is found by metadata alone, and what is wrong with one plugin concerns no other."""

import ast
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import arzoo
from arzoo import registry
from arzoo.registry import CHECKPOINTS, DATASETS, FAMILIES, Registry

FAMILY = """
    import arzoo

    class {family}(arzoo.Model):
        family = "{family}"

    @arzoo.hookimpl
    def arzoo_families():
        return [{family}]
"""


class Site:
    """A folder of installed packages on sys.path, as pip would leave it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.distributions: set[str] = set()

    def module(self, name: str, source: str) -> None:
        (self.folder / f"{name}.py").write_text(textwrap.dedent(source))

    def install(self, distribution: str, group: str, **declared: str) -> None:
        info = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"[{group}]", *(f"{name} = {value}" for name, value in declared.items())]
        with open(info / "entry_points.txt", "a") as file:
            file.write("\n".join(lines) + "\n")
        self.distributions.add(distribution)

    def registry(self, block: tuple[str, ...] = (), allow: tuple[str, ...] | None = None) -> Registry:
        """Of the packages in this folder, without those of the environment."""
        found = [point for group in (FAMILIES, DATASETS, CHECKPOINTS) for point in entry_points(group=group)]
        ours = [point for point in found if point.dist and point.dist.name in self.distributions]
        assert ours
        return Registry(ours, block, allow)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)
    yield Site(tmp_path)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def status(plugins: Registry, name: str) -> str:
    return next(plugin.status for plugin in plugins.list_plugins() if plugin.name == name)


def error(plugins: Registry, name: str) -> str:
    return next(plugin.error for plugin in plugins.list_plugins() if plugin.name == name)


def message(caught: pytest.ExceptionInfo[Exception]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_module_is_imported_only_when_its_name_is_asked_for(site: Site) -> None:
    site.module("alpha_plugin", FAMILY.format(family="alpha"))
    site.install("zoo-alpha", FAMILIES, alpha="alpha_plugin")
    plugins = site.registry()
    assert plugins.names(FAMILIES) == ["alpha"]
    assert plugins.find(FAMILIES, "alpha").distribution == "zoo-alpha"
    assert status(plugins, "alpha") == "available"
    assert "alpha_plugin" not in sys.modules
    assert plugins.get(FAMILIES, "alpha").family == "alpha"
    assert status(plugins, "alpha") == "loaded"
    assert plugins.names(FAMILIES) == ["alpha"]


def test_data_sets_are_plugins_too(site: Site) -> None:
    site.module("broken_data", "import arzoo\n\n@arzoo.hookimpl\ndef arzoo_datasets():\n    return ['coins']\n")
    site.install("coins", DATASETS, coins="broken_data")
    with pytest.raises(ImportError) as caught:
        site.registry().get(DATASETS, "coins")
    assert "must return instances of arzoo.DatasetSpec, got 'coins'" in message(caught)


def test_an_unknown_name_is_met_with_near_ones(site: Site) -> None:
    site.install("zoo", FAMILIES, pixelcnn="a", made="b")
    with pytest.raises(LookupError, match=r"no family 'PixelCN' is installed; did you mean 'pixelcnn'\?"):
        site.registry().get(FAMILIES, "PixelCN")
    with pytest.raises(LookupError, match="no family 'zzz' is installed; installed are made, pixelcnn"):
        site.registry().get(FAMILIES, "zzz")
    with pytest.raises(LookupError, match="no data set 'mnist' is installed; there is none"):
        site.registry().get(DATASETS, "mnist")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_module_that_is_not_there", "No module named 'a_module_that_is_not_there'"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("def f(:", "SyntaxError"),
        ("import arzoo", "no hook arzoo_families that returns something"),
        ("def arzoo_families():\n    return []", "is it marked with @arzoo.hookimpl?"),
        (
            "import arzoo\n\n@arzoo.hookimpl\ndef arzoo_familys():\n    return []",
            "unknown hook 'arzoo_familys'",
        ),
        ("import arzoo\n\n@arzoo.hookimpl\ndef arzoo_families(zoo):\n    return []", "zoo"),
        (
            "import arzoo\n\n@arzoo.hookimpl\ndef arzoo_families():\n    return []",
            "arzoo_families returns nothing",
        ),
        (
            "import arzoo\n\n@arzoo.hookimpl\ndef arzoo_families():\n    return [3]",
            "derived from arzoo.Model, got 3",
        ),
        ("import arzoo\n\n@arzoo.hookimpl\ndef arzoo_families():\n    return 3", "TypeError"),
        ("import arzoo\n\n@arzoo.hookimpl\ndef arzoo_families():\n    raise KeyError('k')", "KeyError: 'k'"),
        (FAMILY.format(family="beta"), "arzoo_families returns beta, but its entry points declare bad"),
        (
            FAMILY.format(family="bad").replace("return [bad]", "return [bad, bad]"),
            "arzoo_families returns bad, bad, but its entry points declare bad",
        ),
        (
            "import arzoo\n\nclass Bad(arzoo.Model):\n    nothing = 0\n\n"
            "@arzoo.hookimpl\ndef arzoo_families():\n    return [Bad]",
            "has no attribute 'family'",
        ),
    ],
)
def test_a_broken_plugin_concerns_only_those_who_ask_for_it(site: Site, source: str, reason: str) -> None:
    site.module("bad_plugin", source)
    site.module("good_plugin", FAMILY.format(family="good"))
    site.install("a-bad-zoo", FAMILIES, bad="bad_plugin")
    site.install("good-zoo", FAMILIES, good="good_plugin")
    plugins = site.registry()
    assert status(plugins, "bad") == "available"
    for _ in range(2):
        with pytest.raises(ImportError) as caught:
            plugins.get(FAMILIES, "bad")
        text = message(caught)
        assert text.startswith("the family 'bad' cannot be used: the plugin bad_plugin of a-bad-zoo 1.0 is broken: ")
        assert reason in text
    assert status(plugins, "bad") == "failed"
    assert reason in error(plugins, "bad")
    assert plugins.get(FAMILIES, "good").family == "good"
    assert status(plugins, "good") == "loaded"


def test_a_broken_plugin_is_run_once(site: Site) -> None:
    site.module("bad_plugin", "import os\nos.environ['ZOO_RUNS'] += 'x'\nraise RuntimeError")
    site.install("bad-zoo", FAMILIES, bad="bad_plugin")
    plugins = site.registry()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_RUNS", "")
        for _ in range(2):
            with pytest.raises(ImportError):
                plugins.get(FAMILIES, "bad")
        assert os.environ["ZOO_RUNS"] == "x"


def test_a_name_declared_twice_is_refused_with_both_packages_named(site: Site) -> None:
    site.module("first_plugin", FAMILY.format(family="twin"))
    site.module("second_plugin", FAMILY.format(family="twin"))
    site.module("third_plugin", FAMILY.format(family="single"))
    site.install("zoo-one", FAMILIES, twin="first_plugin", single="third_plugin")
    site.install("zoo-two", FAMILIES, twin="second_plugin")
    plugins = site.registry()
    assert plugins.names(FAMILIES) == ["single"]
    with pytest.raises(LookupError) as caught:
        plugins.get(FAMILIES, "twin")
    assert "zoo-one" in message(caught)
    assert "zoo-two declares it too" in message(caught)
    assert {p.distribution: p.status for p in plugins.list_plugins() if p.name == "twin"} == {
        "zoo-one": "conflict",
        "zoo-two": "conflict",
    }
    assert plugins.get(FAMILIES, "single").family == "single"
    assert "first_plugin" not in sys.modules
    assert site.registry(block=("zoo-one",)).get(FAMILIES, "twin").__module__ == "second_plugin"


@pytest.mark.parametrize(
    ("block", "allow", "reason"),
    [
        (("alpha",), None, "ARZOO_BLOCK_PLUGINS blocks alpha"),
        (("Zoo_Alpha",), None, "ARZOO_BLOCK_PLUGINS blocks Zoo_Alpha"),
        ((), ("beta",), "ARZOO_ALLOW_PLUGINS does not name it"),
        ((), (), "ARZOO_ALLOW_PLUGINS does not name it"),
        (("alpha",), ("alpha",), "ARZOO_BLOCK_PLUGINS blocks alpha"),
    ],
)
def test_a_blocked_plugin_is_never_imported(
    site: Site, block: tuple[str, ...], allow: tuple[str, ...] | None, reason: str
) -> None:
    site.module("alpha_plugin", FAMILY.format(family="alpha"))
    site.install("zoo-alpha", FAMILIES, alpha="alpha_plugin")
    plugins = site.registry(block, allow)
    assert plugins.names(FAMILIES) == []
    assert status(plugins, "alpha") == "blocked"
    with pytest.raises(LookupError) as caught:
        plugins.get(FAMILIES, "alpha")
    assert reason in message(caught)
    assert "zoo-alpha" in message(caught)
    assert "alpha_plugin" not in sys.modules


def test_an_allowed_plugin_is_used(site: Site) -> None:
    site.module("alpha_plugin", FAMILY.format(family="alpha"))
    site.install("zoo-alpha", FAMILIES, alpha="alpha_plugin")
    for allow in (("alpha",), ("zoo.alpha", "beta")):
        assert site.registry(allow=allow).get(FAMILIES, "alpha").family == "alpha"


def test_the_environment_blocks_and_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARZOO_BLOCK_PLUGINS", " made ,")
    registry.installed.cache_clear()
    try:
        assert "made" not in arzoo.list_families()
        assert "pixelcnn" in arzoo.list_families()
        monkeypatch.setenv("ARZOO_ALLOW_PLUGINS", "made,nade")
        registry.installed.cache_clear()
        assert arzoo.list_families() == ["nade"]
    finally:
        registry.installed.cache_clear()


def test_checkpoints_are_found_without_an_import(site: Site) -> None:
    for name in ("bear-coins", "ant-coins", "helpers", ".hidden-folder"):
        (site.folder / "cards" / name).mkdir(parents=True)
    (site.folder / "outer" / "inner" / "cat-coins").mkdir(parents=True)
    for package in ("outer", "outer/inner", "cards/helpers"):
        (site.folder / package / "__init__.py").write_text("raise RuntimeError")
    site.install("zoo", CHECKPOINTS, zoo="cards", nested="outer.inner")
    folders = site.registry().checkpoint_folders()
    assert folders == {
        "cat-coins": site.folder / "outer" / "inner" / "cat-coins",
        "ant-coins": site.folder / "cards" / "ant-coins",
        "bear-coins": site.folder / "cards" / "bear-coins",
    }


def test_a_checkpoint_package_that_is_not_there_is_reported(site: Site) -> None:
    (site.folder / "cards" / "ant-coins").mkdir(parents=True)
    site.module("plain_module", "raise RuntimeError")
    site.install("a-zoo", CHECKPOINTS, gone="cards_that_are_gone", deep="gone.deep", odd=".", module="plain_module")
    site.install("b-zoo", CHECKPOINTS, here="cards")
    plugins = site.registry()
    assert list(plugins.checkpoint_folders()) == ["ant-coins"]
    assert error(plugins, "gone") == "ModuleNotFoundError: there is no package 'cards_that_are_gone'"
    assert [status(plugins, name) for name in ("gone", "deep", "odd", "module", "here")] == [
        *4 * ["failed"],
        "available",
    ]


def test_of_two_checkpoints_of_one_name_the_first_stays_and_ours_comes_first(site: Site) -> None:
    for folder in ("cards_a/ant-coins", "cards_a/bee-coins", "cards_b/ant-coins"):
        (site.folder / folder).mkdir(parents=True)
    site.install("aardvark", CHECKPOINTS, cards="cards_a")
    site.install("zoo", CHECKPOINTS, cards="cards_b")
    plugins = site.registry()
    assert plugins.checkpoint_folders()["ant-coins"].parent.name == "cards_a"
    trouble = [(p.distribution, p.error) for p in plugins.list_plugins() if p.status == "conflict"]
    assert trouble == [("zoo", "ant-coins is also in aardvark, which is used")]
    assert list(site.registry(block=("aardvark",)).checkpoint_folders()) == ["ant-coins"]
    points = [point for point in entry_points(group=CHECKPOINTS) if point.dist]
    owners = [p.distribution for p in Registry(points).list_plugins()]
    assert owners == ["arzoo", "aardvark", "zoo"]


def test_the_plugins_of_this_package_are_whole() -> None:
    for name in arzoo.list_families():
        assert arzoo.get_family(name).family == name
    for name in arzoo.list_datasets():
        assert arzoo.get_dataset(name).name == name
    assert [p for p in arzoo.list_plugins() if p.distribution == "arzoo" and p.error] == []


def test_a_model_is_made_from_plain_values() -> None:
    family = arzoo.get_family("made")
    config = family.tiny_configs()[0].to_dict()
    assert isinstance(arzoo.create_model("made", config), family)
    with pytest.raises(ValueError, match=r"config of made: .* has no field 'hiden'"):
        arzoo.create_model("made", {**config, "hiden": 3})


def test_listing_imports_nothing_heavy_and_no_plugin() -> None:
    code = """
        import sys
        import arzoo
        assert "importlib.metadata" not in sys.modules
        arzoo.list_families(), arzoo.list_datasets(), arzoo.list_plugins(), arzoo.list_checkpoints()
        heavy = ["torch", "numpy", "datasets", "huggingface_hub", "pydantic", "accelerate", "matplotlib"]
        print([name for name in sys.modules if name in heavy or name.startswith("arzoo_")])
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_public_names_are_there_and_typed() -> None:
    tree = ast.parse(Path(arzoo.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("arzoo.")
        for alias in node.names
    }
    assert {name: f"arzoo.{module}" for name, module in arzoo._MODULES.items()} == typed
    for name in arzoo.__all__:
        assert getattr(arzoo, name) is not None
        assert name in dir(arzoo)
    assert not set(typed) & {module.split(".")[1] for module in typed.values()}  # a name has one meaning
    with pytest.raises(AttributeError, match="module 'arzoo' has no attribute 'lode'"):
        arzoo.lode  # noqa: B018
