"""Damage that any file can take: bytes, numbers in text, JSON, names, and what is no regular file."""
import json
import os
import re
import socket

NUMBERS = (0, -1, 1, 2, 3, 5, 7, 30_000, 2 ** 31 - 1, 2 ** 31, 2 ** 62, 2 ** 63 - 1, -2 ** 63)
# A number as text: what int() and float() take, and what they or the fields behind them cannot hold.
EDGES = (*map(str, NUMBERS), '255', '256', '65536', '100000', '4294967295', '9223372036854775808', '1e400', '1e-400',
         'nan', 'NaN', 'inf', '-Infinity', '0.5', '-0', '1e9', '0x10', '', '9' * 5000)
# Names that lists, terminals and file systems take badly; none has a slash.
NAMES = ('a\nb', 'a\nerror: forged', '\x1b[2J\x1b[31m', 'a\tb', 'a\u2028b', 'a\\b', ' a ', '-h', '--out', '..a',
         'é' * 100, 'x' * 240, 'a\udcff', '%s%n', '\u202egnp', "a'b\"c", '{}', '~', '$HOME', 'a\x85b', 'a;b')
TEXTS = ('', 'text', '\ud800', '\x1b[2J\nerror: forged', 'x' * 100_000, '../../neighbour/secret.txt', '/dev/zero',
         '\0', '9' * 5000, 'é\u2028')


def flipped(whole, rng):
    """Some bytes replaced, taken out, or cut off."""
    bad = bytearray(whole or b'\0')
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(bad))
        how = rng.randrange(5)
        if how == 0:
            bad[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            bad[at] = rng.choice((0, 1, 0x7f, 0x80, 0xff))
        elif how == 2:
            del bad[at:at + rng.randrange(1, 9)]
        elif how == 3:
            bad[at:at] = bad[rng.randrange(len(bad)):][:rng.randrange(1, 40)]
        else:
            del bad[max(at, len(bad) // 2):]
        bad = bad or bytearray(b'\0')
    return bytes(bad)


def in_blocks(whole, rng):
    """A block doubled many times, moved, zeroed, or the file cut anywhere."""
    a, b = sorted(rng.randrange(len(whole) + 1) for _ in 'ab')
    how = rng.randrange(5)
    if how == 0:
        return whole[:b] + whole[a:b] * rng.choice((1, 2, 50)) + whole[b:]
    if how == 1:
        return whole[:a] + whole[b:] + whole[a:b]
    if how == 2:
        return whole[:a] + bytes(b - a) + whole[b:]
    if how == 3:
        return whole[:a]
    return whole[:a] + rng.randbytes(rng.randrange(1, 200)) + whole[a:]


def any_bytes(whole, rng):
    """Damage that knows nothing of the format."""
    return (flipped, in_blocks)[rng.random() < .3](whole, rng)


def in_text(whole, rng):
    """Lines and numbers of a text changed."""
    text = whole.decode(errors='surrogateescape')
    for _ in range(rng.choice((1, 1, 2, 3))):
        how, lines = rng.randrange(8), text.split('\n')
        at = rng.randrange(len(lines))
        if how < 4:
            text = with_number(text, rng)
            continue
        if how == 4:
            del lines[at]
        elif how == 5:
            lines.insert(at, rng.choice(lines) * rng.choice((1, 1, 400)))
        elif how == 6:
            lines[at] = rng.choice((*NAMES, *TEXTS, *EDGES))
        else:
            words = lines[at].split(' ')
            words[rng.randrange(len(words))] = rng.choice((*NAMES, *TEXTS, *EDGES))
            lines[at] = ' '.join(words)
        text = '\n'.join(lines)
    return text.encode(errors='surrogatepass' if '\ud800' in text else 'surrogateescape')


def with_number(text, rng):
    """One of the numbers in a text, another one."""
    found = list(re.finditer(r'-?\d+(\.\d+)?([eE][-+]?\d+)?', text))
    if not found:
        return text + rng.choice(EDGES)
    match = rng.choice(found)
    return text[:match.start()] + rng.choice(EDGES) + text[match.end():]


def json_value(rng, depth=0):
    """Anything that JSON can hold, and Python's json beyond it."""
    if depth < 2 and rng.random() < .3:
        values = [json_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        return values if rng.random() < .5 else {rng.choice((*TEXTS, 'a')): value for value in values}
    return rng.choice((*NUMBERS, *TEXTS, None, True, False, 0.5, float('nan'), float('inf'), -1e308, 10 ** 30, [], {}))


def places_in(value):
    """Every (container, key) of a JSON value."""
    for key in (range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ()):
        yield value, key
        yield from places_in(value[key])


def in_json(whole, rng):
    """Values of a JSON text, or of one line of JSON lines, replaced, removed, renamed; or the text itself damaged."""
    lines = whole.split(b'\n') if whole.count(b'\n{') else [whole]
    at = rng.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except ValueError:
        return in_text(whole, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(places_in(value))
        if not places or rng.random() < .03:
            value = json_value(rng)
            continue
        container, key = rng.choice(places)
        how = rng.randrange(6)
        if how < 3:
            container[key] = json_value(rng)
        elif how == 3:
            del container[key]
        elif how == 4:
            container[key] = [container[key]] * rng.choice((1, 2, 1000))
        elif isinstance(container, dict):
            container[rng.choice(TEXTS)] = container.pop(key)
    text = json.dumps(value)
    how = rng.random()
    if how < .1:
        text = with_number(text, rng)
    elif how < .13:
        text = '[' * 100_000 + text
    lines[at] = text.encode()
    return b'\n'.join(lines)


def change_kind(path, rng, world):
    """A file becomes something else that has a name."""
    kind = rng.randrange(11)
    content = path.read_bytes() if path.is_file() else b''
    path.unlink()
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to('nowhere')
    elif kind == 2:
        path.symlink_to(rng.choice(('/dev/zero', '/dev/null', '/dev/full', '/dev/stdin', '/proc/self/mem')))
    elif kind == 3:
        path.mkdir()
    elif kind == 4:
        path.write_bytes(b'')
    elif kind == 5:
        path.symlink_to(path.name)      # to itself
    elif kind == 6:
        with path.open('wb') as file:
            file.truncate(1 << 40)      # which takes no room on disk
    elif kind == 7:
        listener = socket.socket(socket.AF_UNIX)
        place = os.getcwd()
        os.chdir(path.parent)           # the name of a socket has at most 107 bytes
        listener.bind(path.name[:100])
        os.chdir(place)
        listener.close()
    elif kind == 8:
        path.symlink_to(world / 'neighbour/secret.txt')
    elif kind == 9:
        there = world / 'neighbour' / path.name
        there.write_bytes(content)
        path.symlink_to(there)
    # else it is missing


def new_name(rng):
    return rng.choice(NAMES)
