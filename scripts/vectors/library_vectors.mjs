// Keys, signatures, boxes and JWTs as the libraries of NATS make them. Prints JSON; see make_vectors.py.
//
// Run in the folder that has the node_modules: imports are resolved from there.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.cwd() + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)));
const nkeys = await load("@nats-io/nkeys");
const jwt = await load("@nats-io/jwt");
const version = (name) => `${name} ${require(`./node_modules/${name}/package.json`).version}`;

const text = (bytes) => new TextDecoder().decode(bytes);
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const describe = (kind, pair) => ({ kind, public: pair.getPublicKey(), seed: text(pair.getSeed()) });

const account = nkeys.createAccount();
const user = nkeys.createUser();
const server = nkeys.createServer();
const operator = nkeys.createOperator();
const [sender, recipient] = [nkeys.createCurve(), nkeys.createCurve()];

const message = "a nonce that a server sent";
const plaintext = "sealed by one curve key for another";
const permissions = {
  pub: { allow: ["orders.>"], deny: ["orders.audit"] },
  sub: { allow: ["orders.*.status", "_INBOX.>"], deny: [] },
  resp: { max: 1, ttl: 5_000_000_000 },
};
const userJwt = await jwt.encodeUser("alice", user, account, permissions, { aud: "APP", exp: 4_000_000_000 });
const bareUserJwt = await jwt.encodeUser("bob", user, account, {}, { aud: "APP" });
const answer = (data) =>
  jwt.encodeAuthorizationResponse(user, server, account, data, { aud: server.getPublicKey() });

// Operator mode: the callout account, its responder, and the sentinel with which every client comes.
const responder = nkeys.createUser();
const sentinel = nkeys.createUser();
const operatorJwt = await jwt.encodeOperator("O", operator);
// Absent limits are limits of zero.
const limits = { conn: -1, leaf: -1, subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true };
const system = nkeys.createAccount();
const systemJwt = await jwt.encodeAccount("SYS", system, { limits }, { signer: operator });
const accountJwt = (curve) =>
  jwt.encodeAccount("AUTH", account, {
    limits,
    authorization: { auth_users: [responder.getPublicKey()], allowed_accounts: ["*"], xkey: curve },
  }, { signer: operator });
const denied = { pub: { deny: [">"] }, sub: { deny: [">"] } };
const credentials = async (name, pair, permissions) =>
  text(jwt.fmtCreds(await jwt.encodeUser(name, pair, account, permissions), pair));

const decoded = (token) => ({ token, claims: jwt.decode(token) });
console.log(JSON.stringify({
  operator_mode: {
    operator: operatorJwt,
    system: system.getPublicKey(),
    system_jwt: systemJwt,
    accounts: { plain: await accountJwt(undefined), sealed: await accountJwt(recipient.getPublicKey()) },
    responder: await credentials("responder", responder, {}),
    sentinel: await credentials("sentinel", sentinel, denied),
  },
  keys: {
    made_by: version("@nats-io/nkeys"),
    keys: [
      describe("account", account), describe("user", user), describe("server", server),
      describe("operator", operator), describe("curve", sender), describe("curve", recipient),
    ],
    signatures: [{
      made_by: version("@nats-io/nkeys"),
      seed: text(user.getSeed()), public: user.getPublicKey(), message,
      signature_base64: base64(user.sign(new TextEncoder().encode(message))),
    }],
    boxes: [{
      made_by: version("@nats-io/nkeys"),
      sender_seed: text(sender.getSeed()), sender: sender.getPublicKey(),
      recipient_seed: text(recipient.getSeed()), recipient: recipient.getPublicKey(), plaintext,
      sealed_base64: base64(sender.seal(new TextEncoder().encode(plaintext), recipient.getPublicKey())),
    }],
  },
  jwts: {
    made_by: version("@nats-io/jwt"),
    issuer: describe("account", account),
    user: user.getPublicKey(),
    server: server.getPublicKey(),
    users: [
      { name: "with permissions, an audience and an expiry", ...decoded(userJwt) },
      { name: "with the library's defaults", ...decoded(bareUserJwt) },
    ],
    responses: [
      { name: "admits", ...decoded(await answer({ jwt: userJwt })) },
      { name: "refuses", ...decoded(await answer({ error: "no such user" })) },
    ],
  },
}));
