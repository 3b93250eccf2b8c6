"""All figures of a plan, by kind, in the order of the page."""

from collections.abc import Callable
from typing import get_args

from partition.errors import InputError
from partition.plan import FigureKind
from partition.report.page import bandwidth, candidates, energy, measured, network
from partition.report.page.evidence import MissingEvidence, Study
from partition.report.page.figure import Figure, Missing
from partition.report.page.measured import Measured

_TITLES = {module.KIND: module.TITLE for module in (candidates, bandwidth, energy, network, measured)}
KINDS: tuple[FigureKind, ...] = get_args(FigureKind)


def figure_of(study: Study, kind: FigureKind, runs: "Measured | None" = None) -> Figure | Missing:
    """Make one figure, or say why it cannot be made.

    Raises
    ------
    InputError
        No such figure; measurements of another plan.
    """
    makers: dict[str, Callable[[], Figure]] = {
        "candidates": lambda: candidates.candidates_figure(study),
        "bandwidth": lambda: bandwidth.bandwidth_figure(study),
        "energy": lambda: energy.energy_figure(study),
        "graph": lambda: network.graph_figure(study),
        "measured": lambda: measured.measured_figure(study.plan, runs),
    }
    if kind not in makers:
        raise InputError(f"figure {kind!r} does not exist; use {', '.join(repr(one) for one in KINDS)}")
    try:
        return makers[kind]()
    except MissingEvidence as reason:
        return Missing(kind, _TITLES[kind], str(reason))
