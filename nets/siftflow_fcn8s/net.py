"""FCN-8s for SIFT Flow: both labels, each with skips from pool4 and pool3.   python -m nets summary siftflow-fcn8s"""
from caffe.net_spec import NetSpec

from nets import siftflow
from nets.blocks import crop, score, skip, upsample


@siftflow.two_tasks
def fcn(n: NetSpec, task: str, classes: int) -> None:
    n['score_fr' + task] = score(n.drop7, classes)                              # stride 32
    n['upscore2' + task] = upsample(n['score_fr' + task], 2)                    # stride 16
    skip(n, 'pool4', onto='upscore2', task=task)                                # score, crop, sum
    n['upscore_pool4' + task] = upsample(n['fuse_pool4' + task], 2)             # stride 8
    skip(n, 'pool3', onto='upscore_pool4', task=task)
    n['upscore8' + task] = upsample(n['fuse_pool3' + task], 8)                  # stride 1
    n['score' + task] = crop(n['upscore8' + task], n.data)
