"""GoogLeNet (Szegedy et al., CVPR 2015), fully convolutional and as the classifier, named as in bvlc_googlenet."""
from caffe import coord_map
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import NetSpec

from nets.blocks import LEARNED, Net, Top, conv_relu, max_pool

INPUT_PAD = 100
# Outputs of a module's branches: 1x1; 3x3 after its reduction; 5x5 after its reduction; projection of the pool.
INCEPTIONS = {
    '3a': (64, 96, 128, 16, 32, 32), '3b': (128, 128, 192, 32, 96, 64),
    '4a': (192, 96, 208, 16, 48, 64), '4b': (160, 112, 224, 24, 64, 64), '4c': (128, 128, 256, 24, 64, 64),
    '4d': (112, 144, 288, 32, 64, 64), '4e': (256, 160, 320, 32, 128, 128),
    '5a': (256, 160, 320, 32, 128, 128), '5b': (384, 192, 384, 48, 128, 128),
}

# A concatenation along the channels leaves coordinates as they are; Caffe's own list of such layers lacks it.
if 'Concat' not in coord_map.PASS_THROUGH_LAYERS:
    coord_map.PASS_THROUGH_LAYERS.append('Concat')


def _conv(n: NetSpec, bottom: Top, block: str, name: str, num_output: int, kernel_size: int, stride: int = 1,
          pad: int = 0) -> Top:
    conv, relu = conv_relu(bottom, num_output, kernel_size, stride, pad)
    n[f'{block}/{name}'], n[f'{block}/relu_{name}'] = conv, relu
    return relu


def _inception(n: NetSpec, bottom: Top, block: str, ones: int, reduce3: int, threes: int, reduce5: int, fives: int,
               projected: int) -> Top:
    """Branches of 1x1, 3x3 and 5x5 convolutions and of a pool side by side, their outputs concatenated."""
    one = _conv(n, bottom, block, '1x1', ones, 1)
    three = _conv(n, _conv(n, bottom, block, '3x3_reduce', reduce3, 1), block, '3x3', threes, 3, pad=1)
    five = _conv(n, _conv(n, bottom, block, '5x5_reduce', reduce5, 1), block, '5x5', fives, 5, pad=2)
    n[f'{block}/pool'] = pool = max_pool(bottom, 3, stride=1, pad=1)
    project = _conv(n, pool, block, 'pool_proj', projected, 1)
    n[f'{block}/output'] = output = L.Concat(one, three, five, project)
    return output


def _features(n: NetSpec, input_pad: int) -> Top:
    """conv1 ... inception_5b: 1024 channels at stride 32."""
    norm = dict(local_size=5, alpha=1e-4, beta=0.75)
    top = _conv(n, n.data, 'conv1', '7x7_s2', 64, 7, stride=2, pad=input_pad)
    n['pool1/3x3_s2'] = top = max_pool(top, 3)
    n['pool1/norm1'] = top = L.LRN(top, **norm)
    top = _conv(n, top, 'conv2', '3x3_reduce', 64, 1)
    top = _conv(n, top, 'conv2', '3x3', 192, 3, pad=1)
    n['conv2/norm2'] = top = L.LRN(top, **norm)
    for block, widths in INCEPTIONS.items():
        if block in ('3a', '4a', '5a'):
            pool = f'pool{int(block[0]) - 1}/3x3_s2'
            n[pool] = top = max_pool(top, 3)
        top = _inception(n, top, f'inception_{block}', *widths)
    return top


def googlenet(n: NetSpec) -> Top:
    """Add the trunk to `n`, without the last average pooling and the two auxiliary classifiers; its last feature."""
    n['pool5/drop_7x7_s1'] = top = L.Dropout(_features(n, INPUT_PAD), dropout_ratio=0.4, in_place=True)
    return top


def classifier() -> Net:
    """bvlc_googlenet, the classifier that the trunk's weights come from: 224x224 images, 1000 classes."""
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 224, 224]))
    n['pool5/7x7_s1'] = top = L.Pooling(_features(n, 3), pool=P.Pooling.AVE, kernel_size=7, stride=1)
    n['pool5/drop_7x7_s1'] = top = L.Dropout(top, dropout_ratio=0.4, in_place=True)
    n['loss3/classifier'] = top = L.InnerProduct(top, num_output=1000, param=LEARNED)
    n.prob = L.Softmax(top)
    return n.to_proto()
