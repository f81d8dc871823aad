"""`param_str`, the options of the Python layers of `data_layers.layers` in a prototxt: a literal, never run as code.

The data layer's is a dict: `dataset` and `split` as for `open_dataset`, and optionally `tops`, `root`, `seed`,
`batch_size` (1; more needs images of one size), as for `Prefetcher`, `workers` and `ahead`, and in training, as for
`augment`, `mirror`, `scale`, `crop`, `rotate`, `colour` and `max_size`. With `planes` True a label is K x H x W, a
plane of 0 and 1 for each of the K classes, 255 where it is void: for losses of classes that overlap.

That of `ClassWeights` is a tuple, one weight a class.
"""
import ast
from collections.abc import Iterable
from typing import Any

import numpy as np

from cli import BadInput
from data_layers import augment

MODULE, DATA_LAYER, WEIGHTS_LAYER = 'data_layers.layers', 'SegmentationData', 'ClassWeights'    # in prototxts


def write(**options: Any) -> str:
    """The `param_str` of a data layer.

    Parameters
    ----------
    **options
        What `parse` takes: str, int, bool, and lists or tuples of them. They are written in the order given.

    Returns
    -------
    str
        The options as a literal dict.

    Examples
    --------
    >>> write(dataset='voc', split='val', tops=('data', 'label'))
    "{'dataset': 'voc', 'split': 'val', 'tops': ('data', 'label')}"
    """
    return str(options)


def write_weights(weights: Iterable[float]) -> str:
    """The `param_str` of `ClassWeights` with one weight a class.

    >>> write_weights([0.4, 1.0, 2.5])
    '(0.4, 1.0, 2.5)'
    """
    return str(tuple(weights))


def parse(param_str: str) -> dict[str, Any]:
    """Read the `param_str` of a data layer.

    Parameters
    ----------
    param_str : str
        A literal dict with the keys dataset and split, and optionally the others.

    Returns
    -------
    dict
        The options, as they are written.

    Raises
    ------
    BadInput
        It is not such a literal, or has a key that is unknown or a value of the wrong kind.
    """
    try:
        options: Any = ast.literal_eval(param_str)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise BadInput(f'param_str must be a literal dict like {{"dataset": "voc", "split": "val"}}, '
                       f'and is never run as code: {param_str!r}')
    if missing := {'dataset', 'split'} - options.keys():
        raise BadInput(f'param_str lacks {", ".join(sorted(missing))}: {param_str!r}')
    kinds: dict[str, type | tuple[type, ...]] = {'dataset': str, 'split': str, 'tops': (list, tuple), 'root': str,
                                                 'seed': int, 'batch_size': int, 'planes': bool, 'workers': int,
                                                 'ahead': int,
                                                 **dict.fromkeys(augment.OPTIONS, object)}    # see augment.check
    for key, value in options.items():
        if key not in kinds:
            raise BadInput(f'param_str has the unknown key {key!r}, not one of {", ".join(kinds)}: {param_str!r}')
        if not isinstance(value, kinds[key]) or (isinstance(value, int) and value < (key == 'batch_size')):
            raise BadInput(f'param_str has a {key} of the wrong kind, {value!r}: {param_str!r}')
    return options


def parse_weights(param_str: str, count: int) -> np.ndarray:
    """Read the `param_str` of `ClassWeights`.

    Parameters
    ----------
    param_str : str
        A literal of positive numbers, one a class.
    count : int
        Number of classes.

    Returns
    -------
    array
        The weights, `count`, float32.

    Raises
    ------
    BadInput
        It is not such a literal.
    """
    try:
        weights = np.asarray(ast.literal_eval(param_str), np.float32)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        weights = np.empty(0, np.float32)
    if weights.shape != (count,) or not (np.isfinite(weights) & (weights > 0)).all():
        raise BadInput(f'param_str must be the {count} positive weights of the classes that are scored, such as '
                       f'(0.4, 1.0, 2.5): {param_str!r}')
    return weights
