"""VGG-16 (Simonyan and Zisserman, ICLR 2015), fully convolutional and, for surgery, as the classifier it was."""
from caffe import layers as L
from caffe.net_spec import NetSpec

from nets.blocks import Net, Top, conv_relu, dropout, inner_products, max_pool

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
INPUT_PAD = 100  # so that even a tiny image gives the 7x7 of fc6 something to look at, and the crop has room


def stages(n: NetSpec, bottom: str = 'data', input_pad: int = INPUT_PAD, suffix: str = '',
           first_conv: str = 'conv1_1') -> Top:
    """Add conv1_1 ... pool5 to `n`: five stages of 3x3 convolutions, each halved by its pool.

    Parameters
    ----------
    n : NetSpec
    bottom : str
        The image blob.
    input_pad : int
        Zeros around the image, in pixels a side.
    suffix, first_conv : str
        As of `vgg16`.

    Returns
    -------
    Top
        pool5: 512 channels at stride 32.
    """
    top = n[bottom]
    for stage, (channels, depth) in enumerate(STAGES, 1):
        for i in range(1, depth + 1):
            first = (stage, i) == (1, 1)
            name = first_conv if first else f'conv{stage}_{i}'
            conv, relu = conv_relu(top, channels, pad=input_pad if first else 1)
            n[name + suffix], n[f'relu{stage}_{i}{suffix}'] = conv, relu
            top = relu
        n[f'pool{stage}{suffix}'] = top = max_pool(top)
    return top


def vgg16(n: NetSpec, bottom: str = 'data', suffix: str = '', first_conv: str = 'conv1_1') -> Top:
    """Add the trunk to `n`.

    Parameters
    ----------
    n : NetSpec
    bottom : str
        The image blob.
    suffix : str
        Added to the name of every layer.
    first_conv : str
        Name of the first convolution, where it is not the classifier's.

    Returns
    -------
    Top
        Its last feature: 4096 channels at stride 32.
    """
    top = stages(n, bottom, INPUT_PAD, suffix, first_conv)
    for fc, kernel_size in (('6', 7), ('7', 1)):  # once fully connected, now convolutions
        conv, relu = conv_relu(top, 4096, kernel_size=kernel_size, pad=0)
        n[f'fc{fc}{suffix}'], n[f'relu{fc}{suffix}'] = conv, relu
        n[f'drop{fc}{suffix}'] = top = dropout(relu)
    return top


def classifier() -> Net:
    """The ILSVRC classifier that the trunk's weights come from: 224x224 images, 1000 classes, no padding of 100."""
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 224, 224]))
    return inner_products(n, stages(n, input_pad=1))
