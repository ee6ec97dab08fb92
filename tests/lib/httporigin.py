"""An HTTP origin that writes down every byte, judges it by the strict grammar, and answers as a test told it to.

One thread accepts for each address and one serves each connection. A test registers an answer and gets a path for it:

    path = origin.answer(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello")
    path = origin.does(lambda conn, request: ..., at="head")

An answer is bytes, or a list of bytes and of numbers (seconds to wait); then the connection is kept, or ended by end="fin"
or "rst". What is done at="head" happens before the request's body is read, at="both" comes twice. Other paths answer 200 with
the path.
"""
import email.utils
import itertools
import mimetypes
import pathlib
import re
import socket
import struct
import threading
import time
import urllib.parse

from httpgrammar import Requests, Violation
from scene import wait_until

RAW_BYTES = 1 << 20


def answer(body=b"", status="200 OK", fields=""):
    """A well-formed answer with a length."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


def chunked(*pieces, tail=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + tail


def says_the_path(conn, request):
    body = request.target.encode()
    head = answer(body)
    conn.send(head[:-len(body)] if request.method == "HEAD" else head)


def files(directory):
    """Serves the files of a directory: GET and HEAD, one byte range, If-Modified-Since; the default of an HttpOrigin."""
    root = pathlib.Path(directory).resolve()

    def work(conn, request):
        path = (root / urllib.parse.unquote(request.target.partition("?")[0]).lstrip("/")).resolve()
        if root not in path.parents or not path.is_file():
            return conn.send(answer(b"not here\n", "404 Not Found"))
        data, stamp = path.read_bytes(), email.utils.formatdate(path.stat().st_mtime, usegmt=True)
        fields = f"Last-Modified: {stamp}\r\nAccept-Ranges: bytes\r\nContent-Type: {mimetypes.guess_type(path)[0] or 'text/plain'}\r\n"
        status = "200 OK"
        if request.field("if-modified-since") == stamp:
            return conn.send(f"HTTP/1.1 304 Not Modified\r\n{fields}\r\n".encode())
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.field("range"))
        if wanted and request.field("if-range") in ("", stamp) and int(wanted[1]) < len(data):
            last = min(int(wanted[2] or len(data)), len(data) - 1)
            fields += f"Content-Range: bytes {wanted[1]}-{last}/{len(data)}\r\n"
            data, status = data[int(wanted[1]):last + 1], "206 Partial Content"
        whole = answer(data, status, fields)
        return conn.send(whole[:len(whole) - len(data)] if request.method == "HEAD" else whole)

    return work


class Connection:
    """One connection as the origin saw it."""

    def __init__(self, sock, number, local):
        self.sock, self.number, self.local = sock, number, local
        self.raw = bytearray()        # the first RAW_BYTES that came
        self.requests = []            # heads, each complete or not
        self.violation = None
        self.end = None               # how it ended as seen here: "fin", "rst", or "here"

    def send(self, *parts):
        """Bytes, and numbers: seconds to wait in between."""
        for part in parts:
            if isinstance(part, (int, float)):
                time.sleep(part)
            else:
                self.sock.sendall(part)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def __repr__(self):
        return f"Connection({self.number}, end={self.end}, violation={self.violation}, raw={bytes(self.raw[:300])!r})"


class HttpOrigin:
    def __init__(self, space, addresses, default=None):
        """addresses: (address, port) pairs that exist in the namespace; default: what is done for paths without a script."""
        self.connections = []
        self._default = default or says_the_path
        self._scripts, self._numbers = {}, itertools.count(1)
        self._lock, self._listeners = threading.Lock(), []
        self._reported = set()
        for address, port in addresses:
            sock = space.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen(1024)
            self._listeners.append(sock)
            threading.Thread(target=self._accept, args=(sock,), daemon=True).start()

    # what it does

    def does(self, work, at="end"):
        """work(conn, request) on every request for the path that is returned; it may return "fin" or "rst"."""
        path = f"/{next(self._numbers)}"
        self._scripts[path] = (work, at)
        return path

    def answer(self, *parts, end=None, at="end"):
        return self.does(lambda conn, _: (conn.send(*parts), end)[1], at)

    def takes_turns(self, *works):
        """A path whose requests are served by one work after another; the last one stays."""
        turns = list(works)

        def work(conn, request):
            return (turns.pop(0) if len(turns) > 1 else turns[0])(conn, request)

        return self.does(work)

    # what it saw

    @property
    def requests(self):
        return [request for conn in list(self.connections) for request in list(conn.requests)]

    def mark(self):
        """A position in the connections, for since()."""
        return len(self.connections)

    def since(self, mark):
        return self.connections[mark:]

    def paths(self, mark=0):
        return [request.target for conn in self.since(mark) for request in conn.requests]

    def find(self, path):
        """The requests for a path, in the order of their connections."""
        return [request for request in self.requests if request.target.partition("?")[0] == path]

    def one(self, path, deadline_s=5):
        """The only request for a path, complete."""
        wait_until(lambda: [r for r in self.find(path) if r.is_complete], deadline_s, f"request for {path} at the origin")
        found = self.find(path)
        assert len(found) == 1, found
        return found[0]

    def connection_of(self, path):
        return next(c for c in self.connections for r in c.requests if r.target.partition("?")[0] == path)

    def check(self):
        """Every byte so far satisfied the grammar; each connection is reported once."""
        bad = [conn for conn in list(self.connections) if conn.violation and conn.number not in self._reported]
        self._reported.update(conn.number for conn in bad)
        assert not bad, "dirty bytes reached the origin:\n" + "\n".join(map(repr, bad))

    def stop(self):
        for sock in self._listeners:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        for conn in self.connections:
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # serving

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                conn = Connection(sock, len(self.connections), sock.getsockname()[:2])
                self.connections.append(conn)
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        grammar = Requests()
        with conn.sock as sock:
            sock.settimeout(60)
            try:
                while True:
                    data = sock.recv(1 << 16)
                    if not data:
                        conn.end = "fin"
                        return
                    if len(conn.raw) < RAW_BYTES:
                        conn.raw += data
                    for kind, request in grammar.feed(data):
                        if kind == "head":
                            conn.requests.append(request)
                        how = self._act(conn, kind, request)
                        if how:
                            conn.end = "here"
                            if how == "rst":
                                conn.reset()
                            return
            except Violation as violation:
                conn.violation = str(violation)
            except ConnectionError:
                conn.end = conn.end or "rst"
            except OSError:
                conn.end = conn.end or "here"

    def _act(self, conn, kind, request):
        work, at = self._scripts.get(request.target.partition("?")[0], (self._default, "end"))
        return work(conn, request) if at in (kind, "both") else None
