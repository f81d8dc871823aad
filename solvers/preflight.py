"""What is worth knowing before the first of 100,000 steps: each check takes seconds at most."""
import shutil
from pathlib import Path
from typing import Any

import cli
from data_layers import Dataset
from solvers import snapshot
from solvers.capacity import available

SPOT_CHECKS = 3     # images of each split that are read
# A loss summed over an image's pixels has gradients some 100,000 times those of their mean.
SUMMED_RATE, MEAN_RATE = 1e-5, 1e-7


def data(dataset: Dataset) -> None:
    """Read the first, the middle and the last sample of a split; raises `cli.BadInput` as the data set does."""
    step = max(1, (len(dataset) - 1) // (SPOT_CHECKS - 1))
    for id in dataset.ids[::step][:SPOT_CHECKS]:
        dataset.load(id)


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
        if weighs and layer.top[0] in needed and not net.params[layer.name][0].data.any():
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
    normalised = any(layer.loss_param.normalize for layer in net_parameter.layer if 'Loss' in layer.type)
    if normalised and base_lr < MEAN_RATE:
        return (f'the rate {base_lr:g} is one for a loss summed over pixels, but this loss is their mean: '
                'nothing will be learnt; set normalize: false or raise the rate')
    if not normalised and base_lr > SUMMED_RATE:
        return (f'the rate {base_lr:g} is one for a mean loss, but this loss is summed over pixels: '
                'it will diverge; set normalize: true or lower the rate')
    return None


def disk(net: Any, run: Path, snapshots: int) -> str | None:
    """A warning when the disk has too little room for the snapshots of the run.

    Parameters
    ----------
    net : caffe.Net
    run : Path
        A folder on that disk.
    snapshots : int
        How many will be kept.

    Returns
    -------
    str or None

    Raises
    ------
    cli.Failed
        Not even one snapshot fits.
    """
    need, free = snapshot.size(net), shutil.disk_usage(run).free
    if free < need * snapshot.ROOM:
        raise cli.Failed(f'{run} has room for {free / 1e9:.2f} GB, one snapshot needs {need / 1e9:.2f} GB: free '
                         'some, or name another folder with --run')
    if free < need * snapshots:
        return (f'the {snapshots} snapshots of this run need {need * snapshots / 1e9:.0f} GB, {run} has '
                f'{free / 1e9:.0f} GB: keep fewer with --keep N')
    return None


def memory(net: Any) -> str | None:
    """A warning when training will not fit into memory: parameters four times, activations twice."""
    parameters = sum(blob.count for blobs in net.params.values() for blob in blobs)
    activations = sum(blob.count for blob in net.blobs.values())    # at the size of the first image
    need, free = 4 * (4 * parameters + 2 * activations), available()
    if need < free:
        return None
    return f'training takes about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: it may be killed or very slow'
