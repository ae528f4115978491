"""Brings the tables of README.md up to date: the families, and the checkpoints with what was measured.

Usage: python scripts/tables.py
"""

import re
from pathlib import Path

import arzoo
from arzoo.files import replacing
from arzoo.metrics import read_metrics
from arzoo.tables import checkpoint_facts, duration_text, reference

README = Path(__file__).parent.parent / "README.md"


def checkpoints_table() -> str:
    """One row a checkpoint: what was measured on the test split, what was published, what it took."""
    columns = ("checkpoint", "unit", "measured", "published", "parameters", "MiB", "CPU time of the main process")
    rows = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for info in arzoo.list_checkpoints():
        facts = checkpoint_facts(info)
        test, published = facts["test"], facts["published"]
        measured = f"{test['value']:.3f} ± {test['standard_error']:.3f}" if test else "not yet"
        number = str(published["value"]) if published else ""
        size, name = f"{facts['num_bytes'] / 2**20:.1f}", f"[{info.name}](model_cards/{info.name})"
        training = read_metrics(info.path).training
        trained = duration_text(training.cpu_seconds) if training else ""
        cells = (name, test.get("unit", ""), measured, number, f"{facts['num_parameters']:,}", size, trained)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def families_table() -> str:
    """One row a family, with its paper."""
    rows = ["| family | reference |", "|---|---|"]
    rows += [f"| `{name}` | {reference(arzoo.get_family(name))} |" for name in arzoo.list_families()]
    return "\n".join(rows)


def with_tables(text: str) -> str:
    """The text with both tables between their markers."""
    for name, table in (("checkpoints", checkpoints_table()), ("families", families_table())):
        marked = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
        text = marked.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)
    return text


if __name__ == "__main__":
    updated = with_tables(README.read_text(encoding="utf-8"))
    with replacing(README) as path:
        path.write_text(updated, encoding="utf-8")
