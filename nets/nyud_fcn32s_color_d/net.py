"""FCN-32s for NYUDv2 with early fusion: color and log depth are the four channels of one image.

Published: 61.5 pixel accuracy, 30.5 mean IU on test.   python -m nets summary nyud-fcn32s-color-d
"""
from caffe import layers as L

from nets import nyud
from nets.blocks import Net, crop, loss, score, upsample
from nets.vgg16 import vgg16


def fcn(split: str) -> Net:
    n = nyud.feed(split, color='color', depth='depth')
    n.data = L.Concat(n.color, n.depth)
    n.score_fr = score(vgg16(n, first_conv='conv1_1_bgrd'), nyud.NUM_CLASSES)
    n.upscore = upsample(n.score_fr, 32)
    n.score = crop(n.upscore, n.data)
    loss(n)
    return n.to_proto()
