"""Somebody's own solver file as a recipe: Caffe's solver does what it says, the loop around it scores and saves."""
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cli import BadInput
from solvers.recipe import Recipe
from surgery.prototxt import read_message
from surgery.solver_parameter import NEVER

TYPES = ('SGD', 'Nesterov', 'AdaGrad', 'RMSProp', 'AdaDelta', 'Adam')
POLICIES: dict[str, tuple[str, ...]] = {       # and what each needs
    'fixed': (), 'step': ('gamma', 'stepsize'), 'exp': ('gamma',), 'inv': ('gamma', 'power'),
    'multistep': ('gamma', 'stepvalue'), 'poly': ('power',), 'sigmoid': ('gamma', 'stepsize')}
NETS = ('net', 'net_param', 'train_net', 'test_net', 'train_net_param', 'test_net_param', 'train_state', 'test_state')
# What the loop does in its own way, with the value at which there is nothing to say about that.
OTHERWISE = {
    'solver_mode': (None, 'the command line says where to compute'),
    'device_id': (None, 'the command line names the GPU'),
    'test_compute_loss': (True, 'the loss is always scored'),
    'test_initialization': (False, 'the first scoring comes with the first interval'),
    'snapshot_format': (1, 'snapshots are binary'),
    'snapshot_diff': (False, 'snapshots have no gradients'),
    'snapshot_after_train': (True, 'the end is always saved'),
    'debug_info': (False, 'python -m nets summary shows a net'),
}
OURS = ('test_iter', 'test_interval', 'test_initialization', 'snapshot_prefix')   # set here whatever the file says
SEEDS = 2 ** 31
MOST_DEFAULT = 4000     # iterations between snapshots where the file does not say


@dataclass(frozen=True)
class Schedule(Recipe):
    """A recipe whose solver is `settings`, a file's; the fields it shares with a `Recipe` are read from there.

    Parameters
    ----------
    settings : caffe_pb2.SolverParameter
        Without the nets, and without what the loop does in its own way (`OTHERWISE`).
    notes : tuple of str
        What a user should know about how the file is read, a line each.
    """
    settings: Any = None
    notes: tuple[str, ...] = ()

    def solver(self, train: str = 'train', test: str = 'val') -> Any:
        result = type(self.settings)()
        result.CopyFrom(self.settings)
        result.train_net, result.snapshot = f'{train}.prototxt', self.snapshot
        result.test_net.append(f'{test}.prototxt')
        return result

    def changed(self, **changes: Any) -> 'Schedule':
        settings = type(self.settings)()
        settings.CopyFrom(self.settings)
        for name, value in changes.items():
            setattr(settings, name, value)
        return replace(self, settings=settings, **changes)

    def facts(self) -> dict[str, Any]:
        stated = {field.name: _plain(value) for field, value in self.settings.ListFields() if field.name not in OURS}
        known = {name: value for name, value in asdict(self, dict_factory=_without_settings).items()
                 if value is not None}
        return known | {name: value for name, value in stated.items() if name not in known}


def _without_settings(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in fields if name not in ('settings', 'notes')}


def _plain(value: Any) -> Any:
    """A field's value for JSON; a float32 without the digits that it does not have."""
    if isinstance(value, float):
        return float(f'{value:.7g}')
    return value if isinstance(value, int | str) or value is None else [_plain(item) for item in value]


def read_schedule(path: Path, known: dict[str, int]) -> tuple[Schedule, Any]:
    """Read a solver file.

    Parameters
    ----------
    path : Path
    known : dict of str to int
        `iterations`, `score_every`, `snapshot`, `seed` where they are known from elsewhere, as from run.json.

    Returns
    -------
    Schedule
    caffe_pb2.SolverParameter
        The whole file; says where the nets are.

    Raises
    ------
    BadInput
        The file is missing or damaged, or states what Caffe would end the process on; names the field.
    """
    from caffe.proto import caffe_pb2
    solver = read_message(path, caffe_pb2.SolverParameter())
    try:
        return schedule_of(solver, known), solver
    except BadInput as problem:
        raise BadInput(f'{path}: {problem}') from None


def schedule_of(solver: Any, known: dict[str, int]) -> Schedule:
    """The schedule of a `SolverParameter`; the rest is as of `read_schedule`, without the file's name."""
    settings = type(solver)()
    settings.CopyFrom(solver)
    if settings.HasField('solver_type'):        # the older way to say it
        if settings.HasField('type'):
            raise BadInput('it has both type and solver_type: keep type')
        name = settings.SolverType.Name(settings.solver_type)
        settings.type = next(kind for kind in TYPES if kind.upper() == name)
        settings.ClearField('solver_type')
    _check(settings)
    notes = []
    for name, (usual, instead) in OTHERWISE.items():
        if settings.HasField(name):
            if getattr(settings, name) != usual:
                notes.append(f'{name} does not count here: {instead}')
            settings.ClearField(name)
    for name in (*NETS, 'weights', 'test_iter', 'test_interval', 'test_initialization'):
        settings.ClearField(name)
    score_every, snapshot = _intervals(solver, known, notes)
    settings.test_iter.append(solver.test_iter[0] if solver.test_iter else 1)
    settings.test_interval, settings.test_initialization = NEVER, False
    if not settings.HasField('snapshot_prefix'):
        settings.snapshot_prefix = 'train'
    return Schedule(
        base_lr=_plain(solver.base_lr), iterations=known.get('iterations', solver.max_iter), score_every=score_every,
        snapshot=snapshot, test_iter=settings.test_iter[0], momentum=_plain(solver.momentum),
        weight_decay=_plain(solver.weight_decay), iter_size=solver.iter_size, max_iter=solver.max_iter,
        seed=known.get('seed', solver.random_seed if solver.random_seed >= 0 else Recipe.seed), settings=settings,
        notes=tuple(notes))


def _intervals(solver: Any, known: dict[str, int], notes: list[str]) -> tuple[int, int]:
    """Steps from one scoring to the next and from one snapshot to the next; where the file does not say, notes how."""
    snapshot = known.get('snapshot', solver.snapshot)
    scored = known.get('score_every', solver.test_interval if solver.test_interval < NEVER else 0)
    if not snapshot:
        snapshot = scored or min(MOST_DEFAULT, max(solver.max_iter // 10, 1))
        notes.append(f'it states no snapshot interval: one is taken every {snapshot} iterations')
    if not scored:
        scored = snapshot
        if solver.test_interval < NEVER:
            notes.append(f'it states no test_interval: the test split is scored every {scored} iterations')
    return scored, snapshot


def _check(solver: Any) -> None:
    """Refuse what Caffe would end the process on, or compute no numbers from."""
    if solver.type not in TYPES:
        raise BadInput(f'type {solver.type!r}: write one of {", ".join(TYPES)}')
    if solver.lr_policy not in POLICIES:
        raise BadInput(f'lr_policy {solver.lr_policy!r}: write one of {", ".join(POLICIES)}')
    for field, value in solver.ListFields():
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f'{field.name} is {value}: write a number')
    stated = {field.name for field, _ in solver.ListFields()}
    if missing := [name for name in POLICIES[solver.lr_policy] if name not in stated]:
        raise BadInput(f'lr_policy "{solver.lr_policy}" needs {" and ".join(missing)}: write them')
    if not solver.base_lr > 0:
        raise BadInput('it has no base_lr above 0: write one')
    least = {'max_iter': 1, 'iter_size': 1, 'average_loss': 1, 'snapshot': 0, 'test_interval': 0, 'display': 0,
             'gamma': 0, 'momentum': 0, 'delta': 0, 'weight_decay': 0}
    for name, number in least.items():
        if getattr(solver, name) < number:
            raise BadInput(f'{name} is {_plain(getattr(solver, name))}: write at least {number}')
    if 'stepsize' in POLICIES[solver.lr_policy] and solver.stepsize < 1:
        raise BadInput(f'stepsize is {solver.stepsize}: write at least 1')
    if list(solver.stepvalue) != sorted(solver.stepvalue):
        raise BadInput(f'stepvalue {", ".join(map(str, solver.stepvalue))}: write them in rising order')
    if solver.type in ('AdaGrad', 'RMSProp') and solver.momentum:
        raise BadInput(f'{solver.type} goes without momentum: leave it out')
    below_one = {'Adam': ('momentum', 'momentum2'), 'RMSProp': ('rms_decay',), 'AdaDelta': ('momentum',)}
    for name in below_one.get(solver.type, ('momentum',)):
        if not 0 <= getattr(solver, name) < 1:
            raise BadInput(f'{name} is {_plain(getattr(solver, name))}: write a number from 0 to below 1')
    if solver.regularization_type not in ('L1', 'L2'):
        raise BadInput(f'regularization_type {solver.regularization_type!r}: write "L2" or "L1"')
    if solver.random_seed >= SEEDS:
        raise BadInput(f'random_seed is {solver.random_seed}: write one below 2^31')
    if len(solver.test_iter) > 1 or any(count < 0 for count in solver.test_iter):
        raise BadInput('it has several test_iter, or one below 0: one net is scored, write one')


def check_length(recipe: Recipe) -> None:
    """Refuse a run that goes on where a rate policy has come to its end.

    Raises
    ------
    BadInput
        The rate of lr_policy "poly" is 0 at max_iter, and no number after that.
    """
    if isinstance(recipe, Schedule) and recipe.settings.lr_policy == 'poly' and recipe.iterations > (
            recipe.max_iter or 0):
        raise BadInput(f'{recipe.iterations} iterations: lr_policy "poly" ends at max_iter {recipe.max_iter}; write a '
                       'larger one into the solver file')
