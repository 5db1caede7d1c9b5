// A callout on the official JavaScript libraries: one user by password, and bearer tokens of one
// RS256 key. The request is decoded manually, because the library has no type for it.
import { readFileSync } from "node:fs";
import { encodeAuthorizationResponse, encodeUser } from "@nats-io/jwt";
import { fromCurveSeed, fromPublic, fromSeed } from "@nats-io/nkeys";
import { connect } from "@nats-io/transport-node";
import { importJWK, jwtVerify } from "jose";

const text = (name) => readFileSync(process.env[name], "utf8").trim();
const bytes = (value) => new TextEncoder().encode(value);
const issuer = fromSeed(bytes(text("ISSUER_SEED_FILE")));
const xkey = process.env.XKEY_SEED_FILE ? fromCurveSeed(bytes(text("XKEY_SEED_FILE"))) : null;
const password = text("PASSWORD_FILE");
const publicKey = await importJWK(JSON.parse(text("KEYS_FILE")).keys[0], "RS256");

async function identify(options) {
  if (options.auth_token) {
    const { payload } = await jwtVerify(options.auth_token, publicKey, {
      algorithms: ["RS256"], issuer: "https://issuer.test", audience: "nats",
    });
    return payload.sub;
  }
  if (options.user !== "alice" || options.pass !== password) throw new Error("no");
  return options.user;
}

async function answer(message) {
  const server = message.headers?.get("Nats-Server-Xkey");
  const plain = xkey ? xkey.open(message.data, server) : message.data;
  const token = new TextDecoder().decode(plain);
  const [header, body, signature] = token.split(".");
  const claims = JSON.parse(Buffer.from(body, "base64url").toString());
  const good = fromPublic(claims.iss).verify(bytes(`${header}.${body}`), Buffer.from(signature, "base64url"));
  if (!good || claims.iss !== claims.nats.server_id.id) return;
  const { user_nkey, connect_opts } = claims.nats;
  const response = {};
  try {
    const name = await identify(connect_opts);
    const user = fromPublic(user_nkey);
    response.jwt = await encodeUser(name, user, issuer, {
      pub: { allow: ["orders.>"] }, sub: { allow: ["orders.>", "_INBOX.>"] },
    }, { aud: "APP", exp: Math.floor(Date.now() / 1000) + 3600 });
  } catch {
    response.error = "authorization failed";
  }
  const reply = await encodeAuthorizationResponse(fromPublic(user_nkey), fromPublic(claims.iss), issuer, response, {});
  message.respond(xkey ? xkey.seal(bytes(reply), server) : reply);
}

const url = new URL(process.env.NATS_URL);
const nc = await connect({ servers: url.host, user: url.username, pass: url.password });
nc.subscribe("$SYS.REQ.USER.AUTH", {
  queue: "peer",
  callback: (error, message) => error ? console.error(error) : answer(message).catch(console.error),
});
await nc.flush();
console.log("ready");
