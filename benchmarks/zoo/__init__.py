"""The zoo: the networks of the papers and of today, built from their published shapes with random weights."""

from benchmarks.zoo import (
    classic,
    dense,
    generative,
    inception,
    mobile,
    perception,
    recurrent,
    residual,
    transformers,
    yolo,
)
from benchmarks.zoo.network import Network, Published

NETWORKS: dict[str, Network] = {
    network.name: network
    for module in (
        *(classic, inception, residual, mobile, dense, yolo),
        *(perception, generative, recurrent, transformers),
    )
    for network in module.NETWORKS
}
"""By name."""

__all__ = ["NETWORKS", "Network", "Published"]
