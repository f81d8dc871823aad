"""Where weights lie and what they are called: classifiers to start from, published nets, and what was trained here."""
import http.client
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path

import cli
import files
from data_layers.dataset import runs_home

ROOT = Path(__file__).resolve().parent.parent
# Host of the published weights; it is often out of reach.
PUBLISHED_HOST = 'dl.caffe.berkeleyvision.org'

# The classifiers whose weights a trunk starts from: file name, and where it comes from.
CLASSIFIERS = {
    'vgg16': ('VGG_ILSVRC_16_layers.caffemodel',
              'the 16-layer model of the Oxford VGG group for ILSVRC-2014, in Caffe format, 528 MB'),
    'googlenet': ('bvlc_googlenet.caffemodel', f'{PUBLISHED_HOST}/bvlc_googlenet.caffemodel, 51 MB'),
    'caffenet': ('bvlc_reference_caffenet.caffemodel', f'{PUBLISHED_HOST}/bvlc_reference_caffenet.caffemodel, 233 MB'),
}

# Released weights, of the papers' nets and of the Cityscapes net.
PUBLISHED = {
    'voc-fcn32s': 'fcn32s-heavy-pascal', 'voc-fcn16s': 'fcn16s-heavy-pascal', 'voc-fcn8s': 'fcn8s-heavy-pascal',
    'voc-fcn8s-atonce': 'fcn8s-atonce-pascal', 'voc-fcn-alexnet': 'fcn-alexnet-pascal',
    **{f'nyud-fcn32s-{kind}': f'nyud-fcn32s-{kind}-heavy' for kind in ('color', 'hha', 'color-hha')},
    **{f'{data}-fcn{s}s': f'{data}-fcn{s}s-heavy' for data in ('siftflow', 'pascalcontext') for s in (32, 16, 8)},
    'cityscapes-fcn8s': 'fcn-8s-cityscapes',
}
# Where those lie that are not on PUBLISHED_HOST.
ELSEWHERE = {'cityscapes-fcn8s': 'people.eecs.berkeley.edu/~tinghuiz/projects/pix2pix/fcn-8s-cityscapes'}


def runs_folder() -> Path:
    """Where runs are written: `$FCN_RUNS`, or `runs/` of the checkout."""
    return runs_home()


def weights_folder() -> Path:
    """Where downloaded weights lie: `$FCN_WEIGHTS`, or `weights/` of the checkout."""
    return Path(os.environ.get('FCN_WEIGHTS') or ROOT / 'weights')


def candidates(name: str | Path) -> list[Path]:
    """The files that may hold the weights of a classifier or net, the preferred one first; a path is its own."""
    if isinstance(name, Path):
        return [name]
    if name in CLASSIFIERS:
        return [weights_folder() / CLASSIFIERS[name][0]]
    paths = [runs_folder() / name / 'weights.caffemodel', weights_folder() / f'{name}.caffemodel']
    if name in PUBLISHED:
        paths.append(released(name))
    return paths


def released(name: str) -> Path:
    """Where the released weights of a net of `PUBLISHED` lie once they are here."""
    return weights_folder() / f'{PUBLISHED[name]}.caffemodel'


def existing(name: str | Path) -> Path | None:
    """The file with the weights of a classifier or net, or at a path, or None."""
    return next((path for path in candidates(name) if path.is_file()), None)


def find(name: str | Path) -> Path:
    """The file with the weights of a classifier or net, or at a path.

    Raises
    ------
    cli.BadInput
        When there is none; says what to download or train, and where to put it.
    """
    path = existing(name)
    if path:
        return path
    if isinstance(name, Path):
        raise cli.BadInput(f'{name} is missing: put the caffemodel there that the net starts from')
    if name in CLASSIFIERS:
        file, source = CLASSIFIERS[name]
        raise cli.BadInput(f'weights of {name} are missing: get {file} ({source}) and put it at '
                           f'{weights_folder() / file}; FCN_WEIGHTS names another folder')
    raise cli.BadInput(f'weights of {name} are missing: train it (make {name}), '
                       f'or put its caffemodel at {" or ".join(map(str, candidates(name)[1:]))}')


def fetch(name: str, check: Callable[[Path], object]) -> Path:
    """Download the released weights of a net; a download that broke off goes on where it was.

    Parameters
    ----------
    name : str
        A net.
    check : callable
        Called with the file; raises `cli.BadInput` when it does not fit the net. Only then does it get its final name.

    Raises
    ------
    cli.BadInput
        Nothing was released, the host does not answer, or the file does not fit; says where to put it by hand.
    """
    if name not in PUBLISHED:
        raise cli.BadInput(f'no weights of {name} were released; there are those of {", ".join(sorted(PUBLISHED))}')
    path = released(name)
    if not path.exists():
        partial = path.with_suffix('.partial')
        path.parent.mkdir(parents=True, exist_ok=True)
        host = ELSEWHERE.get(name, PUBLISHED_HOST)
        url = f'{os.environ.get("FCN_WEIGHTS_URL") or "http://" + host}/{path.name}'
        try:
            _download(url, partial)
        except (OSError, http.client.HTTPException) as problem:
            if isinstance(problem, OSError) and problem.errno in files.FULL:
                raise
            raise cli.BadInput(f'{url} does not answer ({problem}); what came is kept: try again later, or get the '
                               f'file elsewhere and put it at {path}') from None
        try:
            check(partial)
        except cli.BadInput:
            partial.unlink()        # a page of another server, say, must not be taken for the beginning of the file
            raise
        finally:
            _entity(partial).unlink(missing_ok=True)
        partial.rename(path)
    return path


def _entity(partial: Path) -> Path:
    """Where the server's name of what `partial` is the beginning of is kept."""
    return partial.with_name(f'{partial.name}.entity')


def _download(url: str, partial: Path) -> None:
    """Append to `partial` what it still lacks of `url`, as far as the server says that it is still the same file."""
    known = _entity(partial)
    for path in (partial, known):
        if path.exists():
            files.check_regular(path)
    have = partial.stat().st_size if partial.exists() and known.exists() else 0
    headers = {'Range': f'bytes={have}-', 'If-Range': files.read_text(known)} if have else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer, \
            partial.open('ab' if answer.status == 206 else 'wb') as file:
        entity = answer.headers.get('ETag') or answer.headers.get('Last-Modified')
        known.write_text(entity) if entity else known.unlink(missing_ok=True)
        have = file.tell()
        rest = int(answer.headers.get('Content-Length') or 0)
        with cli.progress(total=have + rest, initial=have, unit='B', unit_scale=True, desc=partial.stem) as bar:
            while chunk := answer.read(1 << 20):
                file.write(chunk)
                bar.update(len(chunk))
        if rest and file.tell() != have + rest:
            raise ConnectionError(f'the connection broke after {file.tell()} of {have + rest} bytes')
