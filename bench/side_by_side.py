"""Variants of one service, side by side: each with its own nats-server, loaded in turn."""

import contextlib
import statistics
import time

import common


def cpu(pid):
    """The CPU time that a process has used, in seconds: all of its threads, those that have ended too."""
    # The clock of another process, as clock_getcpuclockid returns it.
    return time.clock_gettime((~pid << 3) | 2)


class Meter:
    """CPU time of processes between start and stop."""

    def __init__(self, *pids):
        self.pids = pids

    def __enter__(self):
        self.begun = [cpu(pid) for pid in self.pids]
        return self

    def __exit__(self, *_error):
        self.seconds = sum(cpu(pid) - begun for pid, begun in zip(self.pids, self.begun))


class Variant:
    """A running callout, and how to load it: `load()` returns the JSON of a run."""

    def __init__(self, name, pid, load):
        self.name, self.pid, self.load = name, pid, load
        self.rounds = []

    def round(self):
        with Meter(self.pid) as meter:
            result = self.load()
        if result["admitted"] != result["requests"]:
            raise SystemExit(f"{self.name}: not every client was admitted: {result}")
        self.rounds.append({"cpu": meter.seconds * 1e6 / result["requests"], "per_second": result["per_second"],
                            "p50": result["p50"], "p99": result["p99"]})


def interleave(variants, rounds, warm_up=1):
    """Loads each in turn, in the opposite order every other time."""
    for number in range(-warm_up, rounds):
        order = variants if number % 2 == 0 else list(reversed(variants))
        for variant in order:
            variant.round()
            if number < 0:
                variant.rounds.clear()


def compared(variants):
    """By name: the medians, and the ratios to the first variant, as medians of the ratios of each round."""
    base = variants[0]
    report = {}
    for variant in variants:
        row = {key: statistics.median(each[key] for each in variant.rounds) for key in base.rounds[0]}
        pairs = list(zip(base.rounds, variant.rounds))
        row["cpu_ratio"] = statistics.median(one["cpu"] / first["cpu"] for first, one in pairs)
        row["rate_ratio"] = statistics.median(one["per_second"] / first["per_second"] for first, one in pairs)
        row["p50_ratio"] = statistics.median(one["p50"] / first["p50"] for first, one in pairs)
        row["p99_ratio"] = statistics.median(one["p99"] / first["p99"] for first, one in pairs)
        report[variant.name] = row
    return report


@contextlib.contextmanager
def flooded(name, callgate, bench, keys, config, port, work="password", requests=8000, depth=32, ready=lambda: True):
    """Callgate with this configuration, loaded by simulated servers."""
    def answers(_pid):
        return ready() and common.flood(bench, keys, port, work, 1)["admitted"] == 1

    def load(requests=requests, more=()):
        return common.flood(bench, keys, port, work, requests, depth=depth, more=more)
    with common.responder([callgate, "serve", "--config", config], None, answers, name) as process:
        yield Variant(name, process.pid, load)
