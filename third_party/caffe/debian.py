"""What Debian provides: development packages, and Caffe's source package."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import Problem

# Releases are also named by their role.
ROLES = {'oldoldstable', 'oldstable', 'stable', 'testing', 'unstable', 'sid'}


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


def fetch_source(package: str, suite: str, name: str, target: Path) -> None:
    """Download one file of a source package.

    Uses apt with a private configuration, which takes the mirror, its key and the proxies from the machine's, and
    leaves the machine's lists of packages alone.

    Parameters
    ----------
    package : str
        The source package.
    suite : str
        Release that has it, such as 'bullseye'.
    name : str
        Of the file.
    target : Path
        Where to put it.

    Raises
    ------
    Problem
        apt has no Debian mirror, or no mirror delivers the file.
    """
    found = mirrors()
    if not found:
        raise Problem(f'apt has no Debian mirror in its sources to get the source package {package} from: add one, or '
                      'set CAFFE_SRC to a checkout of Caffe', status=2)
    for uri, key in found:
        with tempfile.TemporaryDirectory(prefix='fcn-caffe-apt-') as folder:
            result = _download(Path(folder), f'deb-src {key}{uri} {suite} main\n', package)
            if (Path(folder) / name).is_file():
                shutil.move(str(Path(folder) / name), str(target))
                return
    raise Problem(f"cannot fetch Debian's source package {package} from {suite} ({_complaint(result)}): check the "
                  'network and the mirror in apt\'s sources, or set CAFFE_SRC to a checkout of Caffe')


def _download(folder: Path, source_line: str, package: str) -> subprocess.CompletedProcess[str]:
    """Run `apt-get update` and `apt-get source` with `source_line` as the only source; files land in `folder`."""
    (folder / 'sources.list').write_text(source_line)
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


def mirrors() -> list[tuple[str, str]]:
    """Return the Debian mirrors in the machine's apt sources.

    Returns
    -------
    list of (str, str)
        URI and the options of a line of sources.list, empty or with a space at the end; the likeliest mirror first.
    """
    settings = subprocess.run(['apt-config', 'shell', 'LIST', 'Dir::Etc::sourcelist/f', 'PARTS',
                               'Dir::Etc::sourceparts/d'], capture_output=True, text=True).stdout
    paths = [Path(path) for path in re.findall(r"='(.*)'", settings)]
    files = [path for path in paths if path.is_file()]
    files += [file for path in paths if path.is_dir() for file in sorted(path.iterdir())]
    release = Path('/etc/os-release').read_text() if Path('/etc/os-release').exists() else ''
    suites = ROLES | set(re.findall(r'^VERSION_CODENAME=(\S+)', release, re.MULTILINE))
    entries = [entry for file in files for entry in sources(file.read_text(errors='replace'), file.suffix)]
    found = dict.fromkeys((uri, f'[signed-by={key}] ' if key else '')
                          for uri, names, components, key in entries if names & suites and 'main' in components)
    return sorted(found, key=lambda mirror: not mirror[0].rstrip('/').endswith('/debian'))


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
