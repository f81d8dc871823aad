"""Small nets of random weights, run by Caffe and, exported, by onnxruntime."""
import tempfile
from pathlib import Path

import caffe
import numpy as np
import onnx
import onnxruntime

from surgery.classifier import prepare
from surgery.free_sizes import free_sizes
from surgery.onnx_export import FIXED_SIZE, onnx_model
from surgery.prototxt import read_net
from tests.helpers.surgery_nets import randomise

TOLERANCE = 2e-5        # relative to the largest output


class Exported:
    """The net of a prototxt's text, with random weights, in Caffe and as an ONNX model.

    Attributes
    ----------
    net : caffe.Net
    model : onnx.ModelProto
    sizes : FreeSizes
    outputs : list of str
    """

    def __init__(self, text, seed=0, fill=None):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'net.prototxt')
            path.write_text(text)
            self.net = caffe.Net(str(path), caffe.TEST)
            parameter = read_net(path)
        (fill or randomise)(self.net, seed)
        weights = {layer: [blob.data.copy() for blob in blobs] for layer, blobs in self.net.params.items()}
        found = prepare(parameter, weights, images=False)
        self.sizes, self.outputs = free_sizes(found.net, found.shapes, FIXED_SIZE), found.outputs
        self.model = onnx_model(found.net, found.weights, found.shapes, self.sizes, found.outputs)
        onnx.checker.check_model(self.model, full_check=True)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        self.session = onnxruntime.InferenceSession(self.model.SerializeToString(), options,
                                                    providers=['CPUExecutionProvider'])

    def feed(self, seed=0, **more):
        """Random inputs, larger than the net's own by so many images (`batch`), rows and columns."""
        rng = np.random.default_rng(seed)
        added = (more.get('batch', 0), 0, more.get('height', 0), more.get('width', 0))
        return {name: rng.normal(size=[d + m for d, m in zip(shape, (*added, *[0] * len(shape)), strict=False)])
                .astype(np.float32) * 2 for name, shape in self.sizes.inputs.items()}

    def run(self, feed):
        """The outputs of Caffe and of onnxruntime, in the order of `outputs`."""
        for name, value in feed.items():
            self.net.blobs[name].reshape(*value.shape)
        self.net.reshape()
        for name, value in feed.items():
            self.net.blobs[name].data[...] = value
        self.net.forward()
        return [self.net.blobs[name].data.copy() for name in self.outputs], self.session.run(None, feed)

    def agree(self, feed=None, **more):
        """Assert that both give the same; what Caffe gives."""
        caffes, theirs = self.run(self.feed(**more) if feed is None else feed)
        for name, ours, other in zip(self.outputs, caffes, theirs, strict=True):
            assert other.shape == ours.shape, (name, other.shape, ours.shape, more)
            finite = np.abs(ours[np.isfinite(ours)])
            np.testing.assert_allclose(other, ours, rtol=0, atol=TOLERANCE * max(finite.max(initial=0), 1e-30),
                                       err_msg=f'{name} {more}')
        return caffes
