#!/usr/bin/env python3
"""What composed answers cost: CPU a request, time added to the slowest branch, memory.

    cargo build --release -p sallyport -p sallyport-aggregator --bins
    scripts/compose_figures.py [cpu latency memory] [--rounds 5] [--rival "COMMAND {branches} {port} {backend}"]

Needs h2load (nghttp2), wrk, nginx (the services) and taskset. The edge has one worker thread and the aggregator runs inside it;
both are pinned to one core, load and services share another. Rounds alternate between a composed route and a plain one to
the same file, and the figure is (utime + stime) of the process over the requests that were answered: the plain one times
the number of branches is what a client's own calls would cost the edge. `--rival` measures another gateway in the same
rounds: a command that serves /compose/1k, /compose/32k and /compose/256k on `{port}` with `{branches}` branches, each
of which gets /json/SIZE of the services on `{backend}`; its name is the last part of its program's path.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from measuring import CLIENT_CORE, SERVER_CORE, TARGET, Process, free_port, listens, wait_for

SIZES = {"1k": 1024, "32k": 32 * 1024, "256k": 256 * 1024}
BRANCHES = (3, 8)
# Requests of a round: enough for the clock of processes, which ticks every 10 ms.
REQUESTS = {("1k", 3): 9000, ("1k", 8): 4000, ("32k", 3): 4000, ("32k", 8): 1600, ("256k", 3): 600, ("256k", 8): 240}
CONNECTIONS = 4
CLIENT_RATE_MAX = 200

NGINX = """
master_process off; pid nginx.pid; error_log nginx.err; daemon off;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; sendfile on;
  types {{ }} default_type application/json;
  server {{ listen 127.0.0.1:{port} backlog=4096; root www; }} }}
"""


def document(size):
    """JSON as services send it, of exactly this many bytes."""
    items, number = [], 0
    while len(json.dumps({"items": items, "pad": ""})) < size - 400:
        items.append({"id": f"batch-{number:06}", "title": f"Essays of group {number % 40} — März", "owner": f"user-{number % 97}",
                      "count": number, "score": number / 7, "done": number % 3 == 0, "tags": ["a", "b"], "note": None})
        number += 1
    text = json.dumps({"items": items, "pad": ""}, ensure_ascii=False)
    text = text[:-2] + "x" * (size - len(text.encode())) + '"}'
    assert len(text.encode()) == size
    return text


def configuration(port, backend, memory="256MiB"):
    routes = []
    for size in SIZES:
        routes.append(f'  - {{ match: "GET /json/{size}", public: true, upstream: services }}')
        for branches in BRANCHES:
            calls = "\n".join(f'      b{n}: {{ call: "GET services/json/{size}", timeout: 10s }}' for n in range(branches))
            routes.append(f'  - name: compose-{branches}-{size}\n    match: GET /compose/{branches}/{size}\n    public: true\n'
                          f'    aggregate:\n{calls}')
    calls = "\n".join(f'      b{n}: {{ call: "GET services/json/1m", timeout: 30s, bytes: 2MiB }}' for n in range(8))
    routes.append(f'  - name: large\n    match: GET /large\n    public: true\n    timeouts: {{ first_byte: 60s, whole: 60s }}\n'
                  f'    answer: {{ bytes: 9MiB, timeout: 30s }}\n    aggregate:\n{calls}')
    return f"""version: 1
listeners: {{ public: {{ address: "127.0.0.1:{port}", limits: {{ connections_per_client: 4096 }} }} }}
process: {{ threads: 1, access_log: "off", watch: false }}
aggregator: {{ limits: {{ memory: {memory} }} }}
upstreams:
  services: {{ targets: ["127.0.0.1:{backend}"] }}
routes:
""" + "\n".join(routes) + "\n"


class Services:
    """nginx with the files, and an edge in front of it."""

    def __init__(self, **options):
        self.options = options

    def __enter__(self):
        self.name = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.name.name)
        self.folder.chmod(0o755)  # nginx's workers are nobody where it is started by root
        www = self.folder / "www" / "json"
        www.mkdir(parents=True)
        for name, size in SIZES.items():
            (www / name).write_text(document(size))
        (www / "1m").write_text(document(1024 * 1024))
        self.backend, self.port = free_port(), free_port()
        (self.folder / "nginx.conf").write_text(NGINX.format(port=self.backend))
        (self.folder / "routes.yaml").write_text(configuration(self.port, self.backend, **self.options))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self.folder}
        self.nginx = Process("nginx", "-p", self.folder, "-c", "nginx.conf", "-e", "nginx.err", core=CLIENT_CORE, **quiet)
        self.edge = Process(TARGET / "sallyport", "run", self.folder / "routes.yaml", core=SERVER_CORE, **quiet)
        wait_for("nginx", lambda: listens(self.backend))
        wait_for("the edge", lambda: listens(self.port))
        return self

    def __exit__(self, *_):
        self.edge.stop()
        self.nginx.stop()
        self.name.cleanup()


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read(), answer.headers


def load(port, path, requests):
    """Sends so many requests, keep-alive; every one has to be answered with 200."""
    command = ["taskset", "-c", CLIENT_CORE, "h2load", "--h1", f"-n{requests}", f"-c{CONNECTIONS}", f"http://127.0.0.1:{port}{path}"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    good = re.search(r"status codes: (\d+) 2xx", out)
    if not good or int(good[1]) != requests:
        sys.exit(f"not every answer of {path} was good:\n{out}")


def cost(process, port, path, requests):
    before = process.cpu()
    load(port, path, requests)
    return (process.cpu() - before) / requests * 1e6


def check_composed(port, path, branches, file):
    """Every slot is the file, to the byte, in the order of the configuration."""
    body, headers = get(port, path)
    wanted = "{" + ",".join(f'"b{n}":{file}' for n in range(branches)) + "}"
    if body.decode() != wanted or headers.get("X-Aggregate-Complete") != "true":
        sys.exit(f"{path} is not what its branches sent")


def check_rival(port, path, branches, file):
    body, _ = get(port, path)
    parts = json.loads(body)
    if len(parts) != branches or any(part != json.loads(file) for part in parts.values()):
        sys.exit(f"the rival's {path} is not what its branches sent")


def cpu(arguments):
    with Services() as services:
        rivals = {}
        try:
            for branches in BRANCHES:
                if arguments.rival:
                    port = free_port()
                    command = arguments.rival.format(branches=branches, port=port, backend=services.backend).split()
                    rivals[branches] = (Process(*command, core=SERVER_CORE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), port)
                    wait_for("the rival", lambda: listens(port))
            print("CPU a request in µs, medians; composed over (branches × plain)")
            for branches in BRANCHES:
                for size in SIZES:
                    cpu_row(services, branches, size, rivals.get(branches), arguments.rounds)
        finally:
            for process, _ in rivals.values():
                process.stop()


def cpu_row(services, branches, size, rival, rounds):
    file = (services.folder / "www" / "json" / size).read_text()
    path, requests = f"/compose/{branches}/{size}", REQUESTS[(size, branches)]
    check_composed(services.port, path, branches, file)
    if rival:
        check_rival(rival[1], f"/compose/{size}", branches, file)
    plain, composed, rivals = [], [], []
    for number in range(rounds + 1):
        row = (cost(services.edge, services.port, f"/json/{size}", requests * 2),
               cost(services.edge, services.port, path, requests),
               cost(*rival, f"/compose/{size}", max(requests // 4, 30)) if rival else 0)
        if number > 0:  # the first warms pools
            for values, value in zip((plain, composed, rivals), row):
                values.append(value)
    plain, composed = statistics.median(plain), statistics.median(composed)
    line = f"{branches} × {size:4}  plain {plain:7.0f}  composed {composed:8.0f}  {composed / plain / branches:5.2f}"
    if rival:
        theirs = statistics.median(rivals)
        line += f"  rival {theirs:8.0f}  {composed / theirs:5.3f}× of it"
    print(line, flush=True)


def latency(arguments):
    """At most half of what the edge can do, from a client that sends on time whatever comes back; services answer at once."""
    with Services() as services:
        path = "/compose/8/32k"
        began = time.monotonic()
        load(services.port, path, 1500)
        # The client is Python: faster, it would measure itself.
        rate = min(int(1500 / (time.monotonic() - began) / 2), CLIENT_RATE_MAX)
        for name, target, per_second in (("plain", "/json/32k", rate), ("composed", path, rate)):
            took = open_loop(services.port, target, per_second, 8)
            print(f"{name:9} at {per_second}/s: p50 {took[len(took) // 2]:.2f} ms, p99 {took[len(took) * 99 // 100]:.2f} ms")


def open_loop(port, path, per_second, seconds):
    """Milliseconds from the moment a request was due to the end of its answer, sorted."""
    took, lock = [], threading.Lock()
    local = threading.local()

    def one(due):
        import http.client
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", port)
        local.connection.request("GET", path)
        local.connection.getresponse().read()
        with lock:
            took.append((time.monotonic() - due) * 1000)

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        begin = time.monotonic() + 0.2
        for number in range(per_second * seconds):
            due = begin + number / per_second
            time.sleep(max(0, due - time.monotonic()))
            pool.submit(one, due)
    return sorted(took[len(took) // 10:])


def memory(arguments):
    """A hundred at a time of 8 × 1 MiB, with a pool for seven of them."""
    with Services(memory="64MiB") as services:
        get(services.port, "/large")
        idle, peak, done = services.edge.resident_kb(), 0, threading.Event()

        def watch():
            nonlocal peak
            while not done.is_set():
                peak = max(peak, services.edge.resident_kb())
                time.sleep(0.01)

        watcher = threading.Thread(target=watch)
        watcher.start()
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            bodies = list(pool.map(lambda _: len(get(services.port, "/large")[0]), range(300)))
        done.set()
        watcher.join()
        if min(bodies) < 8 * 1024 * 1024:
            sys.exit("an answer was not whole")
        print(f"300 answers of {bodies[0] / 2**20:.1f} MiB, 100 at a time, `limits.memory: 64MiB`: "
              f"{idle / 1024:.0f} MiB resident before, {peak / 1024:.0f} MiB at the most")


def main():
    parts = {"cpu": cpu, "latency": latency, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rival", help="the command of another gateway, see above")
    arguments = parser.parse_args()
    for name in arguments.parts or parts:
        parts[name](arguments)


if __name__ == "__main__":
    main()
