"""Maps that are cut to another's height and width: a Slice whose ends were computed from a Shape, as a Crop."""
from cli import BadInput

from ..caffemodel import by
from .node import MAP, Cut, Node, Value


def cut_map(node: Node, value: Value, axis: int, chosen: range, starts: str, ends: str) -> Value:
    """Keep some rows or columns of a map.

    A Crop cuts height and width. Where a graph cuts them one after the other, the first is kept in `Value.cut` until
    the second.

    Parameters
    ----------
    node : Node
        The Slice.
    value : Value
        What it cuts.
    axis : int
        2 or 3.
    chosen : range
        Positions that are kept.
    starts, ends : str
        The graph's names of where they begin and end.

    Returns
    -------
    Value

    Raises
    ------
    BadInput
        No map says how large it is to be, or not one map says both.
    """
    state = node.state
    if value.cut and value.cut.axis == axis:
        value = finish_cut(node, value)
    likes = [name for name in state.origins.get(ends, ()) if name in state.values
             and state.values[name].axes == MAP and state.values[name].dims[axis] == len(chosen)
             and not any(state.values[name].pad) and len(state.builder.shapes[state.values[name].blob]) == 4]
    if chosen.step != 1 or any(value.pad) or not likes or chosen.start and state.origins.get(starts):
        raise BadInput(f'it keeps {len(chosen)} of {value.dims[axis]} positions of axis {axis} of {by(value.shape)}, '
                       'and no other map says so')
    dims = (*value.dims[:axis], len(chosen), *value.dims[axis + 1:])
    earlier = value.cut
    if earlier:
        both = [name for name in likes if name in earlier.likes]
        if not both:
            raise BadInput('two maps say how high and how wide it is to be; Caffe crops to one')
        offset = [earlier.start, chosen.start] if axis == 3 else [chosen.start, earlier.start]
        return _crop(node, value, both[0], 2, offset, '')
    cut = Cut(axis, chosen.start, tuple(likes))
    return value._replace(dims=dims, cut=cut)


def finish_cut(node: Node, value: Value) -> Value:
    """Add the Crop of a value that is cut along one axis alone, if it is.

    Raises
    ------
    BadInput
        The other axis would be cut too.
    """
    if value.cut is None:
        return value
    axis, start, likes = value.cut
    if axis == 3:
        return _crop(node, value, likes[0], 3, [start], '_crop')
    same = [name for name in likes if node.state.values[name].dims[3] == value.dims[3]]
    if not same:
        raise BadInput('it cuts a map to the height of another one, which has another width')
    return _crop(node, value, same[0], 2, [start, 0], '_crop')


def _crop(node: Node, value: Value, like: str, axis: int, offset: list[int], suffix: str) -> Value:
    whole = Value(value.blob, node.state.builder.shapes[value.blob], MAP)
    other = node.state.values[like]
    return node.add('Crop', [whole, other], suffix=suffix, axes=MAP, axis=axis, offset=offset)
