"""The chosen policy is the best of all, by plain enumeration; and what nothing meets is refused with the nearest."""

import re
from dataclasses import replace

import numpy as np
import pytest

from graph_io import load_graph, structure_sha256
from partition import InputError, Link
from partition.codecs.data import DataSource
from partition.exits.calibrate import calibrate_exits, given_exits
from partition.exits.choice import choose_exit
from partition.exits.family import ExitFamily, Way
from partition.exits.segments import segments
from partition.exits.table import ExitRecord, ExitTable
from tests.models import model, node
from tests.partition.costs import machine, timings_of
from tests.partition.exits.families import branchy, rows, single
from tests.partition.exits.naive_exits import placement_latencies, policies, undominated
from tests.partition.exits.policies import deciding_policy
from tests.scale import scaled


def family_of(kind):
    if kind == "joint":
        return ExitFamily.parse(branchy())
    return ExitFamily.parse({name: single(seed, 6 * seed, name=name) for seed, name in enumerate("abc", 1)})


def table_of(family, confidences, scores):
    """Make a table of figures of our own choosing."""
    n_inputs = len(next(iter(scores.values())))
    records = tuple(
        ExitRecord(
            one.name,
            one.model.name,
            structure_sha256(one.model.proto),
            one.output,
            float(np.mean(scores[one.name])),
            "measured",
            np.array(scores[one.name], np.float64),
            np.array(confidences[one.name], np.float64),
        )
        for one in family.exits
    )
    return ExitTable(records, "softmax", "top-1", DataSource("memory", None, "0" * 64, n_inputs), n_inputs)


class Instance:
    """A family with random figures of exits and machines, and all its policies."""

    def __init__(self, kind, seed):
        draw = np.random.default_rng(seed)
        self.family = family_of(kind)
        names, n_inputs = self.family.names, int(draw.integers(3, 8))
        later = np.linspace(0.4, 0.9, len(names))
        self.confidences = {name: draw.random(n_inputs).round(2).tolist() for name in names}
        self.scores = {
            name: (draw.random(n_inputs) < share).astype(float).tolist()
            for name, share in zip(names, later, strict=True)
        }
        self.table = table_of(self.family, self.confidences, self.scores)
        self.link = Link(10 ** draw.uniform(4, 6), 10 ** draw.uniform(4, 6), float(draw.uniform(0, 4e-3)))
        self.device, self.server = {}, {}
        self.heads, self.rests = {}, {}
        for way in self.family.ways():
            cut = segments(self.family, way)
            head_s = []
            for proto in cut.heads:
                graph = self._measure(proto, draw)
                head_s.append(self.device[graph.graph["structure_sha256"]].whole_model.latency_s)
            rest = self._measure(cut.rest, draw)
            self.heads[way] = head_s
            seconds = [
                {one.id: one.latency_s for one in times[rest.graph["structure_sha256"]].layers}
                for times in (self.device, self.server)
            ]
            self.rests[way] = placement_latencies(rest, *seconds, self.link)
        self.all = list(
            policies(
                list(names),
                self.confidences,
                self.scores,
                lambda used, final: self.heads[Way(used, final)],
                lambda used, final: self.rests[Way(used, final)],
            )
        )

    def _measure(self, proto, draw):
        graph = load_graph(proto)
        key = graph.graph["structure_sha256"]
        if key not in self.device:
            for times, scale in ((self.device, 2e-3), (self.server, 2e-4)):
                times[key] = timings_of(graph, {layer: scale * draw.uniform(0.1, 2) for layer in graph})
        return graph

    def choose(self, **asked):
        return choose_exit(
            self.family,
            self.link,
            exits=self.table,
            device=list(self.device.values()),
            server=list(self.server.values()),
            **asked,
        )


def best_of(found, limit_s, bound):
    inside = [one for one in found if one[1] <= limit_s]
    if bound is None:
        top = max((one[2] for one in inside), default=None)
        return None if top is None else min(one for one in inside if one[2] == top)
    return min((one for one in inside if one[2] >= bound), default=None)


@pytest.mark.parametrize("kind", ["joint", "several"])
@pytest.mark.parametrize("seed", range(scaled(2, 40)))
def test_the_choice_is_the_best_of_all(kind, seed):
    instance = Instance(kind, seed)
    draw = np.random.default_rng(seed + 1000)
    slowest = sorted({one[1] for one in instance.all})
    slowest = [one for one in slowest if one <= 3 * slowest[0]]
    accuracies = sorted({one[2] for one in instance.all})
    for _ in range(2):
        margin = float(draw.uniform(0.02, 0.3))
        # Of some policy that is just within the deadline, but not with the margin, or within both.
        deadline_s = float(draw.choice(slowest)) * float(draw.uniform(1, 1.2 / (1 - margin)))
        bound = float(draw.choice(accuracies))
        for deadline, accuracy in ((deadline_s, None), (None, bound), (deadline_s, bound)):
            limit_s = float("inf") if deadline is None else deadline * (1 - margin)
            wanted = best_of(instance.all, limit_s, accuracy)
            asked = {"deadline": deadline, "accuracy": accuracy, "margin": margin}
            if wanted is None:
                with pytest.raises(InputError, match="no policy"):
                    instance.choose(**asked)
                continue
            policy = instance.choose(**asked)
            assert policy.expected_latency_s == pytest.approx(wanted[0], rel=1e-9)
            assert policy.slowest_latency_s <= limit_s
            if accuracy is None:
                assert policy.accuracy == wanted[2]
            else:
                assert policy.accuracy >= accuracy
            front = undominated(one for one in instance.all if one[1] <= limit_s)
            assert [one.accuracy for one in policy.tradeoff] == [one[1] for one in front]
            np.testing.assert_allclose(
                [one.expected_latency_s for one in policy.tradeoff], [one[0] for one in front], rtol=1e-9
            )


def test_a_policy_adds_up():
    instance = Instance("joint", 5)
    # One that stops on the device.
    policy = next(
        found
        for point in instance.choose(accuracy=0.0).tradeoff[::-1]
        if (found := instance.choose(accuracy=point.accuracy)).heads
    )
    assert sum(policy.shares) == pytest.approx(1.0)
    assert policy.stop_latency_s[-1] == policy.slowest_latency_s
    stops = np.cumsum(instance.heads[policy.way])
    np.testing.assert_allclose(policy.stop_latency_s[:-1], stops)
    assert policy.slowest_latency_s == pytest.approx(stops[-1] + min(instance.rests[policy.way]))
    assert policy.accuracy_source == "measured"
    n_inputs = instance.table.n_inputs
    error = (policy.accuracy * (1 - policy.accuracy) / n_inputs) ** 0.5
    assert policy.accuracy_standard_error == pytest.approx(error)
    assert [policy.inputs[0].name] == ["x"]
    assert policy.plan.optimal


def test_ties_go_to_fewer_exits():
    """An exit that answers nothing better and is never faster is left out."""
    family = family_of("joint")
    same = [1.0] * 4
    table = table_of(family, {name: [0.5] * 4 for name in family.names}, dict.fromkeys(family.names, same))
    policy = choose_exit(family, "1Mbps", exits=table, deadline="10s")
    assert (policy.device_exits, policy.final) == ((), "early")
    assert len(policy.tradeoff) == 1


@pytest.fixture(scope="module")
def measured():
    return calibrate_exits(branchy(), rows(40))


def test_given_accuracies_allow_static_choices_only(measured):
    table = given_exits(branchy(), {"early": 0.7, "middle": 0.8, "late": 0.9})
    policy = choose_exit(branchy(), "1Mbps", exits=table, accuracy=0.75)
    assert (policy.device_exits, policy.final, policy.accuracy) == ((), "middle", 0.8)
    assert (policy.accuracy_source, policy.accuracy_standard_error, policy.n_inputs) == ("given", None, None)
    assert all(one.device_exits == () and one.accuracy_source == "given" for one in policy.tradeoff)
    assert "accuracies were given" in " ".join(policy.assumptions)
    assert choose_exit(branchy(), "1Mbps", exits=table, deadline="1s").final == "late"


def test_outputs_on_the_server_are_not_decided_on_the_device(measured):
    policy = choose_exit(branchy(), "1Mbps", exits=measured, deadline="10s", output_on="server")
    assert all(one.device_exits == () for one in policy.tradeoff)
    assert any("wanted on the server" in one for one in policy.assumptions)


def test_the_file_of_a_table_gives_the_same_choice(measured, tmp_path):
    measured.save(tmp_path / "exits.json")
    bound = measured.exits[-1].accuracy
    one = choose_exit(branchy(), "1Mbps", exits=measured, accuracy=bound)
    other = choose_exit(branchy(), "1Mbps", exits=tmp_path / "exits.json", accuracy=bound)
    assert one.to_json() == other.to_json()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "neither deadline nor accuracy is given"),
        ({"deadline": "1us"}, "no policy meets the deadline of 1 us with 0.1 of it kept free: the fastest slowest way"),
        ({"deadline": 0}, "give a time above 0"),
        ({"deadline": "soon"}, "deadline"),
        ({"accuracy": 0.999}, "no policy has an accuracy of 0.999: the best is"),
        ({"accuracy": 0.999, "deadline": "1s"}, "0.999 within the deadline: the best is"),
        ({"accuracy": 1.5}, "accuracy is 1.5; give a number from 0 to 1"),
        ({"accuracy": True}, "accuracy is True"),
        ({"accuracy": float("nan")}, "accuracy is nan"),
        ({"deadline": "1s", "margin": 1.0}, "margin is 1.0"),
        ({"deadline": "1s", "margin": -0.1}, "margin is -0.1"),
        ({"deadline": "1s", "margin": float("nan")}, "margin is nan"),
        ({"deadline": "1s", "input_bytes": {"z": 10}}, "input_bytes: 'z' is no input of the models; they read x$"),
        ({"deadline": "1s", "input_bytes": {"a0": 10}}, "input_bytes: 'a0' is no input of the models; they read x$"),
        ({"deadline": "1s", "load": {"gateway": 0.2}}, "load has the key 'gateway'"),
        ({"deadline": "1s", "threads": {"device": 3}}, "is for 1 threads|threads"),
        ({"deadline": "1s", "output_on": "moon"}, "output_on"),
    ],
)
def test_what_cannot_be_asked_is_refused(measured, asked, words):
    with pytest.raises(InputError, match=words):
        choose_exit(branchy(), "1Mbps", exits=measured, **asked)


def test_what_a_refusal_tells_may_be_asked_for(measured):
    family = family_of("joint")
    names, right = family.names, {name: [1.0, float(name != "early"), 0.0] for name in family.names}
    table = table_of(family, {name: [0.5, 0.5, 0.5] for name in names}, right)
    with pytest.raises(InputError, match=r"the best is 0\.6666, of middle; give at most that$"):
        choose_exit(family, "1Mbps", exits=table, accuracy=0.6667)
    assert choose_exit(family, "1Mbps", exits=table, accuracy=0.6666).accuracy == pytest.approx(2 / 3)
    for margin in (0.0, 0.1, 0.37):
        with pytest.raises(InputError, match="no policy meets") as refused:
            choose_exit(family, "1Mbps", exits=table, deadline="1us", margin=margin)
        told = re.search(r"give a deadline of (\S+ \S+) or more", str(refused.value)).group(1)
        assert choose_exit(family, "1Mbps", exits=table, deadline=told, margin=margin).deadline_s < 1e-3


def test_confidences_of_single_rows_say_nothing_of_a_batch():
    """Of a batch the least confident row decides, so it stops more rarely than its rows."""
    open_batch = branchy("batch")
    single_rows = calibrate_exits(open_batch, rows(8))
    with pytest.raises(
        InputError, match=r"of shape \[1, 8\], and the policy is for \[4, 8\].*give the same dimensions"
    ):
        choose_exit(open_batch, "1Mbps", exits=single_rows, deadline="1s", dims={"batch": 4})
    assert choose_exit(open_batch, "1Mbps", exits=single_rows, deadline="1s", dims={"batch": 1}).accuracy <= 1
    stacked = np.concatenate([inputs["x"] for inputs, _ in rows(8)])
    batches = calibrate_exits(open_batch, [({"x": stacked}, np.zeros(8, np.int64))], dims={"batch": 4})
    assert (batches.n_inputs, batches.shapes) == (2, {"x": (4, 8)})
    assert choose_exit(open_batch, "1Mbps", exits=batches, deadline="1s", dims={"batch": 4}).n_inputs == 2
    with pytest.raises(InputError, match=r"of shape \[4, 8\], and the policy is for \[1, 8\]"):
        choose_exit(open_batch, "1Mbps", exits=batches, deadline="1s")


def test_a_table_of_several_models_says_so_beside_one():
    table = calibrate_exits({name: single(seed, 6, name=name) for seed, name in enumerate("ab")}, rows(5))
    with pytest.raises(InputError, match="the exits file is of a model for each exit: a, b; give these models"):
        choose_exit(single(0, 6, name="a"), "1Mbps", exits=table, deadline="1s")


def test_a_table_of_another_model_is_refused(measured):
    with pytest.raises(InputError, match="not of this model"):
        choose_exit(branchy(name="other", batch=2), "1Mbps", exits=measured, deadline="1s")
    family = ExitFamily.parse({name: single(1, 6, name=name) for name in ("early", "late")})
    with pytest.raises(InputError, match="the exits file is of early, middle, late"):
        choose_exit(family, "1Mbps", exits=measured, deadline="1s")


def test_a_segment_that_was_not_measured_is_named(measured, tmp_path):
    whole = load_graph(branchy())
    with pytest.raises(InputError, match=r"segment 'rest-early' is not among the timings of the device .*--write-segm"):
        choose_exit(branchy(), "1Mbps", exits=measured, deadline="1s", device=timings_of(whole, 1e-3))
    with pytest.raises(InputError, match="holds no timings file"):
        choose_exit(branchy(), "1Mbps", exits=measured, deadline="1s", device=tmp_path)
    with pytest.raises(InputError, match="the sequence is empty"):
        choose_exit(branchy(), "1Mbps", exits=measured, deadline="1s", device=[])
    with pytest.raises(InputError, match="predicts any segment by itself"):
        choose_exit(branchy(), "1Mbps", exits=measured, deadline="1s", server=[machine()])
    twice = timings_of(whole, 1e-3)
    with pytest.raises(InputError, match="are of one segment; keep one"):
        choose_exit(branchy(), "1Mbps", exits=measured, deadline="1s", device=[twice, replace(twice, name="b")])


def test_timings_are_found_in_a_folder(measured, tmp_path):
    from partition.files import write_json

    instance = Instance("joint", 7)
    for role, times in (("device", instance.device), ("server", instance.server)):
        (tmp_path / role).mkdir()
        for number, one in enumerate(times.values()):
            write_json(tmp_path / role / f"{number}.json", one.to_json())
    measured.save(tmp_path / "device" / "exits.json")
    found = choose_exit(
        instance.family,
        instance.link,
        exits=instance.table,
        deadline="1s",
        device=tmp_path / "device",
        server=tmp_path / "server",
    )
    assert found.expected_latency_s == instance.choose(deadline="1s").expected_latency_s


def test_inputs_that_may_not_leave(measured):
    """The later layers read what heads made, which may leave; the input itself may not."""
    settings = {"device": machine(layer_overhead_s=10.0), "server": machine(layer_overhead_s=1e-4), "rtt": 0}
    accuracy = measured.exits[-1].accuracy
    free = choose_exit(branchy(), "1Gbps", exits=measured, accuracy=accuracy, **settings)
    held = choose_exit(branchy(), "1Gbps", exits=measured, accuracy=accuracy, keep_inputs=True, **settings)
    assert free.plan.cut == ("x",)
    assert held.plan.cut != ("x",)
    for point in held.tradeoff:
        assert "x" not in point.cut
    assert any(point.cut for point in held.tradeoff)


def skipping():
    """The last exit reads what the head makes and, over a skip, the input itself."""
    draw = np.random.default_rng(4)
    weights = {name: draw.standard_normal((8, 8)).astype(np.float32) for name in ("w0", "w1")}
    weights |= {name: draw.standard_normal((8, 3)).astype(np.float32) for name in ("h1", "h2")}
    nodes = [
        node("MatMul", "x w0", "m0"),
        node("Tanh", "m0", "a0"),
        node("MatMul", "a0 h1", "early"),
        node("MatMul", "a0 w1", "m1"),
        node("Add", "m1 x", "s1"),
        node("Tanh", "s1", "a1"),
        node("MatMul", "a1 h2", "late"),
    ]
    return model(nodes, {"x": [1, 8]}, ["early", "late"], weights, name="skipping")


def test_a_rest_that_reads_the_input_too_holds_all_that_it_reads():
    free = deciding_policy(skipping())
    held = deciding_policy(skipping(), keep_inputs=True)
    assert "x" in free.plan.cut
    assert held.plan.cut
    assert not {"x", "a0"} & set(held.plan.cut)
    assert held.plan.keep_inputs
    words = "keep_inputs: 'rest-early+late' reads x, so what it reads of heads stays on the device too: a0"
    assert words in held.assumptions


def test_an_input_that_a_head_only_moves_stays_an_input():
    draw = np.random.default_rng(4)
    weights = {"shape": np.array([1, 8]), "w1": draw.standard_normal((8, 8)).astype(np.float32)}
    weights |= {name: draw.standard_normal((8, 3)).astype(np.float32) for name in ("h1", "h2")}
    nodes = [
        node("Reshape", "x shape", "moved"),
        node("MatMul", "moved h1", "early"),
        node("MatMul", "moved w1", "m1"),
        node("Tanh", "m1", "a1"),
        node("MatMul", "a1 h2", "late"),
    ]
    moving = model(nodes, {"x": [2, 4]}, ["early", "late"], weights, name="moving")
    data = [({"x": draw.standard_normal((2, 4)).astype(np.float32)}, 0) for _ in range(40)]
    free = deciding_policy(moving, data=data)
    held = deciding_policy(moving, data=data, keep_inputs=True)
    assert free.plan.cut in (("moved",), ("x",))
    assert not {"moved", "x"} & set(held.plan.cut)
    assert held.plan.keep_inputs


def test_encoded_inputs_are_priced_where_they_are_sent():
    models = {"small": single(1, 4, name="small"), "large": single(2, 24, name="large")}
    plain = deciding_policy(models)
    smaller = deciding_policy(models, input_bytes={"x": 4})
    assert smaller.plan.encoded_inputs == {"x": 4}
    assert smaller.slowest_latency_s < plain.slowest_latency_s
