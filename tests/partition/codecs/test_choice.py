"""Cut and codecs together: equal to enumeration, and never worse than one codec for all."""

from itertools import chain, combinations, product

import numpy as np
import pytest

import solvers
from graph_io import load_graph
from partition.codecs.choice import Loss, Options, choose
from partition.links import Link
from partition.problem import CodedCrossing, build_bridge
from tests import naive
from tests.models import random_model
from tests.scale import scaled

CODECS = ("half", "quarter", "eighth")


class Case:
    """A small graph with random costs, codecs and losses; a combination loses at least the most of its members."""

    def __init__(self, seed):
        draw = np.random.default_rng(seed)
        self.graph = load_graph(random_model(seed, n_nodes=int(draw.integers(2, 5))), granularity="node")
        self.latency_s = {layer: (float(draw.uniform(0, 2e-3)), float(draw.uniform(0, 1e-3))) for layer in self.graph}
        self.link = Link.parse(float(draw.uniform(1e5, 1e6)), downlink=float(draw.uniform(1e5, 1e6)), rtt=2e-4)
        outputs = self.graph.graph["outputs"]
        self.crossings = {
            (name, direction): tuple(
                CodedCrossing(
                    codec,
                    int(tensor.size_bytes * share) + 1,
                    tensor.size_bytes,
                    float(draw.uniform(0, 2e-5)),
                    float(draw.uniform(0, 2e-5)),
                )
                for codec, share in zip(CODECS, (0.5, 0.25, 0.125), strict=True)
            )
            for name, tensor in self.graph.graph["tensors"].items()
            if name not in outputs and draw.random() < 0.8
            for direction in ("uplink", "downlink")
        }
        self.loss = {(name, codec): float(draw.uniform(0, 1)) for name, _ in self.crossings for codec in CODECS}
        self.max_loss = float(draw.uniform(0.2, 1.0))
        self.visits = int(draw.integers(1, 3)) if draw.random() < 0.7 else None
        self.judged = 0

    def build(self, coded):
        return build_bridge(
            self.graph,
            self.latency_s,
            self.link,
            objective="latency",
            output_on="device",
            input_bytes={},
            power=None,
            max_server_visits=self.visits,
            coded=coded,
        )

    def loss_of(self, codecs):
        # Less than the sum, more than the largest: never less with one codec more.
        return sum(self.loss[pair] ** 2 for pair in codecs.items()) ** 0.5 if codecs else 0.0

    def judge(self, bridge, placement, codecs):
        self.judged += 1
        return Loss(self.loss_of(codecs), 0.0, True)

    def options(self, codecs=CODECS):
        allowed = {
            key: tuple(one for one in own if one.codec in codecs and self.loss[key[0], one.codec] <= self.max_loss)
            for key, own in self.crossings.items()
        }
        raw = {name: float(tensor.size_bytes) for name, tensor in self.graph.graph["tensors"].items()}
        rates = {"uplink": self.link.upload_s_per_byte, "downlink": self.link.download_s_per_byte}
        return Options({key: own for key, own in allowed.items() if own}, raw, rates)

    def best(self, codecs=CODECS):
        return choose(
            self.options(codecs),
            self.build,
            lambda one: solvers.solve(one.objective),
            self.judge,
            max_loss=self.max_loss,
        )


def enumerated(case):
    """Return the least latency over all placements and codecs, from the plain problem and sums of our own."""
    plain = case.build({}).latency
    names = case.build({}).tensors
    n_free = len(case.graph)
    fixed = plain.compute[n_free:].argmin(axis=1)
    best = float("inf")
    for free in product((0, 1), repeat=n_free):
        placement = np.array([*free, *fixed])
        base = naive.value(plain, placement)
        if base == float("inf"):
            continue
        sent = [(names[tensor], sender) for tensor, sender, _ in solvers.breakdown(plain, placement).sent_tensors]
        choices = []
        for name, sender in sent:
            direction = ("uplink", "downlink")[sender]
            rate = (case.link.upload_s_per_byte, case.link.download_s_per_byte)[sender]
            own = [(None, 0.0)]
            for one in case.crossings.get((name, direction), ()):
                saved = (one.raw_bytes - one.size_bytes) * rate - one.encode_s - one.decode_s
                own.append((one.codec, -saved))
            choices.append(own)
        for picked in product(*choices):
            pairs = zip(sent, picked, strict=True)
            codecs = {name: codec for (name, _), (codec, _) in pairs if codec is not None}
            if case.loss_of(codecs) <= case.max_loss:
                best = min(best, base + sum(change for _, change in picked))
    return best


@pytest.mark.parametrize("seed", range(scaled(40, 400)))
def test_it_equals_enumeration(seed):
    case = Case(seed)
    found = case.best()
    assert found.solution.optimal
    assert found.loss.loss <= case.max_loss
    assert found.solution.value == pytest.approx(enumerated(case), rel=1e-9)
    assert solvers.evaluate(found.bridge.latency, found.solution.placement) == found.solution.value


@pytest.mark.parametrize("seed", range(scaled(30, 300)))
def test_it_is_never_worse_than_one_codec_for_all(seed):
    case = Case(seed + 1000)
    joint = case.best().solution.value
    for codec in CODECS:
        assert joint <= case.best((codec,)).solution.value * (1 + 1e-12)
    assert joint <= solvers.solve(case.build({}).objective).value * (1 + 1e-12)


def test_some_combinations_are_refused_and_others_found():
    """What the two tests above are about does happen: without it they would show little."""
    cases = [Case(seed) for seed in range(40)]
    results = [case.best() for case in cases]
    assert sum(len(one.codecs) > 1 for one in results) >= 3
    assert sum(case.judged > 1 for case in cases) >= 3
    assert sum(not one.codecs for one in results) >= 1


def test_a_search_that_is_cut_short_keeps_a_true_bound():
    for seed in range(40):
        case = Case(seed)
        full = case.best()
        cut = choose(
            *(case.options(), case.build, lambda one: solvers.solve(one.objective), case.judge),
            max_loss=case.max_loss,
            most_judged=1,
        )
        assert cut.solution.bound <= full.solution.value * (1 + 1e-12) <= cut.solution.value * (1 + 1e-9)
        assert cut.loss.loss <= case.max_loss


def test_schedules_tell_true_bytes_in_both_directions():
    for seed in range(20):
        case = Case(seed)
        subsets = chain.from_iterable(combinations(sorted(case.crossings), size) for size in (1, 2, 3))
        for keys in list(subsets)[:20]:
            bridge = case.build({key: case.crossings[key][seed % 3] for key in keys})
            solution = solvers.solve(bridge.objective)
            from partition.problem import schedule

            laid = schedule(bridge, solution.placement)
            total = sum(one.compute_s for one in laid.stages)
            total += sum(one.transfer_s + one.delay_s for one in laid.messages)
            assert total == pytest.approx(solution.value, rel=1e-9, abs=1e-12)
            for message in laid.messages:
                sizes = [
                    case.crossings[name, message.direction][seed % 3].size_bytes
                    if (name, message.direction) in keys
                    else case.graph.graph["tensors"][name].size_bytes
                    for name in message.tensors
                ]
                assert message.size_bytes == sum(sizes)
