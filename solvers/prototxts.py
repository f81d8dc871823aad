"""A folder of prototxts read back: what `Training.emit`, a run and `surgery convolutionalize --head` write."""
from functools import partial
from pathlib import Path
from typing import Any

from cli import BadInput
from data_layers import param_str
from solvers.recipe import Recipe
from solvers.training import Training
from surgery.prototxt import read_message

INIT = 'init.caffemodel'    # the weights that surgery puts beside the prototxts


def read_solver(folder: Path) -> Any:
    """The `SolverParameter` of `solver.prototxt`.

    Raises
    ------
    BadInput
        The file is missing or damaged.
    """
    from caffe.proto import caffe_pb2
    return read_message(folder / 'solver.prototxt', caffe_pb2.SolverParameter())


def read_net(folder: Path, split: str) -> Any:
    """Read `<split>.prototxt`.

    Parameters
    ----------
    folder : Path
    split : str
        A phase, or 'deploy'.

    Returns
    -------
    caffe_pb2.NetParameter

    Raises
    ------
    BadInput
        The file is missing or damaged, or a layer of it runs Python that is not of `data_layers`.
    """
    from caffe.proto import caffe_pb2
    path = folder / f'{split}.prototxt'
    net = read_message(path, caffe_pb2.NetParameter())
    package = param_str.MODULE.partition('.')[0]
    for layer in net.layer:     # Caffe imports whatever module a Python layer names
        if layer.type == 'Python' and layer.python_param.module.partition('.')[0] != package:
            raise BadInput(f'{path}: the layer {layer.name} runs the Python module {layer.python_param.module!r}; '
                           f'only those of {package} are let in')
    return net


def read_phases(folder: Path) -> tuple[str, str]:
    """The splits that train and score, as `solver.prototxt` names their files.

    Raises
    ------
    BadInput
        The solver is missing or damaged, or names no train or test net.
    """
    solver = read_solver(folder)
    if not solver.train_net or not solver.test_net:
        raise BadInput(f'{folder / "solver.prototxt"} names no train_net or no test_net')
    return Path(solver.train_net).stem, Path(solver.test_net[0]).stem


def read_training(folder: Path) -> Training:
    """The `Training` that a folder of prototxts stands for: the folder's name, its nets, the solver's schedule.

    Parameters
    ----------
    folder : Path
        With `solver.prototxt`, the two nets that it names, and `deploy.prototxt`.

    Returns
    -------
    Training
        It starts from one caffemodel, such as the `init.caffemodel` that surgery puts there.

    Raises
    ------
    BadInput
        A file is missing or damaged, or the solver is not one of SGD at a fixed rate.
    """
    solver = read_solver(folder)
    try:
        recipe = Recipe.of_solver(solver)
    except BadInput as problem:
        raise BadInput(f'{folder / "solver.prototxt"}: {problem}') from None
    return Training(folder.resolve().name, partial(read_net, folder), recipe, (INIT,), phases=read_phases(folder))
