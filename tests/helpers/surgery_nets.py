"""Prototxts of small classifiers with the shapes of well-known ones."""
import numpy as np

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: %d dim: %d dim: %d } } }\n'


def conv(name, bottom, top=None, **p):
    return layer(name, 'Convolution', bottom, top, convolution_param=p)


def layer(name, kind, bottom, top=None, extra='', **params):
    bottoms = ''.join(f' bottom: "{b}"' for b in ([bottom] if isinstance(bottom, str) else bottom))
    tops = ''.join(f' top: "{t}"' for t in ([top or name] if isinstance(top, str | None) else top))
    fields = ''.join(f' {message} {{ {" ".join(f"{k}: {v}" for k, v in values.items())} }}'
                     for message, values in params.items())
    return f'layer {{ name: "{name}" type: "{kind}"{bottoms}{tops}{fields} {extra} }}\n'


def ip(name, bottom, num_output, extra='', **p):
    return layer(name, 'InnerProduct', bottom, extra=extra, inner_product_param={'num_output': num_output, **p})


def relu(name, blob):
    return layer(name, 'ReLU', blob, blob)


def pool(name, bottom, **p):
    return layer(name, 'Pooling', bottom, pooling_param=p)


def randomise(net, seed=0):
    """Parameters of ordinary size, by Caffe layer type."""
    random = np.random.default_rng(seed)
    kinds = dict(zip(net._layer_names, (x.type for x in net.layers), strict=True))
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            shape = blob.data.shape
            if kinds[name] == 'BatchNorm':
                blob.data[...] = (random.normal(size=shape), random.uniform(0.5, 2, shape), 3.0)[i]
            elif len(shape) > 1:
                blob.data[...] = random.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
            else:
                blob.data[...] = random.uniform(0.2, 1, shape)


LENET = (DATA % (1, 28, 28) + conv('conv1', 'data', num_output=4, kernel_size=5)
         + pool('pool1', 'conv1', kernel_size=2, stride=2) + conv('conv2', 'pool1', num_output=6, kernel_size=5)
         + pool('pool2', 'conv2', kernel_size=2, stride=2) + ip('ip1', 'pool2', 8) + relu('relu1', 'ip1')
         + ip('ip2', 'ip1', 5) + layer('prob', 'Softmax', 'ip2'))


def vgg16(width, classes=10):
    text, bottom = DATA % (3, 224, 224), 'data'
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, count + 1):
            name = f'conv{block}_{i}'
            text += conv(name, bottom, num_output=width * min(2 ** (block - 1), 8), kernel_size=3, pad=1)
            text += relu(f'relu{block}_{i}', name)
            bottom = name
        text += pool(f'pool{block}', bottom, kernel_size=2, stride=2)
        bottom = f'pool{block}'
    for i, n in ((6, 32), (7, 32)):
        text += ip(f'fc{i}', bottom, n) + relu(f'relu{i}', f'fc{i}') + layer(f'drop{i}', 'Dropout', f'fc{i}', f'fc{i}')
        bottom = f'fc{i}'
    return text + ip('fc8', bottom, classes) + layer('prob', 'Softmax', 'fc8')


def caffenet(width=8):
    def block(i, bottom, n, **p):
        return conv(f'conv{i}', bottom, num_output=n, **p) + relu(f'relu{i}', f'conv{i}')
    text = DATA % (3, 227, 227) + block(1, 'data', width, kernel_size=11, stride=4)
    text += pool('pool1', 'conv1', kernel_size=3, stride=2) + layer('norm1', 'LRN', 'pool1')
    text += block(2, 'norm1', 2 * width, kernel_size=5, pad=2, group=2)
    text += pool('pool2', 'conv2', kernel_size=3, stride=2)
    text += layer('norm2', 'LRN', 'pool2') + block(3, 'norm2', 2 * width, kernel_size=3, pad=1)
    text += block(4, 'conv3', 2 * width, kernel_size=3, pad=1, group=2)
    text += block(5, 'conv4', 2 * width, kernel_size=3, pad=1, group=2)
    text += pool('pool5', 'conv5', kernel_size=3, stride=2)
    return text + ip('fc6', 'pool5', 32) + relu('relu6', 'fc6') + ip('fc7', 'fc6', 32) + relu('relu7', 'fc7') + ip(
        'fc8', 'fc7', 10) + layer('prob', 'Softmax', 'fc8')


def googlenet(width=4):
    def inception(name, bottom):
        w, p = width, f'inception_{name}/'
        return (conv(p + '1x1', bottom, num_output=w, kernel_size=1) + relu(p + 'relu', p + '1x1')
                + conv(p + '3x3_reduce', bottom, num_output=w, kernel_size=1)
                + conv(p + '3x3', p + '3x3_reduce', num_output=2 * w, kernel_size=3, pad=1)
                + conv(p + '5x5', bottom, num_output=w, kernel_size=5, pad=2)
                + pool(p + 'pool', bottom, kernel_size=3, stride=1, pad=1)
                + conv(p + 'pool_proj', p + 'pool', num_output=w, kernel_size=1)
                + layer(p + 'output', 'Concat', [p + '1x1', p + '3x3', p + '5x5', p + 'pool_proj']))
    text = DATA % (3, 224, 224) + conv('conv1', 'data', num_output=width, kernel_size=7, stride=2, pad=3)
    text += relu('relu1', 'conv1') + pool('pool1', 'conv1', kernel_size=3, stride=2) + layer('norm1', 'LRN', 'pool1')
    text += conv('conv2', 'norm1', num_output=width, kernel_size=3, pad=1)
    text += pool('pool2', 'conv2', kernel_size=3, stride=2)
    text += inception('3a', 'pool2') + pool('pool3', 'inception_3a/output', kernel_size=3, stride=2)
    text += inception('4a', 'pool3') + pool('aux_pool', 'inception_4a/output', pool='AVE', kernel_size=5, stride=3)
    text += ip('aux', 'aux_pool', 7) + pool('pool4', 'inception_4a/output', kernel_size=3, stride=2)
    text += inception('5a', 'pool4') + pool('pool5', 'inception_5a/output', pool='AVE', kernel_size=7, stride=1)
    return text + layer('drop', 'Dropout', 'pool5', 'pool5') + ip('fc', 'pool5', 10) + layer('prob', 'Softmax', 'fc')


def resnet(width=4):
    def unit(name, bottom, n, last=True, **p):
        return (conv(name, bottom, num_output=n, bias_term='false', **p) + layer(f'bn_{name}', 'BatchNorm', name, name)
                + layer(f'scale_{name}', 'Scale', name, name, scale_param={'bias_term': 'true'})
                + (relu(f'relu_{name}', name) if last else ''))
    text = DATA % (3, 224, 224) + unit('conv1', 'data', width, kernel_size=7, stride=2, pad=3)
    text, bottom = text + pool('pool1', 'conv1', kernel_size=3, stride=2), 'pool1'
    for i in range(2, 6):
        for tag in 'ab':
            name, n, s = f'res{i}{tag}', width * 2 ** (i - 2), 2 if tag == 'a' and i > 2 else 1
            short = bottom
            if tag == 'a':
                short = f'{name}_branch1'
                text += unit(short, bottom, n, last=False, kernel_size=1, stride=s)
            text += unit(f'{name}_branch2a', bottom, n, kernel_size=3, pad=1, stride=s)
            text += unit(f'{name}_branch2b', f'{name}_branch2a', n, last=False, kernel_size=3, pad=1)
            text += layer(name, 'Eltwise', [short, f'{name}_branch2b']) + relu(f'{name}_relu', name)
            bottom = name
    return text + pool('pool5', bottom, pool='AVE', global_pooling='true') + ip('fc', 'pool5', 10) + layer(
        'prob', 'Softmax', 'fc')


WHOLE = {'vgg16': vgg16(4), 'caffenet': caffenet(), 'googlenet': googlenet(), 'resnet': resnet()}
