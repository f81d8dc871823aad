"""Models come from anywhere: whatever goes wrong while one is taken apart is said in one line."""
from collections.abc import Iterator
from contextlib import contextmanager

import cli
from cli import BadInput

LONGEST = 500           # characters of a message: names in a file may be of any length


@contextmanager
def sensible(where: str, what: str) -> Iterator[None]:
    """Turn whatever a damaged or hostile model makes the block raise into BadInput.

    Parameters
    ----------
    where : str
        What the message begins with, where there is something to say: the node, the layer.
    what : str
        What must be wrong if the block raises something else than BadInput, in the plural.

    Raises
    ------
    BadInput
        The block raised an exception; the message of a BadInput stays, after `where`.
    """
    try:
        yield
        return
    except BadInput as problem:
        text = str(problem)
    except Exception as problem:        # numpy, protobuf and Python each complain in their own way
        text = f'{what} make no sense ({type(problem).__name__}: {str(problem)[:100]})'
    raise BadInput(shortened(f'{where}: {text}' if where else text))


def shortened(text: str, most: int = LONGEST) -> str:
    """A message, without its middle where that is too long to read."""
    return cli.shortened(text, most)
