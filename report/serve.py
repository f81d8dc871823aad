"""A page on this machine alone that segments the photographs dropped on it.

    python -m report serve --net voc-fcn8s --weights FILE [--port 8000] [--gpu N | --cpu]
    python -m report serve --prototxt FILE --weights FILE --mean B,G,R --classes FILE

NET is a net of nets/, or the folder of a run, whose own weights are then the default; --prototxt takes any deploy net,
as python -m nets.infer does. Photographs go to the net one at
a time; a few more may wait, others are asked to come again. Nothing is kept, and file names never leave the browser.
"""
import io
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import cli
import files
import nets
from accel import device
from cli import BadInput
from data_layers.bands import stored
from data_layers.pictures import blend
from data_layers.reading import FORMATS, upright
from report.page import contents, data_uri, fill_template, legend
from solvers import deploy_options
from solvers.deploy import Deploy, Room
from solvers.segmenting import Way, segment_image

HOST = '127.0.0.1'
MAX_BYTES = 20 << 20        # of a photograph's file
MAX_PIXELS = 50_000_000     # once decoded
SIDE = 500                  # longest side the net sees: the size of VOC's photographs, which the nets were trained on
WAITING = 4                 # photographs at the server at once, that in work included
ARRIVAL = 60                # seconds in which a file has arrived
TIMEOUT = 30                # seconds a silent connection is kept


class Refused(Exception):
    """A request that is answered with an HTTP status and a message for people.

    Parameters
    ----------
    status : int
        Of HTTP, 400 or above.
    message : str
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Segmenter:
    """A net in a thread of its own, since Caffe keeps its mode by thread and runs a net once at a time.

    Parameters
    ----------
    deploy : Deploy
        The net.
    gpu : int, optional
        Number of the GPU.
    cpu : bool
        Compute on the CPU; by default on a GPU that answers, else on the CPU.

    Raises
    ------
    BadInput
        The net sees something else than a photograph, or the weights do not fit.
    """

    def __init__(self, deploy: Deploy, gpu: int | None = None, cpu: bool = False) -> None:
        self.deploy, self.source = deploy, deploy.source
        self._way = Way(multiple=max(deploy.multiple, 1), coarse=deploy.coarse)
        if self.source.pictures and self.source.pictures.also:
            raise BadInput(f'this net sees files in {", ".join(self.source.pictures.also)} beside each picture, and '
                           'the page takes one file: use python -m nets.infer')
        if not self.source.sees_photograph:
            raise BadInput(f'this net sees {" and ".join(self.source.tops.values())}, not a photograph alone: '
                           'use python -m nets.infer')
        self._thread = ThreadPoolExecutor(1)
        self._room = Room(deploy, self._way)
        self._places = threading.BoundedSemaphore(WAITING)
        self._net = self._thread.submit(self._load, gpu, cpu).result()

    def _load(self, gpu: int | None, cpu: bool) -> Any:
        cli.show(f'computing on {device.choose(gpu, cpu)}')
        return self.deploy.load()

    def __enter__(self) -> None:
        """Take a place in the queue."""
        if not self._places.acquire(blocking=False):
            raise Refused(503, f'{WAITING} photographs are waiting already; try again in a moment')

    def __exit__(self, *_: object) -> None:
        self._places.release()

    def __call__(self, photo: Image.Image) -> dict[str, Any]:
        """Segment a photograph.

        Parameters
        ----------
        photo : Image
            RGB.

        Returns
        -------
        dict
            What the page shows, as JSON values: `seconds`, `width`, `height`, and of each task `name`, `says`,
            `overlay` (a data: address) and `legend` (name, colour and percent of each class).
        """
        return self._thread.submit(self._segment, photo).result()

    def picture(self, data: bytes) -> dict[str, Any]:
        """Segment a picture that is not colours of 8 bits, for a net that sees such pictures.

        Parameters
        ----------
        data : bytes
            Of its file.

        Returns
        -------
        dict
            As of a photograph, and `photo`: how it looks through its window (a data: address).

        Raises
        ------
        Refused
            It is not such a picture, damaged or too large.
        """
        return self._thread.submit(self._segment_picture, data).result()

    def _segment_picture(self, data: bytes) -> dict[str, Any]:
        with files.in_memory(data) as path:
            try:
                head = stored(path)
                if math.prod(head.size) * max(head.bands, 3) > 3 * MAX_PIXELS:
                    raise Refused(413, too_large('this picture'))
                blobs, photo = self.source.read(path), self.source.show(path)
            except BadInput as problem:
                raise Refused(415, str(problem).replace(str(path), 'this picture')) from None
        size = reduced(*photo.shape[:2])
        blobs = {name: np.stack([resized(plane, size) for plane in blob]) for name, blob in blobs.items()}
        photo = np.stack([resized(photo[:, :, channel], size) for channel in range(3)], axis=2)
        return self._found(photo, blobs) | {'photo': data_uri(Image.fromarray(photo), 'JPEG')}

    def _segment(self, photo: Image.Image) -> dict[str, Any]:
        png = io.BytesIO()
        photo.save(png, 'PNG')
        with files.in_memory(png.getvalue()) as path:   # read as every other image is
            blobs = self.source.read(path)
        return self._found(np.asarray(photo), blobs)

    def _found(self, photo: npt.NDArray[np.uint8], blobs: dict[str, npt.NDArray[np.float32]]) -> dict[str, Any]:
        self._check_room(blobs)
        begin = time.perf_counter()
        found = segment_image(self._net, blobs, self._way)
        seconds = time.perf_counter() - begin
        return {'seconds': seconds, 'width': photo.shape[1], 'height': photo.shape[0],
                'tasks': [self._show(photo, name, one.labels) for name, one in found.items()]}

    def _check_room(self, blobs: dict[str, npt.NDArray[np.float32]]) -> None:
        """Refuse a photograph that the net does not take, or for which memory is too little now: Caffe would end."""
        try:
            self.deploy.check_size(blobs, 'the photograph', self._way)
        except BadInput as problem:
            raise Refused(422, str(problem)) from None
        try:
            self._room.check(blobs, 'the photograph')
        except BadInput as problem:
            cli.say(f'warning: {problem}')
            raise Refused(507, 'this machine has too little free memory for a photograph now: close other programs '
                               'and try again') from None

    def _show(self, photo: npt.NDArray[np.uint8], name: str, labels: npt.NDArray[np.uint8]) -> dict[str, Any]:
        classes, colours = self.source.classes(name), self.source.colours.get(name, ())
        return {'name': self.source.tasks[name], 'says': contents(labels, classes),
                'overlay': data_uri(Image.fromarray(blend(photo, labels, classes, colours)), 'JPEG'),
                'legend': [{'name': name, 'colour': colour, 'percent': 100 * float(np.mean(labels == k))}
                           for k in np.unique(labels).tolist() for name, colour in legend([k], classes, colours)]}


def reduced(height: int, width: int) -> tuple[int, int]:
    """Height and width of what is at most `SIDE` pixels long."""
    factor = min(1.0, SIDE / max(height, width))
    return max(1, round(factor * height)), max(1, round(factor * width))


def resized(plane: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """A channel, H x W, at a height and width."""
    if plane.shape == size:
        return plane
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], Image.Resampling.BICUBIC))


def too_large(what: str) -> str:
    """The sentence about a photograph of too many pixels."""
    return (f'{what} is too large: at most {MAX_PIXELS // 1_000_000} million pixels, such as 8000 x 6000, are taken '
            'here; save it smaller, or use python -m nets.infer --tile 1024')


def decode(data: bytes) -> Image.Image:
    """A photograph from the bytes of its file.

    Parameters
    ----------
    data : bytes
        Of one of `FORMATS`.

    Returns
    -------
    Image
        Upright, RGB, at most `SIDE` pixels long.

    Raises
    ------
    Refused
        It is not a picture, of an unknown format, too large, damaged, or has more than 8 bits a channel.
    """
    try:
        photo = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise Refused(413, too_large('this photograph')) from None
    except Exception:   # a damaged file makes the decoders raise almost anything
        raise Refused(415, f'this cannot be read as a photograph: {", ".join(FORMATS)} are known') from None
    if photo.width * photo.height > MAX_PIXELS:
        raise Refused(413, too_large(f'this photograph of {photo.width} x {photo.height} pixels'))
    if photo.mode[0] in 'IF':
        raise Refused(415, 'this picture has more than 8 bits a channel: save it with 8')
    try:
        photo.load()
        turned = upright(photo).convert('RGB')
    except Exception:
        raise Refused(415, 'this picture is damaged: it begins well but cannot be decoded to its end') from None
    turned.info.clear()    # what was said of the file's colours, such as which is transparent, is not of these
    turned.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    return turned


class Handler(BaseHTTPRequestHandler):
    """GET / is the page, POST /segment takes the bytes of a photograph and answers JSON."""
    timeout = TIMEOUT
    protocol_version = 'HTTP/1.1'
    server: 'Server'

    def do_GET(self) -> None:
        self.answer(lambda: self.send(200, 'text/html; charset=utf-8', self.page()))

    def do_POST(self) -> None:
        self.answer(lambda: self.send_json(200, self.segment()))

    def answer(self, respond: Callable[[], None]) -> None:
        """Call `respond`, or send what was wrong with the request; of other failures only the terminal hears."""
        try:
            if self.headers.get('Host') not in self.server.names:   # another name that a page made point here
                raise Refused(421, 'ask for this page at the address the program printed')
            respond()
        except Refused as refusal:
            self.close_connection = True    # what the request still holds is not read
            self.send_json(refusal.status, {'error': str(refusal)})
        except (TimeoutError, ConnectionError):
            self.close_connection = True
        except Exception as problem:
            cli.say(f'warning: a request failed: {problem!r}')
            self.close_connection = True
            self.send_json(500, {'error': 'the net could not segment this photograph; the terminal says more'})

    def page(self) -> bytes:
        """The page, for GET /."""
        if self.path != '/':
            raise Refused(404, 'there is only the page / here')
        return self.server.page

    def segment(self) -> dict[str, Any]:
        """The segmentation of the photograph in the request, for POST /segment."""
        if self.path != '/segment':
            raise Refused(404, 'photographs are taken at /segment')
        if self.headers.get('Origin') not in (None, *(f'http://{name}' for name in self.server.names)):
            raise Refused(403, 'only the page of this program may send photographs')
        length = self.body_length()
        try:
            segmenter = self.server.segmenter
            with segmenter:     # a place first: what is read takes memory
                data = self.body(length)
                return segmenter.picture(data) if segmenter.source.pictures else segmenter(decode(data))
        except Refused as refusal:
            if refusal.status == 503:       # a browser hears no answer before it has sent all
                self.discard(length)
            raise

    def body_length(self) -> int:
        """The bytes of the request's body, of a size that is accepted."""
        length = self.headers.get('Content-Length', '')
        if not (length.isascii() and length.isdigit()):
            raise Refused(411, 'the request does not say how long it is')
        if int(length) > MAX_BYTES:
            raise Refused(413, f'this file is too large: at most {MAX_BYTES >> 20} MB')
        if not int(length):
            raise Refused(400, 'this file is empty')
        return int(length)

    def body(self, length: int) -> bytes:
        """The body of the request, whole and within `ARRIVAL` seconds, since it holds a place."""
        data = b''.join(self.pieces(length))
        if len(data) < length:
            raise Refused(400, 'the file did not arrive whole')
        return data

    def discard(self, length: int) -> None:
        """Read the body of the request and keep nothing of it."""
        for _ in self.pieces(length):
            continue

    def pieces(self, length: int) -> Iterator[bytes]:
        """The body of the request as it arrives."""
        deadline = time.monotonic() + ARRIVAL
        while length and (piece := self.rfile.read1(min(length, 1 << 16))):
            if time.monotonic() > deadline:
                raise Refused(408, f'the file took more than {ARRIVAL} seconds to arrive')
            length -= len(piece)
            yield piece

    def send_json(self, status: int, value: dict[str, Any]) -> None:
        """Send a value as JSON."""
        self.send(status, 'application/json', json.dumps(value).encode())

    def send(self, status: int, kind: str, data: bytes) -> None:
        """Send a response.

        Parameters
        ----------
        status : int
            Of HTTP.
        kind : str
            The content's type.
        data : bytes
            The content.
        """
        self.send_response(status)
        for name, value in (('Content-Type', kind), ('Content-Length', str(len(data))), ('Cache-Control', 'no-store'),
                            ('X-Content-Type-Options', 'nosniff'),
                            *([('Retry-After', '2')] if status == 503 else []),
                            *([('Connection', 'close')] if self.close_connection else [])):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal stays quiet."""


class Server(ThreadingHTTPServer):
    """The page on 127.0.0.1.

    Parameters
    ----------
    segmenter : Segmenter
    title : str
        What the page calls the net.
    port : int
        0 picks a free one.

    Attributes
    ----------
    names : tuple of str
        Hosts, with the port, that requests may ask for.
    page : bytes
        HTML.

    Raises
    ------
    BadInput
        The port cannot be used.
    """
    daemon_threads = True
    request_queue_size = 128    # connections that wait to be accepted

    def __init__(self, segmenter: Segmenter, title: str, port: int = 0) -> None:
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as problem:
            raise BadInput(f'port {port} of {HOST} cannot be used ({problem}); name another with --port') from None
        self.segmenter = segmenter
        self.names = tuple(f'{host}:{self.server_port}' for host in (HOST, 'localhost'))
        sees = segmenter.source.pictures.channels if segmenter.source.pictures else ()
        self.page = fill_template('serve.html', script='serve.js', title=title, limit=MAX_BYTES, side=SIDE,
                                  formats=FORMATS, sees=sees).encode()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong with a connection, in a line; a client that has left is nothing to tell."""
        problem = sys.exception()
        if not isinstance(problem, ConnectionError | TimeoutError):
            cli.say(f'warning: a connection failed: {problem!r}')

    @property
    def url(self) -> str:
        """The address of the page."""
        return f'http://{self.names[0]}/'


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m report serve', description=__doc__)
    deploy_options.add_arguments(parser, ways=False)
    parser.add_argument('--port', type=int, default=8000, metavar='N', help='default: %(default)s; 0 for any free one')
    cli.add_device_arguments(parser)
    args = parser.parse_args(argv)
    deploy = deploy_options.chosen(args, nets.load, nets.names())
    with Server(Segmenter(deploy, args.gpu, args.cpu), deploy.name, args.port) as server:
        cli.show(f'{server.url}   (Ctrl-C ends it)')
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            cli.show('')


if __name__ == '__main__':
    sys.exit(cli.run(main))
