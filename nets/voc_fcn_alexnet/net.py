"""FCN-AlexNet for PASCAL VOC: CaffeNet made fully convolutional, its scores upsampled in one leap.

Published: 48.0 mean IU on seg11valid.   python -m nets summary voc-fcn-alexnet
"""
from nets import voc
from nets.alexnet import alexnet
from nets.blocks import Net, crop, loss, score, upsample
from nets.data import Data


def fcn(split: str, data: Data = voc) -> Net:
    n = data.feed(split)                                    # data, label
    n.score_fr = score(alexnet(n), data.NUM_CLASSES)        # stride 32
    n.upscore = upsample(n.score_fr, 32, kernel_size=63)    # stride 1
    n.score = crop(n.upscore, n.data)
    loss(n, normalize=True)
    return n.to_proto()
