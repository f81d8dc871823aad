"""Whether a net at the size of an image fits into what Caffe can count and into memory, found out beforehand."""
import math
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import accel
from accel import device
from cli import BadInput
from surgery.shapes import Shapes, infer

FLOAT = 4       # bytes


def check_fits(net: Any, inputs: Mapping[str, tuple[int, ...]], what: str, held: int = 0) -> int:
    """Refuse an image that Caffe would end the process on.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        A deploy net.
    inputs : mapping of str to shape
        Input blob -> 1 x C x H x W.
    what : str
        The image, as a complaint calls it.
    held : int
        Bytes that the net's blobs have taken already, for larger images before this one.

    Returns
    -------
    int
        Bytes that its blobs will have taken.

    Raises
    ------
    BadInput
        A blob would have more numbers than Caffe can count, or all of them more bytes than are free.
    """
    *_, height, width = next(iter(inputs.values()))
    try:
        shapes = infer(net, inputs)
    except BadInput as problem:
        raise BadInput(f'{what} is {width}x{height} pixels, too large for this net ({problem}): '
                       'make it smaller') from None
    need, free = forward_bytes(net, shapes), available() + held
    if need > free and not device.on_gpu():
        fits = height * width * free / need
        raise BadInput(f'{what} is {width}x{height} pixels, for which this net takes {need / 1e9:.1f} GB, and '
                       f'{free / 1e9:.1f} GB are free: make it smaller, about {fits / 1e6:.1f} million pixels fit')
    return max(need, held)


def forward_bytes(net: Any, shapes: Shapes) -> int:
    """Bytes that a forward pass takes: every blob once, and the columns of the largest of Caffe's own convolutions."""
    blobs = {name: math.prod(shape) for layer, tops in zip(net.layer, shapes.tops, strict=True)
             for name, shape in zip(layer.top, tops, strict=True)}
    columns = 0
    if not accel.status().startswith('accelerated'):
        columns = max((math.prod(params[0][1:]) * layer.convolution_param.group * math.prod(tops[0][2:])
                       for layer, params, tops in zip(net.layer, shapes.params, shapes.tops, strict=True)
                       if layer.type == 'Convolution'), default=0)
    return FLOAT * (sum(blobs.values()) + columns)


def available() -> int:
    """Bytes of memory that this process may still take: what is free, and its own limit."""
    lines = Path('/proc/meminfo').read_text().splitlines()
    kilobytes = next((int(line.split()[1]) for line in lines if line.startswith('MemAvailable')), None)
    page = os.sysconf('SC_PAGE_SIZE')
    free = kilobytes * 1024 if kilobytes else page * os.sysconf('SC_PHYS_PAGES')
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return free
    return min(free, limit - page * int(Path('/proc/self/statm').read_text().split()[0]))
