"""Deploy nets unlike the project's own, as their authors leave them, small enough to run in moments."""
import numpy as np

from surgery import write_weights
from tests.helpers.surgery_nets import DATA, conv, layer, pool, relu

ANY = DATA % (3, 64, 64)


def deconv(name, bottom, num_output, **p):
    return layer(name, 'Deconvolution', bottom, convolution_param={'num_output': num_output, **p})


def unet(classes=4, end=''):
    """Two levels of pooling, skips by Concat: heights and widths are multiples of 4."""
    return (ANY + conv('a', 'data', num_output=6, kernel_size=3, pad=1) + relu('ra', 'a')
            + pool('pa', 'a', kernel_size=2, stride=2)
            + conv('b', 'pa', num_output=8, kernel_size=3, pad=1) + relu('rb', 'b')
            + pool('pb', 'b', kernel_size=2, stride=2)
            + conv('c', 'pb', num_output=8, kernel_size=3, pad=2, dilation=2) + relu('rc', 'c')
            + deconv('uc', 'c', 6, kernel_size=2, stride=2) + layer('cat1', 'Concat', ['uc', 'b'])
            + conv('d', 'cat1', num_output=6, kernel_size=3, pad=1) + relu('rd', 'd')
            + deconv('ud', 'd', 6, kernel_size=2, stride=2) + layer('cat2', 'Concat', ['ud', 'a'])
            + conv('score', 'cat2', num_output=classes, kernel_size=1) + end)


def dilated(classes=4):
    """Stride 1 throughout, windows that grow: no size is left out."""
    text, bottom = ANY, 'data'
    for i, dilation in enumerate((1, 2, 4)):
        text += conv(f'c{i}', bottom, num_output=6, kernel_size=3, pad=dilation, dilation=dilation)
        text += relu(f'r{i}', f'c{i}')
        bottom = f'c{i}'
    return text + conv('score', bottom, num_output=classes, kernel_size=1)


def coarse(classes=4):
    """A score every fourth pixel, and no upsampling."""
    return (ANY + conv('a', 'data', num_output=6, kernel_size=3, pad=1, stride=2) + relu('ra', 'a')
            + conv('b', 'a', num_output=8, kernel_size=3, pad=1, stride=2) + relu('rb', 'b')
            + conv('score', 'b', num_output=classes, kernel_size=1))


def write(folder, text, seed=0, name='deploy.prototxt'):
    """Write a prototxt and random weights of ordinary size; both paths and the caffe.Net."""
    import caffe

    from tests.helpers.surgery_nets import randomise
    folder.mkdir(parents=True, exist_ok=True)
    prototxt, weights = folder / name, folder / 'weights.caffemodel'
    prototxt.write_text(text)
    net = caffe.Net(str(prototxt), caffe.TEST)
    randomise(net, seed)
    write_weights(weights, {layer: [blob.data.copy() for blob in blobs] for layer, blobs in net.params.items()})
    return prototxt, weights, net


def forward(net, blob, image):
    """Scores K x H x W of an input C x H x W by Caffe itself."""
    net.blobs['data'].reshape(1, *image.shape)
    net.blobs['data'].data[0] = image
    net.forward()
    return np.array(net.blobs[blob].data[0])
