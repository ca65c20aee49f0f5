# SPDX-License-Identifier: LGPL-2.1-only
"""A small HTTP server for what Dovecot asks of others: it answers JSON, and keeps
what it was asked."""

import http.server
import json
import threading
import urllib.parse


class JsonServer:
    """answer(request) gets the parameters of a query, a form or a JSON object, as
    a dict, and returns what is sent. requests: those that came, with the path."""

    def __init__(self, answer):
        peer = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path, _, query = self.path.partition("?")
                if self.headers.get("Content-Type", "").startswith("application/json"):
                    request = json.loads(body)
                else:
                    request = dict(urllib.parse.parse_qsl(body.decode()))
                request.update(urllib.parse.parse_qsl(query))
                peer.requests.append((self.path, request))
                data = json.dumps(answer(request)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = respond

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = "http://127.0.0.1:%d/" % self.port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()
