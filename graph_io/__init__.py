"""ONNX to graph and back: load and normalise, layers with their features, submodels. Knows no device and no solver."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graph_io.annotated import annotated_copy
    from graph_io.by_outputs import needed_nodes, open_dims, split_by_outputs
    from graph_io.calibration_suite.models import MicroBenchmark, micro_benchmarks
    from graph_io.cuts import head_of_cut, single_tensor_cuts
    from graph_io.deployed import (
        DeployedKernel,
        deployed_kernels,
        kernel_list,
        layout_conversions,
        profile_key,
        unnamed_kernel,
    )
    from graph_io.draws import drawn_outputs
    from graph_io.errors import ModelError, runtime_reason
    from graph_io.external import Reference, move_references, references
    from graph_io.features import DATA_MOVEMENT
    from graph_io.graph import Granularity, Layer, LayerGraph, Tensor, load_graph
    from graph_io.inputs import random_inputs, varied_inputs
    from graph_io.kernel_features import KernelFeatures
    from graph_io.layouts import LayoutConversion, conversion_benchmark
    from graph_io.light_models import LIGHT_MODELS, light_model
    from graph_io.model import Model, ModelSource, least_precise_float, load_model, select_outputs
    from graph_io.quantised import OutputStep, output_steps
    from graph_io.reasons import CutReason, cut_reasons
    from graph_io.refinement import refine
    from graph_io.shapes import fix_input_dims, input_dtypes
    from graph_io.skeleton import structure_sha256
    from graph_io.submodels import Part, part_interfaces, split
    from graph_io.whole_benchmarks import LoadBenchmark, OverheadBenchmark, load_benchmarks, overhead_benchmarks
    from graph_io.widening import WIDENED_INPUT, WIDENED_OUTPUT, widening_model

__distribution__ = "dnn-partition"
__version__ = "0.1.0"

_HOMES = {
    "CutReason": "reasons",
    "DATA_MOVEMENT": "features",
    "DeployedKernel": "deployed",
    "Granularity": "graph",
    "KernelFeatures": "kernel_features",
    "LIGHT_MODELS": "light_models",
    "Layer": "graph",
    "LayerGraph": "graph",
    "LayoutConversion": "layouts",
    "LoadBenchmark": "whole_benchmarks",
    "MicroBenchmark": "calibration_suite.models",
    "Model": "model",
    "ModelError": "errors",
    "ModelSource": "model",
    "OutputStep": "quantised",
    "OverheadBenchmark": "whole_benchmarks",
    "Part": "submodels",
    "Reference": "external",
    "Tensor": "graph",
    "WIDENED_INPUT": "widening",
    "WIDENED_OUTPUT": "widening",
    "annotated_copy": "annotated",
    "conversion_benchmark": "layouts",
    "cut_reasons": "reasons",
    "deployed_kernels": "deployed",
    "drawn_outputs": "draws",
    "fix_input_dims": "shapes",
    "head_of_cut": "cuts",
    "input_dtypes": "shapes",
    "kernel_list": "deployed",
    "layout_conversions": "deployed",
    "least_precise_float": "model",
    "light_model": "light_models",
    "load_benchmarks": "whole_benchmarks",
    "load_graph": "graph",
    "load_model": "model",
    "micro_benchmarks": "calibration_suite.models",
    "move_references": "external",
    "needed_nodes": "by_outputs",
    "open_dims": "by_outputs",
    "output_steps": "quantised",
    "overhead_benchmarks": "whole_benchmarks",
    "part_interfaces": "submodels",
    "profile_key": "deployed",
    "random_inputs": "inputs",
    "references": "external",
    "refine": "refinement",
    "runtime_reason": "errors",
    "select_outputs": "model",
    "single_tensor_cuts": "cuts",
    "split": "submodels",
    "split_by_outputs": "by_outputs",
    "structure_sha256": "skeleton",
    "unnamed_kernel": "deployed",
    "varied_inputs": "inputs",
    "widening_model": "widening",
}

__all__ = [
    "DATA_MOVEMENT",
    "LIGHT_MODELS",
    "WIDENED_INPUT",
    "WIDENED_OUTPUT",
    "CutReason",
    "DeployedKernel",
    "Granularity",
    "KernelFeatures",
    "Layer",
    "LayerGraph",
    "LayoutConversion",
    "LoadBenchmark",
    "MicroBenchmark",
    "Model",
    "ModelError",
    "ModelSource",
    "OutputStep",
    "OverheadBenchmark",
    "Part",
    "Reference",
    "Tensor",
    "annotated_copy",
    "conversion_benchmark",
    "cut_reasons",
    "deployed_kernels",
    "drawn_outputs",
    "fix_input_dims",
    "head_of_cut",
    "input_dtypes",
    "kernel_list",
    "layout_conversions",
    "least_precise_float",
    "light_model",
    "load_benchmarks",
    "load_graph",
    "load_model",
    "micro_benchmarks",
    "move_references",
    "needed_nodes",
    "open_dims",
    "output_steps",
    "overhead_benchmarks",
    "part_interfaces",
    "profile_key",
    "random_inputs",
    "references",
    "refine",
    "runtime_reason",
    "select_outputs",
    "single_tensor_cuts",
    "split",
    "split_by_outputs",
    "structure_sha256",
    "unnamed_kernel",
    "varied_inputs",
    "widening_model",
]


def __getattr__(name: str) -> Any:
    # Importing onnx and networkx takes a third of a second, which a command that only parses a link need not wait for.
    if name not in _HOMES:
        raise AttributeError(f"module 'graph_io' has no attribute {name!r}")
    value = getattr(import_module(f"graph_io.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
