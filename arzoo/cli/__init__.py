"""The command line; a module holds the commands of one kind."""

from arzoo.cli import cards as cards
from arzoo.cli import listing as listing
from arzoo.cli import measuring as measuring
from arzoo.cli import sharing as sharing
from arzoo.cli import training as training
from arzoo.cli import using as using
from arzoo.cli.app import app as app
from arzoo.cli.app import main as main
