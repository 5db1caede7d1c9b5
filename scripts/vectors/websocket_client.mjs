// Tries to log in over WebSocket: URL, and user and pass or token as JSON, beside creds.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.cwd() + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)));
globalThis.WebSocket ??= (await load("ws")).default;
const core = await load("@nats-io/nats-core");
const [url, options] = process.argv.slice(-2);
const { user, pass, token, creds } = JSON.parse(options);
const authenticator = [
  creds && core.credsAuthenticator(new TextEncoder().encode(creds)),
  user && core.usernamePasswordAuthenticator(user, pass),
  token && core.tokenAuthenticator(token),
].filter(Boolean);
try {
  await (await core.wsconnect({ servers: url, reconnect: false, authenticator })).close();
} catch (_refused) {
  // Expected: this client is here to be described, not to be let in.
}
