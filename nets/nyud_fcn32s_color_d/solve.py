"""Train FCN-32s on color and depth of NYUDv2 from the VGG-16 classifier.   python solve.py --help"""
from typing import Any

import numpy as np

from nets import nyud
from nets.nyud_fcn32s_color_d.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name
from surgery import Report, transplant
from surgery.caffemodel import Weights


def initialise(net: Any, vgg: Weights) -> list[Report]:
    """The first convolution keeps its BGR filters; depth gets their mean, since it has no counterpart in VGG-16."""
    filters, bias = vgg['conv1_1']
    bgrd = np.concatenate([filters, filters.mean(1, keepdims=True)], axis=1)
    rest = {name: blobs for name, blobs in vgg.items() if name != 'conv1_1'}
    return [transplant(net, {'conv1_1_bgrd': [bgrd, bias], **rest})]


training = Training(net_name(__file__), fcn, nyud.recipe(1e-10), ('vgg16',), initialise, nyud.PHASES)

if __name__ == '__main__':
    main(training)
