"""The numeric phase of a batch: all links and pairs of machines of one model, solved side by side and laid out."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import solvers
from partition.batch.pricing import PricedModel
from partition.batch.settings import Settings
from partition.batch.table import FLOATS, Cut, ModelRows
from partition.problem import DEVICE, SERVER, Bridge

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Doubles of one chunk's computing costs: they are copied for every row, and should stay in reach of the caches.
_CHUNK_VALUES = 1 << 18
# With as many links as this a chunk keeps to one pair of machines, whose costs are then checked once.
_LINKS_OF_A_PAIR = 64


def solve_rows(priced: PricedModel, settings: Settings) -> ModelRows:
    """Solve a priced model for every pair and link.

    Notes
    -----
    A row that the solvers refuse carries the reason, and a pair that could not be priced carries its own.
    """
    rows = _Rows(priced, settings)
    for chunk in _chunks(priced, settings):
        rows.solve(chunk)
    return rows.laid_out()


def _chunks(priced: PricedModel, settings: Settings) -> Iterator[IntArray]:
    """Cut the rows that can be solved into pieces."""
    n_links = len(settings.links)
    good = [at for at in range(len(settings.pairs)) if at not in priced.errors]
    rows = [np.arange(at * n_links, (at + 1) * n_links) for at in good]
    if n_links < _LINKS_OF_A_PAIR and rows:
        rows = [np.concatenate(rows)]
    # A whole number of what the solver takes in step.
    size = max(1, _CHUNK_VALUES // (2 * max(1, priced.problem.n_layers) * 16)) * 16
    for block in rows:
        for first in range(0, len(block), size):
            yield block[first : first + size]


@dataclass(slots=True, eq=False)
class _Placements:
    """The placements that occur, each once, with what rows need to know of them."""

    bridge: Bridge
    problem: solvers.Problem
    known: dict[bytes, int] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)
    on_device: list[NDArray[np.bool_]] = field(default_factory=list)
    sent: list[tuple[list[int], list[int]]] = field(default_factory=list)  # tensors up and down
    messages: list[tuple[int, int]] = field(default_factory=list)  # up and down

    def number(self, placements: NDArray[np.int8]) -> NDArray[np.int32]:
        """Return the index of each row's placement, adding those that are new."""
        packed = np.packbits(placements.astype(np.bool_), axis=1)
        keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
        own, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        index = np.empty(len(own), dtype=np.int32)
        for at, (key, row) in enumerate(zip(own, first.tolist(), strict=True)):
            text = key.tobytes()
            if text not in self.known:
                self.known[text] = len(self.cuts)
                self._add(placements[row].astype(np.int64))
            index[at] = self.known[text]
        return np.asarray(index[inverse.ravel()])

    def _add(self, placement: IntArray) -> None:
        problem, n_layers = self.problem, len(self.bridge.layers)
        parts = solvers.breakdown(problem, placement)
        stage = solvers.stages(problem, placement)[problem.tensor_producer]
        up = sorted((t for t, sender, _ in parts.sent_tensors if sender == DEVICE), key=lambda t: int(stage[t]))
        down = sorted((t for t, sender, _ in parts.sent_tensors if sender == SERVER), key=lambda t: int(stage[t]))
        sizes = problem.tensor_size_bytes
        here = placement[:n_layers] == DEVICE
        self.cuts.append(
            Cut(
                tensors=tuple(self.bridge.tensors[t] for t in up),
                uplink_bytes=int(sizes[up].sum()),
                downlink_bytes=int(sizes[down].sum()),
                n_layers_on_device=int(np.count_nonzero(here)),
            )
        )
        self.on_device.append(here)
        self.sent.append((up, down))
        self.messages.append(((parts.n_messages + 1) // 2, parts.n_messages // 2))


class _Rows:
    """The rows of one model while they are filled in."""

    def __init__(self, priced: PricedModel, settings: Settings) -> None:
        n_rows = settings.n_rows
        self.priced, self.settings = priced, settings
        self.links = settings.link_figures()
        self.watts = settings.watts()
        self.value = np.full(n_rows, np.nan)
        self.bound = np.full(n_rows, np.nan)
        self.optimal = np.zeros(n_rows, dtype=np.bool_)
        self.cut_of_row = np.full(n_rows, -1, dtype=np.int32)
        self.method_of_row = np.full(n_rows, -1, dtype=np.int32)
        self.error_of_row = np.full(n_rows, -1, dtype=np.int32)
        self.methods: list[str] = []
        self.errors: list[str] = []
        self.placements = _Placements(priced.bridge, priced.problem)
        n_links = len(settings.links)
        for at, reason in priced.errors.items():
            self.error_of_row[at * n_links : (at + 1) * n_links] = _index(self.errors, reason)
        self.compute, self.encode, self.decode = priced.compute, priced.encode, priced.decode
        if settings.objective == "energy":
            # The device's energy, as `solvers.energy_problem` prices it.
            at_work = self.watts[:2, ::n_links].T
            self.compute = np.where(np.isfinite(priced.compute), priced.compute, 0.0) * at_work[:, None, :]
            self.compute[~np.isfinite(priced.compute)] = np.inf
            if priced.encode is not None and priced.decode is not None:
                self.encode, self.decode = (codes * at_work[:, None, :] for codes in (priced.encode, priced.decode))

    def solve(self, rows: IntArray) -> None:
        """Solve some rows at once, or one by one where elimination does not fold."""
        per_byte, delay = self._links(rows)
        pairs = rows // len(self.settings.links)
        problem, one_pair = self.priced.problem, bool((pairs == pairs[0]).all())
        if self.priced.analysis is None:
            self._one_by_one(rows, per_byte, delay)
            return
        costs: dict[str, FloatArray | None] = {}
        if one_pair:
            problem = self._problem(int(pairs[0]))
        else:
            costs["compute"] = self.compute[pairs]
            if self.encode is not None and self.decode is not None:
                costs |= {"encode": self.encode[pairs], "decode": self.decode[pairs]}
        try:
            found = solvers.solve_batch(problem, per_byte=per_byte, delay=delay, analysis=self.priced.analysis, **costs)
        except solvers.InfeasibleError as error:
            # Pins decide that, not costs: it holds for each of them.
            self.error_of_row[rows] = _index(self.errors, str(error))
            return
        except solvers.SolverError:
            self._one_by_one(rows, per_byte, delay)
            return
        self.value[rows], self.bound[rows], self.optimal[rows] = found.values, found.bounds, found.optimal
        self.cut_of_row[rows] = self.placements.number(found.placements)
        self.method_of_row[rows] = _index(self.methods, "dp")

    def _one_by_one(self, rows: IntArray, per_byte: FloatArray, delay: FloatArray) -> None:
        n_links = len(self.settings.links)
        base, base_of = None, -1
        for at, row in enumerate(rows.tolist()):
            pair = row // n_links
            try:
                if base is None or pair != base_of:
                    base, base_of = self._problem(pair), pair
                found = _solve(base.with_costs(per_byte=per_byte[at], delay=delay[at]))
            except solvers.SolverError as error:
                self.error_of_row[row] = _index(self.errors, str(error))
                continue
            self.value[row], self.bound[row] = found.value, min(found.bound, found.value)
            self.optimal[row] = found.optimal
            self.cut_of_row[row] = self.placements.number(found.placement[None].astype(np.int8))[0]
            self.method_of_row[row] = _index(self.methods, found.method)

    def _problem(self, pair: int) -> solvers.Problem:
        coded = self.encode is not None and self.decode is not None
        return self.priced.problem.with_costs(
            compute=self.compute[pair],
            encode=self.encode[pair] if coded and self.encode is not None else None,
            decode=self.decode[pair] if coded and self.decode is not None else None,
        )

    def _links(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return what a byte and a message cost in the objective's unit, (n_rows, 2, 2) each."""
        up, down, up_delay, down_delay = self.links[:, rows % len(self.settings.links)]
        per_byte, delay = np.zeros((len(rows), 2, 2)), np.zeros((len(rows), 2, 2))
        per_byte[:, DEVICE, SERVER], per_byte[:, SERVER, DEVICE] = up, down
        delay[:, DEVICE, SERVER], delay[:, SERVER, DEVICE] = up_delay, down_delay
        if self.settings.objective == "energy":
            _, idle, send, receive = self.watts[:, rows]
            per_byte[:, DEVICE, SERVER] *= send
            per_byte[:, SERVER, DEVICE] *= receive
            delay *= idle[:, None, None]
        return per_byte, delay

    def laid_out(self) -> ModelRows:
        """Return the rows with what follows from their placements."""
        settings, priced = self.settings, self.priced
        n_links = len(settings.links)
        floats = {name: np.full(settings.n_rows, np.nan) for name in FLOATS}
        floats["value"], floats["bound"] = self.value, self.bound
        solved = np.flatnonzero(self.cut_of_row >= 0)
        if len(solved):
            cut, pair = self.cut_of_row[solved], solved // n_links
            device_s, server_s = (table[cut, pair] for table in self._machine_seconds())
            up, down, up_delay, down_delay = self.links[:, solved % n_links]
            sizes = np.array([(one.uplink_bytes, one.downlink_bytes) for one in self.placements.cuts], dtype=np.float64)
            messages = np.array(self.placements.messages, dtype=np.float64)
            sending_s, receiving_s = sizes[cut, 0] * up, sizes[cut, 1] * down
            waits_up_s, waits_down_s = messages[cut, 0] * up_delay, messages[cut, 1] * down_delay
            compute_w, idle_w, send_w, receive_w = self.watts[:, solved]
            joules = compute_w * device_s + idle_w * (server_s + waits_up_s + waits_down_s)
            joules += send_w * sending_s + receive_w * receiving_s
            floats["device_s"][solved], floats["server_s"][solved] = device_s, server_s
            floats["uplink_s"][solved], floats["downlink_s"][solved] = (
                sending_s + waits_up_s,
                receiving_s + waits_down_s,
            )
            floats["latency_s"][solved] = device_s + sending_s + waits_up_s + server_s + receiving_s + waits_down_s
            floats["energy_joules"][solved] = joules
            # The solvers' own sum: the two differ in their last digits.
            name = "latency_s" if settings.objective == "latency" else "energy_joules"
            floats[name][solved] = self.value[solved]
        return ModelRows(
            model=priced.name,
            objective=settings.objective,
            pairs=pair_names(settings),
            links=settings.links,
            n_layers=len(priced.bridge.layers),
            floats=floats,
            cuts=tuple(self.placements.cuts),
            cut_of_row=self.cut_of_row,
            methods=tuple(self.methods),
            method_of_row=self.method_of_row,
            optimal=self.optimal,
            errors=tuple(self.errors),
            error_of_row=self.error_of_row,
            notes=priced.notes,
            missing_dims=priced.missing_dims,
        )

    def _machine_seconds(self) -> tuple[FloatArray, FloatArray]:
        """Return what device and server compute, (n_placements, n_pairs) each, layouts put in and out included."""
        priced, placements = self.priced, self.placements
        n_layers = len(priced.bridge.layers)
        here = np.array(placements.on_device, dtype=np.float64).reshape(-1, n_layers)
        # A placement that is allowed never meets an inf; 0 times inf would be nan.
        seconds = np.where(np.isfinite(priced.compute), priced.compute, 0.0)[:, :n_layers]
        device_s, server_s = here @ seconds[:, :, DEVICE].T, (1.0 - here) @ seconds[:, :, SERVER].T
        if priced.encode is not None and priced.decode is not None:
            for at, (up, down) in enumerate(placements.sent):
                device_s[at] += priced.encode[:, up, DEVICE].sum(axis=1) + priced.decode[:, down, DEVICE].sum(axis=1)
                server_s[at] += priced.encode[:, down, SERVER].sum(axis=1) + priced.decode[:, up, SERVER].sum(axis=1)
        return device_s, server_s


def pair_names(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return the names of device and server of each pair."""
    return tuple((pair.device.name, pair.server.name) for pair in settings.pairs)


def _solve(problem: solvers.Problem) -> solvers.Solution:
    """Solve one problem on which elimination was tried before."""
    try:
        return solvers.solve(problem, "min-cut")
    except solvers.MethodError:
        return solvers.solve(problem)


def _index(texts: list[str], text: str) -> int:
    if text not in texts:
        texts.append(text)
    return texts.index(text)
