"""Put a segmentation head on a fully convolutional classifier: scores, skips, upsampling (PAMI 2017, section 4).

The trunk is the dense net without its last classifying layer. A 1x1 convolution scores its last feature; scores of
finer layers are added on the way up; and a bilinear Deconvolution brings them back to the pixels, where they are
cropped to the image. Where a crop begins follows from the coordinates of the two blobs. The first convolution is padded
just so much that the upsampled scores cover an image of any size.
"""
from .alignment import Upsampling
from .data import Data, open_data, phases
from .folder import Segmenter, add_head, build
from .padding import smallest_pad
from .segmenter import segmenter
from .start import adapt_input, balance
from .trunk import Plan, plan

__all__ = ['Data', 'Plan', 'Segmenter', 'Upsampling', 'adapt_input', 'add_head', 'balance', 'build', 'open_data',
           'phases', 'plan', 'segmenter', 'smallest_pad']
