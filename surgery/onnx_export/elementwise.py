"""Layers that treat each number on its own."""
import math

from .graph import Layer, Operator, number


def _node(kind: str) -> Operator:
    """A node of its own, whatever the layer says."""
    return lambda layer: layer.add(kind, layer.bottoms[0].name)


def _same(layer: Layer) -> list[str]:
    """No node: what the layer does, it does in training."""
    return [layer.bottoms[0].name] * len(layer.tops)


def _line(layer: Layer, name: str, scale: float, shift: float) -> str:
    """scale * x + shift."""
    if scale != 1:
        name = layer.add('Mul', name, number(scale))
    return layer.add('Add', name, number(shift)) if shift != 0 else name


def _relu(layer: Layer) -> str:
    slope = layer.proto.relu_param.negative_slope
    name = layer.bottoms[0].name
    return layer.add('LeakyRelu', name, alpha=slope) if slope else layer.add('Relu', name)


def _elu(layer: Layer) -> str:
    return layer.add('Elu', layer.bottoms[0].name, alpha=layer.proto.elu_param.alpha)


def _clip(layer: Layer) -> str:
    """The smaller of x and the maximum, and then the larger of that and the minimum."""
    p = layer.proto.clip_param
    low, high = p.min, max(p.min, p.max)
    return layer.add('Clip', layer.bottoms[0].name, number(low), number(high))


def _power(layer: Layer) -> str:
    """(scale * x + shift) ** power; a constant where x does not count, for infinite x too."""
    p, name = layer.proto.power_param, layer.bottoms[0].name
    if p.power * p.scale == 0:
        value = 1.0 if p.power == 0 else _powered(p.shift, p.power)
        return layer.add('Expand', number(value), layer.add('Shape', name))
    line = _line(layer, name, p.scale, p.shift)
    if p.power != 1:
        return layer.add('Pow', line, number(p.power))
    return line if line != name else layer.add('Identity', name)


def _powered(base: float, power: float) -> float:
    """As C has it."""
    try:
        return math.pow(base, power)
    except ValueError:          # of a negative number, or of 0 to a negative power
        return math.nan if base else math.inf
    except OverflowError:
        return math.inf


def _exp(layer: Layer) -> str:
    """base ** (scale * x + shift)."""
    p = layer.proto.exp_param
    log = 1.0 if p.base == -1 else math.log(p.base)
    powers = layer.add('Exp', _line(layer, layer.bottoms[0].name, log * p.scale, 0))
    return _line(layer, powers, math.exp(log * p.shift), 0)


def _log(layer: Layer) -> str:
    """The logarithm of scale * x + shift."""
    p = layer.proto.log_param
    logs = layer.add('Log', _line(layer, layer.bottoms[0].name, p.scale, p.shift))
    return _line(layer, logs, 1.0 if p.base == -1 else 1 / math.log(p.base), 0)


def _threshold(layer: Layer) -> str:
    above = layer.add('Greater', layer.bottoms[0].name, number(layer.proto.threshold_param.threshold))
    return layer.add('Cast', above, to=1)


def _swish(layer: Layer) -> str:
    name = layer.bottoms[0].name
    return layer.add('Mul', name, layer.add('Sigmoid', _line(layer, name, layer.proto.swish_param.beta, 0)))


OPERATORS: dict[str, Operator] = {
    'AbsVal': _node('Abs'), 'BNLL': _node('Softplus'), 'Sigmoid': _node('Sigmoid'), 'TanH': _node('Tanh'),
    'Dropout': _same, 'Split': _same, 'ReLU': _relu, 'ELU': _elu, 'Clip': _clip, 'Power': _power, 'Exp': _exp,
    'Log': _log, 'Threshold': _threshold, 'Swish': _swish,
}
