"""What timings of nets need: weights in the scale of trained ones, and the processor's name."""
import platform

import numpy as np
import pytest

from report import timing


def test_the_processor_is_what_linux_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, 'CPUINFO', tmp_path / 'cpuinfo')
    assert timing.processor() == platform.machine()
    (tmp_path / 'cpuinfo').write_text('processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n')
    assert timing.processor() == 'Some CPU @ 2 GHz'


@pytest.mark.caffe
def test_random_weights_keep_the_scale_of_activations():
    pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
    from solvers.instance import instantiate
    from surgery import bilinear_kernel
    from tests.helpers import tiny
    net = instantiate(tiny.fcn('deploy'))
    timing.randomise(net, np.random.default_rng(0))
    for name, (weights, *biases) in net.params.items():
        if name.startswith('up'):
            np.testing.assert_allclose(weights.data[0, 0], bilinear_kernel(weights.data.shape[-1]))
        else:
            fan_in = weights.data[0].size
            assert weights.data.std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.2)
        assert all(not bias.data.any() for bias in biases)
