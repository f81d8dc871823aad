"""Learning rates of the papers' nets on your own data, by the magnitude of what a stage begins to score.

A loss that is summed over the pixels changes a score, in one step of gradient descent, by up to the rate times the
number of pixels times the squared length of the feature that is scored. All stages take the rate at which that product
is `STEP`. The published rates, for photographs of VOC and 100,000 steps, make it 2 for FCN-16s and 0.3 for FCN-8s, and
less on darker pictures, whose features are shorter.
"""
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput
from data_layers.augment import limit
from data_layers.bands import COLOURS
from data_layers.own.survey import Survey
from data_layers.reading import read_photo
from nets.edits import narrow
from nets.voc_fcn8s.net import fcn
from solvers import weights as places
from solvers.instance import instantiate, segment
from surgery import read_weights, transplant
from surgery.caffemodel import Weights
from surgery.graph import input_layer, prune
from surgery.widen import widen_input

# With momentum 0.99, longer steps overshoot for the first hundreds of them. STEP x 4,000 steps is what the study of
# docs/results.md (500, 250 and 250 steps at rates found by hand) gives each stage, more than twice.
STEP = 0.5
PIXELS = 500 * 375          # of a photograph of VOC, for which the published rates are
PUBLISHED = {'fcn32s': 1e-10, 'fcn16s': 1e-12, 'fcn8s': 1e-14}
NEW = {'fcn32s': 'fc7', 'fcn16s': 'pool4', 'fcn8s': 'pool3'}    # what each net scores that the one before does not
STRIDES = {'fc7': 32, 'pool4': 16, 'pool3': 8}
# Squared lengths of VGG-16's features over photographs of VOC, as python -m experiments.rates measures them. That of
# the classifier's own fc7 is what the published rate of FCN-32s stands for; a narrower one has a share of pool5's.
VOC = {'pool3': 1.5e8, 'pool4': 1.0e7, 'fc7': STEP / (PIXELS * PUBLISHED['fcn32s'])}
POOL5, CHANNELS = 5.6e4, 512
CONVOLUTIONS = 'vgg16-convolutions.caffemodel'
PHOTOGRAPHS = 4             # that are measured
REASON = '''
# The rate by the magnitude of the layers. In one step, a loss that is summed over the pixels moves a score by up to
# rate x pixels x squared length of the feature that is scored, and this rate makes that {step:g}: there are
# {pixels:,} pixels, and the squared length of {feature} is {square:.1e}, {origin}.
# The published {published:g}, for photographs of VOC and 100,000 steps, would be {voc} at this size.
'''
SIDE = 500                  # pixels: the long side that they are measured at, at most


class Rates(NamedTuple):
    """What the rates of a data set's nets follow from.

    Attributes
    ----------
    pixels : int
        Of a photograph, whose losses are summed.
    squares : mapping of str to float
        Feature -> its squared length over the channels, the mean over its positions on the photograph.
    photographs : int
        On how many of the data set's that was measured; 0 stands for `VOC`.
    """

    pixels: int
    squares: Mapping[str, float]
    photographs: int = 0

    def of(self, kind: str) -> float:
        """The rate of one of `NEW`'s nets: inversely proportional to pixels and squared length."""
        return STEP / (self.pixels * self.squares[NEW[kind]])

    def slower(self, kind: str) -> dict[str, float]:
        """Score layer of each skip of a net -> what its rate is as a multiple of that of FCN-32s."""
        skips = list(NEW.values())[1:list(NEW).index(kind) + 1]
        return {f'score_{feature}': float(f'{self.squares["fc7"] / self.squares[feature]:.1g}') for feature in skips}

    def written(self, kind: str) -> str:
        """The rate as it is written, with two digits."""
        return f'{self.of(kind):.1e}'.replace('e-0', 'e-')

    def reason(self, kind: str) -> str:
        """Comments for a `solve.py` that say where its rate comes from."""
        feature = NEW[kind]
        published = feature == 'fc7' and self.squares[feature] == VOC[feature]
        origin = ('which the published rate stands for' if published else
                  f'measured on {self.photographs} of the photographs' if self.photographs else
                  'as on photographs of VOC')
        voc = f'{PUBLISHED[kind] * PIXELS / self.pixels:.1e}'.replace('e-0', 'e-')
        return REASON.format(step=STEP, pixels=self.pixels, feature=feature, square=self.squares[feature],
                             origin=origin, published=PUBLISHED[kind], voc=voc)


def rates(found: Survey, width: int | None, weights: Weights | None = None) -> Rates:
    """The rates for a data set, measured where the weights are there that its nets start from.

    Parameters
    ----------
    found : Survey
        Of the data.
    width : int, optional
        Outputs of fc6 and fc7, where it is not 4096.
    weights : dict of str to list of ndarray, optional
        Of a trained net that they start from, over the channels of the data; by default VGG-16's convolutions, if they
        are in the folder of weights.
    """
    card = found.card
    squares = VOC | ({'fc7': POOL5 * width / CHANNELS} if width else {})
    chosen = list(found.layout.splits['train'].values())
    chosen = chosen[::max(1, len(chosen) // PHOTOGRAPHS)][:PHOTOGRAPHS]
    try:
        images = [card.pictures.blob(found.folder / photo, card.mean) if card.pictures else
                  read_photo(found.folder / photo, card.mean) for photo, *_ in chosen]
        measured = measure(convolutions(card.channels) if weights is None else weights, width, images)
    except BadInput:        # other weights, or other pictures, than those nets take: training tells
        measured = {}
    if 'fc6' not in (weights or ()) and not width:
        measured.pop('fc7', None)       # which starts from the classifier's own, perhaps not here
    if not all(math.isfinite(value) and value > 0 for value in measured.values()):
        measured = {}
    return Rates(found.pixels, squares | measured, len(chosen) if measured else 0)


def convolutions(channels: Sequence[str] = COLOURS) -> Weights:
    """VGG-16's convolutions, widened to channels, from the folder of weights; BadInput where they are missing."""
    here = [path for path in (places.weights_folder() / CONVOLUTIONS, *places.candidates('vgg16')) if path.is_file()]
    if not here:
        raise BadInput(f'{places.weights_folder() / CONVOLUTIONS} is missing')
    found = {name: blobs for name, blobs in read_weights(here[0]).items() if name.startswith('conv')}
    return found if tuple(channels) == COLOURS else widen_input(fcn('deploy'), found, channels)


def measure(weights: Weights, width: int | None, images: Sequence[np.ndarray]) -> dict[str, float]:
    """Squared lengths of the features that the papers' nets score.

    Parameters
    ----------
    weights : dict of str to list of ndarray
        Of the trunk; fc6 and fc7 start as training starts them where they are not in there.
    width : int, optional
        Outputs of fc6 and fc7, where it is not 4096.
    images : sequence of array
        C x H x W, float32, mean subtracted; larger ones are shrunk to `SIDE`.

    Returns
    -------
    dict of str to float
        Feature -> its squared length over channels, the mean over the positions on the images.

    Raises
    ------
    BadInput
        The weights are not those of a VGG-16 over such images, or lack a convolution.
    """
    import caffe
    trained = 'fc6' in weights
    net = fcn('deploy')
    if width or not trained:        # a full fc6 without weights is not worth its 400 MB
        net = narrow(net, width or 8)
    input_layer(net).input_param.shape[0].dim[1] = len(images[0])
    caffe.set_random_seed(1)
    net = instantiate(prune(net, *NEW.values()), read=NEW.values())
    report = transplant(net, weights)
    if bare := [entry.target for entry in report.untouched if trained or not str(entry.target).startswith('fc')]:
        raise BadInput(f'there are no weights for {bare[0]}')
    return lengths(net, images)


def lengths(net: Any, images: Sequence[np.ndarray]) -> dict[str, float]:
    """As `measure`, of a net that has its weights, and one input."""
    (blob,) = net.inputs
    sums = dict.fromkeys((feature for feature in NEW.values() if feature in net.blobs), 0.0)
    for image in images:
        image = limit(image, SIDE)
        segment(net, {blob: image})
        _, height, columns = image.shape
        for feature in sums:
            sums[feature] += square(net.blobs[feature].data[0], height, columns, STRIDES[feature])
    return {feature: value / len(images) for feature, value in sums.items()}


def square(feature: np.ndarray, height: int, width: int, stride: int) -> float:
    """Mean squared length of a feature over the positions on the image, not those on the zeros around it.

    Parameters
    ----------
    feature : array, C x h x w
        With as many positions before the image as behind it.
    height, width : int
        Of the image, in pixels.
    stride : int
        In pixels.

    Examples
    --------
    >>> feature = np.zeros((2, 4, 3)); feature[0, 1:3, 1] = 3; feature[1, 1:3, 1] = 4
    >>> square(feature, 16, 8, 8)
    25.0
    """
    rows, columns = -(-height // stride), -(-width // stride)
    top, left = max(0, feature.shape[1] - rows) // 2, max(0, feature.shape[2] - columns) // 2
    on = feature[:, top:top + rows, left:left + columns].astype(np.float64)
    return float((on ** 2).sum(0).mean())
