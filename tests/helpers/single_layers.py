"""Nets of a single layer, in every shape that our nets use and those at the edges, and what passes through them."""
import tempfile

import caffe
import numpy as np

CONV = 'type: "Convolution" convolution_param { weight_filler { type: "gaussian" std: 0.1 } bias_filler { ' \
       'type: "gaussian" std: 1 } %s }'
DECONV = CONV.replace('Convolution', 'Deconvolution')
SCALE = 'type: "Scale" scale_param { bias_term: true filler { type: "gaussian" std: 1 } bias_filler { ' \
        'type: "gaussian" std: 1 } %s }'
POOL = 'type: "Pooling" pooling_param { pool: MAX %s }'

# name -> (layer, shapes of its bottoms)
CASES = {
    # Winograd: tiles cut off on both sides, more channels or outputs than a vector or block holds, several images
    'winograd 1 tile': (CONV % 'num_output: 16 kernel_size: 3 pad: 1', [(1, 16, 3, 4)]),
    'winograd odd': (CONV % 'num_output: 40 kernel_size: 3 pad: 1', [(2, 24, 37, 61)]),
    'winograd wide': (CONV % 'num_output: 33 kernel_size: 3 pad: 1', [(1, 17, 9, 403)]),
    'winograd narrow': (CONV % 'num_output: 16 kernel_size: 3 pad: 1', [(3, 64, 50, 1)]),
    'winograd no pad': (CONV % 'num_output: 16 kernel_size: 3', [(1, 16, 18, 19)]),
    'winograd pad 2': (CONV % 'num_output: 16 kernel_size: 3 pad: 2', [(1, 16, 18, 19)]),
    'winograd pad 7': (CONV % 'num_output: 16 kernel_size: 3 pad: 7', [(1, 16, 5, 6)]),
    'winograd pads': (CONV % 'num_output: 16 kernel_size: 3 pad_h: 0 pad_w: 2', [(1, 16, 12, 13)]),
    'winograd groups': (CONV % 'num_output: 64 kernel_size: 3 pad: 1 group: 2', [(2, 32, 13, 14)]),
    'winograd no bias': (CONV % 'num_output: 20 kernel_size: 3 pad: 1 bias_term: false', [(1, 16, 11, 10)]),
    'winograd deep': (CONV % 'num_output: 320 kernel_size: 3 pad: 1', [(1, 300, 16, 17)]),
    'first layer': (CONV % 'num_output: 64 kernel_size: 3 pad: 100', [(1, 3, 20, 31)]),
    'depth layer': (CONV % 'num_output: 64 kernel_size: 3 pad: 100', [(2, 4, 5, 4)]),
    'fc6': (CONV % 'num_output: 150 kernel_size: 7', [(2, 40, 19, 17)]),
    'fc6 of a crop': (CONV % 'num_output: 150 kernel_size: 7', [(2, 40, 13, 9)]),      # where few pixels are left
    'fc7': (CONV % 'num_output: 130 kernel_size: 1', [(2, 300, 9, 13)]),
    'fc7 of a crop': (CONV % 'num_output: 130 kernel_size: 1', [(2, 300, 3, 5)]),
    'score': (CONV % 'num_output: 21 kernel_size: 1', [(2, 64, 30, 31)]),
    'alexnet conv1': (CONV % 'num_output: 96 kernel_size: 11 stride: 4 pad: 100', [(1, 3, 30, 25)]),
    'alexnet conv2': (CONV % 'num_output: 32 kernel_size: 5 pad: 2 group: 2', [(2, 12, 15, 14)]),
    'dilated': (CONV % 'num_output: 24 kernel_size: 3 pad: 2 dilation: 2', [(1, 20, 15, 14)]),
    'strided': (CONV % 'num_output: 24 kernel_size: 3 stride: 2', [(2, 20, 31, 28)]),
    'depthwise': (CONV % 'num_output: 5 kernel_size: 3 pad: 1 group: 5', [(2, 5, 20, 61)]),
    'depthwise strided': (CONV % 'num_output: 5 kernel_size: 3 stride: 2 pad: 1 group: 5', [(2, 5, 17, 62)]),
    'depthwise of 5': (CONV % 'num_output: 6 kernel_size: 5 pad: 2 group: 6', [(2, 6, 9, 17)]),
    'depthwise of 5 strided': (CONV % 'num_output: 6 kernel_size: 5 stride: 2 pad: 2 group: 6', [(1, 6, 31, 33)]),
    'depthwise of 7': (CONV % 'num_output: 3 kernel_size: 7 pad: 3 group: 3', [(1, 3, 14, 31)]),
    'depthwise dilated': (CONV % 'num_output: 4 kernel_size: 3 pad: 4 dilation: 4 group: 4', [(2, 4, 15, 16)]),
    'depthwise twice': (CONV % 'num_output: 8 kernel_size: 3 pad: 1 group: 4', [(2, 4, 7, 15)]),
    'depthwise oblong': (CONV % 'num_output: 6 kernel_h: 2 kernel_w: 5 stride_h: 3 stride_w: 1 pad_h: 1 pad_w: 4 '
                         'group: 3 bias_term: false', [(2, 3, 15, 14)]),
    'depthwise pixels': (CONV % 'num_output: 19 kernel_size: 3 pad: 1 group: 19', [(3, 19, 1, 1)]),
    'depthwise narrow': (CONV % 'num_output: 19 kernel_size: 3 pad: 1 group: 19', [(1, 19, 9, 4)]),
    'depthwise wide': (CONV % 'num_output: 2 kernel_size: 3 pad: 1 group: 2', [(1, 2, 40, 1030)]),
    'depthwise of one': (CONV % 'num_output: 1 kernel_size: 5 pad: 2', [(2, 1, 21, 30)]),
    'depthwise patches': (CONV % 'num_output: 3 kernel_size: 17 stride: 8 pad: 5 group: 3', [(2, 3, 40, 61)]),
    'depthwise much padding': (CONV % 'num_output: 3 kernel_size: 3 pad: 7 stride: 2 group: 3', [(1, 3, 5, 6)]),
    'oblong': (CONV % 'num_output: 5 kernel_h: 2 kernel_w: 5 stride_h: 3 stride_w: 1 pad_h: 1 pad_w: 4',
               [(2, 7, 15, 14)]),
    'one pixel': (CONV % 'num_output: 3 kernel_size: 1', [(1, 1, 1, 1)]),
    'volume': (CONV % 'num_output: 4 kernel_size: 3 pad: 1', [(1, 3, 4, 5, 6)]),
    'two bottoms': (CONV % 'num_output: 16 kernel_size: 3 pad: 1', [(1, 16, 15, 14), (1, 16, 15, 14)]),
    'deconvolution': (DECONV % 'num_output: 6 kernel_size: 4 stride: 2', [(2, 5, 11, 12)]),
    'deconvolution of few': (DECONV % 'num_output: 6 kernel_size: 4 stride: 2', [(2, 5, 7, 8)]),
    'deconvolution pad': (DECONV % 'num_output: 6 kernel_size: 5 stride: 3 pad: 2 bias_term: false', [(1, 6, 13, 9)]),
    'deconvolution planes': (DECONV % 'num_output: 6 kernel_size: 4 stride: 2 pad: 1 group: 6', [(2, 6, 7, 8)]),
    'deconvolution of 3': (DECONV % 'num_output: 5 kernel_size: 3 stride: 2 pad: 1 group: 5', [(1, 5, 9, 33)]),
    'deconvolution of 8': (DECONV % 'num_output: 3 kernel_size: 8 stride: 4 pad: 2 group: 3', [(2, 3, 5, 17)]),
    'deconvolution of 16': (DECONV % 'num_output: 4 kernel_size: 16 stride: 8 pad: 3 group: 4', [(2, 4, 6, 7)]),
    'deconvolution of 63': (DECONV % 'num_output: 2 kernel_size: 63 stride: 32 pad: 5 group: 2', [(1, 2, 3, 4)]),
    'deconvolution dilated': (DECONV % 'num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 dilation: 2 '
                              'group: 4', [(2, 4, 6, 7)]),
    'deconvolution apart': (DECONV % 'num_output: 4 kernel_size: 2 stride: 3 group: 4', [(1, 4, 5, 3)]),
    'deconvolution groups': (DECONV % 'num_output: 6 kernel_size: 4 stride: 2 group: 2', [(1, 4, 11, 12)]),
    'relu': ('type: "ReLU"', [(2, 3, 70, 80)]),
    'leaky relu': ('type: "ReLU" relu_param { negative_slope: 0.1 }', [(1, 3, 5, 7)]),
    'pool': (POOL % 'kernel_size: 2 stride: 2', [(2, 5, 38, 70)]),
    'pool long': (POOL % 'kernel_size: 2 stride: 2', [(2, 3, 7, 345)]),
    'pool long, down': (POOL % 'kernel_size: 2 stride: 2 round_mode: FLOOR', [(2, 3, 7, 345)]),
    'pool odd': (POOL % 'kernel_size: 2 stride: 2', [(2, 5, 37, 71)]),
    'pool row': (POOL % 'kernel_size: 2 stride: 2', [(1, 2, 1, 65)]),
    'pool overlap': (POOL % 'kernel_size: 3 stride: 2', [(2, 5, 18, 21)]),
    'pool pad': (POOL % 'kernel_size: 3 stride: 2 pad: 1', [(2, 5, 18, 21)]),
    'pool all': (POOL % 'global_pooling: true', [(2, 5, 8, 9)]),
    'pool average': ('type: "Pooling" pooling_param { pool: AVE kernel_size: 2 stride: 2 }', [(2, 5, 8, 9)]),
    'crop': ('type: "Crop" crop_param { axis: 2 offset: 3 offset: 5 }', [(2, 5, 20, 30), (2, 5, 11, 12)]),
    'crop channels': ('type: "Crop" crop_param { axis: 1 offset: 2 offset: 3 offset: 5 }',
                      [(2, 5, 20, 30), (2, 2, 11, 12)]),
    'crop plane': ('type: "Crop" crop_param { axis: 1 offset: 2 }', [(20, 30), (20, 12)]),
    'sum': ('type: "Eltwise"', [(2, 5, 40, 50)] * 2),
    'weighted sum': ('type: "Eltwise" eltwise_param { coeff: 0.5 coeff: -2 coeff: 1 }', [(2, 5, 4, 5)] * 3),
    'product': ('type: "Eltwise" eltwise_param { operation: PROD }', [(2, 5, 4, 5)] * 2),
    'softmax': ('type: "Softmax"', [(2, 21, 37, 13)]),
    'softmax columns': ('type: "Softmax" softmax_param { axis: -1 }', [(2, 3, 5)]),
    'leaky relu per channel': ('type: "PReLU" prelu_param { filler { type: "gaussian" std: 1 } }', [(3, 5, 7, 9)]),
    'leaky relu of rows': ('type: "PReLU"', [(4, 19)]),
    'leaky relu shared': ('type: "PReLU" prelu_param { channel_shared: true }', [(2, 5, 40, 41)]),
    'clip': ('type: "Clip" clip_param { min: -0.5 max: 0.75 }', [(2, 5, 33, 39)]),
    'sigmoid': ('type: "Sigmoid"', [(2, 5, 33, 39)]),
    'swish': ('type: "Swish" swish_param { beta: 1.5 }', [(2, 5, 33, 39)]),
    **{f'power {exponent}': (f'type: "Power" power_param {{ power: {exponent} scale: {scale} shift: 10 }}',
                             [(2, 5, 33, 39)])
       for exponent, scale in ((1, -0.5), (2, 2), (0.5, 1), (-1, 1), (-0.75, 0.5), (3, 0.1))},
    'power without shift': ('type: "Power" power_param { power: 3 scale: 2 }', [(2, 5, 3, 9)]),
    'power constant': ('type: "Power" power_param { scale: 0 shift: 2 power: 2 }', [(2, 5, 3, 9)]),
    'dropout': ('type: "Dropout" dropout_param { dropout_ratio: 0.3 }', [(2, 5, 33, 39)]),
    'batch norm': ('type: "BatchNorm"', [(3, 5, 33, 39)]),
    'batch norm small planes': ('type: "BatchNorm" batch_norm_param { eps: 0.1 moving_average_fraction: 0.5 }',
                                [(4, 21, 3, 3)]),
    'batch norm of rows': ('type: "BatchNorm"', [(17, 21)]),
    'batch norm of one': ('type: "BatchNorm" batch_norm_param { eps: 0.1 }', [(1, 21, 1, 1)]),
    'batch norm known': ('type: "BatchNorm" batch_norm_param { use_global_stats: true }', [(3, 5, 33, 39)]),
    'scale': (SCALE % '', [(3, 5, 33, 39)]),
    'scale one image': (SCALE % '', [(1, 20, 3, 5)]),
    'scale without bias': (SCALE.replace('bias_term: true', '') % '', [(3, 5, 33, 39)]),
    'scale of rows': (SCALE % '', [(70, 37)]),
    'scale planes': (SCALE % 'axis: 1 num_axes: -1', [(3, 5, 4, 7)]),
    'scale number': (SCALE % 'num_axes: 0', [(2, 3, 40, 50)]),
    'scale everything': (SCALE % 'axis: 0 num_axes: -1', [(2, 3, 4, 5)]),
    'scale last axis': (SCALE % 'axis: -1', [(2, 3, 140, 5)]),
    'excitation': ('type: "Scale" scale_param { axis: 0 }', [(2, 7, 13, 15), (2, 7)]),
    'excitation with bias': ('type: "Scale" scale_param { axis: 0 bias_term: true }', [(2, 7, 13, 15), (2, 7)]),
    'bias': ('type: "Bias" bias_param { filler { type: "gaussian" std: 1 } }', [(2, 7, 13, 15)]),
    'bias of rows': ('type: "Bias" bias_param { axis: 0 num_axes: -1 }', [(2, 7)]),
    'bias number': ('type: "Bias" bias_param { num_axes: 0 }', [(2, 7, 3, 2)]),
    'bias given': ('type: "Bias" bias_param { axis: 0 }', [(2, 7, 13, 15), (2, 7)]),
    'lrn': ('type: "LRN" lrn_param { local_size: 5 alpha: 0.5 beta: 0.75 }', [(2, 13, 17, 29)]),
    'lrn wide': ('type: "LRN" lrn_param { local_size: 11 alpha: 2 beta: 0.6 k: 2 }', [(2, 7, 3, 5)]),
    'lrn root': ('type: "LRN" lrn_param { local_size: 3 alpha: 2 beta: 0.5 k: 0.1 }', [(1, 2, 3, 5)]),
    'lrn of one': ('type: "LRN" lrn_param { local_size: 1 alpha: 2 beta: 1 }', [(1, 3, 9, 15)]),
    'lrn within': ('type: "LRN" lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }', [(1, 3, 9, 15)]),
    'pool stride 1': (POOL % 'kernel_size: 3 stride: 1 pad: 1', [(2, 5, 18, 21)]),
    'pool apart': (POOL % 'kernel_size: 2 stride: 3', [(2, 5, 19, 22)]),
    'pool oblong': (POOL % 'kernel_h: 2 kernel_w: 5 stride_h: 3 stride_w: 4 pad_h: 1 pad_w: 2', [(2, 5, 19, 50)]),
    'pool down': (POOL % 'kernel_size: 2 stride: 2 round_mode: FLOOR', [(2, 5, 19, 51)]),
    'pool narrow': (POOL % 'kernel_size: 3 stride: 2', [(2, 5, 30, 3)]),
    **{f'average {name}': (f'type: "Pooling" pooling_param {{ pool: AVE {options} }}', shapes)
       for name, options, shapes in (
        ('overlap', 'kernel_size: 3 stride: 2', [(2, 5, 18, 21)]),
        ('stride 1', 'kernel_size: 3 stride: 1 pad: 1', [(2, 5, 18, 51)]),
        ('pad', 'kernel_size: 5 stride: 3 pad: 2', [(2, 5, 18, 21)]),
        ('apart', 'kernel_size: 2 stride: 3', [(2, 5, 19, 22)]),
        ('oblong', 'kernel_h: 2 kernel_w: 5 stride_h: 3 stride_w: 4 pad_h: 1 pad_w: 2', [(2, 5, 19, 50)]),
        ('large', 'kernel_size: 7 stride: 1', [(2, 30, 7, 7)]),
        ('all', 'global_pooling: true', [(2, 5, 33, 39)]))},
    'concat': ('type: "Concat"', [(2, 3, 15, 31), (2, 1, 15, 31), (2, 4, 15, 31)]),
    'concat columns': ('type: "Concat" concat_param { axis: 3 }', [(2, 3, 15, 31), (2, 3, 15, 1)]),
    'concat images': ('type: "Concat" concat_param { axis: 0 }', [(2, 3, 50, 61), (3, 3, 50, 61)]),
    'maximum': ('type: "Eltwise" eltwise_param { operation: MAX }', [(2, 5, 40, 50)] * 2),
    'maximum of three': ('type: "Eltwise" eltwise_param { operation: MAX }', [(2, 5, 4, 5)] * 3),
    'product of three': ('type: "Eltwise" eltwise_param { operation: PROD }', [(2, 5, 40, 50)] * 3),
    'product, divided': ('type: "Eltwise" eltwise_param { operation: PROD stable_prod_grad: false }',
                         [(2, 5, 4, 5)] * 3),
    'sum of four': ('type: "Eltwise"', [(2, 5, 40, 51)] * 4),
    'difference': ('type: "Eltwise" eltwise_param { coeff: 1 coeff: -1 }', [(2, 5, 4, 5)] * 2),
    **{f'inner product {name}': (f'type: "InnerProduct" inner_product_param {{ num_output: 37 {options} weight_filler '
                                 '{ type: "gaussian" std: 0.1 } bias_filler { type: "gaussian" std: 1 } }', [shape])
       for name, options, shape in (('one', '', (1, 30, 7, 7)), ('some', '', (3, 70)), ('many', '', (50, 70)),
                                    ('unbiased', 'bias_term: false', (2, 1200)), ('axis', 'axis: 2', (1, 3, 50)),
                                    ('transposed', 'transpose: true', (2, 70)))},
}


def make(layer, shapes, phase='TRAIN'):
    """A net of one layer over inputs of the given shapes, with random weights from a fixed seed."""
    caffe.set_random_seed(7)
    return net_of(text_of(layer, shapes), phase)


def text_of(layer, shapes):
    """The prototxt of that net."""
    inputs = ''.join(f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
                     f'{" ".join(f"dim: {d}" for d in shape)} }} }} }}\n' for i, shape in enumerate(shapes))
    bottoms = ' '.join(f'bottom: "x{i}"' for i in range(len(shapes)))
    tops = len(shapes) if 'Convolution' in layer or 'Deconvolution' in layer else 1
    return f'force_backward: true\n{inputs}layer {{ name: "layer" {bottoms} ' \
           f'{" ".join(f"""top: "y{i}" """ for i in range(tops))} {layer} }}'


def net_of(text, phase='TRAIN'):
    """The net of a prototxt's text."""
    with tempfile.NamedTemporaryFile('w', suffix='.prototxt') as file:
        file.write(text)
        file.flush()
        return caffe.Net(file.name, getattr(caffe, phase))


def pass_through(net, seed=0):
    """Forward and backward with random numbers; every array that comes out."""
    rng = np.random.default_rng(seed)
    caffe.set_random_seed(seed)     # what is dropped
    bottoms = [name for name in net.blobs if name.startswith('x')]
    tops = [name for name in net.blobs if name.startswith('y')]
    for name in bottoms:
        net.blobs[name].data[...] = rng.standard_normal(net.blobs[name].data.shape)
    net.forward()
    for name in tops:
        net.blobs[name].diff[...] = rng.standard_normal(net.blobs[name].diff.shape)
    outputs = {name: net.blobs[name].data.copy() for name in tops}
    for param in net.params.get('layer', []):
        param.diff[...] = 1  # gradients are added to what is there
    net.backward()
    outputs |= {f'd{name}': net.blobs[name].diff.copy() for name in bottoms}
    return outputs | {f'dw{i}': param.diff.copy() for i, param in enumerate(net.params.get('layer', []))}


def differ(ours, theirs):
    """Relative difference in the L2 norm."""
    return np.linalg.norm((ours - theirs).astype(np.float64)) / max(np.linalg.norm(theirs.astype(np.float64)), 1e-30)


def same(ours, theirs, tolerance=5e-6):
    """Assert that arrays, by name, differ by less than the tolerance, each relative in the L2 norm."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.shape == theirs[name].shape, name
        assert differ(value, theirs[name]) < tolerance, f'{name}: {differ(value, theirs[name])}'
