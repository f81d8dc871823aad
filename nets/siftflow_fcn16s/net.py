"""FCN-16s for SIFT Flow: semantic and geometric labels at once, each with a skip from pool4.

Published: 85.2 pixel accuracy, 39.5 mean IU, 94.3 geometric accuracy.   python -m nets summary siftflow-fcn16s
"""
from caffe.net_spec import NetSpec

from nets import siftflow
from nets.blocks import crop, score, skip, upsample


@siftflow.two_tasks
def fcn(n: NetSpec, task: str, classes: int) -> None:
    n['score_fr' + task] = score(n.drop7, classes)                              # stride 32
    n['upscore2' + task] = upsample(n['score_fr' + task], 2)                    # stride 16
    skip(n, 'pool4', onto='upscore2', task=task)                                # score, crop, sum
    n['upscore16' + task] = upsample(n['fuse_pool4' + task], 16)                # stride 1
    n['score' + task] = crop(n['upscore16' + task], n.data)
