#!/usr/bin/env python3
"""Makes crates/callgate/tests/vectors/: what real servers ask and what the libraries of NATS make.

    make tools && .tools/python/bin/python scripts/make_vectors.py

Every run makes new keys, which are for tests only. Requests are captured from the oldest and the newest
supported server, unencrypted and sealed, for clients of every kind; each file says who made what.
"""

import asyncio
import base64
import datetime
import importlib.metadata
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import nacl.public
import nats
import nkeys
import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(os.environ.get("CALLGATE_TOOLS") or ROOT / ".tools").resolve()
VECTORS = ROOT / "crates" / "callgate" / "tests" / "vectors"
SERVERS = ["2.10.26", "2.15.1"]
USER, PASSWORD = "auth", "the responder's password"
PATIENCE = 10

CONFIG = """
server_name: vectors
listen: "127.0.0.1:{client}"
jetstream {{ store_dir: "{folder}/jetstream", max_memory_store: 16MB, max_file_store: 16MB }}
websocket {{ listen: "127.0.0.1:{websocket}", no_tls: true }}
mqtt {{ listen: "127.0.0.1:{mqtt}" }}
leafnodes {{ listen: "127.0.0.1:{leaf}" }}
{tls}
accounts {{
    AUTH {{ users: [{{ user: "{user}", password: "{password}" }}, {{ nkey: {nkey_user} }}] }}
    APP {{}}
    SYS {{}}
}}
system_account: SYS
authorization {{
    auth_callout {{ issuer: {issuer}, account: AUTH, auth_users: ["{user}"], {xkey} }}
}}
"""

OPERATOR_CONFIG = """
server_name: vectors
listen: "127.0.0.1:{client}"
websocket {{ listen: "127.0.0.1:{websocket}", no_tls: true }}
operator: {operator}
resolver: MEMORY
# Without a system account, nats-server 2.15.1 crashes when it calls out in operator mode.
system_account: {system}
resolver_preload: {{ {account}: {account_jwt}, {system}: {system_jwt} }}
"""


def main():
    libraries = library_vectors()
    VECTORS.mkdir(parents=True, exist_ok=True)
    for old in VECTORS.glob("*.json"):
        old.unlink()
    write("keys.json", "Key pairs, signatures and boxes made by libraries of NATS.", libraries["keys"])
    write("jwts.json", "User and answer JWTs made by a library of NATS.", libraries["jwts"])
    keys = {key["kind"]: key for key in libraries["keys"]["keys"]}
    for version in SERVERS:
        for xkey in [None, keys["curve"]]:
            for mode, capture_mode in [("configuration", configuration_mode), ("operator", operator_mode)]:
                requests = asyncio.run(capture_mode(version, libraries, keys, xkey))
                write_requests(version, mode, keys, xkey, requests)
    return 0


def write_requests(version, mode, keys, xkey, requests):
    sealed = "sealed" if xkey else "plain"
    write(f"requests-{version}-{mode}-{sealed}.json",
          f"Authorization requests captured from a real server in {mode} mode, each for one client.",
          {"server": f"nats-server {version}", "mode": mode, "issuer": keys["account"], "xkey": xkey,
           "requests": requests})


def write(name, about, content):
    text = json.dumps({"about": f"{about} Test keys only.", **content}, indent=1)
    (VECTORS / name).write_text(text + "\n")
    print(f"{name}: {len(text)} bytes")


# --- what the libraries make ---------------------------------------------------------------------


def library_vectors():
    made = subprocess.run(node("library_vectors.mjs"), cwd=TOOLS / "node", check=True, capture_output=True)
    vectors = json.loads(made.stdout)
    vectors["keys"]["signatures"].append(python_signature(vectors["keys"]["keys"]))
    return vectors


def python_signature(keys):
    """The same key in a second implementation, which must agree on the public key."""
    key = next(key for key in keys if key["kind"] == "user")
    pair = nkeys.from_seed(key["seed"].encode())
    assert pair.public_key.decode() == key["public"]
    message = "a nonce for another library"
    return {"made_by": f"nkeys {importlib.metadata.version('nkeys')} (PyPI)", "seed": key["seed"],
            "public": key["public"], "message": message,
            "signature_base64": base64.b64encode(pair.sign(message.encode())).decode()}


def node(script, *arguments):
    return [TOOLS / "node" / "bin" / "node", ROOT / "scripts" / "vectors" / script, *arguments]


# --- what servers ask ----------------------------------------------------------------------------


async def configuration_mode(version, _libraries, keys, xkey):
    with tempfile.TemporaryDirectory(prefix="callgate-vectors-") as folder:
        certificates = Certificates(Path(folder))
        login = {"user": USER, "password": PASSWORD}
        requests = []
        with running_server(version, folder, configuration(folder, keys, xkey, "")) as ports:
            for name, made_by, client in plain_clients(version, folder, ports, keys):
                requests.append(await capture(name, made_by, client, ports, xkey, login))
        login["tls"] = certificates.client_context()
        with running_server(version, folder, configuration(folder, keys, xkey, certificates.server_block())) as ports:
            client = nats_client(ports, tls=certificates.client_context())
            requests.append(await capture("client certificate", nats_py(), client, ports, xkey, login))
        return requests


async def operator_mode(version, libraries, keys, xkey):
    made = libraries["operator_mode"]
    with tempfile.TemporaryDirectory(prefix="callgate-vectors-") as folder:
        responder = Path(folder) / "responder.creds"
        responder.write_text(made["responder"])
        config = {"operator": made["operator"], "system": made["system"], "system_jwt": made["system_jwt"],
                  "account": keys["account"]["public"],
                  "account_jwt": made["accounts"]["sealed" if xkey else "plain"]}
        requests = []
        with running_server(version, folder, lambda ports: OPERATOR_CONFIG.format(**ports, **config)) as ports:
            for name, made_by, client in operator_clients(ports, made["sentinel"]):
                login = {"user_credentials": str(responder)}
                requests.append(await capture(name, made_by, client, ports, xkey, login))
        return requests


def operator_clients(ports, sentinel):
    password = {"user": "alice", "pass": "alice's password", "creds": sentinel}
    token = {"token": "a token that means something to the service", "creds": sentinel}
    return [
        ("sentinel and password", nats_core(), websocket_client(ports, password)),
        ("sentinel and token", nats_core(), websocket_client(ports, token)),
        ("sentinel alone", nats_core(), websocket_client(ports, {"creds": sentinel})),
    ]


def plain_clients(version, folder, ports, keys):
    paho = f"paho-mqtt {importlib.metadata.version('paho-mqtt')}"
    token = "a token that means something to the service"
    return [
        ("password", nats_py(), nats_client(ports, user="alice", password="alice's password", name="orders")),
        ("token", nats_py(), nats_client(ports, token=token)),
        ("nkey", nats_py(), nats_client(ports, nkeys_seed_str=keys["user"]["seed"])),
        ("no credential", nats_py(), nats_client(ports)),
        ("password over websocket", nats_core(), websocket_client(ports, {"user": "alice", "pass": "alice's password"})),
        ("token over websocket", nats_core(), websocket_client(ports, {"token": token})),
        ("password over mqtt", paho, mqtt_client(ports, "alice", "alice's password")),
        ("leaf node", f"nats-server {version}", leaf_node(version, folder, ports)),
    ]


async def capture(name, made_by, client, ports, xkey, login):
    """Runs one client against the server and keeps the first question that the server asks about it."""
    captured = asyncio.get_running_loop().create_future()
    responder = await nats.connect(f"nats://127.0.0.1:{ports['client']}", **login)

    async def question(message):
        if not captured.done():
            captured.set_result(message)
        # An empty answer refuses at once; the client need not wait for the server's time-out.
        await message.respond(b"")

    await responder.subscribe("$SYS.REQ.USER.AUTH", cb=question)
    await responder.flush()
    attempt = asyncio.create_task(client())
    try:
        message = await asyncio.wait_for(captured, PATIENCE)
    except asyncio.TimeoutError:
        raise RuntimeError(f"no request for the client `{name}`") from None
    await asyncio.wait_for(attempt, PATIENCE)
    await responder.close()
    return vector(name, made_by, message, xkey)


def vector(name, made_by, message, xkey):
    header = (message.headers or {}).get("Nats-Server-Xkey")
    token = unsealed(message.data, xkey, header) if xkey else message.data
    return {"name": name, "client": made_by, "xkey_header": header,
            "payload_base64": base64.b64encode(message.data).decode(), "claims": verified(token)}


def unsealed(data, xkey, server_xkey):
    """`xkv1`, a nonce of 24 bytes, a NaCl box."""
    assert data.startswith(b"xkv1")
    own = nacl.public.PrivateKey(base32(xkey["seed"])[2:34])
    box = nacl.public.Box(own, nacl.public.PublicKey(base32(server_xkey)[1:33]))
    return box.decrypt(data[28:], data[4:28])


def verified(token):
    body, signature = token.decode().rsplit(".", 1)
    claims = json.loads(base64url(body.split(".")[1]))
    nacl.signing.VerifyKey(base32(claims["iss"])[1:33]).verify(body.encode(), base64url(signature))
    return claims


def base32(text):
    return base64.b32decode(text + "=" * (-len(text) % 8))


def base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- clients: each is refused, as expected -------------------------------------------------


def nats_py():
    return f"nats-py {importlib.metadata.version('nats-py')}"


def nats_core():
    package = TOOLS / "node" / "node_modules" / "@nats-io" / "nats-core" / "package.json"
    return f"@nats-io/nats-core {json.loads(package.read_text())['version']}"


def nats_client(ports, **options):
    async def attempt():
        async def quiet(_error):
            pass
        try:
            client = await nats.connect(f"nats://127.0.0.1:{ports['client']}", allow_reconnect=False,
                                        error_cb=quiet, **options)
            await client.close()
        except (nats.errors.Error, OSError):
            pass
    return attempt


def websocket_client(ports, options):
    async def attempt():
        command = node("websocket_client.mjs", f"ws://127.0.0.1:{ports['websocket']}", json.dumps(options))
        process = await asyncio.create_subprocess_exec(*command, cwd=TOOLS / "node")
        await process.wait()
    return attempt


def mqtt_client(ports, user, password):
    def connect():
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="sensor-7", protocol=mqtt.MQTTv311)
        client.username_pw_set(user, password)
        client.connect("127.0.0.1", ports["mqtt"])
        client.loop(timeout=1)
        client.disconnect()
    async def attempt():
        await asyncio.to_thread(connect)
    return attempt


def leaf_node(version, folder, ports):
    async def attempt():
        config = Path(folder) / "leaf.conf"
        config.write_text(f"""
            server_name: a-leaf
            listen: "127.0.0.1:{free_port()}"
            leafnodes {{ remotes: [{{ url: "nats-leaf://alice:secret@127.0.0.1:{ports['leaf']}" }}] }}
        """)
        process = await asyncio.create_subprocess_exec(server_binary(version), "-c", config,
                                                       stderr=asyncio.subprocess.PIPE)
        while b"Authorization Violation" not in await process.stderr.readline():
            pass
        process.kill()
        await process.wait()
    return attempt


# --- the server ----------------------------------------------------------------------------------


@contextmanager
def running_server(version, folder, configured):
    ports = {name: free_port() for name in ["client", "websocket", "mqtt", "leaf"]}
    config = Path(folder) / "nats-server.conf"
    config.write_text(configured(ports))
    with open(Path(folder) / "log", "w") as log:
        process = subprocess.Popen([server_binary(version), "-c", config], stderr=log)
    try:
        wait_for_port(ports["client"], process)
        yield ports
    finally:
        process.kill()
        process.wait()


def configuration(folder, keys, xkey, tls):
    def configured(ports):
        return CONFIG.format(
            **ports, folder=folder, user=USER, password=PASSWORD, nkey_user=other_user(), tls=tls,
            issuer=keys["account"]["public"], xkey=f"xkey: {xkey['public']}" if xkey else "",
        )
    return configured


def other_user():
    """Only a server with an nkey user sends nonces; no client logs in as this one."""
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    return nkeys.from_seed(seed).public_key.decode()


def server_binary(version):
    return TOOLS / "nats-server" / version / "nats-server"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port, process):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nats-server is not ready on port {port}")


class Certificates:
    """A CA, a server and a client, valid for long enough that no test ever sees them expire."""

    def __init__(self, folder):
        self.folder = folder
        self.authority_key = ec.generate_private_key(ec.SECP256R1())
        self.authority_name = common_name("Callgate test authority")
        self.write("ca", self.authority_name, self.authority_key, authority=True)
        for name, subject in [("server", "vectors"), ("client", "alice")]:
            self.write(name, common_name(subject), ec.generate_private_key(ec.SECP256R1()))

    def write(self, name, subject, key, authority=False):
        start = datetime.datetime(2025, 1, 1, tzinfo=datetime.timezone.utc)
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.RFC822Name("alice@example.com")]
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self.authority_name)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(start).not_valid_after(start.replace(year=2095))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.authority_key, hashes.SHA256())
        self.path(name, "pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.path(name, "key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    def path(self, name, extension):
        return self.folder / f"{name}.{extension}"

    def server_block(self):
        return (f'tls {{ cert_file: "{self.path("server", "pem")}", key_file: "{self.path("server", "key")}", '
                f'ca_file: "{self.path("ca", "pem")}", verify: true }}')

    def client_context(self):
        context = ssl.create_default_context(cafile=self.path("ca", "pem"))
        context.load_cert_chain(self.path("client", "pem"), self.path("client", "key"))
        return context


def common_name(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


if __name__ == "__main__":
    sys.exit(main())
