"""The Containerfile: what it says, and its steps in a Debian made from nothing, where no container engine is needed."""
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import roots

ROOT = Path(__file__).parents[1]
ASKED = 'FCN_CONTAINER_ROOT'
BASES = {'debian:trixie-slim': 'trixie', 'debian:bookworm-slim': 'bookworm'}


def steps(text, **given):
    """The instructions of a Containerfile as (name, words), its arguments filled in; those of FROM and ENV too."""
    text = re.sub(r'^\s*#.*\n', '', text, flags=re.MULTILINE)
    variables, found = {}, []
    for name, rest in re.findall(r'^([A-Z]+)\s+(.*)$', re.sub(r'\\\n', ' ', text), re.MULTILINE):
        if name == 'ARG':
            variable, _, default = rest.partition('=')
            variables[variable] = given.get(variable, expand(default, variables))
        found.append((name, rest if name in ('RUN', 'CMD') else expand(rest, variables)))
    return found, variables


def expand(text, variables):
    """Fill in ${NAME}, ${NAME:-otherwise} and ${NAME:+instead}, innermost first."""
    pattern = re.compile(r'\$\{(\w+)(?::([-+])([^${}]*))?\}')

    def value(match):
        name, sign, word = match.groups()
        now = variables.get(name, '')
        return {None: now, '-': now or word, '+': word if now else ''}[sign]

    while pattern.search(text):
        text = pattern.sub(value, text)
    return text


def shown(text, name, **given):
    return [rest for step, rest in steps(text, **given)[0] if step == name]


def test_base_is_debian_or_that_of_a_cuda_release():
    text = (ROOT / 'Containerfile').read_text()
    assert shown(text, 'FROM') == ['debian:trixie-slim']
    assert shown(text, 'FROM', CUDA='12.8.1') == ['nvidia/cuda:12.8.1-devel-ubuntu24.04']


def test_steps_are_the_commands_of_the_readme():
    text, readme = (ROOT / 'Containerfile').read_text(), (ROOT / 'README.md').read_text()
    setup = shown(text, 'RUN')[-1]
    assert setup == 'make setup GPU=${CUDA:+1}' and '`make setup`' in readme
    [start] = shown(text, 'CMD')
    assert f'    {" ".join(json.loads(start))} ' in readme


@pytest.mark.parametrize(('cuda', 'gpu'), [('', ''), ('12.8.1', '1')])
def test_setup_is_asked_for_a_gpu_build_where_cuda_is(cuda, gpu):
    setup = shown((ROOT / 'Containerfile').read_text(), 'RUN')[-1]
    printed = subprocess.run(['sh', '-c', f'echo {setup}'], env={'CUDA': cuda}, capture_output=True, text=True).stdout
    assert printed.strip() == f'make setup GPU={gpu}'


def test_no_data_and_no_environment_are_copied():
    ignored = set((ROOT / '.dockerignore').read_text().split())
    kept_out = {line.strip('/') for line in (ROOT / '.gitignore').read_text().split() if line.endswith('/')}
    assert {'.venv', 'data', 'weights', 'runs'} <= ignored and '.git' not in ignored
    assert {name for name in kept_out if not name.startswith(('.', '__'))} <= ignored


class Container:
    """A folder with a Debian in it, in which the steps of a Containerfile are carried out."""

    def __init__(self, folder, variables):
        self.folder, self.place = folder, '/'
        passed = {name: value for name, value in os.environ.items()
                  if re.match(r'PIP_|SSL_CERT|\w+_(proxy|PROXY)$', name)}
        self.environment = {**roots.HERE, **passed, **variables}

    def FROM(self, base):
        if not (self.folder / 'etc/debian_version').exists():
            roots.make(self.folder, BASES[base])
        # How this machine reaches its network: names, certificates, pip's settings.
        for path in ('/etc/resolv.conf', '/etc/pip.conf'):
            if Path(path).exists():
                shutil.copy(path, f'{self.folder}{path}')

    def ARG(self, rest):
        pass    # `steps` fills them in

    def ENV(self, rest):
        self.environment |= dict(word.split('=', 1) for word in shlex.split(rest))

    def WORKDIR(self, rest):
        self.place = rest
        (self.folder / rest.lstrip('/')).mkdir(parents=True, exist_ok=True)

    def COPY(self, rest):
        assert rest == '. .'
        target = self.folder / self.place.lstrip('/')
        shutil.rmtree(target)
        ignored = (ROOT / '.dockerignore').read_text().replace('**/', '').split()
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*ignored), symlinks=True)

    def RUN(self, command):
        certificates = '/etc/ssl/certs/ca-certificates.crt'
        if Path(certificates).exists() and Path(f'{self.folder}{certificates}').exists():
            shutil.copy(certificates, f'{self.folder}{certificates}')
        done = roots.run(self.folder, 'sh', '-c', command, network=True, place=self.place, environment=self.environment)
        print(done.stdout, flush=True)
        assert done.returncode == 0

    def CMD(self, rest):
        self.RUN(shlex.join(json.loads(rest)))


@pytest.mark.slow
def test_steps_in_a_debian_made_from_nothing():
    """Some twenty minutes; FCN_CONTAINER_ROOT names a folder for it, which is used again if it holds a Debian."""
    folder = os.environ.get(ASKED)
    if not folder:
        pytest.skip(f'runs when asked: {ASKED}=DIR')
    instructions, variables = steps((ROOT / 'Containerfile').read_text())
    container = Container(Path(folder).absolute(), {name: variables[name] for name in ('CUDA', 'CUDA_ARCH')})
    for name, rest in instructions:
        print(f'== {name} {rest}', flush=True)
        getattr(container, name)(rest)
