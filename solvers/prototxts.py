"""Prototxts that anybody may have written: which layers are let in, and what a net would compute, found out without it.
"""
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli import BadInput
from data_layers import VOID, dataset_type, param_str
from solvers.losses import LOSSES, SIGMOID, SOFTMAX, losses_of
from surgery.caffemodel import by
from surgery.layers import LAYER_TYPES
from surgery.layers.boundary import DATA
from surgery.prototxt import read_message
from surgery.shapes import infer

COMPUTING = {name for name, record in LAYER_TYPES.items() if record.shapes} | {*LOSSES, 'Python'}
OWN_LAYERS = {(param_str.MODULE, name) for name in (param_str.DATA_LAYER, param_str.WEIGHTS_LAYER)}
SIDE = 256                  # pixels of the image that a net is checked at
# Layers of other Caffes, and what does the same in this one.
ELSEWHERE = {
    'Upsample': 'a Deconvolution with kernel_size: 2 stride: 2 in place of pooling masks',
    'BN': 'BatchNorm and after it Scale with bias_term: true',
    'Interp': 'a Deconvolution that upsamples, with weight_filler { type: "bilinear" }, and a Crop',
    'DepthwiseConvolution': 'Convolution with as many groups as channels',
    'ConvolutionDepthwise': 'Convolution with as many groups as channels',
    'CuDNNBatchNorm': 'BatchNorm', 'SyncBN': 'BatchNorm', 'SpatialDropout': 'Dropout',
    'ReLU6': 'Clip with min: 0 max: 6', 'Axpy': 'Scale with two bottoms and Eltwise',
    'SoftmaxWithLossOHEM': SOFTMAX, 'WeightedSoftmaxWithLoss': f'{SOFTMAX} after a Python layer '
    f'{param_str.WEIGHTS_LAYER} of {param_str.MODULE}',
}
# And feeders of other Caffes, beside those of this one.
FEEDERS = (*DATA, 'DenseImageData', 'ImageSegData', 'AnnotatedData', 'ImageLabelData', 'MultiImageData')


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
        check_layer(layer, path)
    return net


def check_layer(layer: Any, path: Path, split: str = 'train') -> None:
    """Refuse a layer that may do more than compute, or that this Caffe does not have.

    Parameters
    ----------
    layer : caffe_pb2.LayerParameter
    path : Path
        Of the net, for the complaint.
    split : str
        What a data layer is to read, in the one that is proposed.

    Raises
    ------
    BadInput
        Says what to write in its place.
    """
    python = layer.python_param
    if layer.type == 'Python' and (python.module, python.layer) not in OWN_LAYERS:  # Caffe would import the module
        raise BadInput(f'{path}: the layer {layer.name} runs {python.layer!r} of the Python module {python.module!r}; '
                       f'only those of {param_str.MODULE} are let in' + f': {feeding(split)}' * (not layer.bottom))
    if layer.type in FEEDERS:
        raise BadInput(f'{path}: the layer {layer.name} ({layer.type}) reads what is not read here: {feeding(split)}')
    if layer.type in ELSEWHERE:
        raise BadInput(f'{path}: the layer {layer.name} has the type {layer.type!r}, which BVLC Caffe lacks: write '
                       f'{ELSEWHERE[layer.type]}')
    if layer.type not in COMPUTING:
        raise BadInput(f'{path}: the layer {layer.name} has the type {layer.type!r}, which is not let in; known '
                       f'are {", ".join(sorted(COMPUTING))}')


def feeding(split: str) -> str:
    """The data layer to write, in words."""
    options = param_str.write(dataset='NAME', split=split, tops=['data', 'label'])
    return (f'write layer {{ name: "data" type: "Python" top: "data" top: "label" python_param {{ module: '
            f'"{param_str.MODULE}" layer: "{param_str.DATA_LAYER}" param_str: "{options}" }} }}, where NAME is a data '
            'set of python -m data_layers list, or your own as python -m nets new NAME --data DIR describes it')


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
        check_losses(net, infer(computing(net)).blobs)
    except BadInput as problem:
        raise BadInput(f'{what}: {problem}') from None


def check_losses(net: Any, blobs: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse losses whose scores and labels do not go together.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
    blobs : mapping of str to shape
        Its blobs.

    Raises
    ------
    BadInput
        Names the layer.
    """
    for loss in losses_of(net):
        where = f'layer {loss.name} ({loss.type})'
        if len(loss.bottom) != 2 or any(name not in blobs for name in loss.bottom):
            raise BadInput(f'{where}: its bottoms {", ".join(loss.bottom)} are not a score and a label of this net')
        score, label = (blobs[name] for name in loss.bottom)
        planes = loss.type == SIGMOID
        if len(score) != 4 or label != (score if planes else (score[0], 1, *score[2:])):
            raise BadInput(f'{where}: a score of {by(score)} beside a label of {by(label)}' + (
                "; write 'planes': True into the param_str of the data layer, which makes one of each class"
                if planes and label[1] == 1 and label[2:] == score[2:] else ''))
        if loss.loss_param.ignore_label != VOID or loss.softmax_param.axis != 1:
            raise BadInput(f'{where}: labels of data sets need ignore_label: {VOID} and axis: 1')


def computing(net: Any, size: tuple[int, int] = (SIDE, SIDE)) -> Any:
    """What a net computes between its data layer and its losses, as a net whose shapes surgery knows.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Of any phase.
    size : (int, int)
        Height and width of its images, in pixels.

    Returns
    -------
    caffe_pb2.NetParameter
        Without losses; its data layer is an Input layer of images of that size.

    Raises
    ------
    BadInput
        The data layer states something wrong; names it.
    """
    result = type(net)()
    for layer in net.layer:
        if layer.type not in LOSSES:
            new = result.layer.add()
            new.CopyFrom(layer)
            if (layer.python_param.module, layer.python_param.layer) in OWN_LAYERS:
                _replace(new, layer, size)
    return result


def _replace(new: Any, layer: Any, size: tuple[int, int]) -> None:
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
        new.input_param.shape.add(dim=[read.get('batch_size', 1), channels(dataset, top, read), *size])


def channels(dataset: Any, top: str, read: Mapping[str, Any]) -> int:
    """Channels of a top of a data layer.

    Parameters
    ----------
    dataset : type of Dataset
    top : str
        Of the data set.
    read : mapping
        What the layer states, as of `data_layers.param_str`.
    """
    if top in dataset.classes and (read.get('planes') or dataset.overlapping):
        return len(dataset.classes[top])
    return len(dataset.means.get(top, (0,)))


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
