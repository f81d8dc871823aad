"""How much the first convolution is padded so that the scores cover an image of any size."""
from cli import BadInput

from ..coordinates import fields
from ..graph import input_layer
from ..shapes import infer
from .alignment import Upsampling
from .segmenter import segmenter
from .trunk import Plan


def smallest_pad(trunk: Plan, classes: int, upsamplings: list[Upsampling]) -> int:
    """The least padding of the first convolution with which images of every size from 1 pixel up are covered.

    Parameters
    ----------
    trunk : Plan
        From `plan`.
    classes : int
        Channels of every score.
    upsamplings : list of Upsampling
        As for `segmenter`: filled here.

    Returns
    -------
    int
        In pixels, beyond the padding that the convolution has.

    Raises
    ------
    BadInput
        No padding is enough; says what it fails at.
    """
    data = input_layer(trunk.net)
    name, channels = data.top[0], data.input_param.shape[0].dim[1]
    seen = fields(trunk.net, infer(trunk.net))[trunk.feature]
    step, widest, why = max(f.step for f in seen), max(f.size + f.step for f in seen), ''

    def covers(pad: int) -> bool:
        nonlocal why
        try:
            net = segmenter(trunk, classes, pad, {}, upsamplings)
            for n in range(1, step + 1):            # sizes a step apart behave alike
                infer(net, {name: (1, channels, n, n)})
        except BadInput as problem:
            why = str(problem)
            return False
        return True

    low, high = -1, 1
    while not covers(high):
        low, high = high, 2 * high
        if high > 4 * widest:
            raise BadInput(f'no padding of the first convolution lets images of every size through: {why}')
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if covers(middle) else (middle, high)
    return high
