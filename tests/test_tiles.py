"""Large images in overlapping tiles: what they make together is what the whole image gives."""
import math
import re

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import accel  # noqa: E402
import cli  # noqa: E402
import nets  # noqa: E402
from data_layers.pictures import softmax  # noqa: E402
from data_layers.submission import FOLDER  # noqa: E402
from nets import alexnet, infer  # noqa: E402
from solvers import capacity, deploy, segmenting, tiles  # noqa: E402
from solvers.instance import segment  # noqa: E402
from solvers.segmenting import Way, segment_image  # noqa: E402
from surgery.preparation import Preparation, enlarged  # noqa: E402
from surgery.shapes import infer as infer_shapes  # noqa: E402
from tests.helpers import datasets, deploy_nets, narrow_nets, own  # noqa: E402
from tests.helpers.surgery_nets import conv, layer, pool  # noqa: E402

pytestmark = pytest.mark.caffe


def images_of(parameter, height, width):
    """Noise with structure, for every input of a deploy net."""
    rng = np.random.default_rng(1)
    coarse = np.kron(rng.standard_normal((3, height // 8 + 1, width // 8 + 1)), np.ones((1, 8, 8)))[:, :height, :width]
    image = (60 * coarse + 10 * rng.standard_normal((3, height, width))).astype(np.float32)
    return {layer.top[0]: image[:layer.input_param.shape[0].dim[1]] for layer in parameter.layer
            if layer.type == 'Input'}


def whole_image(net, images):
    return {name: scores.copy() for name, scores in segment(net, images).items()}


@pytest.mark.parametrize('name, width, count', [('voc-fcn8s', 1061, 4), ('siftflow-fcn16s', 97, 2),
                                                ('nyud-fcn32s-color-d', 97, 2), ('voc-fcn-alexnet', 97, 2)])
def test_tiles_that_overlap_by_what_a_score_sees_give_the_scores_of_the_whole_image(name, width, count):
    parameter, net = narrow_nets.alive(name)
    side = tiles.tiling(parameter, 512).exact
    images = images_of(parameter, side + 203, width)
    expected = whole_image(net, images)
    cut = tiles.tiling(parameter, side)
    assert len(list(tiles.pieces(images, cut))) == count and cut.overlap >= cut.enough
    found = segment_image(net, images, Way(cut), probabilities=True)
    assert found.keys() == expected.keys()
    for score, whole in expected.items():
        assert np.median(softmax(whole).max(0)) < 0.9 and whole.std((1, 2)).max() > 0.1     # not saturated, not flat
        np.testing.assert_allclose(found[score].probabilities, softmax(whole), rtol=1e-4, atol=1e-6)
        assert np.mean(found[score].labels != whole.argmax(0)) < 1e-5     # two scores equal to rounding


def test_of_smaller_tiles_only_the_scores_beside_the_seams_differ():
    parameter, net = narrow_nets.alive('voc-fcn8s')
    images = images_of(parameter, 700, 512)
    whole = softmax(whole_image(net, images)['score'])
    cut = tiles.tiling(parameter, 512)
    (_, seam), = [(span.first, span.last) for span in cut.spans(700, 0)][:1]
    found = segment_image(net, images, Way(cut), probabilities=True)['score'].probabilities
    wrong = np.flatnonzero(np.abs(found - whole).max((0, 2)) > 1e-4)
    beside = (cut.enough - cut.overlap) / 2
    assert wrong.size and seam - beside <= wrong.min() and wrong.max() <= seam + beside


@pytest.mark.parametrize('name', ['voc-fcn8s', 'voc-fcn-alexnet', 'voc-fcn-googlenet'])
def test_every_pixel_is_kept_once_from_a_tile_that_has_what_it_sees(name):
    parameter = nets.load(name).fcn('deploy')
    rng = np.random.default_rng(0)
    for side in rng.integers(64, 2500, 40).tolist():
        cut = tiles.tiling(parameter, side)
        for length in (1, side - 1, side, side + 1, *rng.integers(side, 9000, 10).tolist()):
            spans = cut.spans(length, 0)
            assert [span.first for span in spans] == [0, *(span.last for span in spans[:-1])]
            assert spans[-1].last == spans[-1].stop == length and spans[0].start == 0
            assert all(span.start <= span.first < span.last <= span.stop <= span.start + side for span in spans)
            assert all(span.start % cut.seen[0].step == 0 for span in spans)
            if length <= side:
                assert len(spans) == 1
            for span in spans if cut.overlap >= cut.enough else ():
                assert span.start == 0 or span.first + cut.seen[0].first >= span.start
                assert span.stop == length or span.last - 1 + cut.seen[0].last < span.stop


def test_memory_is_that_of_a_tile(monkeypatch):
    parameter, net = narrow_nets.alive('voc-fcn8s')
    cut, sizes = tiles.tiling(parameter, 256), []
    images = images_of(parameter, 700, 600)

    def spied(net, tile, **options):
        sizes.append(tile['data'].shape)
        return segment(net, tile, **options)
    monkeypatch.setattr(segmenting, 'segment', spied)
    segment_image(net, images, Way(cut))
    assert max(sizes) == (3, 256, 256)
    held = sum(blob.count for name, blob in net.blobs.items() if '_split_' not in name)
    shapes = infer_shapes(parameter, {'data': (1, 3, 256, 256)})
    assert 4 * held <= capacity.forward_bytes(parameter, shapes)


def test_nets_without_a_score_for_every_pixel_are_refused():
    with pytest.raises(cli.BadInput, match='--tile'):
        tiles.tiling(alexnet.classifier(), 512)
    with pytest.raises(cli.BadInput, match='--tile 63: .* at least 64 pixels .* see 491, and from 980 on'):
        tiles.tiling(nets.load('voc-fcn8s').fcn('deploy'), 63)


@pytest.mark.parametrize('text, side', [(deploy_nets.unet(), 64), (deploy_nets.dilated(), 40)])
@pytest.mark.parametrize('size', [(101, 150), (48, 57)])
def test_foreign_nets_in_tiles(text, side, size, tmp_path):
    prototxt, weights, net = deploy_nets.write(tmp_path, text)
    one = deploy.open_deploy(prototxt, weights, Preparation())
    cut = tiles.tiling(one.parameter, side, one.multiple)
    assert cut.overlap >= cut.enough
    image = np.random.default_rng(3).standard_normal((3, *size)).astype(np.float32)
    whole = deploy_nets.forward(net, 'score', enlarged(image, one.multiple))[:, :size[0], :size[1]]
    way = Way(cut, multiple=one.multiple)
    assert len(list(tiles.pieces({'data': image}, cut))) > 1 or max(size) < side
    found = segment_image(one.load(), {'data': image}, way, probabilities=True)['score']
    np.testing.assert_allclose(found.probabilities, softmax(whole), atol=1e-5)


@pytest.mark.parametrize('extra, says', [
    (layer('m', 'MVN', 'a'), 'layer m (MVN): it normalises over the whole image'),
    (pool('m', 'a', pool='AVE', global_pooling='true') + layer('s', 'Flatten', 'm')
     + layer('x', 'Scale', ['a', 's'], scale_param={'axis': 0}), 'layer m (Pooling): it looks at the whole image'),
    (layer('m', 'BatchNorm', 'a', batch_norm_param={'use_global_stats': 'false'}), 'layer m (BatchNorm): .*statistics'),
    (layer('m', 'Softmax', 'a', softmax_param={'axis': 2}), 'layer m (Softmax): it normalises along axis 2')])
def test_nets_that_look_at_the_whole_image_are_not_tiled(extra, says, tmp_path):
    text = deploy_nets.ANY + conv('a', 'data', num_output=4, kernel_size=3, pad=1) + extra
    last = 'x' if '"x"' in extra else 'm'
    prototxt, weights, _ = deploy_nets.write(tmp_path, text + conv('score', last, num_output=3, kernel_size=1))
    one = deploy.open_deploy(prototxt, weights, Preparation())
    with pytest.raises(cli.BadInput, match=re.escape(f'--tile: {says}').replace(r'\.\*', '.*')):
        tiles.tiling(one.parameter, 64, one.multiple)


def test_of_coarse_scores_no_tiles_are_made(tmp_path):
    prototxt, weights, _ = deploy_nets.write(tmp_path, deploy_nets.coarse())
    with pytest.raises(cli.BadInput, match='--tile is for nets that score every pixel'):
        tiles.tiling(deploy.open_deploy(prototxt, weights, Preparation()).parameter, 64)


def resized(planes, height, width):
    """Bilinear, pixel by pixel: half a pixel of the one is as far from the edge as half a pixel of the other."""
    _, h, w = planes.shape
    result = np.empty((len(planes), height, width))
    for i in range(height):
        for j in range(width):
            y, x = (min(max((k + 0.5) * n / m - 0.5, 0), n - 1) for k, n, m in ((i, h, height), (j, w, width)))
            a, b = min(int(y), h - 1), min(int(x), w - 1)
            c, d = min(a + 1, h - 1), min(b + 1, w - 1)
            one = planes[:, a, b] * (1 - y + a) + planes[:, c, b] * (y - a)
            other = planes[:, a, d] * (1 - y + a) + planes[:, c, d] * (y - a)
            result[:, i, j] = one * (1 - x + b) + other * (x - b)
    return result


@pytest.mark.parametrize('tile', [None, 64])
def test_scales_and_mirrored_images_are_averaged(tile, tmp_path):
    prototxt, weights, net = deploy_nets.write(tmp_path, deploy_nets.unet())
    one = deploy.open_deploy(prototxt, weights, Preparation())
    image = np.random.default_rng(3).standard_normal((3, 37, 50)).astype(np.float32)
    expected, scales = 0, (0.75, 1, 2.0)
    for scale in scales:
        size = round(scale * 37), round(scale * 50)
        small = resized(image.astype(float), *size).astype(np.float32)
        for mirrored in (False, True):
            seen = small[:, :, ::-1] if mirrored else small
            scores = deploy_nets.forward(net, 'score', enlarged(np.ascontiguousarray(seen), 4))[:, :size[0], :size[1]]
            scores = scores[:, :, ::-1] if mirrored else scores
            back = resized(scores.astype(float), 37, 50)
            part = np.exp(back - back.max(0))
            expected = expected + part / part.sum(0) / 6
    cut = tiles.tiling(one.parameter, tile, one.multiple) if tile else None
    way = Way(cut, scales, True, one.multiple)
    found = segment_image(one.load(), {'data': image}, way, probabilities=True)['score']
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert (found.labels == expected.argmax(0)).mean() > 0.999 and len(np.unique(found.labels)) > 1
    once = segment_image(one.load(), {'data': image}, Way(multiple=4), probabilities=True)['score'].probabilities
    assert np.abs(once - expected).max() > 0.01


def run(arguments, out, *options):
    assert cli.run(infer.main, [*map(str, arguments), '--out', str(out), *map(str, options)]) == 0
    return out


def same(one, other):
    """Whether two folders hold the same pictures and probabilities."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir()) and names
    for name in names:
        if name.endswith('.npz'):
            first, second = (np.load(folder / name)['probabilities'] for folder in (one, other))
            if not np.allclose(first, second, atol=1e-6):
                return False
        elif (one / name).read_bytes() != (other / name).read_bytes():
            return False
    return True


@pytest.mark.parametrize('name', ['voc-fcn-alexnet', 'siftflow-fcn32s'])
def test_infer_in_tiles(name, tmp_path, monkeypatch, capsys):
    photos = tmp_path / 'photos'
    own.photo(photos / 'large.png', (150, 140))
    own.photo(photos / 'small.png', (40, 50))
    weights = narrow_nets.stand_in(monkeypatch, name, tmp_path / 'w.caffemodel')
    arguments = ['--net', name, '--weights', weights, photos, '--scores']
    whole = run(arguments, tmp_path / 'whole')
    assert 'overlap' not in capsys.readouterr().err
    assert same(whole, run(arguments, tmp_path / 'exact', '--tile', 980))
    assert 'overlap' not in capsys.readouterr().err
    small = run(arguments, tmp_path / 'tiles', '--tile', 64)
    assert 'tiles overlap by 32 pixels' in (told := capsys.readouterr().err) and 'from --tile ' in told
    assert not same(whole, small)
    for path in (*whole.glob('large*'), *small.glob('large*')):
        path.unlink()
    assert same(whole, small)       # an image smaller than a tile is as without


def test_infer_in_tiles_with_depth(tmp_path, monkeypatch):
    written = datasets.write_nyud(tmp_path / 'nyud', sizes=[(100, 80)])
    weights = narrow_nets.stand_in(monkeypatch, 'nyud-fcn32s-color-d', tmp_path / 'w.caffemodel')
    out = run(['--net', 'nyud-fcn32s-color-d', '--weights', weights, tmp_path / 'nyud/data/images'], tmp_path / 'out',
              '--tile', 64)
    masks = sorted(out.glob('img_????.png'))
    assert len(masks) == len(written) and all(Image.open(path).size == (80, 100) for path in masks)


def test_a_submission_in_tiles(tmp_path, monkeypatch, capsys):
    ids = ('2008_000006', '2008_000011')
    datasets.write_voc(tmp_path / 'data/pascal/VOC2012', ids, [(120, 90), (30, 40)], splits={'test': ids})
    weights = narrow_nets.stand_in(monkeypatch, 'voc-fcn-alexnet', tmp_path / 'w.caffemodel')
    out = run(['--net', 'voc-fcn-alexnet', '--weights', weights, '--submission'], tmp_path / 'out', '--tile', 64)
    assert '2 masks checked' in capsys.readouterr().out and len(list((out / FOLDER).iterdir())) == 2


def test_an_output_folder_that_cannot_be_is_left_alone(tmp_path, monkeypatch, capsys):
    """The folders of a submission are made when all has been looked at."""
    datasets.write_voc(tmp_path / 'data/pascal/VOC2012', ids=('2008_000006',), splits={'test': ('2008_000006',)})
    weights = narrow_nets.stand_in(monkeypatch, 'voc-fcn-alexnet', tmp_path / 'w.caffemodel')
    out = tmp_path / 'data/pascal/VOC2012/JPEGImages'
    assert cli.run(infer.main, ['--net', 'voc-fcn-alexnet', '--weights', str(weights), '--submission',
                                '--out', str(out)]) == 2
    assert 'which this command reads' in capsys.readouterr().err and not (out / 'results').exists()


def test_what_does_not_fit_is_told_a_tile_that_does(tmp_path, monkeypatch, capsys):
    free = 50_000_000 if accel.status().startswith('accelerated') else 500_000_000      # whose blobs share memory
    monkeypatch.setattr(capacity, 'available', lambda: free)
    weights = narrow_nets.stand_in(monkeypatch, 'voc-fcn32s', tmp_path / 'w.caffemodel')
    Image.new('L', (1200, 900)).save(tmp_path / 'large.png')
    arguments = ['--net', 'voc-fcn32s', '--weights', str(weights), str(tmp_path / 'large.png')]
    assert cli.run(infer.main, [*arguments, '--out', str(tmp_path / 'out')]) == 2
    told = capsys.readouterr().err
    side = int(told.split('give --tile ')[1].split()[0])
    assert 'large.png is 1200x900 pixels' in told and side > 100
    assert cli.run(infer.main, [*arguments, '--out', str(tmp_path / 'out'), '--tile', str(side + 32)]) == 2
    assert f'a tile of {tmp_path}' in (told := capsys.readouterr().err) and f'give --tile {side} or less' in told
    run(arguments, tmp_path / 'out', '--tile', side)
    assert Image.open(tmp_path / 'out/large.png').size == (1200, 900)
    monkeypatch.setattr(deploy, 'available', lambda: 4 * 21 * math.prod((1200, 900)) - 1)
    assert cli.run(infer.main, [*arguments, '--scores', '--out', str(tmp_path / 'out'), '--tile', str(side)]) == 2
    assert 'whose probabilities take 0.1 GB' in capsys.readouterr().err
