"""Nets for pictures that are not colours of 8 bits: widened, trained, and fed alike by training and every command."""
import http.client
import importlib
import io
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.signal import correlate

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import nets  # noqa: E402
from cli import BadInput  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from data_layers.pictures import OPACITY  # noqa: E402
from data_layers.reading import read_indices  # noqa: E402
from nets import infer  # noqa: E402
from report import serve  # noqa: E402
from solvers import deploy_options, score  # noqa: E402
from solvers.deploy import of_training, open_deploy  # noqa: E402
from solvers.instance import instantiate, load  # noqa: E402
from solvers.loop import solve  # noqa: E402
from solvers.run import Run  # noqa: E402
from surgery import __main__ as surgery  # noqa: E402
from surgery import preparation, read_weights, write_weights  # noqa: E402
from surgery.widen import widened  # noqa: E402
from tests.helpers import own  # noqa: E402
from tests.helpers.other_pictures import SIZE, folder, save  # noqa: E402
from tests.helpers.own_nets import convolutions, light, write  # noqa: E402
from tests.helpers.surgery_nets import DATA  # noqa: E402
from tests.test_new_trunk import SMALL, classifier  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
WIDTH = 16      # of convolutions
FIVE = dict(images=('.tif', 'u2', 5, 100, 4000))
FIRST = {'vgg16': ('conv1_1', (64, 3, 3, 3)), 'alexnet': ('conv1', (96, 3, 11, 11)),
         'googlenet': ('conv1/7x7_s2', (64, 3, 7, 7))}


def convolved(image, filters, folder):
    """What Caffe's convolution makes of a C x H x W image."""
    (folder / 'conv.prototxt').write_text(DATA % image.shape + (
        f'layer {{ name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {{ num_output: '
        f'{len(filters)} kernel_size: {filters.shape[2]} bias_term: false }} }}'))
    net = caffe.Net(str(folder / 'conv.prototxt'), caffe.TEST)
    net.params['c'][0].data[...] = filters
    net.blobs['data'].data[0] = image
    return net.forward()['c'][0].copy()


def test_grey_gives_exactly_the_response_of_its_copy_in_colours(tmp_path):
    """Whole numbers, so that no sum is rounded: scipy and Caffe agree to the last bit."""
    rng = np.random.default_rng(0)
    filters = rng.integers(-9, 10, (6, 3, 3, 3)).astype('f')
    grey = rng.integers(0, 256, (1, 12, 15)).astype('f')
    copied = np.repeat(grey, 3, 0)
    by_scipy = np.stack([sum(correlate(plane, kernel, 'valid', 'direct') for plane, kernel in zip(
        copied, one, strict=True)) for one in filters])
    np.testing.assert_array_equal(convolved(copied, filters, tmp_path), by_scipy)
    np.testing.assert_array_equal(convolved(grey, widened(filters, ['grey']), tmp_path), by_scipy)


def test_other_channels_get_the_mean_as_in_the_papers():
    rng = np.random.default_rng(0)
    filters, bias = rng.standard_normal((4, 3, 3, 3), np.float32), np.zeros(4, np.float32)
    new = {'conv1_1_bgrd': [np.zeros((4, 4, 3, 3), np.float32), np.ones(4, np.float32)]}
    importlib.import_module('nets.nyud_fcn32s_color_d.solve').initialise(new, {'conv1_1': [filters, bias]})
    np.testing.assert_array_equal(widened(filters, ['blue', 'green', 'red', 'depth']), new['conv1_1_bgrd'][0])
    many = widened(filters, ['blue', 'green', 'red', 'grey', 'nir', 'depth'])
    np.testing.assert_array_equal(many[:, :3], filters)
    np.testing.assert_allclose(many[:, 3], filters[:, 0] + filters[:, 1] + filters[:, 2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(many[:, 4:], np.repeat(filters.astype(float).mean(1, keepdims=True), 2, 1), atol=1e-6)


@pytest.mark.parametrize('trunk', FIRST)
@pytest.mark.parametrize(('places', 'also', 'count'), [
    (FIVE, (), 5), (dict(images=('.png', 'u1', 1, 0, 255)), (), 1),
    (dict(images=('.png', 'u1', 3, 0, 256), depth=('.png', 'u2', 1, 0, 5000)), ('--and', 'depth'), 4)])
def test_the_first_convolution_of_every_trunk_is_widened(trunk, places, also, count, checkout, tmp_path):
    folder(tmp_path / 'in', **places)
    options = ['--width', 8] if trunk != 'googlenet' else []
    write('fields', tmp_path / 'in', checkout, '--trunk', trunk, *options, *also,
          *(['--head', 32] if trunk == 'vgg16' else []))
    training = nets.load(next(name for name in nets.names() if name.startswith('fields')))
    name, shape = FIRST[trunk]
    filters = np.random.default_rng(0).standard_normal(shape, np.float32)
    net = instantiate(training.fcn('deploy'))
    assert net.blobs['data'].data.shape[1] == count
    training.initialise(net, {name: [filters, np.full(shape[0], 7, np.float32)]})
    got = net.params[name][0].data
    if count == 1:
        np.testing.assert_allclose(got, filters.sum(1, keepdims=True), rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(got[:, :3], filters)
        np.testing.assert_allclose(got[:, 3:], np.repeat(filters.mean(1, keepdims=True), count - 3, 1), atol=1e-6)
    assert (net.params[name][1].data == 7).all()
    channels = importlib.import_module('nets.fields').CHANNELS
    assert len(channels) == count


def test_a_net_of_colours_is_written_as_ever(checkout, tmp_path):
    own.write(tmp_path / 'in')
    write('plain', tmp_path / 'in', checkout)
    text = ''.join(path.read_text() for path in checkout.rglob('*.py'))
    assert 'widen' not in text and 'CHANNELS' not in text and 'channels' not in text


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A net for five bands of 16 bits, trained two steps: the folder, its nets, the run."""
    patch, root = pytest.MonkeyPatch(), tmp_path_factory.mktemp('five')
    patch.setenv('FCN_DATA', str(root / 'data'))
    (root / 'nets').mkdir()
    patch.setattr(nets, 'FOLDER', root / 'nets')
    patch.setattr(nets, '__path__', [*nets.__path__, str(root / 'nets')])
    patch.setattr('solvers.monitor.plot', lambda *_: None)
    arrays = folder(root / 'in', **FIVE)['images']
    write('bands', root / 'in', root / 'nets', '--width', 8, '--head', 32)
    write_weights(root / 'vgg.caffemodel', convolutions(WIDTH))
    training = light(nets.load('bands-fcn32s'), 2, WIDTH)
    training = replace(training, recipe=replace(training.recipe, base_lr=1e-6))
    solve(training, root / 'run', [root / 'vgg.caffemodel'])
    yield root, arrays, training
    patch.undo()


@pytest.fixture
def five(trained, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(trained[0] / 'data'))
    return trained


def test_it_learns_and_its_run_knows_the_window(five):
    root, _, training = five
    before, after = convolutions(WIDTH), read_weights(root / 'run/weights.caffemodel')
    filters = before['conv1_1'][0]
    np.testing.assert_array_equal(after['conv1_1'][0], np.concatenate(
        [filters, np.repeat(filters.mean(1, keepdims=True), 2, 1)], 1))       # frozen: it starts there
    assert np.abs(after['score_fr'][0]).max() > 0
    about = json.loads((root / 'run/net.json').read_text())
    card = json.loads((root / 'data/bands/dataset.json').read_text())
    assert about['pictures'] == card['pictures'] and about['mean'] == card['mean']


def hand_prepared(root, array):
    """A picture as numpy prepares it by dataset.json."""
    card = json.loads((root / 'data/bands/dataset.json').read_text())
    pictures = card['pictures']
    return np.stack([np.clip((array[..., band - 1].astype(float) - low) / (high - low), 0, 1) * 255 - mean
                     for band, (low, high), mean in zip(pictures['bands'], pictures['window'], card['mean'],
                                                        strict=True)]).astype('f')


def test_every_command_feeds_the_net_alike(five, tmp_path, capsys):
    """The training data layer, infer from a run and from a folder with net.json: one input, that of numpy."""
    root, arrays, training = five
    run, only = root / 'run', tmp_path / 'only'
    only.mkdir()
    for name in ('deploy.prototxt', 'net.json', 'weights.caffemodel'):
        (only / name).write_bytes((run / name).read_bytes())
    dataset = open_dataset('bands', 'val')
    id = dataset.ids[0]
    path, seen = dataset.file('data', id), dataset.load(id)[0]
    np.testing.assert_allclose(seen, hand_prepared(root, arrays[int(id)]), atol=2e-5)
    sources = [of_training(Run(run), run / 'weights.caffemodel').source, open_deploy(
        only / 'deploy.prototxt', only / 'weights.caffemodel', preparation.read(only / 'net.json')).source]
    for source in sources:
        assert source.read(path)['data'].tobytes() == seen.tobytes()
    net = load(instantiate(training.fcn('deploy')), run / 'weights.caffemodel')
    net.blobs['data'].reshape(1, *seen.shape)
    net.blobs['data'].data[0] = seen
    expected = net.forward()['score'][0]
    assert np.abs(expected).max() > 0
    for number, place in enumerate((run, only)):
        out = tmp_path / f'out{number}'
        infer.main(['--net', str(place), str(path), '--out', str(out), '--cpu', '--scores'])
        files = sorted(out.iterdir())
        labels = read_indices(next(file for file in files if file.suffix == '.png'))
        np.testing.assert_array_equal(labels, expected.argmax(0))
        shares = np.load(next(file for file in files if file.suffix == '.npz'))['probabilities']
        np.testing.assert_allclose(shares, np.exp(expected) / np.exp(expected).sum(0), rtol=1e-4)
        picture, shown = (np.asarray(one.convert('L'), float) for one in (      # JPEG keeps little of noise in colours
            Image.open(next(file for file in files if file.suffix == '.jpg')), Image.fromarray(dataset.image(id))))
        bare = labels == 0
        assert bare.sum() > 20 and np.corrcoef(picture[:SIZE[0]][bare], shown[bare])[0, 1] > 0.95
    capsys.readouterr()
    for words in (['--net', run], ['--net', only, '--dataset', 'bands', '--split', 'val']):
        score.main([*map(str, words), '--cpu', '--json', str(tmp_path / 'score.json')])
        counts = np.array(json.loads((tmp_path / 'score.json').read_text())['tasks']['label']['confusion_matrix'])
        truth = dataset.load(id)[1][0]
        assert counts.sum() == truth.size
        assert counts[0, 0] == ((truth == 0) & (expected.argmax(0) == 0)).sum()
    assert deploy_options.described(run) is not None


def test_they_are_varied_but_for_their_colours(five, tmp_path):
    root, _, _ = five
    write('varied', root / 'in', nets.FOLDER, '--width', 8, '--head', 32, '--vary', 'mirror,scale=0.5-1.5,crop=24')
    shared = importlib.import_module('nets.varied')
    assert shared.VARIED == {'mirror': True, 'scale': (0.5, 1.5), 'crop': 24} and len(shared.CHANNELS) == 5
    solve(light(nets.load('varied-fcn32s'), 2, WIDTH), tmp_path / 'run', [root / 'vgg.caffemodel'])
    assert len(Run(tmp_path / 'run').losses) == 2
    with pytest.raises(BadInput, match='colour varies .* and tinted has 5; leave colour out'):
        write('tinted', root / 'in', nets.FOLDER, '--vary', 'mirror,colour')
    assert not (nets.FOLDER / 'tinted.py').exists()


def test_overlays_have_the_colours_of_the_list_and_pngs_the_values(trained, tmp_path, monkeypatch):
    """With "colours" and "pictures" in one dataset.json, and without it by net.json."""
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'data'))
    root, arrays, _ = trained
    only = tmp_path / 'only'
    only.mkdir()
    for name in ('deploy.prototxt', 'weights.caffemodel'):
        (only / name).write_bytes((root / 'run' / name).read_bytes())
    known = json.loads((root / 'run/net.json').read_text())
    (only / 'net.json').write_text(json.dumps(known | {'colours': [[250, 0, 0], [0, 0, 250]], 'values': ['7', '26']}))
    words = ['--net', str(only), str(root / 'in/images/0.tif'), '--cpu', '--out']
    infer.main([*words, str(tmp_path / 'plain')])
    infer.main([*words, str(tmp_path / 'values'), '--values'])
    label = next((tmp_path / 'plain').glob('*.png'))
    with Image.open(label) as picture:
        assert picture.getpalette()[:6] == [250, 0, 0, 0, 0, 250]
        labels = np.asarray(picture)
    np.testing.assert_array_equal(np.asarray(Image.open(next((tmp_path / 'values').glob('*.png')))),
                                  np.array([7, 26])[labels])
    shown = np.asarray(Image.open(next((tmp_path / 'plain').glob('*.jpg'))))[:SIZE[0]].astype(int)
    photo = preparation.read(only / 'net.json').pictures.rgb(root / 'in/images/0.tif')
    mixed = (1 - OPACITY) * photo + OPACITY * np.array([[250, 0, 0], [0, 0, 250]])[labels]
    assert np.abs(shown.mean((0, 1)) - mixed.mean((0, 1))).max() < 8      # JPEG keeps little of noise


@pytest.mark.slow
def test_it_is_exported_as_it_is(five, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    root, arrays, training = five
    words = ['export', '--prototxt', tmp_path / 'deploy.prototxt', '--weights', root / 'run/weights.caffemodel', '--to',
             'onnx', '--out', tmp_path / 'net.onnx']
    deploy = (root / 'run/deploy.prototxt').read_text().replace('500', '32')      # smaller, to be quick
    (tmp_path / 'deploy.prototxt').write_text(deploy)
    (tmp_path / 'net.json').write_bytes((root / 'run/net.json').read_bytes())
    assert not surgery.main([*map(str, words)])
    report = json.loads((tmp_path / 'net.report.json').read_text())
    assert report['preparation']['pictures'] == json.loads((root / 'run/net.json').read_text())['pictures']
    blob = hand_prepared(root, arrays[0])[None]
    found = onnxruntime.InferenceSession(tmp_path / 'net.onnx').run(None, {'data': blob})[0]
    net = load(instantiate(training.fcn('deploy')), root / 'run/weights.caffemodel')
    net.blobs['data'].reshape(*blob.shape)
    net.blobs['data'].data[...] = blob
    np.testing.assert_allclose(found, net.forward()['score'], rtol=1e-3, atol=1e-4)
    with pytest.raises(BadInput, match='is made of blue, green, red, band 4, band 5 through a window'):
        surgery.main([*map(str, words[:-1]), str(tmp_path / 'b.onnx'), '--input', 'rgb'])


def test_the_page_takes_such_pictures_and_says_so(five):
    root, _, training = five
    segmenter = serve.Segmenter(of_training(Run(root / 'run'), root / 'run/weights.caffemodel'), cpu=True)
    with serve.Server(segmenter, 'bands') as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert b'This net sees blue, green, red, band 4, band 5' in server.page

        def post(data):
            connection = http.client.HTTPConnection('127.0.0.1', server.server_port, timeout=60)
            connection.request('POST', '/segment', data)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        status, found = post((root / 'in/images/0.tif').read_bytes())
        assert status == 200 and (found['height'], found['width']) == SIZE and found['photo'].startswith('data:')
        large = io.BytesIO()
        Image.new('RGB', (700, 20)).save(large, 'PNG')
        status, found = post(large.getvalue())
        assert status == 415 and 'this picture has 3 bands' in found['error'] and '/' not in found['error'].split()[0]
        status, found = post((root / 'in/images/0.tif').read_bytes()[:500])
        assert status == 415
        save(root / 'wide.tif', np.full((10, 1000, 5), 900, 'u2'))
        status, found = post((root / 'wide.tif').read_bytes())
        assert status == 200 and (found['height'], found['width']) == (5, 500)
        server.shutdown()


@pytest.mark.slow
def test_a_net_of_the_same_channels_starts_from_it(five, tmp_path):
    root, _, training = five
    place = nets.FOLDER
    write('same', root / 'in', place, '--from', root / 'run')
    name = next(name for name in nets.names() if name.startswith('same'))
    same = nets.load(name)
    net = instantiate(same.fcn('deploy'))
    before = read_weights(root / 'run/weights.caffemodel')
    same.initialise(net, before)
    np.testing.assert_array_equal(net.params['conv1_1'][0].data, before['conv1_1'][0])
    np.testing.assert_array_equal(net.params['score_fr'][0].data, before['score_fr'][0])     # the classes are the same
    folder(tmp_path / 'grey', images=('.png', 'u1', 1, 0, 255))
    with pytest.raises(BadInput, match='sees blue, green, red, band 4, band 5, and the pictures have grey'):
        write('grey', tmp_path / 'grey', place, '--from', root / 'run')


@pytest.mark.slow
def test_from_a_net_of_colours_to_bands_and_grey(five, tmp_path):
    root, _, _ = five
    own.write(tmp_path / 'colours')
    place = nets.FOLDER
    write('colours', tmp_path / 'colours', place, '--width', 8, '--head', 32)
    solve(light(nets.load('colours-fcn32s'), 2, WIDTH), tmp_path / 'run', [root / 'vgg.caffemodel'])
    before = read_weights(tmp_path / 'run/weights.caffemodel')
    write('wider', root / 'in', place, '--from', tmp_path / 'run')
    wider = nets.load(next(name for name in nets.names() if name.startswith('wider')))
    net = instantiate(wider.fcn('deploy'))
    wider.initialise(net, read_weights(wider.init[0]))
    got, filters = net.params['conv1_1'][0].data, before['conv1_1'][0]
    np.testing.assert_array_equal(got[:, :3], filters)
    np.testing.assert_allclose(got[:, 3:], np.repeat(filters.mean(1, keepdims=True), 2, 1), atol=1e-6)
    np.testing.assert_array_equal(net.params['conv2_1'][0].data, before['conv2_1'][0])


def test_on_any_trunk_grey_scores_as_its_copy_in_colours(five, tmp_path):
    """A trunk over grey gives a picture the features that the trunk over colours gives its copy, each less its mean."""
    classifier(tmp_path / 'small', SMALL)
    arrays = folder(tmp_path / 'grey', images=('.png', 'u1', 1, 0, 255))['images']
    place = nets.FOLDER
    write('shades', tmp_path / 'grey', place, '--trunk', tmp_path / 'small')
    grey = nets.load(next(name for name in nets.names() if name.startswith('shades')))
    for number, array in enumerate(arrays):
        save(tmp_path / f'grey/images/{number}.png', np.repeat(array, 3, 2))
    write('tints', tmp_path / 'grey', place, '--trunk', tmp_path / 'small')
    tints = nets.load(next(name for name in nets.names() if name.startswith('tints')))
    features = []
    for training, channels in ((grey, 1), (tints, 3)):
        net = instantiate(training.fcn('deploy'))
        training.initialise(net, read_weights(training.init[0]))
        assert net.params['c1'][0].data.shape[1] == channels
        net.blobs['data'].reshape(1, channels, *SIZE)
        net.blobs['data'].data[0] = arrays[0].transpose(2, 0, 1).astype('f') - 100
        net.forward()
        features.append([net.blobs[name].data.copy() for name in ('c1', 'c2')])
    for one, other in zip(*features, strict=True):
        assert np.abs(other).max() > 1
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_what_cannot_be_widened_is_refused(five, tmp_path):
    root, _, _ = five
    grouped = SMALL.replace('num_output: 4', 'num_output: 3 group: 3')
    assert grouped != SMALL
    classifier(tmp_path / 'grouped', grouped)
    with pytest.raises(BadInput, match='--trunk .*cannot see 5 channels in place of 3'):
        write('groups', root / 'in', nets.FOLDER, '--trunk', tmp_path / 'grouped')
    with pytest.raises(BadInput, match='has the channels blue, green, red, band 4, band 5, and a head sees'):
        surgery.main([*map(str, ['convolutionalize', '--prototxt', classifier(tmp_path / 'small', SMALL)
                                 / 'deploy.prototxt', '--weights', tmp_path / 'small/weights.caffemodel', '--out',
                                 tmp_path / 'out', '--head', '8', '--classes', '2', '--data', root / 'data/bands'])])


@pytest.mark.slow
def test_several_files_train_and_are_segmented(five, tmp_path):
    """Colours and depth: the net by its name finds the depth of a new photograph beside its folder."""
    root, _, _ = five
    folder(tmp_path / 'rooms', images=('.jpg', 'u1', 3, 0, 256), depth=('.png', 'u2', 1, 500, 8000))
    write('rooms', tmp_path / 'rooms', nets.FOLDER, '--width', 8, '--head', 32, '--and', 'depth')
    solve(light(nets.load('rooms-fcn32s'), 1, WIDTH), tmp_path / 'run', [root / 'vgg.caffemodel'])
    words = ['--net', str(tmp_path / 'run'), '--cpu', '--out']
    infer.main([*words, str(tmp_path / 'out'), str(tmp_path / 'rooms/images')])
    assert len([*(tmp_path / 'out').glob('*.png')]) == 5
    (tmp_path / 'rooms/depth/1.png').unlink()
    with pytest.raises(BadInput, match='1.jpg has no file of its name in a folder depth'):
        infer.main([*words, str(tmp_path / 'more'), str(tmp_path / 'rooms/images/1.jpg')])
    with pytest.raises(BadInput, match='sees files in depth beside each picture'):
        serve.Segmenter(of_training(Run(tmp_path / 'run'), tmp_path / 'run/weights.caffemodel'), cpu=True)
