"""The function that a user calls: a model, two machines and a link in; the best cut out."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import solvers
from graph_io import DATA_MOVEMENT, Granularity, LayerGraph, ModelSource, head_of_cut, load_graph
from partition.adaptation.choices import find_choices
from partition.adaptation.conditions import ConditionRange
from partition.assembly import assemble_plan
from partition.basis import PlanBasis, layer_types
from partition.energy.radio import Radio, with_radio
from partition.errors import InputError
from partition.latency.annotate import annotate
from partition.latency.machines import Machine, Power, load_machine
from partition.latency.regression import NAME
from partition.latency.timings import Timings
from partition.links import Link
from partition.load.model import parse_load
from partition.load.reading import LoadReading
from partition.plan import Plan
from partition.problem import Bridge, Coded, Objective, OutputOn, build_bridge, schedule
from partition.units import check_threads, parse_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from partition.codecs.planning import CodecsLike

MachineLike = str | PathLike[str] | Machine | Timings
_Value = TypeVar("_Value")
Method = Literal["auto", "chain", "dp", "min-cut", "milp"]
STILL_THE_INPUT = DATA_MOVEMENT | {"QuantizeLinear", "DequantizeLinear"}
"""Operators whose output shows as much as their input."""
DEFAULT_MAX_LOSS = 0.01
DEFAULT_DEVICE, DEFAULT_SERVER = "raspberry-pi-4", "xeon-server"


def partition(
    model: "ModelSource | LayerGraph",
    bandwidth: str | float | Link,
    *,
    rtt: str | float | None = None,
    downlink: str | float | None = None,
    device: MachineLike = DEFAULT_DEVICE,
    server: MachineLike = DEFAULT_SERVER,
    objective: Objective = "latency",
    output_on: OutputOn = "device",
    dims: Mapping[str, int] | None = None,
    inputs: "Mapping[str, NDArray[Any]] | None" = None,
    granularity: Granularity = "layer",
    input_bytes: Mapping[str, int | str] | None = None,
    keep_inputs: bool = False,
    threads: Mapping[str, int] | None = None,
    load: Mapping[str, float | str | LoadReading] | None = None,
    radio: str | Radio | None = None,
    cut: Iterable[str] | None = None,
    max_server_visits: int | None = 1,
    adapt: "str | Mapping[str, Any] | ConditionRange | None" = None,
    codecs: "CodecsLike | None" = None,
    max_loss: float = DEFAULT_MAX_LOSS,
    method: Method = "auto",
    regression: str = NAME,
) -> Plan:
    """Find the best cut of a model between a device and a server.

    Parameters
    ----------
    model : path, onnx.ModelProto or networkx.DiGraph
        An ONNX file, a model in memory, or a graph from `graph_io.load_graph`, which saves loading it again and brings
        its own ``dims`` and ``granularity``.
    bandwidth : str, float or Link
        The uplink: a string with its unit (``"8.8Mbps"``, ``"2MB/s"``), a number in bit/s, or a preset ("3g", "4g",
        "wifi").
    rtt, downlink : str or float, optional
        Round trip (``"40ms"``, or seconds) and downlink rate. What is left out comes from the preset, or is 40 ms and
        the uplink's rate; the plan lists it.
    device, server : str, path, Machine or Timings
        A shipped machine's name, or a machine or timings file.
    objective : {"latency", "energy"}
        Energy is the device's and needs a machine file with power figures.
    output_on : {"device", "server", "any"}
        Where the outputs are wanted.
    dims : mapping of str to int, optional
        Values of symbolic dimensions: ``{"seq": 128}``.
    inputs : mapping of str to numpy.ndarray, optional
        One array for each input of the model: they tell the open dimensions, and are run where only a run tells a
        shape. `Plan.verify` then compares on them and on variations of them.
    granularity : {"layer", "node"}
        Cut between what the runtime fuses, or between any two nodes.
    input_bytes : mapping, optional
        Size on the wire of inputs that travel encoded: ``{"data": "152kB"}``.
    keep_inputs : bool
        No model input leaves the device: the layers that read one run there, what they compute may leave. An input
        that is only moved, cast or quantised counts as the input.
    threads : mapping of str to int, optional
        Threads of the runtime, ``{"device": 1, "server": 16}``; a machine's file has to be for as many. What is left
        out is as in the file.
    load : mapping of str to float, str or LoadReading, optional
        What other work takes of the machines, ``{"device": 0.3, "server": "now"}``: the share of the processor time, 0
        or more and below 1, or what `read_load` read there; ``"now"`` reads the machine that this runs on.
    radio : str or Radio, optional
        Of the device, for the energy: "3g", "4g" or "wifi". It replaces what the machine file says of sending and
        receiving.
    cut : iterable of str, optional
        Tensors to cut at. The plan is then this cut, compared with the optimum. None of them, ``[]``, is everything on
        the device.
    max_server_visits : int or None
        How often one inference may go to the server: 1 suits a server that keeps nothing between two requests; with
        more the parts may alternate between the machines. None for no limit.
    adapt : str or mapping, optional
        The conditions that the plan is to follow while it runs: ``"1Mbps..50Mbps"``, or ranges by name, as
        `ConditionRange.parse` takes them. The model is then cut wherever a placement that is best under some of them
        cuts, so that switching loads nothing; all of it has to fit into the device.
    codecs : path or CodecTable, optional
        What `calibrate_codecs` measured on this model, or its file: tensors then cross by these codecs where that saves
        time. Cut and codecs are chosen together.
    max_loss : float
        The most that a plan with codecs may lose, by the metric of `codecs`.
    method : {"auto", "chain", "dp", "min-cut", "milp"}
        Which solver; "auto" picks the first that takes the problem.
    regression : str
        By which calibrated machines predict: the library's own, or a published one to compare with, one of
        `partition.latency.calibration.REGRESSIONS`.

    Returns
    -------
    Plan

    Raises
    ------
    InputError, graph_io.ModelError, solvers.SolverError
        All are ValueError; see `partition.errors`.

    Notes
    -----
    The latency is the sum of computing and sending: within one inference the machines do not overlap.

    Examples
    --------
    >>> plan = partition("resnet50.onnx", bandwidth="8.8Mbps")      # doctest: +SKIP
    >>> print(plan)                                                  # doctest: +SKIP
    """
    _check_choice("objective", objective, ("latency", "energy"))
    _check_choice("output_on", output_on, ("device", "server", "any"))
    _check_visits(max_server_visits)
    if not isinstance(keep_inputs, bool):
        raise InputError(f"keep_inputs is {keep_inputs!r}; give True or False: it is for all inputs")
    link = Link.parse(bandwidth, downlink=downlink, rtt=rtt)
    machines = {"device": load_machine(device), "server": load_machine(server)}
    over = None if adapt is None else _adaptable(adapt, link, objective, max_server_visits, cut, input_bytes)
    power = _power(machines["device"], objective)
    if radio is not None:
        if power is None or objective != "energy":
            raise InputError(f"radio is {radio!r}, which only objective 'energy' uses; choose that, or leave radio out")
        radio = Radio.parse(radio)
        power = with_radio(power, radio, link)
    used_threads = _by_role("threads", threads)
    for role, count in used_threads.items():
        check_threads(count, what=f"threads of the {role}")
    loads = {
        role: parse_load(
            value, name=f"load of the {role}", threads=used_threads.get(role, machines[role].runtime.threads)
        )
        for role, value in _by_role("load", load).items()
    }
    graph = load_layers(model, dims, granularity, inputs)
    notes = annotate(graph, machines, threads=used_threads, loads=loads, regression=regression)
    if isinstance(radio, Radio):
        notes = (*notes, radio.note(link))
    encoded = _encoded_inputs(graph, input_bytes or {})
    latencies = {layer: (seconds["device"], seconds["server"]) for layer, seconds in graph.nodes(data="latency_s")}

    def build(coded: Coded | None = None) -> Bridge:
        return build_bridge(
            graph,
            latencies,
            link,
            objective=objective,
            output_on=output_on,
            input_bytes=encoded,
            power=power,
            conversion_s=graph.graph["conversion_s"],
            max_server_visits=max_server_visits,
            coded=coded,
        )

    def posed(bridge: Bridge) -> solvers.Problem:
        return bridge.pinned_to_device(readers) if readers else bridge.objective

    bridge = build()
    readers = _input_readers(graph) if keep_inputs else {}
    planner = None
    if codecs is not None:
        _check_uncoded(objective, over)
        from partition.codecs.planning import CodecPlanner

        planner = CodecPlanner(
            graph, codecs, max_loss=max_loss, latency_s=latencies, link=link, excluded=tuple(encoded)
        )
    wanted = next((name for name in graph.graph["inputs"] if name in graph.graph["outputs"]), None)
    if keep_inputs and output_on == "server" and wanted is not None:
        raise InputError(
            f"keep_inputs holds input '{wanted}' on the device, and as an output of the model it is wanted on the "
            "server; use another output_on, or leave keep_inputs out"
        )
    problem = posed(bridge)
    solution = solvers.solve(problem, method)
    choices = None
    if over is not None:
        ends = [frozenset(graph.nodes), *([] if keep_inputs else [frozenset[str]()])]
        simple = [solution.placement, *(bridge.placement(head) for head in ends)]
        choices = find_choices(bridge, problem, link, over, simple=simple)
    named_cut = None if cut is None else names_of("cut", cut)
    head = None if named_cut is None else _head(graph, named_cut, output_on)
    leaking = next((layer for layer in readers if head is not None and layer not in head), None)
    if leaking is not None:
        raise InputError(
            f"keep_inputs holds input '{readers[leaking]}' on the device, and this cut puts layer '{leaking}', which "
            "reads it, on the server; cut behind that layer, or leave keep_inputs out"
        )
    placement = solution.placement if head is None else bridge.placement(head)
    uncoded, coded, optimum = bridge, None, None
    if planner is not None:
        coded = planner.choose(build, lambda one: solvers.solve(posed(one), method))
        solution, bridge = coded.choice.solution, coded.choice.bridge
        if head is None:
            placement = solution.placement
        else:
            optimum = schedule(bridge, solution.placement)
            coded = planner.choose(build, lambda one: solvers.Solution.of(one.objective, placement, "given"))
            bridge = coded.choice.bridge
        problem = posed(bridge)
        notes = (*notes, *coded.notes)
    return assemble_plan(
        graph,
        bridge,
        solution,
        placement=placement,
        named_cut=None if named_cut is None else frozenset(named_cut),
        objective=objective,
        output_on=output_on,
        keep_inputs=keep_inputs,
        link=link,
        machines=machines,
        threads=used_threads,
        encoded_inputs=encoded,
        notes=notes,
        choices=choices,
        adapts_to=over,
        basis=PlanBasis(bridge, problem, power, layer_types(graph)),
        loss=None if coded is None else coded.loss,
        uncoded=None if coded is None else uncoded,
        optimum=optimum,
    )


def _head(graph: LayerGraph, cut: tuple[str, ...], output_on: OutputOn) -> frozenset[str]:
    """Return the layers in front of a cut; in front of an empty one are all, where then nothing has to be sent."""
    return frozenset(graph.nodes) if not cut and output_on != "server" else head_of_cut(graph, cut)


def _adaptable(
    adapt: "str | Mapping[str, Any] | ConditionRange",
    link: Link,
    objective: Objective,
    max_server_visits: int | None,
    cut: Iterable[str] | None,
    input_bytes: Mapping[str, int | str] | None,
) -> ConditionRange:
    """Read the range that a plan adapts to; refuse what only holds still."""
    if objective != "latency":
        raise InputError(f"adapt follows the latency, and the objective is {objective!r}; leave one of them out")
    if max_server_visits != 1:
        raise InputError(f"adapt takes plans with one visit to the server, not max_server_visits={max_server_visits}")
    if cut is not None:
        raise InputError("adapt chooses among cuts, and one is given with cut; leave one of them out")
    if input_bytes:
        raise InputError("adapt cannot be used with input_bytes: what is sent has to be encoded by the caller")
    return ConditionRange.parse(adapt, link)


def _check_uncoded(objective: Objective, over: ConditionRange | None) -> None:
    """Refuse what codecs cannot be used with."""
    if objective != "latency":
        raise InputError(f"codecs are priced in time, and the objective is {objective!r}; leave one of them out")
    if over is not None:
        raise InputError("codecs are chosen for one cut, and adapt moves between several; leave one of them out")


def _check_choice(name: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise InputError(f"{name} {value!r} is unknown; use {', '.join(repr(one) for one in legal)}")


def _check_visits(number: int | None) -> None:
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise InputError(
            f"max_server_visits is {number!r}; give a whole number of 1 or more, or None for no limit (a plan without "
            "the server needs no search: it is among what each plan is compared with)"
        )


def _by_role(name: str, values: Mapping[str, _Value] | None) -> dict[str, _Value]:
    legal = "give a mapping with the keys 'device' and 'server', or one of them"
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise InputError(f"{name} is {values!r}; {legal}")
    odd = next((role for role in values if role not in ("device", "server")), None)
    if odd is not None:
        raise InputError(f"{name} has the key {odd!r}; {legal}")
    return dict(values)


def _power(device: Machine | Timings, objective: str) -> Power | None:
    power = device.power if isinstance(device, Machine) else None
    if objective == "energy" and power is None:
        raise InputError(
            f"objective 'energy' needs the power of the device '{device.name}', and its file has none; "
            "fill in 'power' (compute_watts, idle_watts, send_watts, receive_watts) in a machine file and pass that"
        )
    return power


def load_layers(
    model: "ModelSource | LayerGraph",
    dims: Mapping[str, int] | None,
    granularity: Granularity,
    inputs: "Mapping[str, NDArray[Any]] | None",
) -> LayerGraph:
    """Load a model as layers, or copy a graph that was loaded before.

    Raises
    ------
    InputError, graph_io.ModelError
        A graph that is not one of layers; what belongs to loading, beside a graph.
    """
    import networkx as nx

    if not isinstance(model, nx.DiGraph):
        return load_graph(model, dims=dims, granularity=granularity, inputs=inputs)
    if "structure_sha256" not in model.graph:
        raise InputError(f"{model!r} is a graph, but not one of layers; pass a model, or what load_graph returned")
    if granularity not in ("layer", model.graph["granularity"]):
        raise InputError(f"granularity {granularity!r} belongs to loading; pass it to load_graph, not beside its graph")
    if dims:
        raise InputError("dims belong to loading; pass them to load_graph, not beside a graph that is already loaded")
    if inputs is not None:
        raise InputError("inputs belong to loading; pass them to load_graph, not beside a graph that is already loaded")
    # A copy of the attributes: the caller's graph stays without our latencies, so it can be planned again elsewhere.
    copy: LayerGraph = model.copy()
    for _, data in copy.nodes(data=True):
        for attribute in ("latency_s", "deviation_s"):
            data[attribute] = dict(data.get(attribute, {}))
    return copy


def _encoded_inputs(graph: LayerGraph, input_bytes: Mapping[str, int | str]) -> dict[str, int]:
    inputs = graph.graph["inputs"]
    if not isinstance(input_bytes, Mapping):
        raise InputError(f"input_bytes is {input_bytes!r}; give sizes by input, such as {{'data': '152kB'}}")
    unknown = next((name for name in input_bytes if name not in inputs), None)
    if unknown is not None:
        raise InputError(f"input_bytes: '{unknown}' is not an input of the model; its inputs are {', '.join(inputs)}")
    return {name: parse_size(size, what=f"input_bytes of '{name}'") for name, size in input_bytes.items()}


def _input_readers(graph: LayerGraph) -> dict[str, str]:
    """Return the layers that read a model input, or one that was only moved or cast, each with that input."""
    raw = {name: name for name in graph.graph["inputs"]}
    readers: dict[str, str] = {}
    for layer_id in graph:  # in topological order
        layer = graph.nodes[layer_id]["layer"]
        read = next((raw[name] for name in layer.inputs if name in raw), None)
        if read is None:
            continue
        readers[layer_id] = read
        if STILL_THE_INPUT.issuperset(layer.op_types):
            raw.update(dict.fromkeys(layer.outputs, read))
    return readers


def names_of(argument: str, value: str | Iterable[str]) -> tuple[str, ...]:
    """Read an argument that is one name or several."""
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise InputError(f"{argument} is {value!r}; give tensor names, such as ['conv5_out']")
    return names
