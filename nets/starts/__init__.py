"""What nets for your own data start from, one module each, and how their `net.py` and `solve.py` are written.

`classifier` writes the papers' nets, `trained` those that go on from a trained net, `trunk` one on another classifier.
"""
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from cli import BadInput
from data_layers.bands import COLOURS
from data_layers.own.survey import Survey

Content = str | Callable[[Path], object]    # of a file: its text, or what writes it to a path
INIT = 'init.caffemodel'        # beside a net.py: the weights that the net starts from
WIDE = 115                      # characters of a line
INDENT = ' ' * len('training = Training(')
NORMALIZE = {True: 'normalize=True', False: 'normalize=False'}

NET = '''"""{about}

python -m nets summary {net}
"""
{imports}


def fcn(split):
    {body}
'''

SOLVE = '''"""{about}   python solve.py --help"""
{imports}
{constants}
{training}

if __name__ == '__main__':
    main(training)
'''


class Names(NamedTuple):
    """What the nets of a data set are called.

    Attributes
    ----------
    data : str
        Name of the data set.
    nets : Path
        The folder of nets.
    """

    data: str
    nets: Path

    @property
    def module(self) -> str:
        """What the nets of the data set share."""
        return module_of(self.data)

    def net(self, kind: str) -> str:
        return f'{self.data}-{kind}'

    def folder(self, kind: str) -> Path:
        return self.nets / module_of(self.net(kind))


class Start(Protocol):
    """What nets start from.

    Attributes
    ----------
    kinds : sequence of str
        The nets to write, such as 'fcn8s', each started from the one before.
    """

    kinds: Sequence[str]

    def files(self, names: Names, found: Survey, balanced: bool) -> dict[Path, Content]:
        """The files of the nets; with a loss that weighs the classes if it is `balanced`."""

    def account(self, found: Survey) -> list[str]:
        """What there is to tell beside the data, a line each."""


def module_of(name: str) -> str:
    return name.replace('-', '_')


def plain(name: str) -> str:
    """A name of any origin as words of lower case letters and digits, joined by dashes; 'net' where none are left."""
    return '-'.join(re.findall('[a-z0-9]+', name.lower()))[:40].strip('-') or 'net'


def title(kind: str) -> str:
    """How people call a net."""
    names = {'fcn-alexnet': 'FCN-AlexNet', 'fcn-googlenet': 'FCN-GoogLeNet', 'fcn8s-atonce': 'FCN-8s at once'}
    return names.get(kind) or kind.replace('fcn', 'FCN-')


def net_files(names: Names, kind: str, about: str, imports: Iterable[str], net: str,
              balanced: bool) -> dict[Path, Content]:
    """`__init__.py` and `net.py` of a net.

    Parameters
    ----------
    names, kind : Names, str
        What it is called.
    about : str
        The first line of `net.py`.
    imports : iterable of str
        Lines, beside that of the data set's module.
    net : str
        An expression of the net, in which `split` is known.
    balanced : bool
        Whether its loss weighs the classes.
    """
    lines = {f'from nets import {names.module}', *imports}
    body = f'return {net}'
    if balanced:
        edits = [line for line in lines if line.startswith('from nets.edits import ')]
        known = [name for line in edits for name in line.removeprefix('from nets.edits import ').split(', ')]
        lines = lines - {*edits} | {f'from nets.edits import {", ".join(sorted([*known, "weigh"]))}'}
        body = f"n = {net}\n    return weigh(n, {names.module}.WEIGHTS) if split == 'train' else n"
    folder = names.folder(kind)
    return {folder / '__init__.py': '',
            folder / 'net.py': NET.format(about=about, net=names.net(kind), imports=in_order(lines), body=body)}


def solve_files(names: Names, kind: str, about: str, recipe: str, start: str, imports: Iterable[str] = (),
                constants: str = '') -> dict[Path, Content]:
    """`solve.py` of a net; `start` is what follows the recipe, and `constants` what stands above the training."""
    lines = {f'from nets import {names.module}', f'from nets.{module_of(names.net(kind))}.net import fcn',
             'from solvers.solve import main', 'from solvers.training import Training, net_name'}
    more = [line for line in imports if line.startswith('from solvers.training import ')]
    if more:
        lines = lines - {'from solvers.training import Training, net_name'}
    training = f'training = Training(net_name(__file__), fcn, {names.module}.recipe({recipe}),'
    separator = ' ' if len(training) + len(start) < WIDE else '\n' + INDENT
    return {names.folder(kind) / 'solve.py': SOLVE.format(
        about=about, training=f'{training}{separator}{start})', constants=constants,
        imports=in_order(lines | {*imports}))}


class Initialise(NamedTuple):
    """How a training initialises its net, as `solve.py` states it.

    Attributes
    ----------
    text : str
        What follows `init` in a training; empty for all weights by name.
    imports : list of str
        Lines that it needs.
    """

    text: str
    imports: list[str]


def initialise(names: Names, found: Survey, function: str = 'transplant_all', text: str = '',
               sees: Sequence[str] = COLOURS) -> Initialise:
    """How a net starts from one that may see other channels, which are then widened to those of the data.

    Parameters
    ----------
    names, found : Names, Survey
        Of the data.
    function : str
        One of `solvers.training` that does it where both see the same.
    text : str
        An expression with it; by default the function itself.
    sees : sequence of str
        The channels of the net that it starts from.

    Raises
    ------
    BadInput
        They are neither colours nor those of the data.
    """
    wanted, text = found.card.channels, text or function
    if tuple(sees) not in (COLOURS, wanted):
        raise BadInput(f'the net to start from sees {", ".join(sees)}, and the pictures have {", ".join(wanted)}: it '
                       'must see the same, or colours')
    functions = {function} if text != 'transplant_all' else set[str]()
    if tuple(sees) != wanted:
        text, functions = f'partial(widen, fcn, {names.module}.CHANNELS, {text})', {function, 'widen'}
    if not functions:
        return Initialise('', [])
    return Initialise(f',\n{INDENT}initialise={text}', [
        f'from solvers.training import {", ".join(["Training", *sorted({"net_name", *functions})])}',
        *(['from functools import partial'] if 'partial(' in text else [])])


def in_order(lines: Iterable[str]) -> str:
    """Lines of imports: the standard library's, an empty line, the project's."""
    own = sorted(line for line in lines if line.split()[1].partition('.')[0] in ('nets', 'solvers', 'surgery'))
    other = sorted(line for line in lines if line not in own)
    return '\n'.join([*other, *([''] if other else []), *own])
