"""The nets of a folder of nets, by name."""
from pathlib import Path
from typing import Any, NamedTuple

from ..programs import run_program

NETS = Path(__file__).resolve().parent.parent.parent / 'nets'


class Named(NamedTuple):
    """A net as it is deployed, and as it is scored, with its data layer: `caffe_pb2.NetParameter`s."""

    deploy: Any
    scored: Any


def named_net(name: str, nets: Path = NETS) -> Named:
    """A net by its name.

    Parameters
    ----------
    name : str
        Such as 'voc-fcn8s'.
    nets : Path
        The folder of nets.

    Returns
    -------
    Named

    Raises
    ------
    BadInput
        The folder has no such net (lists those it has), or the net cannot be loaded.
    """
    training, _ = run_program(name, nets)
    return Named(training.fcn('deploy'), training.fcn(training.phases[1]))
