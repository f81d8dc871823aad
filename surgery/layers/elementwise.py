"""Layers that treat each number on its own, without parameters."""
from .record import LayerType
from .rules import like_bottom, same_coordinates, same_shape

NAMES = ('AbsVal', 'BNLL', 'Clip', 'Dropout', 'ELU', 'Exp', 'Log', 'Power', 'ReLU', 'Sigmoid', 'Swish', 'TanH',
         'Threshold')
# Not Clip: its gradient is where its bottom lies between the limits, and in place all of it does.
IN_PLACE = ('Dropout', 'ELU', 'ReLU')

TYPES = [LayerType(name, same_shape, same_coordinates, like_bottom, elementwise=True, pixelwise=True,
                   follows_scores=True, in_place=name in IN_PLACE) for name in NAMES]
