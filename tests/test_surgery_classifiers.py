"""State dicts of torch's classifiers as Caffe nets: onnxruntime, on the graph of the same net, says what they give."""
import json
import random

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from cli import BadInput, run  # noqa: E402
from surgery import __main__ as command  # noqa: E402
from surgery import import_model, read_net  # noqa: E402
from surgery.net_input import RANGES  # noqa: E402
from surgery.safetensors import write_safetensors  # noqa: E402
from surgery.torch_import import build_classifier  # noqa: E402
from tests.helpers import torch_nets  # noqa: E402
from tests.helpers.torch_files import save_legacy, save_zip  # noqa: E402

pytestmark = pytest.mark.caffe
TAKES = {'GoogLeNet': 'symmetric', 'EfficientNet-lite': 'lite'}      # of the others ImageNet's


def imported(state, folder, size, **options):
    """The report and the Caffe net."""
    (folder / 'out').mkdir()
    import_model(save_zip(folder / 'm.pth', state), folder / 'out', size, **options)
    net = caffe.Net(str(folder / 'out/deploy.prototxt'), caffe.TEST, weights=str(folder / 'out/weights.caffemodel'))
    return json.loads((folder / 'out/report.json').read_text()), net


def scores(net, facts, rgb):
    """What the Caffe net gives for pixels, 3 x H x W from 0 to 255."""
    net.blobs['data'].data[0] = rgb[::-1] - np.reshape(facts['mean'], (3, 1, 1))
    net.forward()
    return net.blobs[list(facts['outputs'])[0]].data.ravel()


def as_the_author_feeds_it(rgb, kind):
    scale, mean, deviation = RANGES[kind]
    return ((rgb * scale - np.reshape(mean, (-1, 1, 1))) / np.reshape(deviation, (-1, 1, 1)))[None].astype('f')


@pytest.mark.parametrize('name', torch_nets.NETS)
def test_same_scores_as_the_graph(tmp_path, name):
    onnxruntime = pytest.importorskip('onnxruntime')
    twin, output = torch_nets.NETS[name]()
    facts, net = imported(twin.state, tmp_path, twin.size)
    assert facts['input'] == [1, 3, *twin.size]
    session = onnxruntime.InferenceSession(twin.model(output).SerializeToString())
    kind = next((kind for start, kind in TAKES.items() if name.startswith(start)), 'imagenet')
    for seed in range(2):
        rgb = np.random.default_rng(seed).uniform(0, 255, (3, *twin.size))
        expected = session.run(None, {'x': as_the_author_feeds_it(rgb, kind)})[0].ravel()
        got = scores(net, facts, rgb)
        assert np.abs(expected).max() > 0.1 and len(set(expected.round(3))) > 1
        np.testing.assert_allclose(got, expected, rtol=0, atol=3e-5 * np.abs(expected).max())


def test_statistics_stay_as_they_are_and_names_are_torchs(tmp_path):
    twin, _ = torch_nets.resnet(bottleneck=True)
    facts, _ = imported({f'module.model.{name}': array for name, array in twin.state.items()}, tmp_path, twin.size)
    net = read_net(tmp_path / 'out/deploy.prototxt')
    names = {layer.name: layer.type for layer in net.layer}
    assert names['layer1.0.conv3'] == 'Convolution' and names['layer1.0.bn3_scale'] == 'Scale'
    assert names['layer4.0.downsample.0'] == 'Convolution' and net.name == f'ResNet-{2 + 3 * 6}'
    norms = [layer for layer in net.layer if layer.type == 'BatchNorm']
    assert norms and all([param.lr_mult for param in layer.param] == [0, 0, 0] for layer in norms)
    assert facts['outputs'] == {'fc': 'fc'}


def test_the_commands_words(tmp_path, capsys):
    twin, _ = torch_nets.googlenet()
    save_legacy(tmp_path / 'g.pt', twin.state)
    call = ['import', str(tmp_path / 'g.pt'), '--size', '67x93', '--out', str(tmp_path / 'out')]
    assert run(command.main, call) == 0
    out = capsys.readouterr().out
    assert 'less the mean 127.5, 127.5, 127.5' in out and 'transform_input' in out and 'auxiliary heads' in out
    assert run(command.main, [*call[:-1], str(tmp_path / 'out2'), '--input', 'imagenet']) == 0
    assert 'less the mean 103.53, 116.28, 123.675' in capsys.readouterr().out


def test_image_sizes_that_the_efficientnets_are_trained_at(tmp_path):
    twin, _ = torch_nets.efficientnet()
    assert imported(twin.state, tmp_path, None)[0]['input'] == [1, 3, 224, 224]


def changed(state, **changes):
    return {name: changes.get(name, array) for name, array in (state | changes).items()
            if changes.get(name, array) is not None}


CHANGES = {
    'no bias': ('resnet', {'bn1.bias': None}, 'it has no bn1.bias'),
    'a stem of 3x3': ('resnet', {'conv1.weight': np.ones((4, 3, 3, 3), 'f')}, 'conv1 has a 3x3 kernel'),
    'more': ('resnet', {'layer1.0.se.fc1.weight': np.ones((4, 4), 'f')}, 'it also has layer1.0.se.fc1.weight'),
    'a gap': ('resnet', {f'layer1.3.{name}': np.ones(4, 'f') for name in ('bn1.bias',)}, 'numbered 0, 1, 3'),
    'channels': ('resnet', {'layer1.0.conv1.weight': np.ones((4, 2, 3, 3), 'f')}, 'takes 2 channels where there are 4'),
    'flat': ('resnet', {'conv1.weight': np.ones(3, 'f')}, 'conv1.weight is 3, not that of a convolution'),
    'another head': ('resnet', {'fc.weight': np.ones((7, 9), 'f')}, 'parameters'),
    'oblong': ('mobilenet', {'features.1.conv.0.0.weight': np.ones((8, 1, 3, 1), 'f')}, '3x1 kernel'),
    'more blocks': ('mobilenet', {'features.19.0.weight': np.ones((8, 8, 1, 1), 'f')}, '18 blocks, not 17'),
    'no branch': ('googlenet', {'inception4c.branch3.1.conv.weight': None}, 'it has no inception4c.branch3.1.conv'),
    'stages': ('efficientnet', {'_blocks.3._project_conv.weight': np.ones((9, 12, 1, 1), 'f')}, '8 widths in a row'),
    'empty': ('resnet', {'conv1.weight': np.ones((4, 0, 7, 7), 'f')}, 'make no sense|channels|more numbers'),
}


@pytest.mark.parametrize('name', CHANGES)
def test_what_differs_is_refused_by_name(tmp_path, name):
    build, changes, says = CHANGES[name]
    twin, _ = getattr(torch_nets, build)()
    with pytest.raises(BadInput, match=says) as caught:
        imported(changed(twin.state, **changes), tmp_path, twin.size)
    assert 'm.pth' in str(caught.value) and '\n' not in str(caught.value)


def test_unknown_nets_are_told_what_is_known(tmp_path, capsys):
    write_safetensors(tmp_path / 'm.safetensors', {'encoder.0.attention.weight': np.ones((4, 4))})
    assert run(command.main, ['import', str(tmp_path / 'm.safetensors'), '--out', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert 'encoder.0.attention.weight' in error and 'SqueezeNet' in error and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_made_fully_convolutional(tmp_path):
    """A trunk with padding on one side, ReLU6 and groups is proved equal at larger images, and gets a head."""
    twin, _ = torch_nets.efficientnet()
    imported(twin.state, tmp_path, twin.size)
    call = ['convolutionalize', '--prototxt', str(tmp_path / 'out/deploy.prototxt'), '--weights',
            str(tmp_path / 'out/weights.caffemodel'), '--grid', '0', '--cpu', '--out']
    assert run(command.main, [*call, str(tmp_path / 'fcn'), '--head', '8', '--classes', '4']) == 0


@pytest.mark.parametrize('build', ['resnet', 'mobilenet', 'googlenet', 'efficientnet'])
def test_mutants_give_a_net_or_one_line(build):
    """Parameters that are missing, renamed, of other shapes: BadInput, and nothing else."""
    rng, refused = random.Random(7), 0
    twin, _ = getattr(torch_nets, build)()
    for _ in range(30):
        state = dict(twin.state)
        for _ in range(rng.choice((1, 1, 2))):
            name, how = rng.choice(list(state)), rng.randrange(5)
            array = state.pop(name)
            if how == 1:
                state[rng.choice((name + '.0', name.replace('0', '1'), name.replace('1', '77'), 'x' * 5000,
                                  name.replace('.', '.9999.', 1), '\x1b[2J\n'))] = array
            elif how == 2:
                state[name] = array.reshape(array.shape[::-1])
            elif how == 3:
                state[name] = np.zeros(rng.choice(((), (0,), (3, 0, 3, 3), (1,) * 30, (0, 10 ** 9))), 'f')
            elif how == 4:
                state[name] = np.repeat(array, rng.choice((2, 3)), axis=0) if array.ndim else array
        try:
            net = build_classifier(state, twin.size)
            net.builder.finish([net.top])
        except BadInput as problem:
            refused += 1
            assert len(str(problem)) < 3000
    assert refused > 15


TORCHVISION = ('resnet18', 'resnet50', 'resnext50_32x4d', 'mobilenet_v2', 'squeezenet1_0', 'squeezenet1_1', 'googlenet')


@pytest.mark.slow
@pytest.mark.parametrize('name', TORCHVISION)
def test_torchvisions_own(tmp_path, name):
    torch = pytest.importorskip('torch', reason='torch is not a dependency of this project')
    models = pytest.importorskip('torchvision', reason='torchvision is not a dependency of this project').models
    torch.manual_seed(0)
    options = {'transform_input': True, 'aux_logits': True, 'init_weights': False} if name == 'googlenet' else {}
    model = getattr(models, name)(num_classes=20, **options).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
    torch.save(model.state_dict(), tmp_path / 'm.pth')
    (tmp_path / 'out').mkdir()
    import_model(tmp_path / 'm.pth', tmp_path / 'out', (193, 227))
    facts = json.loads((tmp_path / 'out/report.json').read_text())
    net = caffe.Net(str(tmp_path / 'out/deploy.prototxt'), caffe.TEST, weights=str(tmp_path / 'out/weights.caffemodel'))
    rgb = np.random.default_rng(0).uniform(0, 255, (3, 193, 227))
    with torch.no_grad():
        expected = model(torch.from_numpy(as_the_author_feeds_it(rgb, 'imagenet'))).numpy().ravel()
    np.testing.assert_allclose(scores(net, facts, rgb), expected, rtol=0, atol=3e-5 * np.abs(expected).max())
