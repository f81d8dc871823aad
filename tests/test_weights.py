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
    entity = '"1"'
    asked: list = []

    def do_GET(self):
        start = int((self.headers['Range'] or 'bytes=0-')[6:-1])
        Server.asked.append(start)
        if self.headers['If-Range'] != Server.entity:
            start = 0
        self.send_response(206 if start else 200)
        if Server.entity:
            self.send_header('ETag', Server.entity)
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
    Server.entity = '"1"'
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
    path = weights.fetch('voc-fcn8s', read_weights)     # from the beginning
    assert server.asked == [0, 0] and path.read_bytes() == server.body
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize('entity', ['"portal"', None])
def test_the_page_of_a_captive_portal_is_not_the_beginning_of_the_file(server, entity):
    """It answered for the host, and broke off."""
    whole, server.body, server.entity, server.breaks = server.body, b'<html>' + bytes(50_000), entity, True
    with pytest.raises(cli.BadInput, match='does not answer'):
        weights.fetch('voc-fcn8s', read_weights)
    server.body, server.entity = whole, '"1"'
    assert weights.fetch('voc-fcn8s', read_weights).read_bytes() == whole


def test_a_whole_page_instead_of_the_file_is_dropped(server):
    whole, server.body = server.body, b'<html>sign in</html>'
    with pytest.raises(cli.BadInput, match='web page'):
        weights.fetch('voc-fcn8s', read_weights)
    server.body = whole
    assert weights.fetch('voc-fcn8s', read_weights).read_bytes() == whole


def test_a_host_that_does_not_answer(monkeypatch):
    monkeypatch.setenv('FCN_WEIGHTS_URL', 'http://127.0.0.1:9')
    with pytest.raises(cli.BadInput, match='does not answer'):
        weights.fetch('voc-fcn8s', read_weights)


@pytest.mark.parametrize('name, url', [
    ('voc-fcn8s', 'http://dl.caffe.berkeleyvision.org/fcn8s-heavy-pascal.caffemodel'),
    ('cityscapes-fcn8s', 'http://people.eecs.berkeley.edu/~tinghuiz/projects/pix2pix/fcn-8s-cityscapes/'
                         'fcn-8s-cityscapes.caffemodel')])
def test_each_file_comes_from_its_own_host(name, url, monkeypatch):
    asked = []

    def download(url, _):
        asked.append(url)
        raise ConnectionError('no network in this test')
    monkeypatch.delenv('FCN_WEIGHTS_URL', raising=False)
    monkeypatch.setattr(weights, '_download', download)
    with pytest.raises(cli.BadInput, match='does not answer'):
        weights.fetch(name, read_weights)
    assert asked == [url]


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
