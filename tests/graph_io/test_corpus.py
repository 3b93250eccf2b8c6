"""Every test case that onnx ships for runtimes: loaded, cut at every legal place, and compared with what it expects.

`refusals.json` lists what is refused and why. Only the runtime itself and the types that the documentation excludes are
reasons. A refusal that is new, or that has gone, fails the test; ``python -m tests.graph_io.test_corpus`` writes the
file again.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import graph_io
from graph_io import ModelError
from tests import naive
from tests.graph_io.backend_cases import backend_cases, build, plain, run
from tests.scale import FULL, scaled

REFUSALS = Path(__file__).with_name("refusals.json")
QUICK_CASES = 160
# Max-norm relative, of parts against the whole in the same runtime; whole numbers and texts have to be equal.
TOLERANCES = {"float64": 1e-5, "float32": 1e-5, "float16": 4 * 2.0**-10}
# The runtime's own result is not the one that onnx expects, in a run of the whole model, too.
RUNTIME_DIFFERS = {
    "test_attention_4d_causal_fp16",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal",
    "test_maxunpool_export_with_output_shape",
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners",
}
# Whether a host has it is no matter of ours.
LACKS_LOCALE = "a locale that this host lacks"
# The newest that the runtime reads; the library lowers it where the operators allow that.
NEWEST_IR = 10
DRAWN = {
    "test_training_dropout",
    "test_training_dropout_default",
    "test_training_dropout_default_mask",
    "test_training_dropout_mask",
}


def library_reason(error):
    """Put a refusal into one of the groups of `refusals.json`."""
    text = str(error)
    for reason, mark in {
        "an input is a sequence": "is a sequence, not",
        "an input is an optional": "is an optional, not",
        "an output is a sequence or an optional": "is a sequence, an optional or a map",
        "nothing to place: no output depends on an input": "no compute node",
    }.items():
        if mark in text:
            return reason
    return f"UNEXPLAINED: {text}"


def runtime_reason(error):
    text = str(error)
    for reason, marks in {
        "a version of ONNX or of its operators that it does not know": ("IR version", "is under development"),
        "an operator without a kernel for these types": ("NOT_IMPLEMENTED",),
        "an operator or attribute that it does not know": ("is not a registered", "Unrecognized attribute"),
        "types that it finds to clash": ("Type Error",),
        LACKS_LOCALE: ("Failed to construct locale",),
        "it fails in the run": ("Non-zero status code",),
        "it fails at the start": ("Exception during initialization",),
    }.items():
        if any(mark in text for mark in marks):
            return reason
    return f"UNEXPLAINED: {text.splitlines()[0]}"


def close(got, reference, rtol=None, atol=None):
    """Compare: by the largest error over the largest magnitude, or as onnx's own test does with rtol and atol."""
    if isinstance(reference, (list, dict)) or reference is None:
        same = type(got) is type(reference)
        if isinstance(reference, list):
            same = same and len(got) == len(reference)
            return same and all(close(one, other, rtol, atol) for one, other in zip(got, reference, strict=True))
        return same and got == reference
    if got.shape != reference.shape or (got.dtype != reference.dtype and got.dtype.kind != "U"):
        return False
    if reference.dtype.kind not in "fc":
        return np.array_equal(got, reference)
    if rtol is not None:
        return np.allclose(got, reference, rtol=rtol, atol=atol, equal_nan=True)
    finite = np.isfinite(reference)
    if not np.array_equal(got[~finite], reference[~finite], equal_nan=True):
        return False
    wide, exact = got[finite].astype(np.complex128), reference[finite].astype(np.complex128)
    tolerance = TOLERANCES.get(reference.dtype.name, 1e-5)
    return float(np.max(np.abs(wide - exact), initial=0)) <= tolerance * float(np.max(np.abs(exact), initial=1e-30))


def groups_of_cuts(case, graph):
    """Return head and tail for every prefix, every legal single-tensor cut and random legal cuts of several tensors."""
    order = list(graph)
    heads = {frozenset(order[:index]) for index in range(1, len(order))}
    nodes = naive.nodes_of_onnx(case.model.graph)
    weights = {tensor.name for tensor in case.model.graph.initializer}
    inputs = {value.name for value in case.model.graph.input} - weights
    outputs = {value.name for value in case.model.graph.output}
    tensors = sorted(inputs.union(*(writes for _, writes in nodes)))
    single = {name for name in tensors if naive.legal_cut(nodes, inputs, outputs, {name})}
    # Of what is legal only sequences, optionals and maps are left out: they are in no graph of tensors.
    single &= graph.graph["shapes"].keys()
    assert set(graph_io.single_tensor_cuts(graph)) == single, case.name
    cuts = [{name} for name in single]
    generator = np.random.default_rng(len(tensors))
    for _ in range(min(40, 2 ** len(tensors)) if len(order) > 1 else 0):
        size = int(generator.integers(2, 5))
        cut = {str(name) for name in generator.choice(tensors, min(size, len(tensors)), replace=False)}
        # Random tensors are seldom a cut; what crosses a random prefix is, if it is pruned to what an input reaches.
        index = int(generator.integers(1, len(order)))
        crossing = {
            tensor.name
            for tensor in graph.graph["tensors"].values()
            if (tensor.producer is None or tensor.producer in order[:index])
            and (not set(order[:index]).issuperset(tensor.consumers) or tensor.name in outputs)
        }
        cuts += [one for one in (cut, crossing) if naive.legal_cut(nodes, inputs, outputs, one)]
    distinct = {frozenset(cut) for cut in cuts}
    heads |= {graph_io.head_of_cut(graph, cut) for cut in distinct}
    return [
        [[layer for layer in order if layer in head], [layer for layer in order if layer not in head]]
        for head in heads
        if 0 < len(head) < len(order)
    ], len(distinct)


def run_parts(case, graph, groups):
    known = dict(case.feeds)
    for part in graph_io.split(graph, groups):
        if part.outputs:
            known |= run(part.proto, known, part.outputs)
    return {name: known[name] for name in case.expected}


def with_readable_ir(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = min(copy.ir_version, NEWEST_IR)
    return copy


def check(case, counts):
    """Load and cut one case; return the group and reason of its refusal, or None."""
    counts["cases"] += 1
    names = list(case.expected)
    try:
        whole = run(with_readable_ir(case.model), case.feeds, names)
    except Exception as error:
        counts["the runtime cannot run it"] += 1
        return "runtime", runtime_reason(error)
    try:
        graph = graph_io.load_graph(case.model, granularity="node", inputs=case.feeds)
        layers = graph_io.load_graph(case.model, inputs=case.feeds)
    except ModelError as error:
        counts[f"refused: {library_reason(error)}"] += 1
        return "library", library_reason(error)
    counts["loaded"] += 1
    if len(case.model.graph.node) < 2:
        return None
    graph_io.deployed_kernels(layers)
    groups, n_cuts = groups_of_cuts(case, graph)
    counts["cuts"] += n_cuts
    counts["split"] += 1
    for head_and_tail in groups:
        got = run_parts(case, graph, head_and_tail)
        counts["runs of parts"] += 1
        for name in names:
            if case.name not in DRAWN:
                found = plain(got[name])
                assert close(found, plain(whole[name])), (case.name, name, head_and_tail[0][-1])
                shipped = plain(case.expected[name])
                right = close(found, shipped, case.rtol, max(case.atol, 1e-6)) or close(found, shipped)
                assert right or case.name in RUNTIME_DIFFERS, (case.name, name, head_and_tail[0][-1])
    return None


@pytest.fixture(scope="module")
def cases():
    found = backend_cases()
    order = np.random.default_rng(0).permutation(len(found))
    return [found[index] for index in order[: scaled(QUICK_CASES, len(found))]]


def test_every_case(cases):
    counts = Counter()
    refused = {case.name: reason for kind, case in cases if (reason := check(build(kind, case), counts))}
    for what, count in counts.items():
        print(f"{what}: {count}")
    content = json.loads(REFUSALS.read_text())
    here = {case.name for _, case in cases}
    committed = {
        (name, side, reason)
        for side in ("runtime", "library")
        for reason, names in content[side].items()
        for name in names
        if name in here or FULL
    }
    found = {(name, side, reason) for name, (side, reason) in refused.items() if reason != LACKS_LOCALE}
    if content["versions"] != versions():
        # Another runtime knows other operators; what the library itself refuses does not depend on that.
        committed, found = ({one for one in those if one[1] == "library"} for those in (committed, found))
    assert sorted(found - committed) == [], "new refusals"
    assert sorted(committed - found) == [], "refusals that have gone; take them out of refusals.json"
    assert not any(reason.startswith("UNEXPLAINED") for _, _, reason in found)


def versions():
    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def write_refusals():
    counts, content = Counter(), {"versions": versions(), "library": {}, "runtime": {}}
    for kind, case in backend_cases():
        refusal = check(build(kind, case), counts)
        if refusal and refusal[1] != LACKS_LOCALE:
            side, reason = refusal
            content[side].setdefault(reason, []).append(case.name)
    for side in ("library", "runtime"):
        content[side] = {reason: sorted(names) for reason, names in sorted(content[side].items())}
    REFUSALS.write_text(json.dumps(content, indent=1) + "\n")
    print(dict(counts))


if __name__ == "__main__":
    write_refusals()
