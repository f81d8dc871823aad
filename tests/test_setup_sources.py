"""Caffe's source from several places: tried in turn, one hash, and one line for each that fails."""
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.recipe import files, pack, write
from third_party.caffe import Problem, build, debian, git, recipe, source
from third_party.caffe import __main__ as setup

TREE = {'CMakeLists.txt': b'project(Caffe)', 'include/caffe/caffe.hpp': b'#pragma once\n',
        'src/caffe/net.cpp': b'int x;\r\n'}
FOCAL = debian.Place('http://one.test/ubuntu', 'focal', 'main universe')


def write_tree(folder, content=TREE):
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A tree of three files in Caffe's place, no edits, and an empty cache."""
    tree = write_tree(tmp_path / 'tree')
    monkeypatch.setattr(recipe, 'TREE_SHA256', source.digest(tree, sorted(TREE)))
    monkeypatch.setattr(recipe, 'SUBSTITUTIONS', ())
    monkeypatch.delenv('CAFFE_SRC', raising=False)
    (tmp_path / 'cache').mkdir()
    return tree


@pytest.fixture
def archived(small, tmp_path, monkeypatch):
    """The archive of `small`, its hash the recipe's."""
    path = pack(tmp_path / 'archive.tar.gz', *TREE.items())
    monkeypatch.setattr(recipe, 'ARCHIVE_SHA256', source.sha256(path))
    return path


def places(monkeypatch, *names):
    """Let apt's places be some of these names, and the project's page be out of reach."""
    monkeypatch.setattr(debian, 'places', lambda suites: [debian.Place(name, 'old', 'main') for name in names])
    monkeypatch.setattr(recipe, 'REPOSITORY', 'file:///nowhere/caffe')


def prepare(tmp_path):
    source.prepare(tmp_path / 'work/source', tmp_path / 'cache')
    return {name: (tmp_path / 'work/source' / name).read_bytes() for name in files(tmp_path / 'work/source')}


# Places in turn

def test_the_cached_archive_comes_first(archived, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(debian, 'places', lambda suites: pytest.fail('looked elsewhere'))
    shutil.copy(archived, tmp_path / 'cache' / recipe.ARCHIVE)
    assert prepare(tmp_path) == TREE
    assert capsys.readouterr() == ('', '') and files(tmp_path / 'work') == sorted(f'source/{name}' for name in TREE)


def test_each_place_that_fails_is_one_line_and_the_next_one_is_tried(archived, tmp_path, monkeypatch, capsys):
    places(monkeypatch, 'first', 'second', 'third')

    def fetch(place, package, name, target):
        if place.uri == 'first':
            raise Problem('E: gone')
        target.write_bytes(b'other' if place.uri == 'second' else archived.read_bytes())

    monkeypatch.setattr(debian, 'fetch_source', fetch)
    write(tmp_path / 'cache' / recipe.ARCHIVE, 'corrupt')
    assert prepare(tmp_path) == TREE
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(': ')[0].strip() for line in lines] == ['not from the cache', 'not from first old',
                                                                  'not from second old']
    assert lines[1].endswith('E: gone') and 'is not the expected' in lines[0] and 'is not the expected' in lines[2]
    assert (tmp_path / 'cache' / recipe.ARCHIVE).read_bytes() == archived.read_bytes()


def test_a_wrong_download_is_discarded(archived, tmp_path, monkeypatch):
    places(monkeypatch, 'only')
    monkeypatch.setattr(debian, 'fetch_source', lambda place, package, name, target: target.write_bytes(b'other'))
    with pytest.raises(Problem, match="no place delivers Caffe's source: .*CAFFE_SRC") as failure:
        prepare(tmp_path)
    assert failure.value.status == 1 and files(tmp_path / 'cache') == [] and files(tmp_path / 'work') == []


# git

def repository(tree):
    """Commit all of a folder to a repository in it; returns its URL."""
    for command in ('init -q', '-c core.autocrlf=false add -A -f',
                    '-c user.name=t -c user.email=t@example.test commit -q -m tree'):
        subprocess.run(['git', *command.split()], cwd=tree, check=True, capture_output=True)
    return f'file://{tree}'


@pytest.fixture
def instead(monkeypatch):
    """Let git look for the project's page in another repository."""
    def of(url):
        for name, value in {'COUNT': 1, 'KEY_0': f'url.{url}.insteadOf', 'VALUE_0': recipe.REPOSITORY}.items():
            monkeypatch.setenv(f'GIT_CONFIG_{name}', str(value))
    return of


@pytest.fixture
def dead_mirror(tmp_path, monkeypatch):
    """An apt whose only mirror is a port of this machine where nothing listens."""
    if not shutil.which('apt-get'):
        pytest.skip('no apt')
    write(tmp_path / 'apt/parts/a.list', 'deb http://127.0.0.1:9/debian stable main\n')
    monkeypatch.setenv('APT_CONFIG', str(write(tmp_path / 'apt/apt.conf', f"""
        Dir::Etc::SourceList "/dev/null";
        Dir::Etc::SourceParts "{tmp_path}/apt/parts/";
        Acquire::Retries "0";
        Acquire::http::Proxy "DIRECT";
    """)))


def test_without_debian_it_is_a_clone(small, dead_mirror, instead, tmp_path, capfd):
    instead(repository(small))
    assert prepare(tmp_path) == TREE
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(': ')[0].strip() for line in lines] == [
        'not from http://127.0.0.1:9/debian bullseye', 'not from http://127.0.0.1:9/debian-archive/debian bullseye']
    assert all('127.0.0.1' in line.split(': ', 1)[1] for line in lines)


def test_with_all_places_out_of_reach_one_line_says_what_to_do(small, dead_mirror, instead, tmp_path, capfd):
    instead(f'file://{tmp_path}/nowhere')
    with pytest.raises(Problem, match="no place delivers Caffe's source: .*network.*CAFFE_SRC") as failure:
        prepare(tmp_path)
    lines = capfd.readouterr().err.splitlines()
    assert failure.value.status == 1 and len(lines) == 3 and f'not from {recipe.REPOSITORY}: fatal:' in lines[2]


def test_another_tree_in_the_repository_is_refused(small, instead, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(debian, 'places', lambda suites: [])
    instead(repository(write_tree(tmp_path / 'other', {**TREE, 'src/caffe/net.cpp': b'int y;'})))
    with pytest.raises(Problem, match="no place delivers"):
        prepare(tmp_path)
    assert 'not Caffe at 99bd997: its sources hash to' in capsys.readouterr().err
    assert files(tmp_path / 'work') == []


def test_the_commit_is_taken_where_the_repository_has_it(small, tmp_path):
    url = repository(small)
    commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=small, check=True, capture_output=True, text=True).stdout
    write(small / 'later', '')
    repository(small)
    subprocess.run(['git', 'config', 'uploadpack.allowAnySHA1InWant', 'true'], cwd=small, check=True)
    git.checkout(url, commit.strip(), tmp_path / 'at')
    git.checkout(url, '0' * 40, tmp_path / 'head')
    assert (tmp_path / 'head/later').exists() and not (tmp_path / 'at/later').exists()
    count = ['git', 'rev-list', '--count', 'HEAD']
    depth = subprocess.run(count, cwd=tmp_path / 'head', capture_output=True, text=True)
    assert depth.stdout == '1\n'


def test_no_program_of_the_user_or_the_repository_runs(small, tmp_path, monkeypatch):
    """Hooks of a template, filters that attributes ask for, line endings, links."""
    touch = f'touch {tmp_path}/ran'
    hook = f'#!/bin/sh\n{touch}\n'
    for name in ('post-checkout', 'reference-transaction', 'post-index-change'):
        write(tmp_path / 'template/hooks' / name, hook, 0o755)
        write(tmp_path / 'hooks' / name, hook, 0o755)
    write(small / '.gitattributes', '*.cpp filter=dirty\n*.hpp text eol=crlf ident\n')
    (small / 'src/caffe/linked.cpp').symlink_to('/etc/passwd')
    url = repository(small)
    write(tmp_path / 'home/.gitconfig', f"""
[init]
    templateDir = {tmp_path}/template
[core]
    hooksPath = {tmp_path}/hooks
    autocrlf = true
    fsmonitor = {touch}
[filter "dirty"]
    smudge = {touch}; tr x y
    required = true
""")
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('XDG_CONFIG_HOME', raising=False)
    git.checkout(url, 'HEAD', tmp_path / 'out')
    assert {name: (tmp_path / 'out' / name).read_bytes() for name in TREE} == TREE
    assert not (tmp_path / 'ran').exists() and not (tmp_path / 'out/src/caffe/linked.cpp').is_symlink()


def test_protocols_that_run_programs_are_refused(tmp_path):
    with pytest.raises(Problem, match="transport 'ext' not allowed"):
        git.checkout(f'ext::sh -c "touch {tmp_path}/ran"', 'HEAD', tmp_path / 'out')
    assert not (tmp_path / 'ran').exists()


def test_a_repository_asks_nobody_for_a_password(on_path, tmp_path):
    """It is handed no terminal and no helper that opens a window."""
    on_path('git', f'env >> {tmp_path}/seen; readlink /proc/self/fd/0 >> {tmp_path}/stdin; exit 1')
    with pytest.raises(Problem, match='git ended with status 1'):
        git.checkout('https://one.test/x', 'HEAD', tmp_path / 'out')
    seen = (tmp_path / 'seen').read_text()
    assert 'GIT_TERMINAL_PROMPT=0' in seen and 'BatchMode=yes' in seen and 'GIT_ASKPASS=true' in seen
    assert (tmp_path / 'stdin').read_text() == '/dev/null\n'


def test_git_is_missing_or_slow_is_one_line(on_path, monkeypatch, tmp_path):
    on_path('git', 'exec sleep 20')
    monkeypatch.setattr(git, 'SECONDS', 0.2)
    with pytest.raises(Problem, match='git took longer than'):
        git.checkout('https://one.test/x', 'HEAD', tmp_path / 'out')
    monkeypatch.setenv('PATH', str(tmp_path / 'empty'))
    with pytest.raises(Problem, match='git is not installed'):
        git.checkout('https://one.test/x', 'HEAD', tmp_path / 'out')


@pytest.mark.slow
def test_a_clone_of_the_real_source_is_accepted(instead, tmp_path, monkeypatch):
    """The files of Debian's archive, through git, have the recipe's hash."""
    cache = build.cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    origin = next(source.origins(cache))
    origin.fetch(tmp_path / 'tree')
    instead(repository(tmp_path / 'tree'))
    monkeypatch.setattr(debian, 'places', lambda suites: [])
    monkeypatch.delenv('CAFFE_SRC', raising=False)
    prepare(tmp_path)


# apt

def apt_sources(on_path, monkeypatch, tmp_path, release, **texts):
    """Let the machine be of a release, with files of apt sources."""
    for name, text in texts.items():
        write(tmp_path / 'apt' / name.replace('_', '.'), text)
    on_path('apt-config', f'echo "LIST=\'{tmp_path}/apt/sources.list\'"; echo "PARTS=\'{tmp_path}/apt/parts/\'"')
    for path in sorted((tmp_path / 'apt').iterdir()):
        if path.name != 'sources.list':
            write(tmp_path / 'apt/parts' / path.name, path.read_text())
    monkeypatch.setattr(debian, 'OS_RELEASE', write(tmp_path / 'os-release', release))
    monkeypatch.setattr(debian, 'KEYRINGS', ())


BOOKWORM = 'ID=debian\nVERSION_CODENAME=bookworm\n'
NOBLE = 'ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n'
JAMMY = 'ID=ubuntu\nVERSION_CODENAME=jammy\nUBUNTU_CODENAME=jammy\n'
MINT = 'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME="noble"\n'
# As the installers of 24.04 and 22.04 lay them out, with other hosts.
UBUNTU_SOURCES = """# a comment
Types: deb
URIs: http://mirror.example/ubuntu/
Suites: noble noble-updates noble-backports
Components: main restricted universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: http://security.example/ubuntu/
Suites: noble-security
Components: main restricted universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""
JAMMY_LIST = """# deb cdrom:[Ubuntu-Server 22.04 _Jammy_]/ jammy main restricted
deb http://mirror.example/ubuntu jammy main restricted
# deb-src http://mirror.example/ubuntu jammy main restricted
deb http://mirror.example/ubuntu jammy-updates main restricted
deb http://mirror.example/ubuntu jammy universe
deb http://security.example/ubuntu jammy-security main restricted
"""
OTHERS = """deb http://other.test/tools stable extra
deb [arch=amd64] http://tools.example/linux/ubuntu noble stable
deb http://late.test/copy stable main
"""


def test_mirrors_of_debian(on_path, monkeypatch, tmp_path):
    apt_sources(on_path, monkeypatch, tmp_path, BOOKWORM, a_list=OTHERS,
                b_sources='URIs: http://one.test/debian/\nSuites: bookworm\nComponents: main\n')
    assert debian.mirrors() == [('http://one.test/debian/', '', 'debian'), ('http://late.test/copy', '', 'debian')]
    assert debian.places({'debian': 'old', 'ubuntu': 'focal'}) == [
        ('http://one.test/debian/', 'old', 'main', ''), ('http://late.test/copy', 'old', 'main', ''),
        ('http://one.test/debian-archive/debian', 'old', 'main', '[check-valid-until=no] ')]


def test_the_archive_of_ended_suites_may_be_signed_by_retired_keys(on_path, monkeypatch, tmp_path):
    apt_sources(on_path, monkeypatch, tmp_path, BOOKWORM, a_list='deb http://one.test/debian bookworm main\n')
    keys = [write(tmp_path / name, '') for name in ('keyring.gpg', 'removed.gpg')]
    monkeypatch.setattr(debian, 'KEYRINGS', (*keys, tmp_path / 'absent.gpg'))
    options = f'[check-valid-until=no signed-by={keys[0]},{keys[1]}] '
    assert debian.places({'debian': 'old'})[-1] == ('http://one.test/debian-archive/debian', 'old', 'main', options)


@pytest.mark.parametrize(('release', 'name', 'text', 'options'), [
    (NOBLE, 'ubuntu_sources', UBUNTU_SOURCES, '[signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] '),
    (MINT, 'mint_sources', UBUNTU_SOURCES, '[signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] '),
    (JAMMY, 'sources_list', JAMMY_LIST, ''),
], ids=['24.04', 'made from 24.04', '22.04'])
def test_ubuntu_has_the_package_in_universe(on_path, monkeypatch, tmp_path, release, name, text, options):
    apt_sources(on_path, monkeypatch, tmp_path, release, z_list=OTHERS.splitlines()[1], **{name: text})
    found = debian.places({'debian': 'bullseye', 'ubuntu': 'focal'})
    assert [(place.uri.rstrip('/'), *place[1:]) for place in found] == [
        ('http://mirror.example/ubuntu', 'focal', 'main universe', options)]


def test_without_apt_there_is_no_mirror(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert debian.places({'debian': 'old', 'ubuntu': 'focal'}) == []


@pytest.mark.parametrize(('release', 'debian_has', 'ubuntu_has'), [
    (BOOKWORM, {'bookworm', 'stable'}, set()), (NOBLE, {'stable'}, {'noble'}), (MINT, {'stable'}, {'noble'}),
    ('', {'stable'}, set())])
def test_suites_are_told_apart(release, debian_has, ubuntu_has):
    suites = debian.known_suites(release)
    assert debian_has <= suites['debian'] and suites['ubuntu'] == ubuntu_has
    assert not {'noble', 'wilma'} & suites['debian']


def test_source_package_comes_through_a_private_configuration(on_path, tmp_path):
    on_path('apt-get', f'cat "$3" sources.list >> {tmp_path}/seen; [ "$4" = update ] || echo tar > caffe_1.orig.tar.gz')
    place = FOCAL._replace(options='[signed-by=/k.gpg] ')
    debian.fetch_source(place, 'caffe', 'caffe_*.orig.tar.*', tmp_path / 'kept.tar.gz')
    assert (tmp_path / 'kept.tar.gz').read_text() == 'tar\n' and 'kept.tar.gz.tmp' not in os.listdir(tmp_path)
    seen = (tmp_path / 'seen').read_text()
    assert 'deb-src [signed-by=/k.gpg] http://one.test/ubuntu focal main universe\n' in seen
    assert 'Dir::State::Lists "/' in seen and 'Dir::Etc::SourceParts "/dev/null"' in seen
    assert '/var/lib/apt' not in seen


def test_no_network_is_one_line(on_path, tmp_path):
    on_path('apt-get', 'echo "E: Temporary failure resolving one.test" >&2; exit 100')
    with pytest.raises(Problem, match=r'^E: Temporary failure resolving one.test$'):
        debian.fetch_source(FOCAL, 'caffe', 'caffe.tar.gz', tmp_path / 'kept.tar.gz')


# Python

@pytest.mark.parametrize(('release', 'remedy'), [
    (JAMMY, 'sudo apt-get install python3.11 python3.11-dev python3.11-venv (from universe), then make setup '
            'PYTHON=python3.11'),
    (NOBLE, 'make setup PYTHON=/path/to/python3'), (BOOKWORM, 'make setup PYTHON=/path/to/python3')])
def test_a_python_that_is_too_old_is_answered_with_what_to_install(tmp_path, monkeypatch, release, remedy):
    monkeypatch.setattr(debian, 'OS_RELEASE', write(tmp_path / 'os-release', release))
    monkeypatch.setattr(sys, 'version_info', (3, 10, 12))
    with pytest.raises(Problem) as refusal:
        setup.check_python()
    assert str(refusal.value).endswith(f'3.11 or later is needed: {remedy}') and refusal.value.status == 2


def test_headers_and_venv_are_those_of_the_interpreter(tmp_path, monkeypatch):
    """Not of the package python3: 22.04's python3.11 stands beside its 3.10."""
    asked = []
    monkeypatch.setattr(debian, 'missing', lambda packages: asked.extend(packages) or [])
    monkeypatch.setattr(sys, 'base_prefix', '/usr')
    monkeypatch.setattr(sys, 'version_info', (3, 12, 1))
    monkeypatch.setattr(setup, 'find_spec', lambda name: None)
    monkeypatch.setattr(build, 'python_headers', lambda: str(tmp_path))
    setup.check_packages()
    assert asked == [*recipe.PACKAGES, 'python3.12-dev', 'python3.12-venv']
