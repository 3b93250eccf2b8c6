"""What changes while a plan runs, and over which range of it a plan is made to adapt."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from partition.errors import InputError
from partition.files import FieldReader
from partition.links import Link
from partition.units import format_bandwidth, format_duration, parse_bandwidth, parse_duration

SLOWEST = 1000.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """The state of link and machines at one moment.

    Attributes
    ----------
    uplink_bits_per_s, downlink_bits_per_s : float
    rtt_s : float
        Round trip of a message without content; half of it is paid by each message.
    device_slowdown, server_slowdown : float
        How many times as long as planned the machine takes.
    """

    uplink_bits_per_s: float
    downlink_bits_per_s: float
    rtt_s: float
    device_slowdown: float = 1.0
    server_slowdown: float = 1.0

    @classmethod
    def of_link(cls, link: Link) -> Self:
        """Return a link's figures, with both machines as planned."""
        return cls(link.uplink_bits_per_s, link.downlink_bits_per_s, link.rtt_s)

    def __str__(self) -> str:
        text = (
            f"{format_bandwidth(self.uplink_bits_per_s)} up, {format_bandwidth(self.downlink_bits_per_s)} down, "
            f"rtt {format_duration(self.rtt_s)}"
        )
        for role in ("device", "server"):
            slowdown = getattr(self, f"{role}_slowdown")
            times = f"{max(slowdown, 1 / slowdown):.3g}"
            if times != "1":
                text += f", {role} {times} times {'slower' if slowdown > 1 else 'faster'} than planned"
        return text


@dataclass(frozen=True, slots=True)
class ConditionRange:
    """The conditions that a plan adapts to, each from its lowest to its highest.

    Attributes
    ----------
    uplink_bits_per_s : (float, float)
    downlink_bits_per_s : (float, float) or None
        None keeps it in proportion to the uplink.
    rtt_s, device_slowdown, server_slowdown : (float, float)
    """

    uplink_bits_per_s: tuple[float, float]
    downlink_bits_per_s: tuple[float, float] | None
    rtt_s: tuple[float, float]
    device_slowdown: tuple[float, float] = (1.0, 1.0)
    server_slowdown: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def parse(cls, value: "str | Mapping[str, Any] | ConditionRange", link: Link) -> "ConditionRange":
        """Read what a user gives.

        Parameters
        ----------
        value : str or mapping
            ``"1Mbps..50Mbps"``, the range of the bandwidth; or several by name: ``{"bandwidth": "1Mbps..50Mbps",
            "downlink": ..., "rtt": "5ms..200ms", "server_slowdown": "1..20", "device_slowdown": "1..3"}``. A pair of
            values will do for a text.
        link : Link
            What is planned for; it has to lie in the range, and stands for what is not given.

        Returns
        -------
        ConditionRange

        Raises
        ------
        InputError
            A name, a value or an order that cannot be; a link outside the range.
        """
        if isinstance(value, ConditionRange):
            value.check_contains(link)
            return value
        given = {"bandwidth": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping) or not given:
            raise InputError(f"adapt is {value!r}; give '1Mbps..50Mbps', or a mapping of {_legal()} to such ranges")
        odd = next((name for name in given if name not in _NAMES), None)
        if odd is not None:
            raise InputError(f"adapt has the key {odd!r}; the legal ones are {_legal()}")
        found: dict[str, Any] = {_NAMES[name][0]: _bounds(name, one) for name, one in given.items()}
        uplink, rtt = (link.uplink_bits_per_s,) * 2, (link.rtt_s,) * 2
        result = cls(**({"uplink_bits_per_s": uplink, "downlink_bits_per_s": None, "rtt_s": rtt} | found))
        result.check_contains(link)
        return result

    def check_contains(self, link: Link) -> None:
        """Refuse a link outside the range."""
        for name, (field, _, text) in _NAMES.items():
            bounds = getattr(self, field)
            planned = getattr(link, field, 1.0)
            if bounds is not None and not bounds[0] <= planned <= bounds[1]:
                raise InputError(
                    f"adapt: the {name} ranges from {text(bounds[0])} to {text(bounds[1])}, and the plan is made for "
                    f"{text(planned)}; give a range around that"
                )

    def contains(self, conditions: Conditions) -> bool:
        """Say whether a plan for this range is proven best under some conditions."""
        for field in fields(self):
            bounds = getattr(self, field.name)
            if bounds is not None and not bounds[0] <= getattr(conditions, field.name) <= bounds[1]:
                return False
        return True

    def to_json(self) -> dict[str, Any]:
        """Return the range as a plain object for a JSON file."""
        bounds = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: None if one is None else {"lowest": one[0], "highest": one[1]} for name, one in bounds.items()}

    @classmethod
    def from_json(cls, reader: FieldReader) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        InputError
            A field that is missing, unknown, of the wrong type or out of range.
        """
        found: dict[str, Any] = {}
        for field in fields(cls):
            inner = reader.optional_object(field.name)
            if inner is None:
                if field.name != "downlink_bits_per_s":
                    reader.refuse(field.name, None, "an object with lowest and highest")
                found[field.name] = None
                continue
            take = inner.non_negative if field.name == "rtt_s" else inner.positive
            found[field.name] = take("lowest"), take("highest")
            inner.finish()
            if found[field.name][0] > found[field.name][1]:
                reader.refuse(field.name, found[field.name], "lowest at most highest")
        reader.finish()
        return cls(**found)

    def __str__(self) -> str:
        found = []
        for name, (field, _, text) in _NAMES.items():
            bounds = getattr(self, field)
            if bounds is not None and bounds[0] < bounds[1]:
                found.append(f"{name.replace('_', ' ')} {text(bounds[0])} to {text(bounds[1])}")
        return ", ".join(found) or "nothing varies"


def _slowdown(value: Any, *, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not 1 / SLOWEST <= number <= SLOWEST:
        raise InputError(f"{what} is {value!r}; give how many times as long as planned it takes, such as 1 or 2.5")
    return number


_NAMES: dict[str, tuple[str, Any, Any]] = {
    "bandwidth": ("uplink_bits_per_s", parse_bandwidth, format_bandwidth),
    "downlink": ("downlink_bits_per_s", parse_bandwidth, format_bandwidth),
    "rtt": ("rtt_s", parse_duration, format_duration),
    "device_slowdown": ("device_slowdown", _slowdown, "{:.4g}".format),
    "server_slowdown": ("server_slowdown", _slowdown, "{:.4g}".format),
}


def _legal() -> str:
    return ", ".join(repr(name) for name in _NAMES)


def _bounds(name: str, value: Any) -> tuple[float, float]:
    what = f"adapt: {name}"
    pair = [one.strip() for one in value.split("..")] if isinstance(value, str) else value
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise InputError(f"{what} is {value!r}; give its lowest and highest value, such as '1Mbps..50Mbps'")
    low, high = (_NAMES[name][1](one, what=what) for one in pair)
    if low > high:
        raise InputError(f"{what} is {value!r}, which is reversed; give the lowest value first")
    return low, high
