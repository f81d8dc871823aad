"""Nets as graphs: who writes a blob, what an output needs."""
from collections.abc import Iterable, Sequence
from typing import Any


def needed(layers: Sequence[Any], blobs: Iterable[str]) -> list[bool]:
    """Which layers some blobs depend on.

    Parameters
    ----------
    layers : sequence of caffe_pb2.LayerParameter
        In the order of the net.
    blobs : iterable of str
        What is wanted at the end of the net.

    Returns
    -------
    list of bool
        For each layer.
    """
    wanted, result = set(blobs), []
    for layer in reversed(layers):
        use = not wanted.isdisjoint(layer.top)
        if use:
            wanted.update(layer.bottom)
        result.append(use)
    return result[::-1]


def unread(layers: Iterable[Any]) -> list[str]:
    """Blobs that no layer after their last writer reads, in the order of the net."""
    free: dict[str, None] = {}
    for layer in layers:
        for name in layer.bottom:
            free.pop(name, None)
        free |= dict.fromkeys(layer.top)
    return list(free)


def prune(net: Any, *blobs: str) -> Any:
    """The net without the layers that some of its blobs do not depend on.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Left as it is.
    *blobs : str
        The outputs to keep.

    Returns
    -------
    caffe_pb2.NetParameter
    """
    result = type(net)()
    result.CopyFrom(net)
    del result.layer[:]
    result.layer.extend(layer for layer, use in zip(net.layer, needed(net.layer, blobs), strict=True) if use)
    return result


def input_layer(net: Any) -> Any:
    """The Input layer of a net with one."""
    return next(layer for layer in net.layer if layer.type == 'Input')


def last_writer(net: Any, blob: str, before: int | None = None) -> int:
    """The number of the last layer, of those before the layer of number `before`, that writes a blob."""
    return max(i for i, layer in enumerate(net.layer[:before]) if blob in layer.top)
