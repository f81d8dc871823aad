"""The page of `report serve`, attacked at its socket: one server, many requests."""
import contextlib
import os
import random
import socket
import time
from pathlib import Path

import cli
from report import serve

from . import damage
from .formats import in_picture
from .harness import LONGEST, MEMORY, SECONDS, Call, Outcome, become, kill, snapshot

METHODS = ('GET', 'POST', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'PATCH', 'PRI', 'get', '', 'x' * 5000)
PATHS = ('/', '/segment', '/segment?x', '//segment', '/../../../etc/passwd', '/%2e%2e/x', '*', 'http://evil/', '/\0',
         '/é', '/' + 'a' * 70_000, '', '/segment#', '/segment/', 'segment')
VERSIONS = ('HTTP/1.1', 'HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/9999999999.1', 'HTTP/1.1.1', 'HTTP/-1.1',
            'http/1.1', '', 'X')
HEADERS = (b'Transfer-Encoding: chunked', b'Expect: 100-continue', b'Connection: keep-alive', b'Connection: close',
           b'Upgrade: websocket', b'Host: evil', b'Host: ', b'Origin: http://evil', b'Origin: null',
           b'Content-Length: 5', b'X: ' + b'y' * 70_000, b': x', b'X', b' folded', b'\0: \0', b'X\xff: \xff',
           b'Content-Type: multipart/form-data; boundary=' + b'-' * 300, b'Range: bytes=0-1', b'Cookie: a=b')
LENGTHS = (*damage.EDGES[:16], '20971520', '20971521', '+5', ' 5', '٣', '5, 5')


class Page:
    """A server in a process of its own.

    Parameters
    ----------
    base : path
        The world of a run, to serve.
    """

    def __init__(self, base: Path) -> None:
        self.world = base
        self.logs = [base.with_name(f'{base.name}.server{os.getpid()}.{name}') for name in ('stdout', 'stderr')]
        for log in self.logs:       # those of the server before
            log.unlink(missing_ok=True)
        self.before = snapshot(base)
        self.process = os.fork()
        if not self.process:
            become(Call(serve.main, ('--net', str(base / 'in/run'), '--cpu', '--port', '0')), base, self.logs)
        deadline = time.monotonic() + SECONDS
        while '://' not in (text := self.logs[0].read_text() if self.logs[0].exists() else ''):
            if time.monotonic() > deadline or os.waitpid(self.process, os.WNOHANG)[0]:
                raise cli.Failed(f'the page did not start: {self.logs[1].read_text()}')
            time.sleep(.02)
        self.port = int(text.split('://')[1].split('/')[0].split(':')[1])
        self.read = 0

    def said(self) -> str:
        """What it has said since the last time."""
        text = self.logs[1].read_bytes().decode(errors='replace')
        new, self.read = text[self.read:], len(text)
        return new

    def alive(self) -> bool:
        return not os.waitpid(self.process, os.WNOHANG)[0]

    def peak(self) -> int:
        """The most memory it has had, in bytes."""
        return next(int(line.split()[1]) << 10 for line in Path(f'/proc/{self.process}/status').read_text().splitlines()
                    if line.startswith('VmHWM'))

    def close(self) -> None:
        kill(self.process)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.process, 0)


def requests(rng, port, picture):
    """What is sent: a list of bytes, one a connection."""
    def one():
        body = in_picture(picture, rng) if rng.random() < .7 else rng.choice((b'', b'x', picture, rng.randbytes(999)))
        host = f'Host: 127.0.0.1:{port}'.encode()
        length = rng.choice(LENGTHS) if rng.random() < .2 else len(body)
        lines = [host, f'Content-Length: {length}'.encode()]
        method, path, version = 'POST', '/segment', 'HTTP/1.1'
        for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
            how = rng.randrange(8)
            if how == 0:
                method = rng.choice(METHODS)
            elif how == 1:
                path = rng.choice(PATHS)
            elif how == 2:
                version = rng.choice(VERSIONS)
            elif how == 3:
                lines.insert(rng.randrange(len(lines) + 1), rng.choice(HEADERS))
            elif how == 4:
                lines.append(rng.choice(lines) if lines else b'')
            elif how == 5 and lines:
                del lines[rng.randrange(len(lines))]
            elif how == 6:
                lines += [f'X-{i}: y'.encode() for i in range(rng.choice((50, 150)))]
            else:
                body = rng.choice((body * 2, body[:-1], b'f' * 16 + b'\r\n' + body, b'5\r\nhello\r\n0\r\n\r\n'))
        ends = rng.choice(('\r\n',) * 8 + ('\n', '\r', '\r\n\r\n')).encode()
        whole = ends.join([f'{method} {path} {version}'.encode(), *lines, b'', b'']) + body
        return damage.any_bytes(whole, rng) if rng.random() < .15 else whole
    return [one() for _ in range(rng.choice((1, 1, 1, 1, 2, 12)))]


def ask(port, wholes):
    """Send each on a connection of its own, together; their answers."""
    sockets = []
    for whole in wholes:
        connection = socket.create_connection(('127.0.0.1', port), timeout=SECONDS)
        sockets.append(connection)
        with contextlib.suppress(OSError):      # it has heard enough, and answered
            connection.sendall(whole)
            connection.shutdown(socket.SHUT_WR)
    answers = []
    for connection in sockets:
        answer = b''
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                answer += piece
        connection.close()
        answers.append(answer)
    return answers


def attack_page(page: Page, seed: int, number: int, picture: bytes) -> Outcome:
    """Send one mutant's requests, and see that the page is as it was."""
    rng, outcome = random.Random(f'{seed} page {number}'), Outcome('page', number)
    begin = time.monotonic()
    try:
        answers = ask(page.port, requests(rng, page.port, picture))
        outcome.status = '0'
        for answer in answers:
            status = answer[9:12].decode(errors='replace')
            if answer.startswith(b'HTTP/') and (status == '500' or not status.isdigit()):
                outcome.problems.append(f'answered {answer[:80]!r}')
            outcome.status = 'refused' if answer.startswith(b'HTTP/') and status >= '4' else outcome.status
        well, = ask(page.port, [f'GET / HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n'.encode()])
        if not well.startswith(b'HTTP/1.1 200'):
            outcome.problems.append(f'the page is gone: {well[:80]!r}')
    except (TimeoutError, OSError) as problem:
        outcome.problems.append(f'no answer: {problem!r}')
    outcome.seconds = time.monotonic() - begin
    outcome.said = page.said()[-2000:]
    if 'Traceback' in outcome.said or 'failed' in outcome.said:
        outcome.problems.append('said ' + outcome.said.strip().splitlines()[-1])
    if any(len(line) > LONGEST for line in outcome.said.splitlines()):
        outcome.problems.append('a line too long')
    if not page.alive():
        outcome.problems.append('the server ended')
        return outcome
    outcome.peak = page.peak()
    if outcome.peak > MEMORY:
        outcome.problems.append(f'{outcome.peak >> 20} MB of memory')
    if snapshot(page.world) != page.before:
        time.sleep(.5)      # a photograph of a client that has left may be at the net still
        if changed := {path for path, _ in snapshot(page.world).items() ^ page.before.items()}:
            outcome.problems.append(f'files changed: {", ".join(sorted(changed))}')
    return outcome
