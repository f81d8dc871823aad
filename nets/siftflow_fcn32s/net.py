"""FCN-32s for SIFT Flow: semantic and geometric labels at once.   python -m nets summary siftflow-fcn32s"""
from caffe.net_spec import NetSpec

from nets import siftflow
from nets.blocks import crop, score, upsample


@siftflow.two_tasks
def fcn(n: NetSpec, task: str, classes: int) -> None:
    n['score_fr' + task] = score(n.drop7, classes)                              # stride 32
    n['upscore' + task] = upsample(n['score_fr' + task], 32)                    # stride 1
    n['score' + task] = crop(n['upscore' + task], n.data)
