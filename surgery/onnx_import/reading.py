"""Read an ONNX file and the constants in it."""
import os
from pathlib import Path
from typing import Any

import numpy as np

import files
from cli import BadInput

from ..untrusted import sensible

SHARED = 2              # of each byte of a file with weights, so many copies may be read: constants may share it
MOST_BYTES = 2 ** 31 - 1        # that protobuf can read; a larger model keeps its weights in files beside it

def read_onnx(path: str | os.PathLike[str]) -> Any:
    """Parse an ONNX file, with weights kept in files beside it; nothing outside its folder is read.

    Parameters
    ----------
    path : path
        An `.onnx` file.

    Returns
    -------
    onnx.ModelProto
        With the bytes of external weights in place.

    Raises
    ------
    BadInput
        The file, or one that keeps its weights, is missing, corrupt, or outside the folder of `path`.
    """
    import onnx
    from google.protobuf.message import DecodeError
    path = Path(path)
    try:
        with files.open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise BadInput(f'{path}: not an ONNX model: it has more than 2 GB; export it with its weights in files '
                               'beside it')
            model = onnx.load_model_from_string(file.read())
    except OSError as problem:
        raise BadInput(f'{path}: cannot read the model: {problem.strerror}') from None
    except (DecodeError, ValueError, RecursionError):
        raise BadInput(f'{path}: not an ONNX model, or a corrupt one; fetch or export it again') from None
    if not model.graph.node:
        raise BadInput(f'{path}: not an ONNX model: its graph is empty')
    left: dict[Path, int] = {}
    with sensible(str(path), 'its constants'):
        attributes = (a.t for node in model.graph.node for a in node.attribute if a.HasField('t'))
        for tensor in [*model.graph.initializer, *attributes]:
            if tensor.data_location == tensor.EXTERNAL:
                _load_external(path, tensor, left)
    return model


def _load_external(path: Path, tensor: Any, left: dict[Path, int]) -> None:
    """Read a constant from a file beside the model; `left` has how many bytes may still come from each file."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    name = facts.get('location', '')
    file = path.parent / name
    if not name or Path(name).is_absolute() or '..' in Path(name).parts or not _beside(path.parent, file):
        raise BadInput(f'keeps {tensor.name} in {name!r}, which is not a file beside it')
    try:
        size = file.stat().st_size
        offset, length = int(facts.get('offset', 0)), int(facts.get('length', size))
        with files.open_regular(file) as data:
            data.seek(offset)
            left[file] = left.get(file, SHARED * size) - length
            if left[file] < 0:
                raise BadInput(f'its constants take more than {SHARED} times what is in {name!r}')
            tensor.raw_data = data.read(length) if 0 <= length <= size else b''
    except (OSError, ValueError, OverflowError):
        raise BadInput(f'cannot read {tensor.name} from {name!r}') from None
    tensor.ClearField('external_data')
    tensor.data_location = tensor.DEFAULT


def _beside(folder: Path, file: Path) -> bool:
    """Whether a file lies in a folder or below it, and no link leads there."""
    try:
        below = [file, *file.parents[:len(file.parts) - len(folder.parts) - 1]]
        return file.is_file() and not any(part.is_symlink() for part in below)
    except (OSError, ValueError):           # a name that no file can have
        return False


def tensor_array(tensor: Any) -> np.ndarray:
    """The numbers of an `onnx.TensorProto`.

    Parameters
    ----------
    tensor : onnx.TensorProto
        A constant of a graph, its bytes in place.

    Returns
    -------
    ndarray
        Of the tensor's shape; float32 where the tensor has floats of any width, else of the tensor's type.

    Raises
    ------
    BadInput
        Its bytes do not fit its shape, or its type is unknown; names the tensor.
    """
    from onnx import numpy_helper
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as problem:            # a corrupt tensor: lengths that do not fit, unknown types
        raise BadInput(f'constant {tensor.name!r} is corrupt: {str(problem)[:100]}') from None
    return array.astype(np.float32) if array.dtype.kind == 'f' or array.dtype.name == 'bfloat16' else array
