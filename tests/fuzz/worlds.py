"""A mutant: a function of seed, surface and number, which changes a copy of the surface's good input."""
import random
import shutil
from dataclasses import replace

from . import damage
from .formats import damaged
from .harness import FOLDERS, make_world

OUTPUTS = ('@in', '@cwd', '@out', '@out/keep.txt', '@out/keep.txt/x', '/dev/full', '/dev/null', '/dev/stdout',
           '@out/new/a/b', '@out/../in', '@out/' + 'x' * 300, '@out/a\nb', '@out/\x1b[2J', '@neighbour',
           '@neighbour/secret.txt', '', '/proc/self/x', '@out/a\udcff', '@out/link')


def mutant(surface, name, seed, number, base, world):
    """Write a mutant of a surface.

    Parameters
    ----------
    surface : Surface
    name : str
        Its name.
    seed, number : int
    base : path
        The surface's good input.
    world : path
        Is made; the same bytes whenever the other arguments are the same, but for its own name in links.

    Returns
    -------
    Call
        The command to run on it.
    """
    rng = random.Random(f'{seed} {name} {number}')
    copy(base, world)
    call = rng.choice(surface.calls)
    argv, writes = list(call.argv), call.writes
    files = sorted(path for folder in ('in', 'data') for path in (world / folder).rglob('*') if path.is_file())
    named = [path for path in files if path.relative_to(world).match(surface.aim)] if surface.aim else \
        [path for path in files if f'@{path.relative_to(world)}' in argv]
    touched = set()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = rng.choice(named if named and rng.random() < .7 else files)
        how = rng.random()
        if path in touched:     # no longer of its format
            continue
        if how < .86:
            path.write_bytes(damaged(path, rng))
        elif how < .93:
            damage.change_kind(path, rng, world)
        elif how < .97:
            rename(path, argv, world, rng)
        else:
            change_arguments(argv, rng, world)
            writes = FOLDERS        # wherever that is
        touched.add(path)
    if surface.seal:
        surface.seal(world)
    return placed(replace(call, writes=writes), argv, world)


def copy(base, world):
    """The good input once more."""
    shutil.copytree(base, world, symlinks=True)


def placed(call, argv, world):
    """The call with these arguments, those that begin with '@' below `world`."""
    return replace(call, argv=tuple(f'{world}/{word[1:]}' if word.startswith('@') else word for word in argv))


def rename(path, argv, world, rng):
    """Another name for a file, and in the arguments that name it."""
    goal = path.with_name(damage.new_name(rng) + rng.choice((path.suffix, path.suffix.upper())))
    path.rename(goal)
    before, after = (f'@{place.relative_to(world)}' for place in (path, goal))
    argv[:] = [after if word == before else word for word in argv]


def change_arguments(argv, rng, world):
    """Another place for the output, or another value in the place of any."""
    places = [at for at, word in enumerate(argv) if word.startswith(('@out', '@runs'))]
    if places and rng.random() < .7:
        argv[rng.choice(places)] = rng.choice(OUTPUTS)
        (world / 'out/link').symlink_to(rng.choice(('keep.txt', 'nowhere', '../in', '/dev/full', '../neighbour')))
    else:
        at = rng.randrange(len(argv))
        values = (*damage.EDGES[:-1], *damage.NAMES, '@in', '@out/keep.txt')
        if argv[at - 1] == '--iterations':      # a long training is no fault
            values = tuple(value for value in values if not value.isdigit() or not 7 < int(value) < 2 ** 31)
        argv[at] = rng.choice(values)


def build(surface, base):
    """Write the good input of a surface."""
    from .surfaces import without_time
    make_world(base)
    surface.build(base)
    without_time(base)
