#!/usr/bin/env python3
"""Measures Callgate alone: floor, growth, latency, storm, memory, start-up, and large configurations.

    python3 bench/limits.py [floor] [growth] [latency] [storm] [memory] [start] [soak] [directories] [rules] [scale]
                            [mixed] [sizing] [--record]
"""

import argparse
import contextlib
import json
import os
import subprocess
import time
import urllib.request

import common
import directories
import mixed
import rules
import sizing as sizes
from common import flood, nats_server, responder, run, storm


# Enough rounds that a few disturbed ones do not change the median.
LATENCY_ROUNDS, LATENCY_SECONDS = 15, 3


def serving(tools, keys, port, *, real=False, xkey=True, admin=None):
    callgate, bench = tools
    listen = f"127.0.0.1:{admin}" if admin else ""
    config = common.callgate_config(keys, f"nats://127.0.0.1:{port}", xkey, listen)
    command = [callgate, "serve", "--config", config]

    def answers(_pid):
        if real:
            return storm(bench, keys, port, 1, more=["--patience-seconds", "3"])["admitted"] == 1
        return flood(bench, keys, port, "password", 1, xkey=xkey)["admitted"] == 1
    return responder(command, None, answers, "callgate")


def floor(tools, _folder, _arguments):
    return json.loads(run(tools[1], "floor", "--json", "--rounds", "80"))


def growth(tools, _folder, _arguments):
    curves = json.loads(run(tools[1], "growth", "--json", "--rounds", "4"))
    # The same threads on one core: that it is cores that count, and not threads.
    pinned = json.loads(run("taskset", "-c", "0", tools[1], "growth", "--json", "--rounds", "1", "--threads", "1"))
    return {"curves": curves, "one_core": pinned[-1]["points"][0][1]}


def latency(tools, folder, arguments):
    """Latency at half of the maximum rate: all processes on the same cores, and with a core for Callgate alone. The latter
    also in real time, where that is allowed. (All on the same cores would then leave nothing for
    the rest of the machine, and the system would halt it for 50 ms of a second.)"""
    keys = common.Keys(*tools, folder)
    cores = sorted(os.sched_getaffinity(0))
    results = {"stalls": common.stalls(cores), "shared": at_half(tools, keys, folder, arguments, cores, cores)}
    if len(cores) > 1:
        apart = cores[:1], cores[1:2]
        results["apart"] = at_half(tools, keys, folder, arguments, *apart)
        with common.undisturbed() as allowed:
            if allowed:
                results["stalls_undisturbed"] = common.stalls(cores)
                results["undisturbed"] = at_half(tools, keys, folder, arguments, *apart)
    return results


def at_half(tools, keys, folder, arguments, theirs, ours):
    """Server and load run on the cores `theirs`, Callgate on `ours`."""
    with contextlib.ExitStack() as running:
        with common.on_cores(theirs):
            server, port = running.enter_context(nats_server(folder))
        with common.on_cores(ours):
            process = running.enter_context(serving(tools, keys, port))
        pids = (process.pid, server.pid)
        with common.on_cores(theirs):
            most = max(flood(tools[1], keys, port, "password", 20_000, depth=64, pids=pids)["per_second"]
                       for _ in range(arguments.rounds))
            # A little more than half, for a sender that is held up sends less.
            rate = most * 0.52
            half = [flood(tools[1], keys, port, "password", int(rate * LATENCY_SECONDS), pids=pids, more=["--rate", str(rate)])
                    for _ in range(LATENCY_ROUNDS)]
    return {"most": most, "rounds": sorted(half, key=lambda result: result["p99"])}


def big_storm(tools, folder, arguments):
    """Ten thousand clients, everything on the same cores: all concurrently, and paced."""
    keys = common.Keys(*tools, folder)
    results = {}
    for name, more in (("at_once", []), ("paced", ["--at-a-time", "1000"])):
        for _ in range(arguments.rounds):
            with nats_server(folder, (keys.issuer, keys.xkey)) as (server, port):
                admin = common.free_port()
                with serving(tools, keys, port, real=True, admin=admin) as process:
                    result = storm(tools[1], keys, port, arguments.clients, pids=(process.pid, server.pid), more=more)
                    # The first one is the probe's.
                    result["admitted_by_callgate"] = admitted(admin) - 1
                    results.setdefault(name, []).append(result)
    return results


def admitted(admin):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(line.split()[-1]) for line in lines
               if line.startswith("callgate_decisions_total") and 'outcome="admitted"' in line)


def memory(tools, folder, arguments):
    """A million decisions for a hundred servers and a hundred thousand tokens."""
    keys = common.Keys(*tools, folder, tokens=100_000, algorithm="ES256")
    with nats_server(folder) as (server, port), serving(tools, keys, port) as process:
        return flood(tools[1], keys, port, "token, new", 100_000, pids=(process.pid, server.pid),
                     more=["--servers", "100", "--repeat", str(arguments.repeat)])


def start(tools, folder, arguments):
    """The time from the start of the process until it is ready."""
    keys = common.Keys(*tools, folder)
    times = []
    with nats_server(folder) as (_server, port):
        admin = common.free_port()
        config = common.callgate_config(keys, f"nats://127.0.0.1:{port}", True, f"127.0.0.1:{admin}")
        for _ in range(5):
            begun = time.monotonic()
            process = subprocess.Popen([tools[0], "serve", "--config", config], stderr=subprocess.DEVNULL)
            while not common.is_ready(admin):
                time.sleep(0.002)
            times.append((time.monotonic() - begun) * 1000)
            process.terminate()
            process.wait()
    return {"milliseconds": sorted(times)}


def soak(tools, folder, arguments):
    """Resident memory over ten minutes of steady load."""
    keys = common.Keys(*tools, folder, tokens=20_000, algorithm="ES256")
    samples, begun = [], time.monotonic()
    with nats_server(folder) as (server, port), serving(tools, keys, port) as process:
        while time.monotonic() - begun < arguments.seconds:
            result = flood(tools[1], keys, port, "token, new", 20_000, pids=(process.pid, server.pid),
                           more=["--servers", "100", "--rate", "2000"])
            samples.append([round(time.monotonic() - begun), round(result["responder_mib"], 2)])
            if result["admitted"] != result["requests"]:
                raise SystemExit(f"not every client was admitted: {result}")
    return samples


def million_users(tools, folder, arguments):
    return directories.measure(tools, common.Keys(*tools, folder), arguments)


def many_rules(tools, folder, arguments):
    return rules.measure(tools, common.Keys(*tools, folder), arguments)


def scale(tools, folder, arguments):
    return rules.growth(tools, common.Keys(*tools, folder), arguments)


def mixed_storm(tools, folder, arguments):
    return mixed.measure(tools, common.Keys(*tools, folder), arguments)


def sizing(tools, folder, arguments):
    return sizes.measure(tools, common.Keys(*tools, folder), arguments, serving)


WHAT = {"floor": floor, "growth": growth, "latency": latency, "storm": big_storm, "memory": memory,
        "start": start, "soak": soak, "directories": million_users, "rules": many_rules, "scale": scale,
        "mixed": mixed_storm, "sizing": sizing}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="what", help=f"of {', '.join(WHAT)}; without any: all but soak")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=10, help="times a hundred thousand decisions, for memory")
    parser.add_argument("--seconds", type=int, default=600, help="length of the soak")
    parser.add_argument("--entries", type=int, default=1_000_000, help="users of the file, for directories")
    parser.add_argument("--reloads", type=int, default=5, help="reloads of the file, for directories")
    parser.add_argument("--latency-rounds", type=int, default=5, help="rounds with and without a reload, for directories")
    parser.add_argument("--requests", type=int, default=10_000, help="of a round, for rules and scale")
    parser.add_argument("--no-build", action="store_true", help="use the release build that exists")
    parser.add_argument("--record", action="store_true", help="write the result into docs/performance.json")
    arguments = parser.parse_args()
    unknown = set(arguments.what) - set(WHAT)
    if unknown:
        parser.error(f"unknown measurement {', '.join(unknown)}; known: {', '.join(WHAT)}")
    tools = common.built() if arguments.no_build else common.build()
    for name in arguments.what or [name for name in WHAT if name != "soak"]:
        with common.scratch() as folder:
            result = WHAT[name](tools, folder, arguments)
        print(name, json.dumps(result, indent=1))
        if arguments.record:
            common.record(name, result)


if __name__ == "__main__":
    main()
