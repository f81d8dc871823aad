"""Whether a net at the size of an image fits into what Caffe can count and into memory, found out beforehand.

The memory is the host's, or the card's where Caffe computes on one. A host gives more than it has and takes pages only
when they are written, so there blobs are counted; a card gives just what it has, so there all is counted that Caffe
allocates.
"""
import math
import os
import resource
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import accel
from accel import cudnn, device
from cli import BadInput
from surgery.caffemodel import by
from surgery.shapes import LARGEST, Shapes, TooLarge, infer

FLOAT = 4       # bytes
CARD = 0.95     # of what is free on a card: CUDA rounds allocations up to 2 MiB, and cuBLAS takes some for itself
# What layers keep on a card beside their blobs, at most: numbers for each number of the first bottom, or of the top
# where that is larger.
KEPT = {'BatchNorm': 3, 'Bias': 1, 'Dropout': 1, 'Eltwise': 1, 'LRN': 1, 'PReLU': 2, 'Pooling': 1, 'Scale': 2,
        'Softmax': 1, 'Swish': 4}
LRN_WITHIN = 6  # the same of LRN within channels, a net of five layers
# What the types of solvers keep for themselves: numbers for each parameter.
STATE = {'SGD': 1, 'Nesterov': 2, 'AdaGrad': 2, 'RMSProp': 2, 'Adam': 3, 'AdaDelta': 4}
SCATTERED = 1.25    # memory over that of the blobs which live in it: gaps between them may be too small for the next
LOSS = 4        # and of a loss, which reads the scores: probabilities and their gradient, the scores', a sum
STEP = 32       # pixels: sides that are proposed are multiples of it, as the strides of the nets are
MOST = 1024     # such steps
Need = Callable[[Any, Shapes], int]     # (net, its shapes) -> the bytes it takes


def make_smaller(side: int) -> str:
    """What to do about an image that is too large, where one of `side` x `side` pixels fits."""
    return f'make it smaller, {side}x{side} pixels fit'


def check_fits(net: Any, inputs: Mapping[str, tuple[int, ...]], what: str, held: int = 0,
               advise: Callable[[int], str] = make_smaller, bytes_of: Need | None = None) -> int:
    """Refuse an image that Caffe would end the process on.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Its inputs are Input layers.
    inputs : mapping of str to shape
        Input blob -> N x C x H x W.
    what : str
        The image, as a complaint calls it.
    held : int
        Bytes that the net's blobs have taken already, for larger images before this one; below 0, bytes that something
        else will take.
    advise : callable
        Side of the largest square image that fits, in pixels -> what to do.
    bytes_of : callable, optional
        What is counted; by default `segmenting_bytes`.

    Returns
    -------
    int
        Bytes that it will have taken; `held` where a layer is of a type whose shapes are not known here.

    Raises
    ------
    BadInput
        A blob would have more numbers than Caffe can count, or all of them more bytes than are free, or the net does
        not take images of this size.
    """
    *_, height, width = next(iter(inputs.values()))
    bytes_of = bytes_of or segmenting_bytes
    room = free() + held
    try:
        shapes = countable(net, inputs)
        need = bytes_of(net, shapes)
        if need <= room:
            return max(need, held)
        problem = (f'for which this net takes {need / 1e9:.1f} GB, and {room / 1e9:.1f} GB are free'
                   + ' on the card' * device.on_gpu())
    except TooLarge as found:
        problem = f'too large for this net ({found})'
    except BadInput as found:
        if not is_known(net):
            return held
        raise BadInput(f'{what} is {width}x{height} pixels, a size that this net does not take ({found})') from None
    side = largest_side(net, inputs, room, bytes_of)
    raise BadInput(f'{what} is {width}x{height} pixels, {problem}: '
                   + (advise(side) if side else f'not even {STEP}x{STEP} pixels fit; close other programs')
                   + '; --cpu computes in the host\'s memory' * device.on_gpu())


def free() -> float:
    """Bytes that blobs may take where Caffe computes."""
    return CARD * device.free_memory() if device.on_gpu() else available()


def largest_side(net: Any, inputs: Mapping[str, tuple[int, ...]], room: float, bytes_of: Need) -> int:
    """Side of the largest square image that fits, in pixels, a multiple of `STEP`; 0 where none does.

    Parameters
    ----------
    net, inputs, bytes_of
        As of `check_fits`; heights and widths do not matter.
    room : float
        Bytes.
    """
    def too_large(steps: int) -> bool:
        square = {name: (*shape[:2], STEP * steps, STEP * steps) for name, shape in inputs.items()}
        try:
            return bytes_of(net, countable(net, square)) > room
        except TooLarge:
            return True
        except BadInput:    # too small for the net's windows
            return False
    return STEP * bisect_left(range(1, MOST + 1), True, key=too_large)


def is_known(net: Any) -> bool:
    """Whether the shapes of all layers are known, which those of a net with unusual layers may not be."""
    try:
        infer(net)
    except BadInput:
        return False
    return True


def countable(net: Any, inputs: Mapping[str, tuple[int, ...]]) -> Shapes:
    """The shapes of a net at a size of its inputs.

    Parameters
    ----------
    net, inputs
        As of `check_fits`.

    Raises
    ------
    BadInput
        As of `surgery.shapes.infer`; `TooLarge` also for the columns of a convolution.
    """
    shapes = infer(net, inputs)
    for layer, shape in zip(net.layer, columns(net, shapes), strict=True):
        if math.prod(shape) >= LARGEST:
            raise TooLarge(f'layer {layer.name} ({layer.type}): its columns would be {by(shape)}, more numbers than '
                           'Caffe can count')
    return shapes


def columns(net: Any, shapes: Shapes) -> list[tuple[int, ...]]:
    """Shape of the buffer in which each of Caffe's own convolutions spreads its windows; () for all other layers.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
    shapes : Shapes
        Its own.
    """
    result: list[tuple[int, ...]] = [()] * len(net.layer)
    if cudnn.status().startswith('cuDNN') if device.on_gpu() else accel.status().startswith('accelerated'):
        return result
    for i, layer in enumerate(net.layer):
        maps = {'Convolution': shapes.tops, 'Deconvolution': shapes.bottoms}.get(layer.type)
        # A 1x1 kernel reads its bottom; the code for cards allocates columns for it all the same.
        if maps and (device.on_gpu() or math.prod(shapes.params[i][0][2:]) > 1):
            result[i] = (math.prod(shapes.params[i][0][1:]) * layer.convolution_param.group, *maps[i][0][2:])
    return result


def forward_bytes(net: Any, shapes: Shapes) -> int:
    """Bytes that a forward pass takes: every blob once, and what layers keep for themselves."""
    return FLOAT * (blob_count(net, shapes) + kept_count(net, shapes))


def segmenting_bytes(net: Any, shapes: Shapes) -> int:
    """Bytes of a forward pass through a deploy net, which was made at a size of its own: blobs keep that room.

    A host's pages are taken only when they are written, a card's memory at once. Accelerated layers give the memory of
    a blob to others once its last reader is done (`accel.inference`).
    """
    need = forward_bytes(net, shapes)
    if device.on_gpu():
        return max(need, forward_bytes(net, infer(net)))
    shares = accel.status().startswith('accelerated')
    return min(need, int(SCATTERED * FLOAT * most_at_a_time(net, shapes))) if shares else need


def most_at_a_time(net: Any, shapes: Shapes) -> int:
    """Numbers in the blobs that live at a time, at most: from the layer that writes a blob to its last reader."""
    last = {name: i for i, layer in enumerate(net.layer) for name in (*layer.top, *layer.bottom)}
    read = {name for layer in net.layer for name in layer.bottom if name not in layer.top}
    counts, living, most = blob_counts(net, shapes), dict[str, int](), 0
    for i, layer in enumerate(net.layer):
        living.update((name, counts[name]) for name in layer.top)
        most = max(most, sum(living.values()))
        living = {name: count for name, count in living.items() if last[name] > i or name not in read}
    return most


def validating_bytes(net: Any, shapes: Shapes) -> int:
    """Bytes of a forward pass with losses, through a net that shares its parameters with one that learns."""
    return forward_bytes(net, shapes) + FLOAT * loss_count(net, shapes)


def scoring_bytes(net: Any, shapes: Shapes) -> int:
    """Bytes that a net takes, still to be made, for forward passes with losses, and its parameters."""
    return validating_bytes(net, shapes) + FLOAT * parameter_count(shapes)


def training_bytes(net: Any, shapes: Shapes, type: str = 'SGD') -> int:
    """Bytes that training takes: parameters, their momentum, blobs, and the gradients of what learns or leads there.

    What is kept beside the parameters depends on the type of the solver.
    """
    learned: set[str] = set()       # blobs with a gradient
    gradients = 0
    for layer, params in zip(net.layer, shapes.params, strict=True):
        counts = [math.prod(shape) for i, shape in enumerate(params) if i >= len(layer.param) or layer.param[i].lr_mult]
        # On a card the solver also updates, by nothing, what does not learn.
        gradients += sum(map(math.prod, params)) if device.on_gpu() else sum(counts)
        if counts or learned.intersection(layer.bottom):
            learned.update(layer.top)
    gradients += blob_count(net, shapes, learned)
    if device.on_gpu():
        gradients += split_count(net, shapes, learned)
    return validating_bytes(net, shapes) + FLOAT * ((1 + STATE[type]) * parameter_count(shapes) + gradients)


def blob_count(net: Any, shapes: Shapes, names: Collection[str] | None = None) -> int:
    """Numbers in the blobs of a net, all or those named; a blob that several layers overwrite counts once."""
    return sum(count for name, count in blob_counts(net, shapes).items() if names is None or name in names)


def blob_counts(net: Any, shapes: Shapes) -> dict[str, int]:
    """Numbers in each blob of a net."""
    return {name: math.prod(shape) for layer, tops in zip(net.layer, shapes.tops, strict=True)
            for name, shape in zip(layer.top, tops, strict=True)}


def split_count(net: Any, shapes: Shapes, names: Collection[str]) -> int:
    """Numbers in the gradients that each of several readers of a blob returns, for the blobs that are named."""
    readers = readers_of(net)
    return sum(readers[name] * count for name, count in blob_counts(net, shapes).items()
               if name in names and readers[name] > 1)


def kept_count(net: Any, shapes: Shapes) -> int:
    """Numbers that layers keep for themselves: the columns of Caffe's own convolutions, and on a card all else."""
    count = sum(math.prod(shape) for shape in columns(net, shapes) if shape)
    if not device.on_gpu():
        return count
    for layer, bottoms, tops, params in zip(net.layer, shapes.bottoms, shapes.tops, shapes.params, strict=True):
        largest = max((math.prod(shape) for shape in (*bottoms[:1], *tops)), default=0)
        within = layer.type == 'LRN' and layer.lrn_param.norm_region == layer.lrn_param.WITHIN_CHANNEL
        count += largest * (LRN_WITHIN if within else KEPT.get(layer.type, 0))
        if len(params) > 1 and layer.type in ('Convolution', 'Deconvolution', 'InnerProduct'):
            count += math.prod(tops[0]) // params[1][0]
    return count


def loss_count(net: Any, shapes: Shapes) -> int:
    """Numbers that losses keep for themselves on a card; the net is without them, and they read what it ends with."""
    if not device.on_gpu():
        return 0
    readers = readers_of(net)
    return sum(LOSS * count for name, count in blob_counts(net, shapes).items() if not readers[name])


def readers_of(net: Any) -> Counter[str]:
    """How many layers read each blob; those that work on it in place do not count."""
    return Counter(name for layer in net.layer for name in layer.bottom if name not in layer.top)


def parameter_count(shapes: Shapes) -> int:
    """Numbers in all parameters of a net."""
    return sum(math.prod(shape) for params in shapes.params for shape in params)


def available() -> int:
    """Bytes of memory that this process may still take: what is free, and its own limit."""
    lines = Path('/proc/meminfo').read_text().splitlines()
    kilobytes = next((int(line.split()[1]) for line in lines if line.startswith('MemAvailable')), None)
    page = os.sysconf('SC_PAGE_SIZE')
    left = kilobytes * 1024 if kilobytes else page * os.sysconf('SC_PHYS_PAGES')
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return left
    return min(left, limit - page * int(Path('/proc/self/statm').read_text().split()[0]))
