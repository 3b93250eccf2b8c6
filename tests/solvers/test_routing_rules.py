"""The rules of a router one by one: by hand, and against least squares."""

import math

import numpy as np
import pytest

from solvers import routing_rules as rules
from solvers.routing_central import choose_route, mirror, route_expected_s
from solvers.routing_knowledge import informed_adverts, link_rows, own_row

INF = math.inf
TIME = (1.0, 1.0, 1.0, 1.0)


def chain(n_machines, coefficients, rtts, per_byte=1e-5):
    """Machines in a row, each joined to the next."""
    own = [own_row(one, 100.0, 0.03) for one in coefficients]
    links = link_rows(
        n_machines,
        [
            (source, target, per_byte, rtt / 2)
            for k, rtt in enumerate(rtts)
            for source, target in ((k, k + 1), (k + 1, k))
        ],
    )
    return own, links, informed_adverts(own, links, [0.0] * n_machines)


def choose(known, machine, length, *, visited=None, now_s=0.0, prices=TIME, stale_s=INF, by_pings=False, pending=None):
    own, links, adverts = known
    return rules.choose(
        machine,
        length,
        100.0,
        100.0,
        1 << machine if visited is None else visited,
        now_s,
        own[machine],
        links[machine],
        adverts[machine],
        pending or [0.0] * len(own),
        prices,
        stale_s,
        by_pings,
    )


def three():
    return chain(3, [(0.0, 0.02, 0.0), (0.0, 0.01, 0.0), (0.0, 0.001, 0.0)], [0.02, 0.1])


def test_a_choice_by_hand():
    # Length 1: 20 ms here; 20 + 2 + 10 ms on the gateway; 120 + 4 + 1 ms in the cloud.
    assert choose(three(), 0, 1) == (rules.KEEP, 0, 0, pytest.approx(0.020))
    assert choose(three(), 0, 5) == (rules.SEND, 1, 1, pytest.approx(0.022 + 0.05))
    assert choose(three(), 0, 20) == (rules.SEND, 1, 2, pytest.approx(0.124 + 0.02))
    # The gateway decides anew; nothing goes back to where it was.
    assert choose(three(), 1, 20, visited=0b011) == (rules.SEND, 2, 2, pytest.approx(0.102 + 0.02))
    assert choose(three(), 1, 20, visited=0b111) == (rules.KEEP, 1, 1, pytest.approx(0.2))


def test_ties_stay():
    known = chain(2, [(0.0, 0.01, 0.0), (0.0, 0.01, 0.0)], [0.0], per_byte=0.0)
    assert choose(known, 0, 10)[0] == rules.KEEP


def test_work_that_waits_counts():
    known = three()
    assert rules.expected_wait_s(known[0][0], 5.0) == 0
    rules.queue_run(known[0][0], 1.0, 0.0)
    assert rules.expected_wait_s(known[0][0], 0.25) == 0.75
    assert choose(known, 0, 1)[:3] == (rules.SEND, 1, 1)
    rules.end_run(known[0][0], 1.0, 1.0)
    assert rules.expected_wait_s(known[0][0], 1.0) == 0
    assert choose(known, 0, 1)[0] == rules.KEEP
    # What was sent to the cloud and is not back yet waits there.
    assert choose(known, 0, 20, pending=[0.0, 0.0, 1.0])[:3] == (rules.SEND, 1, 1)


def test_energy_prices():
    # Computing is dear, waiting is not.
    assert choose(three(), 0, 1, prices=(0.1, 10.0, 1.0, 1.0))[:3] == (rules.SEND, 1, 1)
    assert choose(three(), 0, 20, prices=(10.0, 0.1, 10.0, 10.0))[0] == rules.KEEP


def test_news_are_asked_for_where_they_could_matter():
    known = chain(2, [(0.0, 0.01, 0.0), (0.0, 0.001, 0.0)], [0.1], per_byte=0.0)
    # Length 10: 100 ms here, 110 ms there, so 10 ms for the news: worth it after sqrt(0.1) of the limit.
    assert choose(known, 0, 10, now_s=18.0, stale_s=60.0)[0] == rules.KEEP
    action, near, far, expected_s = choose(known, 0, 10, now_s=19.0, stale_s=60.0)
    assert (action, near, far) == (rules.PROBE, 1, 1)
    assert expected_s == pytest.approx(0.11)
    # Never where they could not change anything: 5 ms here.
    known[0][0][1] = 0.0005
    assert choose(known, 0, 10, now_s=1e6, stale_s=60.0)[0] == rules.KEEP
    # Nor where they are not old, nor where nobody asks.
    known[0][0][1] = 0.01
    assert choose(known, 0, 10, now_s=1e6)[0] == rules.KEEP
    # By pings: at the limit.
    assert choose(known, 0, 10, now_s=59.0, stale_s=60.0, by_pings=True)[0] == rules.KEEP
    assert choose(known, 0, 10, now_s=60.0, stale_s=60.0, by_pings=True) == (rules.PING, 1, 1, pytest.approx(0.1))


def test_a_link_that_is_away_is_not_used_and_asked_ever_more_rarely():
    own, links, adverts = known = three()
    rules.miss(1, 10.0, links[0])
    assert choose(known, 0, 20)[0] == rules.KEEP
    due = [now_s for now_s in np.arange(10, 200, 0.5) if retry(links[0], now_s)]
    assert due[:6] == [11.0, 13.0, 17.0, 25.0, 41.0, 73.0]
    assert np.diff(due)[-1] == 60.0
    assert not rules.retry_due(1, 1e9, INF, links[0])
    offer = [0.0] * (3 * rules.ADVERT_FIELDS)
    rules.advertise(1, 0, 0.0, own[1], links[1], adverts[1], offer, 0)
    rules.take_offer(1, 200.0, links[0], adverts[0], offer, 0)
    assert choose(known, 0, 20, now_s=200.0)[0] == rules.SEND


def retry(links, now_s):
    due = rules.retry_due(1, now_s, 60.0, links)
    if due:
        rules.miss(1, now_s, links)
    return due


def test_adverts_do_not_go_back_and_grow_old():
    own, links, adverts = three()
    offer = [0.0] * (3 * rules.ADVERT_FIELDS)
    rules.advertise(1, 0, 7.0, own[1], links[1], adverts[1], offer, 0)
    rows = [offer[k : k + rules.ADVERT_FIELDS] for k in range(0, len(offer), rules.ADVERT_FIELDS)]
    assert rows[0][0] == -1
    assert rows[1] == pytest.approx([0b010, 0, 0, 0, 0, 0.01, 0, 0, 0])
    assert rows[2] == pytest.approx([0b110, 0.1, 1e-5, 1e-5, 0, 0.001, 0, 0, 7.0])
    # To the cloud: the end node, and not the cloud itself.
    rules.advertise(1, 2, 7.0, own[1], links[1], adverts[1], offer, 0)
    assert offer[0] == 0b011
    assert offer[2 * rules.ADVERT_FIELDS] == -1


def test_in_a_ring_no_way_goes_in_a_circle():
    own = [own_row((0.0, 0.01, 0.0), 100.0, 0.03) for _ in range(4)]
    ring = [(k, (k + step) % 4, 1e-6, 0.01) for k in range(4) for step in (1, 3)]
    links = link_rows(4, ring)
    adverts = informed_adverts(own, links, [0.0] * 4)
    for near in (1, 3):
        for far in range(4):
            way = adverts[0][(near * 4 + far) * rules.ADVERT_FIELDS]
            assert way == -1 or not int(way) & 1
    assert rules.next_hop(2, 0b0001, 0.0, links[0], adverts[0]) == 1
    assert rules.next_hop(2, 0b0011, 0.0, links[0], adverts[0]) == 3
    assert rules.next_hop(2, 0b1011, 0.0, links[0], adverts[0]) == -1


def test_short_messages_tell_the_round_trip_and_long_ones_the_rates():
    for size, field in ((10.0, rules.LINK_RTT_S), (1e7, rules.LINK_UP)):
        (links, _) = link_rows(2, [(0, 1, 1e-6, 0.05), (1, 0, 1e-7, 0.05)])
        before = list(links)
        truth = 0.1 + size * 1.1e-6
        changed = {rules.LINK_RTT_S: 2.0, rules.LINK_UP: 3.0}[field]
        true_s = truth * changed
        for _ in range(20):
            rules.see_network_time(1, true_s, size, size, links)
        at = rules.LINK_FIELDS
        now = links[at + rules.LINK_RTT_S] + size * (links[at + rules.LINK_UP] + links[at + rules.LINK_DOWN])
        assert now == pytest.approx(true_s, rel=1e-3)
        other = rules.LINK_UP if field == rules.LINK_RTT_S else rules.LINK_RTT_S
        assert links[at + other] == pytest.approx(before[at + other], rel=0.03)


def test_network_times_never_turn_negative():
    (links, _) = link_rows(2, [(0, 1, 1e-6, 0.05), (1, 0, 1e-7, 0.05)])
    for _ in range(50):
        rules.see_network_time(1, -5.0, 1e5, 1e5, links)
    at = rules.LINK_FIELDS
    assert links[at + rules.LINK_RTT_S] >= 0
    assert links[at + rules.LINK_UP] > 0
    assert links[at + rules.LINK_DOWN] > 0


def test_refit_follows_a_machine_whose_figures_were_wrong():
    generator = np.random.default_rng(0)
    own = own_row((0.01, 0.02, 0.0), 100.0, 0.03)
    lengths = generator.integers(1, 100, 600)
    for length in lengths:
        rules.see_run_time(own, float(length), (0.03 + 0.05 * length) * math.exp(generator.normal(0, 0.03)))
    for length in (1, 10, 50, 100):
        assert rules.predicted_s(own, 0, length) == pytest.approx(0.03 + 0.05 * length, rel=0.02)
    # A straight line stays one.
    assert own[2] == 0


def test_refit_of_a_curve():
    generator = np.random.default_rng(1)
    own = own_row((0.01, 0.002, 1e-5), 400.0, 0.02)
    for length in generator.integers(1, 400, 2000):
        rules.see_run_time(
            own, float(length), (0.01 + 0.001 * length + 3e-5 * length**2) * math.exp(generator.normal(0, 0.02))
        )
    for length in (5, 50, 200, 400):
        assert rules.predicted_s(own, 0, length) == pytest.approx(0.01 + 0.001 * length + 3e-5 * length**2, rel=0.03)


def test_refit_is_weighted_least_squares_where_nothing_is_forgotten(monkeypatch):
    monkeypatch.setattr(rules, "FORGETTING", 1.0)
    monkeypatch.setattr(rules, "SPREAD_GAIN", 0.0)
    monkeypatch.setattr(rules, "OUTLIER", 1e9)
    generator = np.random.default_rng(2)
    lengths = generator.integers(1, 100, 300).astype(float)
    taken = (0.011 + 0.0205 * lengths) * np.exp(generator.normal(0, 0.03, 300))
    own = own_row((0.01, 0.02, 0.0), 100.0, 0.03)
    prior = np.array([[own[3], own[4]], [own[4], own[6]]])
    theta, covariance = np.array([0.01, 2.0]), prior
    for length, seconds in zip(lengths, taken, strict=True):
        # The same filter with matrices: the row and the noise are relative to what was expected.
        row = np.array([1.0, length / 100]) / (theta @ [1.0, length / 100])
        gain = covariance @ row / (0.03**2 + row @ covariance @ row)
        theta = theta + gain * (seconds / (theta @ [1.0, length / 100]) - 1)
        covariance = covariance - np.outer(gain, row @ covariance)
        rules.see_run_time(own, length, seconds)
    np.testing.assert_allclose([own[0], own[1] * 100], theta, rtol=1e-9)


def test_single_outliers_hardly_move_it_and_a_change_is_followed_at_once():
    own = own_row((0.0, 0.02, 0.0), 100.0, 0.03)
    for k in range(200):
        rules.see_run_time(own, 50.0, 1.0 if k % 10 else 20.0)
    assert rules.predicted_s(own, 0, 50.0) == pytest.approx(1.0, rel=0.05)
    for _ in range(5):
        rules.see_run_time(own, 50.0, 3.0)
    assert rules.predicted_s(own, 0, 50.0) == pytest.approx(3.0, rel=0.05)
    assert rules.predicted_s(own, 0, 20.0) == pytest.approx(1.2, rel=0.1)


def test_what_made_a_machine_look_slow_is_forgotten_while_nothing_runs_there():
    own = own_row((0.1, 0.02, 0.0), 100.0, 0.03)
    for k in range(6):
        rules.see_run_time(own, 50.0, 4.4)
        rules.end_run(own, 0.0, float(k))
    slow_s = rules.predicted_s(own, 0, 50.0)
    assert slow_s == pytest.approx(4.4, rel=0.05)
    assert rules.believed_s(own, 50.0, 5.0) == slow_s
    assert rules.believed_s(own, 50.0, 5.0 + rules.UNLEARN_S) == pytest.approx((slow_s + 1.1) / 2)
    assert rules.believed_s(own, 50.0, 5.0 + 20 * rules.UNLEARN_S) == pytest.approx(1.1, rel=1e-4)
    # Not while it works, and never what made it look faster.
    rules.queue_run(own, 1.0, 6.0)
    assert rules.believed_s(own, 50.0, 5.0 + rules.UNLEARN_S) == slow_s
    quick = own_row((0.1, 0.02, 0.0), 100.0, 0.03)
    for _ in range(6):
        rules.see_run_time(quick, 50.0, 0.11)
    assert rules.believed_s(quick, 50.0, 1e6) == rules.predicted_s(quick, 0, 50.0)
    # Neighbours are told what is believed.
    links, offer = link_rows(1, [])[0], [0.0] * rules.ADVERT_FIELDS
    rules.end_run(own, 1.0, 6.0)
    rules.advertise(0, 0, 6.0 + rules.UNLEARN_S, own, links, [-1.0] * rules.ADVERT_FIELDS, offer, 0)
    told_s = rules.predicted_s(offer, rules.ADVERT_COEFFICIENTS, 50.0)
    assert told_s == pytest.approx(rules.believed_s(own, 50.0, 6.0 + rules.UNLEARN_S))


def test_one_length_for_ever_leaves_everything_finite():
    generator = np.random.default_rng(3)
    own = own_row((0.01, 0.02, 1e-4), 100.0, 0.03)
    for _ in range(20_000):
        rules.see_run_time(own, 7.0, 0.1549 * math.exp(generator.normal(0, 0.05)))
    assert all(map(math.isfinite, own))
    assert rules.predicted_s(own, 0, 7.0) == pytest.approx(0.1549, rel=0.03)
    assert rules.predicted_s(own, 0, 100.0) == pytest.approx(3.01, rel=0.5)


def test_nothing_is_learnt_where_no_time_was_expected():
    own = own_row((-1.0, 0.1, 0.0), 100.0, 0.03)
    before = list(own)
    rules.see_run_time(own, 5.0, 1.0)
    assert own == before


def test_central_choice_by_hand():
    own, links, _ = three()
    first, machines = [0, 1, 3, 6], [0, 0, 1, 0, 1, 2]

    def choice(length, **options):
        given = {"prices": TIME, "stale_s": INF, "by_pings": False, "time_s": 0.0} | options
        return choose_route(
            length, 100.0, 100.0, given.pop("time_s"), [0.0] * 3, first, machines, own, links, *given.values()
        )

    assert choice(1) == (rules.KEEP, 0, pytest.approx(0.02))
    assert choice(5) == (rules.SEND, 1, pytest.approx(0.072))
    assert choice(20) == (rules.SEND, 2, pytest.approx(0.144))
    assert route_expected_s(20, 100.0, 100.0, 0.0, [0.0] * 3, 3, 6, machines, own, links) == pytest.approx(0.144)
    assert choice(5, time_s=100.0, stale_s=60.0)[:2] == (rules.PROBE, 2)
    assert choice(5, time_s=100.0, stale_s=60.0, by_pings=True)[:2] == (rules.PING, 2)
    links[1][2 * rules.LINK_FIELDS] = rules.LINK_AWAY
    assert choice(20)[:2] == (rules.SEND, 1)


def test_what_one_end_of_a_link_knows_the_other_end_is_told():
    _, links, _ = three()
    links[0][rules.LINK_FIELDS + rules.LINK_RTT_S] = 0.5
    links[0][rules.LINK_FIELDS + rules.LINK_UP] = 3.0
    links[0][rules.LINK_FIELDS + rules.LINK_DOWN] = 4.0
    mirror(0, 1, 9.0, links)
    assert links[1][:5] == [rules.LINK_UP_STATE, 0.5, 4.0, 3.0, 9.0]
