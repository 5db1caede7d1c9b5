//! Programs around the functions on the pages: connect with the credential in `KIND`, send requests to
//! themselves through the private inbox, and print each reply. They end with the test.

/// `natsauth` is the file on the page.
#[cfg(feature = "go")]
pub(super) const GO: &str = r#"package main

import (
	"fmt"
	"os"
	"time"

	"callgate.test/snippets/natsauth"
	"github.com/nats-io/nats.go"
)

func connect() (*nats.Conn, error) {
	env := os.Getenv
	url, user := env("URL"), env("NAME")
	switch env("KIND") {
	case "password":
		return natsauth.WithPassword(url, user, env("PASSWORD"))
	case "token":
		return natsauth.WithToken(url, user, env("TOKEN_FILE"))
	case "nkey":
		return natsauth.WithNkey(url, user, env("SEED_FILE"))
	case "sentinel":
		return natsauth.WithSentinel(url, user, env("SENTINEL_FILE"), env("TOKEN_FILE"))
	default:
		return natsauth.WithCertificate(url, user, env("CERT"), env("KEY"), env("CA"))
	}
}

func main() {
	nc, err := connect()
	if err != nil {
		panic(err)
	}
	subject := os.Getenv("SUBJECT")
	nc.Subscribe(subject, func(m *nats.Msg) { m.Respond([]byte("pong")) })
	for {
		if reply, err := nc.Request(subject, nil, time.Second); err == nil {
			fmt.Println(string(reply.Data))
		}
		time.Sleep(100 * time.Millisecond)
	}
}
"#;

/// Appended to the file on the page.
pub(super) const PYTHON: &str = r#"

import os
import sys

CREDENTIALS = {
    "password": lambda env: with_password(env["NAME"], env["PASSWORD"]),
    "token": lambda env: with_token(env["NAME"], env["TOKEN_FILE"]),
    "nkey": lambda env: with_nkey(env["NAME"], env["SEED_FILE"]),
    "sentinel": lambda env: with_sentinel(env["NAME"], env["SENTINEL_FILE"], env["TOKEN_FILE"]),
    "certificate": lambda env: with_certificate(env["NAME"], env["CERT"], env["KEY"], env["CA"]),
}


async def converse(nc):
    subject = os.environ["SUBJECT"]

    async def answer(message):
        await message.respond(b"pong")

    await nc.subscribe(subject, cb=answer)
    while not nc.is_closed:
        try:
            print((await nc.request(subject, timeout=1)).data.decode(), flush=True)
        except Exception as error:
            print(error, file=sys.stderr)
        await asyncio.sleep(0.1)


async def subscribe(nc):
    subscribe.task = asyncio.create_task(converse(nc))


asyncio.run(stay_connected(os.environ["URL"], CREDENTIALS[os.environ["KIND"]](os.environ), subscribe))
"#;

/// Appended to the file on the page.
#[cfg(feature = "node")]
pub(super) const JAVASCRIPT: &str = r#"
const env = process.env;
const credentials = {
  password: () => withPassword(env.URL, env.NAME, env.PASSWORD),
  token: () => withToken(env.URL, env.NAME, env.TOKEN_FILE),
  nkey: () => withNkey(env.URL, env.NAME, env.SEED_FILE),
  sentinel: () => withSentinel(env.URL, env.NAME, env.SENTINEL_FILE, env.TOKEN_FILE),
  certificate: () => withCertificate(env.URL, env.NAME, env.CERT, env.KEY, env.CA),
};
const nc = await credentials[env.KIND]();
nc.subscribe(env.SUBJECT, { callback: (error, message) => error || message.respond("pong") });
for (;;) {
  try {
    console.log((await nc.request(env.SUBJECT, "", { timeout: 1000 })).string());
  } catch (error) {
    console.error(error);
  }
  await new Promise((done) => setTimeout(done, 100));
}
"#;
