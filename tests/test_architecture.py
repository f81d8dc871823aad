"""Who imports whom: arrows point down only, and never in a circle. docs/architecture.md says the same in words."""
import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GROUND = {'cli', 'files', 'workers'}
MAY_IMPORT = {      # from the ground up; each may import itself too
    'third_party': set(),       # runs before anything is installed
    **dict.fromkeys(GROUND, GROUND),
    'accel': GROUND,
    'data_layers': GROUND,
    'surgery': GROUND | {'accel', 'data_layers'},
    'solvers': GROUND | {'accel', 'data_layers', 'surgery'},
    'nets': GROUND | {'accel', 'data_layers', 'surgery', 'solvers'},
    'report': GROUND | {'accel', 'data_layers', 'surgery', 'solvers', 'nets'},
    'experiments': GROUND | {'accel', 'data_layers', 'surgery', 'solvers', 'nets', 'report'},
    'bench': GROUND | {'accel', 'data_layers', 'surgery', 'solvers', 'nets', 'report', 'experiments'},
}
WITHOUT_CAFFE = ('data_layers', 'surgery', 'solvers.metrics')   # these import without Caffe, but for the layer itself
LOADERS = {'import_module', '__import__', 'run_module', 'find_spec', 'importorskip'}


def sources() -> dict[str, str]:
    """Module -> text, of the packages and modules that the repository holds; a user's own nets are left out."""
    listed = subprocess.run(['git', 'ls-files', '*.py'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name_of(path): (ROOT / path).read_text() for path in listed.split()
            if path.partition('/')[0].removesuffix('.py') in MAY_IMPORT and (ROOT / path).is_file()}


def name_of(path: str) -> str:
    return path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')


def imports(module: str, text: str, modules: set[str]) -> set[str]:
    """The modules that a module names: in import statements at any depth, to importlib and runpy, and after `-m`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = stem_of(node, module, modules)
            found.update(f'{stem}.{alias.name}' if f'{stem}.{alias.name}' in modules else stem for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in LOADERS:
            found.update(filter(None, map(text_of, node.args[:1])))
        elif isinstance(node, ast.List | ast.Tuple):
            words = list(map(text_of, node.elts))
            found.update(after for before, after in zip(words, words[1:], strict=False) if before == '-m' and after)
    return found


def stem_of(node: ast.ImportFrom, module: str, modules: set[str]) -> str:
    """What a `from ... import` takes from; leading dots count from the module's own package."""
    if not node.level:
        return str(node.module)
    is_package = any(other.startswith(f'{module}.') for other in modules)
    parts = module.split('.')
    parent = parts[:len(parts) - node.level + is_package]
    return '.'.join([*parent, *([node.module] if node.module else [])])


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')


def text_of(node: ast.expr) -> str:
    """A string literal, or nothing."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ''


def package(module: str) -> str:
    return module.partition('.')[0]


def wrong_arrows(texts: dict[str, str]) -> list[str]:
    """Imports that point up or sideways, as 'module -> module'."""
    return sorted(f'{module} -> {target}' for module, text in texts.items()
                  for target in imports(module, text, set(texts))
                  if package(target) in MAY_IMPORT and package(target) != package(module)
                  and package(target) not in MAY_IMPORT[package(module)])


def circle(texts: dict[str, str]) -> list[str]:
    """Modules that import each other in a circle, or an empty list."""
    graph = {module: {target for target in imports(module, text, set(texts)) if target in texts and target != module}
             for module, text in texts.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as problem:
        return list(problem.args[1])
    return []


def test_arrows_point_down():
    assert wrong_arrows(sources()) == []


def test_there_is_no_circle():
    assert circle(sources()) == []


@pytest.mark.parametrize(('module', 'line', 'arrow'), [
    ('surgery.bilinear', 'from solvers import loop', 'surgery.bilinear -> solvers.loop'),
    ('solvers.loop', 'def f():\n    import nets.voc', 'solvers.loop -> nets.voc'),
    ('solvers.loop', 'import importlib\nimportlib.import_module("report.page")', 'solvers.loop -> report.page'),
    ('solvers.solve', 'command = [python, "-m", "report", run]', 'solvers.solve -> report'),
    ('accel.build', 'from third_party.caffe import cuda', 'accel.build -> third_party.caffe.cuda'),
    ('data_layers.check', 'from accel import device', 'data_layers.check -> accel.device'),
    ('report.page', 'from experiments import demo', 'report.page -> experiments.demo'),
    ('cli', 'from data_layers import VOID', 'cli -> data_layers'),
])
def test_an_arrow_up_is_found(module, line, arrow):
    texts = sources()
    texts[module] += f'\n{line}\n'
    assert wrong_arrows(texts) == [arrow]


@pytest.mark.parametrize(('module', 'line'), [
    ('solvers.recipe', 'from solvers import loop'),
    ('surgery.transplant', 'def f():\n    from .expand import expand_score'),
    ('nets.blocks', 'from nets.voc_fcn8s.net import fcn')])
def test_a_circle_is_found(module, line):
    texts = sources()
    texts[module] += f'\n{line}\n'
    assert module in circle(texts)


def test_what_works_without_caffe_names_it_in_functions_only():
    """Data sets, surgery and metrics are imported on machines without Caffe."""
    for module, text in sources().items():
        if module.startswith(WITHOUT_CAFFE) and module != 'data_layers.layers':
            statements = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
            named = imports(module, '\n'.join(map(ast.unparse, statements)), set())
            assert not {'caffe', 'accel'} & set(map(package, named)), module


@pytest.mark.caffe
@pytest.mark.parametrize('module', ['nets.__main__', 'nets.infer', 'nets.voc_fcn8s.solve', 'solvers.__main__',
                                    'solvers.score', 'report.serve', 'experiments.demo'])
def test_accel_comes_before_caffe(module):
    """Which reads then how long the threads of its BLAS may look for work."""
    heard = ('import importlib, sys\norder = []\n'
             'sys.addaudithook(lambda event, of: event == "import" and order.append(of[0]))\n'
             f'importlib.import_module("{module}")\nprint(*order)')
    order = subprocess.run([sys.executable, '-c', heard], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert order.split().index('accel') < order.split().index('caffe')
