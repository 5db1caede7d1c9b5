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

/// `NatsAuth` is the file on the page. The JDK reads no PEM files of keys, so this does.
#[cfg(feature = "java")]
pub(super) const JAVA: &str = r#"
import io.nats.client.*;
import java.io.*;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Duration;
import java.util.*;
import javax.net.ssl.*;

public final class Main {
    static Options options(Map<String, String> env) throws Exception {
        String url = env.get("URL");
        String user = env.get("NAME");
        switch (env.get("KIND")) {
            case "password":
                return NatsAuth.withPassword(url, user, env.get("PASSWORD"));
            case "token":
                return NatsAuth.withToken(url, user, Path.of(env.get("TOKEN_FILE")));
            case "nkey":
                char[] seed = Files.readString(Path.of(env.get("SEED_FILE"))).trim().toCharArray();
                return NatsAuth.withNkey(url, user, seed);
            case "sentinel":
                return NatsAuth.withSentinel(url, user, env.get("SENTINEL_FILE"), Path.of(env.get("TOKEN_FILE")));
            default:
                return NatsAuth.withCertificate(url, user, context(env.get("CERT"), env.get("KEY"), env.get("CA")));
        }
    }

    static SSLContext context(String cert, String key, String ca) throws Exception {
        char[] none = new char[0];
        KeyStore own = KeyStore.getInstance("PKCS12");
        own.load(null, none);
        own.setKeyEntry("client", key(key), none, certificates(cert).toArray(new java.security.cert.Certificate[0]));
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(own, none);
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, none);
        for (java.security.cert.Certificate one : certificates(ca)) {
            trusted.setCertificateEntry("ca" + trusted.size(), one);
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    static Collection<? extends java.security.cert.Certificate> certificates(String file) throws Exception {
        try (InputStream in = Files.newInputStream(Path.of(file))) {
            return CertificateFactory.getInstance("X.509").generateCertificates(in);
        }
    }

    static PrivateKey key(String file) throws Exception {
        String text = Files.readString(Path.of(file)).replaceAll("-----[A-Z ]+-----|\\s", "");
        return KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(text)));
    }

    public static void main(String[] arguments) throws Exception {
        Connection connection = Nats.connect(options(System.getenv()));
        String subject = System.getenv("SUBJECT");
        connection.createDispatcher(message -> connection.publish(message.getReplyTo(), "pong".getBytes()))
            .subscribe(subject);
        while (true) {
            try {
                Message reply = connection.request(subject, null, Duration.ofSeconds(1));
                if (reply != null) {
                    System.out.println(new String(reply.getData()));
                }
            } catch (IllegalStateException closedOrReconnecting) {
                System.err.println(closedOrReconnecting);
            }
            Thread.sleep(100);
        }
    }
}
"#;
