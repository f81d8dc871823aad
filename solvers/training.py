"""A net and how it is trained, as data: what the `solve.py` of a net's folder states."""
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import files
from cli import BadInput
from solvers.recipe import Recipe
from solvers.source import preparation_of
from surgery import Report, transplant
from surgery.classes import class_layers
from surgery.classes import keep_classes as keep_rows
from surgery.programs import net_name as net_name  # which a solve.py imports from here
from surgery.programs import run_program
from surgery.transplant import parameters
from surgery.widen import widen_input


def transplant_all(net: Any, *sources: Any) -> list[Report]:
    """Initialise `net` from the parameters of every source, by layer name; returns what was copied."""
    return [transplant(net, source) for source in sources]


def transplant_known(net: Any, *sources: Any) -> list[Report]:
    """As `transplant_all`, of which every source must have a layer of the net.

    Raises
    ------
    BadInput
        None of a source's layers is in the net.
    """
    reports = transplant_all(net, *sources)
    for source, report in zip(sources, reports, strict=True):
        if not report.copied and not report.coerced:
            raise BadInput(f'none of the layers of the weights ({", ".join(source)}) is in the net, or none with '
                           'weights; name another caffemodel with --weights')
    return reports


def widen(fcn: Callable[[str], Any], channels: Sequence[str], initialise: Callable[..., list[Report]], net: Any,
          *sources: Any) -> list[Report]:
    """Initialise a net that sees other channels than colours from nets that see colours.

    Parameters
    ----------
    fcn : callable
        Split -> `NetParameter` of the net, as of `Training`.
    channels : sequence of str
        What it sees, as of `surgery.widen.widened`: in the sources' first convolutions, filters over blue, green and
        red become filters over these.
    initialise : callable
        (net, sources) -> reports, as of `Training`: what is done after that.
    net, sources
        As of `surgery.transplant`.

    Returns
    -------
    list of Report
        As of `initialise`.
    """
    deploy = fcn('deploy')
    return initialise(net, *(widen_input(deploy, parameters(source), channels) for source in sources))


@dataclass(frozen=True)
class Training:
    """A net and how it is trained.

    Parameters
    ----------
    net : str
        Its name, with dashes; `net_name` derives it from the folder.
    fcn : callable
        Split -> `NetParameter`: a phase, or 'deploy'.
    recipe : Recipe
        The schedule.
    init : tuple of str or Path
        Whose weights it starts from: classifiers or nets, as `solvers.weights.find` knows them, or caffemodels.
    initialise : callable
        (caffe.Net, weights of each in `init`) -> reports of what was copied.
    phases : tuple of str
        The splits that train and score it.
    """
    net: str
    fcn: Callable[[str], Any]
    recipe: Recipe
    init: Sequence[str | Path]
    initialise: Callable[..., list[Report]] = transplant_all
    phases: tuple[str, str] = ('train', 'val')

    def prototxts(self) -> dict[str, Any]:
        """File stem -> protobuf message: both phases, `deploy` and `solver`."""
        train, test = self.phases
        return {**{split: self.fcn(split) for split in (train, test, 'deploy')},
                'solver': self.recipe.solver(train, test)}

    def emit(self, folder: Path) -> None:
        """Write the prototxts into `folder`, and a net.json where a photograph is all that the net sees."""
        folder.mkdir(parents=True, exist_ok=True)
        for stem, message in self.prototxts().items():
            files.write(folder / f'{stem}.prototxt', str(message))
        if (takes := preparation_of(self)) is not None:
            takes.write(folder)


def keep_classes(fcn: Callable[[str], Any], kept: Mapping[int, int], net: Any, source: Any) -> list[Report]:
    """Initialise `net` from the parameters of one with other classes: all layers, but of the scores what is kept.

    Parameters
    ----------
    fcn : callable
        Split -> `NetParameter` of the new net, as of `Training`.
    kept : mapping of int to int
        Number of a class -> its number in the source; the scores of all others start at zero.
    net, source
        As of `surgery.transplant`.

    Returns
    -------
    list of Report
        Of the layers that do not count classes, and of those that do.

    Raises
    ------
    BadInput
        The parameters do not fit.
    """
    layers = {name: layer for name, layer in class_layers(fcn('deploy')).items()
              if name in source or not layer.upsamples}     # of which a file may lack those that are bilinear
    return [transplant(net, source, skip=layers), keep_rows(net, source, kept, layers)]


def load(name: str, nets: Path) -> Training:
    """The `Training` that the `solve.py` of a net states.

    Parameters
    ----------
    name : str
        Such as 'voc-fcn8s'.
    nets : Path
        The folder of nets.

    Raises
    ------
    BadInput
        The folder has no such net (lists those it has), or trains the net of another folder.
    """
    return checked(*run_program(name, nets))


def checked(training: Training, program: str | Path) -> Training:
    """The training that a `solve.py` states, once it is seen to be that of its own folder.

    Parameters
    ----------
    training : Training
    program : path
        The `solve.py`.

    Returns
    -------
    Training
        The same.

    Raises
    ------
    BadInput
        Its name or its net belong to another folder, as when a folder was copied.
    """
    name, package = net_name(str(program)), training.fcn.__module__.removesuffix('.net').rpartition('.')[2]
    other = package.replace('_', '-')
    if training.net != name or (training.fcn.__module__.endswith('.net') and other != name):
        raise BadInput(f'{program} trains {training.net if training.net != name else other}, not the net of its own '
                       'folder: take the name from net_name(__file__) and import fcn from the net.py beside it')
    return training
