"""VGG and AlexNet state dicts, as torchvision names them, as Caffe nets."""
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from cli import BadInput

from ..builder import Builder
from ..caffemodel import by

State = dict[str, np.ndarray]

DTYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'I32': '<i4', 'U8': '|u1',
          'BOOL': '|u1'}
ALEXNET = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}     # stride and padding of features.N


def read_safetensors(path: str | os.PathLike) -> State:
    """Read a `.safetensors` file: a length, a JSON header, and the tensors' bytes.

    Raises
    ------
    BadInput
        The file is missing, truncated, or says what cannot be.
    """
    try:
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), 'little')
            if not 2 <= length <= min(size - 8, 100 * 2 ** 20):
                raise ValueError('its header is cut short')
            header = json.loads(file.read(length))
            return {name: _tensor(file, facts, 8 + length, size) for name, facts in header.items()
                    if name != '__metadata__'}
    except OSError as problem:
        raise BadInput(f'{path}: cannot read the weights: {problem.strerror}') from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise BadInput(f'{path}: not a safetensors file, or a damaged one ({problem}); fetch it again') from None


def _tensor(file: Any, facts: dict[str, Any], start: int, size: int) -> np.ndarray:
    dtype, shape = np.dtype(DTYPES[facts['dtype']]), [int(d) for d in facts['shape']]
    begin, end = (int(offset) for offset in facts['data_offsets'])
    if min(shape, default=0) < 0 or not 0 <= begin <= end <= size - start or \
            end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f'a tensor of {by(shape)} in {end - begin} bytes')
    file.seek(start + begin)
    data = np.frombuffer(file.read(end - begin), dtype).reshape(shape)
    if facts['dtype'] == 'BF16':                    # the upper half of a float32
        return (data.astype(np.uint32) << 16).view(np.float32)
    return data.astype(np.float32)


def read_pth(path: str | os.PathLike) -> State:
    """Read a `.pth` state dict through torch, which then unpickles tensors and nothing else.

    Raises
    ------
    BadInput
        torch is not installed, or the file holds more than weights.
    """
    try:
        import torch
    except ImportError:
        raise BadInput(f'{path}: reading .pth files takes torch, which is not installed: pip install torch, or convert '
                       'the file to .safetensors where it is') from None
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except OSError as problem:
        raise BadInput(f'{path}: cannot read the weights: {problem.strerror}') from None
    except Exception as problem:                    # torch raises what it likes on damaged and on hostile files
        raise BadInput(f'{path}: holds something else than weights, which is not loaded ({type(problem).__name__}): '
                       'save the state_dict() of the model') from None
    for key in ('state_dict', 'model', 'model_state_dict'):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise BadInput(f'{path}: not a state dict')
    return {str(name): tensor.detach().float().numpy() for name, tensor in state.items()}


def build(state: State, size: tuple[int, int] | None) -> tuple[Builder, str]:
    """A VGG or AlexNet from its state dict, and its output blob.

    Raises
    ------
    BadInput
        The parameters are of another net.
    """
    state = {re.sub(r'^(module|model|_orig_mod)\.', '', name): array for name, array in state.items()}
    features, classifier = _numbered(state, 'features'), _numbered(state, 'classifier')
    convs = [i for i, blobs in features.items() if 'weight' in blobs and blobs['weight'].ndim == 4]
    others = [name for name in state if not name.startswith(('features.', 'classifier.'))]
    connected = all('weight' in b and b['weight'].ndim == 2 for b in classifier.values())
    if not convs or not classifier or others or not connected:
        raise BadInput(f'no state dict of VGG or AlexNet (it has {", ".join(list(state)[:3])} ...); a state dict has '
                       'no graph, so export other nets as ONNX')
    alexnet = features[convs[0]]['weight'].shape[2:] == (11, 11)
    channels = features[convs[0]]['weight'].shape[1]
    builder = Builder('AlexNet' if alexnet else f'VGG-{len(convs) + len(classifier)}',
                      (1, channels, *(size or (224, 224))))
    top = _alexnet(builder, features, convs) if alexnet else _vgg(builder, features, convs)
    return builder, _classifier(builder, classifier, top)


def _numbered(state: State, part: str) -> dict[int, dict[str, np.ndarray]]:
    """`features.3.weight` and the like, by number."""
    found: dict[int, dict[str, np.ndarray]] = {}
    for name, array in state.items():
        match = re.fullmatch(rf'{part}\.(\d+)\.(\w+)', name)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = array
    return dict(sorted(found.items()))


def _convolve(builder: Builder, blobs: dict[str, np.ndarray], bottom: str, stride: int, pad: int) -> str:
    weights = blobs['weight']
    if weights.shape[1] != builder.shapes[bottom][1]:
        raise BadInput(f'a convolution of {weights.shape[1]} channels over {builder.shapes[bottom][1]}: no plain VGG '
                       'or AlexNet; export it as ONNX')
    given = [weights] + ([blobs['bias']] if 'bias' in blobs else [])
    return builder.add('Convolution', 'conv', [bottom], given, num_output=weights.shape[0],
                       kernel_size=[weights.shape[2]], pad=[pad], stride=[stride] if stride > 1 else [],
                       bias_term=None if 'bias' in blobs else False)


def _pool(builder: Builder, bottom: str, kernel: int) -> str:
    """Maxima at stride 2; torch rounds the size down, which Caffe does when told to."""
    floor = any((n - kernel) % 2 for n in builder.shapes[bottom][2:])
    return builder.add('Pooling', 'pool', [bottom], pool=0, kernel_size=kernel, stride=2,
                       round_mode=1 if floor else None)


def _vgg(builder: Builder, features: dict[int, dict[str, np.ndarray]], convs: list[int]) -> str:
    """3x3 convolutions; a gap in the numbers is a pooling."""
    top = 'data'
    for i, following in zip(convs, [*convs[1:], None], strict=True):
        if features[i]['weight'].shape[2:] != (3, 3):
            raise BadInput(f'features.{i}: a {by(features[i]["weight"].shape[2:])} convolution, which no VGG has')
        top = _convolve(builder, features[i], top, 1, 1)
        norm = features.get(i + 1, {})
        if 'running_mean' in norm:
            statistics = [norm['running_mean'], norm['running_var'], np.ones(1)]
            top = builder.add('BatchNorm', 'bn', [top], statistics, eps=1e-5)
            top = builder.add('Scale', 'scale', [top], [norm['weight'], norm['bias']], bias_term=True)
        top = builder.add('ReLU', 'relu', [top])
        gap = (following - i if following is not None else 0) - ('running_mean' in norm)
        if following is None or gap == 3:
            top = _pool(builder, top, 2)
        elif gap != 2:
            raise BadInput(f'features.{i} and features.{following}: no VGG has so much between them')
    return top


def _alexnet(builder: Builder, features: dict[int, dict[str, np.ndarray]], convs: list[int]) -> str:
    if convs != list(ALEXNET):
        raise BadInput(f'convolutions features.{", ".join(map(str, convs))}: not those of AlexNet')
    top = 'data'
    for i in convs:
        top = builder.add('ReLU', 'relu', [_convolve(builder, features[i], top, *ALEXNET[i])])
        if i in (0, 3, 10):
            top = _pool(builder, top, 3)
    return top


def _classifier(builder: Builder, layers: dict[int, dict[str, np.ndarray]], top: str) -> str:
    """Inner products; the gaps in their numbers are a ReLU, or a ReLU and a Dropout."""
    numbers = list(layers)
    first = layers[numbers[0]]['weight'].shape[1]
    if first != math.prod(builder.shapes[top][1:]):
        raise BadInput(f'its first inner product takes {first} numbers, a map of {by(builder.shapes[top][1:])} has '
                       f'{math.prod(builder.shapes[top][1:])}: torch would resize the map, Caffe cannot; choose '
                       'another --size')
    if numbers[0] == 1:
        top = builder.add('Dropout', 'drop', [top], dropout_ratio=0.5)
    for i, following in zip(numbers, [*numbers[1:], None], strict=True):
        weights = layers[i]['weight']
        blobs = [weights] + ([layers[i]['bias']] if 'bias' in layers[i] else [])
        top = builder.add('InnerProduct', 'fc', [top], blobs, num_output=weights.shape[0],
                          bias_term=None if len(blobs) > 1 else False)
        if following is not None:
            if following - i not in (2, 3):
                raise BadInput(f'classifier.{i} and classifier.{following}: cannot tell what is between them')
            top = builder.add('ReLU', 'relu', [top])
            if following - i == 3:
                top = builder.add('Dropout', 'drop', [top], dropout_ratio=0.5)
    return top


def read_state(path: str | os.PathLike) -> State:
    """Read a state dict from a `.safetensors` or `.pth` file."""
    return read_safetensors(path) if Path(path).suffix == '.safetensors' else read_pth(path)
