"""The networks of the papers, loaded once, priced by scaled machine files, and turned into problems."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import onnx

from benchmarks.papers.setting import ANCHOR, COMPUTE_WATTS, Setting
from benchmarks.settings import Settings
from benchmarks.zoo import NETWORKS
from benchmarks.zoo.files import network_file
from graph_io import LayerGraph, head_of_cut, load_graph, single_tensor_cuts
from partition.energy.radio import Radio
from partition.latency.annotate import annotate
from partition.latency.machines import Power
from partition.problem import Bridge, Objective, build_bridge

SHAPES = ("raspberry-pi-4", "raspberry-pi-5", "laptop-4-core", "xeon-server", "gpu-server")
OWN_SHAPE = "the file of --machine"
# The Tonic suite recognises so many digits in one query.
DIGITS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network without its weights.

    Attributes
    ----------
    name : str
    graph : networkx.DiGraph
        Annotated with the seconds of each shape; its model is gone.
    heads : mapping of str to frozenset of str
        Each tensor that is a cut by itself, from the inputs to the outputs, with the layers in front of it.
    """

    name: str
    graph: LayerGraph
    heads: Mapping[str, frozenset[str]]

    def seconds(self, shape: str) -> dict[str, float]:
        """Return the time of each layer on an unscaled machine."""
        return {layer: float(times[shape]) for layer, times in self.graph.nodes(data="latency_s")}


def chosen(setting: Setting, settings: Settings) -> tuple[str, ...]:
    """Return the networks to compute."""
    return settings.models or (setting.quick if settings.quick else setting.networks)


def network(name: str, settings: Settings) -> Network:
    """Load a network of the zoo, once in a process."""
    return _network(name, settings.cache, settings.machine)


@cache
def _network(name: str, folder: Path | None, machine: Path | None) -> Network:
    source: AbstractContextManager[Path | onnx.ModelProto]
    source = nullcontext(_digits()) if name == "mnist" else network_file(name, folder)
    with source as model:
        graph = load_graph(model, dims=dict(NETWORKS[name].dims))
        annotate(graph, {shape: shape for shape in SHAPES} | ({OWN_SHAPE: machine} if machine is not None else {}))
    del graph.graph["model"]
    return Network(name, graph, {tensor: head_of_cut(graph, [tensor]) for tensor in single_tensor_cuts(graph)})


def _digits() -> onnx.ModelProto:
    model = NETWORKS["mnist"].build()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = DIGITS
    del model.graph.value_info[:]
    return model


def shape_of(setting: Setting, name: str, settings: Settings) -> str:
    """Return the machine that a side is scaled from: a machine file of the user's takes the place of the device's."""
    return OWN_SHAPE if settings.machine is not None and name == "CPU" else setting.sides[name].shape


def factors(setting: Setting, settings: Settings) -> dict[str, float]:
    """Return what each side's times are multiplied by."""
    found = {}
    for name, side in setting.sides.items():
        if side.factor is not None:
            found[name] = side.factor
        else:
            assert side.anchor_s is not None
            whole_s = sum(network(ANCHOR, settings).seconds(shape_of(setting, name, settings)).values())
            found[name] = side.anchor_s / whole_s
    return found


def bridge(
    net: Network, setting: Setting, settings: Settings, *, device: str, link: str, objective: Objective = "latency"
) -> Bridge:
    """Price a network on a setting's machines and link.

    Parameters
    ----------
    net : Network
    setting : Setting
    settings : Settings
    device : {"CPU", "GPU"}
    link : str
        One of the setting's.
    objective : {"latency", "energy"}
        Energy as Neurosurgeon has it: computing and sending, neither idling nor receiving.
    """
    scale = factors(setting, settings)
    head = net.seconds(shape_of(setting, device, settings))
    tail = net.seconds(shape_of(setting, "server", settings))
    priced = {layer: (seconds * scale[device], tail[layer] * scale["server"]) for layer, seconds in head.items()}
    wire = setting.links[link]
    radio = Radio.parse(setting.radios[link])
    power = Power(COMPUTE_WATTS[device], 0.0, radio.watts_up(wire.uplink_bits_per_s), 0.0)
    return build_bridge(
        net.graph,
        priced,
        wire,
        objective=objective,
        output_on="any",
        input_bytes=_encoded(net, setting),
        power=power,
        max_server_visits=None,
    )


def _encoded(net: Network, setting: Setting) -> dict[str, int]:
    """Return the wire sizes of inputs that are images: four dimensions."""
    if setting.image_bytes_per_value is None:
        return {}
    tensors = net.graph.graph["tensors"]
    images = [name for name in net.graph.graph["inputs"] if len(tensors[name].shape) == 4]
    return {name: setting.image_bytes_per_value * prod(tensors[name].shape) for name in images}
