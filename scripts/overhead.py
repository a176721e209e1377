#!/usr/bin/env python3
"""CPU time a request: the edge with its whole chain, without filters, and bare Pingora, in one run.

    cargo build --release -p sallyport --bin sallyport --example bare_pingora
    scripts/overhead.py [--rounds 7] [--requests-seconds 5] [--connections 64]

Needs wrk, nginx (the upstream), openssl and taskset. Each proxy has one worker thread and is pinned to one core; load and
upstream share another. Rounds alternate between the proxies, and the figure is (utime + stime) of the proxy's process
over the requests that wrk saw answered: wall time and requests a second say little on a noisy machine. The run fails
if any answer is not the expected one, because a filter that does not run makes a fast proxy.
"""

import argparse
import base64
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

from measuring import CLIENT_CORE, SERVER_CORE, TARGET, Process, free_port, listens, wait_for

TOKENS = 1000

ROUTES = """
version: 1
listeners: {{ public: {{ address: "127.0.0.1:{port}", limits: {{ connections_per_client: 4096 }} }} }}
process: {{ threads: 1, access_log: access.log, watch: false }}
issuers:
  main: {{ issuer: "https://issuer.test", audiences: [edge], algorithms: [{alg}], jwks: {{ file: jwks.json }} }}
upstreams: {{ backend: {{ targets: ["127.0.0.1:{backend}"] }} }}
chains:
  whole:
    - cors: {{ origins: ["https://app.test"] }}
    - security_headers: {{ preset: api }}
    - jwt: {{ issuer: main, forward: {{ X-User: sub }} }}
    - rate_limit: {{ rate: 100000000/s, key: jwt.sub }}
routes:
  - {{ match: "GET /x", {route}, upstream: backend }}
"""

NGINX = """
master_process off; pid nginx.pid; error_log nginx.err; daemon off;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000;
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ default_type application/json;
    return 200 '{{"id":"batch-1","status":"processing","essays":12,"padding":"{padding}"}}'; }} }} }}
"""

LUA = """
local tokens, i = {}, 0
for line in io.lines(os.getenv("TOKENS")) do tokens[#tokens + 1] = "Bearer " .. line end
local requests = {}
init = function() for k = 1, #tokens do requests[k] = wrk.format("GET", "/x", {Authorization = tokens[k]}) end end
request = function() i = i % #requests + 1; return requests[i] end
done = function(s) io.write(string.format("done %d bad %d\\n", s.requests,
  s.errors.status + s.errors.connect + s.errors.read + s.errors.write + s.errors.timeout)) end
"""


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, **options).stdout


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_key(folder, alg):
    """A key and its JWK set, made with openssl."""
    if alg == "RS256":
        run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem", cwd=folder)
        modulus = run("openssl", "rsa", "-in", "key.pem", "-noout", "-modulus", cwd=folder).decode().split("=")[1]
        key = {"kty": "RSA", "n": b64(bytes.fromhex(modulus.strip())), "e": "AQAB"}
    else:
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key.pem", cwd=folder)
        point = run("openssl", "pkey", "-in", "key.pem", "-pubout", "-outform", "DER", cwd=folder)[-64:]
        key = {"kty": "EC", "crv": "P-256", "x": b64(point[:32]), "y": b64(point[32:])}
    (folder / "jwks.json").write_text(json.dumps({"keys": [dict(key, kid="k1", alg=alg, use="sig")]}))


def make_tokens(folder, alg):
    token = lambda n: run(
        TARGET / "sallyport", "token", "--key", "key.pem", "--alg", alg, "--kid", "k1", "--issuer", "https://issuer.test",
        "--audience", "edge", "--subject", f"user-{n}", cwd=folder).decode().strip()
    (folder / "tokens").write_text("\n".join(token(n) for n in range(TOKENS)) + "\n")


def pinned(core, *command, **options):
    return Process(*command, core=core, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)


def status(port, token=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/x", headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers)


def load(port, folder, seconds, connections):
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", "load.lua", f"http://127.0.0.1:{port}/x"]
    out = run(*command, cwd=folder, env=dict(os.environ, TOKENS="tokens")).decode()
    found = re.search(r"done (\d+) bad (\d+)", out)
    done, bad = int(found[1]), int(found[2])
    if bad or not done:
        sys.exit(f"{bad} of {done} answers on {port} were not the expected ones:\n{out}")
    return done


def measure(alg, arguments):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_key(folder, alg)
        make_tokens(folder, alg)
        (folder / "load.lua").write_text(LUA)
        backend = free_port()
        (folder / "nginx.conf").write_text(NGINX.format(port=backend, padding="x" * 48))
        processes = [pinned(CLIENT_CORE, "nginx", "-p", folder, "-c", "nginx.conf", "-e", "nginx.err")]
        proxies = {}
        try:
            wait_for("nginx", lambda: listens(backend))
            ports = {"bare Pingora": free_port(), "edge, no filters": free_port(), "edge, whole chain": free_port()}
            proxies["bare Pingora"] = pinned(
                SERVER_CORE, TARGET / "examples/bare_pingora", f"127.0.0.1:{ports['bare Pingora']}", f"127.0.0.1:{backend}")
            for name, route in (("edge, no filters", "public: true"), ("edge, whole chain", "chains: [whole]")):
                file = folder / f"{name}.yaml"
                file.write_text(ROUTES.format(port=ports[name], backend=backend, alg=alg, route=route))
                proxies[name] = pinned(SERVER_CORE, TARGET / "sallyport", "run", file, cwd=folder)
            for port in ports.values():
                wait_for(f"port {port}", lambda: listens(port))
            token = (folder / "tokens").read_text().split()[0]
            answered, headers = status(ports["edge, whole chain"], token)
            works = answered == 200 and "RateLimit" in headers and "X-Request-Id" in headers and "X-Content-Type-Options" in headers
            if not works or status(ports["edge, whole chain"])[0] != 401:
                sys.exit(f"the whole chain does not do its work: {answered} {headers}")
            figures = {name: [] for name in proxies}
            for round in range(arguments.rounds + 1):
                for name, process in proxies.items():
                    before = process.cpu()
                    done = load(ports[name], folder, arguments.requests_seconds, arguments.connections)
                    if round > 0:  # the first warms caches and pools
                        figures[name].append((process.cpu() - before) / done * 1e6)
            return {name: statistics.median(values) for name, values in figures.items()}, figures
        finally:
            for process in [*proxies.values(), *processes]:
                process.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests-seconds", type=int, default=5, help="of each proxy in each round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--alg", choices=["RS256", "ES256"], default="RS256")
    arguments = parser.parse_args()
    medians, figures = measure(arguments.alg, arguments)
    floor = medians["bare Pingora"]
    print(f"{arguments.alg}, {arguments.rounds} rounds of {arguments.requests_seconds} s, {arguments.connections} connections")
    for name, median in medians.items():
        spread = f"{min(figures[name]):.1f}–{max(figures[name]):.1f}"
        print(f"{name:20} {median:6.1f} µs CPU a request ({spread}), {median / floor:.2f}× bare Pingora")


if __name__ == "__main__":
    main()
