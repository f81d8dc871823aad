"""Which architecture a state dict is of.

A state dict has names and shapes but no graph. Those of well-known nets can be told by their names; each module here
knows some, and refuses what differs from them.
"""
import re

from cli import BadInput

from ..untrusted import sensible, shortened
from . import efficientnet, googlenet, mobilenet, resnet, squeezenet, vgg
from .layers import Imported
from .reading import State

ARCHITECTURES = (resnet, mobilenet, squeezenet, googlenet, efficientnet, vgg)
KNOWN = 'ResNet, MobileNetV2, SqueezeNet, GoogLeNet, VGG and AlexNet of torchvision, EfficientNet and EfficientNet-lite'
SHOWN = 120             # characters of names in a message
WRAPPERS = re.compile(r'((module|model|_orig_mod)\.)+')      # of parallel and compiled modules, and of checkpoints


def build_classifier(state: State, size: tuple[int, int] | None) -> Imported:
    """The Caffe net of a state dict.

    Parameters
    ----------
    state : dict of str to ndarray
        Parameters as their library names them; from `read_state`.
    size : (int, int), optional
        Height and width of the images in pixels; by default what the architecture is trained on.

    Returns
    -------
    Imported

    Raises
    ------
    BadInput
        The parameters are of another net.
    """
    state = {WRAPPERS.sub('', name, count=1) if WRAPPERS.match(name) else name: array for name, array in state.items()}
    with sensible('', 'its parameters'):
        found = next((module for module in ARCHITECTURES if module.recognised(state)), None)
        if found is None:
            names = shortened(', '.join(list(state)[:3]), SHOWN)
            raise BadInput(f'not a state dict that is known here (it has {names} ...): known are {KNOWN}; a state dict '
                           'has no graph, so export other nets as ONNX')
        net: Imported = found.build(state, size)
        return net
