"""Tests the formula of docs/scaling.md: predicts rates from CPU times that were measured with few clients."""

import contextlib
import os

import common
from common import flood, nats_server, storm


def measure(tools, keys, arguments, serving):
    """`serving` starts Callgate. Points with the predicted and the measured rate."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed")
    points = []
    for xkey in (True, False):
        cost, rate = connects(tools, keys, arguments, serving, cores, xkey)
        name = f"nats-server on one core, {'with' if xkey else 'without'} an xkey"
        points.append({"name": name, "limit": "nats-server", "cpu": cost, "predicted": 1e6 / cost, "measured": rate})
    cost, rate = answers(tools, keys, arguments, serving, cores)
    points.append({"name": "Callgate on one core, nats-server simulated", "limit": "Callgate", "cpu": cost,
                   "predicted": 1e6 / cost, "measured": rate})
    return points


def connects(tools, keys, arguments, serving, cores, xkey):
    """CPU time of nats-server for a connect, and connects a second if it has one core."""
    with contextlib.ExitStack() as running:
        running.enter_context(common.undisturbed())
        with common.on_cores(cores[:1]):
            server, port = running.enter_context(nats_server(keys.folder, (keys.issuer, keys.xkey if xkey else None)))
        with common.on_cores(cores[1:2]):
            process = running.enter_context(serving(tools, keys, port, real=True, xkey=xkey))
            pids = (process.pid, server.pid)
            calibration = storm(tools[1], keys, port, 1000, pids=pids, more=["--at-a-time", "8"])
            fast = [storm(tools[1], keys, port, 2000, pids=pids, more=["--at-a-time", "64"])
                    for _ in range(arguments.rounds)]
    return calibration["server_cpu"], max(result["admitted"] / result["seconds"] for result in fast)


def answers(tools, keys, arguments, serving, cores):
    """CPU time of Callgate for an answer, and answers a second if it has one core."""
    with contextlib.ExitStack() as running:
        running.enter_context(common.undisturbed())
        with common.on_cores(cores[:1]):
            server, port = running.enter_context(nats_server(keys.folder))
        with common.on_cores(cores[1:2]):
            process = running.enter_context(serving(tools, keys, port))
        pids = (process.pid, server.pid)
        with common.on_cores(cores[:1]):
            calibration = flood(tools[1], keys, port, "password", 10_000, depth=32, pids=pids)
            fast = [flood(tools[1], keys, port, "password", 20_000, depth=64, pids=pids) for _ in range(arguments.rounds)]
    return calibration["responder_cpu"], max(result["per_second"] for result in fast)
