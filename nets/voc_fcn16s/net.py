"""FCN-16s for PASCAL VOC: FCN-32s with a skip from pool4.

Published: 65.0 mean IU on seg11valid.   python -m nets summary voc-fcn16s
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
    n.upscore16 = upsample(n.fuse_pool4, 16)            # stride 1
    n.score = crop(n.upscore16, n.data)
    loss(n)
    return n.to_proto()
