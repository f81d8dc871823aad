"""Set everything up: Debian packages, .venv with requirements.txt, Caffe. A second run takes no time.

    python3 -m third_party.caffe        (make setup)

CAFFE_SRC=DIR takes Caffe's source from a checkout instead of Debian's archive; XDG_CACHE_HOME moves the builds' cache.
"""
import contextlib
import fcntl
import json
import platform
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from . import Problem, build, debian, recipe, source

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin/python'
REQUIREMENTS = ROOT / 'requirements.txt'
STAMP = VENV / 'setup.json'


def main():
    """Bring .venv and the cached Caffe up to date; return the exit status."""
    try:
        if len(sys.argv) > 1:
            raise Problem(f'takes no arguments, not {sys.argv[1]!r}; see third_party/caffe/__main__.py', status=2)
        setup()
    except Problem as problem:
        print(f'error: {problem}', file=sys.stderr)
        return problem.status
    except OSError as problem:
        print(f'error: {problem.filename or "system"}: {problem.strerror}; mend that, then run make setup again '
              '(XDG_CACHE_HOME moves the cache of builds)', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    return 0


def setup():
    """Do what is not done yet."""
    check_packages()
    facts = build.facts(numpy_version(REQUIREMENTS.read_text()))
    cache, name = build.cache_folder(), build.key(facts)
    wanted = {
        'interpreter': interpreter(),
        'root': str(ROOT),
        'requirements': source.sha256(REQUIREMENTS),
        'caffe': str(cache / name),
    }
    if stamp() != wanted or not (cache / name).is_dir():
        check_boost()
        cache.mkdir(parents=True, exist_ok=True)
        with alone(cache / 'lock'):
            update(wanted, cache, name)
    print(f'ready: Caffe {recipe.COMMIT} for Python {facts["python"]} in {cache / name}', flush=True)


def update(wanted, cache, name):
    """Do what the stamp does not show as done; `wanted` becomes the new one."""
    done = stamp()
    stale = {item for item in wanted if done.get(item) != wanted[item]}
    if stale - {'caffe'}:
        install_requirements(clear=bool(stale & {'interpreter', 'root'}))
    if not (cache / name).is_dir():
        build.build(name, PYTHON, cache)
    link(cache / name / 'python')
    STAMP.write_text(json.dumps(wanted, indent=2) + '\n')


def check_packages():
    """Install the Debian packages that are missing."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this is where an older one is told so)
        raise Problem(f'{sys.executable} is Python {platform.python_version()}; 3.11 or later is needed: '
                      'make setup PYTHON=/path/to/python3', status=2)
    packages = list(recipe.PACKAGES)
    header = Path(build.python_headers()) / 'Python.h'
    if Path(sys.base_prefix) == Path('/usr'):
        packages += ['python3-dev'] * (not header.exists()) + ['python3-venv'] * (find_spec('ensurepip') is None)
    elif not header.exists():
        raise Problem(f'{sys.executable} came without its C headers (no {header}): install them, or '
                      'make setup PYTHON=/usr/bin/python3', status=2)
    try:
        missing = debian.missing(packages)
    except FileNotFoundError:
        print(f'no dpkg here: going on without a check for {" ".join(packages)}', file=sys.stderr)
        return
    if missing:
        debian.install(missing)


def check_boost():
    """See that there is a Boost.Python for this interpreter: Debian builds it for its own Python only."""
    version = f'{sys.version_info[0]}.{sys.version_info[1]}'
    library = f'libboost_python{version.replace(".", "")}.so'
    # The compiler prints the path of a library that it finds, and the bare name of one that it doesn't.
    printed = subprocess.run(['g++', f'-print-file-name={library}'], capture_output=True, text=True).stdout
    if printed.strip() == library:
        raise Problem(f'no Boost.Python for Python {version} ({sys.executable}): {library} is not installed. Debian '
                      'builds it for its own Python: make setup PYTHON=/usr/bin/python3', status=2)


def interpreter():
    """Return the installation and version of Python that .venv is made from."""
    return f'{sys.base_prefix} {platform.python_version()}'


def numpy_version(requirements):
    """Return the numpy version that the text of requirements.txt pins."""
    pin = re.search(r'^numpy==([\w.]+)', requirements, re.MULTILINE)
    if not pin:
        raise Problem('requirements.txt: no line numpy==VERSION; pycaffe is compiled against one', status=2)
    return pin[1]


def stamp():
    """Return what the last finished setup left in .venv, empty if there was none."""
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


@contextlib.contextmanager
def alone(path):
    """Hold the lock file at `path`: a second setup waits for the first and then finds its work done."""
    with open(path, 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('waiting for another make setup to finish', flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install_requirements(clear):
    """Make .venv and install requirements.txt into it; `clear` removes what is in it first."""
    python = getattr(sys, '_base_executable', sys.executable)
    log = build.cache_folder() / 'pip.log'
    print('installing requirements.txt into .venv', flush=True)
    with contextlib.suppress(FileNotFoundError):
        STAMP.unlink()
    venv = [python, '-m', 'venv', *(['--clear'] if clear else []), str(VENV)]
    pip = [str(PYTHON), '-m', 'pip', 'install', '--disable-pip-version-check', '-r', str(REQUIREMENTS)]
    for name, command in {'venv': venv, 'pip': pip}.items():
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True)
        log.write_text(result.stdout)
        if result.returncode != 0:
            errors = re.findall(r'^ERROR: (.*)', result.stdout, re.MULTILINE) or result.stdout.splitlines() or ['']
            raise Problem(f"{name} failed: {errors[-1]} (whole log: {log}); check the network and pip's settings, then "
                          'run make setup again')


def link(python_folder):
    """Let .venv import caffe from `python_folder` and this checkout's packages from anywhere; try it."""
    site = subprocess.run([str(PYTHON), '-c', "import sysconfig; print(sysconfig.get_path('purelib'))"],
                          capture_output=True, text=True, check=True).stdout.strip()
    Path(site, 'fcn.pth').write_text(f'{ROOT}\n{python_folder}\n')
    result = subprocess.run([str(PYTHON), '-c', 'import caffe'], cwd='/', capture_output=True, text=True)
    if result.returncode != 0:
        raise Problem(f'the Caffe in {python_folder.parent} does not load ({result.stderr.strip().splitlines()[-1]}): '
                      'remove that folder and run make setup again')


if __name__ == '__main__':
    sys.exit(main())
