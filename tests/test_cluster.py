"""The simulated cluster against what can be said of it by hand."""

import dataclasses
import itertools

import numpy as np
import pytest

from benchmarks.cluster import Cluster, all_reduce_seconds, ring_seconds, simulate
from benchmarks.devices import DEVICES, Network, ethernet

NETWORK = Network("strings", bandwidth=50.0, latency=0.25)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_a_ring_takes_as_long_as_its_messages(members):
    draw = np.random.default_rng(0)
    parts = draw.integers(0, 9, [members, members])  # of each member
    held, seconds = parts.copy(), 0.0
    for turn in range(2 * (members - 1)):
        sent = [(each - turn) % members for each in range(members)]
        before = held.copy()
        for sender, part in enumerate(sent):
            receiver = (sender + 1) % members
            known = before[receiver, part] if turn < members - 1 else 0
            held[receiver, part] = before[sender, part] + known
        seconds += 30.0 / members / NETWORK.bandwidth + NETWORK.latency
    assert (held == parts.sum(axis=0)).all()
    assert ring_seconds(members, 30.0, NETWORK) == pytest.approx(seconds)


def test_hosts_are_a_ring_of_their_own():
    a100 = DEVICES["A100"]
    inside = ring_seconds(8, 1e9, a100.inside)
    assert all_reduce_seconds(a100, 8, 1e9) == inside
    assert all_reduce_seconds(a100, 4, 1e9) == ring_seconds(4, 1e9, a100.inside)
    both = inside + ring_seconds(3, 1e9, a100.between)
    assert all_reduce_seconds(a100, 17, 1e9) == both
    tpu = DEVICES["TPU v4"]
    assert all_reduce_seconds(tpu, 64, 1e9) == ring_seconds(64, 1e9, tpu.inside)


@pytest.mark.parametrize("devices, per_host", [(1, 1), (8, 8), (12, 4), (5, 4)])
@pytest.mark.parametrize("input_seconds", [0.0, 0.9, 1.6, 4.0])
@pytest.mark.parametrize("prefetch", [1, 3])
def test_without_jitter_the_slower_of_input_and_the_rest(
    devices, per_host, input_seconds, prefetch
):
    records = 3 * per_host / input_seconds if input_seconds else float("inf")
    cluster = Cluster(devices, per_host, 3, 1.0, 0.5, records, prefetch)
    outcome = simulate(cluster)
    step = max(input_seconds, 1.0 + 0.5)
    assert outcome.step == pytest.approx(step)
    assert outcome.waiting == pytest.approx(1 - 1.5 / step)
    assert outcome.computing == pytest.approx(1.0 / step)
    assert outcome.network == pytest.approx(0.5 / step)
    if input_seconds > 1.5:  # a full host gets all that its input makes
        assert 3 * per_host / outcome.step == pytest.approx(records)


def test_what_most_of_a_step_is_taken_by():
    assert simulate(Cluster(2, 2, 1, 1.0, 0.5)).bound == "compute"
    assert simulate(Cluster(2, 2, 1, 1.0, 1.5)).bound == "network"
    assert simulate(Cluster(2, 2, 1, 1.0, 0.5, records=0.5)).bound == "input"


def test_all_wait_for_the_slowest():
    outcome = simulate(Cluster(32, 8, 1, 1.0, 0.5, jitter=0.1), steps=200)
    draws = np.random.default_rng(7).lognormal(-0.005, 0.1, [4000, 32])
    assert outcome.step == pytest.approx(0.5 + draws.max(axis=1).mean(), rel=0.01)


@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_more_of_anything_is_never_slower(jitter):
    base = Cluster(16, 8, 4, 1.0, 0.5, records=20.0, jitter=jitter)
    for name, values in {
        "records": (5.0, 10.0, 20.0, 40.0, 80.0),
        "compute": (2.0, 1.0, 0.5),
        "reduce": (2.0, 1.0, 0.0),
        "prefetch": (1, 2, 8),
    }.items():
        steps = [
            simulate(dataclasses.replace(base, **{name: value})).step
            for value in values
        ]
        for slower, faster in itertools.pairwise(steps):
            assert faster <= slower * (1 + 0.1 * jitter), name
    sizes = [ring_seconds(8, 1e9, ethernet(gigabits)) for gigabits in (1, 10, 100)]
    assert sizes == sorted(sizes, reverse=True)
