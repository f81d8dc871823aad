"""FCN-32s for PASCAL VOC with the classifier's weights held fixed: only the score layer learns.

Published: 45.4 mean IU on seg11valid, against 59.4 when all layers learn.   python -m nets summary voc-fcn32s-fixed
"""
from nets.blocks import Net
from nets.edits import freeze
from nets.voc_fcn32s import net


def fcn(split: str) -> Net:
    return freeze(net.fcn(split), ('conv', 'fc'))
