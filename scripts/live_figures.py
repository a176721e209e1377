#!/usr/bin/env python3
"""What live connections cost and how fast events arrive: memory, CPU a delivery, latency, coming back.

    cargo build --release -p sallyport -p sallyport-ws-bridge -p sallyport-testkit --bins --example live_load
    scripts/live_figures.py [idle tunnels fanout owner latency slow return] [--clients 9900]

Needs a JDK and Maven (deploy/kafka), openssl and taskset. Every figure starts its own edge (and bridge, where it is a process
of its own) against one real Kafka. CPU is (utime + stime) of the processes over the deliveries that clients counted, memory
the growth of their resident size over the connections, after they have been idle for a while. For CPU, servers have one worker
thread and are pinned to one core, and the clients to another. The run fails if a client missed an event or got one twice.
"""

import argparse
import contextlib
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from measuring import CLIENT_CORE, ROOT, SERVER_CORE, TARGET, Process, free_port, wait_for

KAFKA = ROOT / "deploy/kafka/kafka.sh"
SECRET = "a secret of the figures that is long enough"
SETTLED_SECONDS = 15
TOPICS = ["rooms", "owned"]

ROUTES = """
version: 1
listeners:
  plain: {{ address: "127.0.0.1:{plain}", limits: {{ connections: 50000, connections_per_client: 50000 }} }}
  secure: {{ address: "127.0.0.1:{tls}", limits: {{ connections: 50000, connections_per_client: 50000 }}, tls: {{ certificates: [{{ cert: edge.crt, key: edge.key }}] }} }}
admin: {{ address: "127.0.0.1:{admin}" }}
process: {{ {threads} access_log: access.log, watch: false, drain: 5s }}
issuers:
  main: {{ issuer: "https://id.test/", audiences: [platform], algorithms: [HS256], hmac_secret: file:secret.txt }}
kafka:
  main: {{ brokers: ["{kafka}"] }}
ws_bridge:
  {socket}
  issuers: [main]
  limits: {{ connections: 20000, connections_per_address: 20000 }}
  sources:
    - {{ topics: [rooms], channel: "room:{{$.to}}" }}
    - {{ topics: [owned], channel: "own:{{$.to}}" }}
  channels:
    room: {{ visible_to: "true", wildcard: true, slow: drop_oldest, replay: {{ events: 1000, bytes: 4MiB, window: 10m }} }}
    own: {{ visible_to: claims.sub == event.owner }}
upstreams: {{ echo: {{ targets: ["127.0.0.1:{echo}"], in_flight: 20000 }} }}
routes:
  - {{ match: GET /live, public: true, sidecar: ws-bridge }}
  - {{ match: GET /echo, public: true, websocket: true, upstream: echo }}
"""


class Platform:
    """An edge, its bridge, and an origin of tunnels."""

    def __init__(self, folder, kafka, separate=False, pinned=False):
        self.folder, self.kafka, self.separate = folder, kafka, separate
        self.core = SERVER_CORE if pinned else None
        self.ports = {name: free_port() for name in ("plain", "tls", "admin", "echo")}
        (folder / "secret.txt").write_text(SECRET)
        (folder / "routes.yaml").write_text(ROUTES.format(
            kafka=kafka, socket="socket: bridge.sock" if separate else "", threads="threads: 1," if pinned else "", **self.ports))
        self.bridge = self.edge = None

    def start(self):
        log = (self.folder / "log").open("a")
        options = {"core": self.core, "cwd": self.folder, "stdout": log, "stderr": log}
        if self.separate:
            self.bridge = Process(TARGET / "sallyport-ws-bridge", "routes.yaml", **options)
            wait_for("the bridge", (self.folder / "bridge.sock").exists)
        self.edge = Process(TARGET / "sallyport", "run", "routes.yaml", **options)
        wait_for("the edge", self.ready)

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def processes(self):
        return {"bridge": self.bridge, "edge": self.edge} if self.separate else {"edge + bridge": self.edge}

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line))

    def stop(self):
        for process in filter(None, (self.edge, self.bridge)):
            process.stop()
        self.bridge = self.edge = None
        (self.folder / "bridge.sock").unlink(missing_ok=True)


class Clients:
    """The load client."""

    def __init__(self, platform, tls=False):
        ca = ["--ca", platform.folder / "edge.crt"] if tls else []
        to = f"127.0.0.1:{platform.ports['tls' if tls else 'plain']}"
        self.process = Process(
            TARGET / "examples/live_load", "--to", to, "--secret", SECRET, "--kafka", platform.kafka, *ca,
            core=CLIENT_CORE if platform.core else None, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.numbers = {}

    def do(self, what, **arguments):
        pipes = self.process.process
        pipes.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        pipes.stdin.flush()
        return json.loads(pipes.stdout.readline())

    def open(self, count, channel, **arguments):
        before = self.do("status")["open"]
        status = self.do("open", count=count, channel=channel, **arguments)
        if status["open"] != before + count:
            sys.exit(f"{status['open'] - before} of {count} clients were opened: {status}")

    def publish(self, topic, events, rate, expect, channels=1, owners=1, **arguments):
        before = self.do("status")
        first = self.numbers.get(topic, 0)
        self.numbers[topic] = first + -(-events // max(channels, owners))
        after = self.do("publish", topic=topic, events=events, rate=rate, expect=expect, channels=channels, owners=owners, first=first, **arguments)
        received = after["received"] - before["received"]
        if received != expect or after["out_of_order"]:
            sys.exit(f"{received} events came where {expect} were sent: {after}")
        return after

    def stop(self):
        self.process.stop()


@contextlib.contextmanager
def platform_and_clients(folder, kafka, tls=False, **options):
    with contextlib.ExitStack() as cleanup:
        platform = Platform(folder, kafka, **options)
        cleanup.callback(platform.stop)
        platform.start()
        clients = Clients(platform, tls)
        cleanup.callback(clients.stop)
        yield platform, clients


def memory(platform, count, open_more):
    """What a connection adds to the resident size of the edge, with and without what the first ones make for all."""
    time.sleep(2)
    empty = platform.edge.resident_kb()
    first = count // 10
    open_more(first)
    time.sleep(2)
    before = platform.edge.resident_kb()
    open_more(count - first)
    time.sleep(SETTLED_SECONDS)
    after = platform.edge.resident_kb()
    return f"{(after - before) / (count - first):.1f} KB ({(after - empty) / count:.1f} KB with what the first ones make for all)"


def idle(folder, kafka, arguments):
    for tls in (False, True):
        with platform_and_clients(folder, kafka, tls) as (platform, clients):
            opened = memory(platform, arguments.clients, lambda count: clients.open(count, f"own:{count}-{{n}}"))
            yield f"idle connection, {'TLS' if tls else 'plain'}, edge + bridge in one process", opened


def tunnels(folder, kafka, arguments):
    count = arguments.tunnels
    for tls in (False, True):
        with platform_and_clients(folder, kafka, tls) as (platform, clients):
            echo = Process(TARGET / "examples/live_load", "echo", platform.ports["echo"])
            try:
                echoed = []

                def open_more(more):
                    clients.do("tunnels", count=more)
                    echoed.append(clients.do("echo")["echoed"])

                kind = "TLS" if tls else "plain"
                yield f"idle tunnel, {kind}", memory(platform, count, open_more)
                yield f"tunnels asked for, echoed, echoed once more, {kind}", f"{count}, {echoed[-1]}, {clients.do('echo')['echoed']}"
            finally:
                echo.stop()


def cpu_of(platform, clients, deliveries, publish):
    """Microseconds of CPU a delivery, of each process; the median of some rounds."""
    rounds = []
    for round in range(6):
        before = {name: process.cpu() for name, process in platform.processes().items()}
        publish()
        if round > 0:
            rounds.append({name: (process.cpu() - before[name]) / deliveries * 1e6 for name, process in platform.processes().items()})
    return {name: statistics.median(round[name] for round in rounds) for name in rounds[0]}


def fanout(folder, kafka, arguments):
    for separate in (True, False):
        with platform_and_clients(folder, kafka, separate=separate, pinned=True) as (platform, clients):
            count, events = arguments.clients, 40
            clients.open(count, "room:0")
            publish = lambda: clients.publish("rooms", events, 4, events * count, bytes=100)
            cpu = cpu_of(platform, clients, events * count, publish)
            said = ", ".join(f"{name} {value:.1f}" for name, value in cpu.items())
            yield f"CPU a delivery, one publication to {count}", f"{said} µs (in all {sum(cpu.values()):.1f})"


def owner(folder, kafka, arguments):
    for count in (1, arguments.clients):
        with platform_and_clients(folder, kafka, pinned=True) as (platform, clients):
            events = 2000
            clients.open(count, "own:0")
            publish = lambda: clients.publish("owned", events, 500, events, owners=count)
            cpu = cpu_of(platform, clients, events, publish)
            yield f"CPU an event that one of {count} subscribers may see", f"{sum(cpu.values()):.1f} µs"


def thousand(clients):
    """1,000 clients, 1,000 events a second over 100 channels."""
    return clients.publish("rooms", 20_000, 1000, 20_000 * 10, channels=100, bytes=100)


def latency(folder, kafka, arguments):
    for separate in (True, False):
        with platform_and_clients(folder, kafka, separate=separate) as (platform, clients):
            clients.open(1000, "room:{n}", channels=100)
            thousand(clients)
            status = thousand(clients)
            mode = "bridge of its own" if separate else "one process"
            milliseconds = {name: f"{status[name + '_us'] / 1000:.1f}" for name in ("p50", "p99", "max")}
            yield f"Kafka timestamp to client, {mode}", "p50 {p50}, p99 {p99}, max {max} ms".format(**milliseconds)


def slow(folder, kafka, arguments):
    with platform_and_clients(folder, kafka) as (platform, clients):
        clients.open(1000, "room:{n}", channels=100)
        thousand(clients)
        p99 = {"all read": [], "1 % do not read": []}
        for _ in range(3):
            p99["all read"].append(thousand(clients)["p99_us"] / 1000)
            held = Clients(platform)
            try:
                # All channels, so that what the system keeps for them is soon full: only then do they burden the bridge.
                held.open(10, "room:*", stalled=True)
                clients.publish("rooms", 4000, 400, 4000 * 10, channels=100, bytes=4000)
                p99["1 % do not read"].append(thousand(clients)["p99_us"] / 1000)
            finally:
                held.stop()
        dropped = platform.metric("sallyport_live_dropped_total")
        said = "; ".join(f"{name} {' '.join(f'{value:.1f}' for value in values)} ms" for name, values in p99.items())
        yield "p99 of the others, three rounds in turn", f"{said}; {dropped:.0f} events dropped for those who did not read"


def come_back(folder, kafka, arguments):
    with platform_and_clients(folder, kafka) as (platform, clients):
        count, missed = arguments.clients, 20
        clients.open(count, "room:0", returns=True)
        clients.publish("rooms", 1, 1, count)
        before = clients.do("status")
        platform.stop()
        # Nobody is there: nothing is expected.
        clients.do("publish", topic="rooms", events=missed, rate=1000, first=clients.numbers["rooms"])
        started = time.monotonic()
        platform.start()
        ready = time.monotonic() - started
        wait_for("all clients back", lambda: clients.do("status")["open"] == count, 120)
        took = time.monotonic() - started
        after = clients.do("status")
        if after["received"] - before["received"] != missed * count or after["out_of_order"] or after["recovered"] != count:
            sys.exit(f"not all was recovered: {after}")
        read = platform.metric("sallyport_kafka_records_total")
        yield f"{count} clients back and recovered {missed} events each", f"{took:.1f} s after the start (ready after {ready:.1f} s)"
        yield "records read from Kafka for that, of all in the topics", f"{read:.0f}"


FIGURES = {"idle": idle, "tunnels": tunnels, "fanout": fanout, "owner": owner, "latency": latency, "slow": slow, "return": come_back}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; all without")
    parser.add_argument("--clients", type=int, default=9900)
    parser.add_argument("--tunnels", type=int, default=9900)
    arguments = parser.parse_args()
    for name in arguments.figures or FIGURES:
        if name not in FIGURES:
            parser.error(f"no figure {name}")
        with tempfile.TemporaryDirectory() as text:
            folder = pathlib.Path(text)
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                 "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
                 "-keyout", "edge.key", "-out", "edge.crt"], cwd=folder, check=True, capture_output=True)
            kafka = subprocess.run([KAFKA, "start", folder / "kafka"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
            try:
                for topic in TOPICS:
                    subprocess.run([KAFKA, "topic", kafka, "create", topic], check=True, stdout=subprocess.DEVNULL)
                for what, figure in FIGURES[name](folder, kafka, arguments):
                    print(f"{what}: {figure}", flush=True)
            finally:
                subprocess.run([KAFKA, "stop", folder / "kafka"], check=True)


if __name__ == "__main__":
    main()
