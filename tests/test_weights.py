"""Fetching released weights, from a server on this machine."""
import http.server
import threading

import numpy as np
import pytest

import cli
from solvers import weights
from surgery import read_weights, write_weights


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `body` with ranges; breaks off the first answer halfway when `breaks`."""
    body = b''
    breaks = False
    asked: list = []

    def do_GET(self):
        start = int((self.headers['Range'] or 'bytes=0-')[6:-1])
        Server.asked.append(start)
        if start >= len(self.body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(self.body) - start))
        self.end_headers()
        stop = len(self.body) // 2 if Server.breaks else len(self.body)
        Server.breaks = False
        self.wfile.write(self.body[start:stop])

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    write_weights(tmp_path / 'w.caffemodel', {'conv1_1': [np.arange(300000, dtype=np.float32)]})
    Server.body, Server.breaks, Server.asked = (tmp_path / 'w.caffemodel').read_bytes(), False, []
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setenv('FCN_WEIGHTS_URL', f'http://127.0.0.1:{running.server_port}')
        yield Server
        running.shutdown()


def test_a_broken_download_goes_on_where_it_was(server):
    server.breaks = True
    with pytest.raises(cli.BadInput, match='put it at .*fcn8s-heavy-pascal.caffemodel'):
        weights.fetch('voc-fcn8s', read_weights)
    assert weights.existing('voc-fcn8s') is None
    path = weights.fetch('voc-fcn8s', read_weights)
    assert server.asked == [0, len(server.body) // 2]
    assert path.read_bytes() == server.body and weights.find('voc-fcn8s') == path
    assert weights.fetch('voc-fcn8s', read_weights) == path and len(server.asked) == 2   # there already


def test_a_file_that_does_not_fit_never_gets_its_name(server):
    def check(path):
        raise cli.BadInput(f'{path} is of another net')
    with pytest.raises(cli.BadInput, match='another net'):
        weights.fetch('voc-fcn8s', check)
    assert weights.existing('voc-fcn8s') is None
    weights.fetch('voc-fcn8s', read_weights)    # the whole file is there and is checked again
    assert server.asked == [0, len(server.body)]


def test_a_host_that_does_not_answer(monkeypatch):
    monkeypatch.setenv('FCN_WEIGHTS_URL', 'http://127.0.0.1:9')
    with pytest.raises(cli.BadInput, match='does not answer'):
        weights.fetch('voc-fcn8s', read_weights)


def test_nothing_was_released():
    with pytest.raises(cli.BadInput, match='voc-fcn-googlenet.*were released'):
        weights.fetch('voc-fcn-googlenet', read_weights)


@pytest.mark.caffe
def test_released_weights_must_fit_the_net_exactly(tmp_path):
    pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
    from caffe import layers as L
    from caffe.net_spec import NetSpec

    from solvers.instance import instantiate, load
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1, 4, 4]))
    n.conv = L.Convolution(n.data, num_output=1, kernel_size=1)
    net, path = instantiate(n.to_proto()), tmp_path / 'w.caffemodel'
    write_weights(path, {'conv': [np.full((1, 1, 1, 1), 2, 'f'), np.ones(1, 'f')], 'other': [np.ones(1, 'f')]})
    assert load(net, path).params['conv'][0].data.item() == 2
    with pytest.raises(cli.BadInput, match='other, which this net lacks'):
        load(net, path, exactly=True)
    write_weights(path, {'conv': [np.ones((1, 1, 3, 3), 'f'), np.ones(1, 'f')]})
    with pytest.raises(cli.BadInput, match='conv'):
        load(net, path)
