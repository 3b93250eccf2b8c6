"""The link between two machines: a rate for each direction, and the delay of a message.

A link comes from a preset name, from a bandwidth alone, or from all its figures. Whatever was not given is assumed,
and every assumption is a sentence in `Link.assumptions`, so that a plan can print it.

The rates of the presets are those of Wang (2020), "End-edge cooperative inference by DNN partition", Institute of
Computing Technology, Chinese Academy of Sciences: download / upload in Mbit/s 3G 4.6 / 1.1, 4G 29.1 / 8.8, Wi-Fi
54.97 / 18.88. The round trips of the presets (200, 60 and 20 ms) and of a bandwidth alone (40 ms) are our own choice.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from partition.errors import InputError
from partition.files import FieldReader
from partition.units import format_bandwidth, format_duration, parse_bandwidth, parse_duration

DEFAULT_RTT_S = 0.04
"""The round trip of a link that is given by its bandwidth alone, in seconds."""

_PRESETS = {  # uplink bit/s, downlink bit/s, round trip s
    "3g": (1.1e6, 4.6e6, 0.200),
    "4g": (8.8e6, 29.1e6, 0.060),
    "wifi": (18.88e6, 54.97e6, 0.020),
}
_LIKE_A_PRESET = re.compile(r"[0-9]+ ?g", re.IGNORECASE)
_PRESET_SPELLINGS = {"wi-fi": "wifi"}


def link_presets() -> tuple[str, ...]:
    """Return the names that `Link.parse` takes in place of a bandwidth."""
    return tuple(_PRESETS)


@dataclass(frozen=True, slots=True)
class Link:
    """A link between a device and a server, seen from the device.

    Parameters
    ----------
    uplink_bits_per_s : float
        Rate from the device to the server, finite and above 0.
    downlink_bits_per_s : float
        Rate from the server to the device, finite and above 0.
    rtt_s : float
        Round trip of a message without content, in seconds; half of it is paid by each message.
    name : str
        A preset's name, or ``"custom"``.
    assumptions : tuple of str
        What was assumed, one sentence for each; each begins with the figure that it is about.

    Raises
    ------
    InputError
        A figure that is not a finite number in its range.
    """

    uplink_bits_per_s: float
    downlink_bits_per_s: float
    rtt_s: float
    name: str = "custom"
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field, parse in (
            ("uplink_bits_per_s", parse_bandwidth),
            ("downlink_bits_per_s", parse_bandwidth),
            ("rtt_s", parse_duration),
        ):
            figure = getattr(self, field)
            if isinstance(figure, str):
                raise InputError(f"link: {field} is the text {figure!r}, expected a number; Link.parse() reads texts")
            object.__setattr__(self, field, parse(figure, what=f"link: {field}"))
        for field in ("uplink_bits_per_s", "downlink_bits_per_s"):
            if math.isinf(8.0 / getattr(self, field)):
                raise InputError(
                    f"link: {field} is {getattr(self, field)!r}, too low to send a byte in a finite time; "
                    "give a higher rate"
                )
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError(f"link: name is {self.name!r}, expected a text that is not empty")
        if not isinstance(self.assumptions, tuple) or not all(isinstance(one, str) for one in self.assumptions):
            raise InputError(f"link: assumptions is {self.assumptions!r}, expected a tuple of texts")

    @property
    def upload_s_per_byte(self) -> float:
        """Seconds to send one byte from the device to the server."""
        return 8.0 / self.uplink_bits_per_s

    @property
    def download_s_per_byte(self) -> float:
        """Seconds to send one byte from the server to the device."""
        return 8.0 / self.downlink_bits_per_s

    @property
    def uplink_delay_s(self) -> float:
        """Delay of one message from the device to the server, in seconds: half the round trip."""
        return self.rtt_s / 2

    @property
    def downlink_delay_s(self) -> float:
        """Delay of one message from the server to the device, in seconds: half the round trip."""
        return self.rtt_s / 2

    @classmethod
    def parse(
        cls, bandwidth: "str | float | Link", *, downlink: str | float | None = None, rtt: str | float | None = None
    ) -> "Link":
        """Make a link from what a user gives.

        Parameters
        ----------
        bandwidth : str, float or Link
            A preset (``"3g"``, ``"4g"``, ``"wifi"``, in upper or lower case), the uplink's rate as `parse_bandwidth`
            takes it, or a link.
        downlink : str or float, optional
            The downlink's rate. Default: the preset's or the link's, else the same as the uplink.
        rtt : str or float, optional
            The round trip, a text with its unit or seconds. Default: the preset's or the link's, else 40 ms.

        Returns
        -------
        Link
            `bandwidth` itself where it is a link and nothing else is given. Everything that was assumed is in
            `assumptions`; what is given here takes the place of an assumption. The name of a preset or link stays.

        Raises
        ------
        InputError
            One of the three cannot be read.

        Examples
        --------
        >>> print(Link.parse("4g"))
        4g: 8.8 Mbit/s up, 29.1 Mbit/s down, rtt 60 ms
        >>> Link.parse("8.8Mbps").assumptions
        ('downlink = uplink (not given)', 'rtt 40 ms (not given)')
        """
        if isinstance(bandwidth, Link):
            link = bandwidth
        else:
            preset = _preset_name(bandwidth)
            link = cls._of_preset(preset) if preset is not None else cls._of_rate(bandwidth)
        if downlink is not None:
            link = dataclasses.replace(
                link,
                downlink_bits_per_s=parse_bandwidth(downlink, what="downlink"),
                assumptions=tuple(one for one in link.assumptions if not one.startswith("downlink ")),
            )
        if rtt is not None:
            link = dataclasses.replace(
                link,
                rtt_s=parse_duration(rtt, what="rtt"),
                assumptions=tuple(one for one in link.assumptions if not one.startswith("rtt ")),
            )
        return link

    @classmethod
    def _of_preset(cls, name: str) -> Self:
        uplink_bits_per_s, downlink_bits_per_s, rtt_s = _PRESETS[name]
        assumed = f"rtt {format_duration(rtt_s)}: our assumption for the preset {name}"
        return cls(uplink_bits_per_s, downlink_bits_per_s, rtt_s, name, (assumed,))

    @classmethod
    def _of_rate(cls, bandwidth: str | float) -> Self:
        if isinstance(bandwidth, str) and _LIKE_A_PRESET.fullmatch(bandwidth.strip()):
            raise InputError(
                f"bandwidth {bandwidth!r} is no preset; the presets are {', '.join(_PRESETS)}; of any other network "
                "give the rate, such as '50Mbps'"
            )
        try:
            rate = parse_bandwidth(bandwidth)
        except InputError as error:
            raise InputError(f"{error} (presets: {', '.join(_PRESETS)})") from None
        assumptions = ("downlink = uplink (not given)", f"rtt {format_duration(DEFAULT_RTT_S)} (not given)")
        return cls(rate, rate, DEFAULT_RTT_S, "custom", assumptions)

    def to_json(self) -> dict[str, Any]:
        """Return the link as a plain object for a JSON file."""
        return {
            "name": self.name,
            "uplink_bits_per_s": self.uplink_bits_per_s,
            "downlink_bits_per_s": self.downlink_bits_per_s,
            "rtt_s": self.rtt_s,
            "assumptions": list(self.assumptions),
        }

    @classmethod
    def from_json(cls, obj: Mapping[str, Any], source: str = "link") -> Self:
        """Make the link that `to_json` wrote.

        Parameters
        ----------
        obj : mapping
            All five fields and no other.
        source : str
            Where it was read, for the messages.

        Returns
        -------
        Link

        Raises
        ------
        InputError
            A field is missing, unknown, of the wrong type or out of range.
        """
        fields = FieldReader(obj, source)
        link = cls(
            name=fields.text("name"),
            uplink_bits_per_s=fields.positive("uplink_bits_per_s"),
            downlink_bits_per_s=fields.positive("downlink_bits_per_s"),
            rtt_s=fields.non_negative("rtt_s"),
            assumptions=fields.texts("assumptions"),
        )
        fields.finish()
        return link

    def __str__(self) -> str:
        return (
            f"{self.name}: {format_bandwidth(self.uplink_bits_per_s)} up, "
            f"{format_bandwidth(self.downlink_bits_per_s)} down, rtt {format_duration(self.rtt_s)}"
        )


def _preset_name(bandwidth: str | float) -> str | None:
    """Return the preset that a text names, or None."""
    if not isinstance(bandwidth, str):
        return None
    word = bandwidth.strip().lower()
    word = _PRESET_SPELLINGS.get(word, word)
    return word if word in _PRESETS else None
