// The npm package `oidc-provider` as an issuer for tests: `provider.mjs ISSUER`.
//
// It prints `listening on PORT` and serves the issuer there, for the proxy in front of it under the
// address ISSUER. What a test may ask for is below `/control/` (POST, JSON in and out):
//
//   mint    {alg, claims} -> {token}   by a token request of a client, like any other; a claim that is null is left out
//   opaque  {}            -> {token}   the same with an opaque token, which the client `callgate` may introspect
//   revoke  {token}       -> {}        by a revocation request of the client that owns the opaque token
//   rotate  {}            -> {}        new keys for signing; the old ones stay published
//   retire  {}            -> {}        only the newest keys stay published

import { createServer } from "node:http";
import Provider from "oidc-provider";
import { CompactSign, exportJWK, generateKeyPair, importJWK } from "jose";

const issuer = process.argv.at(-1);
const ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];
const CLIENT = { id: "service", secret: "a-secret-of-this-test-only" };
const CALLGATE = { id: "callgate", secret: "another-secret-of-this-test-only" };

let generation = 0;
let keys = [];
let provider;
// What the token request under way is to bring, by the resource that it names.
const wishes = new Map();

async function newKeys() {
  generation += 1;
  return Promise.all(ALGORITHMS.map(async (alg) => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    return { ...(await exportJWK(privateKey)), use: "sig", alg, kid: `${alg}-${generation}` };
  }));
}

function makeProvider() {
  const made = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ["cookies-are-not-used"] },
    clients: [CLIENT, CALLGATE].map(({ id, secret }) => ({
      client_id: id,
      client_secret: secret,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    })),
    enabledJWA: { idTokenSigningAlgValues: ALGORITHMS },
    formats: {
      customizers: {
        jwt: (ctx, token, { payload }) => {
          for (const [name, value] of Object.entries(wish(ctx).claims)) {
            if (value === null) delete payload[name];
            else payload[name] = value;
          }
        },
      },
    },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: {
        enabled: true,
        allowedPolicy: (ctx, client, token) => client.clientId === CALLGATE.id || client.clientId === token.clientId,
      },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx) => {
          const { alg } = wish(ctx);
          const common = { scope: "", audience: "nats", accessTokenTTL: 600 };
          if (alg === undefined) return { ...common, accessTokenFormat: "opaque" };
          return {
            ...common, accessTokenFormat: "jwt",
            jwt: { sign: { alg, kid: keys.find((key) => key.alg === alg).kid } },
          };
        },
      },
    },
  });
  made.proxy = true;
  return made;
}

const wish = (ctx) => wishes.get(ctx.oidc.params.resource);

// Claims of types that the package refuses to sign are signed with its key all the same.
const isText = (value) => typeof value === "string" && value !== "";
const SIGNABLE = {
  iss: isText,
  sub: isText,
  aud: (value) => [value].flat().every(isText),
  exp: Number.isSafeInteger,
};

async function mint({ alg, claims }) {
  const signable = ([name, value]) => SIGNABLE[name]?.(value) ?? true;
  return Object.entries(claims).every(signable) ? request({ alg, claims }) : forge(alg, claims);
}

const opaque = () => request({});

async function revoke({ token }) {
  const answer = await post("/token/revocation", { token, token_type_hint: "access_token" });
  if (!answer.ok) throw new Error(await answer.text());
  return {};
}

async function forge(alg, claims) {
  const now = Math.floor(Date.now() / 1000);
  const payload = { iss: issuer, aud: "nats", sub: CLIENT.id, iat: now, exp: now + 600, ...claims };
  for (const name of Object.keys(payload)) if (payload[name] === null) delete payload[name];
  const { kid, ...key } = keys.find((one) => one.alg === alg);
  const signer = new CompactSign(new TextEncoder().encode(JSON.stringify(payload)));
  return { token: await signer.setProtectedHeader({ alg, typ: "at+jwt", kid }).sign(await importJWK(key, alg)) };
}

function post(path, fields) {
  return fetch(`http://127.0.0.1:${server.address().port}${path}`, {
    method: "POST",
    headers: { authorization: `Basic ${btoa(`${CLIENT.id}:${CLIENT.secret}`)}` },
    body: new URLSearchParams(fields),
  });
}

async function request(wanted) {
  const resource = `urn:wish:${crypto.randomUUID()}`;
  wishes.set(resource, wanted);
  try {
    const answer = await post("/token", { grant_type: "client_credentials", resource });
    const body = await answer.json();
    if (!answer.ok) throw new Error(JSON.stringify(body));
    return { token: body.access_token };
  } finally {
    wishes.delete(resource);
  }
}

async function rotate() {
  keys = [...(await newKeys()), ...keys];
  provider = makeProvider();
  return {};
}

async function retire() {
  keys = keys.slice(0, ALGORITHMS.length);
  provider = makeProvider();
  return {};
}

const controls = {
  "/control/mint": mint,
  "/control/opaque": opaque,
  "/control/revoke": revoke,
  "/control/rotate": rotate,
  "/control/retire": retire,
};

async function control(action, request, response) {
  let text = "";
  for await (const piece of request) text += piece;
  try {
    response.end(JSON.stringify(await action(JSON.parse(text))));
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
}

const server = createServer((request, response) => {
  const action = controls[request.url];
  return action ? control(action, request, response) : provider.callback()(request, response);
});

await rotate();
server.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
