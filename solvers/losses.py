"""What a net learns by: the losses that compare scores with labels, how much each counts, and how it is normalised."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from data_layers import VOID

SOFTMAX = 'SoftmaxWithLoss'             # one class a pixel
SIGMOID = 'SigmoidCrossEntropyLoss'     # classes that overlap: each is there or not
LOSSES = (SOFTMAX, SIGMOID)
MEANS = ('VALID', 'FULL')               # normalisations that give the mean over the pixels, not their sum


def losses_of(net: Any) -> list[Any]:
    """The loss layers of a `NetParameter`, in its order."""
    return [layer for layer in net.layer if layer.type in LOSSES]


def overlap(net: Any) -> bool:
    """Whether the classes that a `NetParameter` learns overlap: a pixel may be of several, or of none."""
    return any(layer.type == SIGMOID for layer in losses_of(net))


def weight_of(layer: Any) -> float:
    """What a loss is multiplied by before it is added to the others."""
    return float(layer.loss_weight[0]) if len(layer.loss_weight) else 1.0


def first_of(losses: Sequence[Any]) -> Any:
    """Of the loss layers of a net the first that counts: the one whose value a pixel is told."""
    return next((layer for layer in losses if weight_of(layer)), losses[0])


def is_mean(net: Any) -> bool:
    """Whether the first loss that counts of a `NetParameter` is a mean over pixels."""
    losses = losses_of(net)
    return bool(losses) and normalisation_of(first_of(losses)) in MEANS


def normalisation_of(layer: Any) -> str:
    """By what Caffe divides the sum over the pixels: 'FULL', 'VALID', 'BATCH_SIZE' or 'NONE'.

    The older `normalize` counts where `normalization` is not stated; without both, softmax takes VALID, sigmoid
    BATCH_SIZE.
    """
    p = layer.loss_param
    if p.HasField('normalization'):
        return str(p.NormalizationMode.Name(p.normalization))
    if p.HasField('normalize'):
        return 'VALID' if p.normalize else 'BATCH_SIZE'
    return 'VALID' if layer.type == SOFTMAX else 'BATCH_SIZE'


def per_label(layer: Any, value: float, labels: npt.NDArray[np.float32]) -> float:
    """A loss as that of one labelled pixel, or with overlapping classes of one class at one pixel.

    Parameters
    ----------
    layer : caffe_pb2.LayerParameter
    value : float
        Of the loss, as Caffe gives it.
    labels : array of float, N x 1 x H x W or N x K x H x W
        What it compares the scores with.

    Returns
    -------
    float
        Scores of all zero make it ln(classes), or ln(2) where classes overlap.
    """
    labelled = int(np.count_nonzero(labels != VOID))
    divisor = {'VALID': labelled, 'FULL': labels.size, 'BATCH_SIZE': len(labels), 'NONE': 1}[normalisation_of(layer)]
    return value * max(divisor, 1) / max(labelled, 1)
