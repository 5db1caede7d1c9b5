"""A storm in which a third of the clients present passwords that must be hashed: what it costs the others."""

import json
import subprocess
import threading

import common
import directories
from common import flood, nats_server

# A second, of each kind.
RATE = 300
SECONDS = 10


def measure(tools, keys, arguments):
    """Tokens and remembered passwords, alone and while as many other clients present passwords for the first time."""
    admin = common.free_port()
    hashed = common.run(tools[0], "hash-password", input="a password that must be hashed").strip()
    count = RATE * SECONDS * 2 * (arguments.rounds + 1)
    (keys.folder / "remembered").write_text("bob a password that must be hashed\n")
    (keys.folder / "first").write_text("".join(f"user-{number} a password that must be hashed\n" for number in range(count)))
    entry = {"pass": hashed, "account": "APP", "permissions": {"pub": ["orders.>"], "sub": ["orders.>", "_INBOX.>"]}}
    results = {"rate": RATE, "calm": [], "storm": []}
    with nats_server(keys.folder) as (_server, port):
        config = common.callgate_config(keys, f"nats://127.0.0.1:{port}", True, f"127.0.0.1:{admin}")
        users = {f"user-{number}": entry for number in range(count)} | {"bob": entry}
        (keys.folder / "users.json").write_text(json.dumps(users))
        process = subprocess.Popen([tools[0], "serve", "--config", config], stderr=subprocess.DEVNULL)
        try:
            common.wait_until_ready(admin, process)
            for number in range(arguments.rounds + 1):
                calm = together(tools, keys, port, ["tokens", "remembered"], number)
                storm = together(tools, keys, port, ["tokens", "remembered", "first"], number)
                # The first round fills caches.
                if number > 0:
                    results["calm"].append(calm)
                    results["storm"].append(storm)
        finally:
            process.terminate()
            process.wait()
    return results


def together(tools, keys, port, kinds, number):
    """Floods of these kinds at the same time, each at the rate."""
    results = {}

    def run(kind):
        requests = RATE * SECONDS
        source = ["--logins", keys.folder / kind]
        if kind == "tokens":
            source = ["--tokens", keys.folder / "one-token"]
        if kind == "first":
            lines = (keys.folder / "first").read_text().splitlines(True)
            part = keys.folder / f"first-{number}"
            part.write_text("".join(lines[number * requests:(number + 1) * requests]))
            source = ["--logins", part]
        result = flood(tools[1], keys, port, None, requests, more=["--rate", str(RATE), *source])
        results[kind] = {key: result[key] for key in ("requests", "admitted", "refused", "unanswered", "p50", "p99")}
    threads = [threading.Thread(target=run, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
