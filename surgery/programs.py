"""The `solve.py` of a net's folder: a program that states the net and how it is trained."""
import importlib.util
from pathlib import Path
from typing import Any

from cli import BadInput

PROGRAM = 'solve.py'


def net_name(program: str) -> str:
    """The name of the net whose `solve.py` this is: that of its folder.

    Parameters
    ----------
    program : str
        Path of the file.

    Examples
    --------
    >>> net_name('nets/voc_fcn8s/solve.py')
    'voc-fcn8s'
    """
    return Path(program).resolve().parent.name.replace('_', '-')


def net_folders(nets: Path) -> dict[str, Path]:
    """Name -> folder of the nets in a folder of nets: those folders that have a `solve.py`."""
    return {net_name(str(program)): program.parent for program in sorted(nets.glob(f'*/{PROGRAM}'))}


def run_program(name: str, nets: Path) -> tuple[Any, Path]:
    """The `training` that the `solve.py` of a net states, and the path of that program.

    Parameters
    ----------
    name : str
        Such as 'voc-fcn8s'.
    nets : Path
        The folder of nets.

    Raises
    ------
    BadInput
        The folder has no such net (lists those it has), or the program cannot be loaded.
    """
    folders = net_folders(nets)
    if name not in folders:
        raise BadInput(f'no net is called {name!r}; there are {", ".join(folders)}')
    program = folders[name] / PROGRAM
    spec = importlib.util.spec_from_file_location(f'{nets.name}.{folders[name].name}.solve', program)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as problem:
        raise BadInput(f'{program} cannot be loaded ({problem}): compare its imports with those of '
                       'another net') from None
    return module.training, program
