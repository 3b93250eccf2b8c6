"""A network trained to a real accuracy: latency against accuracy on held-out data, for each codec at each rate."""

import statistics
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.codecs.setting import BANDWIDTHS_MBIT_S, both_machines, link_at, on_one_core, run_emulated
from benchmarks.digits import NARROW, WIDE, Trained, trained_network
from benchmarks.result import Bar
from benchmarks.runtime.setting import SLOWDOWN, folder
from benchmarks.section import Section, table
from benchmarks.settings import SEED, Settings
from graph_io import load_graph
from graph_io.codecs import CODECS, LOSSLESS
from partition import Plan, partition
from partition.codecs.measure import calibrate_codecs

MAX_LOSS = 0.01
EPOCHS, QUICK_EPOCHS = 3, 2
N_CALIBRATION, QUICK_CALIBRATION = 100, 30
N_TIMED, QUICK_TIMED = 12, 4
LEAST_RATIO = 3.5


def measure(settings: Settings) -> Section:
    """Train, plan with each codec alone and with all, and run on data that neither training nor planning saw."""
    if find_spec("sklearn") is None:
        note = "trained: left out, scikit-learn is not installed (extra bench)"
        return Section((), (), (), (note,))
    trained = trained_network(NARROW if settings.quick else WIDE, QUICK_EPOCHS if settings.quick else EPOCHS, seed=SEED)
    with folder() as home:
        path = home / "digits.onnx"
        onnx.save(trained.model, path)
        rows, whole_s = _measured(path, trained, settings)
    whole = next(row for row in rows if row["codec"] == LOSSLESS)["whole_accuracy"]
    joint = [row for row in rows if row["codec"] == "joint"]
    losses = [whole - row["accuracy"] for row in joint]
    errors = [abs(row["predicted_s"] / row["latency_s"] - 1) for row in rows]
    by_key = {(row["mbit_s"], row["codec"]): row for row in rows}
    worst = max(
        row["predicted_s"] / min(by_key[row["mbit_s"], one]["predicted_s"] for one in (LOSSLESS, *CODECS))
        for row in joint
    )
    int8 = [row["ratio"] for row in rows if row["codec"] == "int8" and row["ratio"] > 1]
    bars = [
        Bar("trained: accuracy lost by the joint plans on held-out data, most", max(losses), MAX_LOSS, "lower"),
        Bar("trained: joint choice over the best single codec, worst", worst, 1.0 + 1e-9, "lower"),
        Bar("trained: predicted against emulated latency, median error", statistics.median(errors), 0.15, "lower"),
        Bar("trained: accuracy of the whole network on held-out data", whole, 0.9, "higher"),
    ]
    if int8:
        bars.append(Bar("trained: int8, fewer bytes at the cut", min(int8), LEAST_RATIO, "higher"))
    lines = [
        [
            f"{row['mbit_s']} Mbit/s, {row['codec']}",
            row["sent"] or ("as it is" if row["is_cut"] else "-"),
            f"{row['ratio']:.2f}",
            f"{row['latency_s'] * 1e3:.1f}",
            f"{row['predicted_s'] * 1e3:.1f}",
            f"{by_key[row['mbit_s'], LOSSLESS]['latency_s'] / row['latency_s']:.2f}",
            f"{row['accuracy']:.2%}",
            f"{row['agreement']:.2%}",
        ]
        for row in rows
        if row["sent"] or row["codec"] in ("joint", LOSSLESS)
    ]
    headings = ("rate, codec", "sent", "fewer bytes", "ms", "predicted", "gain", "accuracy", "as whole")
    title = (
        f"Digits, {len(trained.test_labels)} held-out images, whole network {whole:.2%} and {whole_s * 1e3:.2g} ms here"
    )
    notes = (
        f"device {SLOWDOWN:g} times slower and link emulated; bound: {MAX_LOSS:.0%} of the answers other than those of "
        "the whole network's, on images that it was trained on",
    )
    return Section(tuple(bars), tuple(rows), (table(title, headings, lines),), notes)


def _measured(path: Path, trained: Trained, settings: Settings) -> tuple[list[dict[str, Any]], float]:
    graph = load_graph(path)
    given = [{"image": image[None]} for image in trained.train_images]
    with on_one_core():
        device, server = both_machines(path, given[0])
        count = QUICK_CALIBRATION if settings.quick else N_CALIBRATION
        codecs = calibrate_codecs(graph, given[:count], metric="top-1")
    rows = []
    accuracy_of: dict[str, tuple[float, float]] = {}
    whole = _answers(partition(graph, link_at(1), cut=["scores"], device=device, server=server), trained)
    for mbit_s in BANDWIDTHS_MBIT_S:
        for codec in ("joint", LOSSLESS, *CODECS):
            own = codecs if codec == "joint" else codecs.only(*(() if codec == LOSSLESS else (codec,)))
            plan = partition(graph, link_at(mbit_s), codecs=own, max_loss=MAX_LOSS, device=device, server=server)
            up = [one for one in plan.messages if one.direction == "uplink"]
            coded = {name: one for message in up for name, one in message.coded.items()}
            sent = ", ".join(f"{name} as {one}" for name, one in coded.items())
            if sent not in accuracy_of:
                answers = _answers(plan, trained)
                accuracy_of[sent] = (
                    float(np.mean(answers == trained.test_labels)),
                    float(np.mean(answers == whole)),
                )
            count = settings.repetitions or (QUICK_TIMED if settings.quick else N_TIMED)
            images = [{"image": image[None]} for image in trained.test_images[:count]]
            _, latency_s = run_emulated(plan, images)
            raw = sum(one.raw_bytes or one.size_bytes for one in up)
            rows.append(
                {
                    "kind": "plan",
                    "mbit_s": mbit_s,
                    "codec": codec,
                    "sent": sent,
                    "is_cut": bool(up),
                    "ratio": raw / sum(one.size_bytes for one in up) if sent else 1.0,
                    "latency_s": latency_s,
                    "predicted_s": plan.latency_s,
                    "accuracy": accuracy_of[sent][0],
                    "agreement": accuracy_of[sent][1],
                    "whole_accuracy": float(np.mean(whole == trained.test_labels)),
                    "loss": plan.loss.loss if plan.loss is not None else 0.0,
                }
            )
    return rows, server.whole_model.latency_s


def _answers(plan: Plan, trained: Trained) -> Any:
    with plan.session(threads=1) as session:
        return np.array([session.run({"image": image[None]})["scores"].argmax() for image in trained.test_images])
