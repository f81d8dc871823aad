"""The hash of what a net computes, for two installations of Caffe to compare: python forward.py DEPLOY_PROTOTXT

Needs caffe and accel alone. Weights and picture are functions of their shapes; weights have the size that keeps
activations of one size from layer to layer, so that all layers matter.
"""
import hashlib
import os
import sys

os.environ.setdefault('GLOG_minloglevel', '2')

import caffe  # noqa: E402
import numpy as np  # noqa: E402

import accel  # noqa: E402

caffe.set_mode_cpu()
net = caffe.Net(sys.argv[1], caffe.TEST)
random = np.random.default_rng(0)
for blobs in net.params.values():
    for blob in blobs:
        fan_in = max(1, blob.count // blob.shape[0])
        blob.data[...] = random.normal(scale=np.sqrt(2 / fan_in), size=blob.data.shape)
name = net.inputs[0]
net.blobs[name].reshape(1, 3, 97, 129)
net.blobs[name].data[...] = random.normal(scale=50, size=net.blobs[name].data.shape)
scores = net.forward()[net.outputs[0]]
assert np.isfinite(scores).all() and scores.std() > 0
print(accel.status())
print(scores.shape, hashlib.sha256(scores.tobytes()).hexdigest())
