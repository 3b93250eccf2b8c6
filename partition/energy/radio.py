"""What a radio draws while it sends and receives: a line in the rate, P = a x rate + b, for each direction.

A machine file holds the power of a device while it sends and receives, and that depends on the link. Here it comes
from the link's rates and a radio's three coefficients::

    send_watts    = idle_watts + a_up   x uplink rate   + b
    receive_watts = idle_watts + a_down x downlink rate + b

``send_watts`` and ``receive_watts`` are what the whole device draws, as everywhere in this library: one of the four
powers holds at any moment, and they are not added to each other. So the radio's share, base included, comes on top of
the idle power. While the server computes, and while a message waits, the device is priced at its idle power alone: the
model has no tail, in which a cellular radio stays awake for seconds after a transfer at about its base power.

The presets are the fits of Huang, Qian, Gerber, Mao, Sen and Spatscheck, "A Close Examination of Performance and Power
Characteristics of 4G LTE Networks", MobiSys 2012 (the table of data transfer power), which JointDNN (Eshratifar,
Abrishami and Pedram, IEEE Transactions on Mobile Computing 2021) and others use: mW per Mbit/s up / down and base mW,
3G 868.98 / 122.12 / 817.88, 4G 438.39 / 51.97 / 1288.04, Wi-Fi 283.17 / 137.01 / 132.86. The paper's own table was
not at hand; all nine figures were checked against programs of other authors that use them, and agree. They describe
phones of that time. Whether b holds the phone's own idle power, and the range of rates behind the fits, could not be
checked: so idle power may count twice by that much, and a rate far above those of 2012 extrapolates the line.
"""

from dataclasses import dataclass
from math import isfinite

from partition.energy.figures import non_negative, positive
from partition.errors import InputError
from partition.latency.machines import Power
from partition.links import Link
from partition.units import format_bandwidth, parse_bandwidth

HUANG_2012 = (
    "Huang et al., 'A Close Examination of Performance and Power Characteristics of 4G LTE Networks', MobiSys 2012"
)
"""Where the presets come from."""

_PRESETS = {  # mW per Mbit/s up, mW per Mbit/s down, base mW
    "3g": (868.98, 122.12, 817.88),
    "4g": (438.39, 51.97, 1288.04),
    "wifi": (283.17, 137.01, 132.86),
}
_PRESET_SPELLINGS = {"wi-fi": "wifi", "lte": "4g"}


def radio_presets() -> tuple[str, ...]:
    """Return the names that `Radio.parse` takes."""
    return tuple(_PRESETS)


@dataclass(frozen=True, slots=True)
class Radio:
    """A radio by what it draws, above the idle device, at a rate.

    Parameters
    ----------
    name : str
        A preset's name, or the user's own.
    uplink_watts_per_mbit_per_s : float
        What each Mbit/s of the uplink adds while sending, 0 or more.
    downlink_watts_per_mbit_per_s : float
        What each Mbit/s of the downlink adds while receiving, 0 or more.
    base_watts : float
        What the radio draws besides while it sends or receives, 0 or more.
    source : str
        Where the figures come from.

    Raises
    ------
    InputError
        A power that is not a finite number of 0 or more; an empty name or source.
    """

    name: str
    uplink_watts_per_mbit_per_s: float
    downlink_watts_per_mbit_per_s: float
    base_watts: float
    source: str

    def __post_init__(self) -> None:
        for field in ("name", "source"):
            text = getattr(self, field)
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"radio: {field} is {text!r}, expected a text that is not empty")
        for field in ("uplink_watts_per_mbit_per_s", "downlink_watts_per_mbit_per_s", "base_watts"):
            object.__setattr__(self, field, non_negative(getattr(self, field), f"radio '{self.name}': {field}"))

    @classmethod
    def parse(cls, radio: "str | Radio") -> "Radio":
        """Make a radio from what a user gives.

        Parameters
        ----------
        radio : str or Radio
            A preset (``"3g"``, ``"4g"``, ``"wifi"``, in upper or lower case) or a radio, which is returned.

        Returns
        -------
        Radio

        Raises
        ------
        InputError
            Neither.

        Examples
        --------
        >>> print(Radio.parse("4g"))
        4g: 438.39 mW per Mbit/s up, 51.97 mW per Mbit/s down, base 1288.04 mW
        """
        if isinstance(radio, Radio):
            return radio
        word = radio.strip().lower() if isinstance(radio, str) else None
        word = None if word is None else _PRESET_SPELLINGS.get(word, word)
        if word not in _PRESETS:
            raise InputError(
                f"radio {radio!r} is unknown; use {', '.join(map(repr, _PRESETS))}, or a Radio with your own figures"
            )
        uplink_mw, downlink_mw, base_mw = _PRESETS[word]
        return cls(word, uplink_mw / 1000, downlink_mw / 1000, base_mw / 1000, HUANG_2012)

    def watts_up(self, bits_per_s: str | float) -> float:
        """Return what sending at a rate adds to the idle device, in watts.

        Parameters
        ----------
        bits_per_s : str or float
            As `partition.units.parse_bandwidth` takes it.

        Examples
        --------
        >>> round(Radio.parse("4g").watts_up("8.8Mbps"), 4)
        5.1459
        """
        rate = parse_bandwidth(bits_per_s, what=f"radio '{self.name}': the uplink's rate")
        return self._drawn(self.uplink_watts_per_mbit_per_s, rate)

    def watts_down(self, bits_per_s: str | float) -> float:
        """Return what receiving at a rate adds to the idle device, in watts; see `watts_up`."""
        rate = parse_bandwidth(bits_per_s, what=f"radio '{self.name}': the downlink's rate")
        return self._drawn(self.downlink_watts_per_mbit_per_s, rate)

    def note(self, link: Link) -> str:
        """Return what pricing a link by this radio takes for granted, in one sentence for a plan."""
        return (
            f"radio {self.name}: {self.watts_up(link.uplink_bits_per_s):.4g} W above idle while sending at "
            f"{format_bandwidth(link.uplink_bits_per_s)}, {self.watts_down(link.downlink_bits_per_s):.4g} W while "
            f"receiving at {format_bandwidth(link.downlink_bits_per_s)}, none while waiting ({self.source})"
        )

    def _drawn(self, watts_per_mbit_per_s: float, bits_per_s: float) -> float:
        watts = watts_per_mbit_per_s * bits_per_s / 1e6 + self.base_watts
        if not isfinite(watts):
            raise InputError(f"radio '{self.name}' draws {watts} W at {bits_per_s!r} bit/s; give a lower rate")
        return watts

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.uplink_watts_per_mbit_per_s * 1000:.6g} mW per Mbit/s up, "
            f"{self.downlink_watts_per_mbit_per_s * 1000:.6g} mW per Mbit/s down, base {self.base_watts * 1000:.6g} mW"
        )


def power_over_radio(radio: str | Radio, link: str | float | Link, *, compute_watts: float, idle_watts: float) -> Power:
    """Return the four powers of a device that is joined to a server by this radio and this link.

    Parameters
    ----------
    radio : str or Radio
        As `Radio.parse` takes it.
    link : str, float or Link
        As `partition.links.Link.parse` takes it; the radio is taken to send and receive at its rates.
    compute_watts : float
        What the whole device draws while it computes, above 0.
    idle_watts : float
        What it draws while it waits, 0 or more; the radio's share comes on top.

    Returns
    -------
    Power
        For this link alone: at other rates the radio draws another power.

    Raises
    ------
    InputError
        A figure, a radio or a link that cannot be used.

    Examples
    --------
    >>> power = power_over_radio("wifi", "10Mbps", compute_watts=6.0, idle_watts=2.5)
    >>> round(power.send_watts, 5), round(power.receive_watts, 5)
    (5.46456, 4.00296)
    """
    compute_watts = positive(compute_watts, "compute_watts")
    idle_watts = non_negative(idle_watts, "idle_watts")
    radio, link = Radio.parse(radio), Link.parse(link)
    return Power(
        compute_watts=compute_watts,
        idle_watts=idle_watts,
        send_watts=idle_watts + radio.watts_up(link.uplink_bits_per_s),
        receive_watts=idle_watts + radio.watts_down(link.downlink_bits_per_s),
    )


def with_radio(power: Power, radio: str | Radio, link: str | float | Link) -> Power:
    """Return a device's powers with those for sending and receiving replaced by a radio's; see `power_over_radio`."""
    if not isinstance(power, Power):
        raise InputError(f"power is {power!r}; give a partition.latency.machines.Power, such as a machine's")
    return power_over_radio(radio, link, compute_watts=power.compute_watts, idle_watts=power.idle_watts)
