"""The Caffe recipe, without building Caffe: what it refuses, what it keeps apart, what it never leaves behind."""
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from tests.helpers.recipe import files, pack, write
from third_party.caffe import Problem, build, debian, recipe, source
from third_party.caffe import __main__ as setup

ROOT = Path(__file__).parents[1]


# Substitutions

EDIT = recipe.Substitution('src/a.cpp', 'f(a, b)', 'f(a)', 'f lost an argument')


def test_substitution_changes_one_place(tmp_path):
    path = write(tmp_path / 'src/a.cpp', 'int x = f(a, b); // ü\n')
    source.substitute(tmp_path, EDIT)
    assert path.read_text() == 'int x = f(a); // ü\n'


@pytest.mark.parametrize(('text', 'count'), [('f(a);', 0), ('f(a, b); f(a, b);', 2)])
def test_substitution_that_no_longer_applies_fails(tmp_path, text, count):
    path = write(tmp_path / 'src/a.cpp', text)
    with pytest.raises(Problem, match=rf"src/a\.cpp: 'f\(a, b\)' occurs {count} times"):
        source.substitute(tmp_path, EDIT)
    assert path.read_text() == text


def test_substitution_of_a_missing_file_fails(tmp_path):
    with pytest.raises(Problem, match=r'src/a\.cpp'):
        source.substitute(tmp_path, EDIT)


# Source

CHECKOUT = {'CMakeLists.txt': 'project(Caffe)', 'LICENSE': 'free',
            'include/caffe/caffe.hpp': '#pragma once', 'tools/CMakeLists.txt': '',
            'src/caffe/net.cpp': 'int x;', 'python/caffe/io.py': 'import six'}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small tree in Caffe's place, with a hash that the sha256sum program computed."""
    tree = tmp_path / 'checkout'
    for name, text in CHECKOUT.items():
        write(tree / name, text)
    sums = subprocess.run(['sha256sum', *sorted(CHECKOUT)], cwd=tree, capture_output=True, check=True).stdout
    printed = subprocess.run(['sha256sum'], input=sums, capture_output=True, check=True).stdout
    monkeypatch.setattr(recipe, 'TREE_SHA256', printed.split()[0].decode())
    return tree


def test_checkout_is_copied_without_what_a_build_left_in_it(checkout, tmp_path):
    for name in ('python/caffe/proto/caffe_pb2.py', 'python/caffe/_caffe.so', 'build/x.cpp', '.git/HEAD',
                 'tools/caffe.cpp', 'src/caffe/net.cpp~'):
        write(checkout / name, 'left by a build or not compiled')
    before = {name: (checkout / name).stat().st_mtime_ns for name in files(checkout)}
    source.copy_checked(checkout, tmp_path / 'copy')
    assert files(tmp_path / 'copy') == sorted(CHECKOUT)
    assert {name: (checkout / name).stat().st_mtime_ns for name in files(checkout)} == before


@pytest.mark.parametrize('change', [
    lambda tree: write(tree / 'src/caffe/net.cpp', 'int y;'),
    lambda tree: write(tree / 'src/caffe/more.cpp', ''),
    lambda tree: (tree / 'python/caffe/io.py').unlink(),
    lambda tree: (tree / 'python/caffe/io.py').rename(tree / 'python/caffe/oi.py'),
])
def test_another_source_is_refused(checkout, tmp_path, monkeypatch, change):
    change(checkout)
    monkeypatch.setenv('CAFFE_SRC', str(checkout))
    with pytest.raises(Problem, match=r'checkout: not Caffe at 99bd997: .*; set CAFFE_SRC to') as refusal:
        source.prepare(tmp_path / 'copy', tmp_path)
    assert refusal.value.status == 2 and not (tmp_path / 'copy').exists()


def test_a_folder_without_caffe_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv('CAFFE_SRC', str(tmp_path / 'nowhere'))
    with pytest.raises(Problem, match=r'nowhere: not Caffe at 99bd997: it has no include/.*; set CAFFE_SRC'):
        source.prepare(tmp_path / 'copy', tmp_path)


def special(kind, name='src/link', target='/etc'):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def test_archive_unpacks_regular_files(tmp_path):
    archive = pack(tmp_path / 'a.tar.gz', special(tarfile.DIRTYPE, 'src'), ('./src/a.cpp', b'int a;'))
    source.unpack(archive, tmp_path / 'out')
    assert (tmp_path / 'out/src/a.cpp').read_bytes() == b'int a;'


@pytest.mark.parametrize('member', [
    ('../escaped', b''), ('src/../../escaped', b''), ('/tmp/escaped', b''), special(tarfile.SYMTYPE),
    special(tarfile.LNKTYPE), special(tarfile.CHRTYPE), special(tarfile.FIFOTYPE),
], ids=['parent', 'inner parent', 'absolute', 'symbolic link', 'hard link', 'device', 'fifo'])
def test_archive_never_unpacks_outside_its_target(tmp_path, member):
    archive = pack(tmp_path / 'a.tar.gz', ('src/a.cpp', b'int a;'), member, ('src/link/passwd', b'x'))
    with pytest.raises(Problem, match='not a regular file inside the target'):
        source.unpack(archive, tmp_path / 'out')
    assert files(tmp_path) == ['a.tar.gz']


# Debian

def test_missing_packages():
    if not shutil.which('dpkg-query'):
        pytest.skip('not a Debian system')
    assert debian.missing(['dpkg', 'no-such-package-anywhere']) == ['no-such-package-anywhere']


def test_a_removed_package_is_missing(on_path):
    on_path('dpkg-query', 'echo "installed libx-dev"; echo "config-files liby-dev"')
    assert debian.missing(['libx-dev', 'liby-dev', 'libz-dev']) == ['liby-dev', 'libz-dev']


def test_a_user_who_is_not_root_gets_the_command(monkeypatch):
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    with pytest.raises(Problem, match='sudo apt-get install --yes .*libx-dev liby-dev$') as refusal:
        debian.install(['libx-dev', 'liby-dev'])
    assert refusal.value.status == 2


def test_install_updates_the_package_lists_once_when_it_fails(on_path, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(os, 'geteuid', lambda: 0)
    on_path('apt-get', f'echo "$3" >> {tmp_path}/calls; echo "E: Unable to locate package libx-dev" >&2; exit 100')
    with pytest.raises(Problem, match=r'\(E: Unable to locate package libx-dev\): .*apt-get install') as failure:
        debian.install(['libx-dev'])
    assert failure.value.status == 1
    assert (tmp_path / 'calls').read_text().split() == ['install', 'update', 'install']


ONE_LINE = """
# deb http://commented.test/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://one.test/debian bookworm main contrib # note
deb-src http://two.test/debian/ stable main
"""
PARAGRAPHS = """Types: deb
# a comment
URIs: http://one.test/debian http://two.test/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/k.gpg

Enabled: no
Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://inline.test/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
"""


def test_apt_sources_are_read():
    key = '/usr/share/keyrings/k.gpg'
    assert list(debian.sources(ONE_LINE, '.list')) == [
        ('http://one.test/debian', {'bookworm'}, {'main', 'contrib'}, key),
        ('http://two.test/debian/', {'stable'}, {'main'}, None),
    ]
    assert list(debian.sources(PARAGRAPHS, '.sources')) == [
        ('http://one.test/debian', {'bookworm', 'bookworm-updates'}, {'main'}, key),
        ('http://two.test/debian', {'bookworm', 'bookworm-updates'}, {'main'}, key),
        ('http://inline.test/debian', {'trixie'}, {'main'}, None),
    ]


# Build and cache

def test_key_tells_every_fact_apart():
    facts = build.facts('2.4.6')
    assert build.key(facts) == build.key(build.facts('2.4.6'))
    names = {build.key(facts)} | {build.key({**facts, name: 'other'}) for name in facts}
    assert {'recipe', 'python', 'abi', 'numpy', 'machine'} <= set(facts)
    assert len(names) == 1 + len(facts)
    assert build.key(build.facts('2.4.7')) != build.key(facts)


def test_key_changes_with_the_recipe(tmp_path, monkeypatch):
    before = build.key(build.facts('2.4.6'))
    for path in build.HERE.glob('*.py'):
        write(tmp_path / path.name, path.read_text())
    monkeypatch.setattr(build, 'HERE', tmp_path)
    assert build.key(build.facts('2.4.6')) == before
    write(tmp_path / 'recipe.py', (tmp_path / 'recipe.py').read_text().replace("'ON'", "'YES'"))
    assert build.key(build.facts('2.4.6')) != before


def test_numpy_version_is_the_pinned_one():
    assert setup.numpy_version('six==1.0\nnumpy==2.4.6   # arrays\n') == '2.4.6'
    with pytest.raises(Problem, match='requirements.txt'):
        setup.numpy_version('numpy>=2\n')


@pytest.mark.parametrize(('gigabytes', 'cores', 'jobs'), [(1.6, 8, 1), (3.1, 8, 2), (64, 2, 2)])
def test_jobs_fit_the_memory(gigabytes, cores, jobs):
    assert build.parallel_jobs(int(gigabytes * recipe.GIB), cores) == jobs


def test_too_little_memory_is_one_line():
    with pytest.raises(Problem, match='0.5 GiB free, 1.5 GiB needed: close other programs or add swap'):
        build.parallel_jobs(recipe.GIB // 2, 8)


# Stands in for cmake: configuring leaves the compiler's flags, building installs a Caffe of one file.
CMAKE = """
case "$*" in
*--build*) mkdir -p ../install/python/caffe; echo "answer = 42" > ../install/python/caffe/__init__.py
           echo "[ 50%] Building"; echo "[100%] Built" ;;
*) mkdir -p src/caffe/CMakeFiles/caffe.dir
   printf 'CXX_DEFINES = -DCPU_ONLY -Dcaffe_EXPORTS\\nCXX_INCLUDES = -I/src -isystem /usr/include/hdf5\\n' \\
       > src/caffe/CMakeFiles/caffe.dir/flags.make
   printf 'CXX_FLAGS = -march=x86-64-v2 -ffile-prefix-map=/a=b -O3\\n' >> src/caffe/CMakeFiles/caffe.dir/flags.make ;;
esac
"""
TEST = 'import unittest, caffe\nclass T(unittest.TestCase):\n    def test(self): self.assertEquals(caffe.answer, %d)\n'


@pytest.fixture
def fake_source(monkeypatch, on_path):
    """A source whose own test passes when told the right answer, and a cmake that builds it at once."""
    def prepared(answer):
        def prepare(target, cache, more=()):
            write(target / 'python/caffe/test/test_answer.py', TEST % answer)
            write(target / 'LICENSE', 'free')
        monkeypatch.setattr(source, 'prepare', prepare)
        on_path('cmake', CMAKE)
    return prepared


def test_build_appears_complete_and_tested(fake_source, tmp_path, capsys):
    fake_source(answer=42)
    cache = tmp_path / 'cache'
    (cache / 'abc.tmp/build').mkdir(parents=True)  # an interrupted build
    build.build('abc', Path(sys.executable), cache)
    assert sorted(path.name for path in cache.iterdir()) == ['abc', 'abc.log']
    assert json.loads((cache / 'abc/build.json').read_text()) == {
        'commit': '99bd997', 'defines': ['CPU_ONLY'], 'flags': ['-march=x86-64-v2', '-O3'],
        'include': ['include', '/usr/include/hdf5'], 'lib': 'lib', 'python': 'python'}
    printed = capsys.readouterr().out
    assert '50%' in printed and '1 passed' in printed and 'left out: test_draw.py' in printed


def test_build_that_fails_its_tests_is_not_kept(fake_source, tmp_path):
    fake_source(answer=41)
    (tmp_path / 'cache').mkdir()
    with pytest.raises(Problem, match=r"running Caffe's own tests failed.*log: .*abc\.log"):
        build.build('abc', Path(sys.executable), tmp_path / 'cache')
    assert files(tmp_path / 'cache') == ['abc.log']


@pytest.mark.parametrize(('says', 'remedy'), [('fatal error: boost/x.hpp: No such file', 'fix what it says'),
                                              ('c++: fatal error: Killed signal', 'ran out of memory')])
def test_build_that_does_not_compile_is_not_kept(fake_source, on_path, tmp_path, capsys, says, remedy):
    fake_source(answer=42)
    on_path('cmake', f'echo "{says}" >&2; exit 1')
    (tmp_path / 'cache').mkdir()
    with pytest.raises(Problem, match=rf'configuring Caffe failed; .*{remedy}.*abc\.log'):
        build.build('abc', Path(sys.executable), tmp_path / 'cache')
    assert files(tmp_path / 'cache') == ['abc.log']
    assert says in (tmp_path / 'cache/abc.log').read_text() and says in capsys.readouterr().err


def test_a_second_setup_waits_for_the_first(tmp_path, capsys):
    order = []

    def second():
        with setup.locked(tmp_path / 'lock'):
            order.append('second')

    with setup.locked(tmp_path / 'lock'):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        order.append('first')
    thread.join(5)
    assert order == ['first', 'second'] and 'waiting for another make setup' in capsys.readouterr().out


# The command

def test_interpreter_too_old_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, 'version_info', (3, 9, 2))
    with pytest.raises(Problem, match='3.11 or later is needed'):
        setup.check_python()


def run(*arguments, **environment):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environment},
                          capture_output=True, text=True)


def test_needs_nothing_but_the_standard_library():
    result = run('-I', '-S', '-c', f'import sys; sys.path.insert(0, {str(ROOT)!r}); import third_party.caffe.__main__')
    assert (result.returncode, result.stderr) == (0, '')


def test_wrong_call_exits_2_with_one_line():
    result = run('-m', 'third_party.caffe', '--help-me')
    assert result.returncode == 2 and result.stderr.count('\n') == 1


def test_unusable_cache_folder_exits_1_with_one_line(tmp_path):
    result = run('-m', 'third_party.caffe', XDG_CACHE_HOME=str(write(tmp_path / 'file', '')))
    assert result.returncode == 1 and result.stderr.count('\n') == 1 and 'file/fcn-caffe' in result.stderr


# What was installed

PROBE = """
#include "caffe/blob.hpp"
#include "caffe/layer_factory.hpp"
extern "C" int count(int n) { return caffe::Blob<float>(n, 3, 2, 1).count(); }
extern "C" bool has_deconvolution() { return caffe::LayerRegistry<float>::Registry().count("Deconvolution"); }
"""


@pytest.mark.caffe
@pytest.mark.slow
def test_build_json_compiles_a_library_against_the_installed_caffe(tmp_path):
    from accel import build
    folder, described = build.caffe_folder(), build.facts()
    if 'include' not in described:
        pytest.skip('this Caffe came in a wheel, without headers')
    command = ['g++', '-shared', '-O0', *(f'-D{name}' for name in described['defines']),
               *(f'-I{folder / path}' for path in described['include']),
               str(write(tmp_path / 'probe.cpp', PROBE)), f'-L{folder / described["lib"]}', '-lcaffe', '-fPIC',
               '-o', str(tmp_path / 'probe.so')]
    subprocess.run(command, check=True)
    probe = ctypes.CDLL(str(tmp_path / 'probe.so'))
    assert probe.count(5) == 30 and probe.has_deconvolution()


@pytest.mark.parametrize('there, given, expected', [
    (True, (), '{python}'), (False, (), 'python3'), (True, ('PYTHON=python3.99',), 'python3.99')])
def test_make_keeps_the_interpreter_of_venv(tmp_path, there, given, expected):
    """Until another one is named, or it is gone."""
    python = tmp_path / 'python3.12'
    if there:
        python.write_text('')
    shutil.copy(ROOT / 'Makefile', tmp_path)
    (tmp_path / '.venv').mkdir()
    (tmp_path / '.venv/pyvenv.cfg').write_text(f'home = {tmp_path}\nexecutable = {python}\n')
    said = subprocess.run(['make', '-n', 'setup', *given], cwd=tmp_path, env={'PATH': os.environ['PATH']},
                          capture_output=True, text=True, check=True)
    assert said.stdout.startswith(f'{expected.format(python=python)} -m third_party.caffe\n')


def test_an_environment_behind_a_link_is_not_emptied(tmp_path, monkeypatch):
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'precious').write_text('')
    (tmp_path / '.venv').symlink_to(other)
    monkeypatch.setattr(setup, 'VENV', tmp_path / '.venv')
    for clear in (True, False):
        with pytest.raises(Problem, match=r'\.venv is a link to .*/other, .* would empty: remove the link'):
            setup.install_requirements(clear)
    assert (other / 'precious').exists()
