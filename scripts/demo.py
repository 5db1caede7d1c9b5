#!/usr/bin/env python3
"""Demonstrates Callgate: builds it, starts it with a real nats-server, and connects four users.

Everything runs on free ports of this machine and is stopped at the end, also on Ctrl-C or when the
terminal closes. The configuration files stay in demo/ for further experiments.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import release
import tools

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "demo"
COLOUR = (sys.stdout.isatty() or bool(os.environ.get("CLICOLOR_FORCE"))) and not os.environ.get("NO_COLOR")


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def say(text=""):
    print(text, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Ending:
    """Handles the signals that end the demo: the first one raises, unless held; later ones do nothing.

    Holding protects three steps: between starting a program and registering it for being stopped,
    stopping the programs, and writing the files.
    """

    def __init__(self):
        self.received = self.held = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self.receive)

    def receive(self, *_):
        first = not self.received
        self.received = True
        if first and not self.held:
            raise SystemExit(130)

    def hold(self):
        self.held = True

    def release(self):
        self.held = False
        if self.received:
            raise SystemExit(130)


class Refused(Exception):
    """The server refused the client."""


class Client:
    """The part of the NATS protocol that the demo needs."""

    def __init__(self, port, user, password):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()  # INFO
        options = {"verbose": False, "pedantic": False, "user": user, "pass": password,
                   "name": f"demo-{user}", "lang": "python", "version": "1", "protocol": 1,
                   "headers": True, "no_responders": True}
        self.send(f"CONNECT {json.dumps(options)}\r\nPING\r\n")
        answer = self.line()
        while answer.startswith("INFO"):
            answer = self.line()
        if answer != "PONG":
            raise Refused(answer.removeprefix("-ERR ").strip("'"))

    def send(self, text):
        self.socket.sendall(text.encode())

    def line(self):
        return self.lines.readline().decode().strip()

    def publish(self, subject):
        """Publishes; returns the error of the server, if any."""
        self.send(f"PUB {subject} 5\r\nhello\r\nPING\r\n")
        answer = self.line()
        while answer != "PONG":
            if answer.startswith("-ERR"):
                self.line()
                return answer.removeprefix("-ERR ").strip("'")
            answer = self.line()
        return None

    def request(self, subject):
        """Sends a request and returns the body of the first reply."""
        self.send(f"SUB _INBOX.demo 1\r\nPUB {subject} _INBOX.demo 0\r\n\r\n")
        while True:
            head = self.line()
            if head.startswith(("MSG", "HMSG")):
                return self.lines.read(int(head.split()[-1]) + 2)[:-2]
            if head == "PING":
                self.send("PONG\r\n")

    def close(self):
        self.socket.close()


class Process:
    """A program with its output; it is always stopped in the end."""

    def __init__(self, name, *command):
        self.name, self.lines = name, []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, start_new_session=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def wait_for(self, text, start=0, seconds=15):
        """Returns the first line from `start` on that contains `text`."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.lines[start:]:
                if text in line:
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise SystemExit(f"{self.name} did not print {text!r}:\n" + "\n".join(self.lines[-20:]))

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def build(cargo):
    say(paint(1, "Building callgate (the first time takes a few minutes) …"))
    # On a terminal, cargo shows how far it is.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    subprocess.run([cargo, "build", *quiet, "--package", "callgate-server"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / "callgate"


def configure(callgate, port, admin):
    if FOLDER.exists():
        # It may have been edited, so the last one is kept.
        previous = FOLDER.with_name("demo.previous")
        shutil.rmtree(previous, ignore_errors=True)
        FOLDER.rename(previous)
    subprocess.run([callgate, "init", "--demo", FOLDER], check=True, stdout=subprocess.DEVNULL)
    for name in ("callgate.toml", "nats-server.conf"):
        path = FOLDER / name
        path.write_text(path.read_text().replace("127.0.0.1:4222", f"127.0.0.1:{port}"))
    with open(FOLDER / "callgate.toml", "a", encoding="utf-8") as file:
        file.write(f'\n[admin]\nlisten = "127.0.0.1:{admin}"\n\n[log]\nformat = "json"\n')


def decision(gate, start):
    """Returns Callgate's log record of the next decision as one line."""
    record = json.loads(gate.wait_for('"outcome":', start))
    admitted = record["outcome"] == "admitted"
    shown = [paint(32 if admitted else 31, record["outcome"]), f"reason={record['reason']}",
             f"user={record['user']}"]
    if admitted:
        shown.append(f"account={record['account']}")
        shown.append(f"until={record['expires']}")
    elif record["detail"]:
        shown.append(f"detail={record['detail']!r}")
    shown.append(f"client_id={record['client_id']} {record['milliseconds']:.1f} ms")
    return paint(2, "    callgate  ") + " ".join(shown)


class Story:
    """Runs the steps of the demo and compares the results with the expected ones."""

    def __init__(self, gate, port):
        self.gate = gate
        self.port = port
        self.failures = 0

    def enter(self, user, password):
        start = len(self.gate.lines)
        say(paint(1, f"\n{user}") + f" connects with the password `{password}`")
        try:
            client = Client(self.port, user, password)
        except Refused as error:
            client, shown = None, f"refused: {error}"
        else:
            shown = "connected"
        say(paint(2, "    server    ") + shown)
        say(decision(self.gate, start))
        return client

    def expect(self, what, good):
        self.failures += not good
        say(f"    {paint(32, 'as expected') if good else paint(31, 'UNEXPECTED')}: {what}")

    def publishes(self, client, subject, allowed):
        error = client.publish(subject)
        self.expect(f"publishing to `{subject}`: {error or 'done'}", (error is None) == allowed)


def run(story):
    alice = story.enter("alice", "alice")
    story.expect("alice is connected", alice is not None)
    story.publishes(alice, "test", True)
    bob = story.enter("bob", "bob")
    story.expect("bob is connected", bob is not None)
    story.publishes(bob, "test", False)
    story.publishes(bob, "bob.test", True)
    story.expect("pam, an unknown user, is refused", story.enter("pam", "pam") is None)
    story.expect("alice with a wrong password is refused", story.enter("alice", "wrong") is None)
    sys_user = story.enter("sys", "sys")
    story.expect("sys is connected", sys_user is not None)
    answer = json.loads(sys_user.request("$SYS.REQ.SERVER.PING"))
    story.expect(f"sys lists the servers: {answer['server']['name']} {answer['server']['ver']}", True)
    for client in (alice, bob, sys_user):
        client.close()


class Running:
    """The running programs in start order; they are stopped when the block ends."""

    def __init__(self, ending):
        self.ending, self.processes = ending, []

    def start(self, name, *command):
        self.ending.hold()
        self.processes.append(Process(name, *command))
        self.ending.release()
        return self.processes[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.stop()


def main():
    ending = Ending()
    cargo = release.cargo()
    server_binary = tools.nats_server()
    callgate = build(cargo)
    port, admin = free_port(), free_port()
    ending.hold()
    configure(callgate, port, admin)
    ending.release()
    with Running(ending) as running:
        try:
            server = running.start("nats-server", server_binary, "-c", FOLDER / "nats-server.conf")
            server.wait_for("Server is ready")
            gate = running.start("callgate", callgate, "serve", "--config", FOLDER / "callgate.toml")
            gate.wait_for('"ready: answering authorization requests"')
            say(f"nats-server listens on 127.0.0.1:{port}, callgate handles its logins")
            story = Story(gate, port)
            run(story)
        finally:
            ending.hold()
    ending.release()
    say()
    if story.failures:
        raise SystemExit(paint(31, f"{story.failures} results were unexpected"))
    say(paint(32, "All results were as expected."))
    say(f"Both programs are stopped. To experiment further, run in two terminals:\n"
        f"  {os.path.relpath(server_binary)} -c demo/nats-server.conf\n"
        f"  {os.path.relpath(callgate)} serve --config demo/callgate.toml")


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        # The reader has closed the pipe, as in `make demo | head`. Python must not flush to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
