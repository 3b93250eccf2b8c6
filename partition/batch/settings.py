"""What a batch is to be solved for: checked once, before any model is touched, and the same for every worker."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graph_io import Granularity
from partition.batch.machines import MachineOfPair, Pair, parse_pairs
from partition.energy.radio import Radio, with_radio
from partition.errors import InputError
from partition.latency.machines import Power
from partition.links import Link
from partition.problem import Objective, OutputOn

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Settings:
    """Links, pairs and what is asked of each; rows come pair by pair, each with all links."""

    links: tuple[Link, ...]
    pairs: tuple[Pair, ...]
    objective: Objective
    output_on: OutputOn
    dims: dict[str, int]
    granularity: Granularity
    keep_inputs: bool
    max_server_visits: int | None
    radio: Radio | None

    @classmethod
    def parse(
        cls,
        links: Iterable[str | float | Link],
        machines: Iterable[tuple[MachineOfPair, MachineOfPair]],
        *,
        objective: Objective,
        output_on: OutputOn,
        dims: Mapping[str, int] | None,
        granularity: Granularity,
        keep_inputs: bool,
        max_server_visits: int | None,
        radio: str | Radio | None,
    ) -> "Settings":
        """Check what `solve_many` got; InputError says what is wrong."""
        for name, value, legal in (
            ("objective", objective, ("latency", "energy")),
            ("output_on", output_on, ("device", "server", "any")),
            ("granularity", granularity, ("layer", "node")),
        ):
            if value not in legal:
                raise InputError(f"{name} {value!r} is unknown; use {', '.join(map(repr, legal))}")
        if not isinstance(keep_inputs, bool):
            raise InputError(f"keep_inputs is {keep_inputs!r}; give True or False: it is for all inputs")
        visits = max_server_visits
        if visits is not None and (isinstance(visits, bool) or not isinstance(visits, int) or visits < 1):
            raise InputError(f"max_server_visits is {visits!r}; give a whole number of 1 or more, or None for no limit")
        if dims is not None and not isinstance(dims, Mapping):
            raise InputError(f"dims is {dims!r}; give values by name, such as {{'seq': 128}}")
        if radio is not None and objective != "energy":
            raise InputError(f"radio is {radio!r}, which only objective 'energy' uses; choose that, or leave radio out")
        used_radio = None if radio is None else Radio.parse(radio)
        pairs = parse_pairs(machines)
        if objective == "energy":
            powerless = next((pair.device.name for pair in pairs if pair.device.power is None), None)
            if powerless is not None:
                raise InputError(
                    f"objective 'energy' needs the power of the device '{powerless}', and its file has none; fill in "
                    "'power' (compute_watts, idle_watts, send_watts, receive_watts) in a machine file and pass that"
                )
        return cls(
            links=parse_links(links),
            pairs=pairs,
            objective=objective,
            output_on=output_on,
            dims=dict(dims or {}),
            granularity=granularity,
            keep_inputs=keep_inputs,
            max_server_visits=visits,
            radio=used_radio,
        )

    @property
    def n_rows(self) -> int:
        """Rows of each model."""
        return len(self.pairs) * len(self.links)

    def link_figures(self) -> FloatArray:
        """Return (4, n_links): seconds per byte up and down, delay of a message up and down."""
        rows = [
            (one.upload_s_per_byte, one.download_s_per_byte, one.uplink_delay_s, one.downlink_delay_s)
            for one in self.links
        ]
        return np.array(rows, dtype=np.float64).T

    def watts(self) -> FloatArray:
        """Return (4, n_rows): compute, idle, send and receive power of the device; nan where it is not known."""
        found = np.full((4, len(self.pairs), len(self.links)), np.nan)
        for at, pair in enumerate(self.pairs):
            power = pair.device.power
            if power is None:
                continue
            if self.radio is None:
                found[:, at, :] = np.array(_figures(power))[:, None]
            else:
                own = [_figures(with_radio(power, self.radio, link)) for link in self.links]
                found[:, at, :] = np.array(own).T
        return found.reshape(4, self.n_rows)


def parse_links(links: Iterable[str | float | Link]) -> tuple[Link, ...]:
    """Read the links of a batch: presets, rates or `Link`, one or an iterable of them."""
    if isinstance(links, str | int | float | Link):
        links = (links,)
    if not isinstance(links, Iterable):
        raise InputError(f"links is {links!r}; give presets, rates or Link objects, such as ['3g', '8.8Mbps']")
    found = tuple(Link.parse(one) for one in links)
    if not found:
        raise InputError("links is empty; give at least one, such as ['3g', '8.8Mbps']")
    return found


def _figures(power: Power) -> tuple[float, float, float, float]:
    return power.compute_watts, power.idle_watts, power.send_watts, power.receive_watts
