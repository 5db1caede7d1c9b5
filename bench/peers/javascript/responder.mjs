// A callout on the official JavaScript libraries: one user by password, and bearer tokens of one
// RS256 key. The request is decoded manually, because the library has no type for it.
//
// By themselves the libraries take about 70 ms for an answer. They compute in JavaScript (tweetnacl), and derive
// the key pair from its seed again for each signature and each use of the public key, and the key shared with the
// server for each message. Here node:crypto signs and verifies, and every key is derived once.
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { encodeAuthorizationResponse, encodeUser } from "@nats-io/jwt";
import { fromCurveSeed, fromPublic, fromSeed } from "@nats-io/nkeys";
import { connect } from "@nats-io/transport-node";
import { importJWK, jwtVerify } from "jose";
import nacl from "tweetnacl";

const text = (name) => readFileSync(process.env[name], "utf8").trim();
const bytes = (value) => new TextEncoder().encode(value);
// What comes before a raw key in PKCS #8 and SPKI (RFC 8410).
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
const SPKI = Buffer.from("302a300506032b6570032100", "hex");
const issuer = native(fromSeed(bytes(text("ISSUER_SEED_FILE"))));
const xkey = process.env.XKEY_SEED_FILE ? fromCurveSeed(bytes(text("XKEY_SEED_FILE"))) : null;
const password = text("PASSWORD_FILE");
const publicKey = await importJWK(JSON.parse(text("KEYS_FILE")).keys[0], "RS256");

// A key pair that signs with node:crypto, and derives its public key once.
function native(pair) {
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, pair.getRawSeed()]), format: "der", type: "pkcs8" });
  const publicKey = pair.getPublicKey();
  pair.getPublicKey = () => publicKey;
  pair.sign = (input) => new Uint8Array(sign(null, input, key));
  return pair;
}

// The 32 bytes of a public nkey, whose checksum the library has verified.
function raw(nkey) {
  fromPublic(nkey);
  const bits = [...nkey].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  return Buffer.from(bits.match(/.{8}/g).slice(1, 33).map((byte) => parseInt(byte, 2)));
}

const cached = (make) => {
  const known = new Map();
  return (name) => known.get(name) ?? known.set(name, make(name)).get(name);
};
const verifying = cached((nkey) => createPublicKey({ key: Buffer.concat([SPKI, raw(nkey)]), format: "der", type: "spki" }));
const shared = cached((server) => nacl.box.before(new Uint8Array(xkey.decodePubCurveKey(server)), xkey.seed));

function open(message, server) {
  return nacl.box.open.after(message.slice(28), message.slice(4, 28), shared(server));
}

function seal(message, server) {
  const nonce = nacl.randomBytes(24);
  return Buffer.concat([Buffer.from("xkv1"), nonce, nacl.box.after(message, nonce, shared(server))]);
}

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
  const plain = xkey ? open(message.data, server) : message.data;
  const token = new TextDecoder().decode(plain);
  const [header, body, signature] = token.split(".");
  const claims = JSON.parse(Buffer.from(body, "base64url").toString());
  const good = verify(null, bytes(`${header}.${body}`), verifying(claims.iss), Buffer.from(signature, "base64url"));
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
  message.respond(xkey ? seal(bytes(reply), server) : reply);
}

const url = new URL(process.env.NATS_URL);
const nc = await connect({ servers: url.host, user: url.username, pass: url.password });
nc.subscribe("$SYS.REQ.USER.AUTH", {
  queue: "peer",
  callback: (error, message) => error ? console.error(error) : answer(message).catch(console.error),
});
await nc.flush();
console.log("ready");
