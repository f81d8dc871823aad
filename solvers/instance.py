"""Caffe nets made of `NetParameter`s, weights loaded into them, and images sent through them."""
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import accel
import cli
import files
from surgery import fill_bilinear, read_weights, transplant

Array = npt.NDArray[np.float32]


def instantiate(net_parameter: Any, phase: int | None = None, read: Iterable[str] | None = None) -> Any:
    """Make a net.

    Parameters
    ----------
    net_parameter : caffe_pb2.NetParameter
    phase : int, optional
        `caffe.TRAIN` or, by default, `caffe.TEST`.
    read : iterable of str, optional
        Blobs that are read after a pass, beside those that no layer takes: the others need not hold their numbers, and
        the net, which is only passed through whole, is faster and takes less memory (`accel.inference`).

    Returns
    -------
    caffe.Net
    """
    import caffe
    with files.in_memory(str(net_parameter).encode()) as path:
        with nullcontext() if read is None else accel.inference(read):
            return caffe.Net(str(path), caffe.TEST if phase is None else phase)


def load(net: Any, path: Path, exactly: bool = False) -> Any:
    """Bring all weights of a trained net from a caffemodel into `net`.

    Parameters
    ----------
    net : caffe.Net
        Written in place.
    path : Path
        The caffemodel.
    exactly : bool
        Refuse a file with weights for layers that the net does not have.

    Returns
    -------
    caffe.Net
        `net`.

    Raises
    ------
    cli.BadInput
        When the file does not fit: other shapes, or a layer that gets no weights, or (with `exactly`) weights for a
        layer that the net does not have.
    """
    if not path.is_file():
        raise cli.BadInput(f'{path}: no such caffemodel')
    try:
        report = transplant(net, read_weights(path))
    except cli.BadInput as problem:
        raise cli.BadInput(f'{path}: {problem}' if str(path) not in str(problem) else str(problem)) from None
    kinds = dict(zip(net._layer_names, (layer.type for layer in net.layers), strict=True))
    bare = dict.fromkeys(str(entry.target) for entry in report.untouched)
    if strange := [name for name in bare if kinds[name] != 'Deconvolution']:
        raise cli.BadInput(f'{path} holds no weights for {", ".join(strange)}: is it of another net?')
    if exactly and report.dropped:
        names = ', '.join(dict.fromkeys(str(entry.source) for entry in report.dropped))
        raise cli.BadInput(f'{path} holds weights for {names}, which this net lacks: is it of another net?')
    fill_bilinear(net, bare)
    return net


def segment(net: Any, images: Mapping[str, Array]) -> dict[str, Array]:
    """Run a deploy net.

    Parameters
    ----------
    net : caffe.Net
        With weights; it is reshaped to the images.
    images : mapping of str to array
        Input blob -> C x H x W image as the data layers give it, all of one height and width.

    Returns
    -------
    dict of str to array
        Score blob -> K x H x W scores.
    """
    for name, image in images.items():
        net.blobs[name].reshape(1, *image.shape)
        net.blobs[name].data[0] = image
    net.reshape()
    net.forward()
    return {name: net.blobs[name].data[0] for name in net.outputs}
