"""Caffe nets made of `NetParameter`s, weights loaded into them, and images sent through them."""
import ctypes
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import cli
import files
from accel import device
from surgery import fill_bilinear, read_weights, transplant

Array = npt.NDArray[np.float32]
FEW = 1 << 20   # bytes that are not worth giving back


def instantiate(net_parameter: Any, phase: int | None = None) -> Any:
    """Make a net.

    Parameters
    ----------
    net_parameter : caffe_pb2.NetParameter
    phase : int, optional
        `caffe.TRAIN` or, by default, `caffe.TEST`.

    Returns
    -------
    caffe.Net
    """
    import caffe
    with files.in_memory(str(net_parameter).encode()) as path:
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


def segment(net: Any, images: Mapping[str, Array], sparing: bool = False) -> dict[str, Array]:
    """Run a deploy net.

    Parameters
    ----------
    net : caffe.Net
        With weights; it is reshaped to the images.
    images : mapping of str to array
        Input blob -> C x H x W image as the data layers give it, all of one height and width.
    sparing : bool
        Give the memory of a blob back as soon as no layer needs it any more.

    Returns
    -------
    dict of str to array
        Score blob -> K x H x W scores.
    """
    for name, image in images.items():
        net.blobs[name].reshape(1, *image.shape)
        net.blobs[name].data[0] = image
    if sparing and not device.on_gpu():
        forward_sparingly(net)
    else:
        net.forward()
    return {name: net.blobs[name].data[0] for name in net.outputs}


def forward_sparingly(net: Any) -> None:
    """Run a net layer by layer on the CPU; of a blob that nobody reads any more, the system gets the pages back.

    The blob keeps its addresses, and pages that are zero when they are next written. Blobs that share memory, as those
    of a Split do, go together.
    """
    tops, bottoms = list(net.top_names.values()), list(net.bottom_names.values())
    last = {name: i for i, names in enumerate(zip(tops, bottoms, strict=True)) for part in names for name in part}
    last |= dict.fromkeys([*net.inputs, *net.outputs], len(tops))
    sharing: dict[int, set[str]] = {}       # address -> blobs
    for i in range(len(tops)):
        net._forward(i, i)
        arrays = {name: net.blobs[name].data for name in (*tops[i], *bottoms[i])}
        for name, array in arrays.items():
            sharing.setdefault(array.ctypes.data, set()).add(name)
        for array in arrays.values():
            if all(last[name] <= i for name in sharing[array.ctypes.data]):
                give_back(array)


def give_back(array: Array) -> None:
    """Let the system have the whole pages of an array's memory; what is there is zero afterwards."""
    first, page = array.ctypes.data, mmap.PAGESIZE
    begin, end = -(-first // page) * page, (first + array.nbytes) // page * page
    if end - begin > FEW:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
