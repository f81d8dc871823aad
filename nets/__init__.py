"""The nets, one package each: `net.py` is the paper, `solve.py` how it is trained."""
import importlib
from pathlib import Path

import cli

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """All nets, as the command line calls them."""
    return sorted(path.parent.name.replace('_', '-') for path in FOLDER.glob('*/solve.py'))


def load(name):
    """The `Training` of a net by its name, such as 'voc-fcn8s'.

    Raises
    ------
    cli.BadInput
        When there is no such net; lists those there are.
    """
    if name not in names():
        raise cli.BadInput(f'no net is called {name!r}; there are {", ".join(names())}')
    return importlib.import_module(f'nets.{name.replace("-", "_")}.solve').training
