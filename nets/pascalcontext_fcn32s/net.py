"""FCN-32s for PASCAL-Context: the net of voc-fcn32s over 59 classes and background.

Published: 63.8 pixel accuracy, 31.8 mean IU over the 59 classes.   python -m nets summary pascalcontext-fcn32s
"""
from nets import pascalcontext
from nets.blocks import Net
from nets.voc_fcn32s import net


def fcn(split: str) -> Net:
    return net.fcn(split, data=pascalcontext)
