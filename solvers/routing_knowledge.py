"""What routers know before anything has happened: the figures of the network's description."""

from collections.abc import Sequence
from typing import Any

from solvers.routing_rules import (
    ADVERT_FIELDS,
    LINK_DOWN,
    LINK_FIELDS,
    LINK_RTT_S,
    LINK_UP,
    LINK_UP_STATE,
    OWN_FIELDS,
    OWN_FIRST,
    OWN_LONGEST,
    OWN_ORDER,
    OWN_SPREAD,
    advertise,
    start_refit,
    take_offer,
)

# How far a refit may move at first: all coefficients together, and each by a share of the longest run.
_FIRST_SHARE, _FIRST_FLOOR = 0.05, 0.01


def own_row(coefficients: Sequence[float], longest: float, spread: float) -> list[float]:
    """Return what a router knows of its own machine.

    Parameters
    ----------
    coefficients : sequence of 3 floats
        Seconds of a run: a + b N + c N^2.
    longest : float
        The longest length that they were fitted on.
    spread : float
        Relative standard deviation of run times about them.
    """
    row = [0.0] * OWN_FIELDS
    row[:3] = row[OWN_FIRST : OWN_FIRST + 3] = [float(one) for one in coefficients]
    row[OWN_LONGEST] = float(longest)
    row[OWN_ORDER] = 3.0 if coefficients[2] != 0 else 2.0
    row[OWN_SPREAD] = max(spread, 0.01)
    start_refit(row, _FIRST_SHARE, _FIRST_FLOOR)
    return row


def link_rows(n_machines: int, links: Sequence[tuple[int, int, float, float]]) -> list[list[float]]:
    """Return what each router knows of its links.

    Parameters
    ----------
    n_machines : int
    links : sequence of (source, target, seconds per byte, delay in seconds)
        Both directions of each link.
    """
    rows = [[0.0] * (n_machines * LINK_FIELDS) for _ in range(n_machines)]
    for source, target, s_per_byte, delay_s in links:
        there, back = rows[source], rows[target]
        there[target * LINK_FIELDS] = LINK_UP_STATE
        there[target * LINK_FIELDS + LINK_RTT_S] += delay_s
        there[target * LINK_FIELDS + LINK_UP] = s_per_byte
        back[source * LINK_FIELDS + LINK_RTT_S] += delay_s
        back[source * LINK_FIELDS + LINK_DOWN] = s_per_byte
    return rows


def informed_adverts(own: Any, links: Any, clocks_s: Sequence[float]) -> list[list[float]]:
    """Return what neighbours have told each other once everyone has told everything; links are heard of now."""
    n_machines = len(own)
    adverts = [[-1.0] * (n_machines * n_machines * ADVERT_FIELDS) for _ in range(n_machines)]
    offer = [0.0] * (n_machines * ADVERT_FIELDS)
    for _ in range(n_machines):
        for teller in range(n_machines):
            for asker in range(n_machines):
                if links[asker][teller * LINK_FIELDS] == LINK_UP_STATE:
                    advertise(teller, asker, clocks_s[teller], own[teller], links[teller], adverts[teller], offer, 0)
                    take_offer(teller, clocks_s[asker], links[asker], adverts[asker], offer, 0)
    return adverts
