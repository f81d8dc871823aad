"""What the values of masks may mean, where a list of classes without numbers leaves it open.

Masks that hold the values 0 to N for a list of N names can be read in several ways: one of the values is void, usually
the first or the last, and the names go to the others in order; or the list lacks the background, or some other class.
`readings` holds each up against what `evidence` measures, the likeliest first. A choice that shifts labels is the
user's: nothing here is applied, it is all said.

A score is the logarithm of odds, by weights set by hand: of a value being void rather than a class (`void_odds`), of
its being a background (`ground_odds`), and of names that have their place in pictures, such as sky, being in it.
"""
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean, median
from typing import NamedTuple

from data_layers.own.classlist import ClassList, Entry, has_colours
from data_layers.own.evidence import Evidence, Trait
from data_layers.reading import VOID

GROUNDS = {'background', 'bg', 'back ground', 'ground', 'none', 'nothing', 'other', 'others', 'rest', 'clutter'}
ABOVE = {'sky', 'ceiling'}                              # what is at the top of photographs
BELOW = {'road', 'street', 'floor', 'pavement', 'sidewalk'}     # and at the bottom
SCENERY = ABOVE | BELOW | {'building', 'wall', 'tree', 'vegetation', 'grass', 'water', 'terrain', 'sea', 'forest'}
EDGES = {'edge', 'edges', 'border', 'borders', 'boundary', 'boundaries', 'contour', 'contours', 'outline', 'membrane'}
SEAM = 0.4      # share of a value's pixels in seams, from which on it is taken for one
SLIGHT = 0.05   # of all contacts: a value with less is small things, whose being narrow says less
ONE_MORE = 1.0  # score of a value being one more class: by so much it must look like void to be taken for that
UNLIKELY = -0.5     # the same where neither a background nor void is known, and every pixel would be of some class
SURE = 2.5      # odds of a background, from which on it is worth a note
CLOSE = 1.0     # readings closer than this are not told apart by the masks alone


class Reading(NamedTuple):
    """One way to read the values.

    Attributes
    ----------
    odd : tuple of (str, str)
        The values that get no name of the list, each with what it is called in place: `void`, `background` or `NAME`.
    title : str
        The reading as a clause.
    lines : tuple of str
        Of a list of classes that says so, whole.
    score : float
        The higher, the likelier.
    """
    odd: tuple[tuple[str, str], ...]
    title: str
    lines: tuple[str, ...]
    score: float


def readings(entries: Sequence[Entry], values: Sequence[str], evidence: Evidence, void: str | None = None
             ) -> list[Reading]:
    """All ways to read the values of masks, one or two more than there are names.

    Parameters
    ----------
    entries : sequence of Entry
        The lines of the list.
    values : sequence of str
        In order, without one that is void anyway.
    evidence : Evidence
        Of the masks.
    void : str, optional
        A value beside them that is void.

    Returns
    -------
    list of Reading
        The likeliest first.
    """
    known, found = [] if void is None else [void], []
    traits = evidence.traits(*known)
    voided = void is not None or any(entry.name is None for entry in entries)
    jump = int(values[-1]) > int(values[-2]) + 1 and [*map(int, values[:-1])] == [*range(len(values) - 1)]
    grounded = any(map(is_ground, entries))
    for odd in roles(values, len(entries), grounded):
        inside = [value for value in odd if value not in (values[0], *values[len(entries):])]
        if not all(value in traits for value in odd) or any(void_odds(value, traits) < 3 for value in inside):
            continue
        seen = evidence.traits(*known, *(value for value, word in odd.items() if word == 'void'))
        assigned = dict(zip([value for value in values if value not in odd], entries, strict=True))
        score = sum(place_odds(entry, value, seen) for value, entry in assigned.items())
        score -= 4 * (jump and values[-1] not in odd)       # a number apart from the others is not like them
        score += 1.5 * (values[0] in assigned and is_ground(assigned[values[0]]))       # as is usual
        more = ONE_MORE if voided or grounded or 'background' in odd.values() else UNLIKELY
        for value, word in odd.items():
            score += (more if word == 'NAME' else
                      ground_odds(value, seen) - 3 * names_scenery(entries) if word == 'background' else
                      void_odds(value, traits) - 2.5 * voided - 3 * (value not in (values[0], values[-1])))
        lines = tuple(line(value, assigned[value]) if value in assigned else unnamed(value, odd[value], entries)
                      for value in values)
        found.append(Reading((*odd.items(),), title(odd, values), lines, score))
    return sorted(found, key=lambda reading: -reading.score)


def roles(values: Sequence[str], names: int, grounded: bool) -> Iterator[dict[str, str]]:
    """What may be left without a name: value -> `void`, `background` or `NAME`.

    Parameters
    ----------
    values : sequence of str
        In order.
    names : int
        One or two less than the values.
    grounded : bool
        Whether the list has a background.
    """
    first, last = values[0], values[-1]
    if len(values) == names + 2:
        before = values[-2]
        yield from ({first: begin, last: end} for begin in ('void', *['background'] * (not grounded))
                    for end in ('void', 'NAME'))
        yield from ({before: 'NAME', last: end} for end in ('void', 'NAME'))
        return
    if names > 1:       # else a single class would be left
        yield from ({value: 'void'} for value in values)
    if not grounded:
        yield {first: 'background'}
    yield {last: 'NAME'}


def title(odd: Mapping[str, str], values: Sequence[str]) -> str:
    """A reading as a clause."""
    says = {'void': 'is void', 'background': 'is a background that the list lacks', 'NAME': 'is one more class'}
    parts = [f'{value} {says[word]}' for value, word in odd.items()]
    rest = [value for value in values if value not in odd or odd[value] == 'NAME']
    hole = any(value not in (values[0], values[-1]) and word == 'void' for value, word in odd.items())
    return ', '.join(parts) + f' and the classes count from {rest[0]}' + ' and pass it over' * hole


def void_odds(value: str, traits: Mapping[str, Trait]) -> float:
    """How likely a value is void rather than a class, from how its pixels lie: see the module."""
    one, others = traits[value], [trait for key, trait in traits.items() if key != value]
    others = [trait for trait in others if trait.contact < 0.8] or others       # without what all others lie on
    if not others:
        return 0.0
    seam = 7 * (one.seam - median(other.seam for other in others)) * min(1, one.contact / SLIGHT)
    met = 2 * (one.met - mean(other.met for other in others))
    contact = 4 * (excess(one) - median(map(excess, others)))
    narrow = clip(0.4 * math.log2((1 + median(other.width for other in others)) / (1 + one.width)), 1)
    even = 3 * (one.even - median(other.even for other in others))
    large = -6 * max(one.share - 0.4, 0)
    around = 2.0 if one.frame > 0.95 else 0.0
    seen = one.images - mean(other.images for other in others)
    return clip(seam + met + contact + even + narrow + large + around + seen, 6)


def excess(trait: Trait) -> float:
    """By how much the share of contacts is above that of a compact region with as many pixels, about their root."""
    return trait.contact - math.sqrt(trait.share)


def ground_odds(value: str, traits: Mapping[str, Trait]) -> float:
    """How likely a value is the background of all others rather than a class like them."""
    if value not in traits:
        return -1.0
    one = traits[value]
    return clip(8 * (one.contact - 0.65) + 2 * (one.share - 0.3) + 1.5 * (one.frame > 0.9)
                + (0.5 if one.images > 0.98 else -2.0), 3)


def place_odds(entry: Entry, value: str, traits: Mapping[str, Trait]) -> float:
    """How well a name fits the place of a value in the pictures, where it has one."""
    name = plain(entry)
    if is_ground(entry):
        return ground_odds(value, traits)
    if value not in traits:
        return 0.0
    if name in ABOVE:
        return clip(5 * (0.4 - traits[value].height), 1.5)
    if name in BELOW:
        return clip(5 * (traits[value].height - 0.55), 1.0)
    return 0.0


def clip(score: float, most: float) -> float:
    """A score of at most so much, either way."""
    return max(-most, min(most, score))


def plain(entry: Entry) -> str:
    """The name of a class in lower case, its words apart."""
    return entry.written.lower().replace('_', ' ').replace('-', ' ').strip()


def is_ground(entry: Entry) -> bool:
    """Whether a name is that of a background."""
    return plain(entry) in GROUNDS


def names_scenery(entries: Sequence[Entry]) -> bool:
    """Whether a list names what others leave to the background."""
    return sum(1 for entry in entries if plain(entry) in SCENERY) >= 2


def line(value: str, entry: Entry) -> str:
    """A line of a list with its number, and its colour if it has one."""
    return ' '.join([value, *map(str, entry.colour or ()), entry.written])


def unnamed(value: str, word: str, entries: Sequence[Entry]) -> str:
    """A line for a value that the list has no name for: `void`, `background`, or a class yet to be named."""
    return f'{value} R G B {word}' if word == 'NAME' and has_colours(entries) else f'{value} {word}'


def account(value: str, traits: Mapping[str, Trait], masks: int) -> str:
    """What the masks say of a value, in figures."""
    one, others = traits[value], len(traits) - 1
    return (f'{value}: {percent(one.share)} of the pixels, in {round(one.images * masks)} of {masks} masks, '
            f'{percent(one.seam)} of it in narrow seams between two others, touches {round(one.met * others)} of '
            f'{others} others, part of {percent(one.contact)} of all contacts')


def percent(share: float) -> str:
    """A share as per cent, exact enough to be told from 0."""
    return f'{100 * share:.0f} %' if share >= 0.1 or share == 0 else f'{100 * share:.2g} %'


class Question(NamedTuple):
    """What is to be decided by the user: in one line, and the lists between which it is."""
    line: str
    lists: tuple[str, ...]


def question(classes: ClassList, seen: Sequence[str], evidence: Evidence, example: Callable[[str], str]
             ) -> Question | None:
    """Whether the values of index masks fit a list without numbers in several ways, and which is likeliest.

    Parameters
    ----------
    classes : ClassList
        Without numbers.
    seen : sequence of str
        The values that occur, in order.
    evidence : Evidence
        Of the masks.
    example : callable
        Value -> a mask that has it.

    Returns
    -------
    Question or None
        None where the values are too many or too few for any reading.
    """
    entries, count = classes.entries, len(classes.entries)
    void = str(VOID) if str(VOID) in seen else None
    values = [value for value in seen if value != void]
    numbers = {int(value) for value in values}
    if 0 not in numbers and numbers <= {*range(1, count + 1)}:
        return counted_from_1(classes, example(str(count)))
    if 0 in numbers and max(numbers) in (count, count + 1):
        values = [str(number) for number in range(max(numbers) + 1)]        # one that does not occur may be rare
    if len(values) == count or (void and len(values) == count - 1):
        return in_order(classes, values, evidence, void, example(values[-1]))
    if len(values) not in (count + 1, count + 2):
        return None
    found = readings(entries, values, evidence, void)
    best = found[0]
    others = [reading for reading in found if numbering(reading) != numbering(best)] or found[1:]
    other = next((reading for reading in others if at_ends(reading, values)), others[0])
    first = (f'the masks have the {len(values)} values {spelled(values)}, and {classes.path} {count} '
             f'{"name" if count == 1 else "names"} without numbers ({example(values[-1])} has {values[-1]})')
    sure = 'most likely ' if best.score - other.score > CLOSE else 'the masks hardly tell, perhaps '
    judged = dict.fromkeys(value for reading in (best, other) for value, _ in reading.odd)
    figures = '; '.join(account(value, evidence.traits(*([void] if void else [])), evidence.count) for value in judged)
    line = (f'{first}: {sure}{best.title} ({figures}); then write into the list {abridged(best.lines)}'
            f'{variants(best, found)}; but if {other.title}, write {abridged(other.lines)}{variants(other, found)}')
    return Question(line, tuple(text for reading in (best, other)
                                for text in written(classes, f', if {reading.title}', reading.lines)))


def written(classes: ClassList, clause: str, lines: Sequence[str]) -> list[str]:
    """A list of classes, whole, under a line that says when and where to write it."""
    return [f'{classes.path}{clause} (or another file, for --classes):', *(f'  {text}' for text in lines)]


def at_ends(reading: Reading, values: Sequence[str]) -> bool:
    """Whether what has no name is at the ends of the values."""
    return all(value in (values[0], values[-1]) for value, _ in reading.odd)


def counted_from_1(classes: ClassList, example: str) -> Question:
    """Masks without zeros whose greatest value is the number of names."""
    count = len(classes.entries)
    lines = tuple(line(str(number), entry) for number, entry in enumerate(classes.entries, 1))
    return Question(f'the masks count the {count} classes of {classes.path} from 1, the list from 0 ({example} has '
                    f'{count}, none has 0): write the numbers into the list, {abridged(lines)}',
                    tuple(written(classes, '', lines)))


def in_order(classes: ClassList, values: Sequence[str], evidence: Evidence, void: str | None, example: str) -> Question:
    """As many values as names, which are not in a row from 0: the names in order, or the last one void.

    Parameters
    ----------
    classes, evidence, void
        As of `question` and `readings`.
    values : sequence of str
        As many as names; or one less, where `void` would be the last.
    example : str
        A mask that has the last value.
    """
    apart = len(values) < len(classes.entries)
    values, void = ([*values, str(void)], None) if apart else (values, void)
    traits = evidence.traits(*([void] if void else []))
    named = tuple(line(value, entry) for value, entry in zip(values, classes.entries, strict=True))
    begun = (f'the masks have the values {spelled(values)}, as many as {classes.path} has names, but not those from 0 '
             f'on ({example} has {values[-1]})')
    in_a_row = [str(number) for number in range(len(values))]
    if list(values[:-1]) != in_a_row[:-1] and not apart:
        return Question(f'{begun}: write the numbers into the list, {abridged(named)} (see that the names fit)',
                        tuple(written(classes, '', named)))
    others = values[:-1] if apart else in_a_row
    last = (*(line(value, entry) for value, entry in zip(others, classes.entries, strict=False)), f'{values[-1]} void')
    both = [(f'{values[-1]} is {classes.entries[-1].written}', named),
            (f'{values[-1]} is void and no mask shows {classes.entries[-1].written}', last)]
    if void_odds(values[-1], traits) > ONE_MORE:
        both.reverse()
    (likely, first), (else_, second) = both
    return Question(f'{begun}: most likely {likely} ({account(values[-1], traits, evidence.count)}); then write into '
                    f'the list {abridged(first)}; but if {else_}, write {abridged(second)}',
                    tuple(text for clause, lines in both for text in written(classes, f', if {clause}', lines)))


def looks_void(value: str, evidence: Evidence) -> str:
    """What makes a value look like void, in figures; empty where it does not, or has not been measured."""
    traits = evidence.traits()
    looks = value in traits and len(traits) > 2 and void_odds(value, traits) > ONE_MORE
    return account(value, traits, evidence.count) if looks else ''


def doubts(values: Mapping[str, str | None], evidence: Evidence, classes: ClassList | None) -> list[str]:
    """Notes about values that have a name and look like void, or the first like a background that the list lacks.

    Parameters
    ----------
    values : mapping of str to str or None
        Value -> class, or None for void.
    evidence : Evidence
        Of the masks.
    classes : ClassList, optional
        The list; without one, a class is called by its value.
    """
    void = [value for value, name in values.items() if name is None and value in evidence.sums['stored']]
    traits = evidence.traits(*void)
    result = []
    for value, one in traits.items():
        name = values.get(value)
        drawn = EDGES & {*re.split('[^a-z]+', (name or '').lower())}
        if name is not None and one.seam > SEAM and len(traits) > 2 and not drawn:
            result.append(f'{name}, stored as {value}, looks like void ({account(value, traits, evidence.count)}); if '
                          f'it is, write "{value} void" into the list, and see that the other names have their numbers')
    if classes and not classes.numbered and '0' in traits and not names_scenery(classes.entries) and not any(
            map(is_ground, classes.entries)) and ground_odds('0', traits) >= SURE and len(traits) > 2:
        result.append(f'{values["0"]}, stored as 0, looks like a background ({account("0", traits, evidence.count)}); '
                      f'if it is, write {abridged(_shifted(classes))} into the list')
    return result


def _shifted(classes: ClassList) -> list[str]:
    """The lines of a list that lacks its background."""
    return ['0 background', *(line(str(number), entry) for number, entry in enumerate(classes.entries, 1))]


def numbering(reading: Reading) -> tuple[str, ...]:
    """The lines of a reading but for those that the list lacks."""
    odd = {f'{value} {word}' for value, word in reading.odd}
    return tuple(text for text in reading.lines if text not in odd)


def variants(reading: Reading, found: Sequence[Reading]) -> str:
    """How readings of the same numbers differ from one, in brackets; empty where there are none."""
    same = [other for other in found if numbering(other) == numbering(reading) and other != reading]
    lines = [' and '.join(f'"{text}"' for text in other.lines if text not in reading.lines) for other in same]
    return f' (or {" or ".join(lines)})' if lines else ''


def spelled(values: Sequence[str]) -> str:
    """Values in words: a row by its ends."""
    if len(values) > 3 and list(values) == [str(number) for number in range(int(values[0]), int(values[-1]) + 1)]:
        return f'{values[0]} to {values[-1]}'
    return ', '.join(values if len(values) < 12 else [*values[:8], '...', values[-1]])


def abridged(lines: Sequence[str]) -> str:
    """The lines of a list in quotes, the first three and the last."""
    shown = [*lines[:3], *(['...'] if len(lines) > 4 else []), *lines[3:][-1:]]
    return ', '.join(text if text == '...' else f'"{text}"' for text in shown)
