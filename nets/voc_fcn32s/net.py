"""FCN-32s for PASCAL VOC: VGG-16 made fully convolutional, its scores upsampled in one leap.

Published: 63.6 mean IU on seg11valid.   python -m nets summary voc-fcn32s
"""
from nets import voc
from nets.blocks import Net, crop, loss, score, upsample
from nets.data import Data
from nets.vgg16 import vgg16


def fcn(split: str, data: Data = voc) -> Net:
    n = data.feed(split)                                # data, label
    n.score_fr = score(vgg16(n), data.NUM_CLASSES)      # stride 32
    n.upscore = upsample(n.score_fr, 32)                # stride 1
    n.score = crop(n.upscore, n.data)
    loss(n)
    return n.to_proto()
