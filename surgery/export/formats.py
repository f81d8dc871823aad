"""What nets are exported to: how a format is written, and which engines run it."""
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import files
from cli import BadInput

from ..onnx_export import onnx_model
from ..preparation import Preparation
from .source import Source
from .torch import PAGE, WEIGHTS, describe, write_torch

BEGINS = b'\x08\x07'        # an ONNX file of the version written here


class Format(NamedTuple):
    """A format.

    Attributes
    ----------
    folder : bool
        Whether it is a folder of files; else it is one file.
    begins : bytes
        How the file begins.
    write : function
        (source, path) -> nothing: writes the file, or into the folder.
    engines : tuple of str
        Those of `engines.ENGINES` that run it where they are installed; the first must agree.
    needed : bool
        Whether the first one must be installed.
    runnable : function
        (source, path of the export, folder, blobs within the net) -> path of what the engines run: the export itself,
        or, in `folder`, one that gives these blobs too.
    """

    folder: bool
    begins: bytes
    write: Callable[[Source, Path], None]
    engines: tuple[str, ...]
    needed: bool
    runnable: Callable[[Source, Path, Path, Sequence[str]], Path]


def _write_onnx(source: Source, path: Path) -> None:
    facts: dict[str, object] = {'source': Path(source.name).name, 'input': source.takes,
                                **{key: value for key, value in source.preparation.facts().items() if key != 'classes'}}
    if source.classes:
        facts['classes'] = source.classes
    model = onnx_model(source.net, source.weights, source.shapes, source.sizes, source.outputs, source.takes,
                       source.preparation, facts)
    from onnx import checker
    content = model.SerializeToString()
    try:
        checker.check_model(content)
    except checker.ValidationError as problem:
        raise BadInput(f'{source.name}: ONNX cannot say this net: {" ".join(str(problem).split())[:200]}') from None
    files.write(path, [content])


def _write_torch(source: Source, folder: Path) -> None:
    if source.takes != 'caffe':
        raise BadInput(f'--input {source.takes}: the module takes what the net does, and the function prepare of its '
                       'page makes that of a photograph; leave --input out')
    inputs = list(source.sizes.inputs.values())
    takes = source.preparation if len(inputs) == 1 and inputs[0][1:2] == (source.preparation.channels,) else None
    if takes and takes.pictures:     # which the report describes
        takes = None
    names = next((source.classes[name] for name in source.outputs if name in source.classes), ())
    write_torch(source.net, source.weights, folder, takes if takes != Preparation() else None, names)


def _torch_with_inner(source: Source, export: Path, folder: Path, inner: Sequence[str]) -> Path:
    files.write(folder / PAGE, describe(source.net, source.weights, more=inner)[0])
    (folder / WEIGHTS).symlink_to((export / WEIGHTS).resolve())
    return folder


FORMATS = {
    'onnx': Format(False, BEGINS, _write_onnx, ('onnxruntime', 'openvino', 'opencv'), True,
                   lambda source, export, folder, inner: export),
    'torch': Format(True, b'', _write_torch, ('torch',), False, _torch_with_inner),
}
