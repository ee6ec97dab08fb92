"""Chromium without a screen, driven through its debugging pipe: what a page shows, asks for and complains about.

The pipe (file descriptors 3 and 4, JSON ended by NUL) needs no port and no library. One page; every command waits for its
answer, and events are kept as they come.
"""
import base64
import json
import os
import pathlib
import select
import shutil
import struct
import subprocess
import tempfile
import time
import zlib

from netns import CLEAN_ENV

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
         "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe", "about:blank"]


class Browser:
    """Started by the with statement in a namespace; ends with it."""

    def __init__(self, space):
        self._space = space
        self.events = []
        self._number, self._session, self._rest = 0, None, b""

    def __enter__(self):
        self._home = tempfile.mkdtemp(prefix="ukai-browser-")
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        self._process = self._space.popen(
            ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", "chromium", *FLAGS, f"--user-data-dir={self._home}/profile"],
            env=dict(CLEAN_ENV, HOME=self._home), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(to_read, to_write))
        os.close(to_read)
        os.close(to_write)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(domain + ".enable")
        return self

    def __exit__(self, *_):
        os.close(self._to)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        shutil.rmtree(self._home, ignore_errors=True)

    def _next(self, limit):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0, limit - time.monotonic()))
            assert ready, "the browser says nothing"
            piece = os.read(self._from, 1 << 16)
            assert piece, "the browser has ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def call(self, method, deadline_s=30, **params):
        self._number += 1
        request = {"id": self._number, "method": method, "params": params}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._to, json.dumps(request).encode() + b"\0")
        limit = time.monotonic() + deadline_s
        while True:
            message = self._next(limit)
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return message["result"]
            if "method" in message:
                self.events.append(message)

    def wait_event(self, method, since=0, deadline_s=30):
        limit = time.monotonic() + deadline_s
        while True:
            for event in self.events[since:]:
                if event["method"] == method:
                    return event["params"]
            message = self._next(limit)
            if "method" in message:
                self.events.append(message)

    def open(self, url):
        mark = len(self.events)
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        self.wait_event("Page.loadEventFired", mark)

    def evaluate(self, expression):
        """The value of an expression in the page; works without the page's own scripts, too."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression, deadline_s=30):
        limit = time.monotonic() + deadline_s
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < limit, f"never true: {expression}"
        return value

    def look(self, width, height=900, scheme="light"):
        """A window of that size, and what its owner prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path=None):
        png = base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])
        if path:
            pathlib.Path(path).write_bytes(png)
        return Picture(png)

    def requests(self):
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def complaints(self):
        """Errors of scripts and of policies."""
        return [e["params"] for e in self.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]


class Picture:
    """A PNG of 8 bits a channel as rows of bytes."""

    def __init__(self, png):
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        at, packed = 8, b""
        while at < len(png):
            size, kind = struct.unpack(">I4s", png[at:at + 8])
            body = png[at + 8:at + 8 + size]
            if kind == b"IHDR":
                self.width, self.height, depth, colour = struct.unpack(">IIBB", body[:10])
                assert depth == 8 and colour in (2, 6)
                self.channels = 3 if colour == 2 else 4
            packed += body if kind == b"IDAT" else b""
            at += 12 + size
        self.rows = self._unfilter(zlib.decompress(packed))

    def _unfilter(self, data):
        n, span, rows = self.channels, self.width * self.channels, []
        before = bytearray(span)
        for y in range(self.height):
            kind, row = data[y * (span + 1)], bytearray(data[y * (span + 1) + 1:(y + 1) * (span + 1)])
            for x in range(span) if kind else ():
                left, up, corner = (row[x - n] if x >= n else 0), before[x], (before[x - n] if x >= n else 0)
                if kind == 1:
                    add = left
                elif kind == 2:
                    add = up
                elif kind == 3:
                    add = (left + up) // 2
                else:
                    p = left + up - corner
                    a, b, c = abs(p - left), abs(p - up), abs(p - corner)
                    add = left if a <= b and a <= c else up if b <= c else corner
                row[x] = row[x] + add & 255
            rows.append(bytes(row))
            before = row
        return rows

    def pixels(self, step=3):
        n = self.channels
        return [row[x:x + 3] for row in self.rows[::step] for x in range(0, self.width * n, n * step)]

    def brightness(self):
        """0 black, 255 white: the mean."""
        pixels = self.pixels()
        return sum(map(sum, pixels)) / (3 * len(pixels))

    def n_colours(self):
        return len(set(self.pixels()))
