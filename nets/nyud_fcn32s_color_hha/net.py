"""FCN-32s for NYUDv2 with late fusion: a whole net for color and one for HHA, their scores averaged.

Published: 64.3 pixel accuracy, 32.8 mean IU on test.   python -m nets summary nyud-fcn32s-color-hha
"""
from nets import nyud
from nets.blocks import Net, crop, loss, mean, score, upsample
from nets.vgg16 import vgg16


def fcn(split: str) -> Net:
    n = nyud.feed(split, color='color', hha='hha')
    for modality in ('color', 'hha'):
        n['score_fr' + modality] = score(vgg16(n, modality, suffix=modality), nyud.NUM_CLASSES)
    n.score_fused = mean(n.score_frcolor, n.score_frhha)
    n.upscore = upsample(n.score_fused, 32)
    n.score = crop(n.upscore, n.color)
    loss(n)
    return n.to_proto()
