"""What the caller of a benchmark chose."""

from dataclasses import dataclass
from pathlib import Path

SEED = 0
"""Of the weights and the inputs."""


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
    """

    quick: bool = False
    cache: Path | None = None
    models: tuple[str, ...] | None = None
    repetitions: int | None = None
