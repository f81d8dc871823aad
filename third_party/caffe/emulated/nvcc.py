#!/usr/bin/env python3
"""Stands in for CUDA's compiler: kernels become functions of the host, launched by `emulated::kernel`.

A launch KERNEL<<<GRID, BLOCK>>>(ARGUMENTS) becomes
emulated::kernel("KERNEL", TOGETHER, [](auto... a) { KERNEL(a...); }, GRID, BLOCK)(ARGUMENTS),
where TOGETHER says whether the kernel's threads share memory or wait for each other. Shared memory becomes static, with
a call that fills it with what nobody wrote. Lines stay where they are, so that messages name those of the source.
"""
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]      # of the toolkit
SKIPPED = {'-gencode', '-Xcudafe', '-arch'}     # options about cards, with their values
KERNEL = re.compile(r'__global__\s+void\s+(\w+)\s*\(')
SHARED = re.compile(r'__shared__\s+([\w:]+)\s+(\w+)\s*((?:\[[^;\]]*\]\s*)+);')


def closing(text: str, start: int, pair: str) -> int:
    """The place after the bracket that closes the one at `start`."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == pair[0]) - (text[at] == pair[1])
        if not depth:
            return at + 1
    raise SystemExit(f'nvcc: a {pair[0]} that is not closed')


def kernels(text: str) -> dict[str, bool]:
    """For each kernel that a source defines, whether its threads have to do with each other."""
    found = {}
    for match in KERNEL.finditer(text):
        end = closing(text, match.end() - 1, '()')
        body = re.match(r'\s*\{', text[end:])
        if body:    # a definition
            start = end + body.end() - 1
            found[match[1]] = bool(re.search('__syncthreads|__shared__', text[start:closing(text, start, '{}')]))
    return found


def start_of_kernel(text: str, end: int) -> int:
    """Where the expression that names a kernel begins, which ends at `end`, before comments."""
    at = end
    while True:
        before = text[:at].rstrip(' \t\n\\')
        line = before[before.rfind('\n') + 1:]
        at = len(before) - len(line) + line.index('//') if '//' in line else len(before)
        if '//' not in line:
            break
    if text[at - 1] == '>':
        depth = 0
        while True:
            at -= 1
            depth += (text[at] == '>') - (text[at] == '<')
            if not depth:
                break
    name = re.search(r'[\w#]+$', text[:at])
    assert name, 'a launch without a kernel'
    return name.start()


def translated(text: str) -> str:
    """A source of CUDA as C++."""
    together = kernels(text)
    while '<<<' in text:
        at = text.index('<<<')
        start = start_of_kernel(text, at)
        name = re.split(r'[^\w#]', text[start:at], maxsplit=1)[0]
        end, waits = text.index('>>>', at), str(together.get(name, False)).lower()
        text = (f'{text[:start]}::emulated::kernel("{name}", {waits}, [](auto... a) {{ {text[start:at]}(a...); }}, '
                f'{text[at + 3:end]}){text[end + 3:]}')
    return SHARED.sub(r'static \1 \2\3; ::emulated::share(\2, sizeof(\2));', text)


def overlay(folders: Iterable[str], target: Path) -> None:
    """Copies of the headers that launch kernels, translated."""
    for folder in map(Path, folders):
        for header in sorted(folder.glob('caffe/**/*.hpp')):
            text = header.read_text()
            if '<<<' in text:
                copy = target / header.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(translated(text))


def main(argv: Sequence[str]) -> int:
    if '--version' in argv:
        print('nvcc of an emulated card\nCuda compilation tools, release 13.0, V13.0.0')
        return 0
    if '--list-gpu-arch' in argv:
        print('compute_90')
        return 0
    if '--dryrun' in argv:
        print(f'#$ TOP={ROOT}')
        return 0
    command: list[str] = []
    source, words, compiler = Path(), iter(argv), 'g++'
    for word in words:
        if word in SKIPPED:
            next(words)
        elif word == '-ccbin':
            compiler = next(words)
        elif word == '-Xcompiler':
            command += next(words).replace('"', '').strip(',').split(',')
        elif word.endswith('.cu'):
            source = Path(word)
        elif not word.startswith(('-gencode', '-Xcudafe', '--diag')):
            command.append(word.replace('"', ''))
    folders = [word[2:] for word in command if word.startswith('-I') and '/usr/' not in word]
    with tempfile.TemporaryDirectory() as name:
        target = Path(name)
        overlay(folders, target / 'include')
        # Where a plain name is included, it is looked for beside the source first.
        text = f'#line 1 "{source}"\n{translated(source.read_text())}'
        (target / 'source.cpp').write_text(text)
        call = [compiler, '-D__CUDACC__', f'-I{target / "include"}', f'-I{source.parent}', str(target / 'source.cpp'),
                *command, '-std=c++17', f'-I{ROOT / "include"}']
        return subprocess.run(call, env={**os.environ, 'LC_ALL': 'C'}).returncode


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
