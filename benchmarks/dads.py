"""The benchmark ``dads``; see `benchmarks.papers.dads`."""

from benchmarks.papers.dads import SECTIONS, run

__all__ = ["SECTIONS", "run"]
