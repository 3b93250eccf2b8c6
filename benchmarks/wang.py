"""The benchmark ``wang``; see `benchmarks.papers.wang`."""

from benchmarks.papers.wang import SECTIONS, run

__all__ = ["SECTIONS", "run"]
