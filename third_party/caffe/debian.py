"""What Debian and Ubuntu provide: development packages, and source packages."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from . import Problem

# Releases are also named by their role.
ROLES = {'oldoldstable', 'oldstable', 'stable', 'testing', 'unstable', 'sid'}
COMPONENTS = {'debian': 'main', 'ubuntu': 'main universe'}     # have the source packages
KEYRINGS = (Path('/usr/share/keyrings/debian-archive-keyring.gpg'),
            Path('/usr/share/keyrings/debian-archive-removed-keys.gpg'))    # of ended suites
OS_RELEASE = Path('/etc/os-release')
NEWER = {'jammy': 'python3.11'}     # suites of Ubuntu whose own Python is too old: one that they have beside it


class Mirror(NamedTuple):
    """A mirror in apt's sources; `options` are those of a line of sources.list, empty or with a space at the end."""

    uri: str
    options: str
    distribution: str


class Place(NamedTuple):
    """Where apt looks for a source package: the fields of a line of sources.list."""

    uri: str
    suite: str
    components: str
    options: str = ''


def missing(packages: Sequence[str]) -> list[str]:
    """Return the packages that are not installed.

    Parameters
    ----------
    packages : sequence of str

    Returns
    -------
    list of str
        In the order of `packages`.

    Raises
    ------
    FileNotFoundError
        This machine has no dpkg.
    """
    listing = subprocess.run(['dpkg-query', '-W', '-f', '${db:Status-Status} ${Package}\n', *packages],
                             capture_output=True, text=True)
    installed = {name for status, name in map(str.split, listing.stdout.splitlines()) if status == 'installed'}
    return [package for package in packages if package not in installed]


def install(packages: Sequence[str]) -> None:
    """Install packages, as root.

    Parameters
    ----------
    packages : sequence of str

    Raises
    ------
    Problem
        The user is not root, and is told the command; or apt failed.
    """
    command = ['apt-get', 'install', '--yes', '--no-install-recommends', *packages]
    if os.geteuid() != 0:
        raise Problem(f'missing Debian packages; run: sudo {" ".join(command)}', status=2)
    print(f'installing Debian packages: {" ".join(packages)}', flush=True)
    # The machine's package lists may be missing or out of date: fetch them when the first try fails.
    if _apt(command).returncode != 0:
        _apt(['apt-get', 'update'])
        result = _apt(command)
        if result.returncode != 0:
            raise Problem(f'cannot install Debian packages ({_complaint(result)}): check the network and the mirror in '
                          f"apt's sources, then run: {' '.join(command)}")


def _apt(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive', 'LC_ALL': 'C.UTF-8'}
    waiting = ['-o', 'DPkg::Lock::Timeout=300']
    return subprocess.run([command[0], *waiting, *command[1:]], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)


def _complaint(result: subprocess.CompletedProcess[str]) -> str:
    """Return the first error line that apt printed."""
    lines = [line for line in result.stderr.splitlines() if line.startswith('E:')] or result.stderr.splitlines()
    return lines[0].strip() if lines else f'exit status {result.returncode}'


def fetch_source(place: Place, package: str, name: str, target: Path) -> None:
    """Download one file of a source package.

    Uses apt with a private configuration, which takes the proxies and keys from the machine's, and leaves the machine's
    lists of packages alone.

    Parameters
    ----------
    place : Place
        Where apt looks.
    package : str
        The source package.
    name : str
        Of the file; may be a pattern, as in '*.orig.tar.*'.
    target : Path
        Where to put it; it appears whole or not at all.

    Raises
    ------
    Problem
        apt cannot fetch it.
    """
    with tempfile.TemporaryDirectory(prefix='fcn-caffe-apt-') as folder:
        result = _download(Path(folder), place, package)
        found = sorted(Path(folder).glob(name))
        if not found:
            raise Problem(_complaint(result))
        partial = target.with_name(target.name + '.tmp')
        shutil.move(str(found[0]), str(partial))
        partial.replace(target)


def _download(folder: Path, place: Place, package: str) -> subprocess.CompletedProcess[str]:
    """Run `apt-get update` and `apt-get source` with `place` as the only source; files land in `folder`."""
    (folder / 'sources.list').write_text(f'deb-src {place.options}{place.uri} {place.suite} {place.components}\n')
    for name in ('lists/partial', 'cache/archives/partial'):
        (folder / name).mkdir(parents=True)
    # Read after the machine's configuration. Hooks there are for the machine's lists; root may write to this folder.
    (folder / 'apt.conf').write_text(
        f'Dir::Etc::SourceList "{folder}/sources.list";\n'
        'Dir::Etc::SourceParts "/dev/null";\n'
        f'Dir::State::Lists "{folder}/lists";\n'
        f'Dir::Cache "{folder}/cache";\n'
        '#clear APT::Update;\n'
        'APT::Update::Error-Mode "any";\n'  # a mirror out of reach is an error, not a warning
        + ('APT::Sandbox::User "root";\n' if os.geteuid() == 0 else ''))
    apt = ['apt-get', '--quiet', '--config-file', str(folder / 'apt.conf')]
    environment = {**os.environ, 'LC_ALL': 'C.UTF-8'}
    for action in (['update'], ['source', '--download-only', package]):
        result = subprocess.run([*apt, *action], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True)
        if result.returncode != 0:
            break
    return result


def places(suites: Mapping[str, str]) -> list[Place]:
    """Return where apt may find a source package: the machine's mirrors, then Debian's archive of ended suites on them.

    Parameters
    ----------
    suites : mapping of str to str
        The suite that has it, of 'debian' and of 'ubuntu'.

    Returns
    -------
    list of Place
    """
    found = [mirror for mirror in mirrors() if mirror.distribution in suites]
    now = [Place(mirror.uri, suites[mirror.distribution], COMPONENTS[mirror.distribution], mirror.options)
           for mirror in found]
    # An ended suite moves from .../debian to .../debian-archive/debian; its signature may be of a key that has been
    # retired since, and both its list and its signature have run out.
    keys = ','.join(str(path) for path in KEYRINGS if path.is_file())
    options = f'[check-valid-until=no{f" signed-by={keys}" if keys else ""}] '
    ended = [Place(f'{base}-archive/debian', suites['debian'], COMPONENTS['debian'], options) for base in dict.fromkeys(
        mirror.uri.rstrip('/') for mirror in found if mirror.distribution == 'debian') if base.endswith('/debian')]
    return now + ended


def mirrors() -> list[Mirror]:
    """Return the mirrors of Debian and Ubuntu in the machine's apt sources, the likeliest first; none without apt."""
    if not shutil.which('apt-config'):
        return []
    settings = subprocess.run(['apt-config', 'shell', 'LIST', 'Dir::Etc::sourcelist/f', 'PARTS',
                               'Dir::Etc::sourceparts/d'], capture_output=True, text=True).stdout
    paths = [Path(path) for path in re.findall(r"='(.*)'", settings)]
    files = [path for path in paths if path.is_file()]
    files += [file for path in paths if path.is_dir() for file in sorted(path.iterdir())]
    suites = known_suites(_release())
    entries = [entry for file in files for entry in sources(file.read_text(errors='replace'), file.suffix)]
    found = dict.fromkeys(Mirror(uri, f'[signed-by={key}] ' if key else '', distribution)
                          for uri, names, components, key in entries for distribution in suites
                          if names & suites[distribution] and 'main' in components)
    return sorted(found, key=lambda mirror: not mirror.uri.rstrip('/').endswith(f'/{mirror.distribution}'))


def newer_python() -> str:
    """Return what to do where the Python that runs this is too old."""
    names = [NEWER[suite] for suite in known_suites(_release())['ubuntu'] if suite in NEWER]
    if not names:
        return 'make setup PYTHON=/path/to/python3'
    return (f'sudo apt-get install {names[0]} {names[0]}-dev {names[0]}-venv (from universe), then make setup '
            f'PYTHON={names[0]}')


def known_suites(release: str) -> dict[str, set[str]]:
    """Tell the suites of apt's sources apart.

    Parameters
    ----------
    release : str
        Text of /etc/os-release.

    Returns
    -------
    dict of str to set of str
        'debian' and 'ubuntu' to the names of their suites that this machine may use. Derivatives name the Ubuntu that
        they are made from.
    """
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)', release, re.MULTILINE))
    ubuntu = fields.get('UBUNTU_CODENAME') or (fields.get('VERSION_CODENAME') if fields.get('ID') == 'ubuntu' else None)
    debian = fields.get('DEBIAN_CODENAME') or (None if ubuntu else fields.get('VERSION_CODENAME'))
    return {'debian': ROLES | ({debian} if debian else set()), 'ubuntu': {ubuntu} if ubuntu else set()}


def _release() -> str:
    return OS_RELEASE.read_text() if OS_RELEASE.exists() else ''


def sources(text: str, suffix: str) -> Iterator[tuple[str, set[str], set[str], str | None]]:
    """Read an apt sources file.

    Parameters
    ----------
    text : str
        Content of the file.
    suffix : str
        Tells the format: '.list' has one line an entry, '.sources' a paragraph of fields.

    Yields
    ------
    uri : str
    suites : set of str
    components : set of str
    keyring : str or None
        Path of the keyring that signs the entry.
    """
    if suffix == '.list':
        for options, uri, suite, components in re.findall(
                r'^\s*deb(?:-src)?\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)([^#\n]*)', text, re.MULTILINE):
            key = re.search(r'signed-by=(/[^\s,]+)', options)
            yield uri, {suite}, set(components.split()), key[1] if key else None
    elif suffix == '.sources':
        text = re.sub(r'^#.*\n', '', text, flags=re.MULTILINE)
        for paragraph in re.split(r'\n\s*\n', text):
            fields = {name.lower(): value for name, value in re.findall(r'^([\w-]+):\s*(.*)', paragraph, re.MULTILINE)}
            if fields.get('enabled', 'yes').lower() in ('no', 'false', '0'):
                continue
            key = fields.get('signed-by', '')
            for uri in fields.get('uris', '').split():
                yield (uri, set(fields.get('suites', '').split()), set(fields.get('components', '').split()),
                       key if key.startswith('/') else None)
