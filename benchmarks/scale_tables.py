"""Tables of what `python -m benchmarks.scale` computes, and what it assumes."""

import dataclasses
import math
from collections.abc import Iterator, Mapping

from benchmarks.cluster import Cluster, Outcome, simulate
from benchmarks.devices import CPU, DEVICES, Device, Network, ethernet
from benchmarks.results import figure
from benchmarks.runs import (
    DAY,
    EVIDENCE,
    MODELS,
    Phase,
    Run,
    Utilisation,
    fine_tuning,
    in_batches,
    pretraining,
    run_seconds,
    step_seconds,
    train_flops,
    utilisations,
)

_HOUR, _YEAR = 3600.0, 365.25 * DAY
COUNTS = tuple(2**power for power in range(9))
# Assumed: with it, 8 and 256 GPUs lose about what NVIDIA's figures say that they lose.
_JITTER = 0.02
# Records a second of two cores, in batches of 32: the least in benchmarks/NOTES.md.
_RECORDS = {"own": 64_500, "token": 37_500, "whole_word": 27_300, "span": 22_300}
_CORES = 2
_ROWS_PER_DEVICE = 64
# Those of which one can rent many.
ACCELERATORS = [name for name in DEVICES if name != CPU.name]

Table = list[list[str]]


@dataclasses.dataclass(frozen=True)
class Assumptions:
    """Devices with their prices, and what share of their peaks is used, by name."""

    devices: Mapping[str, Device]
    shares: Mapping[str, Utilisation]

    def seconds(self, run: Run, name: str, count: int) -> tuple[float, float]:
        """Returns the least and the most that a run may take."""
        device, share = self.devices[name], self.shares[name]
        least, most = (
            run_seconds(run, device, count, each) for each in (share.high, share.low)
        )
        return least, most

    def dollars(self, run: Run, name: str, count: int) -> tuple[float, float]:
        """Returns what these seconds cost."""
        least, most = self.seconds(run, name, count)
        price = self.devices[name].price * count / _HOUR
        return least * price, most * price

    def simulated(
        self,
        run: Run,
        device: Device,
        count: int,
        records: float = math.inf,
        share: float | None = None,
    ) -> Outcome:
        """Returns the outcome of a run's first phase.

        Args:
          run: What is trained.
          device: On what; its name finds the share of its peak.
          count: On how many.
          records: Records a second that each host's input makes.
          share: Of the peak; the most that is taken for this device if None.
        """
        phase = run.phases[0]
        share = share or self.shares[device.name].high
        compute, reduce = step_seconds(run, phase, device, count, share)
        rows = phase.batch / count
        return simulate(
            Cluster(
                count,
                min(device.per_host, count),
                rows,
                compute,
                reduce,
                records,
                jitter=_JITTER,
            )
        )


def joined(device: Device, per_host: int, network: Network) -> Device:
    """Returns a device with so many in a host, and hosts joined by a network."""
    if per_host == 1:
        return dataclasses.replace(device, per_host=1, inside=network, between=None)
    return dataclasses.replace(device, per_host=per_host, between=network)


def span(least: float, most: float) -> str:
    """Returns a range in two digits, or one number if there is no more to it."""
    low, high = (_two_digits(x) for x in (least, most))
    return low if low == high else f"{low} to {high}"


def _two_digits(value: float) -> str:
    if value >= 10:
        digits = len(str(int(value)))
        return f"{round(value, 2 - digits):,.0f}"
    return f"{value:.2g}"


def _percent(least: float, most: float) -> str:
    low, high = (f"{100 * x:.0f}" for x in (least, most))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _days(seconds: tuple[float, float]) -> str:
    return span(seconds[0] / DAY, seconds[1] / DAY)


def _hours(seconds: tuple[float, float]) -> str:
    return span(seconds[0] / _HOUR, seconds[1] / _HOUR)


def _of_runs() -> Table:
    rows = [["run", "steps", "rows", "pieces", "GFLOP a row", "EFLOP", "MB added up"]]
    for model in MODELS:
        runs = {"pretraining": pretraining(model), **fine_tuning(model)}
        for name, run in runs.items():
            rows.append(
                [
                    f"{model}, {name}",
                    ", ".join(f"{phase.steps:,}" for phase in run.phases),
                    str(run.phases[0].batch),
                    ", ".join(str(phase.length) for phase in run.phases),
                    ", ".join(
                        figure(train_flops(run.config, phase) / 1e9)
                        for phase in run.phases
                    ),
                    figure(run.flops / 1e18),
                    figure(run.gradient_bytes / 1e6),
                ]
            )
    return rows


def _of_devices(given: Assumptions) -> Table:
    rows = [
        [
            "device",
            "TFLOP/s",
            "GB/s",
            "a host",
            "joined by (GB/s one way)",
            "share of peak",
            "share is",
            "$ an hour",
            "price from",
            "seen",
        ]
    ]
    for name, device in given.devices.items():
        share = given.shares[name]
        networks = [device.inside, *([device.between] if device.between else [])]
        links = [f"{each.name} ({each.bandwidth / 1e9:g})" for each in networks]
        rows.append(
            [
                name,
                f"{device.peak / 1e12:g}",
                f"{device.memory / 1e9:g}",
                str(device.per_host),
                ", ".join(links),
                _percent(share.low, share.high),
                share.kind,
                f"{device.price:g}",
                device.price_source,
                device.price_date or "unknown",
            ]
        )
    return rows


def _of_evidence(given: Assumptions) -> Table:
    rows = [["on", "run", "pieces", "took, s", "share of peak", "", "source"]]
    for each in EVIDENCE:
        share = each.utilisation(given.devices[each.device])
        rows.append(
            [
                f"{each.count} x {each.device}",
                f"{each.run.model}, {each.run.task}",
                ", ".join(str(phase.length) for phase in each.run.phases),
                figure(each.seconds),
                f"{100 * share:.1f} %",
                each.kind,
                each.source,
            ]
        )
    return rows


def _of_checks(given: Assumptions) -> Table:
    rows = [["what", "computed", "published", "computed / published"]]

    def add(what: str, computed: tuple[float, float], published: float) -> None:
        ratio = span(*(x / published for x in computed))
        rows.append([what, span(*computed), figure(published), ratio])

    least, most = given.seconds(pretraining("Base"), "TPU v2", 4)
    add(
        "Base on one Cloud TPU v2, 4 chips, days (the release's README)",
        (least / DAY, most / DAY),
        14,
    )
    # Whose hosts have eight adapters of 200 Gbit/s, one for each GPU.
    a100 = joined(given.devices["A100"], 8, ethernet(8 * 200))
    alone_on_it = next(
        each.utilisation(a100)
        for each in EVIDENCE
        if each.device == "A100" and each.run.phases[0].length == 128
    )
    for count, published in ((8, 3799.24), (64, 29711.11), (256, 110280.73)):
        run = in_batches("Large", 79872)
        rate = 79872 / given.simulated(run, a100, count, share=alone_on_it).step
        add(f"Large, 128, {count} x A100, rows/s (NVIDIA)", (rate, rate), published)
    for name, rows_each, published in (("V100", 12, 330.29), ("A100", 76, 1048.23)):
        batch = 8 * rows_each
        run = Run("Large", "squad", (Phase(1, batch, 384),))
        least, most = given.seconds(run, name, 8)
        rates = batch / most, batch / least
        add(f"Large, SQuAD, 8 x {name}, rows/s (NVIDIA)", rates, published)
    return rows


def _of_costs(model: str, given: Assumptions) -> Table:
    run = pretraining(model)
    rows = [["device", "share is", "1: days", "8: days", "$", "64: days", "$"]]
    for name in ACCELERATORS:
        rows.append(
            [
                name,
                given.shares[name].kind,
                _days(given.seconds(run, name, 1)),
                _days(given.seconds(run, name, 8)),
                span(*given.dollars(run, name, 8)),
                _days(given.seconds(run, name, 64)),
                span(*given.dollars(run, name, 64)),
            ]
        )
    return rows


def _of_fine_tuning(given: Assumptions) -> Table:
    runs = {
        f"{model}, {name}": run
        for model in ("Base", "Large")
        for name, run in fine_tuning(model).items()
    }
    rows = [["one", "share is", *(f"{x}: hours ($)" for x in runs)]]
    for name in given.devices:
        cells = (
            f"{_hours(given.seconds(run, name, 1))} "
            f"({span(*given.dollars(run, name, 1))})"
            for run in runs.values()
        )
        rows.append([name, given.shares[name].kind, *cells])
    return rows


def _of_cpu(given: Assumptions) -> Table:
    rows = [["model", "pretraining: years", "$", "MNLI: days", "SQuAD 1.1: days"]]
    for model in MODELS:
        run, name = pretraining(model), CPU.name
        years = (x / _YEAR for x in given.seconds(run, name, 1))
        tunings = (
            _days(given.seconds(each, name, 1)) for each in fine_tuning(model).values()
        )
        dollars = span(*given.dollars(run, name, 1))
        rows.append([model, span(*years), dollars, *tunings])
    return rows


def _of_networks(given: Assumptions) -> Table:
    columns = [
        ("Base", 256),
        ("Base", 4096),
        ("Large", 256),
        ("Large", 4096),
        ("Large", 32768),
    ]
    rows = [["devices", "joined by", *(f"{m}, {batch:,}" for m, batch in columns)]]
    a100 = given.devices["A100"]
    cases = [
        (f"A100, {per_host} a host", joined(a100, per_host, ethernet(gigabits)))
        for per_host in (1, 8)
        for gigabits in (1, 10, 25, 100)
    ]
    cases.append(("A100", dataclasses.replace(a100, between=None)))
    cases += [(name, given.devices[name]) for name in ("TPU v4", "TPU v6e")]
    for name, device in cases:
        cells = (
            _first_bound(given, in_batches(model, batch), device)
            for model, batch in columns
        )
        rows.append([name, (device.between or device.inside).name, *cells])
    return rows


def _first_bound(given: Assumptions, run: Run, device: Device) -> str:
    """Returns the fewest devices whose network takes more than half of a step."""
    for count in COUNTS:
        if given.simulated(run, device, count).network > 0.5:
            return str(count)
    return "never"


def _of_records(given: Assumptions) -> Table:
    rows = [
        ["a host of", "share is", *(f"{model}: records/s (cores)" for model in MODELS)]
    ]
    per_core = _RECORDS["token"] / _CORES
    for name in ("L4", "V100", "A100", "H100", "TPU v4", "TPU v6e"):
        device = given.devices[name]
        cells = []
        for model in MODELS:
            batch = _ROWS_PER_DEVICE * device.per_host
            step = given.simulated(
                in_batches(model, batch), device, device.per_host
            ).step
            taken = batch / step
            cells.append(f"{figure(taken)} ({math.ceil(taken / per_core)})")
        rows.append([f"{device.per_host} x {name}", given.shares[name].kind, *cells])
    return rows


def _of_masks() -> Table:
    rows = [["masks", "flags", "records/s of a core", ""]]
    for name, rate in _RECORDS.items():
        dynamic = f"`--dynamic_masking --masking={name}`"
        flag = "none" if name == "own" else dynamic
        rows.append([name, flag, figure(rate / _CORES), "measured"])
    return rows


def _of_cores(given: Assumptions) -> Table:
    rows = [["cores", "rows/s", "input", "compute", "network", "bound"]]
    for cores in (2, 4, 8, 16, 32):
        outcome = on_cores(given, cores)
        rate = 8 * _ROWS_PER_DEVICE / outcome.step
        shares = (outcome.waiting, outcome.computing, outcome.network)
        rows.append(
            [
                str(cores),
                figure(rate),
                *(f"{100 * x:.0f} %" for x in shares),
                outcome.bound,
            ]
        )
    return rows


def on_cores(given: Assumptions, cores: int) -> Outcome:
    """Returns what BERT-Small on 8 H100 waits for, with so many cores for its input."""
    run = in_batches("Small", 8 * _ROWS_PER_DEVICE)
    records = cores * _RECORDS["token"] / _CORES
    return given.simulated(run, given.devices["H100"], 8, records)


def tables(given: Assumptions) -> Iterator[tuple[str, Table]]:
    """Yields all tables with their titles, headers first."""
    for model in MODELS:
        yield f"Pretraining BERT-{model}", _of_costs(model, given)
    yield "Fine-tuning", _of_fine_tuning(given)
    yield "Two CPU cores", _of_cpu(given)
    yield "Devices from which on the network takes half a step", _of_networks(given)
    yield "Records that hosts take", _of_records(given)
    yield "Records that cores make", _of_masks()
    yield "BERT-Small on 8 H100", _of_cores(given)
    yield "Runs", _of_runs()
    yield "Devices", _of_devices(given)
    yield "What shares are from", _of_evidence(given)
    yield "Checks", _of_checks(given)


def assume(
    prices: Mapping[str, float] | None = None, shares: Mapping[str, float] | None = None
) -> Assumptions:
    """Returns what is assumed, some of it replaced.

    Args:
      prices: US dollars an hour, by device.
      shares: Of the peak, by device.
    """
    devices = dict(DEVICES)
    for name, price in (prices or {}).items():
        devices[name] = dataclasses.replace(
            devices[name], price=price, price_source="given", price_date=""
        )
    found = utilisations(devices)
    for name, share in (shares or {}).items():
        found[name] = Utilisation(share, share, "given")
    return Assumptions(devices, found)
