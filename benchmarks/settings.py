"""What the caller of a benchmark chose."""

from dataclasses import dataclass
from pathlib import Path

SEED = 0
"""Of the weights and the inputs, and of generated graphs and costs."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much to measure, and where models are kept.

    Attributes
    ----------
    quick : bool
        Fewer models, cuts and repetitions.
    cache : Path or None
        Folder of built models; None builds each when it is needed and removes it afterwards.
    models : tuple of str or None
        Light models to measure instead of the benchmark's own choice.
    repetitions : int or None
        Instead of the benchmark's own choice.
    workloads : Path or None
        Folder of cost graphs with known optima; None leaves them out.
    only : tuple of str or None
        Sections of the benchmark to run instead of all.
    machine : Path or None
        File of this machine's calibration; None calibrates now.
    traces : Path or None
        Folder of recorded rates of links; None measures on made-up ones alone.
    """

    quick: bool = False
    cache: Path | None = None
    models: tuple[str, ...] | None = None
    repetitions: int | None = None
    workloads: Path | None = None
    only: tuple[str, ...] | None = None
    machine: Path | None = None
    traces: Path | None = None
