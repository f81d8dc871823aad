"""The training loop: Caffe's solver, stepped from Python, scored and snapshot at the recipe's intervals.

A run is a folder (`solvers.run`). Whatever a step depends on is either in its newest snapshot (weights, momentum) or a
pure function of seed and position (the image, dropout's mask), so a run killed at any moment continues to the same
bytes.
"""
import contextlib
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import cli
import files
from accel import device
from accel.ranks import Alone, world
from data_layers import VOID, Dataset
from solvers import best, monitor, preflight, snapshot
from solvers.best import Best
from solvers.capacity import training_bytes, validating_bytes
from solvers.evaluation import Evaluation, evaluate, has_predictions, read_record, write_record
from solvers.losses import SIGMOID, first_of, losses_of, per_label, weight_of
from solvers.metrics import ConfusionMatrix, Counts, from_json
from solvers.options import Options
from solvers.run import Run, alone, evaluation_of, publish_weights, snapshots_of, write_down
from solvers.source import facts, open_source, tasks
from solvers.training import Training
from surgery import Report, fill_bilinear, read_weights

NONE = Options()
CHANCE_AFTER = 200  # steps after which a loss that has not left that of random guessing is worth a warning


class Diverged(cli.Failed):
    """The loss or a weight is not a finite number any more; the message names the last good snapshot."""


def solve(training: Training, run: Path, initial: Sequence[Path] = (), resume: bool = False, device_name: str = 'CPU',
          keep: int | None = None, options: Options = NONE) -> dict[str, Counts]:
    """Train a net to the end of its recipe in the folder `run`.

    Parameters
    ----------
    training : Training
        Net and schedule.
    run : Path
        The run's folder; see `solvers.run` for what it gets.
    initial : sequence of Path
        The caffemodels of `training.init`.
    resume : bool
        Continue from the newest snapshot in `run`, if there is one.
    device_name : str
        Noted in `run.json`.
    keep : int, optional
        Snapshots to keep; all by default.
    options : Options
        What the command line has changed about the training, for `run.json`; its patience is this function's to follow.

    Returns
    -------
    dict
        Label blob -> counts of the last scoring; empty when a signal ended the run before its end.

    Raises
    ------
    Diverged
        The loss is not a finite number any more.
    BadInput
        The folder holds another run, or data or weights do not fit.
    """
    ranks = world()
    if not resume and snapshot.list_snapshots(snapshots_of(run)):
        raise cli.BadInput(f'{run} already holds a run: continue it with --resume, or name another folder with --run')
    with alone(run, ranks.first), _signals() as stop:
        loop = Loop(training, run, initial, ranks, keep, device_name, options)
        with cli.progress(total=training.recipe.iterations, initial=loop.iteration, desc=training.net, unit='step',
                          disable=not ranks.first) as bar:
            while not loop.finished:
                loop.step()
                bar.set_postfix_str(loop.describe(), refresh=False)
                bar.update()
                if ranks.any(bool(stop)):
                    loop.stop()
                    return {}
        return loop.finish()


class Loop:
    """One run while it goes on: construct it, call `step` until `finished`, then `finish`, or `stop` before.

    Parameters
    ----------
    training, run, initial, keep, device_name, options
        As for `solve`.
    ranks : accel.ranks.Alone
        The data-parallel ranks, of which this process is one.
    """

    def __init__(self, training: Training, run: Path, initial: Sequence[Path], ranks: Alone, keep: int | None,
                 device_name: str, options: Options = NONE) -> None:
        self.options = options
        self.training, self.recipe, self.run, self.ranks, self.keep = training, training.recipe, run, ranks, keep
        self.trained, self.tested = map(training.fcn, training.phases)      # NetParameters
        self.type = str(self.recipe.solver(*training.phases).type)
        self.scored = self._check_data()
        self._write_down(initial, device_name)
        self.solver = self._make_solver()
        seen = self._restore()
        if seen is None:
            seen = self._initialise(initial)
        self.test_net = self._share_weights()
        self.passes = Passes(self.solver.net, self.trained, self.recipe.seed, seen, ranks)
        self.held_out = PixelLoss(self.test_net, self.tested)
        ranks.average_gradients(self.solver, self.trained, self.recipe.iter_size, device.on_gpu())
        self.statistics = statistics_of(self.solver.net, self.trained)
        self._seek(seen)
        self.log = monitor.MetricsLog(run / 'metrics.jsonl', self.iteration) if ranks.first else None
        self.best: Best = ranks.gather(best.of_lines(self.log.scorings) if self.log else None)[0]
        self._keep_best()       # which a process that ended after the snapshot may not have come to
        self.matrices: dict[str, Counts] = {}      # of the last scoring
        self.evaluation: Evaluation | None = None           # of the scoring at the end, all ranks' images
        self.loss = self.pixel_loss = math.nan

    # Steps of the constructor.

    def _check_data(self) -> Dataset:
        """Read samples of both splits, and the sizes of all their images; returns the scored one."""
        scored, trained = map(open_source, (self.tested, self.trained))
        preflight.data(trained)
        preflight.data(scored)
        if self.ranks.first:
            scoring = preflight.sizes(self.tested, scored, validating_bytes)
            preflight.sizes(self.trained, trained, partial(training_bytes, type=self.type), scoring)
        return scored

    def _write_down(self, initial: Sequence[Path], device_name: str) -> None:
        if self.ranks.first:
            write_down(self.training, self.run, initial, device_name, self.ranks.size, self.options.known(),
                       monitor.chance(guessed_of(self.trained, self.scored)))
        self.ranks.wait()

    def _make_solver(self) -> Any:
        """The solver of the prototxts in the run's folder, its fresh layers filled from the recipe's seed."""
        import caffe
        caffe.set_random_seed(self.recipe.seed)
        with contextlib.chdir(self.run):
            solver = caffe.get_solver('solver.prototxt')
        preflight.classes(solver.net, tasks(self.trained), self.scored)
        return solver

    def _restore(self) -> int | None:
        """Bring the solver to its newest snapshot; returns the images seen until then, None without a snapshot."""
        folder, fits = snapshots_of(self.run), snapshot.expected(self.solver.net, self.type)
        newest = snapshot.newest(folder, fits)
        if newest:
            return snapshot.restore(self.solver, newest, fits)
        if snapshot.list_snapshots(folder):
            raise cli.BadInput(f'{self.run}: no snapshot is whole; name another folder with --run, or remove this one')
        return None

    def _initialise(self, initial: Sequence[Path]) -> int:
        """Bring the solver to the beginning of the run: weights transplanted, deconvolutions filled; 0 images seen."""
        net = self.solver.net
        reports = self.training.initialise(net, *(read_weights(path) for path in initial))
        filled = f'filled with bilinear kernels: {", ".join(fill_bilinear(net, unfilled(net, self.trained, reports)))}'
        self.ranks.broadcast(net)
        if self.ranks.first:
            best.forget(self.run)
            files.write(self.run / 'init.txt', '\n\n'.join(map(str, [*reports, filled])) + '\n')
            zero = preflight.unlearnable(net, self.trained)
            kept = self.keep or -(-self.recipe.iterations // self.recipe.snapshot)
            plain = self.type in ('SGD', 'Nesterov')        # others find the size of a step themselves
            warn(f'no weights for {", ".join(zero)}, which stay at zero: nothing passes them (see init.txt of the run)'
                 if zero else None, preflight.rate(self.trained, self.recipe.base_lr) if plain else None,
                 preflight.shrunk(self.trained, open_source(self.trained), self.recipe.base_lr)
                 if plain and self.options.base_lr is None else None,
                 preflight.accumulation(self.trained, self.recipe.iter_size),
                 preflight.disk(net, self.run, kept, self.type))
        return 0

    def _share_weights(self) -> Any:
        """The test net, on the parameters of the one that learns."""
        test_net = self.solver.test_nets[0]
        test_net.share_with(self.solver.net)
        return test_net

    def _seek(self, seen: int) -> None:
        """Set the stream of training images to where `seen` passes have left it."""
        from data_layers import layers
        layers.set_rank(self.ranks.rank, self.ranks.size)
        layers.seek(seen * facts(self.trained).get('batch_size', 1))

    # What a run does.

    @property
    def iteration(self) -> int:
        """Steps taken so far."""
        return int(self.solver.iter)

    @property
    def finished(self) -> bool:
        """Whether the recipe's last step was taken, or the patience is at its end."""
        return self.iteration >= self.recipe.iterations or self.impatient

    @property
    def impatient(self) -> bool:
        """Whether as many scorings as the patience allows were no better than one before."""
        return bool(self.options.patience) and self.best.since >= (self.options.patience or 0)

    def step(self) -> None:
        """One step, and what is due after it: scores, a snapshot."""
        self.solver.step(1)
        self.ranks.average(self.statistics)
        self.loss, self.pixel_loss = self.passes.take_loss()
        if not math.isfinite(self.loss):
            raise Diverged(self._with_last_snapshot(f'the loss of step {self.iteration} is {self.loss}'))
        if self.log:
            self.loss, self.pixel_loss = self.log.step(self.iteration, self.loss, self.pixel_loss)
        if self.iteration == CHANCE_AFTER and self.log:
            warn(monitor.loss_at_chance(self.log.recent_pixels, self.passes.classes))
        if self.finished or self.iteration % self.recipe.score_every == 0:
            self.score()
        if self.finished or self.iteration % self.recipe.snapshot == 0:
            self.save()
        self._keep_best()
        if self.impatient and self.log:
            cli.say(f'{self.best.since} scorings were no better than that after step {self.best.iteration}: ended '
                    f'after step {self.iteration} of {self.recipe.iterations}, as --patience {self.options.patience} '
                    'asks')

    def describe(self) -> str:
        """Smoothed loss and last scores, for the bar."""
        scores = [f'{label} mIU {100 * matrix.compute().mean_iu:.1f}' for label, matrix in self.matrices.items()]
        losses = [f'{name} {value:.4g}' for name, value in self.passes.losses.items()]
        return cli.printable(', '.join([f'loss {self.loss:.4g}, {self.pixel_loss:.3g} a pixel',
                                        *(losses if len(losses) > 1 else ()), *scores]))

    def evaluate(self, keep: bool = False, every: int = 1) -> Evaluation:
        """Score the test split, each rank its part of it.

        Parameters
        ----------
        keep : bool
            Write the predictions into the run's folder.
        every : int
            How far the images are apart that are scored.

        Returns
        -------
        Evaluation
            On every rank that of all images.
        """
        from data_layers import layers
        layers.rewind(every)
        mine = self.ranks.share(self.scored.ids[::every])
        part = evaluate(self.test_net, tasks(self.tested), self.scored.classes, mine,
                        evaluation_of(self.run) if keep else None, colours=self.scored.colours)
        total = Evaluation({label: type(matrix)(matrix.classes) for label, matrix in part.matrices.items()},
                           images={label: {} for label in part.matrices})
        for one in self.ranks.gather(part):
            total += one
        return total

    @property
    def every(self) -> int:
        """How far the images are apart that are scored on the way."""
        return -(-len(self.scored) // (self.options.score_images or len(self.scored)))

    def score(self) -> None:
        """Score the test split, note and print it, and warn of a net that gives every pixel one class."""
        self.ranks.check_equal(self.solver.net)
        self.held_out.take()        # what scoring at another time has left
        sparse = self.every > 1
        found = self.evaluate(keep=self.finished and not sparse, every=self.every)
        scores = {label: matrix.compute() for label, matrix in found.matrices.items()}
        summaries = {label: score.summary() for label, score in scores.items()}
        pixel_loss = mean_of(self.ranks.sum(self.held_out.take()))
        self.best = self.best.after(self.iteration, best.mean_iu(summaries))
        if self.log:
            loss = found.loss / len(self.scored.ids[::self.every])
            warn(self.log.score(self.iteration, loss, pixel_loss, summaries,
                                {label: score.iu for label, score in scores.items()}))
        if self.finished and sparse:
            found = self.evaluate(keep=True)
        self.matrices, self.evaluation = found.matrices, found if self.finished else None
        if self.log:
            for label, matrix in self.matrices.items():
                cli.say(f'iteration {self.iteration}: {label}  {matrix.compute()}')
                if isinstance(matrix, ConfusionMatrix):
                    warn(monitor.one_class(matrix.counts))

    def save(self) -> None:
        """Take a snapshot; metrics and curves up to here are on disk before it counts."""
        if lost := not_finite(self.solver.net):     # which a layer such as Clip hides from the loss
            raise Diverged(self._with_last_snapshot(f'the weights of layer {lost} are not finite after step '
                                                    f'{self.iteration}'))
        if self.log:
            self.log.flush()
            try:
                snapshot.save(self.solver, snapshots_of(self.run), self.passes.seen, self.keep, self.type)
            except snapshot.DiskFull as problem:
                raise cli.Failed(self._with_last_snapshot(str(problem))) from None
            monitor.plot(self.run, self.training.net, monitor.chance(self.passes.classes))

    def _keep_best(self) -> None:
        """Write the weights that the scoring after this step found to be the best."""
        if self.log and self.best.iteration == self.iteration and self.iteration and not not_finite(self.solver.net):
            problem = best.keep(self.solver.net, self.run, self.best)
            warn(f'the weights of step {self.iteration}, the best so far, are not kept: {problem}' if problem else None)

    def stop(self) -> None:
        """End before the end, as a signal asked."""
        self.save()
        if self.log:
            self.log.close()
            cli.say(f'stopped after step {self.iteration} of {self.recipe.iterations}; --resume goes on from there')

    def finish(self) -> dict[str, Counts]:
        """Give the last snapshot's weights their final name, and write what the last scoring found beside them.

        Returns
        -------
        dict
            Label blob -> counts of the last scoring.
        """
        if self.log:
            self.log.close()
            publish_weights(self.run)
            if self.evaluation and has_predictions(self.run, self.evaluation, self.scored):
                write_record(Run(self.run), self.evaluation, self.scored)
        self.ranks.wait()
        return self.matrices or self._score_of_ended_run()

    def _score_of_ended_run(self) -> dict[str, Counts]:
        """The last scores of a run that had come to its end before: those on record, or made anew."""
        known = read_record(Run(self.run))
        if self.ranks.any(known is None) or known is None:
            return self.evaluate().matrices
        return {label: from_json(task) for label, task in known['tasks'].items()}

    def _with_last_snapshot(self, problem: str) -> str:
        good = snapshot.list_snapshots(snapshots_of(self.run))
        return f'{problem}; ' + (f'the last good snapshot is {good[-1]}, --resume goes on from it' if good else
                                 'there is no snapshot yet')


class Passes:
    """Follows the forward passes of the training net: makes each a pure function of its position, adds up its loss.

    Dropout's masks are drawn anew for each pass from (seed, images seen before), so a resumed run or another rank gets
    the very masks that one undisturbed process would have drawn.

    Parameters
    ----------
    net : caffe.Net
        That of the solver.
    net_parameter : caffe_pb2.NetParameter
        What it was made from.
    seed : int
        The recipe's.
    seen : int
        Images that all ranks together have seen before.
    ranks : accel.ranks.Alone
    """

    def __init__(self, net: Any, net_parameter: Any, seed: int, seen: int, ranks: Alone) -> None:
        import caffe
        # Blobs, not the net: the net keeps these callbacks, and the two would keep each other alive for ever.
        self._seed, self._ranks, self._caffe = seed, ranks, caffe
        self.seen = seen
        losses = losses_of(net_parameter)
        self._losses = [(layer.top[0], net.blobs[layer.top[0]], weight_of(layer)) for layer in losses]
        self._first = first_of(losses)
        self._last = list(net._layer_names).index(losses[-1].name)
        self.losses: dict[str, float] = {}      # of the last pass, without their weights
        self.classes = 2 if self._first.type == SIGMOID else int(net.blobs[self._first.bottom[0]].shape[1])
        self._pixels = PixelLoss(net, net_parameter)
        self._of_step: list[float] = []
        net.before_forward(self._begin)
        net.after_forward(self._end)

    def _begin(self, layer: int) -> None:
        if layer == 0:
            position = self.seen + self._ranks.rank
            self._caffe.set_random_seed(int(np.random.SeedSequence((self._seed, position)).generate_state(1)[0]))
            self.seen += self._ranks.size

    def _end(self, layer: int) -> None:
        if layer == self._last:
            self.losses = {name: float(blob.data) for name, blob, _ in self._losses}
            self._of_step.append(sum(weight * self.losses[name] for name, _, weight in self._losses if weight))

    def take_loss(self) -> tuple[float, float]:
        """Mean loss over the passes since the last call, and over the ranks; and that of one labelled pixel."""
        taken = self._ranks.sum(np.array([np.mean(self._of_step), *self._pixels.take()]))
        self._of_step.clear()
        return float(taken[0]) / self._ranks.size, mean_of(taken[1:])


class PixelLoss:
    """Adds up the first loss of a net over its forward passes, pixel by pixel.

    Parameters
    ----------
    net : caffe.Net
    net_parameter : caffe_pb2.NetParameter
        What it was made from.
    """

    def __init__(self, net: Any, net_parameter: Any) -> None:
        self._layer = first_of(losses_of(net_parameter))
        self._loss, self._label = net.blobs[self._layer.top[0]], net.blobs[self._layer.bottom[1]]
        self._number = list(net._layer_names).index(self._layer.name)
        self._sum = np.zeros(2)
        net.after_forward(self._end)

    def _end(self, layer: int) -> None:
        if layer == self._number:
            labels = self._label.data
            labelled = int(np.count_nonzero(labels != VOID))
            if labelled:
                self._sum += per_label(self._layer, float(self._loss.data), labels) * labelled, labelled

    def take(self) -> np.ndarray:
        """The loss and the labelled pixels of all passes since the last call."""
        taken, self._sum = self._sum, np.zeros(2)
        return taken


def mean_of(taken: np.ndarray) -> float:
    """The loss of one pixel, from the loss of all and their number; 0 where none was labelled."""
    return float(taken[0] / max(taken[1], 1))


def guessed_of(net_parameter: Any, dataset: Dataset) -> int:
    """Among how many classes a net chooses at a pixel: 2 where they overlap, and each is there or not."""
    layer = first_of(losses_of(net_parameter))
    return 2 if layer.type == SIGMOID else len(dataset.classes.get(layer.bottom[1], ())) or 2


def unfilled(net: Any, net_parameter: Any, reports: Sequence[Report]) -> list[str]:
    """Deconvolutions that upsample and have no weights yet: neither a filler nor a source gave them any.

    Parameters
    ----------
    net : caffe.Net
    net_parameter : caffe_pb2.NetParameter
        What it was made from.
    reports : sequence of Report
        What was transplanted.
    """
    given = {entry.target for report in reports for entry in (*report.copied, *report.coerced)}
    shapes = {layer.name: net.params[layer.name][0].shape for layer in net_parameter.layer
              if layer.type == 'Deconvolution' and not layer.convolution_param.HasField('weight_filler')
              and layer.name not in given}
    return [name for name, (bottom, top, height, width) in shapes.items()
            if height == width and (bottom == top or 1 in (bottom, top))]


def not_finite(net: Any) -> str | None:
    """The first layer of a net with a parameter that is not a finite number."""
    return next((name for name, blobs in net.params.items() if not all(np.isfinite(blob.data).all() for blob in blobs)),
                None)


def statistics_of(net: Any, net_parameter: Any) -> list[Any]:
    """The blobs in which a net's BatchNorm layers gather statistics of the images that they see."""
    return [blob for layer in net_parameter.layer
            if layer.type == 'BatchNorm' and not layer.batch_norm_param.use_global_stats
            for blob in net.params[layer.name]]


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that SIGINT, SIGTERM and SIGHUP fill: a step is finished before the loop looks; a second one ends at once.
    """
    stop: list[int] = []

    def note(number: int) -> None:
        if stop:
            cli.end(number)
        stop.append(number)

    with cli.on_signals(note):
        yield stop


def warn(*messages: str | None) -> None:
    """Say each message as a warning; None stands for nothing to say."""
    for message in filter(None, messages):
        cli.say(f'warning: {message}')
