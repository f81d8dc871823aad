"""The rates of new nets: inverse to pixels and to the squared length of what is scored; and all stages learn."""
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import nets  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from nets.edits import narrow  # noqa: E402
from nets.starts.rates import NEW, PIXELS, PUBLISHED, STEP, STRIDES, VOC, Rates, lengths, measure, square  # noqa: E402
from nets.voc_fcn8s.net import fcn  # noqa: E402
from solvers.instance import instantiate, load, segment  # noqa: E402
from solvers.loop import solve  # noqa: E402
from surgery import read_weights, transplant, write_weights  # noqa: E402
from surgery.coordinates import fields  # noqa: E402
from surgery.shapes import infer  # noqa: E402
from tests.helpers import own  # noqa: E402
from tests.helpers.datasets import save_jpeg, save_lines, save_png  # noqa: E402
from tests.helpers.own_nets import convolutions, write  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
STAGES = ('fcn32s', 'fcn16s', 'fcn8s')


def rates_of(name):
    return [nets.load(f'{name}-{kind}').recipe.base_lr for kind in STAGES]


def tiled(root, across):
    """Photographs of 24 x 32 pixels, so many of them side by side in each."""
    label, photo = own.scenes(1)['photo0']
    (root / 'masks').mkdir(parents=True)
    for number in range(5):
        save_jpeg(root / f'images/photo{number}.jpg', np.tile(photo, (1, across, 1)))
        save_png(root / f'masks/photo{number}.png', np.tile(label, (1, across)))
    save_lines(root / 'classes.txt', own.CLASSES)


def test_rates_are_inverse_to_pixels_and_squared_length():
    known = Rates(1000, {'fc7': 10.0, 'pool4': 200.0, 'pool3': 5000.0})
    larger, longer = known._replace(pixels=2000), known._replace(squares={'fc7': 20.0, 'pool4': 400.0, 'pool3': 1e4})
    for kind in STAGES:
        assert known.of(kind) == pytest.approx(2 * larger.of(kind)) == pytest.approx(2 * longer.of(kind))
        assert known.of(kind) * 1000 * known.squares[NEW[kind]] == pytest.approx(STEP)
    at_voc = Rates(PIXELS, VOC)
    assert at_voc.of('fcn32s') == pytest.approx(PUBLISHED['fcn32s'])
    assert 0.2 < at_voc.of('fcn16s') / PUBLISHED['fcn16s'] < 1 < at_voc.of('fcn8s') / PUBLISHED['fcn8s'] < 5


def test_new_nets_have_half_the_rate_at_twice_the_area(checkout, tmp_path):
    """And a comment that says why; without weights at hand, by the lengths of VGG-16's features on VOC."""
    for across in (1, 2):
        tiled(tmp_path / f'by{across}', across)
        write(f'by{across}', tmp_path / f'by{across}', checkout, '--width', 512)
    first, other = rates_of('by1'), rates_of('by2')
    assert first == pytest.approx([2 * rate for rate in other], rel=0.06)       # two digits are written
    assert first == pytest.approx([STEP / (24 * 32 * value) for value in (5.6e4, VOC['pool4'], VOC['pool3'])], rel=0.06)
    for kind in STAGES:
        text = (checkout / f'by1_{kind}/solve.py').read_text()
        assert 'There are' not in text and '768 pixels' in text.replace('\n# ', ' ') and NEW[kind] in text
        assert f'{PUBLISHED[kind]:g}' in text and 'as on photographs of VOC' in text
    write('full', tmp_path / 'by1', checkout)       # its fc7 is the classifier's
    assert rates_of('full')[0] == pytest.approx(1e-10 * PIXELS / (24 * 32), rel=0.06)


@pytest.mark.slow
def test_new_nets_have_half_the_rate_at_twice_the_squared_length(checkout, tmp_path, monkeypatch):
    """Of the weights that are in place: conv3_3 times the root of 2, and with it all that follows."""
    tiled(tmp_path / 'photos', 1)
    found = []
    for number, factor in enumerate((1, np.sqrt(2))):
        weights = convolutions()
        weights['conv3_3'][0] = weights['conv3_3'][0] * np.float32(factor)
        monkeypatch.setenv('FCN_WEIGHTS', str(tmp_path / f'weights{number}'))
        (tmp_path / f'weights{number}').mkdir()
        write_weights(tmp_path / f'weights{number}/vgg16-convolutions.caffemodel', weights)
        write(f'net{number}', tmp_path / 'photos', checkout, '--width', 16)
        found.append(rates_of(f'net{number}'))
        assert 'measured on 4 of the photographs' in (checkout / f'net{number}_fcn8s/solve.py').read_text()
    assert found[0] == pytest.approx([2 * rate for rate in found[1]], rel=0.06)
    dataset = open_dataset('net1', 'train')
    squares = measure(weights, 16, [dataset.load(id)[0] for id in dataset.ids[:4]])
    assert found[1] == pytest.approx([STEP / (24 * 32 * squares[NEW[kind]]) for kind in STAGES], rel=0.06)


@pytest.mark.slow
def test_grey_pictures_have_the_rates_of_their_copies_in_colours(checkout, tmp_path, monkeypatch):
    """Lengths are measured through the window with widened filters: a grey picture's are those of its copy."""
    monkeypatch.setenv('FCN_WEIGHTS', str(tmp_path / 'weights'))
    (tmp_path / 'weights').mkdir()
    write_weights(tmp_path / 'weights/vgg16-convolutions.caffemodel', convolutions())
    rng = np.random.default_rng(5)
    for number in range(5):
        grey = ndimage.gaussian_filter(rng.random((40, 48)), 3)
        grey = ((grey - grey.min()) / np.ptp(grey) * 255).astype(np.uint8)
        for name, pixels in (('grey', grey), ('copy', np.repeat(grey[..., None], 3, 2))):
            save_png(tmp_path / f'{name}/images/{number}.png', pixels)
            save_png(tmp_path / f'{name}/masks/{number}.png', (grey > 128).astype(np.uint8))
    for name in ('grey', 'copy'):
        save_lines(tmp_path / name / 'classes.txt', ['low', 'high'])
        write(name, tmp_path / name, checkout, '--width', 16)
        assert 'measured on 4 of the photographs' in (checkout / f'{name}_fcn8s/solve.py').read_text()
    assert open_dataset('grey', 'train').pictures.channels == ('grey',)
    assert open_dataset('copy', 'train').pictures is None
    assert rates_of('grey') == pytest.approx(rates_of('copy'), rel=0.02)
    assert rates_of('grey')[2] != pytest.approx(STEP / (40 * 48 * VOC['pool3']), rel=0.06)


@pytest.mark.parametrize('height, width', [(70, 104), (181, 217), (500, 375)])
def test_positions_on_the_image_are_those_whose_fields_are_centred_on_it(height, width):
    """Beside the coordinates that surgery derives layer by layer, with their shifts by the padding of 100."""
    net = fcn('deploy')
    shapes = infer(net, {'data': (1, 3, height, width)})
    seen = fields(net, shapes)
    for feature, stride in STRIDES.items():
        for axis, side in enumerate((height, width)):
            count = shapes.blobs[feature][2 + axis]
            counted = []
            for i in range(count):
                blob = np.zeros((1, *shapes.blobs[feature][2:]))
                blob[:, i if axis == 0 else slice(None), i if axis == 1 else slice(None)] = 1
                counted += [i] if square(blob, height, width, stride) else []
            field = seen[feature][axis]
            centres = [(field.first + field.last) / 2 + i * field.step for i in counted]
            assert len(counted) == -(-side // stride) <= count
            assert -stride < centres[0] < stride and side - stride < centres[-1] < side + stride


def patches(root, count=5, size=(96, 144), side=48):
    """Squares of three colours, each a class, most of them the first, with noise."""
    rng = np.random.default_rng(3)
    (root / 'masks').mkdir(parents=True)
    for number in range(count):
        label = rng.choice(3, (size[0] // side, -(-size[1] // side)), p=(0.7, 0.2, 0.1)).astype(np.uint8)
        label = label.repeat(side, 0).repeat(side, 1)
        label = label[:, :size[1]]
        photo = np.array([[200, 60, 60], [60, 180, 90], [90, 90, 210]])[label] + rng.integers(-30, 30, (*size, 3))
        save_jpeg(root / f'images/photo{number}.jpg', photo.astype(np.uint8))
        save_png(root / f'masks/photo{number}.png', label)
    save_lines(root / 'classes.txt', own.CLASSES)


def loss_of(net, dataset):
    """The mean of -log p over all pixels of a split."""
    found = []
    for image, label in map(dataset.load, dataset.ids):
        scores = segment(net, {'data': image})['score'].astype(float)
        logs = scores - scores.max(0) - np.log(np.exp(scores - scores.max(0)).sum(0))
        found.append(-np.take_along_axis(logs, label.astype(int), 0).mean())
    return np.mean(found)


def learn(training, kind, steps, start, run, rate):
    """Train a narrow net of a stage; the loss before and behind on the training images, and the weights."""
    def narrowed(split):
        return narrow(narrow(training.fcn(split), 64), 16, ('conv',))
    recipe = replace(training.recipe, base_lr=rate, iterations=steps, score_every=steps, snapshot=steps)
    solve(replace(training, fcn=narrowed, recipe=recipe), run, [start])
    return loss_of(load(instantiate(narrowed('deploy')), run / 'weights.caffemodel'), open_dataset('small', 'train'))


def test_all_three_stages_learn_in_dozens_of_steps(checkout, tmp_path):
    """Each stage at its rate takes a share off the loss of the one before: three colours that 8 pixels tell apart."""
    patches(tmp_path / 'photos')
    write('small', tmp_path / 'photos', checkout)
    start, dataset = tmp_path / 'narrow.caffemodel', open_dataset('small', 'train')
    write_weights(start, convolutions(16))
    images = [dataset.load(id)[0] for id in dataset.ids]
    losses = [np.log(3)]
    for kind, steps in zip(STAGES, (30, 30, 30), strict=True):
        training = nets.load(f'small-{kind}')
        caffe.set_random_seed(1)
        net = instantiate(narrow(narrow(training.fcn('deploy'), 64), 16, ('conv',)))
        transplant(net, read_weights(start))
        rate = Rates(96 * 144, lengths(net, images)).of(kind)
        losses.append(learn(training, kind, steps, start, tmp_path / kind, rate))
        start = tmp_path / kind / 'weights.caffemodel'
    assert losses[1] < 0.75 * losses[0] and losses[2] < 0.92 * losses[1] and losses[3] < 0.75 * losses[2]
    idle = learn(training, kind, steps, tmp_path / 'fcn16s/weights.caffemodel', tmp_path / 'idle', rate / 5000)
    assert idle > 0.95 * losses[2]      # as it was: the skip needs its rate
