"""How files of each format are damaged, knowing their structure: (whole, rng) -> bytes, by suffix in `DAMAGES`."""
import io
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import onnx
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from onnx import helper, numpy_helper
from PIL import Image

from .damage import EDGES, NAMES, NUMBERS, TEXTS, any_bytes, flipped, in_json, in_text, with_number
from .mats import in_mat

SECRET = 'neighbour/secret.txt'     # in every world; nothing may change it


# ------------------------------------------------------------------------------------------------------------- ONNX

NODES = ('Conv Relu MaxPool Flatten Gemm Softmax Clip Pad Split Slice Gather Concat Reshape Transpose Unsqueeze '
         'Squeeze ReduceMean AveragePool BatchNormalization LRN Expand Range ConstantOfShape Tile Add Mul Pow '
         'Cast Shape LogSoftmax Dropout GlobalAveragePool PRelu HardSwish MatMul Identity').split()


def attribute_value(rng):
    n = rng.choice(NUMBERS)
    return rng.choice((n, 0.5, float('nan'), float('inf'), 'text', b'\xff\x1b[2J', [n], [n] * 2, [n] * 4, [1] * 40,
                       [0.1], ['a', 'b'], numpy_helper.from_array(np.ones(3, np.float32)),
                       [rng.choice(NUMBERS) for _ in '1234']))


def change_model(model, rng):
    """One change of an ONNX model's structure."""
    graph = model.graph
    node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
    names = [name for other in graph.node for name in [*other.input, *other.output]] + ['', 'x', '\x1b[31m\n']
    how = rng.randrange(14)
    if how in (0, 1):
        fields = [a.name for a in node.attribute] + ['axis', 'axes', 'pads', 'strides', 'kernel_shape', 'perm', 'group',
                                                     'dilations', 'to', 'split', 'value', 'auto_pad', 'alpha', 'steps']
        name = rng.choice(fields)
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, attribute_value(rng))])
    elif how == 2 and node.input:
        del node.input[rng.randrange(len(node.input))]
    elif how == 3:
        node.input.append(rng.choice(names))
    elif how == 4 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif how == 5 and node.output:
        node.output[rng.randrange(len(node.output))] = rng.choice(names)
    elif how == 6:
        del node.output[rng.randrange(len(node.output) + 1):]
    elif how == 7:
        node.op_type = rng.choice(NODES)
    elif how == 8 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif how == 9:
        tensor.data_type = rng.randrange(0, 24)
    elif how == 10:
        shape = [rng.choice((0, 1, 2, 3, 4, 9)) for _ in range(rng.randrange(6))]
        array = np.array([rng.choice(NUMBERS) for _ in range(int(np.prod(shape)))], np.int64).reshape(shape)
        tensor.CopyFrom(numpy_helper.from_array(array if rng.random() < 0.7 else array.astype('f'), tensor.name))
    elif how == 11:
        dims = graph.input[0].type.tensor_type.shape.dim
        if dims:
            dims[rng.randrange(len(dims))].dim_value = rng.choice(NUMBERS)
    elif how == 12:
        graph.input.append(graph.input[0]) if rng.random() < 0.5 else graph.initializer.append(tensor)
    else:
        model.opset_import[0].version = rng.choice((*range(1, 24), *NUMBERS))


def in_onnx(whole, rng):
    model = onnx.ModelProto.FromString(whole)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if model.graph.node and model.graph.initializer:
            change_model(model, rng)
    return model.SerializeToString()


# -------------------------------------------------------------------------------------------- protobuf, safetensors

def varint(number):
    number, out = number & (1 << 64) - 1, bytearray()
    while True:
        out.append(number & 0x7f | 0x80 * (number > 0x7f))
        number >>= 7
        if not number:
            return bytes(out)


def read_varint(data, at):
    value = shift = 0
    while at < len(data) and shift < 70:
        value |= (data[at] & 0x7f) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError


def wire_fields(data):
    """The fields of a protobuf message as (start, start of content, end, kind); raises ValueError for no message."""
    found, at = [], 0
    while at < len(data):
        tag, inside = read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            end = read_varint(data, inside)[1]
        elif kind == 2:
            size, inside = read_varint(data, inside)
            end = inside + size
        elif kind in (1, 5):
            end = inside + (8 if kind == 1 else 4)
        else:
            raise ValueError
        if end > len(data) or not tag >> 3:
            raise ValueError
        found.append((at, inside, end, kind))
        at = end
    return found


def in_wire(whole, rng):
    """A field of a protobuf message, at any depth: its length or number another, doubled, dropped, its kind swapped."""
    try:
        fields = wire_fields(whole)
    except ValueError:
        fields = []
    if not fields:
        return flipped(whole, rng)
    start, inside, end, kind = rng.choice(fields)
    tag = read_varint(whole, start)[1]
    if kind == 2 and rng.random() < .7:     # deeper, with the lengths around it right
        content = in_wire(whole[inside:end], rng)
        return whole[:start] + whole[start:tag] + varint(len(content)) + content + whole[end:]
    how = rng.randrange(6)
    if how == 0:
        return whole[:start] + whole[end:]
    if how == 1:
        return whole[:end] + whole[start:end] * rng.choice((1, 3, 2000)) + whole[end:]
    if how == 2:
        return whole[:start] + varint(rng.randrange(1, 400) << 3 | rng.randrange(6)) + whole[tag:]
    if how == 3 and kind in (0, 2):
        return whole[:tag] + varint(rng.choice((*NUMBERS, 2 ** 32, 2 ** 40))) + whole[inside if kind == 2 else end:]
    if how == 4 and kind == 5:
        return whole[:inside] + struct.pack('<f', rng.choice((float('nan'), float('inf'), 0, 1e38))) + whole[end:]
    return whole[:inside] + flipped(whole[inside:end], rng) + whole[end:]


def in_safetensors(whole, rng):
    """Values of the JSON header, or its length."""
    size = int.from_bytes(whole[:8], 'little')
    head = in_json(whole[8:8 + size], rng)
    if rng.random() < .1:
        return rng.choice((0, 1, 7, len(whole), 1 << 62, (1 << 64) - 1)).to_bytes(8, 'little') + whole[8:]
    return len(head).to_bytes(8, 'little') + head + whole[8 + size:]


# -------------------------------------------------------------------------------------------------------- prototxts

TYPES = ('HDF5Output', 'HDF5Data', 'Python', 'MemoryData', 'Data', 'ImageData', 'WindowData', 'DummyData', 'Input',
         'Split', 'Silence', 'Slice', 'Concat', 'Eltwise', 'Reshape', 'Flatten', 'Crop', 'Deconvolution',
         'Convolution', 'Pooling', 'InnerProduct', 'LRN', 'Softmax', 'SoftmaxWithLoss', 'Accuracy', 'ArgMax', 'Filter',
         'Embed', 'LSTM', 'SPP', 'Im2col', 'BatchReindex', 'Tile', 'Bias', 'Scale', 'BatchNorm', 'Dropout', 'Power',
         'Log', 'Parameter', 'Nowhere', '')


def in_prototxt(whole, rng):
    """A net or a solver whose layers are swapped, unplugged, of other types, or have other numbers."""
    for kind in (caffe_pb2.NetParameter, caffe_pb2.SolverParameter):
        try:
            message = text_format.Parse(whole.decode(), kind())
            break
        except (text_format.ParseError, UnicodeError):
            continue
    else:
        return in_text(whole, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if kind is caffe_pb2.NetParameter and message.layer and rng.random() < .7:
            change_net(message, rng)
        else:
            change_field(message, rng)
    text = text_format.MessageToString(message)
    return with_number(text, rng).encode() if rng.random() < .15 else text.encode()


def change_net(net, rng):
    at = rng.randrange(len(net.layer))
    layer, other = net.layer[at], rng.choice(net.layer)
    how = rng.randrange(12)
    if how < 3:
        layer.type = rng.choice(TYPES)
        if layer.type == 'HDF5Output':
            layer.hdf5_output_param.file_name = rng.choice((SECRET, '../neighbour/secret.txt', 'new.h5'))
        elif layer.type == 'Python':
            layer.python_param.module, layer.python_param.layer = rng.choice(
                (('os', 'system'), ('data_layers.layers', 'SegmentationData'), ('data_layers.layers', 'x'), ('', '')))
            layer.python_param.param_str = rng.choice(("{'dataset': 'voc', 'split': 'val'}", '{}', '[' * 3000,
                                                       "__import__('os').getcwd()", "{'dataset': 'voc', 'split': 7}"))
    elif how == 3:
        del layer.bottom[rng.randrange(len(layer.bottom) + 1):]
    elif how == 4:
        layer.bottom.append(rng.choice([*other.top, *other.bottom, 'nowhere', '']))
    elif how == 5:
        del layer.top[rng.randrange(len(layer.top) + 1):]
    elif how == 6:
        layer.top.append(rng.choice([*other.top, *layer.top, 'new', '']))
    elif how == 7:
        del net.layer[at]
    elif how == 8:
        net.layer.add().CopyFrom(layer)
    elif how == 9:
        layer.name = rng.choice((other.name, '', *NAMES)).encode(errors='replace').decode()
    else:
        change_field(layer, rng)


def change_field(message, rng):
    """A field of a protobuf message, at any depth, set to an extreme, added or cleared."""
    inside = [value for field, value in message.ListFields() if field.type == field.TYPE_MESSAGE]
    if inside and rng.random() < .75:
        value = rng.choice(inside)
        repeated = not hasattr(value, 'ListFields')
        if not repeated or len(value):
            return change_field(rng.choice(value) if repeated else value, rng)
    field = rng.choice(message.DESCRIPTOR.fields)
    repeated = hasattr(getattr(message, field.name), 'extend')
    if rng.random() < .2 or field.type == field.TYPE_MESSAGE:
        message.ClearField(field.name)
        return
    if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32, field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
        bits = 64 if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) else 32
        unsigned = field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
        least, most = (0, 2 ** bits - 1) if unsigned else (-2 ** (bits - 1), 2 ** (bits - 1) - 1)
        value = max(least, min(most, rng.choice(NUMBERS)))
    elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        value = rng.choice((0, -1, 1e38, float('nan'), float('inf'), 1e-38))
    elif field.cpp_type == field.CPPTYPE_BOOL:
        value = rng.random() < .5
    elif field.cpp_type == field.CPPTYPE_ENUM:
        value = rng.choice(field.enum_type.values).number
    else:
        value = rng.choice((*NAMES, *TEXTS)).encode(errors='replace')
        value = value if field.type == field.TYPE_BYTES else value.decode()
    if repeated:
        getattr(message, field.name).extend([value] * rng.choice((1, 2, 40)))
    else:
        setattr(message, field.name, value)


# --------------------------------------------------------------------------------------------------------- archives

def in_tar(whole, rng):
    """Other members: links, devices, names that lead out, sizes that lie, one twice; packed again in any way."""
    members = []
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        for info in archive:
            members.append((info, archive.extractfile(info).read() if info.isfile() else b''))
    for _ in range(rng.choice((1, 1, 2, 3))):
        change_member(members, rng)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=rng.choice(('w', 'w:gz', 'w:bz2', 'w:xz')),
                      format=rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))) as archive:
        for info, content in members:
            info.mtime = 0
            try:
                archive.addfile(info, io.BytesIO(content.ljust(info.size, b'\0')) if info.size < 1 << 20 else None)
            except (ValueError, OSError, UnicodeError):
                continue
    return out.getvalue()


def change_member(members, rng):
    info, content = rng.choice(members)
    new = tarfile.TarInfo(info.name)
    new.size, how = len(content), rng.randrange(9)
    if how == 0:
        new.name = rng.choice(('/', '../../', '../', 'C:/', '..\\..\\', './')) + rng.choice((info.name, SECRET))
    elif how == 1:
        new.type, new.size = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE)), 0
        new.linkname = rng.choice(('../' * 5 + SECRET, '/etc/passwd', info.name, '', 'nowhere', *NAMES))
    elif how == 2:
        new.type, new.size = rng.choice((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b'Z')), 0
        new.devmajor, new.devminor = 1, 5
    elif how == 3:
        new.size = rng.choice((0, 1, len(content) + 1, 1 << 33, 1 << 62))
    elif how == 4:
        new.name = '/'.join([*info.name.split('/')[:-1], rng.choice(NAMES)])
    elif how == 5:
        new.name = rng.choice((f'{info.name}/{info.name}', info.name.rpartition('/')[0] or 'x', 'x/' * 500 + info.name))
    elif how == 6:
        key = rng.choice(('size', 'path', 'GNU.sparse.size', 'GNU.sparse.map', 'GNU.sparse.major', 'mtime'))
        new.pax_headers = {key: rng.choice((*EDGES, '../' + SECRET, '0,99999999999'))}
    elif how == 7:
        content = any_bytes(content, rng)
        new.size = len(content)
    place = members.index((info, content)) if (info, content) in members else rng.randrange(len(members))
    if rng.random() < .5:
        members[place] = new, content
    else:
        members.insert(place, (new, content))


def in_zip(whole, rng):
    """Other members, sizes and flags; a bomb."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    out, how = io.BytesIO(), rng.randrange(8)
    chosen = rng.randrange(len(members))
    with zipfile.ZipFile(out, 'w', rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2,
                                               zipfile.ZIP_LZMA))) as archive:
        for number, (name, content) in enumerate(members):
            info = zipfile.ZipInfo(name)
            info.compress_type = archive.compression
            if number == chosen and how < 5:
                folder = name.rpartition('/')[0]
                other = rng.choice((f'/{name}', f'../../{SECRET}', f'{folder}/../../../{SECRET}', f'C:{name}',
                                    f'{folder}/', f'{name}/', f'{folder}/{rng.choice(NAMES)}', 'x/' * 2000 + name))
                info.filename = other.encode(errors='replace').decode()
                if how == 1:
                    info.filename, info.external_attr = name, 0o120777 << 16       # a link
                elif how == 2:
                    info.filename, content = name, bytes(40 << 20)                 # small when packed
            archive.writestr(info, content)
            if number == chosen and how == 5:
                archive.writestr(info, content + b'x')
    data = bytearray(out.getvalue())
    if how > 5:     # fields of a header in the directory or before a member
        start = data.find(rng.choice((b'PK\1\2', b'PK\3\4')))
        at = start + rng.randrange(4, 30, 2)
        data[at:at + rng.choice((2, 4))] = rng.choice((b'\0\0', b'\xff\xff', b'\xff\xff\xff\xff', b'\0\0\0\0', b'\1\0'))
    return bytes(data)


# --------------------------------------------------------------------------------------------------------- pictures

PICTURES = (('PNG', ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I', 'I;16')), ('JPEG', ('L', 'RGB', 'CMYK', 'YCbCr')),
            ('BMP', ('1', 'L', 'P', 'RGB')), ('TIFF', ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'F', 'I;16', 'LAB')),
            ('WEBP', ('RGB', 'RGBA')), ('GIF', ('P', 'L')), ('EPS', ('L', 'RGB', 'CMYK')), ('PPM', ('1', 'L', 'RGB')),
            ('PDF', ('L', 'RGB')), ('ICO', ('RGBA',)), ('TGA', ('RGB',)), ('PCX', ('L', 'RGB')), ('SGI', ('RGB',)),
            ('JPEG2000', ('RGB',)), ('DDS', ('RGBA',)), ('XBM', ('1',)), ('MSP', ('1',)), ('SPIDER', ('F',)))


def in_picture(whole, rng):
    """A picture of another format, mode, size or number of frames; a header of another size; or the bytes damaged."""
    if rng.random() < .3:
        return any_bytes(whole, rng)
    format, modes = rng.choice(PICTURES[:5] if rng.random() < .7 else PICTURES)
    size = rng.choice(((32, 24), (20, 33), (1, 1), (1, 300), (300, 1), (2, 2), (0x4000, 1), (24, 32), (400, 300)))
    pixels = np.frombuffer(rng.randbytes(size[0] * size[1]), np.uint8).reshape(size[1], size[0])
    image = Image.fromarray(pixels if rng.random() < .5 else pixels % 21)
    mode = rng.choice(modes)
    try:
        image = image.convert(mode) if mode != 'I;16' else Image.fromarray(pixels.astype(np.uint16) * 257)
        out, more = io.BytesIO(), {}
        if format in ('PNG', 'TIFF', 'WEBP', 'GIF') and rng.random() < .15:
            more = dict(save_all=True, append_images=[image] * rng.choice((1, 60)))
        exif = Image.Exif()
        exif[0x0112] = rng.choice((1, 6, 8, 77, 65535))
        if format in ('JPEG', 'PNG', 'WEBP') and rng.random() < .3:
            more['exif'] = exif
        if format in ('JPEG', 'PNG') and rng.random() < .1:
            more['icc_profile'] = rng.randbytes(300)
        image.save(out, format, **more)
    except (OSError, ValueError, KeyError, RuntimeError, SystemError):    # no such mode in the format
        return any_bytes(whole, rng)
    data = out.getvalue()
    how = rng.random()
    if format == 'PNG' and how < .5:
        return in_png(data, rng)
    return any_bytes(data, rng) if how < .4 else data


def in_png(data, rng):
    """The chunks of a PNG: another size in the header, with its sum right, chunks in other orders, more of them."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at:at + 4], 'big')
        chunks.append((data[at + 4:at + 8], data[at + 8:at + 8 + size]))
        at += size + 12
    how = rng.randrange(6)
    if how < 3:
        sides = [rng.choice((0, 1, 31, 33, 5000, 13_000, 30_000, 65_535, 2 ** 31 - 1, 2 ** 32 - 1)) for _ in 'wh']
        head = bytearray(struct.pack('>II', *sides) + chunks[0][1][8:])
        if how == 2:
            head[rng.randrange(8, 13)] = rng.randrange(256)
        chunks[0] = chunks[0][0], bytes(head)
    elif how == 3:
        kind = rng.choice((b'zTXt', b'iTXt', b'iCCP', b'tRNS', b'PLTE', b'acTL', b'eXIf'))
        body = rng.choice((b'', b'a\0\0' + zlib.compress(bytes(30 << 20)), rng.randbytes(40)))
        chunks.insert(rng.randrange(len(chunks) + 1), (kind, body))
    elif how == 4:
        chunks.insert(rng.randrange(len(chunks)), chunks.pop(rng.randrange(len(chunks))))
    else:
        chunks[1:1] = [(b'tEXt', b'k\0' + rng.choice((*NAMES, *TEXTS)).encode(errors='replace'))] * rng.choice((1, 500))
    return data[:8] + b''.join(struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
                               for kind, body in chunks)


def in_tiff(whole, rng):
    """The tags of a TIFF, as tifffile writes it: other numbers, types and counts, doubled, in circles; or a picture."""
    if rng.random() < .3 or whole[:4] != b'II*\0':
        return in_picture(whole, rng)
    data = bytearray(whole)
    at = int.from_bytes(data[4:8], 'little')
    count = int.from_bytes(data[at:at + 2], 'little')
    for _ in range(rng.choice((1, 1, 2, 4))):
        entry = at + 2 + 12 * rng.randrange(max(count, 1))
        how = rng.randrange(6)
        if how < 3:
            number = rng.choice((0, 1, 2, 3, 5, 8, 16, 32, 34925, 65535, 2 ** 31, 2 ** 32 - 1, rng.randrange(1 << 16)))
            data[entry + 8:entry + 12] = number.to_bytes(4, 'little')
        elif how == 3:
            data[entry + 4:entry + 8] = rng.choice((0, 1, 5, 4096, 1 << 20, 2 ** 32 - 1)).to_bytes(4, 'little')
        elif how == 4:
            data[entry + 2:entry + 4] = rng.choice((0, 1, 2, 3, 4, 12, 16, 65535)).to_bytes(2, 'little')
        else:
            tag = rng.choice((254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 322, 324, 338, 42113))
            data[entry:entry + 2] = tag.to_bytes(2, 'little')
    if rng.random() < .2:
        data[at + 2 + 12 * count:at + 6 + 12 * count] = rng.choice((at, at + 1, 8, 2 ** 32 - 1)).to_bytes(4, 'little')
    return bytes(data)


# -------------------------------------------------------------------------------------------------------- all of it

DAMAGES = {'.onnx': in_onnx, '.caffemodel': in_wire, '.solverstate': in_wire, '.safetensors': in_safetensors,
           '.prototxt': in_prototxt, '.json': in_json, '.jsonl': in_json, '.tar': in_tar, '.zip': in_zip,
           '.txt': in_text, '.tsv': in_text, '.xml': in_text, '.mat': in_mat,
           '.tif': in_tiff, **dict.fromkeys(('.jpg', '.png', '.bmp', '.webp'), in_picture)}


def damaged(path, rng):
    """The content of a good file, damaged as its format allows, or as any bytes."""
    whole = path.read_bytes()
    damage = DAMAGES.get(path.suffix, any_bytes)
    data = whole if rng.random() < .25 else damage(whole, rng)
    return any_bytes(data, rng) if data is whole or rng.random() < .1 else data
