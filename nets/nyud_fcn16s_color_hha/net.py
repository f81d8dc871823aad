"""FCN-16s for NYUDv2 with late fusion: as 32s, and a skip from the averaged scores of both trunks' pool4.

Published, without code: 65.4 pixel accuracy, 34.0 mean IU on test.   python -m nets summary nyud-fcn16s-color-hha
"""
from caffe import layers as L
from caffe import params as P

from nets import nyud
from nets.blocks import Net, crop, loss, mean, score, upsample
from nets.vgg16 import vgg16


def fcn(split: str) -> Net:
    n = nyud.feed(split, color='color', hha='hha')
    for modality in ('color', 'hha'):
        n['score_fr' + modality] = score(vgg16(n, modality, suffix=modality), nyud.NUM_CLASSES)
        n['score_pool4' + modality] = score(n['pool4' + modality], nyud.NUM_CLASSES)
    n.score_fused = mean(n.score_frcolor, n.score_frhha)                        # stride 32
    n.upscore2 = upsample(n.score_fused, 2)                                     # stride 16
    n.score_pool4_fused = mean(n.score_pool4color, n.score_pool4hha)
    n.score_pool4c = crop(n.score_pool4_fused, n.upscore2)
    n.fuse_pool4 = L.Eltwise(n.upscore2, n.score_pool4c, operation=P.Eltwise.SUM)
    n.upscore16 = upsample(n.fuse_pool4, 16)                                    # stride 1
    n.score = crop(n.upscore16, n.color)
    loss(n)
    return n.to_proto()
