"""curl, h2load and httpx against a running edge: what real clients send is understood, and they understand the
answers. Run by run.sh."""

import asyncio
import hashlib
import json
import os
import re
import subprocess
import unittest

import httpx

import edge
import origin

EDGE = None
ORIGIN = None


def setUpModule():
    global EDGE, ORIGIN
    ORIGIN = origin.start()
    EDGE = edge.Edge(edge.binary(), "127.0.0.1:%d" % ORIGIN.server_address[1])


def tearDownModule():
    status = EDGE.stop()
    ORIGIN.shutdown()
    assert status == 0, f"the edge ended with {status} after SIGTERM"


def echoed(body, name):
    return [value for header, value in body["headers"] if header == name]


class Curl(unittest.TestCase):
    # Each way to speak to the edge: the arguments, the version curl reports, the listener.
    WAYS = (
        (["--http1.1"], "1.1", "plain"),
        (["--http1.1"], "1.1", "secure"),
        (["--http2"], "2", "secure"),
        (["--http2-prior-knowledge"], "2", "plain"),
    )

    def curl(self, way, path, *arguments):
        """Answers with status, version, headers and body."""
        flags, version, listener = way
        command = ["curl", "--silent", "--show-error", "--max-time", "60", "--cacert", str(EDGE.ca), *flags]
        command += ["--dump-header", "/dev/stderr", "--write-out", "\n%{http_code} %{http_version}", *arguments]
        done = subprocess.run(command + [getattr(EDGE, listener) + path], capture_output=True, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        body, _, end = done.stdout.rpartition(b"\n")
        status, spoken = end.decode().split()
        self.assertEqual(spoken, version)
        lines = [line for line in done.stderr.decode().split("\r\n") if ": " in line]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return int(status), headers, body

    def test_get_is_proxied(self):
        for way in self.WAYS:
            with self.subTest(way=way):
                status, headers, body = self.curl(way, "/open/x?a=b")
                self.assertEqual((status, json.loads(body)["target"]), (200, "/open/x?a=b"))
                self.assertIn("x-request-id", headers)
                self.assertEqual(headers["x-content-type-options"], "nosniff")
                self.assertEqual(echoed(json.loads(body), "x-forwarded-proto"), ["https" if way[2] == "secure" else "http"])

    def test_head_has_no_body(self):
        for way in self.WAYS:
            with self.subTest(way=way):
                self.assertEqual(self.curl(way, "/open/x", "--head", "--output", "/dev/null")[0], 200)

    def test_a_token_is_asked_for_and_accepted(self):
        for way in self.WAYS:
            with self.subTest(way=way):
                status, headers, body = self.curl(way, "/private")
                self.assertEqual((status, headers["content-type"]), (401, "application/problem+json"))
                self.assertTrue(headers["www-authenticate"].startswith("Bearer"))
                self.assertEqual(json.loads(body)["type"], "urn:sallyport:problem:unauthorized")
                good = ["--header", "Authorization: Bearer " + edge.token(), "--header", "X-User-Id: mallory"]
                status, _, body = self.curl(way, "/private", *good)
                self.assertEqual((status, echoed(json.loads(body), "x-user-id")), (200, ["alice"]))

    def test_a_preflight_is_answered(self):
        for way in self.WAYS:
            with self.subTest(way=way):
                status, headers, _ = self.curl(
                    way, "/private", "--request", "OPTIONS", "--header", "Origin: https://app.example.com",
                    "--header", "Access-Control-Request-Method: GET",
                )
                self.assertIn(status, (200, 204))
                self.assertEqual(headers["access-control-allow-origin"], "https://app.example.com")

    def test_uploads_arrive_whole(self):
        data = os.urandom(1 << 20) * 16
        for way in self.WAYS:
            for sent in (["--upload-file", "-"], ["--header", "Expect: 100-continue", "--data-binary", "@-"]):
                with self.subTest(way=way, sent=sent):
                    flags, version, listener = way
                    done = subprocess.run(
                        ["curl", "--silent", "--show-error", "--fail", "--max-time", "60", "--cacert", str(EDGE.ca)]
                        + [*flags, *sent, getattr(EDGE, listener) + "/files/up"],
                        capture_output=True, input=data,
                    )
                    self.assertEqual(done.returncode, 0, done.stderr.decode())
                    self.assertEqual(json.loads(done.stdout)["body_sha256"], hashlib.sha256(data).hexdigest())

    def test_a_large_download_is_whole(self):
        for way in self.WAYS:
            with self.subTest(way=way):
                status, _, body = self.curl(way, "/files/large")
                self.assertEqual((status, len(body)), (200, 512 * len(origin.BLOCK)))
                self.assertEqual(hashlib.sha256(body).digest(), hashlib.sha256(origin.BLOCK * 512).digest())

    def test_a_body_too_large_is_refused(self):
        for way in self.WAYS:
            with self.subTest(way=way):
                self.assertEqual(self.curl(way, "/small", "--data-binary", "x" * 2000)[0], 413)

    def test_a_rate_limit_says_when_to_come_back(self):
        answers = [self.curl(self.WAYS[0], "/limited") for _ in range(3)]
        self.assertEqual([status for status, _, _ in answers], [200, 200, 429])
        self.assertGreaterEqual(int(answers[2][1]["retry-after"]), 1)
        self.assertIn("ratelimit", answers[2][1])

    def test_dots_in_a_path_do_not_pass_a_guard(self):
        for way in self.WAYS:
            with self.subTest(way=way):
                self.assertEqual(self.curl(way, "/open/../private", "--path-as-is")[0], 401)


class H2load(unittest.TestCase):
    def load(self, listener, *arguments):
        command = ["h2load", "--requests", "2000", "--clients", "8", *arguments]
        done = subprocess.run(
            command + [getattr(EDGE, listener) + "/open/load"], capture_output=True, text=True, timeout=120
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        counts = re.search(r"requests: (\d+) total.* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
        self.assertIsNotNone(counts, done.stdout)
        self.assertEqual(counts.groups(), ("2000", "2000", "0", "0", "0"), done.stdout)
        self.assertRegex(done.stdout, r"status codes: 2000 2xx")

    def test_http2_over_tls(self):
        self.load("secure", "--max-concurrent-streams", "10")

    def test_http2_by_prior_knowledge(self):
        self.load("plain", "--max-concurrent-streams", "10")

    def test_http1(self):
        # One request at a time: over HTTP/1.1 more would mean pipelining.
        self.load("plain", "--h1", "--max-concurrent-streams", "1")


class Httpx(unittest.TestCase):
    def test_http1_and_http2(self):
        for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
            with self.subTest(version=version), httpx.Client(http2=http2, http1=not http2, verify=tls()) as client:
                answer = client.get(EDGE.secure + "/private", headers={"Authorization": "Bearer " + edge.token()})
                self.assertEqual((answer.status_code, answer.http_version), (200, version))
                self.assertEqual(echoed(answer.json(), "x-user-id"), ["alice"])
                self.assertEqual(client.get(EDGE.secure + "/nowhere").status_code, 404)
                answer = client.delete(EDGE.secure + "/private")
                self.assertEqual((answer.status_code, answer.headers["allow"].split(", ")[0]), (405, "GET"))
                # Without a length: chunks over HTTP/1.1, data frames over HTTP/2.
                answer = client.post(EDGE.secure + "/files/up", content=(b"x" * 1000 for _ in range(1000)))
                self.assertEqual(answer.json()["body_bytes"], 1_000_000)

    def test_many_at_a_time_over_one_connection(self):
        async def story():
            async with httpx.AsyncClient(http2=True, verify=tls(), timeout=60) as client:
                paths = [f"{EDGE.secure}/open/{i}" for i in range(100)]
                answers = await asyncio.gather(*(client.get(path) for path in paths))
                return [answer.json()["target"] for answer in answers]

        self.assertEqual(asyncio.run(story()), [f"/open/{i}" for i in range(100)])

    def test_the_operator_sees_it(self):
        self.assertEqual(httpx.get(EDGE.admin + "/readyz").status_code, 200)
        self.assertIn("sallyport_requests_total", httpx.get(EDGE.admin + "/metrics").text)


def tls():
    import ssl

    return ssl.create_default_context(cafile=str(EDGE.ca))


if __name__ == "__main__":
    unittest.main(verbosity=2)
