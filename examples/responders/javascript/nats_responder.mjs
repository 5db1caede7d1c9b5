// Answers Callgate's questions on a subject: npm install @nats-io/transport-node
import { connect } from '@nats-io/transport-node';

const [servers = 'nats://127.0.0.1:4222', subject = 'decide.login'] = process.argv.slice(2);
const nc = await connect({ servers, user: 'team', pass: 'team' });
for await (const msg of nc.subscribe(subject, { queue: 'team' })) {
  const { credential: c } = msg.json();
  const good = c.kind === 'password' && c.user === 'alice' && c.password === 'secret';
  const answer = good ? { result: 'allow', account: 'APP', permissions: { sub: ['app.>'] } } : { result: 'deny' };
  msg.respond(JSON.stringify(c.kind === 'password' ? answer : { result: 'ignore' }));
}
