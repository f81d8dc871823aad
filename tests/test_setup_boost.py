"""Boost.Python for interpreters that the distribution has none for: when, from what, and that it loads."""
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.helpers.recipe import files, pack, write
from third_party.caffe import Problem, boost, build, debian, recipe, source

ROOT = Path(__file__).parents[1]
PLAN = boost.Plan('1.74', '3.12', 'cpython-312-x86_64-linux-gnu', 'g++ 12')


# When

@pytest.fixture
def without_library(monkeypatch):
    """A system without Boost.Python for this interpreter, and with some version of Boost's headers."""
    def headers(version):
        monkeypatch.setattr(boost, 'system_library', lambda name: None)
        monkeypatch.setattr(boost, 'system_version', lambda: version)
    return headers


def test_the_library_of_the_system_is_taken_where_it_is(monkeypatch):
    monkeypatch.setattr(boost, 'system_library', lambda name: Path(f'/usr/lib/lib{name}.so'))
    assert boost.plan() is None


def test_another_interpreter_gets_one_of_the_version_of_the_headers(without_library, monkeypatch):
    without_library('1.83')
    monkeypatch.setattr(sys, 'version_info', (3, 13, 0))
    plan = boost.plan()
    assert plan.library == 'libboost_python313.so.1.83.0' and plan.defines == () and plan.compiler


def test_headers_of_another_version_are_refused(without_library):
    without_library('1.99')
    with pytest.raises(Problem, match=r'from Boost 1\.74 or 1\.83, not 1\.99: make setup PYTHON=/usr/bin') as refusal:
        boost.plan()
    assert refusal.value.status == 2


def test_version_is_that_of_the_headers(tmp_path, monkeypatch):
    monkeypatch.setattr(boost, 'SYSTEM', tmp_path)
    assert boost.system_version() is None
    write(tmp_path / 'boost/version.hpp', '//  #define BOOST_LIB_VERSION "1_0"\n#define BOOST_LIB_VERSION "1_74"\n')
    assert boost.system_version() == '1.74'


def test_calls_that_python_dropped_are_renamed_where_it_did():
    assert PLAN.defines == () and PLAN._replace(version='1.83', python='3.13').defines == ()
    assert PLAN._replace(python='3.13').defines == PLAN._replace(python='3.14').defines == boost.RENAMED


def test_key_tells_every_fact_apart():
    keys = {build.key(PLAN._replace(**{field: 'other'}).facts()) for field in PLAN._fields}
    assert len(keys | {build.key(PLAN.facts())}) == 1 + len(PLAN._fields)


def test_caffe_is_built_with_the_library_beside_it(monkeypatch, tmp_path):
    monkeypatch.setattr(boost, 'library', lambda plan, cache: cache / plan.library)
    base = build.Variant((recipe.Substitution('a', 'b', 'c', 'why'),), {'CPU_ONLY': 'OFF'}, ('/x',), {'cuda': 1})
    variant = boost.variant(base, PLAN._replace(python='3.13'), tmp_path)
    assert variant.substitutions == (*base.substitutions, boost.GIVEN)
    assert variant.options == {
        'CPU_ONLY': 'OFF', 'FCN_BOOST_PYTHON': tmp_path / 'libboost_python313.so.1.74.0',
        'FCN_BOOST_DEFINITIONS': ';'.join(f'-D{name}' for name in boost.RENAMED)}
    assert variant[2:] == base[2:]


# From what

def test_only_the_sources_of_boost_python_are_unpacked(tmp_path):
    names = ('boost/libs/python/src/exec.cpp', 'boost_1/libs/python/src/object/class.cpp',
             'boost/libs/python/test/a.cpp', 'boost/libs/mpi/src/python/a.cpp', 'boost/libs/python/src/../../x.cpp',
             '/boost/libs/python/src/y.cpp')
    link = tarfile.TarInfo('boost/libs/python/src/link.cpp')
    link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
    boost.unpack(pack(tmp_path / 'a', *((name, b'int a;') for name in names), link), tmp_path / 'out')
    assert files(tmp_path / 'out') == ['src/exec.cpp', 'src/object/class.cpp']


def test_what_is_no_archive_is_one_line(tmp_path):
    with pytest.raises(Problem, match='the archive cannot be read'):
        boost.unpack(write(tmp_path / 'a', 'page not found'), tmp_path / 'out')


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A Boost of one file, with one edit, that apt delivers as the content it is given."""
    def deliver(content):
        archive = pack(tmp_path / 'boost.tar.gz', ('boost/libs/python/src/exec.cpp', content),
                       ('boost/libs/python/src/numpy/numpy.cpp', b''))
        place = debian.Place('http://one.test', 'bookworm', 'main')
        monkeypatch.setattr(debian, 'places', lambda suites: [place])
        monkeypatch.setattr(debian, 'fetch_source', lambda place, package, name, target: shutil.copy(archive, target))
        monkeypatch.setattr(boost, 'REPOSITORY', 'file:///nowhere/python')
    write(tmp_path / 'tree/src/exec.cpp', 'int open();')
    monkeypatch.setitem(boost.RELEASES, '1.74', boost.Release(
        {'debian': 'bookworm'}, source.digest(tmp_path / 'tree', ['src/exec.cpp']),
        (recipe.Substitution('src/exec.cpp', 'open', 'close', 'a test'),)))
    return deliver


def test_sources_are_checked_and_edited(small, tmp_path):
    small(b'int open();')
    boost.prepare(PLAN, tmp_path / 'work')
    assert files(tmp_path / 'work') == ['src/exec.cpp']
    assert (tmp_path / 'work/src/exec.cpp').read_text() == 'int close();'


def test_other_sources_are_refused(small, tmp_path, capsys):
    small(b'int open(int);')
    (tmp_path / 'cache').mkdir()
    with pytest.raises(Problem, match=r'no place delivers the source of Boost\.Python 1\.74: .*PYTHON='):
        boost.library(PLAN, tmp_path / 'cache')
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and 'http://one.test bookworm: not the sources' in lines[0] and 'file:///nowhere' in lines[1]
    assert files(tmp_path / 'cache') == []


def test_library_appears_complete_or_not_at_all(small, tmp_path, capsys):
    small(b'int open();')
    (tmp_path / 'cache').mkdir()
    path = boost.library(PLAN, tmp_path / 'cache')
    assert files(tmp_path / 'cache') == sorted([f'{path.parent.name}.log', f'{path.parent.name}/{PLAN.library}'])
    dynamic = subprocess.run(['readelf', '--dynamic', path], capture_output=True, text=True).stdout
    assert f'soname: [{PLAN.library}]' in dynamic
    made = path.stat().st_mtime_ns
    assert boost.library(PLAN, tmp_path / 'cache') == path and path.stat().st_mtime_ns == made


def test_sources_that_do_not_compile_leave_a_log(small, monkeypatch, tmp_path):
    small(b'int open();')
    (tmp_path / 'cache').mkdir()
    monkeypatch.setattr(boost, 'FLAGS', ('-fno-such-flag',))
    with pytest.raises(Problem, match=r'compiling Boost\.Python 1\.74 for Python 3\.12 failed .*log: '):
        boost.library(PLAN, tmp_path / 'cache')
    [log] = files(tmp_path / 'cache')
    assert '-fno-such-flag' in (tmp_path / 'cache' / log).read_text()


# That it works

MODULE = """
#include <stdexcept>
#include <boost/python.hpp>
namespace py = boost::python;
enum Colour { red = 1, blue = 3 };
struct Counter {
  explicit Counter(int start) : value(start) {}
  virtual ~Counter() {}
  virtual int step() { return 1; }
  int add(int times) { return value += times * step(); }
  int value;
};
struct Overridable : Counter, py::wrapper<Counter> {
  using Counter::Counter;
  int step() override { if (py::override f = get_override("step")) return f(); return Counter::step(); }
};
int apply(py::object f, int x) { return py::call<int>(f.ptr(), x) + py::extract<int>(f(x)); }
std::string name(py::object f) { return py::call_method<std::string>(f.ptr(), "upper"); }
int refuse() { throw std::out_of_range("refused"); }
int total(const py::list& values) {
  int sum = 0;
  for (int i = 0; i < py::len(values); ++i) sum += py::extract<int>(values[i]);
  return sum;
}
BOOST_PYTHON_MODULE(probe) {
  py::enum_<Colour>("Colour").value("red", red).value("blue", blue);
  py::class_<Overridable, boost::noncopyable>("Counter", py::init<int>())
      .def("add", &Counter::add).def("step", &Counter::step).def_readonly("value", &Counter::value);
  py::def("apply", apply); py::def("refuse", refuse); py::def("total", total); py::def("name", name);
}
"""
USE = """
import gc, pickle, probe
class Twos(probe.Counter):
    def step(self): return 2
assert probe.Counter(5).add(3) == 8 and Twos(1).add(3) == 7 and Twos(4).value == 4
assert probe.apply(lambda x: x + 1, 4) == 10 and probe.total([1, 2, 3]) == 6 and probe.name('ab') == 'AB'
assert probe.Colour.blue == 3 and repr(probe.Colour.red) == 'probe.Colour.red'
for call, kind in ((probe.refuse, IndexError), (lambda: probe.total(3), TypeError)):
    try:
        call()
    except kind as problem:
        message = str(problem)
    else:
        raise SystemExit(f'no {kind}')
assert 'Python argument types' in message
for _ in range(1000):
    Twos(1).add(1)
gc.collect()
print('used')
"""
BUILD = """
import sys
from pathlib import Path
from third_party.caffe import __main__ as setup, boost, build
plan, cache = boost.plan(), Path(sys.argv[1])
assert plan
with setup.locked(cache / 'lock'):
    print(boost.library(plan, cache), build.python_headers(), *plan.defines, sep='\\n')
"""


def interpreters():
    """Interpreters for which the system has no Boost.Python, newer ones first: those of pyenv, and of PATH."""
    found = sorted(Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv')).glob('versions/3.1[1-4].*/bin/python3'))
    found += [Path(path) for minor in (11, 12, 13, 14) if (path := shutil.which(f'python3.{minor}'))]
    code = 'from third_party.caffe import boost; import sys; sys.exit(boost.plan() is None)'
    return [path for path in reversed(found)
            if subprocess.run([path, '-c', code], cwd=ROOT, capture_output=True).returncode == 0]


@pytest.mark.slow
def test_a_module_loads_in_an_interpreter_that_the_system_has_no_library_for(tmp_path):
    """The library is compiled, and classes, overriding, callbacks, errors and enumerations work with it."""
    candidates = interpreters()
    if not candidates:
        pytest.skip('every interpreter here has the Boost.Python of the system')
    python = candidates[0]
    cache = build.cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    printed = subprocess.run([python, '-c', BUILD, cache], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    library, headers, *defines = printed[printed.index(str(cache)):].splitlines()
    command = ['g++', '-shared', '-fPIC', '-w', '-O1', f'-I{headers}', *(f'-D{name}' for name in defines),
               write(tmp_path / 'probe.cpp', MODULE), library, f'-Wl,-rpath,{Path(library).parent}', '-o', 'probe.so']
    subprocess.run(command, cwd=tmp_path, check=True)
    used = subprocess.run([python, '-c', USE], cwd=tmp_path, capture_output=True, text=True)
    assert (used.returncode, used.stdout) == (0, 'used\n'), used.stderr
