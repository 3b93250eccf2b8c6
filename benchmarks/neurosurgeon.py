"""The benchmark ``neurosurgeon``; see `benchmarks.papers.neurosurgeon`."""

from benchmarks.papers.neurosurgeon import SECTIONS, run

__all__ = ["SECTIONS", "run"]
