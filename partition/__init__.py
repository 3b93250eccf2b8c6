"""dnn-partition: any ONNX model, two machines and a link in; the provably best cut out, running.

>>> from partition import partition
>>> plan = partition("resnet50.onnx", bandwidth="8.8Mbps")      # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import graph_io
import solvers

if TYPE_CHECKING:
    from graph_io import Layer, ModelError, Tensor, light_model, load_graph, single_tensor_cuts
    from partition.adaptation.conditions import ConditionRange, Conditions
    from partition.api import partition
    from partition.batch import BatchModel, BatchRow, BatchTable, ScaledMachine, solve_many
    from partition.codecs.measure import calibrate_codecs
    from partition.codecs.table import CodecTable, load_codecs
    from partition.energy.measure import measure_energy, measure_power
    from partition.energy.meter import EnergyMeter, SampledMeter
    from partition.energy.radio import Radio
    from partition.energy.rapl import RaplMeter
    from partition.errors import InputError, VerificationError
    from partition.exits.calibrate import calibrate_exits, given_exits
    from partition.exits.choice import choose_exit
    from partition.exits.policy import ExitHead, ExitPolicy, TradeOff, load_exit_policy
    from partition.exits.session import ExitResult, ExitRun, ExitSession
    from partition.exits.table import ExitTable, load_exits
    from partition.latency.annotate import annotate
    from partition.latency.calibrate import calibrate
    from partition.latency.machines import Machine, load_machine, shipped_machines
    from partition.latency.measure import measure
    from partition.latency.timings import Timings, load_timings
    from partition.links import Link
    from partition.load.monitor import LoadMonitor
    from partition.load.reading import LoadReading, read_load
    from partition.model_parts import ModelParts, load_parts, split_model
    from partition.plan import Plan
    from partition.plan_records import Estimate, PlanLoss, PlanMessage, PlanPart, PlanStage
    from partition.remote.errors import RemoteError
    from partition.remote.options import RemoteOptions
    from partition.remote.records import RunRecord
    from partition.remote.session import RemoteSession
    from partition.routing.by_length import partition_by_length
    from partition.routing.length_models import LengthModel
    from partition.routing.length_plan import LengthPlan, load_length_plan
    from partition.routing.lengths_file import LengthTimings, load_lengths
    from partition.routing.live import RoutedSession, open_routed
    from partition.routing.network import MachineNetwork, RoutedLink, RoutedMachine, load_network
    from partition.routing.outcome import Simulation
    from partition.routing.profiles import LinkProfile
    from partition.routing.router import Router
    from partition.routing.simulator import simulate
    from partition.routing.sweep import measure_lengths
    from partition.runtime.session import SplitSession
    from partition.runtime.verify import Verification
    from partition.saved import load_plan
    from partition.serve import Server
    from partition.v2.input_codec import InputCodec
    from partition.workload import Workload, WorkloadEdge, WorkloadNode, load_workload
    from partition.workload_placement import WorkloadPlacement, split_workload
    from solvers import SolverError

__version__ = "0.1.0"

for _sibling in (graph_io, solvers):
    if (getattr(_sibling, "__distribution__", None), getattr(_sibling, "__version__", None)) != (
        "dnn-partition",
        __version__,
    ):
        _place = getattr(_sibling, "__file__", None) or list(_sibling.__path__)
        raise ImportError(
            f"the package '{_sibling.__name__}' at {_place} is not the one of dnn-partition {__version__}: "
            "another installed package or a folder on sys.path shadows it; "
            "remove or rename that one, or install dnn-partition into an environment of its own"
        )

_HOMES = {
    "BatchModel": "partition.batch",
    "BatchRow": "partition.batch",
    "BatchTable": "partition.batch",
    "CodecTable": "partition.codecs.table",
    "ConditionRange": "partition.adaptation.conditions",
    "Conditions": "partition.adaptation.conditions",
    "EnergyMeter": "partition.energy.meter",
    "Estimate": "partition.plan_records",
    "ExitHead": "partition.exits.policy",
    "ExitPolicy": "partition.exits.policy",
    "ExitResult": "partition.exits.session",
    "ExitRun": "partition.exits.session",
    "ExitSession": "partition.exits.session",
    "ExitTable": "partition.exits.table",
    "InputCodec": "partition.v2.input_codec",
    "InputError": "partition.errors",
    "Layer": "graph_io",
    "LengthModel": "partition.routing.length_models",
    "LengthPlan": "partition.routing.length_plan",
    "LengthTimings": "partition.routing.lengths_file",
    "Link": "partition.links",
    "LinkProfile": "partition.routing.profiles",
    "LoadMonitor": "partition.load.monitor",
    "LoadReading": "partition.load.reading",
    "Machine": "partition.latency.machines",
    "MachineNetwork": "partition.routing.network",
    "ModelError": "graph_io",
    "ModelParts": "partition.model_parts",
    "Plan": "partition.plan",
    "PlanLoss": "partition.plan_records",
    "PlanMessage": "partition.plan_records",
    "PlanPart": "partition.plan_records",
    "PlanStage": "partition.plan_records",
    "Radio": "partition.energy.radio",
    "RaplMeter": "partition.energy.rapl",
    "RemoteError": "partition.remote.errors",
    "RemoteOptions": "partition.remote.options",
    "RemoteSession": "partition.remote.session",
    "RoutedLink": "partition.routing.network",
    "RoutedMachine": "partition.routing.network",
    "RoutedSession": "partition.routing.live",
    "Router": "partition.routing.router",
    "RunRecord": "partition.remote.records",
    "SampledMeter": "partition.energy.meter",
    "ScaledMachine": "partition.batch",
    "Server": "partition.serve",
    "Simulation": "partition.routing.outcome",
    "SolverError": "solvers",
    "SplitSession": "partition.runtime.session",
    "Tensor": "graph_io",
    "Timings": "partition.latency.timings",
    "TradeOff": "partition.exits.policy",
    "Verification": "partition.runtime.verify",
    "VerificationError": "partition.errors",
    "Workload": "partition.workload",
    "WorkloadEdge": "partition.workload",
    "WorkloadNode": "partition.workload",
    "WorkloadPlacement": "partition.workload_placement",
    "annotate": "partition.latency.annotate",
    "calibrate": "partition.latency.calibrate",
    "calibrate_codecs": "partition.codecs.measure",
    "calibrate_exits": "partition.exits.calibrate",
    "choose_exit": "partition.exits.choice",
    "given_exits": "partition.exits.calibrate",
    "light_model": "graph_io",
    "load_codecs": "partition.codecs.table",
    "load_exit_policy": "partition.exits.policy",
    "load_exits": "partition.exits.table",
    "load_graph": "graph_io",
    "load_length_plan": "partition.routing.length_plan",
    "load_lengths": "partition.routing.lengths_file",
    "load_machine": "partition.latency.machines",
    "load_network": "partition.routing.network",
    "load_parts": "partition.model_parts",
    "load_plan": "partition.saved",
    "load_timings": "partition.latency.timings",
    "load_workload": "partition.workload",
    "measure": "partition.latency.measure",
    "measure_energy": "partition.energy.measure",
    "measure_lengths": "partition.routing.sweep",
    "measure_power": "partition.energy.measure",
    "open_routed": "partition.routing.live",
    "partition": "partition.api",
    "partition_by_length": "partition.routing.by_length",
    "read_load": "partition.load.reading",
    "shipped_machines": "partition.latency.machines",
    "simulate": "partition.routing.simulator",
    "single_tensor_cuts": "graph_io",
    "solve_many": "partition.batch",
    "split_model": "partition.model_parts",
    "split_workload": "partition.workload_placement",
}

__all__ = [
    "BatchModel",
    "BatchRow",
    "BatchTable",
    "CodecTable",
    "ConditionRange",
    "Conditions",
    "EnergyMeter",
    "Estimate",
    "ExitHead",
    "ExitPolicy",
    "ExitResult",
    "ExitRun",
    "ExitSession",
    "ExitTable",
    "InputCodec",
    "InputError",
    "Layer",
    "LengthModel",
    "LengthPlan",
    "LengthTimings",
    "Link",
    "LinkProfile",
    "LoadMonitor",
    "LoadReading",
    "Machine",
    "MachineNetwork",
    "ModelError",
    "ModelParts",
    "Plan",
    "PlanLoss",
    "PlanMessage",
    "PlanPart",
    "PlanStage",
    "Radio",
    "RaplMeter",
    "RemoteError",
    "RemoteOptions",
    "RemoteSession",
    "RoutedLink",
    "RoutedMachine",
    "RoutedSession",
    "Router",
    "RunRecord",
    "SampledMeter",
    "ScaledMachine",
    "Server",
    "Simulation",
    "SolverError",
    "SplitSession",
    "Tensor",
    "Timings",
    "TradeOff",
    "Verification",
    "VerificationError",
    "Workload",
    "WorkloadEdge",
    "WorkloadNode",
    "WorkloadPlacement",
    "annotate",
    "calibrate",
    "calibrate_codecs",
    "calibrate_exits",
    "choose_exit",
    "given_exits",
    "light_model",
    "load_codecs",
    "load_exit_policy",
    "load_exits",
    "load_graph",
    "load_length_plan",
    "load_lengths",
    "load_machine",
    "load_network",
    "load_parts",
    "load_plan",
    "load_timings",
    "load_workload",
    "measure",
    "measure_energy",
    "measure_lengths",
    "measure_power",
    "open_routed",
    "partition",
    "partition_by_length",
    "read_load",
    "shipped_machines",
    "simulate",
    "single_tensor_cuts",
    "solve_many",
    "split_model",
    "split_workload",
]


def __getattr__(name: str) -> Any:
    # Lazily, so that importing this package loads neither the runtime nor the solvers' compiler.
    if name not in _HOMES:
        raise AttributeError(f"module 'partition' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
