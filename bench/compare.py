#!/usr/bin/env python3
"""Compares the cost of an answer between Callgate and other callouts, in one run on one machine.

Every responder does the same work: one user with a clear-text password, one RS256 bearer token (the same
again, and new ones), with an xkey and without. First made-up servers ask over a plain nats-server
(flood), then real clients connect to a server with an auth callout (storm). They run in turn,
interleaved, several rounds; the best round of each counts, and ratios are what matters.

    python3 bench/compare.py [--rounds 5] [--only callgate,go] [--record]
    python3 bench/compare.py --only callgate,before --before OLD/callgate    # an earlier build
"""

import argparse
import shutil
import sys

import common
from common import ROOT, flood, nats_server, responder, run, storm

PEERS = ROOT / "bench" / "peers"
WORK = ROOT / ".tools" / "bench"
NAMES = {"callgate": "Callgate", "go": "callout.go (Go)", "python": "nats-callout (Python)",
         "javascript": "@nats-io libraries (JavaScript)", "before": "Callgate, an earlier build"}
# Slow callouts get fewer requests, by this factor.
SLOWER = {"javascript": 4, "python": 2}
# Enough for the resolution of CPU time, which the system counts in hundredths of a second.
TOKENS = 8000
FLOODS = ("password", "token, seen", "token, new")


def build_go():
    binary = WORK / "peer-go"
    run("go", "build", "-o", binary, ".", cwd=PEERS / "go")
    return [binary]


def build_javascript():
    folder = WORK / "javascript"
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json", "responder.mjs"):
        shutil.copy(PEERS / "javascript" / name, folder)
    if not (folder / "node_modules").exists():
        run("npm", "ci", "--no-audit", "--no-fund", cwd=folder)
    return ["node", folder / "responder.mjs"]


def build_python():
    folder = WORK / "python"
    if not folder.exists():
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin" / "pip", "install", "--quiet", "-r", PEERS / "python" / "requirements.txt")
    return [folder / "bin" / "python", PEERS / "python" / "responder.py"]


PEER_BUILDS = {"go": build_go, "python": build_python, "javascript": build_javascript}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=8000)
    parser.add_argument("--clients", type=int, default=2000, help="clients of a storm")
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--only", default="callgate,go,python,javascript")
    parser.add_argument("--before", help="the binary of an earlier build of Callgate, for the name `before`")
    parser.add_argument("--no-build", action="store_true", help="use the release build that exists")
    parser.add_argument("--record", action="store_true", help="write the result into docs/performance.json")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if arguments.record and set(PEER_BUILDS) - set(names):
        parser.error("--record needs every peer")
    if "before" in names and not arguments.before:
        parser.error("the name `before` needs --before")
    WORK.mkdir(parents=True, exist_ok=True)
    callgate, bench = common.built() if arguments.no_build else common.build()
    commands = {name: PEER_BUILDS[name]() for name in names if name in PEER_BUILDS}
    best = {}
    with common.scratch() as folder:
        keys = common.Keys(callgate, bench, folder, tokens=TOKENS)
        for number in range(arguments.rounds):
            for xkey in (True, False):
                for name in names:
                    binary = arguments.before if name == "before" else callgate
                    one_round(name, commands.get(name), binary, bench, keys, xkey, arguments, best)
            print(f"round {number + 1} of {arguments.rounds} done", file=sys.stderr)
    report(best, names)
    if arguments.record:
        common.record("peers", best)


def one_round(name, command, callgate, bench, keys, xkey, arguments, best):
    slower = SLOWER.get(name, 1)
    with nats_server(keys.folder) as (server, port):
        with started(name, command, callgate, keys, port, bench, xkey) as process:
            pids = (process.pid, server.pid)
            flood(bench, keys, port, "password", max(1000 // slower, 10), xkey=xkey)
            for work in FLOODS:
                if work == "token, seen":
                    flood(bench, keys, port, work, 50, xkey=xkey)
                requests = min(TOKENS, arguments.requests) if work == "token, new" else arguments.requests
                requests = max(requests // slower, 10)
                result = flood(bench, keys, port, work, requests, xkey=xkey, depth=arguments.depth, pids=pids)
                keep(best, name, xkey, work, result, requests)
    with nats_server(keys.folder, (keys.issuer, keys.xkey if xkey else None)) as (server, port):
        with started(name, command, callgate, keys, port, bench, xkey, real=True) as process:
            clients = max(arguments.clients // slower, 10)
            storm(bench, keys, port, max(clients // 10, 10), more=["--at-a-time", "8"])
            # Not more at a time than the slowest can answer before the server gives up.
            result = storm(bench, keys, port, clients, pids=(process.pid, server.pid), more=["--at-a-time", "8"])
            keep(best, name, xkey, "storm", result, clients)


def started(name, command, callgate, keys, port, bench, xkey, real=False):
    url = f"nats://127.0.0.1:{port}"
    if command is None:
        command = [callgate, "serve", "--config", common.callgate_config(keys, url, xkey)]

    def answers(_pid):
        if real:
            return storm(bench, keys, port, 1, more=["--patience-seconds", "3"])["admitted"] == 1
        return flood(bench, keys, port, "password", 1, xkey=xkey)["admitted"] == 1
    return responder(command, common.environment(keys, url, xkey), answers, name)


def keep(best, name, xkey, work, result, requests):
    if result["admitted"] != requests:
        raise SystemExit(f"{name}, {work}: {result}")
    mine = best.setdefault(name, {}).setdefault("xkey" if xkey else "clear", {})
    if work not in mine or result["responder_cpu"] < mine[work]["responder_cpu"]:
        mine[work] = result


def report(best, names):
    for xkey in ("xkey", "clear"):
        for work in (*FLOODS, "storm"):
            print(f"\n{work}, {'with an xkey' if xkey == 'xkey' else 'without an xkey'}")
            print(f"{'':32}{'CPU µs':>10}{'ratio':>8}{'server µs':>10}{'per s':>9}{'p50 µs':>9}{'p99 µs':>9}{'MiB':>7}")
            ours = best.get("callgate", {}).get(xkey, {}).get(work)
            for name in names:
                row = best[name][xkey][work]
                ratio = f"{ours['responder_cpu'] / row['responder_cpu']:.3f}" if ours else ""
                print(f"{NAMES[name]:32}{row['responder_cpu']:10.0f}{ratio:>8}{row['server_cpu']:10.0f}"
                      f"{row['per_second']:9.0f}{row['p50']:9.0f}{row['p99']:9.0f}{row['responder_peak_mib']:7.0f}")


if __name__ == "__main__":
    main()
