"""A client of the plain HTTP proxy: says exact bytes, reads strictly, and keeps the count of access lines that are due.

Every answer is read by httpgrammar.Answers, so a test that only looks at a status has still checked the framing. Web is
the pair of a daemon and an origin; its settle() is the oracle after each test.
"""
import time

from client import exchange, expect_refused
from httpgrammar import Answers, Violation
from scene import wait_until

ORIGIN_A, ORIGIN_B, ORIGIN_6 = "192.0.2.10", "192.0.2.11", "2001:db8:77::10"
ADDRESSES = [(ORIGIN_A, 80), (ORIGIN_A, 8000), (ORIGIN_A, 22), (ORIGIN_B, 80), (ORIGIN_6, 80)]


class Talk:
    """What one connection brought: final answers, interim ones, and how it ended."""

    def __init__(self, reply, answers, interim, grammar, violation, port):
        self.reply, self.answers, self.interim = reply, answers, interim
        self.grammar, self.violation, self.port = grammar, violation, port

    @property
    def end(self):
        return self.reply.end

    @property
    def statuses(self):
        return [answer.status for answer in self.answers]

    @property
    def bodies(self):
        return [bytes(answer.body) for answer in self.answers]

    def __repr__(self):
        return f"Talk({self.answers}, interim={self.interim}, violation={self.violation}, {self.reply})"


def talk(sock, data, methods=("GET",), feed="one-write", deadline_s=10, seed=1, wait_end=False, half_close=False):
    """Send data; read until each method has its answer, or to the end of the connection."""
    grammar, at = Answers(methods), 0
    finals, interim, wrong = [], [], []

    def take(events):
        for kind, answer in events:
            if kind == "end":
                (interim if answer.status < 200 else finals).append(answer)

    def look(raw):
        nonlocal at
        try:
            take(grammar.feed(raw[at:]))
        except Violation as violation:
            wrong.append(str(violation))
        at = len(raw)
        return bool(wrong) or (len(finals) == len(methods) and not wait_end)

    port = sock.getsockname()[1]
    reply = exchange(sock, data, feed, deadline_s, stop=look, seed=seed, half_close=half_close)
    if reply.end == "fin":
        take(grammar.finish())
    return Talk(reply, finals, interim, grammar, wrong[0] if wrong else None, port)


def get(path="/", fields="", method="GET", version="HTTP/1.1", host=ORIGIN_A, own_host=None, body=b""):
    """A request in absolute-form, as bytes."""
    host_field = "" if own_host == "" else f"Host: {own_host or host}\r\n"
    return f"{method} http://{host}{path} {version}\r\n{host_field}{fields}\r\n".encode("latin-1") + body


def post(path, body, fields=""):
    return get(path, f"Content-Length: {len(body)}\r\n{fields}", "POST", body=body)


def method_of(data):
    return data.lstrip(b"\r\n").partition(b" ")[0].decode("latin-1")


class Web:
    """A daemon, an origin, and the number of access lines that each client port is due."""

    def __init__(self, scene, ukai, origin, port=8080):
        self.scene, self.ukai, self.origin, self.port = scene, ukai, origin, port
        self.begin()

    def begin(self):
        self._mark, self.due = self.ukai.mark(), {}

    def dial(self, host=None):
        return self.scene.dial(host, port=self.port)

    def owe(self, port, n=1):
        self.due[port] = self.due.get(port, 0) + n

    def ask(self, *requests, feed="one-write", host=None, deadline_s=10, seed=1, wait_end=False, sock=None, lines=None):
        """Requests in one go on a connection; owes one access line for each."""
        sock = sock or self.dial(host)
        done = talk(sock, b"".join(requests), [method_of(r) for r in requests], feed, deadline_s, seed, wait_end)
        self.owe(done.port, len(requests) if lines is None else lines)
        assert not done.violation, done
        return done

    def refuse_all(self, feed, requests, *statuses, proxy_status=None, lines=1, reaches=False):
        """Each request on a connection of its own is refused and, unless reaches, never seen by the origin."""
        wrong, mark, n_before = [], self.origin.mark(), len(self.origin.requests)
        for i, data in enumerate(requests):
            sock = self.dial()
            self.owe(sock.getsockname()[1], lines)
            reply = exchange(sock, data, feed, seed=i, deadline_s=6)
            try:
                expect_refused(reply, *statuses, proxy_status=proxy_status)
            except AssertionError as error:
                wrong.append(f"{data[:160]!r}: {error}")
            sock.close()
        if not reaches and len(self.origin.requests) != n_before:
            wrong.append(f"reached the origin: {self.origin.since(mark)}")
        assert not wrong, "\n".join([f"{len(wrong)} of {len(requests)}:"] + wrong)

    def pass_all(self, feed, requests, status=200):
        """Each request on a connection of its own gets its answer; gives the answers."""
        wrong, out = [], []
        for i, data in enumerate(requests):
            done = self.ask(data, feed=feed, seed=i, deadline_s=6)
            if done.statuses != [status]:
                wrong.append(f"{data[:160]!r}: {done}")
            out += done.answers
            self.scene.close_clients()
        assert not wrong, "\n".join([f"{len(wrong)} of {len(requests)}:"] + wrong)
        return out

    def lines(self):
        """Access lines of this test's connections by port; the opening of a tunnel is not counted."""
        out = {}
        for record in self.ukai.records_since(self._mark):
            if record["event"] != "open":
                out[record["src_port"]] = out.get(record["src_port"], 0) + 1
        return out

    def settle(self):
        """After a test: exactly the lines that are due, and clean bytes at the origin."""
        self.scene.close_clients()
        self.origin.check()
        if not self.due:
            return
        wait_until(lambda: all(self.lines().get(port, 0) >= n for port, n in self.due.items()), 6,
                   lambda: f"lines due {self.due}, found {self.lines()}:"
                           f" {[r for r in self.ukai.records_since(self._mark) if r['src_port'] in self.due][-5:]}")
        time.sleep(0.02)
        found = self.lines()
        wrong = {port: (n, found.get(port, 0)) for port, n in self.due.items() if found.get(port, 0) != n}
        assert not wrong, f"access lines (due, found) by port: {wrong}"
