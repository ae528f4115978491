"""`arzoo ...`: every command is one call of the library; what was wrong stands on one line.

Nothing is imported before a command needs it: what only lists takes neither torch nor a plugin.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from arzoo import console


class _Commands(TyperGroup):
    """Turns what the library raises for its user into one line and exit code 1, and a warning into one line."""

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return self._invoke(ctx)

    def _invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            typer.echo(f"\ninterrupted{interrupt}", err=True)
            raise typer.Exit(130) from None
        except (BrokenPipeError, KeyError, IndexError):  # no message of the library: a closed pipe, or a bug
            raise
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # of torch, which is not imported for this
                raise
            typer.echo("error: the device has too little memory; take less at a time, or --device cpu", err=True)
            raise typer.Exit(1) from None
        except (ValueError, LookupError, OSError, ImportError) as error:
            typer.echo(f"error: {console.error_message(error)}", err=True)
            raise typer.Exit(1) from None


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    typer.echo(f"warning: {console.plain(str(message))}", err=True)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Name = Annotated[
    str, typer.Argument(help="An installed checkpoint, a folder: ./FOLDER, or a repository of the Hub: ORG/NAME.")
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a repository.  [default: main]")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[
    str, typer.Option(help="cpu, cuda or another that torch knows; auto: the accelerator, if there is one.")
]
Contexts = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        metavar="NAME=VALUE",
        help="What to condition on: a label, else a number, for all; or one for each with commas between; repeatable.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same events.")]


def main() -> None:
    """The console script."""
    if not sys.stderr.isatty():  # before the client of the Hub is imported, which reads it once
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    app(prog_name="arzoo")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"arzoo {version('arzoo')}")
        raise typer.Exit


@app.callback()
def _options(
    block_plugin: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Do without a plugin or package; may be repeated."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A zoo of autoregressive generative models.

    Example: arzoo list
    """
    if block_plugin:
        # In the environment, where processes that this one starts find it too.
        blocked = [os.environ.get("ARZOO_BLOCK_PLUGINS", ""), *block_plugin]
        os.environ["ARZOO_BLOCK_PLUGINS"] = ",".join(filter(None, blocked))
