# Answers Callgate's questions on a subject: pip install nats-py
import asyncio, json, sys, nats

async def main(url="nats://127.0.0.1:4222", subject="decide.login"):
    nc = await nats.connect(url, user="team", password="team")
    async def decide(msg):
        c = json.loads(msg.data)["credential"]
        good = c["kind"] == "password" and (c["user"], c["password"]) == ("alice", "secret")
        answer = {"result": "allow", "account": "APP", "permissions": {"sub": ["app.>"]}} if good else {"result": "deny"}
        await msg.respond(json.dumps(answer if c["kind"] == "password" else {"result": "ignore"}).encode())
    await nc.subscribe(subject, queue="team", cb=decide)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
