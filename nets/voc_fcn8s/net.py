"""FCN-8s for PASCAL VOC: VGG-16 made fully convolutional, with skips from pool4 and pool3.

Published: 65.5 mean IU on seg11valid.   python -m nets summary voc-fcn8s
"""
from nets import voc
from nets.blocks import Net, crop, loss, score, skip, upsample
from nets.data import Data
from nets.vgg16 import vgg16


def fcn(split: str, data: Data = voc) -> Net:
    n = data.feed(split)                                # data, label
    n.score_fr = score(vgg16(n), data.NUM_CLASSES)      # stride 32
    n.upscore2 = upsample(n.score_fr, 2)                # stride 16
    skip(n, 'pool4', onto='upscore2')                   # score, crop, sum
    n.upscore_pool4 = upsample(n.fuse_pool4, 2)         # stride 8
    skip(n, 'pool3', onto='upscore_pool4')
    n.upscore8 = upsample(n.fuse_pool3, 8)              # stride 1
    n.score = crop(n.upscore8, n.data)
    loss(n)
    return n.to_proto()
