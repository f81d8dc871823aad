"""FCN-16s for PASCAL-Context: the net of voc-fcn16s over 59 classes and background.

Published: 65.7 pixel accuracy, 34.8 mean IU over the 59 classes.   python -m nets summary pascalcontext-fcn16s
"""
from nets import pascalcontext
from nets.blocks import Net
from nets.voc_fcn16s import net


def fcn(split: str) -> Net:
    return net.fcn(split, data=pascalcontext)
