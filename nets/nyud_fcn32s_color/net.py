"""FCN-32s for NYUDv2 from color alone.

Published: 60.0 pixel accuracy, 29.2 mean IU on test.   python -m nets summary nyud-fcn32s-color
"""
from nets import nyud
from nets.blocks import Net, crop, loss, score, upsample
from nets.vgg16 import vgg16


def fcn(split: str, modality: str = 'color') -> Net:
    n = nyud.feed(split, data=modality)
    n.score_fr = score(vgg16(n), nyud.NUM_CLASSES)      # stride 32
    n.upscore = upsample(n.score_fr, 32)                # stride 1
    n.score = crop(n.upscore, n.data)
    loss(n)
    return n.to_proto()
