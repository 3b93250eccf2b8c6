"""What a link really does while a simulation runs: its rate and delay over time, or over the share of the inputs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from partition.emulation.profile import RateProfile
from partition.errors import InputError
from partition.units import parse_bandwidth, parse_duration

if TYPE_CHECKING:
    from partition.routing.network import MachineNetwork


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """Rate and delay of one direction of a link, constant between given points.

    Parameters
    ----------
    starts : tuple of float
        Where each segment begins: the first at 0, then strictly rising. Seconds, or shares of the inputs below 1.
    bits_per_s : tuple of float
        The rate of each segment, 0 or more; 0 is an outage, and at the end it means that the link is gone for good.
    delays_s : tuple of float
        The delay of a message that starts in each segment, 0 or more.
    period_s : float, optional
        When the profile begins anew, after the last start. Default: the last segment holds for ever.
    by_share : bool
        Whether starts are shares of the inputs; a message then sees one rate, that of its input.

    Raises
    ------
    InputError
        One of them cannot be used.
    """

    starts: tuple[float, ...]
    bits_per_s: tuple[float, ...]
    delays_s: tuple[float, ...]
    period_s: float | None = None
    by_share: bool = False

    def __post_init__(self) -> None:
        if not self.starts or not len(self.starts) == len(self.bits_per_s) == len(self.delays_s):
            raise InputError(
                f"link profile: {len(self.starts)} starts, {len(self.bits_per_s)} rates and {len(self.delays_s)} "
                "delays; give one rate and one delay for each start"
            )
        for what, values in (("start", self.starts), ("rate", self.bits_per_s), ("delay", self.delays_s)):
            for value in values:
                if not (math.isfinite(value) and value >= 0):
                    raise InputError(f"link profile: a {what} is {value!r}; give finite numbers of 0 or more")
        if self.starts[0] != 0 or any(not one < other for one, other in pairwise(self.starts)):
            raise InputError(f"link profile: the starts are {self.starts[:9]!r}; they have to begin at 0 and to rise")
        if self.by_share and (self.period_s is not None or self.starts[-1] >= 1):
            raise InputError("link profile: shares of the inputs lie below 1 and have no period")
        if self.period_s is not None and not (math.isfinite(self.period_s) and self.period_s > self.starts[-1]):
            raise InputError(
                f"link profile: the period is {self.period_s!r} s; give a finite number above {self.starts[-1]!r}"
            )

    @classmethod
    def constant(cls, bandwidth: str | float, delay: str | float = 0.0) -> Self:
        """Return one rate and delay for ever; texts with units, or bit/s and seconds."""
        return cls((0.0,), (parse_bandwidth(bandwidth),), (parse_duration(delay),))

    @classmethod
    def stepped(
        cls,
        steps: Iterable[tuple[float, float, float]],
        *,
        period_s: float | None = None,
        by_share: bool = False,
    ) -> Self:
        """Return a profile of (start, bit/s, delay in seconds) steps.

        Parameters
        ----------
        steps : iterable of (float, float, float)
        period_s, by_share
            As the attributes.
        """
        rows = [(float(start), float(rate), float(delay)) for start, rate, delay in steps]
        starts, rates, delays = (tuple(row[k] for row in rows) for k in range(3))
        return cls(starts, rates, delays, period_s, by_share)

    @classmethod
    def recorded(cls, rates: RateProfile, delay_s: float) -> Self:
        """Return a recorded trace of rates with one delay."""
        return cls(rates.starts_s, rates.bits_per_s, (delay_s,) * len(rates.starts_s), rates.period_s)


Profiles = Mapping[tuple[str, str], LinkProfile | RateProfile]
"""True profiles of links by (source, target); a trace of rates alone keeps the link's delay."""


def round_trips(
    network: "MachineNetwork", one: str, other: str, rtts: Sequence[str | float]
) -> dict[tuple[str, str], LinkProfile]:
    """Return both directions of a link whose round trip steps: equal shares of the inputs, one for each round trip.

    Parameters
    ----------
    network : MachineNetwork
        Its rates of the link hold.
    one, other : str
        Machines that are joined.
    rtts : sequence of str or float
        Texts with units, or seconds; one of them: the round trip is constant.

    Raises
    ------
    InputError
        No round trips, or no such link.
    """
    if not rtts:
        raise InputError("no round trips were given; give one or more")
    profiles = {}
    for source, target in ((one, other), (other, one)):
        rate = next((link.bits_per_s for link in network.links if (link.source, link.target) == (source, target)), None)
        if rate is None:
            raise InputError(f"the network has no link from {source!r} to {target!r}; name two joined machines")
        steps = [(k / len(rtts), rate, parse_duration(rtt) / 2) for k, rtt in enumerate(rtts)]
        profiles[source, target] = LinkProfile.stepped(steps, by_share=True)
    return profiles
