"""Whatever people do to a card by hand: it survives, or is refused in one line, and never lost."""

import copy
import json
import random
import re
from pathlib import Path

import pytest
import toy_zoo
import yaml
from huggingface_hub import ModelCard

from arzoo import card
from arzoo.card_merging import merge

SECTION = re.compile(r"<!--\s*arzoo:begin\s+(\w+)\s+\w+\s*-->.*?<!--\s*arzoo:end\s+\1\s*-->", re.DOTALL)


@pytest.fixture
def readme(checkpoint: Path) -> Path:
    """A card that was just written."""
    toy_zoo.measure(checkpoint)
    card.write_card(checkpoint)
    return checkpoint / "README.md"


def rewritten(readme: Path, text: str, value: float = 1.25) -> str:
    """What becomes of a text when there is something new to say."""
    readme.write_bytes(text.encode())
    toy_zoo.measure(readme.parent, value)
    card.write_card(readme.parent)
    assert card.check_card(readme.parent) == ""
    return readme.read_bytes().decode()


def read(readme: Path) -> str:
    return readme.read_bytes().decode()


def order(text: str) -> list[str]:
    return [found[1] for found in SECTION.finditer(text)]


def front(text: str) -> dict[str, object]:
    values = ModelCard(text).data.to_dict()
    assert isinstance(values, dict)
    return values


# ---- text outside of the sections


@pytest.mark.parametrize("seed", range(10))
def test_text_anywhere_between_sections_in_any_order_survives(readme: Path, seed: int) -> None:
    draw = random.Random(seed)
    _, head, body = read(readme).split("---\n", 2)
    blocks = [found[0] for found in SECTION.finditer(body)]
    draw.shuffle(blocks)
    texts = [
        "",
        "\n",
        "\n\n## Von Hand: äöü \n\n",
        " a\tb ",
        "\n---\n",
        "\n\n    code\n\n",
        "<!-- mine -->",
        "\r\n",
        "\\1 $&",
    ]
    pieces = [part for block in blocks for part in (draw.choice(texts), block)] + [draw.choice(texts)]
    text = rewritten(readme, f"---\n{head}---\n{''.join(pieces)}")
    behind = text.split("---\n", 2)[2]
    assert SECTION.sub("@", behind) == "@".join(pieces[::2])
    assert order(behind) == [SECTION.match(block)[1] for block in blocks]  # type: ignore[index]
    assert "| measured | 1.25 |" in behind and "543.43" not in text


def test_a_card_by_hand_stands_below(readme: Path) -> None:
    text = rewritten(readme, "---\nlanguage: de\n---\n\n# By hand\n\nMind the -- ---\n---\ngap.")
    assert text.endswith("<!-- arzoo:end citation -->\n\n# By hand\n\nMind the -- ---\n---\ngap.")
    assert front(text)["language"] == "de"
    without = rewritten(readme, "# By hand\n")
    assert without.endswith("<!-- arzoo:end citation -->\n# By hand\n")


def test_a_section_that_was_deleted_comes_back_behind_its_predecessor(readme: Path) -> None:
    whole = read(readme)
    assert len(order(whole)) == 10
    for name in order(whole):
        block = next(found[0] for found in SECTION.finditer(whole) if found[1] == name)
        text = rewritten(readme, whole.replace(block, "Mine."), 543.43)
        assert order(text) == order(whole) and text.count("Mine.") == 1
        assert text.count(block) == 1
    moved = whole.replace("<!-- arzoo:end recipe -->", "<!-- arzoo:end recipe -->\n\nOf the recipe.")
    block = next(found[0] for found in SECTION.finditer(whole) if found[1] == "training")
    text = rewritten(readme, moved.replace(block, ""), 543.43)
    assert f"<!-- arzoo:end recipe -->\n\n{block}\n\nOf the recipe." in text


def test_a_section_without_its_markers_belongs_to_who_took_them_away(readme: Path) -> None:
    text = re.sub("<!-- arzoo:(begin|end) limits.*-->", "", read(readme)).replace("## Limits", "## My limits")
    again = rewritten(readme, text)
    assert again.count("\n## Limits") == again.count("\n## My limits") == 1


def test_an_emptied_section_is_written_anew(readme: Path) -> None:
    whole = read(readme)
    text = re.sub(r"(begin use \w+ -->).*?(<!-- arzoo:end use)", r"\1\n\n\2", whole, flags=re.DOTALL)
    assert rewritten(readme, text, 543.43) == whole


# ---- text within the sections


def test_an_edited_section_is_refused_and_named(readme: Path) -> None:
    whole = read(readme)
    toy_zoo.measure(readme.parent, 1.25)
    for name in order(whole):
        text = whole.replace(f"\n<!-- arzoo:end {name} -->", f" Mine.\n<!-- arzoo:end {name} -->")
        readme.write_text(text)
        line = whole[: whole.index(f"<!-- arzoo:begin {name} ")].count("\n") + 1
        with pytest.raises(ValueError, match=rf"README\.md: line {line}: the section '{name}' was edited") as refused:
            card.write_card(readme.parent)
        assert "\n" not in str(refused.value) and "move your text outside" in str(refused.value)
        assert read(readme) == text


def test_an_edited_section_is_not_taken_out(readme: Path) -> None:
    text = read(readme).replace("- hardware: a toy", "- hardware: my own")
    readme.write_text(text)
    metrics = json.loads((readme.parent / "metrics.json").read_text())
    del metrics["training"]
    (readme.parent / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="'training' was edited"):
        card.write_card(readme.parent)
    assert read(readme) == text


def test_a_heading_may_be_translated(readme: Path) -> None:
    text = read(readme)
    german = {"## Measured and published": "### Gemessen", "## Use": "## Benutzung", "## Licence": "## Lizenz"}
    for ours, theirs in german.items():
        text = text.replace(f"{ours}\n", f"{theirs}\n")
    again = rewritten(readme, text)
    for ours, theirs in german.items():
        assert f"\n{theirs}\n" in again and f"\n{ours}\n" not in again
    assert "### Gemessen\n\n|  | Negative" in again and "| measured | 1.25 |" in again
    assert rewritten(readme, again.replace("## Lizenz", "## Licence"), 2.5).count("## Licence") == 1
    with pytest.raises(ValueError, match="'licence' was edited"):
        rewritten(readme, again.replace("## Lizenz", "Lizenz:"))


def test_what_agrees_with_the_folder_already_is_not_called_edited() -> None:
    old, new = merge("", {"size": "## Size\n\n1"}), {"size": "## Size\n\n2"}
    by_hand = old.replace("\n1\n", "\n2\n")
    assert merge(by_hand, new) == merge(old, new) == merge("", new)


# ---- what editors do


def test_windows_line_ends_stay_and_are_no_edit(readme: Path) -> None:
    windows = (read(readme) + "\nBy hand.\n").replace("\n", "\r\n")
    readme.write_bytes(windows.encode())
    assert card.write_card(readme.parent) == ""
    text = rewritten(readme, windows)
    assert text.count("\r\n") == text.count("\n")
    assert text == windows.replace("543.43", "1.25").replace(*hashes(windows, text))
    assert front(text)["license"] == "cc-by-sa-3.0"


def hashes(before: str, after: str) -> tuple[str, str]:
    """The hash of the section of results in two texts."""
    found = [re.search(r"begin results (\w+)", text) for text in (before, after)]
    assert found[0] and found[1] and found[0][1] != found[1][1]
    return found[0][1], found[1][1]


def test_lines_of_both_kinds_stay_as_they_are(readme: Path) -> None:
    text = rewritten(readme, read(readme) + "\na\r\nb\n")
    assert text.endswith("-->\n\na\r\nb\n") and text.count("\r\n") == 1


def test_blank_lines_and_blanks_around_a_section_are_no_edit(readme: Path) -> None:
    text = re.sub(r"(<!-- arzoo:begin .*-->)", r"\1\n", read(readme))
    text = re.sub(r"(<!-- arzoo:end .*-->)", r"\n\1", text).replace("import arzoo\n", "import arzoo  \n")
    readme.write_text(text)
    assert card.write_card(readme.parent) == ""


def test_a_byte_order_mark_is_no_text(readme: Path) -> None:
    text = read(readme)
    readme.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert card.check_card(readme.parent) != ""  # the Hub would show it
    assert card.write_card(readme.parent) != ""
    assert read(readme) == text


def test_a_card_that_is_no_text_is_refused(readme: Path) -> None:
    readme.write_bytes("Größe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"README\.md is no UTF-8"):
        card.write_card(readme.parent)
    assert readme.read_bytes() == "Größe".encode("latin-1")


BEGIN, END = "<!-- arzoo:begin use 0123456789ab -->", "<!-- arzoo:end use -->"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"\n\n{BEGIN}", "line 3: the section 'use' has no end"),
        (f"a\n{END}", "line 2: the end of the section 'use' has no beginning"),
        (f"{END}{BEGIN}", "line 1: the end of the section 'use' has no beginning"),
        (f"{BEGIN}\n{END}\n{END}", "line 3: the end of the section 'use' has no beginning"),
        (f"{BEGIN}{END}\n{BEGIN}{END}", "line 2: the section 'use' stands there twice"),
        (f"{BEGIN}\n{BEGIN}{END}{END}", "line 1: the section 'use' has no end"),
        (f"{BEGIN}\n{END.replace('use', 'size')}", "line 2: the end of the section 'size' has no beginning"),
        (f"{BEGIN[:-1]}\n{END}", "line 1: a marker is damaged"),
        (f"{BEGIN[1:]}\n{END}", "line 1: a marker is damaged"),
        (f"{BEGIN.replace('<!--', '<!—')}\n{END}", "line 1: a marker is damaged"),
        (f"{BEGIN.replace('<', '&lt;')}\n{END}", "line 1: a marker is damaged"),
        (f"{BEGIN.replace('0123', '')}\n{END}", "line 1: a marker is damaged"),
        (f"{BEGIN}\n{END.replace('end use', 'end')}", "line 2: a marker is damaged"),
        (f"{BEGIN}\n{END.replace('use', 'use 0123456789ab')}", "line 2: a marker is damaged"),
        (f"{BEGIN.upper()}\n{END}", "line 1: a marker is damaged"),
        ("<!-- arzoo:begin -->\n<!-- arzoo:end -->", "line 1: a marker is damaged"),
        (f"{BEGIN.replace('use', 'poetry')}\n# Ode\n{END.replace('use', 'poetry')}", "line 1: .* 'poetry' was edited"),
    ],
)
def test_broken_markers_are_refused(readme: Path, text: str, reason: str) -> None:
    readme.write_text(text)
    with pytest.raises(ValueError, match=rf"README\.md: {reason}") as refused:
        card.write_card(readme.parent)
    assert "\n" not in str(refused.value)
    assert readme.read_text() == text
    readme.write_text(f"---\nlicense: cc-by-sa-3.0\n---\n{text}")  # lines count from the first of the file
    further = re.sub(r"(?<=^line )\d", lambda line: str(int(line[0]) + 3), reason)
    with pytest.raises(ValueError, match=rf"README\.md: {further}"):
        card.write_card(readme.parent)


def test_a_damaged_card_loses_nothing() -> None:
    """A few characters are cut out or put in anywhere: what stands outside of whole sections is there afterwards."""
    draw = random.Random(0)
    sections = {"use": "## Use\n\nIt.", "size": "## Size\n\n1", "limits": "## Limits\n\nMany."}
    whole, refused = merge("Above.\n\nMine.\n", sections), 0
    for _ in range(1000):
        text = whole
        for _ in range(draw.randint(1, 3)):
            place, length = draw.randrange(len(text)), draw.choice((0, 1, 5, 60))
            text = text[:place] + draw.choice(("", "", "-", "\n", "mine", "<!--", " -->")) + text[place + length :]
        try:
            after = merge(text, {**sections, "size": "## Size\n\n2"})
        except ValueError:
            refused += 1
            continue
        remaining = iter(after)
        assert all(character in remaining for character in SECTION.sub("", text)), text  # in this order
        for block in (found[0] for found in SECTION.finditer(text)):  # each as it was written, but for its heading
            lines = block.split("-->", 1)[1].rsplit("<!--", 1)[0].strip().split("\n")
            assert lines == [""] or lines[1:] in [section.split("\n")[1:] for section in sections.values()], text
    assert 300 < refused < 950


# ---- the front matter


def test_what_people_wrote_in_the_front_matter_stays_as_they_wrote_it(readme: Path) -> None:
    text = read(readme).replace("---\nlicense", "---\n# my comment\nlanguage:   [ de,en ]  # both\nlicense", 1)
    text = text.replace("library_name: arzoo\n", "extra: |\n  # no comment\n  --\n\"library_name\": 'arzoo'\n", 1)
    text = text.replace("\n---\n", "\nbase_model: me/other # mine\nodd: [.nan, 2020-01-02]\n# the end\n---\n", 1)
    again = rewritten(readme, text)
    assert again == text.replace("543.43", "1.25").replace(*hashes(text, again))


def test_what_we_say_is_brought_up_to_date_among_what_others_say(readme: Path) -> None:
    text = read(readme).replace("library_name: arzoo", "library_name: timm")
    tags = "tags: # of mine\n- images\n# first\n- digits # second\n\n# then\n"
    text = re.sub(r"tags:\n(- .*\n)*", tags, text, count=1)
    text = text.replace("unconditional-image-generation\ntags", "image-to-image\ntags")
    text = text.replace("cc-by-sa-3.0\n", "cc-by-sa-3.0 # theirs\n", 1)
    again = rewritten(readme, text)
    values = front(again)
    assert values["tags"] == ["autoregressive", "density-estimation", "nade", "images", "digits"]
    assert (values["library_name"], values["pipeline_tag"]) == ("arzoo", "image-to-image")
    assert "# of mine\n# first\n# second\ntags:\n" in again and "\n- digits\n\n# then\nmodel-index" in again
    assert "\nlicense: cc-by-sa-3.0 # theirs\n" in again


def test_one_tag_or_data_set_may_stand_without_a_list(readme: Path) -> None:
    text = re.sub(r"tags:\n(- .*\n)*", "tags: digits\ndatasets: me/digits\n", read(readme), count=1)
    values = yaml.safe_load(rewritten(readme, text).split("---\n")[1])
    assert values["tags"] == ["autoregressive", "density-estimation", "nade", "digits"]
    assert values["datasets"] == "me/digits"


def results(text: str) -> list[tuple[str, str, str, float]]:
    found = ModelCard(text).data.eval_results
    return [(each.dataset_name, str(each.dataset_config), each.metric_type, each.metric_value) for each in found]


OURS = ("binarized_mnist", "As | it is.", "negative_log_likelihood", 1.25)


def test_results_of_others_stay_beside_ours(readme: Path) -> None:
    data = yaml.safe_load(read(readme).split("---\n")[1])
    (entry,) = data["model-index"]
    (ours,) = entry["results"]
    ours["metrics"].append({"type": "fid", "value": 7.5})
    ours["source"] = {"name": "a trial", "url": "https://example.org"}
    other = {"task": {"type": "image-classification"}, "dataset": {"name": "MNIST", "type": "mnist"}}
    entry["results"].insert(0, {**other, "metrics": [{"type": "accuracy", "value": 0.5, "verified": False}]})
    data["model-index"].append({"name": "another", "results": [{**other, "metrics": [{"type": "f1", "value": 0.25}]}]})
    body = read(readme).split("---\n", 2)[2]
    text = rewritten(readme, f"---\n{yaml.safe_dump(data)}---\n{body}")
    assert ("binarized_mnist", "As | it is.", "fid", 7.5) in results(text)
    assert ("MNIST", "None", "accuracy", 0.5) in results(text) and ("MNIST", "None", "f1", 0.25) in results(text)
    assert OURS in results(text) and len(results(text)) == 4
    written = yaml.safe_load(text.split("---\n")[1])["model-index"]
    assert written[0]["results"][1]["source"]["name"] == "a trial"
    assert written[0]["results"][0]["metrics"][0]["verified"] is False and written[1]["name"] == "another"


def test_what_others_say_of_our_result_stays_and_what_we_say_of_it_is_brought_up_to_date(readme: Path) -> None:
    data = yaml.safe_load(read(readme).split("---\n")[1])
    (ours,) = data["model-index"][0]["results"]
    written = copy.deepcopy(ours)
    ours["task"] |= {"name": "A guess", "of": "mine"}
    ours["dataset"] |= {"name": "MNIST", "args": {"size": 28}}
    ours["metrics"][0] |= {"name": "NLL", "verified": False}
    ours["metrics"][0]["args"] |= {"seed": 3, "num_examples": 7}
    body = read(readme).split("---\n", 2)[2]
    readme.write_text(f"---\n{yaml.safe_dump(data)}---\n{body}")
    card.write_card(readme.parent)
    (again,) = yaml.safe_load(read(readme).split("---\n")[1])["model-index"][0]["results"]
    assert again["task"] == {**written["task"], "of": "mine"}
    assert again["dataset"] == {**written["dataset"], "args": {"size": 28}}
    (metric,) = written["metrics"]
    assert again["metrics"] == [{**metric, "verified": False, "args": {**metric["args"], "seed": 3}}]


def test_two_protocols_do_not_merge(readme: Path) -> None:
    metrics = json.loads((readme.parent / "metrics.json").read_text())
    metrics["test"] |= {"protocol": "Binarised anew each time.", "value": 70.5}
    (readme.parent / "metrics.json").write_text(json.dumps(metrics))
    card.write_card(readme.parent)
    second = ("binarized_mnist", "Binarised anew each time.", "negative_log_likelihood", 70.5)
    assert results(read(readme)) == [(*OURS[:3], 543.43), second]
    assert "| measured | 70.50 |" in read(readme)


def test_results_of_ours_go_with_the_weights_that_they_are_of(readme: Path) -> None:
    data = yaml.safe_load(read(readme).split("---\n")[1])
    (ours,) = data["model-index"][0]["results"]
    old = ours["metrics"][0]["args"] | {"weights_sha256": "0" * 64}
    more = {**ours, "dataset": {**ours["dataset"], "config": "Another."}}
    more["metrics"] = [{**ours["metrics"][0], "args": old}, {"type": "fid", "value": 7.5}]
    gone = {**more, "dataset": {**ours["dataset"], "config": "A third."}, "metrics": more["metrics"][:1]}
    data["model-index"][0]["results"] += [more, gone]
    text = rewritten(readme, f"---\n{yaml.safe_dump(data)}---\n")
    assert results(text) == [OURS, ("binarized_mnist", "Another.", "fid", 7.5)]


def test_no_numpy_scalar_reaches_the_front_matter(readme: Path) -> None:
    assert "!!python" not in read(readme)
    values = yaml.safe_load(read(readme).split("---\n")[1])  # a safe loader knows no others
    metric = values["model-index"][0]["results"][0]["metrics"][0]
    assert [type(metric["value"]), type(metric["args"]["num_examples"])] == [float, int]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("---\nlicense: mit\n", "the front matter has no end: a line --- is missing"),
        ("---\na: [\n---\n", "the front matter is no YAML"),
        ("---\na: !!python/object:os.system x\n---\n", "the front matter is no YAML"),
        ("---\nwhen: 2020-13-45\n---\n", "the front matter is no YAML"),
        (f"---\n{'[' * 5000}\n---\n", "the front matter is no YAML"),
        ("---\nJust a text.\n---\n", "must be lines of the form 'key: value', got str"),
        ("---\n{library_name: timm}\n---\n", "cannot be edited; let every key stand once, at the beginning"),
        ("---\n? library_name\n: timm\n---\n", "cannot be edited; let every key stand once"),
        ("---\nlibrary_name: arzoo\ntags: x\nlibrary_name: timm\n---\n", "cannot be edited; let every key stand once"),
        ("---\n  library_name: timm\n---\n", "cannot be edited; let every key stand once"),
        ("---\na: &a timm\ntags: &b [x]\nmore: *b\n---\n", "cannot be edited; let every key stand once"),
        ("---\nmodel-index: 3\n---\n", "model-index in the front matter must be a list"),
        ("---\nmodel-index: [{name: x}]\n---\n", "model-index in the front matter must be a list"),
        ("---\nmodel-index: [{results: []}]\n---\n", "model-index in the front matter must be a list"),
        ("---\nlicense: [mit]\n---\n", "like apache-2.0 or other; got"),
    ],
)
def test_a_front_matter_that_cannot_be_read_or_edited_is_refused(readme: Path, text: str, reason: str) -> None:
    readme.write_text(text)
    with pytest.raises(ValueError, match=rf"README\.md: .*{re.escape(reason)}") as refused:
        card.write_card(readme.parent)
    assert "\n" not in str(refused.value)
    assert readme.read_text() == text


@pytest.mark.parametrize(
    "text", ["---\n---", "\n---\n---\n", "---\n# nothing yet\n---\n", "---\nfoo:\n---", "---  \nfoo: bar\n--- \n", ""]
)
def test_an_unusual_front_matter_is_filled(readme: Path, text: str) -> None:
    again = rewritten(readme, text)
    assert front(again)["license"] == "cc-by-sa-3.0" and results(again) == [OURS]
    assert ("# nothing yet" in again) == ("# nothing yet" in text)
    assert ("foo:" in again) == ("foo:" in text)
