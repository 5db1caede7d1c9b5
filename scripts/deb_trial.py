"""The life of the Debian package where systemd runs: installed, started, upgraded, removed and purged."""

import re
import signal
import sys

import machine
import tools

SERVER = "/usr/local/bin/callgate-trial-nats-server"
CONFIGURATION = "/etc/callgate/callgate.toml"
SERVER_CONFIGURATION = "/etc/callgate/nats-server.conf"
READY = "ready: answering authorization requests"
# Switches on what the configuration of `init` prepares, in the folders of the unit.
SWITCHES = r"""
1a state_dir = "/var/lib/callgate/keys"
s|^# \[control\]|[control]|
s|^# socket = .*|socket = "/run/callgate/control.sock"|
s|^# \[\[audit.sinks\]\]|[[audit.sinks]]|
s|^# file = "audit.jsonl"|file = "/var/lib/callgate/audit.jsonl"|
s|^# \[system\]|[system]|
s|^# nkey = |nkey = |
"""
# How systemd reports what the kernel does not permit here.
SANDBOX = re.compile(r"Failed to set up .*|Failed at step [A-Z_]+ spawning .*")
# What a new user of the package would try, with the client of the demo.
LOGINS = """
import sys, time, demo
until = time.monotonic() + 120
while True:
    try:
        bob = demo.Client(4222, "bob", sys.argv[1])
        break
    except (demo.Refused, OSError):
        # On a slow machine, nats-server gives up before Callgate has answered.
        if time.monotonic() > until:
            raise
        time.sleep(0.5)
assert bob.publish("bob.news") is None, "bob may not publish below its own name"
assert bob.publish("news") is not None, "bob may publish elsewhere"
try:
    demo.Client(4222, "bob", "wrong")
except (demo.Refused, OSError):
    sys.exit()
sys.exit("a wrong password is accepted")
"""


def trial(packages, version):
    """What is wrong with the package, and a summary of what was tried. `packages` are an old one and that of `version`."""
    try:
        with machine.Machine() as booted:
            faults = list(steps(booted, packages, version))
    except machine.Unavailable as failure:
        return [], f"NOT RUN: a machine with systemd ({failure})"
    except AssertionError as failure:
        return [f"with systemd: {failure}"], "systemd"
    return faults, "started, restarted, upgraded and stopped by systemd"


def steps(booted, packages, version):
    old, new = packages
    for package, name in [(old, "old"), (new, "new")]:
        booted.copy(package, f"/tmp/{name}.deb")
    booted.copy(tools.nats_server().resolve(), SERVER)
    installed = booted.run("dpkg", "--force-depends", "--install", "/tmp/old.deb")
    if "callgate init /etc/callgate" not in installed:
        yield "the installation does not say what to do next"
    if state(booted, "is-enabled") != "disabled":
        yield "the unit is enabled before there is a configuration"
    booted.run("callgate", "init", "/etc/callgate")
    booted.run("sed", "-i", "s/^authorization {/&\\n  timeout: 30/", SERVER_CONFIGURATION)
    booted.run("systemd-run", "--unit=nats-server", SERVER, "-c", SERVER_CONFIGURATION)

    started_now = booted.try_run("systemctl", "enable", "--now", "callgate")
    if sandbox := SANDBOX.search(booted.journal("callgate")):
        raise machine.Unavailable(f"it cannot make the sandbox of the unit: {sandbox.group()}")
    if started_now.returncode != 0:
        raise AssertionError(f"the service does not start: {booted.journal()}")
    started(booted, 1)
    yield from faults_of_process(booted)
    yield from faults_of_logins(booted)

    booted.run("sed", "-i", SWITCHES, CONFIGURATION)
    booted.run("systemctl", "restart", "callgate")
    started(booted, 2)
    booted.run("callgate", "sessions", "--config", CONFIGURATION)
    booted.run("test", "-s", "/var/lib/callgate/audit.jsonl")

    # Frozen, it says nothing to systemd's watchdog.
    frozen = main_process(booted)
    booted.run("kill", f"-{signal.SIGSTOP.value}", frozen)
    started(booted, 3)
    if main_process(booted) == frozen:
        yield "a frozen process is not restarted"

    before = booted.run("cat", CONFIGURATION)
    running = main_process(booted)
    booted.run("dpkg", "--force-depends", "--install", "/tmp/new.deb")
    started(booted, 4)
    if main_process(booted) == running:
        yield "an upgrade leaves the old version running"
    if booted.run("cat", CONFIGURATION) != before:
        yield "an upgrade changes the configuration"
    if f"callgate {version}" not in booted.run("callgate", "--version"):
        yield f"after the upgrade, the version is not {version}"
    yield from faults_of_logins(booted)

    # Without a users file.
    booted.run("rm", "-r", "/etc/callgate")
    booted.run("callgate", "init", "/etc/callgate", "--oidc", "https://id.example.com")
    booted.run("systemctl", "restart", "callgate")
    if state(booted, "is-active") != "active":
        yield f"the unit does not start without a users file: {booted.journal('callgate')}"

    booted.run("dpkg", "--remove", "callgate")
    if state(booted, "is-active") == "active" or "stopped" not in booted.journal("callgate"):
        yield "a removal does not stop the service"
    booted.run("dpkg", "--purge", "callgate")
    booted.run("test", "-e", "/etc/callgate/issuer.nk")
    if booted.try_run("test", "-e", "/usr/bin/callgate").returncode == 0:
        yield "the program remains after a removal"


def started(booted, times):
    booted.wait_for(f"start number {times}", lambda: booted.journal("callgate").count(READY) >= times)


def state(booted, question):
    return booted.try_run("systemctl", question, "callgate").stdout.strip()


def main_process(booted):
    return booted.run("systemctl", "show", "callgate", "--property=MainPID", "--value").strip()


def faults_of_process(booted):
    """It runs without privileges, and reads copies of its files."""
    status = booted.run("cat", f"/proc/{main_process(booted)}/status")
    fields = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
    if fields["Uid"].split()[0] == "0":
        yield "the service runs as root"
    if fields["CapEff"].strip("0") or fields["NoNewPrivs"] != "1":
        yield f"the service has privileges: {fields['CapEff']}, {fields['NoNewPrivs']}"


def faults_of_logins(booted):
    passwords = booted.run("cat", "/etc/callgate/passwords.txt")
    password = re.search(r"^bob\s+(\S+)", passwords, re.MULTILINE).group(1)
    environment = ["env", f"PYTHONPATH={tools.ROOT / 'scripts'}", sys.executable, "-c", LOGINS]
    done = booted.run_in_network(*environment, password)
    if done.returncode != 0:
        yield f"logins through the service: {(done.stdout + done.stderr).strip()}"
