"""The rate of one direction of a link over time, piecewise constant, and how long a transfer takes on it."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from partition.errors import InputError
from partition.units import parse_bandwidth

# Sums of rounded bits: without it, a transfer that ends with a segment could wait for the next one that has a rate.
_ROUNDING_BITS = 1e-3
_MOST_SEGMENTS = 1_000_000


@dataclass(frozen=True, slots=True)
class RateProfile:
    """A rate over time, constant between given times.

    Parameters
    ----------
    starts_s : tuple of float
        When each segment begins, in seconds: the first at 0, then strictly rising.
    bits_per_s : tuple of float
        The rate of each segment, finite; 0 is an outage.
    period_s : float, optional
        When the profile begins anew, in seconds, after the last start. Default: the last rate holds for ever, so it has
        to be above 0; a profile that begins anew needs one rate above 0.

    Raises
    ------
    InputError
        The times do not begin at 0 or do not rise, a rate is not a finite number of 0 or more, or nothing would ever
        pass.
    """

    starts_s: tuple[float, ...]
    bits_per_s: tuple[float, ...]
    period_s: float | None = None
    _bits_before: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        starts_s, rates = self.starts_s, self.bits_per_s
        if not starts_s or len(starts_s) != len(rates):
            raise InputError(
                f"rate profile: {len(starts_s)} starts and {len(rates)} rates; give one rate for each start"
            )
        if starts_s[0] != 0:
            raise InputError(f"rate profile: the first start is {starts_s[0]!r} s; it has to be 0")
        ends_s = (*starts_s[1:], self.period_s if self.period_s is not None else math.inf)
        for number, (start_s, end_s) in enumerate(zip(starts_s, ends_s, strict=True)):
            is_last = number == len(starts_s) - 1
            if not start_s < end_s or (math.isinf(end_s) and not (is_last and self.period_s is None)):
                what = "period" if is_last else f"start {number + 1}"
                raise InputError(
                    f"rate profile: {what} is {end_s!r} s, after start {number} at {start_s!r} s; times have to rise"
                )
            if not (math.isfinite(rates[number]) and rates[number] >= 0):
                raise InputError(
                    f"rate profile: rate {number} is {rates[number]!r} bit/s, expected a finite number of 0 or more"
                )
        if not (max(rates) if self.period_s is not None else rates[-1]) > 0:
            what = "every rate is" if self.period_s is not None else "the last rate, which holds for ever, is"
            raise InputError(f"rate profile: {what} 0 bit/s; a transfer would never end")
        lengths_s = (end_s - start_s for start_s, end_s in zip(starts_s, ends_s, strict=True))
        amounts = (rate * length_s for rate, length_s in zip(rates, lengths_s, strict=True))
        object.__setattr__(self, "_bits_before", tuple(accumulate(amounts, initial=0.0)))

    @classmethod
    def constant(cls, bandwidth: str | float) -> "RateProfile":
        """Return one rate for ever: a text with its unit (``"8.8Mbps"``), or bit/s.

        Examples
        --------
        >>> RateProfile.constant("8.8Mbps").transfer_s(1_100_000, 3.0)
        1.0
        """
        return cls((0.0,), (parse_bandwidth(bandwidth),))

    @classmethod
    def stepped(cls, steps: Iterable[tuple[float, str | float]], *, period_s: float | None = None) -> "RateProfile":
        """Return a profile of (start in seconds, rate) steps; a rate is a text with its unit, or bit/s, and may be 0.

        Examples
        --------
        >>> profile = RateProfile.stepped([(0, "8Mbps"), (10, "1Mbps")], period_s=20)
        >>> profile.rate_at(12), profile.rate_at(22), profile.transfer_s(1_000_000, 9.5)
        (1000000.0, 8000000.0, 4.5)
        """
        pairs = [(float(start_s), 0.0 if rate == 0 else parse_bandwidth(rate)) for start_s, rate in steps]
        return cls(tuple(start_s for start_s, _ in pairs), tuple(rate for _, rate in pairs), period_s)

    def rate_at(self, time_s: float) -> float:
        """Return the rate at a time of 0 or later, in bit/s."""
        return self.bits_per_s[self._segment(self._in_period(time_s))]

    def transfer_s(self, size_bytes: float, start_s: float) -> float:
        """Return how long a transfer takes that begins at a time and has the link to itself.

        Parameters
        ----------
        size_bytes : float
            Finite, 0 or more.
        start_s : float
            0 or more.

        Returns
        -------
        float
            Seconds until the last bit has left; exact up to rounding, outages and repetitions included. The cost is
            logarithmic in the number of segments.

        Raises
        ------
        InputError
            A number out of its range.
        """
        if not (math.isfinite(size_bytes) and size_bytes >= 0):
            raise InputError(f"transfer of {size_bytes!r} bytes; give a finite size of 0 or more")
        begin_s = self._in_period(start_s)
        bits = 8.0 * size_bytes
        if bits == 0:
            return 0.0
        segment = self._segment(begin_s)
        rate, left_s = self.bits_per_s[segment], self._end_s(segment) - begin_s
        if rate > 0 and bits <= rate * left_s + _ROUNDING_BITS:
            return min(bits / rate, left_s)
        # Counted from the beginning of the period from here on.
        target = self._bits_before[segment + 1] + bits - (rate * left_s if rate > 0 else 0.0)
        return max(self._time_of(target) - begin_s, left_s)

    def mean_bits_per_s(self, start_s: float = 0.0, stop_s: float | None = None) -> float:
        """Return the mean rate between two times, in bit/s.

        Parameters
        ----------
        start_s : float
            0 or more.
        stop_s : float, optional
            After `start_s`. Default: one period later; for a profile that holds its last rate, when that one begins, or
            one second after `start_s` where that is later.

        Returns
        -------
        float

        Raises
        ------
        InputError
            A time is below 0 or not a number, or the times do not rise.
        """
        if stop_s is None:
            stop_s = start_s + self.period_s if self.period_s is not None else max(self.starts_s[-1], start_s + 1)
        if not (start_s < stop_s and math.isfinite(stop_s)):
            raise InputError(f"mean rate from {start_s!r} to {stop_s!r} s; give two times that rise")
        return (self._bits_until(stop_s) - self._bits_until(start_s)) / (stop_s - start_s)

    def averaged(self, length_s: float) -> "RateProfile":
        """Return this profile in longer segments, each with its mean rate; a trace of packets becomes one of rates.

        Parameters
        ----------
        length_s : float
            Length of the new segments, above 0; the last one may be shorter.

        Returns
        -------
        RateProfile
            Carries the same number of bits in each segment and period.

        Raises
        ------
        InputError
            A length that is not a finite number above 0, or that makes more than a million segments.
        """
        end_s = self.period_s if self.period_s is not None else self.starts_s[-1]
        if not (math.isfinite(length_s) and length_s > 0 and end_s / length_s <= _MOST_SEGMENTS):
            raise InputError(
                f"segments of {length_s!r} s over {end_s!r} s; give a finite length above 0, "
                f"for at most {_MOST_SEGMENTS} of them"
            )
        number = max(math.ceil(end_s / length_s - 1e-9), 1 if end_s > 0 else 0)
        times_s = [segment * length_s for segment in range(number)]
        rates = [self.mean_bits_per_s(start_s, stop_s) for start_s, stop_s in pairwise((*times_s, end_s))]
        if self.period_s is None:
            times_s.append(end_s)
            rates.append(self.bits_per_s[-1])
        return RateProfile(tuple(times_s), tuple(rates), self.period_s)

    def _in_period(self, time_s: float) -> float:
        if not (math.isfinite(time_s) and time_s >= 0):
            raise InputError(f"rate profile: time {time_s!r} s; give a finite time of 0 or more")
        return time_s if self.period_s is None else time_s % self.period_s

    def _segment(self, time_s: float) -> int:
        return bisect_right(self.starts_s, time_s) - 1

    def _end_s(self, segment: int) -> float:
        if segment + 1 < len(self.starts_s):
            return self.starts_s[segment + 1]
        return self.period_s if self.period_s is not None else math.inf

    def _bits_until(self, time_s: float) -> float:
        within_s = self._in_period(time_s)
        segment = self._segment(within_s)
        bits = self._bits_before[segment] + self.bits_per_s[segment] * (within_s - self.starts_s[segment])
        if self.period_s is None:
            return bits
        return bits + round((time_s - within_s) / self.period_s) * self._bits_before[-1]

    def _time_of(self, bits: float) -> float:
        """Return when a number of bits, above 0, has passed since the beginning of a period."""
        periods = 0
        if self.period_s is not None:
            total = self._bits_before[-1]
            periods = max(0, math.floor((bits - _ROUNDING_BITS) / total))
            bits -= periods * total
        segment = max(bisect_left(self._bits_before, bits - _ROUNDING_BITS) - 1, 0)
        within_s = (bits - self._bits_before[segment]) / self.bits_per_s[segment]
        time_s = min(self.starts_s[segment] + within_s, self._end_s(segment))
        return time_s + periods * (self.period_s or 0.0)
