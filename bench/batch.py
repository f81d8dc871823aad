"""What a larger effective batch does to the recipe: python -m bench.batch

n ranks draw n images a step. The demo's FCN-32s is trained on as many images by different schedules: one image a step,
as published; n images a step with the same rate and momentum; with n times the rate; and with n times the rate and
momentum^n, which weighs an image that was seen k images ago as before. One process does it, with iter_size: n, which n
ranks equal (tests/test_parallel.py).
"""
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cli
from accel import device
from experiments import demo, fetch
from solvers.loop import solve
from solvers.recipe import Recipe


def schedules(recipe: Recipe, n: int) -> dict[str, Recipe]:
    """The published schedule of one image a step, and those of several.

    Parameters
    ----------
    recipe : Recipe
        The published one.
    n : int
        Images a step of the others.

    Returns
    -------
    dict of str to Recipe
        By the name that the table has.
    """
    batch = replace(recipe, iter_size=n, iterations=recipe.iterations // n, score_every=recipe.score_every // n,
                    snapshot=recipe.iterations // n)
    faster = replace(batch, base_lr=recipe.base_lr * n)
    return {'1 image a step': recipe, f'{n} images a step': batch, f'{n} images, rate x {n}': faster,
            f'{n} images, rate x {n}, momentum^{n}': replace(faster, momentum=recipe.momentum ** n)}


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m bench.batch', description=__doc__)
    parser.add_argument('--images', type=int, default=4, metavar='N', help='images a step (default: %(default)s)')
    args = parser.parse_args(argv)
    if args.images < 2:
        raise cli.BadInput('--images is at least 2')
    print(f'computing on {device.choose()}')
    stage = demo.STAGES[0]
    training = demo.training(stage, fetch.photographs(demo.SCALE).resolve())
    initial = fetch.vgg16_convolutions().resolve()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, recipe) in enumerate(schedules(training.recipe, args.images).items()):
            matrices = solve(replace(training, recipe=recipe), Path(folder, str(i)), [initial])
            found[name] = matrices['label'].compute()
    for name, scores in found.items():
        print(f'{name:38}{scores}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
