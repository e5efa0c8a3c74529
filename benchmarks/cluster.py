"""A cluster that trains, as events: batches are made, computed and added up.

Each host has one input pipeline, which makes a batch for one of its devices after the
other and keeps some ahead. Each device takes a batch and computes its gradients; when
the slowest is ready, all add them up, and only then take the next batch.
"""

import collections
import dataclasses
import heapq

import numpy as np

from benchmarks.devices import Device, Network

_WARM_UP = 5  # steps until what was kept ahead says nothing any more
_MADE, _COMPUTED, _REDUCED = range(3)


def ring_seconds(members: int, size: float, network: Network) -> float:
    """Returns how long an all-reduce around a ring takes.

    Each of n members sends 2 (n - 1) messages of an nth of the whole: n - 1 until each
    holds the sum of one part, as many until all hold all parts.

    Args:
      members: n.
      size: Bytes that each member has to add.
      network: What joins them.
    """
    messages = 2 * (members - 1)
    return messages * (size / members / network.bandwidth + network.latency)


def all_reduce_seconds(device: Device, count: int, size: float) -> float:
    """Returns how long so many devices take to add up `size` bytes of gradients.

    Where hosts are joined by another network than the devices in them, a ring in each
    host and one of the hosts.
    """
    if device.between is None:
        return ring_seconds(count, size, device.inside)
    hosts = -(-count // device.per_host)
    return ring_seconds(
        min(count, device.per_host), size, device.inside
    ) + ring_seconds(hosts, size, device.between)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What is simulated.

    Attributes:
      devices: How many there are.
      per_host: How many of them share an input pipeline.
      rows: Rows that a device takes per step.
      compute: Seconds that a device computes per step, update included.
      reduce: Seconds of an all-reduce.
      records: Records a second that a host's pipeline makes.
      prefetch: Batches that a pipeline keeps ahead, for each device.
      jitter: Standard deviation of what is made and computed, over its mean.
    """

    devices: int
    per_host: int
    rows: float
    compute: float
    reduce: float
    records: float = float("inf")
    prefetch: int = 2
    jitter: float = 0.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Where a step's time goes, by the device that all others wait for last.

    Attributes:
      step: Mean seconds of a step.
      waiting: Share of it in which that device waits for its batch.
      computing: Share in which it computes.
      network: Share of the all-reduce.
    """

    step: float
    waiting: float
    computing: float
    network: float

    @property
    def bound(self) -> str:
        """What takes most of a step: `input`, `compute` or `network`."""
        shares = {
            "compute": self.computing,
            "input": self.waiting,
            "network": self.network,
        }
        return max(shares, key=lambda name: shares[name])


def simulate(cluster: Cluster, steps: int = 20, seed: int = 1) -> Outcome:
    """Returns the outcome of so many steps, behind a few that do not count."""
    draw = np.random.default_rng(seed)
    events: list[tuple[float, int, int, int]] = []  # time, order, what, whose
    order = 0

    def push(time: float, what: int, whose: int) -> None:
        nonlocal order
        order += 1  # who came first is first, and no two events are alike
        heapq.heappush(events, (time, order, what, whose))

    def about(seconds: float) -> float:
        spread = cluster.jitter
        if not spread:
            return seconds
        return seconds * draw.lognormal(-(spread**2) / 2, spread)

    hosts = -(-cluster.devices // cluster.per_host)
    of_host = [device // cluster.per_host for device in range(cluster.devices)]
    room = [cluster.prefetch * of_host.count(host) for host in range(hosts)]
    ready, making = [0] * hosts, [False] * hosts
    waiting: list[collections.deque[int]] = [collections.deque() for _ in range(hosts)]
    started = [0.0] * cluster.devices

    def serve(host: int, now: float) -> None:
        while ready[host] and waiting[host]:
            device = waiting[host].popleft()
            ready[host] -= 1
            started[device] = now
            push(now + about(cluster.compute), _COMPUTED, device)
        if not making[host] and ready[host] < room[host]:
            making[host] = True
            push(now + about(cluster.rows / cluster.records), _MADE, host)

    def begin(now: float) -> None:
        for device, host in enumerate(of_host):
            waiting[host].append(device)
        for host in range(hosts):
            serve(host, now)

    taken: list[tuple[float, float, float]] = []  # waiting, computing, network
    begun, computing = 0.0, cluster.devices
    begin(begun)
    while len(taken) < _WARM_UP + steps:
        now, _, what, whose = heapq.heappop(events)
        if what == _MADE:
            making[whose] = False
            ready[whose] += 1
            serve(whose, now)
        elif what == _COMPUTED:
            computing -= 1
            if not computing:
                push(now + cluster.reduce, _REDUCED, whose)
                last = started[whose]
                taken.append((last - begun, now - last, cluster.reduce))
        else:
            begun, computing = now, cluster.devices
            begin(begun)
    means = np.mean(taken[_WARM_UP:], axis=0)
    step = float(means.sum())
    return Outcome(step, *(float(x) for x in means / step))
