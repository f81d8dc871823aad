"""The pieces the nets are made of. Each takes `caffe.NetSpec` tops and gives new ones; nothing else happens here.

Names follow the paper (Long, Shelhamer, Darrell; CVPR 2015, PAMI 2017): a *trunk* is a classifier made fully
convolutional, a *head* scores its last feature, fuses finer scores through *skips* and upsamples them to the pixels.
"""
from collections.abc import Mapping, Sequence
from typing import Any

from caffe import layers as L
from caffe import params as P
from caffe.coord_map import crop as crop  # for the nets: aligns two tops by all the layers between them
from caffe.net_spec import NetSpec

from data_layers import VOID, param_str

Top = Any      # of caffe.net_spec: a blob in the making
Net = Any      # caffe_pb2.NetParameter

# Weights learn at the base rate with decay, biases at twice the rate without (PAMI 2017, section 4.3).
LEARNED = [dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)]
FIXED = [dict(lr_mult=0)]
LEARNED_UPSAMPLING = [dict(lr_mult=1)]
CHANNELS = {'depth': 1}  # of an input; 3 for all others


def feed(dataset: str, split: str, images: Mapping[str, str], labels: Sequence[str] = ('label',),
         channels: int | None = None, **options: Any) -> NetSpec:
    """Begin a net with the images and labels of one split of a data set; `split='deploy'` has bare inputs instead.

    Parameters
    ----------
    dataset, split : str
        As for `data_layers.open_dataset`.
    images : mapping of str to str
        Blob of the net -> top of the data set that it holds, such as `{'data': 'color'}`.
    labels : sequence of str
        Label blobs, called as in the data set.
    channels : int, optional
        Of every image, where it is not what the data sets of the papers have.
    options
        For the data layer, see `data_layers.param_str`.

    Returns
    -------
    NetSpec
        Images 1 x C x H x W (500 x 500 in a deploy net), labels 1 x 1 x H x W.
    """
    n = NetSpec()
    if split == 'deploy':
        for name, top in images.items():
            n[name] = L.Input(shape=dict(dim=[1, channels or CHANNELS.get(top, 3), 500, 500]))
        return n
    names = (*images, *labels)
    source = param_str.write(dataset=dataset, split=split, tops=(*images.values(), *labels), seed=1337, **options)
    tops = L.Python(module=param_str.MODULE, layer=param_str.DATA_LAYER, param_str=source, ntop=len(names))
    for name, top in zip(names, tops, strict=True):
        n[name] = top
    return n


def conv_relu(bottom: Top, num_output: int, kernel_size: int = 3, stride: int = 1, pad: int = 1,
              param: Sequence[Mapping[str, float]] | None = LEARNED, **options: Any) -> tuple[Top, Top]:
    """A convolution and the ReLU that overwrites its output.

    Parameters
    ----------
    bottom : Top
    num_output : int
        Channels of the output.
    kernel_size, stride, pad : int
        In pixels of the bottom, along both axes.
    param : sequence of mapping, optional
        Learning rate and decay of weights and bias; None states none.
    options
        More fields of Caffe's convolution.

    Returns
    -------
    (Top, Top)
    """
    conv = L.Convolution(bottom, num_output=num_output, pad=pad, kernel_size=kernel_size, stride=stride,
                         **(dict(param=param) if param else {}), **options)
    return conv, L.ReLU(conv, in_place=True)


def max_pool(bottom: Top, kernel_size: int = 2, stride: int = 2, **options: Any) -> Top:
    """Max pooling; Caffe rounds the pooled size up.

    Parameters
    ----------
    bottom : Top
    kernel_size, stride : int
        In pixels of the bottom, along both axes.
    options
        More fields of Caffe's pooling.

    Returns
    -------
    Top
    """
    return L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=kernel_size, stride=stride, **options)


def dropout(bottom: Top) -> Top:
    """Dropout of half of the activations, in place."""
    return L.Dropout(bottom, dropout_ratio=0.5, in_place=True)


def inner_products(n: NetSpec, top: Top) -> Net:
    """End a classifier with fc6, fc7, fc8 and prob, as VGG-16 and CaffeNet do for ILSVRC.

    Parameters
    ----------
    n : NetSpec
        Gets the layers.
    top : Top
        The last feature map.

    Returns
    -------
    caffe_pb2.NetParameter
        The finished net.
    """
    for fc in '67':
        n[f'fc{fc}'] = L.InnerProduct(top, num_output=4096)
        n[f'relu{fc}'] = L.ReLU(n[f'fc{fc}'], in_place=True)
        n[f'drop{fc}'] = top = dropout(n[f'relu{fc}'])
    n.fc8 = L.InnerProduct(top, num_output=1000)
    n.prob = L.Softmax(n.fc8)
    return n.to_proto()


def score(bottom: Top, classes: int) -> Top:
    """Class scores by a 1x1 convolution. It has no filler: scores start at zero, so every class starts equal.

    Parameters
    ----------
    bottom : Top
        A feature map.
    classes : int
        Channels of the score.

    Returns
    -------
    Top
        1 x `classes` x H x W, at the size of `bottom`.
    """
    return L.Convolution(bottom, num_output=classes, kernel_size=1, pad=0, param=LEARNED)


def upsample(bottom: Top, factor: int, kernel_size: int | None = None, learned: bool = False) -> Top:
    """Upsample scores by a deconvolution that `surgery.fill_bilinear` fills.

    Parameters
    ----------
    bottom : Top
        1 x C x H x W scores.
    factor : int
        The stride: by how much height and width grow.
    kernel_size : int, optional
        2 `factor` by default.
    learned : bool
        Whether training changes its kernels, which it leaves alone by default.
    """
    return L.Deconvolution(bottom, param=LEARNED_UPSAMPLING if learned else FIXED, convolution_param=dict(
        num_output=_classes(bottom), kernel_size=kernel_size or 2 * factor, stride=factor, bias_term=False))


def _classes(top: Top) -> int:
    """Channels of a score: those of the nearest layer below that states them."""
    params = top.fn.params
    return int(params.get('num_output') or params.get('convolution_param', {}).get('num_output')
            or _classes(top.fn.inputs[0]))


def skip(n: NetSpec, pool: str, onto: str, task: str = '', scale: float | None = None) -> None:
    """Add the scores of a finer layer to upsampled coarse ones: score, crop, sum (PAMI 2017, section 4.2).

    Adds `score_<pool>`, `score_<pool>c` and `fuse_<pool>`, each with the suffix `task`.

    Parameters
    ----------
    n : NetSpec
    pool : str
        The finer layer.
    onto : str
        The upsampled coarse scores, without the suffix.
    task : str
        '' or '_sem', '_geo'.
    scale : float, optional
        Multiplies the finer layer's activations first, which lets all skips train at once.
    """
    bottom = n[pool]
    if scale is not None:
        n[f'scale_{pool}{task}'] = bottom = L.Scale(bottom, filler=dict(type='constant', value=scale), param=FIXED)
    coarse = n[onto + task]
    n[f'score_{pool}{task}'] = fine = score(bottom, _classes(coarse))
    n[f'score_{pool}{task}c'] = fine = crop(fine, coarse)
    n[f'fuse_{pool}{task}'] = L.Eltwise(coarse, fine, operation=P.Eltwise.SUM)


def mean(one: Top, other: Top) -> Top:
    """The average of two tops."""
    return L.Eltwise(one, other, operation=P.Eltwise.SUM, coeff=[0.5, 0.5])


def loss(n: NetSpec, scores: str = 'score', label: str = 'label', name: str = 'loss', normalize: bool = False) -> None:
    """Add the softmax loss; a deploy net, without label, gets none.

    Parameters
    ----------
    n : NetSpec
    scores, label : str
        Blobs: 1 x C x H x W and 1 x 1 x H x W.
    name : str
        Of the layer.
    normalize : bool
        Mean over the labelled pixels instead of their sum.
    """
    if label in n.tops:
        n[name] = L.SoftmaxWithLoss(n[scores], n[label], loss_param=dict(normalize=normalize, ignore_label=VOID))
