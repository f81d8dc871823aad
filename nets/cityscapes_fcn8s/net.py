"""FCN-8s for Cityscapes, the net that FCN-scores of generated street scenes are made with (pix2pix, CycleGAN).

VOC's FCN-8s without dropout, fc6 and fc7 called otherwise, and upsampling learned. Of its 20 outputs 19 are classes.
Published as weights, without its training.   python -m nets summary cityscapes-fcn8s
"""
from nets import cityscapes
from nets.blocks import Net, conv_relu, crop, loss, score, skip, upsample
from nets.data import Data
from nets.vgg16 import stages


def fcn(split: str, data: Data = cityscapes) -> Net:
    n = data.feed(split)                                                        # data, label
    n.fc6_cs, n.relu6_cs = conv_relu(stages(n), 4096, kernel_size=7, pad=0)     # stride 32
    n.fc7_cs, n.relu7_cs = conv_relu(n.relu6_cs, 4096, kernel_size=1, pad=0)
    n.score_fr = score(n.relu7_cs, data.NUM_CLASSES)
    n.upscore2 = upsample(n.score_fr, 2, learned=True)                          # stride 16
    skip(n, 'pool4', onto='upscore2')                                           # score, crop, sum
    n.upscore_pool4 = upsample(n.fuse_pool4, 2, learned=True)                   # stride 8
    skip(n, 'pool3', onto='upscore_pool4')
    n.upscore8 = upsample(n.fuse_pool3, 8, learned=True)                        # stride 1
    n.score = crop(n.upscore8, n.data)
    loss(n)
    return n.to_proto()
