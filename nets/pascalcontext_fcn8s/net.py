"""FCN-8s for PASCAL-Context: the net of voc-fcn8s over 59 classes and background.

Published: 65.9 pixel accuracy, 35.1 mean IU over the 59 classes.   python -m nets summary pascalcontext-fcn8s
"""
from nets import pascalcontext
from nets.blocks import Net
from nets.voc_fcn8s import net


def fcn(split: str) -> Net:
    return net.fcn(split, data=pascalcontext)
