"""What a server counts: as Triton's statistics extension tells it for each model, and in Prometheus' text format."""

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from partition.v2.names import VERSION

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COMPRESSED = {
    "bodies": "Bodies that were compressed on the way.",
    "bytes": "Their bytes on the way.",
    "plain_bytes": "The bytes of what they hold.",
}
_STEPS = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(slots=True)
class Times:
    """What one inference took, in seconds: all of it from its last byte to its answer, and its steps.

    Decompressing the body is part of `compute_input_s`, compressing the answer of `compute_output_s`.
    """

    receive_s: float = 0.0
    queue_s: float = 0.0
    compute_input_s: float = 0.0
    compute_infer_s: float = 0.0
    compute_output_s: float = 0.0
    decompress_s: float | None = None
    total_s: float = 0.0


@dataclass(slots=True)
class _Model:
    success: int = 0
    success_ns: int = 0
    fail: int = 0
    fail_ns: int = 0
    steps_ns: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_STEPS, 0))
    last_ms: int = 0
    request_buckets: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS_S) + 1))
    compute_buckets: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS_S) + 1))


class Statistics:
    """Counts since the start; all methods may be called from any thread."""

    def __init__(self, models: Mapping[str, object]) -> None:
        self._lock = threading.Lock()
        self._models = {name: _Model() for name in models}
        self._answers: dict[int, int] = {}
        self._received_bytes = 0
        self._sent_bytes = 0
        # By direction: bodies, their bytes on the way, and those of what they hold.
        self._compressed = {direction: [0, 0, 0] for direction in ("in", "out")}

    def answered(self, status: int, received_bytes: int, sent_bytes: int) -> None:
        """Count an answer of any kind."""
        with self._lock:
            self._answers[status] = self._answers.get(status, 0) + 1
            self._received_bytes += received_bytes
            self._sent_bytes += sent_bytes

    def compressed(self, direction: Literal["in", "out"], wire_bytes: int, plain_bytes: int) -> None:
        """Count a body that was compressed on the way; `answered` counts its bytes there, too."""
        with self._lock:
            for place, value in enumerate((1, wire_bytes, plain_bytes)):
                self._compressed[direction][place] += value

    def inferred(self, model: str, times: Times, *, ok: bool) -> None:
        """Count an inference that was asked of a model."""
        total_ns = round(times.total_s * 1e9)
        with self._lock:
            one = self._models[model]
            if not ok:
                one.fail += 1
                one.fail_ns += total_ns
                return
            one.success += 1
            one.success_ns += total_ns
            one.last_ms = time.time_ns() // 1_000_000
            for step in _STEPS:
                one.steps_ns[step] += round(getattr(times, f"{step}_s") * 1e9)
            one.request_buckets[bisect_left(_BUCKETS_S, times.total_s)] += 1
            one.compute_buckets[bisect_left(_BUCKETS_S, times.compute_infer_s)] += 1

    def of_models(self, names: Mapping[str, object]) -> dict[str, Any]:
        """Return the statistics of models; a step's count is that of the inferences that succeeded."""
        with self._lock:
            return {"model_stats": [_described(name, self._models[name]) for name in names]}

    def prometheus(self, gauges: Mapping[str, tuple[str, int]]) -> bytes:
        """Return all counts, and gauges as name to (help, value), in Prometheus' text format."""
        lines: list[str] = []

        def family(name: str, kind: str, text: str, samples: Mapping[str, object]) -> None:
            lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}"))
            lines.extend(f"{name}{labels} {value}" for labels, value in samples.items())

        with self._lock:
            answers = {f'{{code="{code}"}}': count for code, count in sorted(self._answers.items())}
            family("dnn_partition_answers_total", "counter", "Answers by HTTP status.", answers)
            family("dnn_partition_received_bytes_total", "counter", "Bodies received.", {"": self._received_bytes})
            family("dnn_partition_sent_bytes_total", "counter", "Bodies sent.", {"": self._sent_bytes})
            for place, (name, text) in enumerate(_COMPRESSED.items()):
                counts = {f'{{direction="{way}"}}': found[place] for way, found in self._compressed.items()}
                family(f"dnn_partition_compressed_{name}_total", "counter", text, counts)
            inferences = {
                f'{{model="{name}",outcome="{outcome}"}}': count
                for name, one in self._models.items()
                for outcome, count in (("success", one.success), ("fail", one.fail))
            }
            family("dnn_partition_inferences_total", "counter", "Inferences by model and outcome.", inferences)
            waits = {f'{{model="{name}"}}': one.steps_ns["queue"] / 1e9 for name, one in self._models.items()}
            family("dnn_partition_queue_seconds_total", "counter", "Time spent in the queue.", waits)
            self._histogram(lines, "dnn_partition_request_seconds", "From a request's last byte to its answer.", False)
            self._histogram(lines, "dnn_partition_compute_seconds", "Time in the runtime.", True)
        for name, (text, value) in gauges.items():
            family(f"dnn_partition_{name}", "gauge", text, {"": value})
        return ("\n".join(lines) + "\n").encode("ascii")

    def _histogram(self, lines: list[str], name: str, text: str, of_compute: bool) -> None:
        lines.extend((f"# HELP {name} {text}", f"# TYPE {name} histogram"))
        for model, one in self._models.items():
            buckets = one.compute_buckets if of_compute else one.request_buckets
            total_ns = one.steps_ns["compute_infer"] if of_compute else one.success_ns
            count = 0
            for bound, own in zip((*map(str, _BUCKETS_S), "+Inf"), buckets, strict=True):
                count += own
                lines.append(f'{name}_bucket{{model="{model}",le="{bound}"}} {count}')
            lines.append(f'{name}_sum{{model="{model}"}} {total_ns / 1e9}')
            lines.append(f'{name}_count{{model="{model}"}} {count}')


def _described(name: str, one: _Model) -> dict[str, Any]:
    nothing = {"count": 0, "ns": 0}
    return {
        "name": name,
        "version": VERSION,
        "last_inference": one.last_ms,
        "inference_count": one.success,
        "execution_count": one.success,
        "inference_stats": {
            "success": {"count": one.success, "ns": one.success_ns},
            "fail": {"count": one.fail, "ns": one.fail_ns},
            **{step: {"count": one.success, "ns": one.steps_ns[step]} for step in _STEPS},
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [],
    }
