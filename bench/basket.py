"""The basket: seven classifiers as fully convolutional nets with FCN's head, made by this project's own surgery.

    python -m bench.basket [NET ...]

makes them in the cache folder, those that are there already excepted, and says what each is. VGG-16, CaffeNet and
GoogLeNet come from nets/, the other four through `surgery import` from state dicts that `bench.state_dicts` fills; all
are made fully convolutional and get a head that predicts at stride 8 for 21 classes, as `surgery convolutionalize
--head 8 --classes 21` does it, at full width.

Weights are random and keep the scale of the activations: convolutions are filled as in He et al. (ICCV 2015), BatchNorm
has the statistics of the very image that is timed, score layers are scaled so that their scores deviate by 1.

Each net's folder has deploy.prototxt, train.prototxt (with the loss summed over the pixels, BatchNorm by the
statistics of the batch), weights.caffemodel, image.npy, and for other engines model.onnx and the torch module torch/,
as `surgery export` writes them; basket.json says what it was made of, net.json how photographs are prepared.
"""
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import cli
import files
from bench import state_dicts
from bench.floor import Work, work
from bench.processes import cache
from bench.state_dicts import State
from data_layers import dataset_type
from nets import alexnet, googlenet, vgg16
from solvers.instance import instantiate
from surgery import convolutionalize, import_model, prepare, read_net, read_weights, write_prototxt, write_weights
from surgery.caffemodel import Weights
from surgery.classifier import Classifier
from surgery.export.formats import FORMATS
from surgery.export.source import open_net
from surgery.head import Upsampling, build, plan, smallest_pad
from surgery.preparation import Preparation
from surgery.safetensors import write_safetensors
from surgery.shapes import infer

SIZE, STRIDE, CLASSES = 500, 8, 21
MEAN = (104.0, 117.0, 123.0)
DEPLOY, TRAIN, WEIGHTS, IMAGE, ONNX, TORCH, FACTS = ('deploy.prototxt', 'train.prototxt', 'weights.caffemodel',
                                                     'image.npy', 'model.onnx', 'torch', 'basket.json')
ROOT = Path(__file__).resolve().parent.parent
SOURCES = ('surgery/**/*.py', 'nets/*.py', 'bench/basket.py', 'bench/state_dicts.py')


class Trunk(NamedTuple):
    """A net of the basket: its name to read, and its classifier, from nets/ or as a state dict.

    A function's argument is the number that channels are divided by; 1 for the net as published.
    """

    title: str
    net: Callable[[], Any] | None = None
    state: Callable[[int], State] | None = None


NETS = {
    'vgg16': Trunk('VGG-16', net=vgg16.classifier),
    'caffenet': Trunk('CaffeNet', net=alexnet.classifier),
    'googlenet': Trunk('GoogLeNet', net=googlenet.classifier),
    'squeezenet': Trunk('SqueezeNet 1.1', state=state_dicts.squeezenet),
    'resnet50': Trunk('ResNet-50', state=lambda divide: state_dicts.resnet50(64 // divide)),
    'mobilenetv2': Trunk('MobileNetV2', state=state_dicts.mobilenetv2),
    'efficientnet-lite0': Trunk('EfficientNet-lite0', state=state_dicts.efficientnet_lite0),
}


def folder_of(name: str) -> Path:
    """The folder of a net in the cache, made if it is not there or was made by other sources than these."""
    folder = cache() / 'basket' / name
    stamp = digest()
    facts = folder / FACTS
    if not facts.is_file() or json.loads(facts.read_text())['digest'] != stamp:
        cli.say(f'making {NETS[name].title} in {folder}')
        make(name, folder, digest=stamp)
    return folder


def digest() -> str:
    """Of all that decides what the nets are."""
    found = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern)):
        found.update(path.read_bytes())
    return found.hexdigest()


def make(name: str, folder: Path, size: int = SIZE, divide: int = 1, digest: str = '') -> None:
    """Write a net of the basket.

    Parameters
    ----------
    name : str
        Of `NETS`.
    folder : Path
        Gets its files, all of them or none.
    size : int
        Pixels of a side of the image.
    divide : int
        Channels of all layers are divided by it.
    digest : str
        Goes into `basket.json`.
    """
    rng = np.random.default_rng(0)
    net, weights, facts = segmenter(name, size, divide, rng)
    image = rng.standard_normal((1, 3, size, size), dtype=np.float32) * 50      # of photographs less their mean
    fit(net, weights, image, facts['scores'])
    with files.whole_folder(folder) as place:
        write_prototxt(place / DEPLOY, net, f'{NETS[name].title} with FCN\'s head at stride {STRIDE}, for timing')
        write_prototxt(place / TRAIN, training(net))
        write_weights(place / WEIGHTS, weights, {layer.name: layer.type for layer in net.layer})
        np.save(place / IMAGE, image, allow_pickle=False)
        source = open_net(place / DEPLOY, None, place / WEIGHTS)
        FORMATS['onnx'].write(source, place / ONNX)
        (place / TORCH).mkdir()
        FORMATS['torch'].write(source, place / TORCH)
        Preparation(MEAN, classes=dataset_type('voc').classes['label']).write(place)
        files.write_json(place / FACTS, {'title': NETS[name].title, 'digest': digest, 'size': size, **facts,
                                         'work': work(net)._asdict()})


def segmenter(name: str, size: int, divide: int, rng: np.random.Generator) -> tuple[Any, Weights, dict[str, Any]]:
    """A net of the basket, its weights as far as they are known without an image, and what its head is."""
    classifier = classifier_of(name, divide, rng)
    dense = convolutionalize(classifier)
    trunk = plan(dense, STRIDE)
    upsamplings: list[Upsampling] = []
    pad = smallest_pad(trunk, CLASSES, upsamplings)
    made = build(dense, trunk, CLASSES, pad, upsamplings, {})
    made.net.name = name
    made.net.layer[0].input_param.shape[0].dim[2:] = size, size
    weights = dict(made.weights)
    scores = []
    for layer, shapes in zip(made.net.layer, infer(made.net).params, strict=True):
        if shapes and layer.name not in weights:
            scores.append(layer.name)
            weights[layer.name] = [he(shapes[0], rng), *(np.zeros(shape, np.float32) for shape in shapes[1:])]
    return made.net, weights, {'stride': trunk.finest, 'feature': trunk.feature, 'feature_stride': trunk.stride,
                               'skips': [blob for _, blob in trunk.skips], 'scores': scores,
                               'pad': pad}


def classifier_of(name: str, divide: int, rng: np.random.Generator) -> Classifier:
    """The classifier that a net of the basket is made of."""
    trunk = NETS[name]
    if trunk.net:
        net = trunk.net()
        for layer in net.layer:
            for param in (layer.convolution_param, layer.inner_product_param):
                if param.num_output:
                    param.num_output //= divide
        weights = {layer.name: [he(shapes[0], rng), *(np.zeros(shape, np.float32) for shape in shapes[1:])]
                   for layer, shapes in zip(net.layer, infer(net).params, strict=True) if shapes}
        return prepare(net, weights)
    assert trunk.state
    with files.scratch() as place:
        write_safetensors(place / 'state.safetensors', trunk.state(divide))
        import_model(place / 'state.safetensors', place)
        return prepare(read_net(place / 'deploy.prototxt'), read_weights(place / 'weights.caffemodel'))


def he(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Weights that keep the scale of what a ReLU follows; inputs are all axes but the first."""
    weights = rng.standard_normal(shape, np.float32)
    weights *= np.float32((2 / np.prod(shape[1:])) ** 0.5)
    return weights


def fit(net: Any, weights: Weights, image: np.ndarray, scores: Sequence[str]) -> None:
    """Give BatchNorm layers the statistics of an image, and score layers weights whose scores deviate by 1.

    Caffe works the statistics out itself: in the TRAIN phase a layer normalises by those of its batch and, with a
    moving average that forgets all before, keeps just these.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        A deploy net.
    weights : dict of str to list of ndarray
        Its parameters; changed.
    image : ndarray
        N x 3 x H x W.
    scores : sequence of str
        The score layers.
    """
    import caffe
    once = without_dropout(net)
    for layer in once.layer:
        if layer.type == 'BatchNorm':
            layer.batch_norm_param.moving_average_fraction = 0
    live = load(instantiate(once, caffe.TRAIN), weights)
    live.blobs['data'].data[...] = image
    live.forward()
    for layer in once.layer:
        if layer.type == 'BatchNorm':
            mean, variance, factor = (blob.data.copy() for blob in live.params[layer.name])
            count = live.blobs[layer.top[0]].data[:, 0].size
            weights[layer.name] = [mean, variance * np.float32((count - 1) / count), factor]    # the batch's own
    for name in scores:
        deviation = float(live.blobs[name].data.std())
        weights[name] = [blob / np.float32(deviation) for blob in weights[name]]


def load(net: Any, weights: Mapping[str, Sequence[np.ndarray]]) -> Any:
    """Put parameters into a net that is made; gives the net."""
    for name, blobs in weights.items():
        for blob, values in zip(net.params[name], blobs, strict=True):
            blob.data[...] = values
    return net


def without_dropout(net: Any) -> Any:
    """A copy of a net whose Dropout layers drop nothing."""
    result = type(net)()
    result.CopyFrom(net)
    for layer in result.layer:
        if layer.type == 'Dropout':
            layer.dropout_param.dropout_ratio = 0
    return result


def training(net: Any) -> Any:
    """The net that a step is timed with: image and label from Input layers, the loss summed over the pixels."""
    result = type(net)()
    result.CopyFrom(net)
    size = net.layer[0].input_param.shape[0].dim
    label = result.layer.add(name='label', type='Input', top=['label'])
    label.input_param.shape.add(dim=[size[0], 1, *size[2:]])
    loss = result.layer.add(name='loss', type='SoftmaxWithLoss', bottom=[net.layer[-1].top[0], 'label'], top=['loss'])
    loss.loss_param.normalize = False
    return result


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m bench.basket', description=__doc__)
    parser.add_argument('nets', nargs='*', metavar='NET', help=f'of {", ".join(NETS)} (default: all)')
    args = parser.parse_args(argv)
    rows = [('', 'scored at stride 32 or 16, and skips', 'pad', 'GMAC', 'of upsampling', 'MB of weights', 'of blobs')]
    for name in cli.progress(chosen(args.nets), desc='make', unit='net'):
        facts = json.loads((folder_of(name) / FACTS).read_text())
        w = Work(**facts['work'])
        rows.append((facts['title'], ', '.join([facts['feature'], *facts['skips']]), str(facts['pad']),
                     f'{w.forward / 1e9:.2f}', f'{w.upsampling / 1e9:.2f}', f'{w.weights / 1e6:.0f}',
                     f'{w.blobs / 1e6:.0f}'))
    print(cli.table(rows))
    print(f'in {cache() / "basket"}')


def chosen(names: Sequence[str]) -> list[str]:
    """The nets that a command line names; all where it names none."""
    for name in names:
        if name not in NETS:
            raise cli.BadInput(f'no net {name} in the basket: it has {", ".join(NETS)}')
    return [name for name in NETS if not names or name in names]


if __name__ == '__main__':
    sys.exit(cli.run(main))
