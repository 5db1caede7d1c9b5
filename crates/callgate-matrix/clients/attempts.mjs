// Logs in with the JavaScript client over WebSocket: reads a list of tasks as JSON, and prints the outcome of each.

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.NODE_MODULES, "any.js"));
const core = require("@nats-io/nats-core");
globalThis.WebSocket ??= require("ws").WebSocket;

async function attempt({ url, login, sentinel, publish }) {
  const authenticator = [];
  if (sentinel) authenticator.push(core.credsAuthenticator(new TextEncoder().encode(sentinel)));
  if (login.user) authenticator.push(core.usernamePasswordAuthenticator(login.user, login.password));
  if (login.token) authenticator.push(core.tokenAuthenticator(login.token));
  try {
    const client = await core.wsconnect({ servers: url, authenticator, reconnect: false, timeout: 10000 });
    const told = await client.request("$SYS.REQ.USER.INFO", "", { timeout: 10000 });
    for (const subject of publish) client.publish(subject);
    await client.flush();
    await client.close();
    return { connected: true, info: told.json().data };
  } catch (error) {
    return { connected: false, error: String(error) };
  }
}

const outcomes = [];
for (const task of JSON.parse(process.argv[2])) outcomes.push(await attempt(task));
console.log(JSON.stringify(outcomes));
process.exit(0);
