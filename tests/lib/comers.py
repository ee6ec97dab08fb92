"""Short tunnels at a steady pace, and the origin they go to: tests/tools/comers.c."""
import json
import subprocess
import threading

from tools import built

PORT = 8443  # of the origin, on every address of the outer world
GATE = "192.168.1.254"


class Comers:
    """A context manager; n_served and n_failed while it runs, failures (each with at, by time.monotonic(), and why) after it.

    A failure is any attempt that did not get its tunnel, its echo and its orderly end.
    """

    def __init__(self, scene, name="echo.lab.example", a_second=200):
        self.scene, self.target, self.a_second = scene, f"{name}:{PORT}", a_second
        self.n_served = self.n_failed = 0
        self.begun, self.failures, self.seconds = None, None, None

    def __enter__(self):
        pipe = subprocess.PIPE
        self._origin = self.scene.outer.popen([built("comers"), "serve", "0.0.0.0", str(PORT)], stdin=subprocess.DEVNULL, stdout=pipe)
        assert self._origin.stdout.readline() == b"listening\n"
        self._driver = self.scene.host10.popen([built("comers"), "ask", GATE, "8080", self.target, str(self.a_second)], stdin=pipe,
                                               stdout=pipe)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def _read(self):
        for line in self._driver.stdout:
            if line.startswith(b"{"):
                last = json.loads(line)
                self.n_served, self.begun, self.seconds = last["served"], last["begun"], last["seconds"]
                self.failures = last["failed"]
                self.n_failed = len(self.failures)
            else:
                self.n_served, self.n_failed = map(int, line.split())

    def __exit__(self, *_):
        self._driver.stdin.close()
        self._reader.join(30)
        self._driver.stdout.close()
        self._driver.wait(10)
        self._origin.kill()
        self._origin.wait()
        self._origin.stdout.close()
