"""A users file of a million entries, measured from outside the process: memory, CPU and latency, before and after reloads."""

import base64
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request

import common
from common import flood, nats_server

# Decisions a second while nothing but the reload should matter.
RATE = 300
LOAD_PYTHON = """
import json, resource, sys
json.load(open(sys.argv[1]))
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime)
"""


def measure(tools, keys, arguments):
    """Loads the file at the start and again after changes, and counts decisions during a reload."""
    config, users, admin = prepare(keys, arguments.entries)
    result = {"entries": arguments.entries, "file_bytes": users.stat().st_size, "reloads": [], "json_load": [],
              "calm": [], "reloading": []}
    with nats_server(keys.folder) as (_server, port):
        command = [tools[0], "serve", "--config", config(port)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            common.wait_until_ready(admin, process)
            result["start"] = common.memory(process.pid) | {"cpu": cpu(process.pid)}
            result["json_load"].append(json_load(users))
            for number in range(arguments.reloads):
                result["reloads"].append(reload(process, users, admin, number))
                result["json_load"].append(json_load(users))
            seconds = max(one["seconds"] for one in result["reloads"]) + 2
            for number in range(arguments.latency_rounds):
                result["calm"].append(decide(tools, keys, port, seconds))
                result["reloading"].append(decide(tools, keys, port, seconds, lambda: change(users, f"latency {number}")))
                settle(admin, process)
        finally:
            process.terminate()
            process.wait()
    return result


def prepare(keys, entries):
    """The configuration for a port, the users file, and the port for metrics."""
    admin = common.free_port()
    users = keys.folder / "users.json"

    def config(port):
        path = common.callgate_config(keys, f"nats://127.0.0.1:{port}", True, f"127.0.0.1:{admin}")
        write_users(keys, users, entries)
        return path
    write_users(keys, users, entries)
    return config, users, admin


def write_users(keys, path, entries):
    """Every user has an argon2id hash and permissions of its own; only `alice` has a clear-text password."""
    noise = random.Random(entries)
    password = (keys.folder / "password").read_text().strip()
    alice = {"pass": password, "account": "APP", "permissions": {"pub": ["orders.>"], "sub": ["orders.>", "_INBOX.>"]}}
    new = path.with_suffix(".new")
    with new.open("w") as file:
        file.write('{"alice":' + json.dumps(alice))
        for number in range(1, entries):
            salt, digest = (base64.b64encode(noise.randbytes(size)).decode().rstrip("=") for size in (16, 32))
            file.write(f',\n"user-{number:07}":{{"pass":"$argon2id$v=19$m=19456,t=2,p=1${salt}${digest}","account":"APP",'
                       f'"permissions":{{"pub":["orders.{number}.>"],"sub":["orders.{number}.>","_INBOX.{number}.>"]}}}}')
        file.write(',\n"zoe":{"token":"initial-token-of-zoe","account":"APP"}}\n')
    new.replace(path)


def change(path, text):
    """Replaces the last entry, without reading the file into memory."""
    new = path.with_suffix(".new")
    subprocess.run(["cp", path, new], check=True)
    with new.open("rb+") as file:
        file.seek(-200, os.SEEK_END)
        tail = file.read()
        start = tail.rindex(b',\n"zoe"')
        file.seek(start - len(tail), os.SEEK_END)
        file.truncate()
        file.write(f',\n"zoe":{{"token":"a token after {text}","account":"APP"}}}}\n'.encode())
    new.replace(path)


def reload(process, users, admin, number):
    """Changes the file and waits until it is in force."""
    reset_peak(process.pid)
    before, begun, counted = cpu(process.pid), time.monotonic(), reloads(admin)
    change(users, f"reload {number}")
    common.wait_for(lambda: reloads(admin) > counted, process, "Callgate", seconds=300)
    spent = {"cpu": cpu(process.pid) - before, "seconds": time.monotonic() - begun}
    # The metric counts before the old table is freed and given back to the system.
    time.sleep(5)
    return common.memory(process.pid) | spent


def settle(admin, process):
    """Waits until no reload is going on."""
    last = None
    while last != (last := (reloads(admin), round(cpu(process.pid), 1))):
        time.sleep(2)


def decide(tools, keys, port, seconds, meanwhile=None):
    """The p99 of decisions in microseconds."""
    timer = threading.Timer(0.3, meanwhile) if meanwhile else None
    if timer:
        timer.start()
    result = flood(tools[1], keys, port, "password", int(RATE * seconds), more=["--rate", str(RATE)])
    if timer:
        timer.join()
    if result["admitted"] != result["requests"]:
        raise SystemExit(f"not every client was admitted: {result}")
    return result["p99"]


def json_load(path):
    return float(common.run(sys.executable, "-c", LOAD_PYTHON, path))


def reset_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def cpu(pid):
    """Seconds of CPU time."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reloads(admin):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines
               if line.startswith("callgate_config_reloads_total") and '"ok"' in line)
