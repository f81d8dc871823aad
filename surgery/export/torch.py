"""A Caffe net as torch: `net.py`, a page that can be read, and `weights.safetensors`.

The page holds a module with a line for each layer and needs torch alone. Whatever comes from a file gets into it as a
number, as an identifier made of a name, or as a literal of Python.
"""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import files
from cli import BadInput

from ..caffemodel import Weights, by
from ..graph import unread
from ..layers import Shape
from ..preparation import GREY, Preparation
from ..safetensors import write_safetensors
from ..shapes import Shapes, infer
from ..untrusted import sensible, shortened
from .torch_layers import RULES, Item, Lines
from .torch_names import python_names
from .torch_page import CHANNELS, HEAD, HELPERS, LOADING, PREPARING

PAGE, WEIGHTS = 'net.py', 'weights.safetensors'
LARGER = 64             # pixels; a multiple of most nets' strides


def write_torch(net: Any, weights: Weights, folder: Path, preparation: Preparation | None = None,
                classes: Sequence[str] = ()) -> list[str]:
    """Write a net as `net.py` and `weights.safetensors`.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Of the TEST phase, its inputs Input layers: `prepare(...).net`.
    weights : dict of str to list of ndarray
        Parameters of all its layers.
    folder : Path
        Gets the two files.
    preparation : Preparation, optional
        How a photograph becomes the net's input; the page then has a function that does it.
    classes : sequence of str
        Names in the order of the scores' channels; by default those of `preparation`.

    Returns
    -------
    list of str
        The blobs that the module gives, in their order.

    Raises
    ------
    BadInput
        A layer has no equivalent in torch, or no parameters in `weights`; names it.
    """
    text, tensors = describe(net, weights, preparation, classes)
    files.write(folder / PAGE, text)
    write_safetensors(folder / WEIGHTS, tensors)
    return outputs_of(net)


def describe(net: Any, weights: Weights, preparation: Preparation | None = None, classes: Sequence[str] = (),
             more: Sequence[str] = ()) -> tuple[str, dict[str, np.ndarray]]:
    """The page's text, and the tensors that its module loads.

    Parameters
    ----------
    net, weights, preparation, classes
        As of `write_torch`.
    more : sequence of str
        Blobs that the module gives after its outputs.

    Returns
    -------
    (str, dict of str to ndarray)

    Raises
    ------
    BadInput
        As of `write_torch`.
    """
    shapes = infer(net)
    modules = python_names(layer.name for layer in net.layer if layer.type != 'Input')
    blobs = python_names(name for layer in net.layer for name in layer.top)
    made: list[str] = []
    called: list[str] = []
    helpers: dict[str, None] = {}
    tensors: dict[str, np.ndarray] = {}
    for i, layer in enumerate(net.layer):
        if layer.type == 'Input':
            continue
        lines = _lines(layer, i, shapes, weights, modules[layer.name], blobs)
        tops = ', '.join(blobs[name] for name in layer.top)
        called.append(f'{tops} = {", ".join(lines.calls)}')
        if lines.module:
            known = '' if modules[layer.name] == layer.name else f'  # {ascii(shortened(layer.name))}'
            made.append(f'self.{modules[layer.name]} = {lines.module}{known}')
        if lines.helper:
            helpers[lines.helper] = None
        tensors |= {f'{modules[layer.name]}.{name}': array for name, array in (lines.tensors or {}).items()}
    inputs = [name for layer in net.layer if layer.type == 'Input' for name in layer.top]
    outputs = outputs_of(net)
    parts = [_heading(net, shapes, inputs, outputs), HEAD + _constants(preparation, classes),
             *(HELPERS[name] for name in helpers),
             _module(made, called, [blobs[name] for name in inputs], [blobs[name] for name in (*outputs, *more)]),
             LOADING]
    if preparation is not None:
        parts.append(PREPARING % CHANNELS[preparation.order])
    return parts[0] + '\n\n'.join(f'{part}' for part in parts[1:]), tensors


def outputs_of(net: Any) -> list[str]:
    """The blobs that no layer reads, in the order of the net."""
    inputs = {name for layer in net.layer if layer.type == 'Input' for name in layer.top}
    return [name for name in unread(net.layer) if name not in inputs]


def _lines(layer: Any, i: int, shapes: Shapes, weights: Weights, module: str, blobs: dict[str, str]) -> Lines:
    """A layer as text; errors name it."""
    try:
        if layer.type not in RULES:
            raise BadInput('torch has nothing like it')
        params, given = shapes.params[i], weights.get(layer.name, [])
        if [blob.size for blob in given] != [int(np.prod(shape)) for shape in params]:
            raise BadInput(f'it takes parameters {", ".join(map(by, params)) or "none"}, the weights have '
                           f'{", ".join(by(blob.shape) for blob in given) or "none"}')
        arrays = [np.asarray(blob, np.float32).reshape(shape) for blob, shape in zip(given, params, strict=True)]
        with sensible('', 'its parameters'):
            return RULES[layer.type](Item(layer, f'self.{module}', [blobs[name] for name in layer.bottom],
                                          shapes.bottoms[i], shapes.tops[i], arrays))
    except BadInput as problem:
        raise BadInput(f'cannot export layer {layer.name} ({layer.type}): {problem}') from None


# -------------------------------------------------------------------------------------------------------- the page

def _heading(net: Any, shapes: Shapes, inputs: list[str], outputs: list[str]) -> str:
    """The page's docstring; names are literals within it."""
    sizes = [shapes.blobs[name] for name in inputs]
    free = _grows(net, shapes, dict(zip(inputs, sizes, strict=True)))
    takes = ', '.join(f'{_literal(name)} {f"N x {shape[1]} x H x W" if free else by(shape)}'
                      for name, shape in zip(inputs, sizes, strict=True))
    gives = ', '.join(_literal(name) for name in outputs)
    return f'''"""The Caffe net {_literal(net.name)} as a torch module.

    import net
    scores = net.load()(blob)

It takes {takes} and gives {gives}.
"""
'''


def _grows(net: Any, shapes: Shapes, inputs: dict[str, Shape]) -> bool:
    """Whether the same parameters do for larger images."""
    try:
        larger = infer(net, {name: (*shape[:2], *(n + LARGER for n in shape[2:])) for name, shape in inputs.items()})
    except BadInput:
        return False
    return larger.params == shapes.params


def _literal(text: str) -> str:
    """A name as a literal that no text around it can be taken for: ASCII, one line, and neither quote nor backslash."""
    return ascii(shortened(text)).replace('\\', '/').replace('"', "'")


def _constants(preparation: Preparation | None, classes: Sequence[str]) -> str:
    lines = []
    if preparation is not None:
        lines += [f'MEAN = {preparation.mean!r}      # of blue, green and red, or one for all: subtracted first',
                  f'SCALE = {preparation.scale!r}        # what pixels are multiplied by after that',
                  f'MULTIPLE = {preparation.multiple!r}       # of pixels that height and width are made to be']
        if preparation.order == 'grey':
            lines.append(f'GREY = {GREY!r}      # of blue, green and red')
    names = tuple(classes) or (preparation.classes if preparation else ())
    if names:
        lines += ['CLASSES = (', *(f'    {ascii(str(name))},' for name in names), ')']
    return ''.join(f'{line}\n' for line in ['', *lines]) if lines else ''


def _module(made: Sequence[str], called: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]) -> str:
    lines = ['class Net(nn.Module):', '    def __init__(self):', '        super().__init__()',
             *(f'        {line}' for line in made), '', f'    def forward(self, {", ".join(inputs)}):',
             *(f'        {line}' for line in called), f'        return {", ".join(outputs)}']
    return ''.join(f'{line}\n' for line in lines)
