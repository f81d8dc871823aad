"""docs/deploy/segment.cpp: compiled as it says, and its pictures against pycaffe, numpy and Pillow."""
import re
import shlex
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from accel import build  # noqa: E402
from accel.__main__ import flags  # noqa: E402
from data_layers.palette import PALETTE  # noqa: E402
from surgery import write_weights  # noqa: E402
from tests.helpers import narrow_nets  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.caffe,
    pytest.mark.skipif('include' not in build.facts(), reason='this Caffe came in a wheel, without headers'),
    pytest.mark.skipif(not shutil.which('g++'), reason='there is no g++'),
    pytest.mark.skipif(not Path('/usr/include/jpeglib.h').is_file(), reason='there are no headers of libjpeg')]
SOURCE = Path(__file__).resolve().parent.parent / 'docs/deploy/segment.cpp'
MEAN = (104.5, 116.25, 122.75)      # numbers that float32 holds exactly, as it does all sums with integers
POINTWISE = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 5 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
        convolution_param { num_output: 40 kernel_size: 1 } }
"""


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    """The sample, compiled by the command that it states, and with all warnings as errors."""
    path = tmp_path_factory.mktemp('sample') / 'segment'
    command = re.search(r'^// +(g\+\+ .*)$', SOURCE.read_text(), re.MULTILINE)[1]
    command = command.replace('$(.venv/bin/python -m accel flags)', shlex.join(flags()))
    words = shlex.split(command.replace('-o segment', f'-o {shlex.quote(str(path))}'))
    done = subprocess.run([*words, '-Wall', '-Wextra', '-Werror'], cwd=SOURCE.parent.parent.parent,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def pointwise(tmp_path):
    """A net that tells pixels apart by their colour alone, exactly; prototxt, weights, and array -> classes."""
    rng = np.random.default_rng(0)
    weights, bias = rng.integers(-9, 10, (40, 3)).astype(np.float32), rng.integers(-900, 900, 40).astype(np.float32)
    (tmp_path / 'deploy.prototxt').write_text(POINTWISE)
    write_weights(tmp_path / 'w.caffemodel', {'score': [weights[:, :, None, None], bias]})

    def classes(rgb):
        return ((rgb[..., ::-1].astype(np.float64) - MEAN) @ weights.T + bias).argmax(-1)
    return tmp_path / 'deploy.prototxt', tmp_path / 'w.caffemodel', classes


def run(program, *arguments, mean=MEAN):
    return subprocess.run([program, *map(str, arguments), ','.join(map(str, mean))], capture_output=True, text=True)


def photograph(height=37, width=53):
    """Slopes and noise, for which encoders take all kinds of filters."""
    rng = np.random.default_rng(1)
    slope = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)[:, :, None] * (1, 2, 0.5)
    noise = rng.integers(0, 60, (height, width, 3)) * (np.arange(height) % 3 == 0)[:, None, None]
    return ((slope + noise) % 256).astype(np.uint8)


def filtered_png(rgb):
    """A PNG whose rows have the filters 0 to 4 in turn, in several IDAT chunks."""
    height, width, _ = rgb.shape
    padded = np.zeros((height + 1, width + 1, 3), int)
    padded[1:, 1:] = rgb
    left, above, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    guess = left + above - corner
    distances = np.abs(np.stack([guess - left, guess - above, guess - corner]))
    paeth = np.choose(distances.argmin(0), [left, above, corner])
    predicted = [0 * left, left, above, (left + above) // 2, paeth]
    rows = b''.join(bytes([y % 5]) + ((rgb[y] - predicted[y % 5][y]) % 256).astype(np.uint8).tobytes()
                    for y in range(height))
    packed = zlib.compress(rows)

    def chunk(name, data):
        return len(data).to_bytes(4, 'big') + name + data + zlib.crc32(name + data).to_bytes(4, 'big')
    head = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + bytes([8, 2, 0, 0, 0])
    parts = [packed[i:i + 100] for i in range(0, len(packed), 100)]
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + b''.join(chunk(b'IDAT', part) for part in parts) + chunk(
        b'IEND', b'')


def save(path, mode=None, **options):
    picture = Image.fromarray(photograph())
    (picture.convert(mode) if mode else picture).save(path, **options)


@pytest.mark.parametrize('name, write', [
    ('rgb.png', lambda path: save(path)),
    ('filters.png', lambda path: path.write_bytes(filtered_png(photograph()))),
    ('alpha.png', lambda path: save(path, 'RGBA')),
    ('grey.png', lambda path: save(path, 'L')),
    ('grey-alpha.png', lambda path: save(path, 'LA')),
    ('palette.png', lambda path: save(path, 'P')),
    ('photo.jpg', lambda path: save(path, quality=95, subsampling=0)),
    ('subsampled.jpg', lambda path: save(path, quality=80)),
    ('grey.jpg', lambda path: save(path, 'L')),
    ('pixel.png', lambda path: Image.new('RGB', (1, 1), (9, 200, 30)).save(path))])
def test_every_pixel_of_every_kind_of_picture(program, pointwise, tmp_path, name, write):
    prototxt, weights, classes = pointwise
    write(tmp_path / name)
    done = run(program, prototxt, weights, tmp_path / name, tmp_path / 'out.png')
    assert done.returncode == 0 and not done.stderr, done.stderr
    with Image.open(tmp_path / 'out.png') as found, Image.open(tmp_path / name) as photo:
        assert found.mode == 'P' and np.array_equal(np.array(found.getpalette()).reshape(-1, 3), PALETTE)
        expected = classes(np.asarray(photo.convert('RGB')))
        assert len(np.unique(expected)) > 2 or name == 'pixel.png'
        np.testing.assert_array_equal(np.asarray(found), expected)


ARGMAX = """
import json
import sys
import caffe
import numpy as np
from PIL import Image
net = caffe.Net(sys.argv[1], sys.argv[2], caffe.TEST)
image = np.asarray(Image.open(sys.argv[3]).convert('RGB'), np.float32)[:, :, ::-1]
image = image - np.array(json.loads(sys.argv[5]), 'f')
net.blobs['data'].reshape(1, 3, *image.shape[:2])
net.blobs['data'].data[0] = image.transpose(2, 0, 1)
np.save(sys.argv[4], net.forward()['score'][0].argmax(0))
"""


def test_fcn8s_as_pycaffe_has_it(program, tmp_path):
    """Caffe's own layers in both, so that all is equal, not only to rounding."""
    parameter, net = narrow_nets.alive('voc-fcn8s')
    (tmp_path / 'deploy.prototxt').write_text(str(parameter))
    write_weights(tmp_path / 'w', {name: [blob.data for blob in blobs] for name, blobs in net.params.items()})
    Image.fromarray(photograph(61, 90)).save(tmp_path / 'photo.png')
    files = [tmp_path / name for name in ('deploy.prototxt', 'w', 'photo.png')]
    subprocess.run([sys.executable, '-c', ARGMAX, *files, tmp_path / 'classes.npy', str([*MEAN])], check=True)
    done = run(program, *files, tmp_path / 'out.png')
    assert done.returncode == 0, done.stderr
    expected = np.load(tmp_path / 'classes.npy')
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'out.png')), expected)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def deep(path):
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(path)


@pytest.mark.parametrize('change, said', [
    (lambda f: (f / 'photo.png').unlink(), 'photo.png: no such file'),
    (lambda f: (f / 'deploy.prototxt').unlink(), 'deploy.prototxt: no such file'),
    (lambda f: (f / 'w.caffemodel').write_bytes(b''), 'w.caffemodel: no such file, or it is empty'),
    (lambda f: (f / 'photo.png').write_bytes(b'GIF89a'), 'neither a JPEG nor a PNG'),
    (lambda f: cut(f / 'photo.png'), 'the PNG is'),
    (lambda f: deep(f / 'photo.png'), '8 bits'),
    (lambda f: (f / 'photo.png').write_bytes(filtered_png(photograph()).replace(b'IHDR\0\0', b'IHDR\xff\xff')),
     'too many'),
    (lambda f: (save(f / 'x.jpg'), cut(f / 'x.jpg'), (f / 'x.jpg').replace(f / 'photo.png')), 'JPEG cannot be read'),
    (lambda f: (f / 'out.png').mkdir(), 'out.png cannot be written'),
    (lambda f: (f / 'deploy.prototxt').write_text(POINTWISE.replace('kernel_size: 1', 'kernel_size: 1 stride: 2')),
     'not a score of each pixel'),
    (lambda f: (f / 'deploy.prototxt').write_text('layer { name: "data" type: "Input" top: "data" '
                                                  'input_param { shape { dim: 5 } } }'), 'the input needs 3 channels')])
def test_what_does_not_work_is_told_in_one_line(program, pointwise, tmp_path, change, said):
    prototxt, weights, _ = pointwise
    save(tmp_path / 'photo.png')
    change(tmp_path)
    done = run(program, prototxt, weights, tmp_path / 'photo.png', tmp_path / 'out.png')
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / 'out.png').is_file()


@pytest.mark.parametrize('mean', [(1, 2), (1, 2, 'x'), (1, 2, 3, 4), ('',)])
def test_a_wrong_mean(program, pointwise, tmp_path, mean):
    prototxt, weights, _ = pointwise
    save(tmp_path / 'photo.png')
    done = run(program, prototxt, weights, tmp_path / 'photo.png', tmp_path / 'out.png', mean=mean)
    assert done.returncode == 2 and 'is no mean' in done.stderr


def test_a_call_without_arguments(program):
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith('error: usage: segment deploy.prototxt')
