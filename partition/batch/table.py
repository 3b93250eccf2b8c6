"""The rows of a batch: kept as columns, a block for each model, and read one by one or all at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import chain, starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partition.links import Link

FLOATS = (
    "value",
    "bound",
    "latency_s",
    "energy_joules",
    "device_s",
    "uplink_s",
    "server_s",
    "downlink_s",
)


@dataclass(frozen=True, slots=True)
class BatchRow:
    """The best cut of one model between one device and one server over one link.

    Attributes
    ----------
    model : str
        The path as given, or the name.
    link : str
        The preset's name, or ``"custom"``; the figures are in the next three.
    uplink_bits_per_s, downlink_bits_per_s, rtt_s : float
    device, server : str
        The machines' names; ``pi@2`` computes twice as fast as ``pi``.
    objective : {"latency", "energy"}
    value : float or None
        Of the objective: seconds or joules. Like all that follows it is None in a row with an error.
    bound : float or None
        No placement has a lower value.
    latency_s : float or None
    energy_joules : float or None
        Of the device; None too where its power is not known.
    device_s, uplink_s, server_s, downlink_s : float or None
        The parts of `latency_s`; the links' with delays.
    uplink_bytes, downlink_bytes : int or None
    cut : tuple of str or None
        Tensors that are sent to the server; empty where all runs on the device.
    n_layers, n_layers_on_device : int or None
    optimal : bool or None
        Whether `value` is proven to be the least.
    method : str or None
        Which solver found it.
    error : str or None
        Why there is no answer.
    """

    model: str
    link: str
    uplink_bits_per_s: float
    downlink_bits_per_s: float
    rtt_s: float
    device: str
    server: str
    objective: str
    value: float | None
    bound: float | None
    latency_s: float | None
    energy_joules: float | None
    device_s: float | None
    uplink_s: float | None
    server_s: float | None
    downlink_s: float | None
    uplink_bytes: int | None
    downlink_bytes: int | None
    cut: tuple[str, ...] | None
    n_layers: int | None
    n_layers_on_device: int | None
    optimal: bool | None
    method: str | None
    error: str | None


COLUMNS = tuple(field.name for field in fields(BatchRow))


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """What rows with one placement have in common."""

    tensors: tuple[str, ...]
    uplink_bytes: int
    downlink_bytes: int
    n_layers_on_device: int


@dataclass(frozen=True, slots=True, eq=False)
class ModelRows:
    """All rows of one model, pair by pair, each with all links.

    Attributes
    ----------
    model, objective : str
    pairs : tuple of (str, str)
        Names of device and server.
    links : tuple of Link
    n_layers : int or None
        None if the model could not be loaded.
    floats : mapping of str to (n_rows,) float64
        The columns of `FLOATS`; nan in rows with an error.
    cuts : tuple of Cut
    cut_of_row, method_of_row, error_of_row : (n_rows,) int32
        Indices into `cuts`, `methods` and `errors`; -1 for none.
    methods, errors : tuple of str
    optimal : (n_rows,) bool
    notes : tuple of str
        What loading and pricing the model took for granted.
    missing_dims : tuple of str
        Symbolic dimensions of the batch that this model does not have.
    """

    model: str
    objective: str
    pairs: tuple[tuple[str, str], ...]
    links: tuple[Link, ...]
    n_layers: int | None
    floats: Mapping[str, NDArray[np.float64]]
    cuts: tuple[Cut, ...]
    cut_of_row: NDArray[np.int32]
    methods: tuple[str, ...]
    method_of_row: NDArray[np.int32]
    optimal: NDArray[np.bool_]
    errors: tuple[str, ...]
    error_of_row: NDArray[np.int32]
    notes: tuple[str, ...] = ()
    missing_dims: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs) * len(self.links)

    def __iter__(self) -> Iterator[BatchRow]:
        return starmap(BatchRow, zip(*self.columns().values(), strict=True))

    def __repr__(self) -> str:
        return f"ModelRows({self.model!r}, {len(self)} rows, {self.n_errors} with errors)"

    @property
    def n_errors(self) -> int:
        """Rows without an answer."""
        return int(np.count_nonzero(self.error_of_row >= 0))

    @classmethod
    def failed(
        cls, model: str, objective: str, pairs: tuple[tuple[str, str], ...], links: tuple[Link, ...], error: str
    ) -> "ModelRows":
        """Return the rows of a model that could not be solved at all.

        Parameters
        ----------
        model, objective, pairs, links
            As the attributes.
        error : str
            Why, for every row.
        """
        n_rows = len(pairs) * len(links)
        none = np.full(n_rows, -1, dtype=np.int32)
        return cls(
            model=model,
            objective=objective,
            pairs=pairs,
            links=links,
            n_layers=None,
            floats={name: np.full(n_rows, np.nan) for name in FLOATS},
            cuts=(),
            cut_of_row=none,
            methods=(),
            method_of_row=none,
            optimal=np.zeros(n_rows, dtype=np.bool_),
            errors=(error,),
            error_of_row=np.zeros(n_rows, dtype=np.int32),
        )

    def columns(self) -> dict[str, list[Any]]:
        """Return the rows as lists of plain values by column name, in the order of `BatchRow`."""
        n_pairs, n_links = len(self.pairs), len(self.links)
        n_rows = len(self)
        fails = self.error_of_row >= 0
        found: dict[str, list[Any]] = {
            "model": [self.model] * n_rows,
            "link": [link.name for link in self.links] * n_pairs,
            "uplink_bits_per_s": [link.uplink_bits_per_s for link in self.links] * n_pairs,
            "downlink_bits_per_s": [link.downlink_bits_per_s for link in self.links] * n_pairs,
            "rtt_s": [link.rtt_s for link in self.links] * n_pairs,
            "device": [pair[0] for pair in self.pairs for _ in range(n_links)],
            "server": [pair[1] for pair in self.pairs for _ in range(n_links)],
            "objective": [self.objective] * n_rows,
        }
        for name in FLOATS:
            values = self.floats[name]
            missing = np.isnan(values)
            listed: list[Any] = values.tolist()
            for row in np.flatnonzero(missing).tolist():
                listed[row] = None
            found[name] = listed
        cuts = self.cut_of_row.tolist()
        for name, of_cut in (
            ("uplink_bytes", [cut.uplink_bytes for cut in self.cuts]),
            ("downlink_bytes", [cut.downlink_bytes for cut in self.cuts]),
            ("cut", [cut.tensors for cut in self.cuts]),
            ("n_layers_on_device", [cut.n_layers_on_device for cut in self.cuts]),
        ):
            # The index of a row without a cut is -1, the last entry.
            table = [*of_cut, None]
            found[name] = [table[cut] for cut in cuts]
        found["n_layers"] = [self.n_layers] * n_rows
        optimal: list[Any] = self.optimal.tolist()
        for row in np.flatnonzero(fails).tolist():
            optimal[row] = None
        found["optimal"] = optimal
        found["method"] = [(*self.methods, None)[index] for index in self.method_of_row.tolist()]
        found["error"] = [(*self.errors, None)[index] for index in self.error_of_row.tolist()]
        return {name: found[name] for name in COLUMNS}


@dataclass(frozen=True, slots=True, eq=False)
class BatchTable:
    """All rows of a batch, model by model, pair by pair, link by link.

    Attributes
    ----------
    models : tuple of ModelRows
    """

    models: tuple[ModelRows, ...]

    def __len__(self) -> int:
        return sum(map(len, self.models))

    def __iter__(self) -> Iterator[BatchRow]:
        return chain.from_iterable(self.models)

    def __repr__(self) -> str:
        return f"BatchTable({len(self.models)} models, {len(self)} rows, {self.n_errors} with errors)"

    @property
    def n_errors(self) -> int:
        """Rows without an answer."""
        return sum(block.n_errors for block in self.models)

    @property
    def errors(self) -> tuple[tuple[str, str], ...]:
        """Every error once, with its model in front."""
        return tuple((block.model, error) for block in self.models for error in block.errors)

    def columns(self) -> dict[str, list[Any]]:
        """Return all rows as lists of plain values by column name, as a data frame takes them."""
        joined: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for block in self.models:
            for name, values in block.columns().items():
                joined[name] += values
        return joined
