"""FCN-GoogLeNet for PASCAL VOC: GoogLeNet made fully convolutional, its scores upsampled in one leap.

Published as a number, not as code: 42.5 mean IU on VOC val.   python -m nets summary voc-fcn-googlenet
"""
from nets import voc
from nets.blocks import Net, crop, loss, score, upsample
from nets.data import Data
from nets.googlenet import googlenet


def fcn(split: str, data: Data = voc) -> Net:
    n = data.feed(split)                                    # data, label
    n.score_fr = score(googlenet(n), data.NUM_CLASSES)      # stride 32
    n.upscore = upsample(n.score_fr, 32, kernel_size=63)    # stride 1; 64 would crop at half a pixel
    n.score = crop(n.upscore, n.data)
    loss(n)
    return n.to_proto()
