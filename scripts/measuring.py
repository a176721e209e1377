"""What the measuring scripts share: where programs are, free ports, processes and what they have used."""

import os
import pathlib
import re
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
TICKS = os.sysconf("SC_CLK_TCK")
# What is measured has a core of its own, apart from what puts load on it.
SERVER_CORE, CLIENT_CORE = "0", "1"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(what, ready, seconds=60):
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not after {seconds} s")
        time.sleep(0.05)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Process:
    """A program, pinned to a core if one is given, and what it has used."""

    def __init__(self, *command, core=None, **options):
        pin = ["taskset", "-c", core] if core else []
        self.process = subprocess.Popen([*pin, *map(str, command)], **options)

    def cpu(self):
        """Seconds, of its own and of the kernel for it."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_kb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def stop(self):
        self.process.kill()  # Pingora's own server would take five minutes to stop
        self.process.wait()
