"""A plain HTTP/1.1 origin for the real clients: echoes what it received, and serves a large file."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = bytes(range(256)) * 256


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; without this the second waits for the peer's delayed acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path.startswith("/files/large"):
            blocks = 512  # 32 MiB
            self.send_response(200)
            self.send_header("Content-Length", str(blocks * len(BLOCK)))
            self.end_headers()
            for _ in range(blocks):
                self.wfile.write(BLOCK)
            return
        self.echo()

    def echo(self):
        digest, count = hashlib.sha256(), 0
        for piece in self.pieces():
            digest.update(piece)
            count += len(piece)
        body = json.dumps(
            {
                "method": self.command,
                "target": self.path,
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
                "body_bytes": count,
                "body_sha256": digest.hexdigest(),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_PUT = do_DELETE = echo

    def pieces(self):
        """The request's body, by its length or by its chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read(min(left, 1 << 16))
            if not piece:
                return
            left -= len(piece)
            yield piece

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # 80 streams of HTTP/2 may come in as many connections at once; with Python's 5 some of these would not be accepted.
    request_queue_size = 128

    def handle_error(self, *_):
        """A client that leaves early is no matter of the origin's; the stories assert on what clients got."""


def start():
    """Serves in the background; answers with the server."""
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
