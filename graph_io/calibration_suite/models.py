"""Small models of many single layers, whose kernels a calibration times: all layer types, sizes as in real networks.

Each layer has an input of its own, so that a model of many is a bag of layers. They run one after the other, each with
its weights as cold as they are within a network. Sizes are drawn at random from ranges, not taken from any network.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from graph_io.calibration_suite.arithmetic import ARITHMETIC
from graph_io.calibration_suite.bag import Add, Bag, Draw, log_uniform
from graph_io.calibration_suite.movement import MOVEMENT
from graph_io.calibration_suite.normalisation import NORMALISATION


@dataclass(frozen=True, slots=True)
class _Regime:
    """Models that end once they hold so many bytes in weights and inputs, and the share of the layers that they get.

    Small ones stay in a core's own cache from run to run, middle ones in a shared one, large ones in none. Layers of
    small models are smaller: only a part of the range of sizes.
    """

    least_bytes: float
    most_bytes: float
    of_layers: float
    of_range: float


_REGIMES = (
    _Regime(2.4e7, 2.4e7, 0.55, 1.0),
    _Regime(2e6, 1.6e7, 0.22, 0.85),
    _Regime(1e5, 2e6, 0.23, 0.55),
)
_MODEL_LAYERS = 24

LAYER_TYPES: dict[str, Add] = ARITHMETIC | NORMALISATION | MOVEMENT
"""What a calibration times; each adds one layer to a model, of a size at a share of its range."""
DEFAULT_COUNTS: dict[str, int] = {
    **dict.fromkeys(LAYER_TYPES, 42),
    "conv": 480,
    "first conv": 70,
    "grouped conv": 120,
    "depthwise conv": 180,
    "transposed conv": 110,
    "gemm": 260,
    "projection": 180,
    "matmul": 110,
    "local": 40,
    "max pool": 80,
    "average pool": 80,
    "activation": 100,
    "transcendental": 150,
    "binary": 150,
    "concat": 90,
    "transpose": 100,
    "gather": 80,
    "lstm": 140,
    "gru": 100,
    "rnn": 40,
    "where": 20,
    "expand": 20,
}
"""How many layers of each type a default calibration times."""


@dataclass(frozen=True, slots=True)
class MicroBenchmark:
    """A model of single layers, its number in the calibration, and how many layers it has.

    Attributes
    ----------
    number, n_layers : int
    model : onnx.ModelProto
    """

    number: int
    n_layers: int
    model: onnx.ModelProto


def micro_benchmarks(
    counts: Mapping[str, int] | None = None, *, seed: int = 0, scale: float = 1.0
) -> tuple[int, Iterator[MicroBenchmark]]:
    """Draw the models of a calibration.

    Parameters
    ----------
    counts : mapping of str to int, optional
        How many layers of each of `LAYER_TYPES`; as `DEFAULT_COUNTS` if not given.
    seed : int
    scale : float
        Multiplies all counts; at least two of each stay.

    Returns
    -------
    n_layers : int
        Of all models together.
    models : iterator of MicroBenchmark
        In random order, each with layers of many types: any first part covers all of them. Each is built when it is
        asked for.
    """
    random = np.random.default_rng(seed)
    plan: list[str] = []
    for name, count in (counts or DEFAULT_COUNTS).items():
        plan += [name] * max(2, round(count * scale))
    # Sizes of a type are spread evenly over its range rather than drawn anew, so that few samples cover it, too.
    rank = {name: random.permutation(plan.count(name)) for name in dict.fromkeys(plan)}
    random.shuffle(plan)
    return len(plan), _models(plan, rank, random)


def _models(plan: Sequence[str], rank: Mapping[str, NDArray[np.int64]], random: Draw) -> Iterator[MicroBenchmark]:
    taken = dict.fromkeys(rank, 0)
    layers_of = dict.fromkeys(_REGIMES, 0)
    bag, number, regime = Bag(), 0, _REGIMES[0]
    most_bytes = regime.most_bytes
    for position, name in enumerate(plan):
        share = (rank[name][taken[name]] + random.random()) / len(rank[name])
        taken[name] += 1
        layers_of[regime] += 1
        LAYER_TYPES[name](bag, random, share * regime.of_range)
        if bag.layers >= _MODEL_LAYERS or bag.size_bytes > most_bytes or position == len(plan) - 1:
            yield MicroBenchmark(number, bag.layers, bag.model(f"microbenchmark-{number}"))
            bag, number = Bag(), number + 1
            # The regime that has got least of its share so far.
            regime = min(_REGIMES, key=lambda one: layers_of[one] / one.of_layers)
            most_bytes = log_uniform(random, regime.least_bytes, regime.most_bytes)
