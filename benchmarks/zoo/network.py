"""What is said of a network of the zoo: how to build it, and what is published of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnx


@dataclass(frozen=True, slots=True)
class Published:
    """Published figures of a network; None where a figure is not published.

    Attributes
    ----------
    parameters : float or None
        Trainable ones and, where the source counts them so, all.
    macs : float or None
        Multiply-accumulates of one inference at the built input size.
    source : str
        Where the figures stand.
    """

    parameters: float | None
    macs: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the zoo.

    Attributes
    ----------
    name : str
        Its file name without the ending.
    family : str
        Networks of one architecture, such as ``"resnet"``.
    build : callable
        Returns the model; the same one each time.
    source : str
        The paper or the implementation whose shapes are followed, and what had to be chosen here.
    published : Published or None
        None where no figure is published; `shapes` then lists the layers.
    shapes : tuple of str
        One line a layer: what it is and the shape of its output; where nothing is published.
    dims : mapping of str to int
        Values of the symbolic dimensions at which it is measured.
    ones : tuple of str
        Inputs that are all ones in a usual run: attention masks.
    """

    name: str
    family: str
    build: Callable[[], onnx.ModelProto]
    source: str
    published: Published | None = None
    shapes: tuple[str, ...] = ()
    dims: Mapping[str, int] = field(default_factory=dict, hash=False)
    ones: tuple[str, ...] = ()
