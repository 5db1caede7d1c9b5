"""A callout on nats-callout: one user by password, and bearer tokens of one RS256 key.

The library does not support xkeys, so PyNaCl's own classes open and seal the box. The library reads a
server's xkey as a list of texts; the model is changed to accept any value.
"""

import asyncio
import base64
import json
import os
import pathlib
import signal

import jwt
import nats
import nkeys
from adaptix import P, Retort, loader
from nacl.public import Box, PrivateKey, PublicKey
from nats_callout import AdaptixEncoder, AuthError, BaseAuthCalloutService
from nats_callout.claims import UserData
from nats_callout.claims.authorization_request import ServerID
from nats_callout.claims.user import PubSubPermissions


def text(name):
    return pathlib.Path(os.environ[name]).read_text().strip()


def nkey_bytes(key, skip):
    return base64.b32decode(key + "=" * (-len(key) % 8))[skip:-2]


class Service(BaseAuthCalloutService):
    def __init__(self):
        self.nkey_seed, self.account = text("ISSUER_SEED_FILE"), "APP"
        self.encoder = AdaptixEncoder(Retort(recipe=[loader(P[ServerID].xkey, lambda value: value)]))
        self.encoder.kp = nkeys.from_seed(self.nkey_seed.encode())
        self.encoder.json_loads = lambda value: value if isinstance(value, dict) else json.loads(value)
        self.password, self.public = text("PASSWORD_FILE"), jwt.PyJWKSet.from_json(text("KEYS_FILE")).keys[0].key

    async def _handle_auth_request_data(self, data):
        options = data.connect_opts
        if options.auth_token:
            try:
                jwt.decode(options.auth_token, self.public, algorithms=["RS256"], audience="nats",
                           issuer="https://issuer.test", options={"require": ["exp", "sub"]})
            except jwt.InvalidTokenError as error:
                raise AuthError("no") from error
        elif options.user != "alice" or getattr(options, "pass_") != self.password:
            raise AuthError("no")
        return UserData(pub=PubSubPermissions(allow=["orders.>"], deny=[]),
                        sub=PubSubPermissions(allow=["orders.>", "_INBOX.>"], deny=[]),
                        version=2, tags=[])


async def main():
    service = Service()
    seed = os.environ.get("XKEY_SEED_FILE")
    secret = PrivateKey(nkey_bytes(text("XKEY_SEED_FILE"), 2)) if seed else None
    connection = await nats.connect(os.environ["NATS_URL"])

    async def answer(message):
        body = message.data
        if secret:
            server = PublicKey(nkey_bytes(message.headers["Nats-Server-Xkey"], 1))
            box = Box(secret, server)
            body = box.decrypt(body[4:])
        reply = (await service(body)).encode()
        await message.respond(b"xkv1" + box.encrypt(reply) if secret else reply)

    await connection.subscribe("$SYS.REQ.USER.AUTH", queue="peer", cb=answer)
    await connection.flush()
    print("ready", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


asyncio.run(main())
