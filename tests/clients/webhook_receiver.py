"""A receiver of Landfall's webhooks: webhook_receiver.py PORT SECRET. Prints each event once."""
import base64, hmac, json, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

key, seen = base64.b64decode(sys.argv[2].removeprefix("whsec_")), set()

class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        id, sent = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signature = base64.b64encode(hmac.digest(key, f"{id}.{sent}.".encode() + body, "sha256")).decode()
        genuine = hmac.compare_digest("v1," + signature, self.headers["webhook-signature"]) and abs(time.time() - int(sent)) < 300
        if genuine and id not in seen:
            print(json.dumps(json.loads(body)), flush=True)  # your work goes here; then remember the id, best in the same transaction
            seen.add(id)
        self.send_response(204 if genuine else 401)
        self.end_headers()

HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
