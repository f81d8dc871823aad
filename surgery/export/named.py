"""The nets of a folder of nets, by name: the `solve.py` of a net's folder states them."""
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

from cli import BadInput

NETS = Path(__file__).resolve().parent.parent.parent / 'nets'
PROGRAM = 'solve.py'


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
    programs = {path.parent.name.replace('_', '-'): path for path in sorted(nets.glob(f'*/{PROGRAM}'))}
    if name not in programs:
        raise BadInput(f'no net is called {name!r}; there are {", ".join(programs)}')
    program = programs[name]
    spec = importlib.util.spec_from_file_location(f'{nets.name}.{program.parent.name}.solve', program)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as problem:
        raise BadInput(f'{program} cannot be loaded ({problem})') from None
    training = module.training
    return Named(training.fcn('deploy'), training.fcn(training.phases[1]))
