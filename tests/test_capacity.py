"""Images too large for a net are named before Caffe ends the process on them; the others are segmented."""
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import accel  # noqa: E402
import cli  # noqa: E402
import nets  # noqa: E402
from nets import infer  # noqa: E402
from solvers import capacity  # noqa: E402
from surgery.shapes import infer as infer_shapes  # noqa: E402
from tests.helpers import narrow_nets, own  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent


def test_the_bytes_are_those_of_caffes_blobs():
    (net, found), shape = narrow_nets.alive('voc-fcn32s'), (1, 3, 90, 110)
    found.blobs['data'].reshape(*shape)
    found.reshape()
    held = {name: blob.count for name, blob in found.blobs.items() if '_split_' not in name}
    counted = capacity.forward_bytes(net, infer_shapes(net, {'data': shape}))
    assert 4 * sum(held.values()) <= counted


def test_more_numbers_than_caffe_can_count():
    with pytest.raises(cli.BadInput, match='photo.jpg is 9000x8000 pixels, too large for this net .*: make it smaller'):
        capacity.check_fits(nets.load('voc-fcn8s').fcn('deploy'), {'data': (1, 3, 8000, 9000)}, 'photo.jpg')


def test_more_bytes_than_are_free(monkeypatch):
    # Caffe's own layers don't share memory.
    free, takes = (1, '[1-9]') if accel.status().startswith('accelerated') else (3, '1[0-9]')
    monkeypatch.setattr(capacity, 'available', lambda: free * 10 ** 9)
    net = nets.load('voc-fcn8s').fcn('deploy')
    says = rf'a.jpg is 1500x1000 pixels, for which this net takes {takes}\.. GB, and {free}\.0 GB'
    with pytest.raises(cli.BadInput, match=says):
        capacity.check_fits(net, {'data': (1, 3, 1000, 1500)}, 'a.jpg')
    held = capacity.check_fits(net, {'data': (1, 3, 300, 300)}, 'a.jpg')
    monkeypatch.setattr(capacity, 'available', lambda: 0)
    assert capacity.check_fits(net, {'data': (1, 3, 300, 300)}, 'b.jpg', held) == held      # memory is used again


def test_the_limit_of_the_process_counts():
    code = ('import resource\nfrom solvers import capacity\n'
            'resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))\nprint(capacity.available())')
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 8 << 30
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Arguments of `nets.infer` for FCN-32s, narrow enough for a test."""
    weights = narrow_nets.stand_in(monkeypatch, 'voc-fcn32s', tmp_path / 'w.caffemodel')
    return ['--net', 'voc-fcn32s', '--weights', str(weights), '--out', str(tmp_path / 'out')]


def test_a_list_goes_on_after_an_image_that_does_not_fit(small, tmp_path, monkeypatch, capsys):
    photos = tmp_path / 'photos'
    for name in ('a', 'c'):
        own.photo(photos / f'{name}.png', (40, 50))
    Image.fromarray(np.zeros((3000, 4000), np.uint8)).save(photos / 'b.png')
    (photos / 'd.png').write_bytes(b'not a picture')
    monkeypatch.setattr(capacity, 'available', lambda: 300_000_000)
    assert cli.run(infer.main, [*small, str(photos)]) == 1
    told = capsys.readouterr().err
    assert '2 of 4 images were not segmented: b.png, d.png' in told and 'b.png is 4000x3000 pixels' in told
    assert sorted(path.name for path in (tmp_path / 'out').glob('?.png')) == ['a.png', 'c.png']
    assert cli.run(infer.main, [*small, str(photos / 'b.png')]) == 2
