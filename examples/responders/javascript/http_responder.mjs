// Answers Callgate's questions over HTTP, with Node.js only.
import http from 'node:http';

http.createServer(async (req, res) => {
  let text = ''; for await (const part of req) text += part;
  const { credential: c } = JSON.parse(text);
  const good = c.kind === 'password' && c.user === 'alice' && c.password === 'secret';
  const answer = good ? { result: 'allow', account: 'APP', permissions: { sub: ['app.>'] } } : { result: 'deny' };
  res.end(JSON.stringify(c.kind === 'password' ? answer : { result: 'ignore' }));
}).listen(Number(process.argv[2] ?? 8001), '127.0.0.1');
