"""The rest of a way to use exits, with codecs: all plans of which none is both faster and loses less."""

from collections.abc import Callable
from math import nextafter

from partition.plan import Plan

LARGEST_LOSS = 1.0
"""No more answers than all of them can change."""


def codec_front(plan_within: Callable[[float], Plan], *, most: float = LARGEST_LOSS) -> tuple[Plan, ...]:
    """Return the plans of least latency for every bound on the loss.

    Parameters
    ----------
    plan_within : callable
        Makes the plan of least latency among those whose loss stays within a bound, a number of 0 or more.
    most : float
        The largest bound.

    Returns
    -------
    tuple of Plan
        From the fastest to the one that loses nothing.

    Notes
    -----
    After each plan the bound is the largest number below its loss: the epsilon-constraint method, which finds every
    point of the front where each plan is the best within its bound. Of two plans as fast as each other only the one
    that loses less is kept.
    """
    found: list[Plan] = []
    bound = most
    while True:
        plan = plan_within(bound)
        if found and plan.latency_s <= found[-1].latency_s:
            found.pop()
        found.append(plan)
        loss = loss_of(plan)
        if loss <= 0:
            return tuple(found)
        bound = nextafter(loss, 0.0)


def loss_of(plan: Plan) -> float:
    """Return what the codecs of a plan lose; 0 without codecs."""
    return 0.0 if plan.loss is None else plan.loss.loss
