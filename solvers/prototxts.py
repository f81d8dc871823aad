"""A folder of prototxts read back: what `Training.emit`, a run and `surgery convolutionalize --head` write."""
from functools import partial
from pathlib import Path
from typing import Any

from cli import BadInput
from data_layers import VOID, dataset_type, param_str
from solvers.recipe import Recipe
from solvers.training import Training
from surgery.caffemodel import by
from surgery.layers import LAYER_TYPES
from surgery.prototxt import read_message
from surgery.shapes import infer

INIT = 'init.caffemodel'    # the weights that surgery puts beside the prototxts
LOSS = 'SoftmaxWithLoss'
COMPUTING = {name for name, record in LAYER_TYPES.items() if record.shapes} | {LOSS, 'Python'}
OWN_LAYERS = {(param_str.MODULE, name) for name in (param_str.DATA_LAYER, param_str.WEIGHTS_LAYER)}
SIDE = 256                  # pixels of the image that a net is checked at


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
        The file is missing or damaged, or has a layer that may do more than compute: one of Python that is not of
        `data_layers.layers`, or of a type that is not known here, such as HDF5Output, which writes files.
    """
    from caffe.proto import caffe_pb2
    path = folder / f'{split}.prototxt'
    net = read_message(path, caffe_pb2.NetParameter())
    for layer in net.layer:
        python = layer.python_param
        if layer.type == 'Python' and (python.module, python.layer) not in OWN_LAYERS:  # Caffe would import the module
            raise BadInput(f'{path}: the layer {layer.name} runs {python.layer!r} of the Python module '
                           f'{python.module!r}; only those of {param_str.MODULE} are let in')
        if layer.type not in COMPUTING:
            raise BadInput(f'{path}: the layer {layer.name} has the type {layer.type!r}, which is not let in; known '
                           f'are {", ".join(sorted(COMPUTING))}')
    return net


def check_net(net: Any, what: str) -> None:
    """Refuse a net that Caffe would end the process on: what reads what, sizes, windows, crops, losses.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        A test or deploy net.
    what : str
        What to call it in a complaint.

    Raises
    ------
    BadInput
        Names the layer.
    """
    try:
        blobs = infer(computing(net)).blobs
        for loss in (layer for layer in net.layer if layer.type == LOSS):
            if len(loss.bottom) != 2 or any(name not in blobs for name in loss.bottom):
                raise BadInput(f'layer {loss.name} ({LOSS}): its bottoms {", ".join(loss.bottom)} are not a score '
                               'and a label of this net')
            score, label = (blobs[name] for name in loss.bottom)
            if len(score) != 4 or label != (score[0], 1, *score[2:]):
                raise BadInput(f'layer {loss.name} ({LOSS}): a score of {by(score)} beside a label of {by(label)}')
            if loss.loss_param.ignore_label != VOID or loss.softmax_param.axis != 1:
                raise BadInput(f'layer {loss.name} ({LOSS}): labels of data sets need ignore_label: {VOID} and axis: 1')
    except BadInput as problem:
        raise BadInput(f'{what}: {problem}') from None


def computing(net: Any) -> Any:
    """What a net computes between its data layer and its losses, as a net whose shapes surgery knows.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Of any phase.

    Returns
    -------
    caffe_pb2.NetParameter
        Without losses; its data layer is an Input layer of images of `SIDE` x `SIDE` pixels.

    Raises
    ------
    BadInput
        The data layer states something wrong; names it.
    """
    result = type(net)()
    for layer in net.layer:
        if layer.type != LOSS:
            new = result.layer.add()
            new.CopyFrom(layer)
            if (layer.python_param.module, layer.python_param.layer) in OWN_LAYERS:
                _replace(new, layer)
    return result


def _replace(new: Any, layer: Any) -> None:
    """Put what stands for one of our Python layers in a copy of it: inputs of the data set's channels, or a pass."""
    new.ClearField('python_param')
    if layer.python_param.layer != param_str.DATA_LAYER:
        new.type = 'Dropout'
        del new.bottom[1:]
        return
    read = param_str.parse(layer.python_param.param_str)
    dataset = dataset_type(read['dataset'], read.get('root'))
    tops = read.get('tops') or dataset.default_tops
    if len(tops) != len(layer.top):
        raise BadInput(f'layer {layer.name}: {len(layer.top)} tops for {", ".join(tops)}')
    new.type = 'Input'
    for top in tops:
        new.input_param.shape.add(dim=[read.get('batch_size', 1), len(dataset.means.get(top, (0,))), SIDE, SIDE])


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
