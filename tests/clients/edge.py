"""A running `sallyport` for the real clients: its configuration, certificate, tokens and addresses."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import tempfile
import time

# How long the edge may take to be ready, or to stop. Only turns a hang into a failure.
PATIENCE_SECONDS = 30
SECRET = "a-shared-secret-for-the-real-clients-only"

CONFIG = """
version: 1
listeners:
  secure:
    address: 127.0.0.1:0
    tls: {{ certificates: [{{ cert: tls.crt, key: tls.key }}] }}
  plain: {{ address: 127.0.0.1:0, h2c: true }}
admin: {{ address: 127.0.0.1:0 }}
process: {{ access_log: access.log, watch: false, drain: 5s }}
issuers:
  main:
    issuer: https://id.test/
    audiences: [platform]
    algorithms: [HS256]
    hmac_secret: file:secret.txt
chains:
  browser:
    - cors: {{ origins: ["https://app.example.com"], credentials: true }}
    - security_headers: {{ preset: api }}
  user:
    - jwt: {{ issuer: main, forward: {{ X-User-Id: sub }} }}
upstreams:
  origin: {{ targets: ["{origin}"] }}
routes:
  - match: /open/{{**rest}}
    chains: [browser]
    public: true
    upstream: origin
  - match: GET /private
    chains: [browser, user]
    upstream: origin
  - match: /files/{{**path}}
    public: true
    upstream: origin
    body_limit: 200MiB
  - match: /small
    public: true
    upstream: origin
    body_limit: 1KiB
  - match: /limited
    public: true
    filters:
      - rate_limit: {{ name: per-client, rate: 1/h, burst: 2, key: client }}
    upstream: origin
"""


class Edge:
    def __init__(self, binary, origin):
        self.folder = tempfile.TemporaryDirectory(prefix="sallyport-clients-")
        path = pathlib.Path(self.folder.name)
        self.ca = path / "tls.crt"
        certificate(path)
        (path / "secret.txt").write_text(SECRET)
        (path / "routes.yaml").write_text(CONFIG.format(origin=origin))
        ready = path / "ready.json"
        command = [binary, "run", str(path / "routes.yaml"), "--ready-file", str(ready)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                bound = json.loads(ready.read_text())
                break
            except (FileNotFoundError, json.JSONDecodeError):
                # Not there, or only half written.
                if self.process.poll() is not None:
                    raise RuntimeError(f"the edge ended with {self.process.returncode} before it was ready") from None
                if time.monotonic() > deadline:
                    self.process.kill()
                    raise RuntimeError(f"the edge was not ready after {PATIENCE_SECONDS} s") from None
                time.sleep(0.02)
        self.secure_port = int(bound["listeners"]["secure"].rsplit(":", 1)[1])
        self.plain = "http://" + bound["listeners"]["plain"]
        # By name, because the certificate is checked.
        self.secure = f"https://localhost:{self.secure_port}"
        self.admin = "http://" + bound["admin"]

    def stop(self):
        """Ends it with SIGTERM; answers with its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE_SECONDS)
        finally:
            self.process.kill()
            self.folder.cleanup()


def certificate(path):
    """A certificate for localhost that is its own authority."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        + ["-keyout", str(path / "tls.key"), "-out", str(path / "tls.crt")],
        check=True,
        capture_output=True,
    )


def token(**claims):
    """A token of the issuer `main`, signed with nothing but the standard library."""
    now = int(time.time())
    claims = {"iss": "https://id.test/", "aud": "platform", "sub": "alice", "iat": now, "exp": now + 300} | claims
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    message = b".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (message + b"." + encode(hmac.new(SECRET.encode(), message, hashlib.sha256).digest())).decode()


def binary():
    """The program under test."""
    return os.environ["SALLYPORT"]
