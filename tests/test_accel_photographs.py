"""What the demo's nets make of its photographs, at their full size, on accelerated layers and on Caffe's own."""
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import accel  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from experiments import demo, fetch  # noqa: E402
from solvers.instance import instantiate, load, segment  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / 'runs/demo/voc-fcn8s/weights.caffemodel'
pytestmark = [pytest.mark.caffe, pytest.mark.slow,
              pytest.mark.skipif(not accel.status().startswith('accelerated'), reason=accel.status()),
              pytest.mark.skipif(not RUN.is_file(), reason='no trained weights: make demo')]


def test_best_classes_are_caffes(monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(ROOT / 'data'))
    root = fetch.photographs(1)
    net_parameter = demo.training(demo.STAGES[-1], root).fcn('deploy')
    ours = load(instantiate(net_parameter), RUN)
    with accel.off():
        theirs = load(instantiate(net_parameter), RUN)
    dataset = open_dataset('voc', 'val', root)
    for id in dataset.ids:
        scores = [segment(net, {'data': dataset.read('data', id)})['score'] for net in (ours, theirs)]
        agree = np.mean(scores[0].argmax(0) == scores[1].argmax(0))
        difference = np.linalg.norm(scores[0] - scores[1]) / np.linalg.norm(scores[1])
        print(f'{id} {scores[0].shape}: {100 * agree:.4f} % of pixels agree, scores {difference:.1e} apart')
        assert agree >= 0.9999 and difference < 1e-5
        assert len(np.unique(scores[0].argmax(0))) > 1
