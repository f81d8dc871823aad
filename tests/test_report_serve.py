"""The page that segments photographs: answers, refusals, the queue, and the browser."""
import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
import nets  # noqa: E402
from data_layers.dataset import VOC_MEAN  # noqa: E402
from data_layers.reading import read_photo  # noqa: E402
from report import serve  # noqa: E402
from solvers import capacity  # noqa: E402
from solvers.deploy import of_training  # noqa: E402
from solvers.instance import instantiate, load, segment  # noqa: E402
from tests.helpers import tiny  # noqa: E402
from tests.helpers.browser import Browser, needs_browser  # noqa: E402
from tests.helpers.commands import TINY, Command  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def weights(tmp_path):
    """Of the tiny net, random, so that a photograph gets several classes."""
    return tiny.random_weights(tmp_path / 'tiny.caffemodel')


@pytest.fixture
def server(weights):
    with serve.Server(serve.Segmenter(of_training(tiny.training(1), weights)), 'tiny') as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def picture(size=(40, 30), format='PNG', mode='RGB', **options):
    pixels = np.random.default_rng(1).integers(0, 256, (size[1] // 10, size[0] // 10, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).convert(mode).save(file, format, **options)
    return file.getvalue()


def post(server, body=b'', path='/segment', method='POST', **headers):
    connection = http.client.HTTPConnection('127.0.0.1', server.server_port, timeout=30)
    connection.request(method, path, body, {name.replace('_', '-'): value for name, value in headers.items()})
    answer = connection.getresponse()
    data = answer.read()
    return answer.status, json.loads(data) if answer.headers['Content-Type'] == 'application/json' else data.decode()


def test_the_answer_is_what_the_net_says(server, weights, tmp_path):
    status, found = post(server, picture())
    assert status == 200 and (found['width'], found['height']) == (40, 30) and found['seconds'] > 0
    (tmp_path / 'photo.png').write_bytes(picture())
    net = load(instantiate(tiny.fcn('deploy')), weights)
    labels = segment(net, {'data': read_photo(tmp_path / 'photo.png', VOC_MEAN)})['score'].argmax(0)
    shares = {tiny.voc.CLASSES[k]: 100 * np.mean(labels == k) for k in np.unique(labels)}
    assert len(shares) > 1
    assert {entry['name']: entry['percent'] for entry in found['tasks'][0]['legend']} == pytest.approx(shares)
    assert found['tasks'][0]['overlay'].startswith('data:image/jpeg;base64,')


@pytest.mark.parametrize('format, mode, options', [
    ('JPEG', 'RGB', {}), ('JPEG', 'CMYK', {}), ('PNG', 'L', {}), ('PNG', 'P', {}), ('PNG', 'RGBA', {}),
    ('PNG', '1', {'transparency': 1}), ('PNG', 'L', {'transparency': 7}), ('JPEG', 'RGB', {'icc_profile': b'x'}),
    ('PNG', '1', {}), ('WEBP', 'RGB', {}), ('TIFF', 'RGB', {}), ('BMP', 'RGB', {})])
def test_photographs_of_all_kinds(server, format, mode, options):
    assert post(server, picture(format=format, mode=mode, **options))[0] == 200


def test_large_photographs_are_made_smaller_and_turned_upright():
    orientation = Image.Exif()
    orientation[0x0112] = 6     # a camera held upright: turn by 90 degrees
    photo = serve.decode(picture((2000, 1000), 'JPEG', exif=orientation))
    assert photo.size == (serve.SIDE // 2, serve.SIDE) and photo.mode == 'RGB'


def bomb():
    """A few bytes that promise 900 million pixels."""
    data = bytearray(picture(format='BMP'))
    data[18:26] = (30_000).to_bytes(4, 'little') * 2
    return bytes(data)


@pytest.mark.parametrize('body, headers, status, said', [
    (b'', {}, 400, 'empty'),
    (b'%PDF-1.4 hello', {}, 415, 'cannot be read as a photograph'),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', {}, 415, 'cannot be read as a photograph'),
    (picture()[:100], {}, 415, 'cannot be decoded'),
    (picture((9000, 6000), 'PNG', '1'), {}, 413, 'at most 50 million'),
    (bomb(), {}, 413, 'this photograph is too large'),
    (picture(format='TIFF', mode='I'), {}, 415, '8 bits'),
    (b'x', {'Content_Length': str(serve.MAX_BYTES + 1)}, 413, 'at most 20 MB'),
    (b'x', {'Content_Length': '-1'}, 411, 'how long'),
    (b'x', {'Host': 'evil.example'}, 421, 'address'),
    (b'x', {'Origin': 'http://evil.example'}, 403, 'only the page'),
])
def test_wrong_requests_are_answered_politely(server, body, headers, status, said):
    answer = post(server, body, **headers)
    assert answer[0] == status and said in answer[1]['error']
    assert post(server, picture())[0] == 200    # and the next one is served


@pytest.mark.parametrize('method, path, status', [
    ('GET', '/', 200), ('GET', '/../report/serve.py', 404), ('GET', '/segment', 404), ('POST', '/', 404),
    ('PUT', '/segment', 501)])
def test_there_is_one_page_and_one_address(server, method, path, status):
    assert post(server, picture(), path, method)[0] == status


def test_the_page_comes_from_this_machine_alone(server):
    assert server.server_address[0] == '127.0.0.1'
    with pytest.raises(OSError):    # a server of all addresses would answer at this one, too
        socket.create_connection(('127.0.0.2', server.server_port), timeout=2)


def test_one_photograph_at_a_time_and_few_that_wait(server, monkeypatch):
    go, busy, most = threading.Event(), [], []

    def slow(self, photo):
        busy.append(1)
        most.append(len(busy))
        go.wait(20)
        busy.pop()
        return {}
    monkeypatch.setattr(serve.Segmenter, '_segment', slow)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(post(server, picture()))) for _ in range(serve.WAITING)]
    for thread in threads:
        thread.start()
    for _ in range(200):    # until every place is taken
        if server.segmenter._places._value == 0:
            break
        time.sleep(0.05)
    status, refusal = post(server, picture())
    assert status == 503 and 'try again' in refusal['error']
    go.set()
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [200] * serve.WAITING and max(most) == 1
    assert post(server, picture())[0] == 200


def test_files_that_arrive_slowly_take_places_and_no_more_than_that(server, capsys):
    """Whoever comes then is told so at once; when they leave, places are free and nothing is said."""
    slow = []
    for _ in range(serve.WAITING):
        slow.append(socket.create_connection(('127.0.0.1', server.server_port)))
        slow[-1].sendall(f'POST /segment HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n'
                         f'Content-Length: {serve.MAX_BYTES}\r\n\r\nbegin'.encode())
    for _ in range(200):
        if server.segmenter._places._value == 0:
            break
        time.sleep(0.05)
    status, refusal = post(server, picture())
    assert status == 503 and 'try again' in refusal['error']
    for connection in slow:
        connection.close()
    for _ in range(200):
        if server.segmenter._places._value == serve.WAITING:
            break
        time.sleep(0.05)
    assert post(server, picture())[0] == 200 and 'Traceback' not in capsys.readouterr().err


def memory(process):
    """Most bytes that a process has had in memory."""
    status = Path(f'/proc/{process.pid}/status').read_text()
    return int(status.split('VmHWM:')[1].split()[0]) << 10


def test_two_hundred_that_hold_all_but_a_byte(weights, tmp_path):
    """At 2 MB for a photograph: whoever has a place is kept in memory, and nobody else."""
    limit, count = 2 << 20, 200
    command = Command(tmp_path, '-c', f'from report import serve\nserve.MAX_BYTES = {limit}\n{TINY}', 'serve', '--net',
                      'tiny', '--weights', weights, '--cpu', '--port', '0')
    server = SimpleNamespace(server_port=command.serving())
    assert post(server, picture())[0] == 200
    before, held = memory(command.process), []
    for _ in range(count):
        held.append(socket.create_connection(('127.0.0.1', server.server_port), timeout=30))
        held[-1].sendall(f'POST /segment HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n'
                         f'Content-Length: {limit}\r\n\r\n'.encode() + bytes(limit - 1))
    assert post(server, method='GET', path='/')[0] == 200
    status, refusal = post(server, picture())
    assert status == 503 and 'try again' in refusal['error']
    assert memory(command.process) - before < 8 * serve.WAITING * limit < count * limit // 4
    for connection in held:
        connection.close()
    deadline = time.monotonic() + 30
    while (status := post(server, picture())[0]) == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert status == 200
    assert command.end(signal.SIGTERM) == (143, 'ended by SIGTERM\n')


def test_a_failure_inside_is_not_told_to_the_network(server, monkeypatch, capsys):
    def fail(self, photo):
        raise RuntimeError('secret path')
    monkeypatch.setattr(serve.Segmenter, '_segment', fail)
    status, answer = post(server, picture())
    assert status == 500 and 'secret' not in answer['error'] and 'secret' in capsys.readouterr().err


@pytest.mark.parametrize('net', ['nyud-fcn32s-color-hha', 'nyud-fcn32s-hha', 'nyud-fcn32s-color-d'])
def test_nets_that_see_more_than_a_photograph_are_refused(net, weights):
    with pytest.raises(cli.BadInput, match='not a photograph alone'):
        serve.Segmenter(of_training(nets.load(net), weights))


def test_too_little_memory_is_told_and_the_server_goes_on(server, monkeypatch, capsys):
    """Caffe would end the process."""
    with monkeypatch.context() as little:
        little.setattr(capacity, 'available', lambda: 1000)
        status, answer = post(server, picture())
    assert status == 507 and 'too little free memory' in answer['error']
    assert 'the photograph is 40x30 pixels, for which this net takes' in capsys.readouterr().err
    assert post(server, picture())[0] == 200
    monkeypatch.setattr(capacity, 'available', lambda: 0)
    assert post(server, picture())[0] == 200        # what is allocated is used again


def test_a_net_of_a_run_that_would_end_the_process_is_named(weights, tmp_path, capsys):
    """The allow-list and the shapes have nothing against it."""
    tiny.training(1).emit(tmp_path)
    (tmp_path / 'run.json').write_text('{}')
    path = tmp_path / 'deploy.prototxt'
    path.write_text(path.read_text().replace('type: "msra"', 'type: "nonsense"'))
    assert cli.run(serve.main, ['--net', str(tmp_path), '--weights', str(weights), '--port', '0', '--cpu']) == 2
    line, = capsys.readouterr().err.splitlines()
    assert f'{path}: Caffe cannot make this net (Check failed: ' in line and 'nonsense' in line


def test_wrong_calls(weights, server):
    def call(*arguments):
        return subprocess.run([sys.executable, '-m', 'report', 'serve', *map(str, arguments)], cwd=ROOT,
                              capture_output=True, text=True)
    for arguments, said in (((), '--net'), (('--net', 'voc-fcn8s'), '--weights'),
                            (('--net', 'voc-fcn8s', '--weights', '/nowhere'), 'no such caffemodel')):
        result = call(*arguments)
        assert result.returncode == 2 and said in result.stderr and len(result.stderr.splitlines()) == 1
    with pytest.raises(cli.BadInput, match='name another with --port'):
        serve.Server(server.segmenter, 'tiny', server.server_port)


def wait_for(browser, condition):
    for _ in range(100):
        if browser.run(f'return {condition}'):
            return
        time.sleep(0.1)
    pytest.fail(f'{condition}: {browser.run("return document.body.innerText")}')


@needs_browser
def test_the_page_in_a_browser(server, tmp_path):
    hostile = tmp_path / '<img src=x onerror=document.title=`owned`>.png'
    hostile.write_bytes(picture((400, 300)))
    with Browser(tmp_path / 'profile') as browser:
        for width, dark in ((1200, False), (375, True)):
            browser.open(server.url, width=width, dark=dark)
            browser.type('#file', str(hostile))
            wait_for(browser, "document.querySelectorAll('#result img').length == 2")
            assert browser.console() == [] and browser.overflows() == []
            assert 'owned' not in browser.run('return document.title')
            assert browser.run("return document.querySelector('[onerror]')") is None
            assert f'{hostile.name}: 400 x 300 pixels in' in browser.run('return state.textContent')
            assert browser.run('return [...document.images].every(i => i.alt && i.naturalWidth > 0)')
            assert browser.run("return document.querySelectorAll('.legend li').length") > 1
        # Dropped on the page.
        browser.run('''
            const files = new DataTransfer();
            files.items.add(new File(['no picture'], 'notes.txt'));
            drop.dispatchEvent(new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true}));''')
        wait_for(browser, "state.textContent.includes('cannot be read as a photograph')")
        assert browser.run('return state.textContent').startswith('notes.txt: ')
        assert browser.run("return document.querySelectorAll('#result img').length") == 0
        browser.run('''
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(arguments[0] + 1)], 'large.jpg'));
            drop.dispatchEvent(new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true}));''',
                    serve.MAX_BYTES)
        assert 'at most 20 MB' in browser.run('return state.textContent')
