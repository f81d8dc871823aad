"""Scores for other classes: which layers count them, and every number where it belongs."""
import itertools

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from google.protobuf import text_format  # noqa: E402

import nets  # noqa: E402
from cli import BadInput, run  # noqa: E402
from nets.edits import learn_upsampling, narrow  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from surgery import __main__ as command  # noqa: E402
from surgery import bilinear_kernel, read_weights, transplant, write_weights  # noqa: E402
from surgery.classes import class_layers, keep_classes, same_names, with_classes  # noqa: E402
from tests.helpers.surgery_nets import DATA, conv, layer, relu  # noqa: E402

pytestmark = pytest.mark.caffe
ONE_TASK = [name for name in nets.names() if not name.startswith('siftflow')]


def parse(text):
    return text_format.Parse(text, caffe.proto.caffe_pb2.NetParameter())


def deconv(name, bottom, **p):
    return layer(name, 'Deconvolution', bottom, convolution_param=p)


# ------------------------------------------------------------------------------------------------------------ names

@pytest.mark.parametrize('new, old, expected', [
    (['road', 'Car'], ['background', 'car', 'road'], {0: 2, 1: 1}),
    (['Traffic Light', 'traffic_sign', 'POTTED-PLANT'], ['traffic-light', 'Traffic sign', 'pottedplant'],
     {0: 0, 1: 1, 2: 2}),
    (['car'], ['CAR', 'car'], {0: 1}),              # of two the one spelled alike
    (['Car', 'car'], ['car'], {0: 0, 1: 0}),
    (['car'], ['cart', 'scar'], {}), (['road'], [], {}), (['straße'], ['Straße'], {0: 0})])
def test_names_of_classes(new, old, expected):
    assert same_names(new, old) == expected


# ------------------------------------------------------------------------------------------------------------ layers

@pytest.mark.parametrize('name', ONE_TASK)
def test_layers_that_count_classes_are_those_as_wide_as_the_scores(name):
    """In the papers' nets, where no feature has as many channels as there are classes."""
    deploy = nets.load(name).fcn('deploy')
    count = nets.load(name).fcn('deploy').layer[-2].convolution_param.num_output
    assert list(class_layers(deploy)) == [x.name for x in deploy.layer if x.convolution_param.num_output == count]


@pytest.mark.parametrize('name', [name for name in ONE_TASK if 'hha' not in name])
def test_a_net_over_other_classes_is_the_net_that_the_paper_would_have_made(name):
    """Against the shapes that Caffe gives it."""
    deploy = narrow(nets.load(name).fcn('deploy'), 8, ('conv', 'fc') if 'alexnet' not in name else ('fc',))
    layers = class_layers(deploy)
    before, after = instantiate(deploy), instantiate(with_classes(deploy, layers, 5))
    count = before.blobs['score'].channels
    assert after.blobs['score'].data.shape == (1, 5, *before.blobs['score'].data.shape[2:])
    for layer_name, blobs in before.params.items():
        for i, blob in enumerate(blobs):
            axes = layers[layer_name].axes[i] if layer_name in layers else ()
            expected = tuple(5 if axis in axes else n for axis, n in enumerate(blob.data.shape))
            assert after.params[layer_name][i].data.shape == expected
            assert all(blob.data.shape[axis] == count for axis in axes)


HEAD = DATA % (3, 12, 12) + conv('a', 'data', num_output=4, kernel_size=1) + relu('r', 'a')


def test_scores_of_other_kinds_of_nets():
    """A decoder that ends in a deconvolution of features, and one whose upsampling goes class by class."""
    last = parse(HEAD + deconv('up', 'a', num_output=3, kernel_size=2, stride=2) + layer('prob', 'Softmax', 'up'))
    assert {name: (x.axes, x.upsamples) for name, x in class_layers(last).items()} == {'up': (((1,), (0,)), False)}
    grouped = parse(HEAD + conv('s', 'a', num_output=3, kernel_size=1) + relu('r2', 's')
                    + deconv('up', 's', num_output=3, group=3, kernel_size=4, stride=2, pad=1, bias_term='false'))
    layers = class_layers(grouped)
    assert {name: (x.axes, x.upsamples) for name, x in layers.items()} == {
        's': (((0,), (0,)), False), 'up': (((0,),), True)}
    after = instantiate(with_classes(grouped, layers, 5))
    assert after.params['up'][0].data.shape == (5, 1, 4, 4) and after.blobs['up'].channels == 5


@pytest.mark.parametrize('tail, complaint', [
    (conv('s', 'a', num_output=3, kernel_size=1) + layer('b', 'BatchNorm', 's'), 'layer b .BatchNorm'),
    (conv('s', 'a', num_output=3, kernel_size=1) + layer('k', 'Scale', 's'), 'layer k .Scale'),
    (conv('s', 'a', num_output=2, kernel_size=1) + conv('t', 'a', num_output=1, kernel_size=1)
     + layer('both', 'Concat', ['s', 't']), 'layer both .Concat'),
    (conv('s', 'a', num_output=4, group=2, kernel_size=1), 'layer s .Convolution'), ('', None)])
def test_scores_that_are_not_understood_are_refused(tail, complaint):
    if complaint is None:
        assert list(class_layers(parse(HEAD))) == ['a']
        return
    with pytest.raises(BadInput, match=complaint):
        class_layers(parse(HEAD + tail))


# ------------------------------------------------------------------------------------------------------------ rows

def filled(deploy, seed):
    net, rng = instantiate(deploy), np.random.default_rng(seed)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = rng.standard_normal(blob.data.shape)
    return net


@pytest.mark.parametrize('old_classes, new_classes', [(3, 5), (5, 3), (4, 4)])
@pytest.mark.parametrize('name', ['voc-fcn32s', 'voc-fcn16s', 'voc-fcn8s', 'voc-fcn8s-atonce', 'voc-fcn-googlenet'])
def test_every_number_of_every_row(name, old_classes, new_classes):
    """Number by number: kept rows and pairs are the old ones, bilinear from a new class to itself, else zero."""
    published = learn_upsampling(nets.load(name).fcn('deploy'))
    layers = class_layers(published)
    scoring = [x for x in published.layer if x.name in layers]      # alone, each on what it reads
    kept = {0: 2, 2: 0}
    for x in scoring:
        shape = (x.convolution_param.num_output if x.type == 'Deconvolution' else 6,)
        side = x.convolution_param.kernel_size[0]
        old, new = (
            {x.name: [rng.standard_normal((n, shape[0] if x.type != 'Deconvolution' else n, side, side)).astype('f'),
                      *([rng.standard_normal(n).astype('f')] if x.type != 'Deconvolution' else [])]}
            for n, rng in ((old_classes, np.random.default_rng(1)), (new_classes, np.random.default_rng(2))))
        report = keep_classes(new, old, kept, {x.name: layers[x.name]})
        weights = new[x.name][0]
        if x.type == 'Deconvolution':
            kernel = bilinear_kernel(side).astype('f')
            for a, b in itertools.product(range(new_classes), repeat=2):
                expected = (old[x.name][0][kept[a], kept[b]] if a in kept and b in kept else
                            kernel if a == b else np.zeros((side, side)))
                np.testing.assert_array_equal(weights[a, b], expected)
        else:
            for a in range(new_classes):
                np.testing.assert_array_equal(weights[a], old[x.name][0][kept[a]] if a in kept else 0 * weights[a])
                assert new[x.name][1][a] == (old[x.name][1][kept[a]] if a in kept else 0)
        assert len(report.coerced) == len(new[x.name])


def test_a_score_moves_with_its_class():
    """Caffe's own scores: those of a kept class are the same numbers as before, those of a new one are zero."""
    old = parse(HEAD + conv('s', 'a', num_output=3, kernel_size=1)
                + deconv('up', 's', num_output=3, group=3, kernel_size=4, stride=2, pad=1, bias_term='false'))
    layers = class_layers(old)
    before, after = filled(old, 0), filled(with_classes(old, layers, 4), 1)
    transplant(after, before, skip=layers)
    keep_classes(after, before, {3: 1, 0: 2}, layers)
    for net in (before, after):
        net.blobs['data'].data[...] = np.random.default_rng(2).standard_normal((1, 3, 12, 12))
        net.forward()
    (b,), (a,) = before.blobs['up'].data, after.blobs['up'].data
    np.testing.assert_allclose(a[[3, 0]], b[[1, 2]], rtol=1e-5, atol=1e-6)
    assert np.abs(b).max() > 0.1 and not a[[1, 2]].any()


@pytest.mark.parametrize('kept, change, complaint', [
    ({9: 0}, None, 'do not have the classes'), ({0: 9}, None, 'do not have the classes'), ({-1: 0}, None, 'classes'),
    ({0: 0}, lambda w: w['s'].pop(), 'layer s: 2 blobs expected, and the weights have 1'),
    ({0: 0}, lambda w: w.pop('s'), 'layer s: 2 blobs expected, and the weights have 0'),
    ({0: 0}, lambda w: w.update(s=[w['s'][0][:, :2], w['s'][1]]), 'differ in more than')])
def test_what_does_not_fit_leaves_all_as_it_was(kept, change, complaint):
    net = parse(HEAD + conv('s', 'a', num_output=3, kernel_size=1))
    layers, old = class_layers(net), {'s': [np.ones((3, 4, 1, 1), 'f'), np.ones(3, 'f')]}
    new = {'s': [np.full((3, 4, 1, 1), 7, 'f'), np.full(3, 7, 'f')]}
    if change:
        change(old)
    with pytest.raises(BadInput, match=complaint):
        keep_classes(new, old, kept, layers)
    assert all((blob == 7).all() for blob in new['s'])


# ------------------------------------------------------------------------------------------------------------ skip

@pytest.fixture
def two_files(tmp_path):
    """A trained net of 3 classes, and one of 5 with the same trunk."""
    def of(classes, value):
        return {'conv1': [np.full((2, 3, 3, 3), value, 'f')], 'score': [np.full((classes, 2, 1, 1), value, 'f')]}
    write_weights(tmp_path / 'old', of(3, 1))
    write_weights(tmp_path / 'new', of(5, 2))
    return tmp_path


def call(folder, *options):
    return run(command.main, ['transplant', '--from', str(folder / 'old'), '--to', str(folder / 'new'), '--out',
                              str(folder / 'out'), *options])


def test_skipped_layers_stay_as_they_were(two_files, capsys):
    assert call(two_files) == 2 and 'layer score' in capsys.readouterr().err
    assert call(two_files, '--skip', 'score') == 0
    said = capsys.readouterr().out
    assert 'skipped  score  0     3x2x1x1 -> 5x2x1x1' in said
    assert 'blobs: 1 copied, 0 coerced, 1 skipped, 0 dropped, 0 untouched' in said
    out = read_weights(two_files / 'out')
    assert (out['conv1'][0] == 1).all() and (out['score'][0] == 2).all() and out['score'][0].shape == (5, 2, 1, 1)


def test_a_skipped_layer_must_be_there(two_files, capsys):
    assert call(two_files, '--skip', 'score', '--skip', 'scores') == 2
    error = capsys.readouterr().err
    assert "cannot skip scores: the weights have no layer 'scores'" in error and error.count('\n') == 1
    assert not (two_files / 'out').exists()
