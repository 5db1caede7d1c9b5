"""Services that answer the questions of `http` and `nats` authenticators, in threads of this process."""

import contextlib
import json
import socket
import threading

ANSWER = json.dumps({"result": "allow", "user": "alice", "account": "APP", "roles": ["service"], "cache": "60s"}).encode()
IGNORE = json.dumps({"result": "ignore"}).encode()


class Questions:
    """How many were asked. While `hangs`, none is answered."""

    def __init__(self):
        self.lock, self.count, self.hangs = threading.Lock(), 0, threading.Event()

    def add(self):
        with self.lock:
            self.count += 1


@contextlib.contextmanager
def http():
    """A web service on a loopback port that admits everyone: (url, questions)."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    questions = Questions()

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            lines = connection.makefile("rb")
            while (line := lines.readline()):
                length = 0
                while line not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                    line = lines.readline()
                lines.read(length)
                questions.add()
                if questions.hangs.is_set():
                    continue
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}\r\n\r\n"
                connection.sendall(head.encode() + ANSWER)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", questions
    finally:
        # Closing alone does not wake up `accept`.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextlib.contextmanager
def nats(port, subject):
    """A service on a subject that admits everyone."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = connection.makefile("rb")
    lines.readline()
    options = {"user": "auth", "pass": "auth", "verbose": False, "pedantic": False, "headers": True}
    connection.sendall(f"CONNECT {json.dumps(options)}\r\nSUB {subject} team 1\r\nPING\r\n".encode())

    def serve():
        with contextlib.suppress(OSError, ValueError):
            while (line := lines.readline()):
                words = line.split()
                if words[0] == b"PING":
                    connection.sendall(b"PONG\r\n")
                if words[0] not in (b"MSG", b"HMSG"):
                    continue
                lines.read(int(words[-1]) + 2)
                # After subject and subscription, before one size or two.
                reply = words[3].decode()
                connection.sendall(f"PUB {reply} {len(ANSWER)}\r\n".encode() + ANSWER + b"\r\n")
    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        connection.close()
