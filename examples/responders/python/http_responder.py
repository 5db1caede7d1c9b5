# Answers Callgate's questions over HTTP, with the standard library only.
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Decide(BaseHTTPRequestHandler):
    def do_POST(self):
        c = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["credential"]
        good = c["kind"] == "password" and (c["user"], c["password"]) == ("alice", "secret")
        answer = {"result": "allow", "account": "APP", "permissions": {"sub": ["app.>"]}} if good else {"result": "deny"}
        body = json.dumps(answer if c["kind"] == "password" else {"result": "ignore"}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8001), Decide).serve_forever()
