"""What is worth knowing before the first of 100,000 steps: each check takes seconds at most."""
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cli
from data_layers import Dataset, augment
from solvers import snapshot
from solvers.capacity import Need, check_fits
from solvers.losses import is_mean
from solvers.prototxts import computing
from solvers.source import facts

SIZES = 200         # images whose size is looked at, at most, to learn what is usual
SHRUNK = 1.5        # times the pixels, from where on it is worth telling
SPOT_CHECKS = 3     # images of each split that are read
# A loss summed over an image's pixels has gradients some 100,000 times those of their mean.
SUMMED_RATE, MEAN_RATE = 1e-5, 1e-7


def data(dataset: Dataset) -> None:
    """Read the first, the middle and the last sample of a split; raises `cli.BadInput` as the data set does."""
    step = max(1, (len(dataset) - 1) // (SPOT_CHECKS - 1))
    for id in dataset.ids[::step][:SPOT_CHECKS]:
        dataset.load(id)


def sizes(net: Any, dataset: Dataset, bytes_of: Need, taken: int = 0) -> int:
    """Refuse a split with an image that is too large for Caffe or for memory; only the heads of the files are read.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        What reads the split.
    dataset : Dataset
    bytes_of : callable
        (net, shapes) -> the bytes it takes, of `solvers.capacity`.
    taken : int
        Bytes that something else will take.

    Returns
    -------
    int
        Bytes that the net takes at the largest image.

    Raises
    ------
    BadInput
        Names the file, and what would fit.
    """
    read, computed = facts(net), computing(net)
    options = {key: read[key] for key in augment.OPTIONS if key in read}
    augment.check(**options)
    batch = read.get('batch_size', 1)
    feed = next(layer for layer in computed.layer if layer.type == 'Input')
    channels = [shape.dim[1] for shape in feed.input_param.shape]
    top = next(top for top in dataset.tops if top in dataset.means)
    need = 0
    for id, size in largest(dataset, top).items():
        height, width = augment.size_of(*size, **options)
        inputs = {name: (batch, count, height, width) for name, count in zip(feed.top, channels, strict=True)}
        what = f'{dataset.name} {dataset.split}: {dataset.file(top, id)}'
        if (height, width) != size:
            what += f', of {size[1]}x{size[0]} pixels, scaled or cropped'
        if batch > 1:
            what += f', of which a batch has {batch},'
        need = max(need, check_fits(computed, inputs, what, -taken, partial(advise, options), bytes_of))
    return need


def advise(options: Mapping[str, Any], side: int) -> str:
    """What to do about a data set's image that is too large, where one of `side` x `side` pixels fits."""
    if 'crop' in options:
        return f'set crop to {side} or less in the data layer'
    return (f'make it and its labels smaller ({side}x{side} pixels fit), or in training set crop in the data layer or '
            f'give --max-size {side}')


def largest(dataset: Dataset, top: str) -> dict[str, tuple[int, int]]:
    """Samples of a split that are larger than all others: id -> height and width in pixels.

    Parameters
    ----------
    dataset : Dataset
    top : str
        The image top whose files are looked at.

    Returns
    -------
    dict of str to (int, int)
        Every other sample is at most as high and as wide as one of these.

    Raises
    ------
    BadInput
        A file is missing, or its head is damaged.
    """
    known: dict[tuple[int, ...], str] = {}
    for id in dict.fromkeys(dataset.ids):
        size = dataset.size_of(top, dataset.file(top, id)) or dataset.read(top, id).shape[1:]   # which tells why not
        known.setdefault(size, id)
    found, widest = {}, 0
    for height, width in sorted(known, reverse=True):
        if width > widest:
            found[known[height, width]] = height, width
            widest = width
    return found


def classes(net: Any, tasks: dict[str, str], dataset: Dataset) -> None:
    """Refuse a net whose scores are not as many as the data set's classes.

    Parameters
    ----------
    net : caffe.Net
    tasks : dict of str to str
        Score blob -> label blob.
    dataset : Dataset

    Raises
    ------
    BadInput
        The numbers differ; names the blob.
    """
    for score, label in tasks.items():
        count = net.blobs[score].shape[1]
        names = dataset.classes[label]
        if count != len(names):
            raise cli.BadInput(f'blob {score} scores {count} classes, but {dataset.name} has {len(names)} in {label}: '
                               'one of them must change')


def unlearnable(net: Any, net_parameter: Any) -> list[str]:
    """Layers whose weights are all zero and whose output further weights need: no signal passes, no gradient returns.

    Parameters
    ----------
    net : caffe.Net
    net_parameter : caffe_pb2.NetParameter
        What it was made from.

    Returns
    -------
    list of str
        Their names.
    """
    needed: set[str] = set()    # blobs that lead to a layer with weights
    found = []
    for layer in reversed(net_parameter.layer):
        weighs = layer.type in ('Convolution', 'InnerProduct')
        fixed = layer.type == 'Deconvolution' and len(layer.param) and not layer.param[0].lr_mult
        if (weighs and layer.top[0] in needed or fixed) and not net.params[layer.name][0].data.any():
            found.append(layer.name)
        if weighs or needed.intersection(layer.top):
            needed.update(layer.bottom)
    return found[::-1]


def rate(net_parameter: Any, base_lr: float) -> str | None:
    """A warning when the learning rate is one for the other kind of loss.

    Parameters
    ----------
    net_parameter : caffe_pb2.NetParameter
        For training: says whether its loss is the sum over the pixels or their mean.
    base_lr : float

    Returns
    -------
    str or None
    """
    normalised = is_mean(net_parameter)
    if normalised and base_lr < MEAN_RATE:
        return (f'the rate {base_lr:g} is one for a loss summed over pixels, but this loss is their mean: '
                'nothing will be learnt; set normalize: false or raise the rate')
    if not normalised and base_lr > SUMMED_RATE:
        return (f'the rate {base_lr:g} is one for a mean loss, but this loss is summed over pixels: '
                'it will diverge; set normalize: true or lower the rate')
    return None


def shrunk(net_parameter: Any, dataset: Dataset, base_lr: float) -> str | None:
    """A warning when images are shrunk, but not the rate of a loss that is summed over their pixels.

    Parameters
    ----------
    net_parameter : caffe_pb2.NetParameter
        For training.
    dataset : Dataset
        What it reads; of so many images as `SIZES`, the heads of the files are looked at.
    base_lr : float

    Returns
    -------
    str or None
    """
    most = facts(net_parameter).get('max_size')
    if most is None or is_mean(net_parameter):
        return None
    top = next(top for top in dataset.tops if top in dataset.means)
    heads = [dataset.size_of(top, dataset.file(top, id)) for id in dataset.ids[::-(-len(dataset) // SIZES)]]
    sizes = [(size[-2], size[-1]) for size in heads if size]
    if not sizes:
        return None
    before, after = (median(height * width for height, width in found) for found in (
        sizes, [augment.limited(*size, most) for size in sizes]))
    if before < SHRUNK * after:
        return None
    return (f'images have {before / after:.2g} times fewer pixels with max_size {most}, and the loss is summed over '
            f'them: if the rate {base_lr:g} is one for whole images, give --base-lr {base_lr * before / after:.2g}')


def accumulation(net_parameter: Any, iter_size: int) -> str | None:
    """A warning of gradients that Caffe does not add up over the passes of a step.

    Parameters
    ----------
    net_parameter : caffe_pb2.NetParameter
        For training.
    iter_size : int
        Passes of a step.

    Returns
    -------
    str or None
    """
    found = [layer.name for layer in net_parameter.layer if layer.type == 'Scale' and len(layer.bottom) == 1
             and (not layer.param or layer.param[0].lr_mult)]
    if iter_size == 1 or not found:
        return None
    return (f'iter_size is {iter_size}, and Caffe\'s Scale layers ({", ".join(found)}) learn their factors from the '
            'last of so many images alone; batch_size in the data layer, or ranks of mpirun, take all')


def disk(net: Any, run: Path, snapshots: int, type: str = 'SGD') -> str | None:
    """A warning when the disk has too little room for the snapshots of the run.

    Parameters
    ----------
    net : caffe.Net
    run : Path
        A folder on that disk.
    snapshots : int
        How many will be kept.
    type : str
        Of the solver.

    Returns
    -------
    str or None

    Raises
    ------
    cli.Failed
        Not even one snapshot fits.
    """
    need, free = snapshot.size(net, type), shutil.disk_usage(run).free
    if free < need * snapshot.ROOM:
        raise cli.Failed(f'{run} has room for {free / 1e9:.2f} GB, one snapshot needs {need / 1e9:.2f} GB: free '
                         'some, or name another folder with --run')
    if free < need * snapshots:
        return (f'the {snapshots} snapshots of this run need {need * snapshots / 1e9:.0f} GB, {run} has '
                f'{free / 1e9:.0f} GB: keep fewer with --keep N')
    return None
