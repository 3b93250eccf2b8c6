"""How a session deals with its server."""

from dataclasses import dataclass
from typing import Literal

from partition.adaptation.planner import DEFAULT_HYSTERESIS
from partition.errors import InputError

Hold = Literal["all", "own"]
Coding = Literal["zstd"]


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """How a session deals with its server.

    Attributes
    ----------
    hold : {"all", "own"}
        Which parts the device opens: all, so that it finishes by itself what the server does not answer, or its own.
    adapt : bool
        Whether to choose anew for each request among the plan's placements; if not, the planned one is kept.
    hysteresis : float
        By which part another placement has to be faster before it is taken.
    timeout_factor, shortest_timeout_s, longest_timeout_s : float
        A visit to the server may take so many times as long as predicted, and for each other request that is under way
        as long again, but no less and no more than the latter two.
    stale_s : float
        When nothing was heard of the server for so long, it is asked in the background.
    in_flight : int
        How many requests `stream` and `run_async` have under way at the most.
    compression : "zstd" or None
        By what bodies are compressed on the way, without loss, where the server takes that and it pays; needs the
        package zstandard (extra zstd). The records tell what came of it.
    """

    hold: Hold = "all"
    adapt: bool = True
    hysteresis: float = DEFAULT_HYSTERESIS
    timeout_factor: float = 4.0
    shortest_timeout_s: float = 0.25
    longest_timeout_s: float = 30.0
    stale_s: float = 1.0
    in_flight: int = 4
    compression: Coding | None = None

    def __post_init__(self) -> None:
        if self.hold not in ("all", "own"):
            raise InputError(f"hold is {self.hold!r}; give 'all' or 'own': the parts that the device opens")
        if self.compression not in (None, "zstd"):
            raise InputError(f"compression is {self.compression!r}; give 'zstd', or None for bodies as they are")
        for name, least in (
            ("hysteresis", 0.0),
            ("timeout_factor", 1.0),
            ("shortest_timeout_s", 0.001),
            ("longest_timeout_s", 0.001),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 1e6:
                raise InputError(f"{name} is {value!r}; give a number of {least:g} or more")
        if self.longest_timeout_s < self.shortest_timeout_s:
            raise InputError(
                f"longest_timeout_s is {self.longest_timeout_s!r}, less than shortest_timeout_s, "
                f"{self.shortest_timeout_s!r}; give at least that"
            )
        if isinstance(self.in_flight, bool) or not isinstance(self.in_flight, int) or not 1 <= self.in_flight <= 256:
            raise InputError(f"in_flight is {self.in_flight!r}; give a whole number from 1 to 256")
        if not isinstance(self.stale_s, int | float) or not self.stale_s > 0:
            raise InputError(f"stale_s is {self.stale_s!r}; give seconds above 0")
