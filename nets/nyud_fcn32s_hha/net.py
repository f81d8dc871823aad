"""FCN-32s for NYUDv2 from HHA alone: depth as disparity, height and angle with gravity (Gupta et al., ECCV 2014).

Published: 57.1 pixel accuracy, 24.2 mean IU on test.   python -m nets summary nyud-fcn32s-hha
"""
from nets.blocks import Net
from nets.nyud_fcn32s_color import net


def fcn(split: str) -> Net:
    return net.fcn(split, modality='hha')
