"""Read pickles of state dicts with a machine of our own, which knows tensors, storages and ordered dicts.

A pickle is a program for a machine with a stack, and Python's own lets it call anything. This one calls nothing: what
a pickle makes here is numbers, texts, tuples, lists, dicts, and records that say where a tensor's numbers lie. A name
of anything else ends the reading.
"""
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from cli import BadInput

from ..caffemodel import MOST_AXES
from ..untrusted import shortened

MOST_STEPS = 1_000_000          # of a pickle's program; a state dict takes a few dozen for each tensor
BFLOAT16 = 'bfloat16'
STORAGES = {'DoubleStorage': 'f8', 'FloatStorage': 'f4', 'HalfStorage': 'f2', 'BFloat16Storage': BFLOAT16,
            'LongStorage': 'i8', 'IntStorage': 'i4', 'ShortStorage': 'i2', 'CharStorage': 'i1', 'ByteStorage': 'u1',
            'BoolStorage': 'u1'}
ORDERED_DICT = 'collections.OrderedDict'
TENSORS = ('torch._utils._rebuild_tensor', 'torch._utils._rebuild_tensor_v2')
PARAMETERS = ('torch._utils._rebuild_parameter', 'torch._utils._rebuild_parameter_with_state')
KNOWN = {ORDERED_DICT, *TENSORS, *PARAMETERS, *(f'torch.{name}' for name in STORAGES)}
KEYS = (str, int, float, bool, type(None), bytes)       # of a dict; a tuple of tuples may take for ever to hash


@dataclass(frozen=True)
class Storage:
    """Numbers in a row, somewhere in the file.

    Attributes
    ----------
    dtype : str
        As in `STORAGES`.
    key : str
        What the file calls it.
    size : int
        How many numbers it has.
    start, stop : int
        The numbers that are seen of it.
    """

    dtype: str
    key: str
    size: int
    start: int
    stop: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: its first number, its shape, and by how many numbers a step along each axis moves."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Name:
    """A name of `KNOWN`."""

    text: str


class _Mark:
    """Where a tuple's, list's or dict's items begin on the stack."""


MARK = _Mark()


class Pickled(NamedTuple):
    """What a pickle makes.

    Attributes
    ----------
    value : object
        Numbers, texts, tuples, lists, dicts, None and `Tensor`s, within one another.
    storages : dict of str to Storage
        All that it names, by their keys.
    """

    value: Any
    storages: dict[str, Storage]


def read_pickle(file: BinaryIO) -> Pickled:
    """Run a pickle's program.

    Parameters
    ----------
    file : binary file
        At the pickle's first byte; then after its last.

    Returns
    -------
    Pickled

    Raises
    ------
    BadInput
        It names something else than tensors, storages and ordered dicts; says what.
    Exception
        Of another kind: it is no pickle, or one that makes no sense.
    """
    machine = _Machine()
    value = machine.run((code.name, argument) for code, argument, _ in pickletools.genops(file))
    return Pickled(value, machine.storages)


class _Machine:
    """A pickle's stack and memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.left = MOST_STEPS

    def run(self, steps: Iterator[tuple[str, Any]]) -> Any:
        """What is on the stack when the program stops."""
        for name, argument in steps:
            self.spend(1)
            if name == 'STOP':
                break
            if name in VALUES:
                self.stack.append(VALUES[name](argument))
            elif name in STEPS:
                STEPS[name](self, argument)
            elif name == 'INST':
                self.name(argument)
            elif name not in ('PROTO', 'FRAME'):
                raise BadInput(f'its pickle makes objects ({name}), which are not loaded; save the state_dict() of the '
                               'model')
        value, = self.stack
        return value

    def spend(self, steps: int) -> None:
        """Count steps: a short program may ask for any number of them."""
        self.left -= steps
        if self.left < 0:
            raise BadInput(f'its pickle takes more than {MOST_STEPS:,} steps; save the state_dict() alone')

    def pop(self) -> Any:
        """What is on top of the stack."""
        value = self.stack.pop()
        if value is MARK:
            raise ValueError('a mark where a value should be')
        return value

    def items(self) -> list[Any]:
        """What has come onto the stack since the last mark."""
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise ValueError('no mark')
        found = self.stack[at + 1:]
        del self.stack[at:]
        return found

    def name(self, both: str) -> None:
        """A name that the program gives: a module, a space, and the name in it."""
        text = both.replace(' ', '.')
        if text not in KNOWN:
            raise BadInput(f'it holds {shortened(text)}, which is neither tensor, storage nor ordered dict and not '
                           'loaded; save the state_dict() of the model')
        self.stack.append(_Name(text))

    def stacked_name(self) -> None:
        """The same, of two texts on the stack."""
        name, module = _need(self.pop(), str), _need(self.pop(), str)
        self.name(f'{module} {name}')

    def tuple_of(self, count: int) -> None:
        """The last values as one."""
        found = [self.pop() for _ in range(count)]
        self.stack.append(tuple(found[::-1]))

    def append(self, values: list[Any]) -> None:
        """Values at the end of the list on top of the stack."""
        _need(self.stack[-1], list).extend(values)

    def set(self, pairs: list[Any]) -> None:
        """Keys and values, one after the other, in the dict on top of the stack."""
        _fill(_need(self.stack[-1], dict), zip(pairs[::2], pairs[1::2], strict=True))

    def reduce(self) -> None:
        """What a call of a name would give."""
        arguments, name = _need(self.pop(), tuple), _need(self.pop(), _Name).text
        if name == ORDERED_DICT:
            pairs: dict[Any, Any] = {}
            if arguments:
                self.spend(len(_need(arguments[0], list)))
                _fill(pairs, arguments[0])
            self.stack.append(pairs)
        elif name in TENSORS:
            self.stack.append(_tensor(*arguments[:4]))
        elif name in PARAMETERS:
            self.stack.append(_need(arguments[0], Tensor))
        else:
            raise ValueError(f'a call of {name}')

    def new_dict(self) -> None:
        """What has come onto the stack since the last mark, as keys and values."""
        pairs = self.items()
        self.stack.append({})
        self.set(pairs)

    def build(self) -> None:
        """Attributes of an ordered dict, such as the versions of a state dict's modules."""
        self.pop()
        _need(self.stack[-1], dict)

    def persistent(self) -> None:
        """A storage, which lies elsewhere in the file."""
        storage = _storage(*_need(self.pop(), tuple))
        before = self.storages.setdefault(storage.key, storage)
        if (before.dtype, before.size) != (storage.dtype, storage.size):
            raise ValueError('two storages of one key')
        self.stack.append(storage)

    def put(self, key: int) -> None:
        """Remember what is on top of the stack."""
        self.memo[key] = self.stack[-1]

    def get(self, key: int) -> None:
        """What was remembered."""
        self.stack.append(self.memo[key])


def _need(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f'{type(value).__name__} for {kind.__name__}')
    return value


def _fill(pairs: dict[Any, Any], items: Any) -> None:
    for key, value in items:
        if not isinstance(key, KEYS):
            raise ValueError(f'{type(key).__name__} as a key')
        pairs[key] = value


def _whole(*numbers: Any) -> None:
    if not all(type(number) is int and 0 <= number < 2 ** 48 for number in numbers):
        raise ValueError('sizes that no file has')


def _storage(tag: Any, kind: Any, key: Any, device: Any, size: Any, view: Any = None) -> Storage:
    """A storage as a pickle names it; older files have some that are parts of others."""
    if tag != 'storage' or type(key) is not str:
        raise ValueError('no storage')
    dtype = STORAGES[_need(kind, _Name).text.removeprefix('torch.')]
    start, seen = (0, size) if view is None else view[1:3]
    _whole(size, start, seen)
    if start + seen > size:
        raise ValueError('a part of a storage beyond its end')
    return Storage(dtype, key, size, start, start + seen)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    storage, shape, strides = _need(storage, Storage), _need(shape, tuple), _need(strides, tuple)
    if len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise ValueError(f'{len(shape)} axes with {len(strides)} strides')
    _whole(offset, *shape, *strides)
    return Tensor(storage, storage.start + offset, shape, strides)


# A value that a step brings along, and what a step does.
VALUES: dict[str, Callable[[Any], Any]] = {
    'NONE': lambda _: None, 'NEWTRUE': lambda _: True, 'NEWFALSE': lambda _: False, 'MARK': lambda _: MARK,
    'EMPTY_TUPLE': lambda _: (), 'EMPTY_LIST': lambda _: [], 'EMPTY_DICT': lambda _: {},
    **dict.fromkeys(('INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4', 'FLOAT', 'BINFLOAT', 'STRING',
                     'BINSTRING', 'SHORT_BINSTRING', 'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'UNICODE',
                     'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'), lambda value: value),
}
STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    'GLOBAL': lambda machine, both: machine.name(both), 'STACK_GLOBAL': lambda machine, _: machine.stacked_name(),
    'TUPLE': lambda machine, _: machine.stack.append(tuple(machine.items())),
    'TUPLE1': lambda machine, _: machine.tuple_of(1), 'TUPLE2': lambda machine, _: machine.tuple_of(2),
    'TUPLE3': lambda machine, _: machine.tuple_of(3),
    'LIST': lambda machine, _: machine.stack.append(machine.items()),
    'DICT': lambda machine, _: machine.new_dict(),
    'APPEND': lambda machine, _: machine.append([machine.pop()]),
    'APPENDS': lambda machine, _: machine.append(machine.items()),
    'SETITEM': lambda machine, _: machine.set([machine.pop(), machine.pop()][::-1]),
    'SETITEMS': lambda machine, _: machine.set(machine.items()),
    'REDUCE': lambda machine, _: machine.reduce(), 'BUILD': lambda machine, _: machine.build(),
    'BINPERSID': lambda machine, _: machine.persistent(),
    'PUT': lambda machine, key: machine.put(key), 'BINPUT': lambda machine, key: machine.put(key),
    'LONG_BINPUT': lambda machine, key: machine.put(key), 'MEMOIZE': lambda machine, _: machine.put(len(machine.memo)),
    'GET': lambda machine, key: machine.get(key), 'BINGET': lambda machine, key: machine.get(key),
    'LONG_BINGET': lambda machine, key: machine.get(key), 'POP': lambda machine, _: machine.stack.pop(),
    'DUP': lambda machine, _: machine.stack.append(machine.stack[-1]),
    'POP_MARK': lambda machine, _: machine.items(),
}
