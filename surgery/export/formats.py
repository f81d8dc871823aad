"""What nets are exported to: how a format is written, and which engines run it."""
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import files
from cli import BadInput

from ..onnx_export import onnx_model
from .source import Source

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
        Those of `engines.ENGINES` that run it; the first must be installed, and must agree.
    """

    folder: bool
    begins: bytes
    write: Callable[[Source, Path], None]
    engines: tuple[str, ...]


def _write_onnx(source: Source, path: Path) -> None:
    facts: dict[str, object] = {'source': Path(source.name).name, 'input': source.takes,
                                **{key: value for key, value in asdict(source.preparation).items() if key != 'classes'}}
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


FORMATS = {'onnx': Format(False, BEGINS, _write_onnx, ('onnxruntime', 'openvino', 'opencv'))}
