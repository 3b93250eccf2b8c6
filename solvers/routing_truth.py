"""What links and machines really do while a simulation runs: rates over time, absences, changing speed."""

from typing import Any, NamedTuple

ROUNDING_BYTES = 1e-4


class Truth(NamedTuple):
    """The true network. Segments of link l stand at ``first[l]`` up to ``first[l + 1]`` of the flat arrays.

    Times begin at 0 in each link. ``period_s`` is infinite where the last segment holds for ever. Where ``by_share``
    is 1, the starts are shares of the inputs, and a transfer sees the rate and delay of its input throughout. Absences
    and factors of machine m stand at ``away_first[m]`` and ``speed_first[m]``.
    """

    link_of: Any  # (machines * machines), -1: none
    first: Any
    starts: Any
    bytes_per_s: Any
    delays_s: Any
    period_s: Any
    by_share: Any
    away_first: Any
    away_from_s: Any
    away_until_s: Any
    speed_first: Any
    speed_from_s: Any
    speed_factor: Any
    clock_s: Any  # what each machine's clock shows at time 0


def segment_at(starts: Any, low: int, high: int, position: float) -> int:
    """Return the last of the places low .. high - 1 whose start is not after a position; the first start is 0."""
    while high - low > 1:
        middle = (low + high) // 2
        if starts[middle] <= position:
            low = middle
        else:
            high = middle
    return low


def sent_at(truth: Truth, link: int, size_bytes: float, start_s: float, share: float) -> tuple[float, float]:
    """Return when the last byte of a message has left that starts at a time, and the message's delay.

    Infinite where it never leaves. The delay is the one that holds when the message starts.
    """
    low, high = truth.first[link], truth.first[link + 1]
    if truth.by_share[link]:
        segment = segment_at(truth.starts, low, high, share)
        rate = truth.bytes_per_s[segment]
        if size_bytes <= 0.0:
            return start_s, truth.delays_s[segment]
        return (start_s + size_bytes / rate if rate > 0.0 else float("inf")), truth.delays_s[segment]
    period_s = truth.period_s[link]
    repeats = period_s < float("inf")
    within_s = start_s % period_s if repeats else start_s
    segment = segment_at(truth.starts, low, high, within_s)
    delay_s = truth.delays_s[segment]
    if size_bytes <= 0.0:
        return start_s, delay_s
    left = size_bytes
    at_s = start_s
    carried = 0.0
    since_wrap = -1
    while True:
        rate = truth.bytes_per_s[segment]
        end_s = truth.starts[segment + 1] if segment + 1 < high else period_s
        room = rate * (end_s - within_s) if rate > 0.0 else 0.0
        # Rounded sums: a transfer that ends with a segment must not wait for the next one that has a rate.
        if rate > 0.0 and left <= room + ROUNDING_BYTES:
            return at_s + min(left / rate, end_s - within_s), delay_s
        if end_s == float("inf"):
            return float("inf"), delay_s
        left -= room
        carried += room
        at_s += end_s - within_s
        segment += 1
        within_s = end_s
        if segment == high:
            # Whole periods at once, so that a long transfer does not walk through each of them.
            segment, within_s = low, 0.0
            if since_wrap == 0:
                if carried <= 0.0:
                    return float("inf"), delay_s
                whole = float(int(left / carried))
                # The last period is walked through, whatever rounding says.
                whole = max(whole - 1.0, 0.0)
                left -= whole * carried
                at_s += whole * period_s
            since_wrap = 0
            carried = 0.0


def away_at(truth: Truth, machine: int, from_s: float, until_s: float) -> int:
    """Return the first absence of a machine that has a moment in from_s .. until_s, or -1."""
    for k in range(truth.away_first[machine], truth.away_first[machine + 1]):
        if truth.away_from_s[k] <= until_s and truth.away_until_s[k] > from_s:
            return k
    return -1


def speed_at(truth: Truth, machine: int, time_s: float) -> float:
    """Return how many times as long as measured a machine takes for a run that starts at a time."""
    low, high = truth.speed_first[machine], truth.speed_first[machine + 1]
    return float(truth.speed_factor[segment_at(truth.speed_from_s, low, high, time_s)])
