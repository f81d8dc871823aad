"""FCN-8s for PASCAL VOC trained at once: both skips from the first step, their layers scaled down to fc7's magnitude.

Published: 65.4 mean IU on seg11valid.   python -m nets summary voc-fcn8s-atonce
"""
from nets import voc
from nets.blocks import Net, crop, loss, score, skip, upsample
from nets.data import Data
from nets.vgg16 import vgg16


def fcn(split: str, data: Data = voc) -> Net:
    n = data.feed(split)                                    # data, label
    n.score_fr = score(vgg16(n), data.NUM_CLASSES)          # stride 32
    n.upscore2 = upsample(n.score_fr, 2)                    # stride 16
    skip(n, 'pool4', onto='upscore2', scale=0.01)           # scale, score, crop, sum
    n.upscore_pool4 = upsample(n.fuse_pool4, 2)             # stride 8
    skip(n, 'pool3', onto='upscore_pool4', scale=0.0001)
    n.upscore8 = upsample(n.fuse_pool3, 8)                  # stride 1
    n.score = crop(n.upscore8, n.data)
    loss(n)
    return n.to_proto()
