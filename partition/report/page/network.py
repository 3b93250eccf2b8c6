"""The figure ``graph``: the layers as boxes, coloured by machine, and what travels between the machines."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import solvers
from partition.plan import Plan
from partition.plan_records import PlanMessage
from partition.report.page.evidence import Study
from partition.report.page.figure import Figure, Table
from partition.report.page.layering import Layout, lay_out
from partition.report.page.svg import Drawing, fitted, shortened, text_width
from partition.report.table import format_bytes
from partition.units import format_duration

KIND, TITLE = "graph", "The layers by machine"
_BOX, _STEP, _PASSING, _GAP, _WIDEST = 24.0, 40.0, 12.0, 8.0, 300.0
_HEADER = 30.0
_MESSAGE = 44.0
_PAD = 8.0  # beside the texts in a box, and between its name and its time
_LEAST_BOTH = 120.0  # with less room than this a name stands without what the layer computes, if both do not fit
_LEAST_LABEL = 64.0  # in a box with less room than this for its name its time is left out


@dataclass(frozen=True, slots=True)
class Node:
    """One layer, or of a saved plan one part.

    Attributes
    ----------
    name, what : str
        What it is called and what it computes.
    n_layers : int
    seconds : float or None
        On its machine, where that is known.
    """

    name: str
    what: str
    n_layers: int
    seconds: float | None


def graph_figure(study: Study) -> Figure:
    """Draw the layers, put together where there are too many for boxes of their own."""
    plan = study.plan
    notes = []
    nodes, layout = layout_of(study)
    if plan.basis is None:
        notes.append("A saved plan holds its parts, not the layers' costs: each box is a part.")
    n_layers = plan.model.n_layers
    if plan.basis is not None and len(layout.groups) < len(nodes):
        notes.append(
            f"{n_layers:,} layers in {len(layout.groups)} boxes: layers are put together that lie on one machine, at "
            "similar depth, and hang together there."
        )
    if layout.n_hidden:
        notes.append(f"{layout.n_hidden:,} connections between boxes are not drawn: too many pass the same rows.")
    on_device = sum(stage.n_layers for stage in plan.stages if stage.machine == "device")
    said = f"{on_device:,} of {n_layers:,} layers run on the device, {n_layers - on_device:,} on the server. "
    said += " ".join(f"{_message_text(message)}." for message in plan.messages[:12])
    if len(plan.messages) > 12:
        said += f" And {len(plan.messages) - 12} more messages."
    return Figure(
        KIND, TITLE, said, lambda drawing: _Painter(drawing, plan, nodes, layout).paint(), _tables(plan), tuple(notes)
    )


def layout_of(study: Study) -> tuple[list[Node], Layout]:
    """Return what is drawn, layers or of a saved plan its parts, and how it is put together and arranged."""
    nodes, stages, edges = _parts(study.plan) if study.plan.basis is None else _layers(study)
    return nodes, lay_out(stages, edges)


def _layers(study: Study) -> tuple[list[Node], list[int], list[tuple[int, int]]]:
    basis = study.basis
    bridge, problem = basis.bridge, basis.bridge.latency
    n_layers = len(bridge.layers)
    stages = solvers.stages(problem, study.own_placement)[:n_layers].tolist()
    nodes = [
        Node(name, basis.layer_types.get(name, ""), 1, float(problem.compute[number, stages[number] % 2]))
        for number, name in enumerate(bridge.layers)
    ]
    edges = []
    for tensor, producer in enumerate(problem.tensor_producer.tolist()):
        if producer < n_layers:
            readers = problem.consumer_layers[problem.consumer_offsets[tensor] : problem.consumer_offsets[tensor + 1]]
            edges += [(producer, reader) for reader in readers.tolist() if reader < n_layers]
    return nodes, stages, edges


def _parts(plan: Plan) -> tuple[list[Node], list[int], list[tuple[int, int]]]:
    stage_of = {number: stage for stage, one in enumerate(plan.stages) for number in one.parts}
    used = sorted(stage_of)
    nodes = [Node(plan.parts[one].file, f"{len(plan.parts[one].layers):,} layers", 1, None) for one in used]
    made = {tensor.name: place for place, one in enumerate(used) for tensor in plan.parts[one].outputs}
    edges = [
        (made[tensor.name], place)
        for place, one in enumerate(used)
        for tensor in plan.parts[one].inputs
        if tensor.name in made
    ]
    return nodes, [stage_of[one] for one in used], edges


def _message_text(message: PlanMessage) -> str:
    way = "up" if message.direction == "uplink" else "back"
    names = ", ".join(shortened(name, 60) for name in message.tensors[:3]) or "only the request"
    more = f" and {len(message.tensors) - 3} more" if len(message.tensors) > 3 else ""
    taken = format_duration(message.transfer_s + message.delay_s)
    verb = "goes" if len(message.tensors) < 2 else "go"
    return f"{names}{more} {verb} {way}, {format_bytes(message.size_bytes)} in {taken}"


def _tables(plan: Plan) -> tuple[Table, ...]:
    rows = []
    for number, stage in enumerate(plan.stages):
        files = ", ".join(plan.parts[index].file for index in stage.parts) or "nothing"
        rows.append(
            (f"stage {number}, {stage.machine}: {files}", f"{stage.n_layers:,}", "", format_duration(stage.compute_s))
        )
        if number < len(plan.messages):
            message = plan.messages[number]
            names = shortened(", ".join(message.tensors), 300) or "only the request"
            taken = format_duration(message.transfer_s + message.delay_s)
            rows.append((f"{message.direction}: {names}", "", format_bytes(message.size_bytes), taken))
    return (Table(("what runs and what travels", "layers", "size", "time"), tuple(rows)),)


class _Painter:
    """Draws a layout row by row, then the edges below the boxes."""

    def __init__(self, drawing: Drawing, plan: Plan, nodes: Sequence[Node], layout: Layout) -> None:
        self.drawing, self.plan, self.nodes, self.layout = drawing, plan, nodes, layout
        self.boxes: dict[tuple[int, int], tuple[float, float]] = {}  # left and width of each place

    def paint(self) -> float:
        tops, headers, bottom = self._heights()
        for number, row in enumerate(self.layout.rows):
            self._put(number, [place.group for place in row])
        for _, _, route in self.layout.routes:
            self._edge(route, tops, headers)
        for stage, y in headers.items():
            self._header(stage, y)
        for number, row in enumerate(self.layout.rows):
            for index, place in enumerate(row):
                if place.group is not None:
                    self._box(place.group, *self.boxes[number, index], tops[number])
        return bottom

    def _heights(self) -> tuple[list[float], dict[int, float], float]:
        tops, headers, y = [0.0] * len(self.layout.rows), {}, 4.0
        for stage in range(len(self.plan.stages)):
            headers[stage] = y
            y += _HEADER + 6
            for number, own in enumerate(self.layout.row_stages):
                if own == stage:
                    tops[number] = y
                    y += _STEP
            if stage < len(self.plan.messages):
                y += _MESSAGE
        return tops, headers, y

    def _put(self, row: int, groups: list[int | None]) -> None:
        n_boxes = sum(group is not None for group in groups)
        n_passing = len(groups) - n_boxes
        room = self.drawing.width - 12 - n_passing * _PASSING - (len(groups) - 1) * _GAP
        width = min(_WIDEST, room / n_boxes) if n_boxes else 0.0
        x = (self.drawing.width - n_boxes * width - n_passing * _PASSING - (len(groups) - 1) * _GAP) / 2
        for index, group in enumerate(groups):
            own = _PASSING if group is None else width
            self.boxes[row, index] = (x, own)
            x += own + _GAP

    def _edge(self, route: tuple[tuple[int, int], ...], tops: list[float], headers: dict[int, float]) -> None:
        points: list[tuple[float, float]] = []
        for position, (row, index) in enumerate(route):
            left, width = self.boxes[row, index]
            x = left + width / 2
            stage = self.layout.row_stages[row]
            if position > 0 and stage != self.layout.row_stages[route[position - 1][0]]:
                # What travels goes through its message.
                middle = self.drawing.width / 2
                points += [(middle, headers[stage] - _MESSAGE / 2), (middle, headers[stage] + _HEADER - 6)]
            if position > 0:
                points.append((x, tops[row]))
            if position < len(route) - 1:
                points.append((x, tops[row] + _BOX))
        stages = {self.layout.row_stages[row] for row, _ in (route[0], route[-1])}
        way = "line-muted" if len(stages) == 1 else ("line-uplink" if min(stages) % 2 == 0 else "line-downlink")
        self.drawing.curve(points, way)

    def _header(self, stage: int, y: float) -> None:
        drawing, plan = self.drawing, self.plan
        own = plan.stages[stage]
        machine = plan.device if own.machine == "device" else plan.server
        what = f"{own.n_layers:,} layers, {format_duration(own.compute_s)}" if own.n_layers else "no layers"
        drawing.rect(0, y, drawing.width, _HEADER - 6, "soft", radius=4)
        drawing.rect(0, y, 6, _HEADER - 6, own.machine)
        text = f"{own.machine} {machine.name}: {what}"
        room = drawing.width - 20
        shown = text if text_width(text, 12.5, bold=True) <= room else f"{own.machine}: {what}"
        drawing.text(14, y + 16, fitted(shown, room, 12.5, bold=True), "bold", size=12.5, tip=text)
        if stage >= len(plan.messages):
            return
        message = plan.messages[stage]
        n_rows = sum(one == stage for one in self.layout.row_stages)
        y += _HEADER + 6 + n_rows * _STEP + 4
        drawing.rect(20, y, drawing.width - 40, 26, "paper", radius=13)
        drawing.rect(20, y, drawing.width - 40, 26, f"edge-{message.direction}", radius=13, tip=_message_text(message))
        size = f"{format_bytes(message.size_bytes)}, {format_duration(message.transfer_s + message.delay_s)}"
        names = ", ".join(message.tensors[:4]) or "only the request"
        names += f" and {len(message.tensors) - 4} more" if len(message.tensors) > 4 else ""
        room = drawing.width - 60 - text_width(f"{message.direction} : {size}", 12)
        text = f"{message.direction} {fitted(names, room, 12)}: {size}"
        drawing.text(drawing.width / 2, y + 17, text, anchor="middle", size=12, tip=_message_text(message))

    def _box(self, group: int, left: float, width: float, top: float) -> None:
        members = [self.nodes[layer] for layer in self.layout.groups[group].layers]
        machine = self.plan.stages[self.layout.groups[group].stage].machine
        tip = _tip(members)
        self.drawing.rect(left, top, width, _BOX, machine, radius=4, tip=tip)
        told = [one.seconds for one in members if one.seconds is not None]
        time = format_duration(float(f"{sum(told):.3g}")) if told else ""
        kind = f"on-{machine}"
        room = width - 2 * _PAD
        beside = room - text_width(time, 11) - _PAD
        if time and beside > _LEAST_LABEL:
            self.drawing.text(left + width - _PAD, top + 16, time, kind, size=11, anchor="end", tip=tip)
            room = beside
        label = _label(members)
        if room < min(_LEAST_BOTH, text_width(label, 11.5)):
            label = members[0].name if len(members) == 1 else f"{len(members):,} layers"
        self.drawing.text(left + _PAD, top + 16, fitted(label, room, 11.5), kind, size=11.5, tip=tip)


def _label(members: list[Node]) -> str:
    if len(members) == 1:
        return f"{members[0].what} {members[0].name}".strip()
    kinds = Counter(one.what for one in members)
    named = ", ".join(f"{count} {what}" if count > 1 else what for what, count in kinds.most_common(4) if what)
    return f"{len(members):,} layers: {named}{' …' if len(kinds) > 4 else ''}"


def _tip(members: list[Node]) -> str:
    shown = ", ".join(f"{shortened(one.name, 60)} ({one.what})" for one in members[:4])
    more = f" and {len(members) - 4:,} more" if len(members) > 4 else ""
    told = [one.seconds for one in members if one.seconds is not None]
    time = f": {format_duration(float(f'{sum(told):.4g}'))}" if told else ""
    return f"{shown}{more}{time}"
