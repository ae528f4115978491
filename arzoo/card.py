"""The card of a checkpoint: README.md, written from what lies beside it, so that it says nothing else.

It holds sections (`arzoo.card_sections`) and a front matter for the Hub (`arzoo.card_metadata`).  Writing it
anew brings these up to date and keeps all that people wrote (`arzoo.card_merging`).

Weights are under the licence that `write_card` is given, else under the one that the card names already, else
under that of the data where it binds what is made of them (share-alike) or forbids what Apache-2.0 would allow
(commercial use, derived works); elsewhere under Apache-2.0, as arzoo is.
"""

from __future__ import annotations

import re
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

from arzoo import registry
from arzoo.card_merging import merge
from arzoo.card_metadata import body_start, front_matter, stated, updated, with_front_matter
from arzoo.card_sections import Facts, sections
from arzoo.checkpoints import describe_checkpoint, read_config
from arzoo.files import replacing
from arzoo.metrics import read_metrics
from arzoo.recipe import load_recipe

if TYPE_CHECKING:
    from arzoo.metrics import Evaluation

CARD = "README.md"


def write_card(directory: str | Path, license: str | None = None, *, name: str | None = None) -> str:
    """Brings README.md of a checkpoint folder up to date.

    Arguments:
        directory: What it holds beside config.json and model.safetensors (recipe.toml, metrics.json, samples.png,
            curve.png) gets its section; what it lacks, none.
        license: Of the weights, as the Hub writes it: "mit", or "other".
        name: What `arzoo.load` takes for the checkpoint: on the Hub "org/name".  None takes what the card says if
            it has such a name or that of an installed checkpoint, else the name of the folder.

    Returns:
        What changed, as a unified diff; empty if the card was up to date.

    Raises:
        FileNotFoundError: The folder is no checkpoint.
        LookupError: Its family or the data set of its recipe is not installed.
        ValueError: The weights are damaged, one of the other files is not valid, a section was edited by hand, no
            licence is known, or it does not fit that of the data.
    """
    before = _as_it_is(directory)
    after = card_text(directory, _without_mark(before), license, name=name)
    if after != before:
        with replacing(Path(directory) / CARD) as path:
            path.write_bytes(after.encode())
            if _as_it_is(directory) != before:  # somebody wrote into it while the model was loaded
                raise ValueError(f"{Path(directory) / CARD} was changed meanwhile; write it again")
    return _difference(before, after)


def check_card(directory: str | Path, license: str | None = None, *, name: str | None = None) -> str:
    """What `write_card` would change, as a unified diff; empty if the card is up to date.  Raises as it does."""
    before = _as_it_is(directory)
    return _difference(before, card_text(directory, _without_mark(before), license, name=name))


def card_text(directory: str | Path, current: str, license: str | None = None, *, name: str | None = None) -> str:
    """What `write_card` would make of this card; arguments and errors as there."""
    from arzoo.loading import load

    directory = Path(directory)
    config, info = read_config(directory), describe_checkpoint(directory)
    if info.error:
        raise ValueError(info.error)
    recipe = load_recipe(directory / "recipe.toml") if (directory / "recipe.toml").is_file() else None
    spec = registry.get_dataset(recipe.dataset) if recipe else None
    model, metrics = load(directory), read_metrics(directory)
    try:
        front = front_matter(current)
        license = _licence(license, front.get("license"), spec.licence if spec else None)
        facts = Facts(
            folder=directory,
            name=name or _name(current, directory.absolute().name),
            license=str(front.get("license_name", license)) if license == "other" else license,
            config=config,
            family=type(model),
            context_names=model.context_names,
            num_parameters=info.num_parameters,
            recipe=recipe,
            spec=spec,
            test=metrics.test_of(config["weights"]["sha256"]),
            metrics=metrics,
        )
        text = merge(current, sections(facts), body_start(current))
        return with_front_matter(text, updated(front, facts, license))
    except ValueError as error:
        raise ValueError(f"{directory / CARD}: {error}") from None


def read_card(directory: str | Path) -> str:
    """The card, the ends of its lines as they are, without a byte order mark; empty if there is none."""
    return _without_mark(_as_it_is(directory))


def _without_mark(text: str) -> str:
    return text.removeprefix("\ufeff")


def _as_it_is(directory: str | Path) -> str:
    card = Path(directory) / CARD
    try:
        return card.read_bytes().decode() if card.is_file() else ""
    except UnicodeDecodeError as error:
        raise ValueError(f"{card} is no UTF-8 ({error}); save it as such") from None


def stated_value(directory: str | Path, test: Evaluation) -> float | None:
    """What the front matter states for a measurement of the weights that are there; None if nothing."""
    sha256 = read_config(directory)["weights"]["sha256"]
    try:
        return stated(front_matter(read_card(directory)), test, sha256)
    except ValueError as error:
        raise ValueError(f"{Path(directory) / CARD}: {error}") from None


def weights_licence(data_licence: str) -> str:
    """The licence of weights that were trained on data under this one, as the Hub writes it."""
    return data_licence if _binding(data_licence) else "apache-2.0"


def _binding(licence: str) -> set[str]:
    return {"sa", "nc", "nd"} & set(licence.split("-"))


def _licence(given: str | None, stated: object, data: str | None) -> str:
    chosen = given or stated or (weights_licence(data) if data else None)
    if chosen is None:
        raise ValueError(
            "no licence is known, since there is no recipe.toml that names the data; choose one for the weights:"
            " license='mit', --license mit"
        )
    if not isinstance(chosen, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", chosen):
        raise ValueError(f"a licence is written as the Hub writes it, like apache-2.0 or other; got {chosen!r}")
    if data and chosen != "other" and not _binding(data) <= _binding(chosen):
        raise ValueError(
            f"the weights cannot be under {chosen}, since the data are under {data}, which binds what is made of"
            f" them; take {data}, or other with a license_name in the front matter"
        )
    return chosen


def named_in_card(text: str) -> str | None:
    """What the snippet in the section `use` of a card gives to `arzoo.load`; None without one."""
    use = re.search(r"<!--\s*arzoo:begin\s+use\s.*?<!--\s*arzoo:end\s+use\s", text, re.DOTALL)
    found = use and re.search(r'^model = arzoo\.load\("(.+)"\)\r?$', use[0], re.MULTILINE)
    return found[1] if found else None


def _name(text: str, folder: str) -> str:
    """What `arzoo.load` takes: the name that the card says if others know it, else that of the folder."""
    found = named_in_card(text)
    return found if found and ("/" in found or found in registry.checkpoint_folders()) else folder


def _difference(before: str, after: str) -> str:
    old, new = before.splitlines(), after.splitlines()
    return "\n".join(unified_diff(old, new, CARD, CARD, "as it is", "as it will be", lineterm=""))
