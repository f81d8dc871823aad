"""What a net does on one image, through Caffe's solver, in a process of its own, which Caffe may end.

    python -m solvers.doctor.trial FOLDER

writes what Caffe's fillers give, fillers.caffemodel, and says so; once a line on stdin tells that start.caffemodel is
there, what `measure` finds, found.json. FOLDER is written by `solvers.doctor.experiment`: plan.json, the nets fed from
Input layers, and the images.
"""
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import accel  # noqa: F401 (the layers that training computes with)
import cli
import files
from accel import device
from solvers.losses import first_of, losses_of, per_label, weight_of
from solvers.prototxts import read_net
from surgery import read_weights, transplant
from surgery.caffemodel import Weights

PLAN, FOUND = 'plan.json', 'found.json'
FILLERS, START, NOW = 'fillers.caffemodel', 'start.caffemodel', 'now.caffemodel'
FILLED, DONE = 'filled', 'done'         # what the process says
TRIES = 10                              # decades that are tried at most
SHORT, LONG, OWN = (4, 8), (12, 60), (8, 24)    # steps at each decade, at the best one, at the stated rate: from, to
SHARES = (0.4, 0.35, 0.25)              # of the time
PASSES = 4              # in which a gradient is looked for
RISES = 1.2                             # a loss that ends so much above its beginning is not stable
# Where decades are tried first for types that find the size of a step themselves; others follow from the gradient.
USUAL = {'AdaGrad': -2, 'RMSProp': -3, 'Adam': -3, 'AdaDelta': 0}
Tops = dict[str, npt.NDArray[Any]]


class Bench:
    """A net, its images and its solver, as the plan says.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan: dict[str, Any] = json.loads(files.read_text(folder / PLAN))
        self.images: list[Tops] = [{name: np.load(folder / f'{name}.{i}.npy') for name in self.plan['tops']}
                                   for i in range(self.plan['images'])]
        self.net_parameter = read_net(folder, 'probe')
        self.losses = [(layer.top[0], weight_of(layer)) for layer in losses_of(self.net_parameter)]
        self.start = read_weights(folder / START)

    def probe(self) -> Any:
        """The net that trains, without dropout, with the parameters that training begins from."""
        import caffe
        net = caffe.Net(str(self.folder / 'probe.prototxt'), caffe.TRAIN)
        transplant(net, self.start)
        return net

    def solver(self, **changes: Any) -> Any:
        """The solver with other settings, on the parameters that training begins from, its net fed with an image."""
        import caffe
        from caffe.proto import caffe_pb2
        from google.protobuf import text_format
        settings = text_format.Parse(files.read_text(self.folder / 'solver.prototxt'), caffe_pb2.SolverParameter())
        for name, value in changes.items():
            settings.ClearField(name) if value is None else setattr(settings, name, value)
        settings.train_net = str(self.folder / 'train.prototxt')
        files.write(self.folder / 'now.prototxt', str(settings))
        caffe.set_random_seed(self.plan['seed'])
        solver = caffe.get_solver(str(self.folder / 'now.prototxt'))
        transplant(solver.net, self.start)
        feed(solver.net, self.images[0])
        return solver

    def loss(self, net: Any) -> float:
        """The loss of the last pass, all losses by their weights."""
        return sum(weight * float(net.blobs[name].data) for name, weight in self.losses if weight)

    def per_pixel(self, net: Any) -> float:
        """The first loss that counts, as that of a labelled pixel."""
        layer = first_of(losses_of(self.net_parameter))
        return per_label(layer, float(net.blobs[layer.top[0]].data), net.blobs[layer.bottom[1]].data)


def feed(net: Any, tops: Tops) -> None:
    """Put an image into a net's inputs."""
    for name, array in tops.items():
        net.blobs[name].reshape(1, *array.shape)
        net.blobs[name].data[...] = array
    net.reshape()


# ---------------------------------------------------------------------------------------------------------- signals

class Signals:
    """Follows forward passes: how large the numbers of every layer's top are, and which channels are ever not zero."""

    def __init__(self, net: Any, parameter: Any) -> None:
        self.layers: dict[str, dict[str, Any]] = {}
        self.alive: dict[str, npt.NDArray[np.bool_]] = {}
        self.batch: dict[str, list[tuple[Any, Any]]] = {}
        names = list(net._layer_names)
        blobs = {name: net.blobs[name] for name in net.blobs}
        types = {layer.name: layer.type for layer in parameter.layer}
        tops = {i: (name, net.top_names[name]) for i, name in enumerate(names) if name in types}
        normalised = {names.index(layer.name): (layer.name, layer.bottom[0]) for layer in parameter.layer
                      if layer.type == 'BatchNorm'}

        def before(i: int) -> None:
            if i in normalised:
                name, bottom = normalised[i]
                data = blobs[bottom].data
                self.batch.setdefault(name, []).append((data.mean((0, 2, 3)), data.var((0, 2, 3))))

        def after(i: int) -> None:
            if i in tops:
                name, written = tops[i]
                for top in written[:1]:
                    self._note(name, types[name], blobs[top].data)

        net.before_forward(before)
        net.after_forward(after)

    def _note(self, name: str, kind: str, data: npt.NDArray[Any]) -> None:
        whole = bool(np.isfinite(data).all())
        entry = self.layers.setdefault(name, dict(type=kind, finite=True, rms=0.0, largest=0.0, varies=0.0))
        entry['finite'] &= whole
        if not whole or not data.size:
            return
        entry['rms'] = max(entry['rms'], float(np.sqrt(np.mean(np.square(data, dtype=np.float64)))))
        entry['largest'] = max(entry['largest'], float(np.abs(data).max()))
        if data.ndim == 4:
            entry['varies'] = max(entry['varies'], float(data.std((2, 3), dtype=np.float64).max()))
            alive = (data != 0).any((0, 2, 3))
            self.alive[name] = self.alive.get(name, np.zeros_like(alive)) | alive

    def found(self) -> dict[str, dict[str, Any]]:
        """Layer -> type, finite, rms, largest, varies (over positions, the most of a channel), dead (share)."""
        return {name: entry | ({'dead': float(1 - self.alive[name].mean())} if name in self.alive else {})
                for name, entry in self.layers.items()}


def distance(batch: Sequence[tuple[Any, Any]], stored: Sequence[npt.NDArray[Any]]) -> float:
    """How far the statistics of some images are from those that a BatchNorm stores: 0 where they are the same."""
    count = float(stored[2].ravel()[0]) or 1.0
    mean, variance = stored[0] / count, np.maximum(stored[1] / count, 1e-12)
    own_mean, own_variance = (np.mean([pair[k] for pair in batch], 0) for k in (0, 1))
    return float(np.mean(np.abs(np.log(np.maximum(own_variance, 1e-12) / variance)))
                 + np.mean(np.abs(own_mean - mean) / np.sqrt(variance)))


def signals(bench: Bench) -> dict[str, Any]:
    """What the images become in the net that training begins from, and what comes back."""
    net = bench.probe()
    watch = Signals(net, bench.net_parameter)
    losses, per_pixel = [], []
    for tops in bench.images:
        feed(net, tops)
        net.forward()
        losses.append(bench.loss(net))
        per_pixel.append(bench.per_pixel(net))
    found = {'layers': watch.found(), 'losses': losses, 'per_pixel': per_pixel}
    if any(batch for batch in watch.batch.values()):
        found['input'] = variants(bench, watch)
    clear(net)
    feed(net, bench.images[0])
    net.forward()
    net.backward()
    return found | {'gradients': norms(net, bench.plan['rates'])}


def variants(bench: Bench, watch: Signals) -> dict[str, Any]:
    """How far the input is from the stored statistics of the first BatchNorm, as it is and in other forms."""
    layer = next(layer for layer in bench.net_parameter.layer if layer.type == 'BatchNorm')
    if not layer.batch_norm_param.use_global_stats:
        return {}
    stored = bench.start[layer.name]
    result = {'layer': layer.name, 'own': distance(watch.batch[layer.name], stored)}
    mean = np.reshape(bench.plan['mean'], (-1, 1, 1)).astype(np.float32)
    ways: dict[str, Callable[[Any], Any]] = {'swapped': lambda x: x[::-1], 'smaller': lambda x: x / 255,
                                             'larger': lambda x: x * 255, 'with mean': lambda x: x + mean}
    net = bench.probe()
    for name, change in ways.items():
        seen = Signals(net, bench.net_parameter)
        for tops in bench.images:
            feed(net, {top: change(array) if top == bench.plan['image'] else array for top, array in tops.items()})
            net.forward()
        result[name] = distance(seen.batch[layer.name], stored)
    return result


def clear(net: Any) -> None:
    """Set all gradients to zero: a backward pass adds to them."""
    for blobs in net.params.values():
        for blob in blobs:
            blob.diff[...] = 0


def norms(net: Any, rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Layer -> squares of its gradient's length, of that by its lr_mult, and of its weights' length."""
    result = {}
    for name, blobs in net.params.items():
        mine = rates.get(name, [])
        pairs = [(float(np.sum(np.square(blob.diff, dtype=np.float64))), mine[i] if i < len(mine) else 1.0)
                 for i, blob in enumerate(blobs)]
        result[name] = {'square': sum(square for square, rate in pairs if rate),
                        'moving': sum(square * rate for square, rate in pairs),
                        'weights': float(np.sum(np.square(blobs[0].data, dtype=np.float64)))}
    return result


def gradients_of(net: Any, rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """`norms` of the net's gradients; those that dropout happens to leave at 0 in one pass are looked for in more."""
    found: dict[str, Any] = {}
    for _ in range(PASSES):
        clear(net)
        net.forward()
        net.backward()
        found = {name: entry if entry['square'] else found.get(name, entry)
                 for name, entry in norms(net, rates).items()}
        if all(entry['square'] for name, entry in found.items() if any(rates.get(name, [1.0]))):
            break
    return found


# ----------------------------------------------------------------------------------------------------------- search

def descend(solver: Any, bench: Bench, steps: int, tell: Callable[[], None] = lambda: None) -> list[float]:
    """The loss of each step on one image; ends early where it is not finite any more."""
    losses = []
    for _ in range(steps):
        solver.step(1)
        losses.append(bench.loss(solver.net))
        tell()
        if not math.isfinite(losses[-1]):
            break
    return losses


def end_of(losses: Sequence[float]) -> float:
    """The loss that some steps end with: the mean of the last three; infinite where it is not finite."""
    last = float(np.mean(losses[-3:])) if losses else math.inf
    return last if math.isfinite(last) and math.isfinite(sum(losses)) else math.inf


def is_stable(losses: Sequence[float]) -> bool:
    """Whether steps lead down, or at least not up."""
    return end_of(losses) <= RISES * losses[0] if losses and losses[0] > 0 else math.isfinite(end_of(losses))


def first_decade(plan: Mapping[str, Any], loss: float, gradients: Mapping[str, Any]) -> int | None:
    """Decade in which a step would take the loss to about zero, were it linear; None without a gradient."""
    moving = sum(entry['moving'] for entry in gradients.values())
    if not (math.isfinite(moving) and moving > 0 and math.isfinite(loss) and loss > 0):
        return None
    return USUAL.get(plan['type']) if plan['type'] in USUAL else round(math.log10(loss / moving)) - 1


def search(bench: Bench, first: int, budget: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """Try decades of the rate from the same parameters, then go on at the best, then at the rate that is stated.

    Parameters
    ----------
    bench : Bench
    first : int
        The decade to try first.
    budget : float
        Seconds, about.
    tell : callable
        Told of what is tried.
    """
    plan = bench.plan
    plain = dict(lr_policy='fixed', clip_gradients=None, weight_decay=0.0, iter_size=1)
    if plan['type'] in ('SGD', 'Nesterov'):
        plain['momentum'] = 0.9
    begin = time.perf_counter()
    descend(bench.solver(base_lr=10.0 ** (first - 6), **plain), bench, 2)
    second = max((time.perf_counter() - begin) / 2, 1e-4)      # of a step, the first with all that it allocates
    short, long, own = (int(min(max(share * budget / second / tries, least), most)) for share, tries, (least, most) in
                        zip(SHARES, (6, 1, 1), (SHORT, LONG, OWN), strict=True))
    tried: dict[int, list[float]] = {}

    def attempt(decade: int) -> None:
        tell(f'rate 1e{decade}')
        tried[decade] = descend(bench.solver(base_lr=10.0 ** decade, **plain), bench, short)

    for decade in (first + 1, first, first - 1):
        attempt(decade)
    while len(tried) < TRIES:
        best = min(tried, key=lambda one: end_of(tried[one]))
        if best == max(tried) and is_stable(tried[best]):
            attempt(best + 1)
        elif best == min(tried) or not is_stable(tried[best]):
            attempt(min(tried) - 1)
        else:
            break
    best = min(tried, key=lambda one: end_of(tried[one]))
    stable = [decade for decade in tried if is_stable(tried[decade])]
    result: dict[str, Any] = {'tried': {f'1e{decade}': losses for decade, losses in sorted(tried.items())},
                              'largest_stable': 10.0 ** max(stable) if stable else None, 'step_seconds': second}
    for rate in (10.0 ** best, 10.0 ** (best - 0.5), 10.0 ** (best - 1)):
        tell(f'one image at {rate:.1g}')
        solver = bench.solver(base_lr=rate, **plain)
        losses = descend(solver, bench, min(5, long))
        gradients = gradients_of(solver.net, plan['rates'])
        losses += descend(solver, bench, long - len(losses))
        if is_stable(losses) and end_of(losses) <= 1.1 * end_of(tried[best]):
            break
    feed(solver.net, bench.images[0])
    solver.net.forward()
    result['one'] = {'rate': rate, 'losses': losses, 'per_pixel': bench.per_pixel(solver.net), 'gradients': gradients,
                     **right(bench, solver.net), 'moved': moved(solver.net, bench.start)}
    if plan['own']:
        tell(f'the stated rate, {plan["stated"]:g}')
        result['own'] = descend(bench.solver(**plan['own']), bench, own)
    return result


def right(bench: Bench, net: Any) -> dict[str, float]:
    """Share of the labelled pixels that are right, and that would be if all were given the most frequent class."""
    layer = losses_of(bench.net_parameter)[0]
    scores, label = (net.blobs[name].data[0] for name in layer.bottom)
    if scores.shape == label.shape:
        known = label != 255
        truth, given = label[known] > 0, scores[known] > 0
    else:
        known = label[0] != 255
        truth, given = label[0][known].astype(int), scores.argmax(0)[known]
    if not truth.size:
        return {'right': 0.0, 'majority': 0.0}
    return {'right': float((truth == given).mean()), 'majority': float(np.unique(truth, return_counts=True)[1].max()
                                                                       / truth.size)}


def moved(net: Any, start: Weights) -> dict[str, float]:
    """Layer -> how far its weights have come, relative to their length."""
    result = {}
    for name, blobs in net.params.items():
        if name in start:
            length = float(np.linalg.norm(start[name][0]))
            gone = float(np.linalg.norm(blobs[0].data.ravel() - start[name][0].ravel()))
            result[name] = gone / length if length else float(gone > 0)
    return result


def measure(folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """What a net does: `start`, signals and gradients with what it begins from; `now`, the signals with other weights,
    such as those of a snapshot; `search`, what steps on one image come to.
    """
    bench = Bench(folder)
    tell('signals')
    result: dict[str, Any] = {'start': signals(bench)}
    first = first_decade(bench.plan, result['start']['losses'][0], result['start']['gradients'])
    if first is not None:
        result['search'] = search(bench, first, bench.plan['seconds'], tell)
    now = folder / NOW
    if now.exists():
        tell('signals of the snapshot')
        bench.start = read_weights(now)
        result['now'] = signals(bench)
    return result


def fill(folder: Path) -> None:
    """Write what Caffe's fillers give."""
    import caffe
    caffe.set_random_seed(json.loads(files.read_text(folder / PLAN))['seed'])
    caffe.Net(str(folder / 'train.prototxt'), caffe.TRAIN).save(str(folder / FILLERS))


def main(argv: Sequence[str]) -> None:
    folder = Path(argv[0])
    device.use(json.loads(files.read_text(folder / PLAN))['gpu'])
    fill(folder)
    cli.show(FILLED)
    if sys.stdin.readline():
        files.write_json(folder / FOUND, measure(folder, cli.show))
        cli.show(DONE)


if __name__ == '__main__':
    sys.exit(cli.run(main, sys.argv[1:]))
