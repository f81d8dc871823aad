"""Any deploy net segments and is scored: nets unlike ours, what their input wants, several ages of prototxt."""
import json
import re

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
import nets  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from data_layers.dataset import VOC_MEAN  # noqa: E402
from data_layers.voc import CLASSES  # noqa: E402
from nets import __main__ as nets_main  # noqa: E402
from nets import infer  # noqa: E402
from report import serve  # noqa: E402
from solvers import score  # noqa: E402
from solvers.metrics import ConfusionMatrix  # noqa: E402
from surgery import read_net  # noqa: E402
from surgery.bilinear import interpolate  # noqa: E402
from tests.helpers import deploy_nets, own  # noqa: E402
from tests.helpers.deploy_nets import ANY, coarse, dilated, forward, unet  # noqa: E402
from tests.helpers.surgery_nets import DATA, LENET, conv, ip, layer, pool  # noqa: E402

pytestmark = pytest.mark.caffe
MEAN, SCALE = (10.0, 20.0, 30.0), 1 / 64


def run(main, *arguments):
    return cli.run(main, [*map(str, arguments), '--cpu'])


def segmented(out, name='photo'):
    return np.asarray(Image.open(out / f'{name}.png')), np.load(out / f'{name}.npz')['probabilities']


def softmax(scores):
    exponentials = np.exp(scores.astype(np.float64) - scores.max(0))
    return exponentials / exponentials.sum(0)


def blob(pixels, order='bgr', multiple=1):
    """What a net takes, in numpy: of pixels H x W x 3, RGB."""
    bgr = pixels[:, :, ::-1].astype(np.float64) - MEAN
    planes = (bgr if order == 'bgr' else bgr[:, :, ::-1]).transpose(2, 0, 1) * SCALE
    _, height, width = planes.shape
    result = np.zeros((3, -(-height // multiple) * multiple, -(-width // multiple) * multiple))
    result[:, :height, :width] = planes
    return result.astype(np.float32)


@pytest.fixture
def photo(tmp_path):
    """A photograph of 45 x 58 pixels, and those."""
    path = tmp_path / 'photos/photo.png'
    return path, own.photo(path, (45, 58))


OPTIONS = ('--mean', '10,20,30', '--scale', SCALE)


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
def test_a_unet_is_padded_to_the_sizes_that_it_takes(order, photo, tmp_path, capsys):
    prototxt, weights, net = deploy_nets.write(tmp_path / 'net', unet())
    assert run(infer.main, '--prototxt', prototxt, '--weights', weights, *OPTIONS, '--order', order, photo[0], '--out',
               tmp_path / 'out', '--scores') == 0
    assert 'multiples of 4 pixels' in capsys.readouterr().err
    labels, probabilities = segmented(tmp_path / 'out')
    expected = forward(net, 'score', blob(photo[1], order, 4))[:, :45, :58]
    np.testing.assert_allclose(probabilities, softmax(expected), atol=1e-5)
    assert len(np.unique(labels)) > 1 and (labels == expected.argmax(0)).mean() > 0.999
    assert run(infer.main, '--prototxt', prototxt, '--weights', weights, *OPTIONS, '--order', order, photo[0], '--out',
               tmp_path / 'more', '--scores', '--multiple', 32) == 0
    expected = forward(net, 'score', blob(photo[1], order, 32))[:, :45, :58]
    np.testing.assert_allclose(segmented(tmp_path / 'more')[1], softmax(expected), atol=1e-5)


def test_net_json_says_the_same_and_options_come_before_it(photo, tmp_path):
    prototxt, weights, net = deploy_nets.write(tmp_path / 'net', unet())
    (tmp_path / 'net/net.json').write_text(json.dumps({'mean': MEAN, 'scale': SCALE, 'order': 'rgb', 'multiple': 8,
                                                       'classes': ['sky', 'sea', 'land', 'ice']}))
    for chosen in (('--prototxt', prototxt, '--weights', weights), ('--net', prototxt.parent)):
        assert run(infer.main, *chosen, photo[0], '--out', tmp_path / 'out', '--scores') == 0
        expected = softmax(forward(net, 'score', blob(photo[1], 'rgb', 8))[:, :45, :58])
        np.testing.assert_allclose(segmented(tmp_path / 'out')[1], expected, atol=1e-5)
    assert run(infer.main, '--net', prototxt.parent, photo[0], '--out', tmp_path / 'bgr', '--scores', '--order',
               'bgr') == 0
    expected = softmax(forward(net, 'score', blob(photo[1], 'bgr', 8))[:, :45, :58])
    np.testing.assert_allclose(segmented(tmp_path / 'bgr')[1], expected, atol=1e-5)


@pytest.mark.parametrize('end', [
    layer('prob', 'Softmax', 'score'), layer('seg', 'ArgMax', 'score', argmax_param={'axis': 1}),
    layer('prob', 'Softmax', 'score') + layer('seg', 'ArgMax', 'prob', argmax_param={'axis': 1}),
    layer('score', 'Softmax', 'score', 'score').replace('name: "score"', 'name: "prob"')])
def test_what_only_follows_from_the_scores_is_left_out(end, photo, tmp_path):
    prototxt, weights, _ = deploy_nets.write(tmp_path / 'net', unet(end=end))
    _, _, net = deploy_nets.write(tmp_path / 'bare', unet())
    assert run(infer.main, '--prototxt', prototxt, '--weights', weights, *OPTIONS, photo[0], '--out', tmp_path / 'out',
               '--scores') == 0
    np.testing.assert_allclose(segmented(tmp_path / 'out')[1],
                               softmax(forward(net, 'score', blob(photo[1], 'bgr', 4))[:, :45, :58]), atol=1e-5)


@pytest.mark.parametrize('end', ['', layer('prob', 'Sigmoid', 'score')])
def test_a_single_score_is_that_of_one_class_against_all_else(end, photo, tmp_path):
    prototxt, weights, net = deploy_nets.write(tmp_path / 'net', unet(1, end))
    assert run(infer.main, '--prototxt', prototxt, '--weights', weights, *OPTIONS, photo[0], '--out', tmp_path / 'out',
               '--scores') == 0
    labels, probabilities = segmented(tmp_path / 'out')
    logits = forward(net, 'score', blob(photo[1], 'bgr', 4))[0, :45, :58].astype(float)
    np.testing.assert_allclose(probabilities[1], 1 / (1 + np.exp(-logits)), atol=1e-5)
    assert {*np.unique(labels)} == {0, 1} and ((labels == 1) == (logits > 0)).mean() > 0.999


def test_coarse_scores_are_interpolated_between_the_pixels_where_they_look(photo, tmp_path, capsys):
    prototxt, weights, net = deploy_nets.write(tmp_path / 'net', coarse())
    assert run(infer.main, '--prototxt', prototxt, '--weights', weights, *OPTIONS, photo[0], '--out', tmp_path / 'out',
               '--scores') == 0
    assert 'interpolated bilinearly' in capsys.readouterr().err
    scores = forward(net, 'score', blob(photo[1]))      # position i looks at pixel 4 i
    scipy = pytest.importorskip('scipy.ndimage')
    places = np.meshgrid(np.arange(45) / 4, np.arange(58) / 4, indexing='ij')
    expected = np.stack([scipy.map_coordinates(plane.astype(float), places, order=1, mode='nearest')
                         for plane in scores])
    np.testing.assert_allclose(segmented(tmp_path / 'out')[1], softmax(expected), atol=1e-4)


def test_interpolation_of_planes_of_one_pixel():
    found = interpolate(np.full((2, 1, 1), 3, np.float32), np.arange(4) - 1.5, np.zeros(2))
    assert found.tolist() == [[[3, 3]] * 4] * 2


def test_a_grey_net(photo, tmp_path):
    text = unet().replace('dim: 3', 'dim: 1')
    prototxt, weights, net = deploy_nets.write(tmp_path / 'net', text)
    assert run(infer.main, '--prototxt', prototxt, '--weights', weights, '--mean', 128, photo[0], '--out',
               tmp_path / 'out', '--scores') == 0
    grey = photo[1].astype(float) @ (0.299, 0.587, 0.114) - 128
    planes = np.zeros((1, 48, 60), np.float32)
    planes[0, :45, :58] = grey
    np.testing.assert_allclose(segmented(tmp_path / 'out')[1],
                               softmax(forward(net, 'score', planes)[:, :45, :58]), atol=2e-3)


def test_of_several_outputs_all_are_written_or_the_one_that_is_named(photo, tmp_path, capsys):
    text = unet() + conv('other', 'cat2', num_output=3, kernel_size=1) + pool('small', 'cat2', kernel_size=3, stride=3)
    prototxt, weights, _ = deploy_nets.write(tmp_path / 'net', text)
    call = (infer.main, '--prototxt', prototxt, '--weights', weights, photo[0])
    assert run(*call, '--out', tmp_path / 'all') == 0
    assert {path.name for path in (tmp_path / 'all').iterdir()} == {
        f'photo_{name}{end}' for name in ('score', 'other') for end in ('.png', '_overlay.jpg')}
    assert run(*call, '--out', tmp_path / 'one', '--score', 'other') == 0
    assert {path.name for path in (tmp_path / 'one').iterdir()} == {'photo.png', 'photo_overlay.jpg'}
    (tmp_path / 'names').write_text('a\nb\nc\nd\n')
    capsys.readouterr()
    assert run(*call, '--out', tmp_path / 'bad', '--classes', tmp_path / 'names') == 2
    assert '4 names of classes for the 3 scores of other' in capsys.readouterr().err


V1 = '''name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 64 input_dim: 64
layers { name: "c1" type: CONVOLUTION bottom: "data" top: "c1" blobs_lr: 1
         convolution_param { num_output: 5 kernel_size: 3 pad: 1 } }
layers { name: "r1" type: RELU bottom: "c1" top: "c1" }
layers { name: "score" type: CONVOLUTION bottom: "c1" top: "score"
         convolution_param { num_output: 4 kernel_size: 1 } }
layers { name: "prob" type: SOFTMAX bottom: "score" top: "prob" }'''
V0 = '''name: "older" input: "data" input_dim: 1 input_dim: 3 input_dim: 64 input_dim: 64
layers { layer { name: "p1" type: "padding" pad: 1 } bottom: "data" top: "p1" }
layers { layer { name: "c1" type: "conv" num_output: 5 kernelsize: 3 biasterm: true blobs_lr: 1 blobs_lr: 2
                 weight_filler { type: "gaussian" std: 0.1 } } bottom: "p1" top: "c1" }
layers { layer { name: "r1" type: "relu" } bottom: "c1" top: "c1" }
layers { layer { name: "n1" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.75 } bottom: "c1" top: "n1" }
layers { layer { name: "p2" type: "padding" pad: 1 } bottom: "n1" top: "p2" }
layers { layer { name: "m1" type: "pool" pool: AVE kernelsize: 3 stride: 1 } bottom: "p2" top: "m1" }
layers { layer { name: "cat" type: "concat" concat_dim: 1 } bottom: "m1" bottom: "n1" top: "cat" }
layers { layer { name: "d1" type: "dropout" dropout_ratio: 0.4 } bottom: "cat" top: "cat" }
layers { layer { name: "score" type: "conv" num_output: 4 kernelsize: 1 group: 2 } bottom: "cat" top: "score" }'''


@pytest.mark.parametrize('text', [V1, V0], ids=['V1', 'V0'])
def test_old_prototxts(text, photo, tmp_path):
    """Caffe itself reads and upgrades them."""
    prototxt, weights, net = deploy_nets.write(tmp_path / 'net', text)
    assert run(infer.main, '--prototxt', prototxt, '--weights', weights, *OPTIONS, photo[0], '--out', tmp_path / 'out',
               '--scores') == 0
    np.testing.assert_allclose(segmented(tmp_path / 'out')[1], softmax(forward(net, 'score', blob(photo[1]))),
                               atol=1e-5)


def test_v0_is_upgraded_to_what_caffe_makes_of_it(tmp_path):
    (tmp_path / 'v0.prototxt').write_text(V0)
    theirs = caffe.Net(str(tmp_path / 'v0.prototxt'), caffe.TEST)
    (tmp_path / 'new.prototxt').write_text(str(read_net(tmp_path / 'v0.prototxt')))
    ours = caffe.Net(str(tmp_path / 'new.prototxt'), caffe.TEST)
    assert {name: blob.data.shape for name, blob in theirs.blobs.items()} == {
        name: blob.data.shape for name, blob in ours.blobs.items()}
    for name, blobs in theirs.params.items():
        assert [blob.data.shape for blob in blobs] == [blob.data.shape for blob in ours.params[name]]
    upgraded = {one.name: one for one in read_net(tmp_path / 'v0.prototxt').layer}
    assert [spec.lr_mult for spec in upgraded['c1'].param] == [1, 2]
    assert upgraded['m1'].pooling_param.pool == 1 and upgraded['m1'].pooling_param.pad == 1
    assert upgraded['d1'].dropout_param.dropout_ratio == pytest.approx(0.4)


@pytest.mark.parametrize('text, says', [
    ('layers { layer { name: "x" type: "warp" } }', "'warp'"), ('layers { layer { name: "x" } }', 'no type'),
    ('layers { layer { name: "x" type: "relu" num_output: 3 } }', 'no parameter num_output'),
    ('layers { layer { name: "p" type: "padding" } top: "p" } layers { layer { name: "x" type: "relu" } bottom: "p" }',
     'padding is of conv and pool')])
def test_bad_v0(text, says, tmp_path):
    (tmp_path / 'v0.prototxt').write_text(text)
    with pytest.raises(cli.BadInput, match=f'v0.prototxt: .*{says}'):
        read_net(tmp_path / 'v0.prototxt')


def test_a_net_for_training_is_cut_to_its_scores(photo, tmp_path):
    """Its data layer, which feeds 3 channels, its label and its loss go; so does what holds in the TRAIN phase."""
    feed = ('layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param { source: "x" } '
            'transform_param { mirror: true } }')
    loss = layer('loss', 'SoftmaxWithLoss', ['score', 'label']) + layer('acc', 'Accuracy', ['score', 'label'])
    text = unet().replace(ANY, '') + layer('drop', 'Dropout', 'score', 'score', extra='include { phase: TRAIN }')
    _, weights, net = deploy_nets.write(tmp_path / 'net', unet())
    (tmp_path / 'train.prototxt').write_text(feed + text + loss)
    assert run(infer.main, '--prototxt', tmp_path / 'train.prototxt', '--weights', weights, *OPTIONS, photo[0], '--out',
               tmp_path / 'out', '--scores') == 0
    np.testing.assert_allclose(segmented(tmp_path / 'out')[1],
                               softmax(forward(net, 'score', blob(photo[1], 'bgr', 4))[:, :45, :58]), atol=1e-5)


# Scores.

@pytest.mark.parametrize('options', [(), ('--tile', 32), ('--flip', '--scales', '0.5,1')])
def test_score_on_a_data_set(options, voc, tmp_path, capsys):
    prototxt, weights, net = deploy_nets.write(tmp_path / 'net', unet(21))
    call = ('--prototxt', prototxt, '--weights', weights, *OPTIONS, '--dataset', 'voc', '--split', 'val')
    assert run(score.main, *call, '--json', tmp_path / 'scores.json', *options) == 0
    found = json.loads((tmp_path / 'scores.json').read_text())
    assert (found['images'], found['loss'], found['dataset'], found['split']) == (3, None, 'voc', 'val')
    dataset, matrix = open_dataset('voc', 'val'), ConfusionMatrix(CLASSES)
    assert run(infer.main, *call[:8], voc / 'data/pascal/VOC2011/JPEGImages', '--out', tmp_path / 'out', *options) == 0
    for id in dataset.ids:
        if not options:
            image = dataset.image(id)
            scores = forward(net, 'score', blob(image, 'bgr', 4))[:, :image.shape[0], :image.shape[1]]
            matrix.update(dataset.read('label', id)[0], scores.argmax(0))
        else:
            matrix.update(dataset.read('label', id)[0], np.asarray(Image.open(tmp_path / f'out/{id}.png')))
    assert found['tasks']['label']['confusion_matrix'] == matrix.counts.tolist() and matrix.counts.sum() > 1000
    assert found['per_image']['label'].keys() == {*dataset.ids}
    assert f'{prototxt}: label, 3 images\n' in capsys.readouterr().out


def test_score_refuses_what_does_not_go_together(voc, tmp_path, capsys):
    prototxt, weights, _ = deploy_nets.write(tmp_path / 'net', unet(21))
    call = ('--prototxt', prototxt, '--weights', weights)
    (tmp_path / 'names').write_text('\n'.join([*CLASSES[1:], CLASSES[0]]))
    for options, said in (
            (('--dataset', 'siftflow', '--split', 'test'), '21 classes, siftflow has 33 in sem and 3 in geo'),
            (('--dataset', 'voc', '--split', 'val', '--classes', tmp_path / 'names'), 'in another order'),
            (('--dataset', 'voc'), '--split NAME is missing'),
            (('--dataset', 'voc', '--split', 'val', '--net', 'voc-fcn8s'), 'are two nets')):
        if 'siftflow' in options:
            from tests.helpers.datasets import write_siftflow
            write_siftflow(tmp_path / 'data/sift-flow')
        assert run(score.main, *call, *options) == 2
        assert said in capsys.readouterr().err


def test_the_prototxts_of_a_net_of_ours_give_what_the_net_gives(voc, tmp_path, monkeypatch):
    """`nets emit` writes net.json, and a folder of prototxts knows its data set."""
    from tests.helpers import narrow_nets
    _, net = narrow_nets.alive('voc-fcn32s')
    from surgery import write_weights
    write_weights(tmp_path / 'w.caffemodel', {name: [b.data for b in blobs] for name, blobs in net.params.items()})
    found = narrow_nets.Narrow('voc-fcn32s')
    from solvers.training import Training
    training = Training('voc-fcn32s', found.fcn, found.published.recipe, ())
    monkeypatch.setattr(nets, 'load', lambda _: training)
    monkeypatch.setattr(score, 'load', lambda *_: training)
    assert cli.run(nets_main.main, ['emit', 'voc-fcn32s', '--out', str(tmp_path / 'emitted')]) == 0
    known = json.loads((tmp_path / 'emitted/voc-fcn32s/net.json').read_text())
    assert known['classes'] == [*CLASSES] and known['mean'] == list(VOC_MEAN)
    by_name, by_folder = ('--net', 'voc-fcn32s'), ('--net', tmp_path / 'emitted/voc-fcn32s')
    photos = voc / 'data/pascal/VOC2011/JPEGImages'
    for chosen, out in ((by_name, 'a'), (by_folder, 'b')):
        assert run(infer.main, *chosen, '--weights', tmp_path / 'w.caffemodel', photos, '--out', tmp_path / out) == 0
        assert run(score.main, *chosen, '--weights', tmp_path / 'w.caffemodel', '--split', 'val', '--json',
                   tmp_path / f'{out}.json') == 0
    for path in (tmp_path / 'a').iterdir():
        assert path.read_bytes() == (tmp_path / 'b' / path.name).read_bytes()
    one, two = (json.loads((tmp_path / f'{out}.json').read_text()) for out in 'ab')
    assert one['tasks'] == two['tasks'] and one['loss'] is not None and two['loss'] is None


def test_the_page_takes_any_net(tmp_path, monkeypatch):
    prototxt, weights, _ = deploy_nets.write(tmp_path / 'net', unet())
    asked = []
    monkeypatch.setattr(serve.Server, 'serve_forever', lambda server: asked.append(
        server.segmenter(Image.fromarray(own.photo(tmp_path / 'x.png', (45, 58))))))
    assert run(serve.main, '--prototxt', prototxt, '--weights', weights, *OPTIONS, '--port', 0) == 0
    answer, = asked
    assert (answer['width'], answer['height']) == (58, 45)
    assert sum(entry['percent'] for entry in answer['tasks'][0]['legend']) == pytest.approx(100)
    assert answer['tasks'][0]['legend'][0]['name'].startswith('class ')


# What goes wrong is one line.

FIXED = DATA % (3, 16, 16) + ip('fc', 'data', 4 * 256) + layer(
    'score', 'Reshape', 'fc', extra='reshape_param { shape { dim: 1 dim: 4 dim: 16 dim: 16 } }')
BAD = {
    'a classifier': (LENET, (), 'no map of scores; python -m surgery convolutionalize'),
    'no such blob': (unet(), ('--score', 'nowhere'), '--score nowhere: the net has no such blob'),
    'no such layer': (unet().replace('"Concat"', '"Upsample"'), (), 'layer cat1 (Upsample)'),
    'a layer of Python': (unet() + layer('evil', 'Python', 'score', extra='python_param { module: "os" layer: "x" }'),
                          (), 'layer evil (Python)'),
    'two inputs': (unet() + DATA.replace('"data"', '"more"') % (3, 64, 64) + layer(
        'sum', 'Concat', ['score', 'more']), (), 'the net sees data and more'),
    'five channels': (unet().replace('dim: 3', 'dim: 5', 1), (), 'has 5 channels'),
    'grey for three': (unet(), ('--order', 'grey'), 'has 3 channels, and grey has 1'),
    'a mean of two': (unet(), ('--mean', '1,2'), '--mean: the mean is of the wrong kind'),
    'a mean of words': (unet(), ('--mean', 'a,b,c'), 'is not a list of numbers'),
    'a scale of zero': (unet(), ('--scale', '0'), '--scale'),
    'no multiple': (unet(), ('--multiple', '0'), '--multiple'),
    'a wrong multiple': (unet(), ('--multiple', '3'), 'a size that this net does not take'),
    'two scales alike': (unet(), ('--scales', '1,1'), '--scales 1,1'),
    'a huge scale': (unet(), ('--scales', '1e9'), '--scales 1e+09'),
    'no tile': (unet(), ('--tile', '0'), '--tile 0'),
    'too many classes': (unet(256), (), 'scores 256 classes'),
    'an unknown filler': (unet().replace('num_output: 6 ', 'num_output: 6 weight_filler { type: "no" } '), (),
                          'Caffe cannot make this net'),
    'not a prototxt': ('\0\1', (), 'deploy.prototxt'),
    'an empty file': ('', (), 'a net without layers'),
}


def test_a_net_of_one_size_takes_that_alone(photo, tmp_path, capsys):
    prototxt, weights, net = deploy_nets.write(tmp_path / 'net', FIXED)
    pixels = own.photo(tmp_path / 'small.png', (16, 16))
    call = (infer.main, '--prototxt', prototxt, '--weights', weights, *OPTIONS, '--out', tmp_path / 'out', '--scores')
    assert run(*call, tmp_path / 'small.png') == 0
    np.testing.assert_allclose(segmented(tmp_path / 'out', 'small')[1], softmax(forward(net, 'score', blob(pixels))),
                               atol=1e-5)
    assert run(*call, photo[0]) == 2
    assert '58x45 pixels, a size that this net does not take (layer ' in capsys.readouterr().err
    assert run(*call, tmp_path / 'small.png', '--tile', 64) == 2
    assert '--tile: this net takes images of its own size alone' in capsys.readouterr().err


@pytest.mark.parametrize('case', BAD)
def test_what_does_not_work_is_one_line(case, photo, tmp_path, capfd):
    text, options, said = BAD[case]
    _, weights, _ = deploy_nets.write(tmp_path / 'good', unet())
    (tmp_path / 'deploy.prototxt').write_text(text)
    capfd.readouterr()
    try:
        status = run(infer.main, '--prototxt', tmp_path / 'deploy.prototxt', '--weights', weights, *options, photo[0],
                     '--out', tmp_path / 'out')
    except SystemExit as ended:
        status = ended.code
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith(('error:', 'python'))]
    assert status == 2 and len(lines) == 1 and said in lines[0], lines
    assert not (tmp_path / 'out').exists()


def test_weights_of_another_net(photo, tmp_path, capsys):
    prototxt, _, _ = deploy_nets.write(tmp_path / 'a', unet())
    _, weights, _ = deploy_nets.write(tmp_path / 'b', dilated())
    assert run(infer.main, '--prototxt', prototxt, '--weights', weights, photo[0], '--out', tmp_path / 'out') == 2
    assert re.search('error: .*weights.caffemodel', capsys.readouterr().err)


@pytest.mark.parametrize('text, says', [
    ('a\nb\nc\n', '3 names of classes for the 4 scores'), ('0 a\n1 b\n2 c\n4 d\n', 'not 0, 1, 2'),
    ('a\na\nb\nc\n', "class a twice"), ('', 'names no class')])
def test_lists_of_classes_that_do_not_fit(text, says, photo, tmp_path, capsys):
    prototxt, weights, _ = deploy_nets.write(tmp_path / 'net', unet())
    (tmp_path / 'names').write_text(text)
    assert run(infer.main, '--prototxt', prototxt, '--weights', weights, '--classes', tmp_path / 'names', photo[0],
               '--out', tmp_path / 'out') == 2
    assert says in capsys.readouterr().err
