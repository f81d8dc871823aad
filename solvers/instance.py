"""Caffe nets from `NetParameter`s, and weights into them."""
import tempfile
from pathlib import Path

import cli
from surgery import fill_bilinear, read_weights, transplant


def instantiate(net_parameter, phase=None):
    """The `caffe.Net` of a `NetParameter`, in the TEST phase unless told otherwise."""
    import caffe
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'net.prototxt')
        path.write_text(str(net_parameter))
        return caffe.Net(str(path), caffe.TEST if phase is None else phase)


def load(net, path: Path):
    """Bring all weights of a trained net from a caffemodel into `net`, and return it.

    Raises
    ------
    cli.BadInput
        When the file does not fit: other shapes, or a layer that gets no weights.
    """
    report = transplant(net, read_weights(path))
    kinds = dict(zip(net._layer_names, (layer.type for layer in net.layers), strict=True))
    bare = dict.fromkeys(entry.target for entry in report.untouched)
    if strange := [name for name in bare if kinds[name] != 'Deconvolution']:
        raise cli.BadInput(f'{path} holds no weights for {", ".join(strange)}: is it of another net?')
    fill_bilinear(net, bare)
    return net
