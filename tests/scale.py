"""How many cases a big test runs: a seeded subset in ``make test``, all of them in ``make test-full``."""

import os

FULL = os.environ.get("DNN_PARTITION_FULL", "") == "1"


def scaled(quick: int, full: int) -> int:
    """Return the count for this run; the first ``quick`` cases are the same in both."""
    return full if FULL else quick


LIGHT_SUITE = 3
"""Seed of a small draw of a calibration's layers with 36 MB of weights; seed 0, the calibration's own, has 660 MB."""
SUITE_SEEDS = (LIGHT_SUITE, 0) if FULL else (LIGHT_SUITE,)
