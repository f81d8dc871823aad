"""What is examined: a net of nets/, a folder of prototxts, or a run."""
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cli import BadInput
from solvers import weights
from solvers.folder import SOLVER, read_folder
from solvers.run import is_run
from solvers.training import Training, load
from surgery.programs import net_folders


@dataclass(frozen=True)
class Subject:
    """What is examined.

    Attributes
    ----------
    training : Training
    initial : tuple of Path
        The caffemodels that it starts from; those that are missing are left out.
    missing : tuple of str
        What to do about those.
    run : Path or None
        The folder of the run.
    solver, net : str
        Where the schedule and the layers are written: for what a remedy names.
    notes : tuple of str
        How a folder is read.
    """
    training: Training
    initial: tuple[Path, ...]
    missing: tuple[str, ...]
    run: Path | None
    solver: str
    net: str
    notes: tuple[str, ...] = ()

    def set_rate(self, rate: float) -> str:
        """What to write for a learning rate."""
        return self.set(base_lr=f'{rate:.1g}')

    def set(self, **values: str) -> str:
        """What to write into the schedule, such as `base_lr=1e-10`, in the form of its file."""
        program = self.solver.endswith('.py')
        fields = ', '.join(f'{name}={value}' if program else f'{name}: {value}' for name, value in values.items())
        return f'write {fields} into {self.solver}'


def find(target: str, given: Sequence[Path], nets: Path) -> Subject:
    """What a command line names.

    Parameters
    ----------
    target : str
        A folder, or the name of a net or of a run in the folder of runs.
    given : sequence of Path
        Caffemodels to start from; by default those that it states.
    nets : Path
        The folder of nets.

    Returns
    -------
    Subject

    Raises
    ------
    BadInput
        There is no such net or folder; or what a folder holds cannot be read as a training.
    """
    folder = Path(target)
    known = net_folders(nets)
    if not folder.is_dir() and target not in known:
        folder = weights.runs_folder() / target
        if not folder.is_dir():
            raise BadInput(f'{target} is neither a folder nor a net; nets are {", ".join(known)}')
    if target in known and not (folder / SOLVER).is_file():
        return _of_net(target, given, nets)
    if not (folder / SOLVER).is_file():
        raise BadInput(f'{folder} has no {SOLVER}: name the folder of a run, one of prototxts as python -m solvers '
                       'train takes it, or a net')
    return _of_folder(folder, given, nets)


def _of_net(name: str, given: Sequence[Path], nets: Path) -> Subject:
    training = load(name, nets)
    initial, missing = [], []
    for source in given or training.init:
        try:
            initial.append(weights.find(Path(source) if isinstance(source, Path) else source))
        except BadInput as problem:
            missing.append(str(problem))
    place = f'{nets.name}/{name.replace("-", "_")}'
    return Subject(training, tuple(initial), tuple(missing), None, f'{place}/solve.py', f'{place}/net.py')


def _of_folder(folder: Path, given: Sequence[Path], nets: Path) -> Subject:
    found = read_folder(folder, given)
    training, run = found.training, folder if is_run(folder) else None
    solver, net = str(folder / SOLVER), str(folder / f'{training.phases[0]}.prototxt')
    if run and training.net in net_folders(nets):
        program = load(training.net, nets)
        if len(program.init) == len(found.initial):     # which may know more of the weights than their names
            training = replace(training, initialise=program.initialise)
        place = f'{nets.name}/{training.net.replace("-", "_")}'
        solver, net = f'{place}/solve.py', f'{place}/net.py'
    missing = tuple(f'{path} is missing: put the caffemodel there that it starts from, or name another with --weights'
                    for path in found.initial if not path.is_file())
    initial = tuple(path for path in found.initial if path.is_file())
    return Subject(training, initial, missing, run, solver, net, found.notes)
