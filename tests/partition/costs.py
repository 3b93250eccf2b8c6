"""Machines made up for tests: measured timings of our own choosing, and a machine of round figures with power."""

import dataclasses

from partition.latency.machines import Machine, Power
from partition.latency.timings import (
    LayerTiming,
    MeasuredModel,
    MeasuredRuntime,
    TensorConversion,
    Timings,
    WholeModelTiming,
)

POWER = Power(compute_watts=4.0, idle_watts=0.5, send_watts=2.0, receive_watts=1.0)


def timings_of(graph, seconds, name="bench", conversions=None):
    """Make timings of a layer graph; `seconds` maps layer ids to seconds, or is one number for all.

    `conversions` maps tensors to what handing them out and taking them in takes.
    """
    by_layer = seconds if isinstance(seconds, dict) else dict.fromkeys(graph.nodes, seconds)
    assert set(by_layer) == set(graph.nodes)
    return Timings(
        name=name,
        model=MeasuredModel(
            graph.graph["name"],
            graph.graph["structure_sha256"],
            graph.graph["granularity"],
            dict(graph.graph["input_shapes"]),
        ),
        hardware={},
        runtime=MeasuredRuntime("onnxruntime", "1.20.0", "CPUExecutionProvider", 1, "all"),
        date="2025-01-31T12:00:00+00:00",
        whole_model=WholeModelTiming(max(sum(by_layer.values()), 1e-9), 0.0, 30, 0.0),
        layers=tuple(
            LayerTiming(layer, graph.nodes[layer]["layer"].nodes, float(time), 0.0) for layer, time in by_layer.items()
        ),
        conversions=tuple(TensorConversion(tensor, *both) for tensor, both in (conversions or {}).items()),
    )


def machine(*, memory_bytes_per_s=1e6, layer_overhead_s=1e-3, power=POWER, name="round"):
    """Make a machine whose layers take their memory traffic and an overhead, since its arithmetic is free."""
    return Machine.from_json(
        {
            "format": "dnn-partition/machine",
            "version": 1,
            "name": name,
            "kind": "datasheet-roofline",
            "description": "a machine of round figures",
            "hardware": {},
            "runtime": {"name": "onnxruntime", "version": None, "provider": "CPUExecutionProvider", "threads": 1},
            "date": "2025-01-31",
            "provenance": "made up for a test",
            "roofline": {
                "peak_flops_per_s": 1e300,
                "memory_bytes_per_s": memory_bytes_per_s,
                "compute_efficiency": {"default": 1.0},
                "layer_overhead_s": layer_overhead_s,
            },
            "power": None if power is None else dataclasses.asdict(power),
        },
        f"{name}.json",
    )
