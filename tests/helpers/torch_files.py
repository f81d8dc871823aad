"""Files as `torch.save` writes them, made of pickle opcodes by hand: torch itself is no dependency of the tests."""
import io
import pickle
import struct
import zipfile

import numpy as np

KINDS = {'float32': 'Float', 'float16': 'Half', 'float64': 'Double', 'int64': 'Long', 'int32': 'Int', 'int16': 'Short',
         'int8': 'Char', 'uint8': 'Byte', 'bool': 'Bool'}
MAGIC, VERSION = 0x1950a86a20f9469cfc6c, 1001


class View:
    """A tensor that is a view of some of a storage's numbers; strides in numbers. `kind` is the storage's type."""

    def __init__(self, storage, shape, strides, offset=0, kind=None):
        self.storage, self.shape, self.strides, self.offset = np.asarray(storage).reshape(-1), shape, strides, offset
        self.kind = kind or KINDS[self.storage.dtype.name]


def whole(array):
    """A view of all of an array's numbers."""
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    return View(array, array.shape, [s // array.itemsize for s in array.strides])


class Pickler:
    """Protocol 2, as torch uses it: tensors as calls of `_rebuild_tensor_v2`, storages by persistent ids."""

    def __init__(self, legacy):
        self.out, self.legacy, self.storages = [b'\x80\x02'], legacy, []

    def dump(self, value):
        self.value(value)
        return b''.join((*self.out, b'.'))

    def value(self, value):
        put = self.out.append
        if value is None or isinstance(value, bool):
            put({None: b'N', True: b'\x88', False: b'\x89'}[value])
        elif isinstance(value, int):
            put(b'K' + bytes([value]) if 0 <= value < 256 else b'\x8a\x08' + value.to_bytes(8, 'little', signed=True))
        elif isinstance(value, float):
            put(b'G' + struct.pack('>d', value))
        elif isinstance(value, str):
            put(b'X' + struct.pack('<I', len(value.encode())) + value.encode())
        elif isinstance(value, bytes):              # opcodes
            put(value)
        elif isinstance(value, dict):
            put(b'ccollections\nOrderedDict\n)R')
            if value:
                put(b'(')
                for pair in value.items():
                    self.value(pair[0]), self.value(pair[1])
                put(b'u')
        elif isinstance(value, list | tuple):
            put(b'](' if isinstance(value, list) else b'(')
            for item in value:
                self.value(item)
            put(b'e' if isinstance(value, list) else b't')
        else:
            self.tensor(value if isinstance(value, View) else whole(value))

    def tensor(self, view):
        at = next((i for i, known in enumerate(self.storages) if known is view.storage), len(self.storages))
        if at == len(self.storages):
            self.storages.append(view.storage)
        self.out.append(b'ctorch._utils\n_rebuild_tensor_v2\n((')
        self.value('storage')
        self.out.append(f'ctorch\n{view.kind}Storage\n'.encode())
        for item in (str(at), 'cpu', view.storage.size, *([None] if self.legacy else [])):
            self.value(item)
        self.out.append(b'tQ')
        for item in (view.offset, tuple(view.shape), tuple(view.strides), False, {}):
            self.value(item)
        self.out.append(b'tR')


def save_zip(path, value, order='little', compression=zipfile.ZIP_STORED, prefix='archive', more=()):
    """What torch.save writes since 1.6; `more` are further entries, which replace those of their names."""
    pickler = Pickler(legacy=False)
    entries = {'data.pkl': pickler.dump(value), 'version': b'3\n', 'byteorder': order.encode()}
    entries |= {f'data/{i}': ordered(storage, order).tobytes() for i, storage in enumerate(pickler.storages)}
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, content in (entries | dict(more)).items():
            archive.writestr(zipfile.ZipInfo(f'{prefix}/{name}'), content, compression)
    return path


def save_legacy(path, value, order='little'):
    """What it wrote before."""
    pickler, out = Pickler(legacy=True), io.BytesIO()
    body = pickler.dump(value)
    facts = {'protocol_version': VERSION, 'little_endian': order == 'little', 'type_sizes': {'int': 4}}
    for part in (MAGIC, VERSION, facts):
        out.write(pickle.dumps(part, 2))
    out.write(body)
    out.write(pickle.dumps([str(i) for i in range(len(pickler.storages))], 2))
    for storage in pickler.storages:
        out.write(storage.size.to_bytes(8, order) + ordered(storage, order).tobytes())
    path.write_bytes(out.getvalue())
    return path


def ordered(storage, order):
    return storage.astype(storage.dtype.newbyteorder('<' if order == 'little' else '>'))


SAVERS = {'zip': save_zip, 'legacy': save_legacy}
