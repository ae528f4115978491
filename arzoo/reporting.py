"""What training shows while it runs: a progress bar for people, plain lines for files."""

import math
import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 60.0
"""Seconds between two lines where there is no terminal."""


class Report:
    """Shows the loss, the last validation value and the time left; silent in all processes but one.

    Arguments:
        setup: The effective set-up, shown first.
        done: Updates that earlier calls made.
        steps: Updates in all.
        unit: Unit of the losses: "nats", "bits/dim" or "perplexity".
        visible: Whether this process shows anything.
    """

    def __init__(self, setup: dict[str, Any], done: int, steps: int, unit: str, visible: bool) -> None:
        console = Console(file=sys.stderr, quiet=not visible)
        console.print(", ".join(f"{name} {value}" for name, value in setup.items()), highlight=False, soft_wrap=True)
        if done:
            console.print(f"goes on after step {done}/{steps}", highlight=False)
        self._console, self._steps, self._unit = console, steps, unit
        self._smooth, self._validation, self._told = math.nan, "", time.monotonic()
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not visible or not console.is_terminal,
        )
        self._task = self._progress.add_task("train", total=steps, completed=done, loss="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, record: dict[str, Any]) -> None:
        """Shows one record of the training curve; a line where there is no terminal or something was measured."""
        loss = record["loss"]
        self._smooth = loss if math.isnan(self._smooth) else 0.98 * self._smooth + 0.02 * loss
        text = f"{self._smooth:.4f} {self._unit}{self._validation}"
        self._progress.update(self._task, completed=record["step"], loss=text)
        measured = "validation" in record
        if measured:
            self._validation = f", validation {record['validation']:.4f}"
        if measured or (not self._console.is_terminal and time.monotonic() - self._told > LINE_SECONDS):
            self._told = time.monotonic()
            self._console.print(
                f"step {record['step']}/{self._steps}  {record['seconds']:.0f} s  "
                f"loss {self._smooth:.4f} {self._unit}{self._validation}",
                highlight=False,
            )
