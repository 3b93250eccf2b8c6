"""Which layer types the published regressions know, and which variables of a kernel they regress on.

A kernel of a kind that a table below does not name is unknown to that publication, and no number is made up for it.
Nobody's are matmul (two activations), attention, elementwise, reduce, concat, split, slice, pad, gather, transpose,
resize, cast, reorder, view, gru and other, nor what computes in another type than float32.

Neurosurgeon (Kang et al., ASPLOS 2017, doi:10.1145/3037697.3037698), linear or logarithmic for each type:

=============== ======================================== =====================================================
layer type      kinds of kernels                         variables
=============== ======================================== =====================================================
convolution     conv, depthwise_conv, grouped_conv       features in the input maps (height * width * channels);
                                                         (filter size / stride)^2 * filters
pooling         max_pool, average_pool, global_pool      sizes of the input and of the output maps
fully connected gemm                                     neurons in, neurons out
softmax         softmax                                  neurons in, neurons out
argmax          argmax                                   neurons in, neurons out
activation      activation, transcendental               neurons
normalisation   batch_norm, layer_norm, instance_norm,   neurons
                lrn
=============== ======================================== =====================================================

Edgent (Li, Zhou and Chen, "Edge Intelligence", MECOMM 2018, doi:10.1145/3229556.3229562), linear:

=============== ======================================== =====================================================
layer type      kinds of kernels                         variables
=============== ======================================== =====================================================
convolution     conv, depthwise_conv, grouped_conv       number of input maps (channels);
                                                         (filter size / stride)^2 * filters
relu            activation                               input size
pooling         max_pool, average_pool, global_pool      input size, output size
fully connected gemm                                     input size, output size
normalisation   batch_norm, layer_norm, instance_norm,   input size
                lrn
softmax         softmax                                  input size
=============== ======================================== =====================================================

Its type dropout does nothing at inference, so no kernel belongs to it.

Wang ("End-edge cooperative inference by DNN partition", ICT-CAS 2020), linear, logarithmic and polynomial: the layer's
configuration as it is, and beside it, as in the notebooks released with the work, the two variables of Neurosurgeon:

=============== ======================================== =====================================================
layer type      kinds of kernels                         variables
=============== ======================================== =====================================================
convolution     conv, depthwise_conv, grouped_conv       batch, input channels, height and width, filters, filter
                                                         height and width, both strides, padding, activation 0/1,
                                                         bias 0/1; Neurosurgeon's two
deconvolution   conv_transpose                           as convolution
pooling         max_pool, average_pool                   batch, channels, input and output height and width,
                                                         window height and width, both strides, padding, average
                                                         0/1; sizes of input and output
global pooling  global_pool                              input size, output size
fully connected gemm                                     rows, input size, neurons, activation 0/1, bias 0/1
batch norm      batch_norm                               input size
activation      activation, transcendental               input size, transcendental 0/1
softmax         softmax                                  input size, output size
argmax          argmax                                   input size, output size
lstm            lstm                                     steps, batch, input size, neurons
rnn             rnn                                      steps, batch, input size, neurons
=============== ======================================== =====================================================

Sizes are numbers of elements: the unit of a variable does not change a linear fit. The square of "filter size / stride"
is the product over height and width where these differ. A fully connected layer over several rows (a token each, say)
counts the neurons of all rows. Dilation, groups and a fused sum are nobody's variables.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from partition.errors import InputError


class KernelFeatures(Protocol):
    """What is known of a kernel before it runs."""

    @property
    def kind(self) -> str:
        """What it does, for example ``"conv"``, ``"gemm"`` or ``"softmax"``."""

    @property
    def op_type(self) -> str:
        """The operator type that the runtime gives it."""

    @property
    def values(self) -> Mapping[str, float]:
        """The static features by name."""


Variable = Callable[[KernelFeatures], float]


@dataclass(frozen=True, slots=True)
class LayerType:
    """One layer type of a publication: the kinds of kernels that belong to it, and the variables of its regression."""

    name: str
    kinds: tuple[str, ...]
    variables: Mapping[str, Variable]

    def values_of(self, features: KernelFeatures) -> tuple[float, ...]:
        """Return the variables of one kernel, in order; `InputError` where a feature is missing or impossible."""
        return tuple(variable(features) for variable in self.variables.values())


def feature(features: KernelFeatures, name: str) -> float:
    """Return a feature of a kernel by name; `InputError` where it is missing, negative or not finite."""
    value = features.values.get(name)
    if value is None:
        raise InputError(
            f"a kernel of kind {features.kind!r} ({features.op_type}) has no feature {name!r}, which the regression "
            f"needs; it has: {', '.join(sorted(features.values)) or 'none'}; take features and rows of one version"
        )
    if not (math.isfinite(value) and value >= 0.0):
        raise InputError(
            f"a kernel of kind {features.kind!r} ({features.op_type}) has {name} = {value!r}, expected a finite "
            "number, 0 or more; give its true value"
        )
    return float(value)


def _named(*names: str) -> dict[str, Variable]:
    """Return variables that are features as they are."""

    def reader(name: str) -> Variable:
        return lambda features: feature(features, name)

    return {name: reader(name) for name in names}


def _product(*names: str) -> Variable:
    """Return the variable that is a product of features."""
    return lambda features: math.prod(feature(features, name) for name in names)


def _work_per_position(features: KernelFeatures) -> float:
    """Return (filter size / stride)^2 * filters."""
    strides = feature(features, "stride_height") * feature(features, "stride_width")
    if strides <= 0.0:
        raise InputError(
            f"a kernel of kind {features.kind!r} ({features.op_type}) has a stride of 0 or less, expected 1 or more; "
            "give its true value"
        )
    window = feature(features, "kernel_height") * feature(features, "kernel_width")
    return window / strides * feature(features, "out_channels")


def _is_kind(kind: str) -> Variable:
    """Return the variable that is 1 for a kind and 0 for the others of its layer type."""
    return lambda features: float(features.kind == kind)


def _by_kind(*layer_types: LayerType) -> Mapping[str, LayerType]:
    """Return the layer type of each kind."""
    return MappingProxyType({kind: one for one in layer_types for kind in one.kinds})


_CONVOLUTIONS = ("conv", "depthwise_conv", "grouped_conv")
_POOLINGS = ("max_pool", "average_pool", "global_pool")
_ACTIVATIONS = ("activation", "transcendental")
_NORMALISATIONS = ("batch_norm", "layer_norm", "instance_norm", "lrn")
_WORK = {"(filter / stride)^2 * filters": _work_per_position}
# Not the elements read, among which a fused sum would count.
_MAPS = {"input map features": _product("batch", "in_channels", "in_height", "in_width")}
_NORMALISED = {"neurons": _product("rows", "row_length")}
_IN = _named("input_elements")
_IN_AND_OUT = _named("input_elements", "output_elements")
_NEURONS = {"input neurons": _product("batch", "m", "k"), "output neurons": _product("batch", "m", "n")}

NEUROSURGEON: Mapping[str, LayerType] = _by_kind(
    LayerType("convolution", _CONVOLUTIONS, _MAPS | _WORK),
    LayerType("pooling", _POOLINGS, _IN_AND_OUT),
    LayerType("fully connected", ("gemm",), _NEURONS),
    LayerType("softmax", ("softmax",), _IN_AND_OUT),
    LayerType("argmax", ("argmax",), _IN_AND_OUT),
    LayerType("activation", _ACTIVATIONS, _IN),
    LayerType("normalisation", _NORMALISATIONS, _NORMALISED),
)
"""Neurosurgeon's layer type of each kind of kernel that it knows."""

EDGENT: Mapping[str, LayerType] = _by_kind(
    LayerType("convolution", _CONVOLUTIONS, _named("in_channels") | _WORK),
    LayerType("relu", ("activation",), _IN),
    LayerType("pooling", _POOLINGS, _IN_AND_OUT),
    LayerType("fully connected", ("gemm",), _NEURONS),
    LayerType("normalisation", _NORMALISATIONS, _NORMALISED),
    LayerType("softmax", ("softmax",), _IN),
)
"""Edgent's layer type of each kind of kernel that it knows."""

_WANG_WINDOW = _named("kernel_height", "kernel_width", "stride_height", "stride_width", "pad")
_WANG_CONVOLUTION = (
    _named("batch", "in_channels", "in_height", "in_width", "out_channels")
    | _WANG_WINDOW
    | _named("activation", "bias")
    | _MAPS
    | _WORK
)
_WANG_POOLING = (
    _named("batch", "channels", "in_height", "in_width", "out_height", "out_width")
    | _WANG_WINDOW
    | {"average": _is_kind("average_pool")}
    | _IN_AND_OUT
)
_WANG_FULLY_CONNECTED = {"rows": _product("batch", "m")} | _named("k", "n", "activation", "bias")
_WANG_RECURRENT = _named("seq", "batch", "input_size") | {"neurons": _product("hidden_size", "directions")}

WANG: Mapping[str, LayerType] = _by_kind(
    LayerType("convolution", _CONVOLUTIONS, _WANG_CONVOLUTION),
    LayerType("deconvolution", ("conv_transpose",), _WANG_CONVOLUTION),
    LayerType("pooling", ("max_pool", "average_pool"), _WANG_POOLING),
    LayerType("global pooling", ("global_pool",), _IN_AND_OUT),
    LayerType("fully connected", ("gemm",), _WANG_FULLY_CONNECTED),
    LayerType("batch norm", ("batch_norm",), _NORMALISED),
    LayerType("activation", _ACTIVATIONS, _IN | {"transcendental": _is_kind("transcendental")}),
    LayerType("softmax", ("softmax",), _IN_AND_OUT),
    LayerType("argmax", ("argmax",), _IN_AND_OUT),
    LayerType("lstm", ("lstm",), _WANG_RECURRENT),
    LayerType("rnn", ("rnn",), _WANG_RECURRENT),
)
"""Wang's layer type of each kind of kernel that it knows."""

WANG_DYNAMIC = ("system_cpu_share", "cpu_utilisation", "free_memory_bytes", "memory_usage")
"""Wang's dynamic features: system CPU time, CPU utilisation, free memory, memory usage; all but the bytes as shares."""


def dynamic_values(dynamic: Mapping[str, float], what: str) -> tuple[float, ...]:
    """Return the dynamic features of `what` in order; `InputError` where one is missing or impossible."""
    for name in WANG_DYNAMIC:
        most = math.inf if name == "free_memory_bytes" else 1.0
        value = dynamic.get(name)
        if value is None:
            raise InputError(
                f"{what} lacks the dynamic feature {name!r}; it takes all of {', '.join(WANG_DYNAMIC)}: give them, or "
                "choose a regression of static features"
            )
        if not (math.isfinite(value) and 0.0 <= value <= most):
            legal = "a finite number, 0 or more" if most > 1.0 else "a share from 0 to 1, not a percentage"
            raise InputError(f"{what}: {name} is {value!r}, expected {legal}; give its true value")
    return tuple(float(dynamic[name]) for name in WANG_DYNAMIC)
