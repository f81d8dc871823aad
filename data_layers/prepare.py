"""Bring what a user downloads, archives or unpacked folders, into the layout that the data layers read.

Only the files that the data layers need are taken. They are written aside in the data set's folder, and come to their
places when all is well, so that a refused archive, a full disk or a signal changes nothing. All files are written
inside that folder: an archive with a member that points outside it, or is a link, is refused.
"""
import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Self

import numpy as np
import scipy.io

import files
from cli import BadInput, printable, progress
from data_layers import DATASETS, Dataset, data_home
from data_layers.cityscapes import LABEL_ENDING, LABELS, PHOTOGRAPHS, Cityscapes
from data_layers.nyud import NUM_CLASSES
from data_layers.reading import LARGE, VOID, read_lines, read_mat, to_integers
from data_layers.siftflow import CATEGORIES, SIFTFlow
from data_layers.voc import sbd_train, seg11valid

# Data set -> names of its archives, and what is taken: {folder or file in the download: its place in the data set}.
# A folder or file is recognised wherever it lies in the download; one with * in its name keeps the place that it has.
VOC_PARTS = ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation')
ARCHIVES = {'voc': ('*VOC*2011*',), 'voc2012': ('*VOC*2012*',), 'sbd': ('*benchmark*',),
            'nyud': ('*nyud*', '*eccv14*'), 'siftflow': ('*[Ss]ift*[Ff]low*',),
            'pascalcontext': ('trainval*', '*[Cc]ontext*', '*VOC*2010*'), 'cityscapes': ('leftImg8bit*', 'gtFine*')}
PARTS: dict[str, dict[str, str]] = {
    'voc': {f'VOC2011/{part}': part for part in VOC_PARTS},
    'voc2012': {f'VOC2012/{part}': part for part in VOC_PARTS},
    'sbd': {f'dataset/{part}': part for part in ('img', 'cls', 'train.txt', 'val.txt')},
    'nyud': {part: part for part in ('data/images', 'data/depth', 'data/hha', 'segmentation', 'train.txt', 'val.txt',
                                     'trainval.txt', 'test.txt', 'benchmarkData/groundTruth',
                                     'benchmarkData/metadata')},
    'siftflow': {part: part for part in (f'Images/{CATEGORIES}', f'SemanticLabels/{CATEGORIES}',
                                         f'GeoLabels/{CATEGORIES}', 'TestSet1.txt', 'trainval.txt', 'test.txt')},
    'pascalcontext': {'trainval': 'trainval', 'labels.txt': 'labels.txt', '59_labels.txt': '59_labels.txt',
                      'VOC2010/JPEGImages': 'VOC2010/JPEGImages',
                      **{f'VOC2010/ImageSets/Main/{split}.txt': f'VOC2010/ImageSets/Main/{split}.txt'
                         for split in ('train', 'val', 'trainval')}},
    'cityscapes': {f'{folder}/{split}/*/*{ending}': '' for split in Cityscapes.published
                   for folder, ending in ((PHOTOGRAPHS, f'_{PHOTOGRAPHS}.png'), (LABELS, LABEL_ENDING))},
}
# What precedes a member of a tar file, long names for example, and how many bytes of it are possible.
HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
           tarfile.SOLARIS_XHDTYPE)
MOST_HEADERS = 1 << 20
PACKED = ('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.zip')


def prepare(name: str, *sources: Path, target: Path | None = None) -> str:
    """Bring a download into place and compute the split files that it lacks.

    Parameters
    ----------
    name : str
        The data set.
    *sources : path
        Folders with archives or unpacked files, or archives.
    target : path, optional
        The data set's folder; by default its place under `$FCN_DATA`.

    Returns
    -------
    str
        What was done, and where the data come from and on which terms.

    Raises
    ------
    BadInput
        One has nothing of the data set, or an archive is corrupt or points outside the folder.
    """
    if name not in PARTS:
        raise BadInput(f'nothing is to be prepared of {name!r}: choose from {", ".join(PARTS)}')
    kind = DATASETS[name]
    target = target or data_home() / kind.home
    done: Counter[str] = Counter()
    with files.whole_folder(target) as aside:
        for source in sources:
            found = sum((unpack(path, PARTS[name], target, aside) for path in archives(name, source)), Counter[str]())
            if source.is_dir():
                found += copy_tree(source, PARTS[name], target, aside)
            if not found:
                raise BadInput(f'{source} has nothing of {kind.title}: download {kind.source}')
            done += found
    notes = (FINISH[name](target) if name in FINISH else [])
    notes = [printable(line) for line in (f'{target}: {done["new"]} files new, {done["kept"]} already there', *notes)]
    return '\n'.join([*notes, kind.describe(), f'now run: python -m data_layers check {name}'])


def archives(name: str, source: Path) -> list[Path]:
    """The archives of a data set.

    Parameters
    ----------
    name : str
        The data set.
    source : path
        A folder, or one archive, whatever its name.

    Returns
    -------
    list of path
        Sorted.

    Raises
    ------
    BadInput
        `source` is missing.
    """
    if not source.exists():
        raise BadInput(f'{source} is missing; --from takes the folder with the download of {DATASETS[name].title}')
    if source.is_file():
        return [source]
    found = {path for pattern in ARCHIVES[name] for path in source.glob(pattern)}
    return sorted(path for path in found if path.name.endswith(PACKED))


def place(parts: tuple[str, ...], wanted: dict[str, str]) -> PurePosixPath | None:
    """Where a file goes in the data set.

    Parameters
    ----------
    parts : tuple of str
        Its path in the download.
    wanted : dict
        As `PARTS` has it: folder or file in the download -> its place in the data set.

    Returns
    -------
    path or None
        Below the data set's folder; None for a file that is not needed.

    Examples
    --------
    >>> place(('TrainVal', 'VOCdevkit', 'VOC2011', 'JPEGImages', '1.jpg'), {'VOC2011/JPEGImages': 'JPEGImages'})
    PurePosixPath('JPEGImages/1.jpg')
    >>> place(('download', 'gtFine', 'val', 'ulm', '1_labelIds.png'), {'gtFine/*/*/*_labelIds.png': ''})
    PurePosixPath('gtFine/val/ulm/1_labelIds.png')
    """
    if parts[-1].startswith('._') or parts[-1].endswith(files.PARTIAL):   # made by macOS, and by a stopped run
        return None
    for anchor, here in wanted.items():
        anchored = tuple(anchor.split('/'))
        length = len(anchored)
        for start in range(len(parts) - length + 1):
            there, rest = parts[start:start + length], parts[start + length:]
            # A folder is wanted with the files right in it, a file (with a suffix) itself.
            if len(rest) != (not PurePosixPath(anchor).suffix):
                continue
            if '*' in anchor and all(map(fnmatchcase, there, anchored)):
                return PurePosixPath(*there)
            if there == anchored:
                return PurePosixPath(here, *rest)
    return None


def put(stream: IO[bytes], size: int, there: Path, path: Path) -> str:
    """Write a file, unless it is there with the same size.

    Parameters
    ----------
    stream : file
        The content.
    size : int
        Its bytes.
    there : path
        Where it will be.
    path : path
        The file to write; its folder is made.

    Returns
    -------
    str
        'new' or 'kept'.
    """
    if there.is_file() and there.stat().st_size == size:
        return 'kept'
    path.parent.mkdir(parents=True, exist_ok=True)
    there.with_name(there.name + files.PARTIAL).unlink(missing_ok=True)     # of a run that was killed
    with path.open('wb') as file:
        shutil.copyfileobj(stream, file)
    return 'new'


def write_ids(path: Path, ids: list[str]) -> str:
    """Write the list of a split; return a line that says so."""
    files.write(path, ''.join(f'{id}\n' for id in ids))
    return f'wrote {path}: {len(ids)} ids'


def copy_tree(source: Path, wanted: dict[str, str], target: Path, aside: Path) -> Counter[str]:
    """Copy the wanted files of an unpacked download.

    Parameters
    ----------
    source : path
        The download, a folder.
    wanted : dict
        As for `place`.
    target : path
        The data set's folder.
    aside : path
        Gets what is new, in the places that it will have in `target`.

    Returns
    -------
    Counter
        How many files were 'new' and 'kept'.
    """
    done: Counter[str] = Counter()
    top = source.resolve()
    found = (Path(folder, name) for folder, _, names in os.walk(top) for name in names
             if not any(part.startswith(files.SCRATCH) for part in Path(folder).parts))      # what is written aside
    for path in progress(found, desc=f'files of {source}', unit='file'):
        goal = place(path.parts[1:], wanted)
        # A list such as train.txt is this data set's only at the top or beside the data set's folders.
        if goal and (len(goal.parts) > 1 or path.parent == top
                     or any((path.parent / part).is_dir() for part in wanted.values())):
            with files.open_regular(path) as stream:
                done[put(stream, os.fstat(stream.fileno()).st_size, target / goal, aside / goal)] += 1
    return done


def unpack(archive: Path, wanted: dict[str, str], target: Path, aside: Path) -> Counter[str]:
    """Unpack the wanted files of an archive.

    Parameters
    ----------
    archive : path
        A tar or zip file.
    wanted : dict
        As for `place`.
    target : path
        The data set's folder.
    aside : path
        Gets what is new, in the places that it will have in `target`.

    Returns
    -------
    Counter
        How many files were 'new' and 'kept'.

    Raises
    ------
    BadInput
        The archive is corrupt, or a member is a link or points outside the folder.
    """
    done: Counter[str] = Counter()
    try:
        for name, size, stream in members(archive):
            parts = PurePosixPath(name.replace('\\', '/')).parts
            if not parts or parts[0] == '/' or '..' in parts or ':' in parts[0]:
                raise BadInput(f'{archive} is refused: its member {name!r} points outside the folder; get it from '
                               'its original source')
            if goal := place(parts, wanted):
                if stream is None:
                    raise BadInput(f'{archive} is refused: its member {name!r} is a link or a device, or sparse, '
                                   'where a file should be; get it from its original source')
                done[put(stream, size, target / goal, aside / goal)] += 1
    except (BadInput, MemoryError):
        raise
    except Exception as problem:    # a damaged archive makes the readers raise almost anything
        if isinstance(problem, OSError) and problem.errno:      # which the system refuses, as on a full disk
            raise
        raise BadInput(f'{archive} cannot be unpacked ({problem}); nothing of it was kept: download it again, and '
                       'repeat the command') from None
    return done


class Header(tarfile.TarInfo):
    """What precedes a member of a tar file; unlike the standard library's, one that is cut short is no end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:      # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as problem:
            raise tarfile.ReadError(f'it is cut short or damaged: {problem}') from None

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in HEADERS and header.size > MOST_HEADERS:
            raise tarfile.ReadError(f'a header has {header.size} bytes')
        return header


def members(archive: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    """Go through the members of an archive that are not folders.

    Yields
    ------
    name : str
        Path in the archive.
    size : int
        Bytes.
    content : file or None
        None for links and devices.
    """
    file = files.open_regular(archive)
    if zipfile.is_zipfile(file):
        with file, zipfile.ZipFile(file) as packed:
            for entry in progress(packed.infolist(), desc=archive.name, unit='file'):
                if not entry.is_dir():
                    link = entry.external_attr >> 28 == 0o12      # Unix file type: symbolic link
                    with packed.open(entry) as stream:
                        yield entry.filename, entry.file_size, None if link else stream
        return
    file.seek(0)
    with (file, decompressed(file) as plain, tarfile.open(fileobj=plain, mode='r|', tarinfo=Header) as packed_tar,
          progress(total=archive.stat().st_size, desc=archive.name, unit='B', unit_scale=True) as bar):
        for member in packed_tar:
            if not member.isdir():
                whole = member.isreg() and not member.issparse()    # a sparse one may be of any size
                yield member.name, member.size, packed_tar.extractfile(member) if whole else None
            bar.update(file.tell() - bar.n)
        while plain is not file and plain.read(1 << 20):    # to the end, where the sum of all bytes is checked
            continue


def decompressed(file: io.BufferedReader) -> io.BufferedIOBase:
    """What a file compressed by gzip, bzip2 or xz holds, or the file itself if it is another."""
    head = file.peek(6)
    if head.startswith(b'\x1f\x8b'):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(b'BZh'):
        return bz2.BZ2File(file)
    return lzma.LZMAFile(file) if head.startswith(b'\xfd7zXZ') else file


# What follows the copying.

def finish_voc(folder: Path) -> list[str]:
    """Write the list of seg11valid, once VOC 2011 and SBD are there; return what to tell the user, a line each."""
    lists, train = folder / 'ImageSets/Segmentation', sbd_train(folder)
    if not train.is_file() or not (lists / 'val.txt').is_file():
        return ['seg11valid, the scored split, will be computed once SBD is prepared too']
    return [write_ids(lists / 'seg11valid.txt', seg11valid(read_lines(lists / 'val.txt'), read_lines(train)))]


def finish_nyud(folder: Path) -> list[str]:
    """Write what the distribution of Gupta et al. lacks, labels and lists; return what to tell the user."""
    notes = []
    truth, metadata = folder / 'benchmarkData/groundTruth', folder / 'benchmarkData/metadata'
    if truth.is_dir() and (metadata / 'classMapping40.mat').is_file():
        notes.append(map_ground_truth(truth, metadata / 'classMapping40.mat', folder / 'segmentation'))
    for split, key in (('train', 'train'), ('val', 'val'), ('test', 'test')):
        if not (folder / f'{split}.txt').is_file() and (metadata / 'nyusplits.mat').is_file():
            ids = map(str, to_integers(read_mat(metadata / 'nyusplits.mat', key, most=LARGE),
                                       metadata / 'nyusplits.mat').flat)
            notes.append(write_ids(folder / f'{split}.txt', [*ids]))
    both = [folder / 'train.txt', folder / 'val.txt']
    if all(path.is_file() for path in both):
        notes.append(write_ids(folder / 'trainval.txt', [id for path in both for id in read_lines(path)]))
    if not (folder / 'data/hha').is_dir():
        notes.append('data/hha is missing: the HHA nets need it, the others do not')
    return notes


def map_ground_truth(truth: Path, mapping: Path, target: Path) -> str:
    """Turn the labels of all 894 classes, as Gupta et al. distribute them, into those of the 40 class task.

    Parameters
    ----------
    truth, mapping : path
        Folder of the labels, and the file that maps the classes.
    target : path
        Folder of the new labels; those that are there are kept.

    Returns
    -------
    str
        How many were written.

    Raises
    ------
    BadInput
        A file is corrupt or of another kind.
    """
    class_of = np.concatenate([[0], to_integers(read_mat(mapping, 'mapClass', most=LARGE), mapping).ravel()])
    if class_of.min() < 0 or class_of.max() > NUM_CLASSES:
        raise BadInput(f'{mapping} maps to classes other than 0 to {NUM_CLASSES}; restore it from the download')
    count = 0
    for path in progress(sorted(truth.glob('img_*.mat')), desc='40 classes', unit='image'):
        if (target / path.name).is_file():
            continue
        labels = to_integers(read_mat(path, 'groundTruth', 0, 'SegmentationClass', most=LARGE), path)
        if labels.min() < 0 or labels.max() >= len(class_of):
            raise BadInput(f'{path} has no groundTruth of NYUDv2: labels of 0 to {len(class_of) - 1}; restore it from '
                           'the download')
        segmentation = class_of.astype(np.uint8)[labels]
        target.mkdir(parents=True, exist_ok=True)
        with files.whole(target / path.name) as file:
            scipy.io.savemat(file, {'segmentation': segmentation}, do_compression=True)
        count += 1
    return f'wrote {count} label files of the 40 class task to {target}'


def finish_siftflow(folder: Path) -> list[str]:
    """Write the lists of test and of trainval, which is all other images with annotations; return what to tell."""
    notes, test = [], folder / 'test.txt'
    if not test.is_file():
        if not (folder / 'TestSet1.txt').is_file():
            raise BadInput(f'{folder} has neither TestSet1.txt nor test.txt; restore the list of test images from the '
                           'download')
        lines = [line.replace('\\', '/') for line in read_lines(folder / 'TestSet1.txt')]
        notes.append(write_ids(test, [PurePosixPath(line).stem for line in lines]))
    if not (folder / 'trainval.txt').is_file():
        ids = {path.stem for path in (folder / 'Images' / CATEGORIES).glob('*.jpg')} - set(read_lines(test))
        labels = SIFTFlow('test', folder, ('sem', 'geo'))
        notes.append(write_ids(folder / 'trainval.txt', [
            id for id in progress(sorted(ids), desc='annotated?', unit='image') if is_annotated(labels, id)]))
    return notes


def is_annotated(dataset: Dataset, id: str) -> bool:
    """Whether every label of a sample is there and not void throughout."""
    return all(dataset.file(top, id).is_file() and (dataset.read(top, id) != VOID).any() for top in dataset.tops)


def finish_sbd(folder: Path) -> list[str]:
    """Write the list of seg11valid, when VOC 2011 is there already; return what to tell the user, a line each."""
    voc = (folder / '../../pascal/VOC2011').resolve()
    return finish_voc(voc) if (voc / 'ImageSets/Segmentation/val.txt').is_file() else []


FINISH: dict[str, Callable[[Path], list[str]]] = {
    'voc': finish_voc, 'sbd': finish_sbd, 'nyud': finish_nyud, 'siftflow': finish_siftflow}
