"""What the nets of a data set share, stated alike by `nets.voc`, `nets.nyud`, ..., and the module of your own data."""
from typing import Any, Protocol

from solvers.recipe import Recipe


class Data(Protocol):
    """A data module: what a `net.py` and a `solve.py` ask of `nets/voc.py` and its like.

    Attributes
    ----------
    NUM_CLASSES : int, or mapping of str to int
        How many classes a score has; by label where there are several.
    PHASES : (str, str)
        The splits that train and score, after which the two prototxts are called.
    """
    NUM_CLASSES: Any
    PHASES: tuple[str, str]

    def feed(self, split: str) -> Any:
        """A `NetSpec` that begins with the images and labels of a split; with bare inputs when it is 'deploy'.

        NYUDv2's takes the images too, as `blob='color'`, since its nets see different ones.
        """

    def recipe(self, base_lr: float, **changes: Any) -> Recipe:
        """The schedule that these nets share at a learning rate; `changes` are other fields of `Recipe`."""
