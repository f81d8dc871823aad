"""The nets, one package each: `net.py` is the paper, `solve.py` how it is trained."""
from pathlib import Path

import accel  # noqa: F401 (before Caffe, which the nets import)
from solvers import training
from solvers.training import Training
from surgery.programs import net_folders

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """All nets, as the command line calls them."""
    return list(net_folders(FOLDER))


def load(name: str) -> Training:
    """The `Training` of a net by its name, such as 'voc-fcn8s'.

    Raises
    ------
    cli.BadInput
        No net is called so; lists those there are.
    """
    return training.load(name, FOLDER)
