"""Train FCN-8s on Cityscapes in one stage from the VGG-16 classifier.   python solve.py --help"""
from typing import Any

from nets import cityscapes
from nets.cityscapes_fcn8s.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name
from surgery import Report, transplant
from surgery.caffemodel import Weights

NAMES = {'fc6': 'fc6_cs', 'fc7': 'fc7_cs'}  # the classifier's -> the net's


def initialise(net: Any, vgg: Weights) -> list[Report]:
    """All layers of the classifier have their counterparts, two of them by other names."""
    return [transplant(net, vgg, rename={old: new for old, new in NAMES.items() if old in vgg})]


# A hundredth of the rate of voc-fcn8s-atonce: this net has no scales that hold its skips back, and a frame has eleven
# times the pixels of a photograph of VOC, whose gradients add up.
training = Training(net_name(__file__), fcn, cityscapes.recipe(base_lr=1e-12), ('vgg16',), initialise)

if __name__ == '__main__':
    main(training)
