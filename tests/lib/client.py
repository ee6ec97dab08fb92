"""A client that says exactly the bytes it is given, in a chosen feed, and reads while it writes.

Reading and writing go on together because a proxy may answer and close in the middle of a request; what counts is whether
the answer arrives whole. Sockets are opened by Scene.dial(), which also closes them after each test.
"""
import random
import select
import socket
import struct
import time

OPEN_200 = b"HTTP/1.1 200 Connection established\r\n\r\n"
FEEDS = ("one-write", "byte-by-byte", "random-splits")


def pieces(data, feed, seed=1):
    """Cut a request into the writes of a feed. Long data is cut coarsely beyond its first 600 bytes."""
    if feed == "one-write":
        return [data]
    if feed == "byte-by-byte":
        head = [data[i:i + 1] for i in range(min(len(data), 600))]
        return head + [data[i:i + 4096] for i in range(600, len(data), 4096)]
    rng = random.Random(seed)
    out, at = [], 0
    while at < len(data):
        size = rng.randint(1, 40 if len(data) < 2000 else 3000)
        out.append(data[at:at + size])
        at += size
    return out


class Reply:
    """All that came back on a connection, and how it ended: 'fin', 'rst', or 'open' at the deadline."""

    def __init__(self, raw, end, sent_all):
        self.raw, self.end, self.sent_all = raw, end, sent_all
        self.status, self.reason, self.fields, self.body = None, "", {}, b""
        head, found, rest = raw.partition(b"\r\n\r\n")
        if found and head.startswith(b"HTTP/"):
            first, *lines = head.decode("latin-1").split("\r\n")
            self.version, code, self.reason = (first.split(" ", 2) + [""])[:3]
            self.status = int(code)
            self.body = rest
            for line in lines:
                key, _, value = line.partition(":")
                self.fields.setdefault(key.strip().lower(), []).append(value.strip())

    def field(self, name):
        return ", ".join(self.fields.get(name.lower(), []))

    def __repr__(self):
        return f"Reply(end={self.end}, sent_all={self.sent_all}, raw={self.raw[:300]!r} of {len(self.raw)})"


def exchange(sock, data, feed="one-write", deadline_s=10, stop=None, half_close=False, seed=1):
    """Send data and collect what comes until the peer ends, stop(raw) is true or the deadline passes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    queue = [memoryview(piece) for piece in pieces(data, feed, seed)]
    raw, end, limit = bytearray(), "open", time.monotonic() + deadline_s
    sent_all, closed = not queue, False
    poller = select.poll()
    poller.register(sock)
    while True:
        left = limit - time.monotonic()
        if left <= 0:
            break
        if not queue and half_close and not closed:
            closed = True
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        poller.modify(sock, select.POLLIN | (select.POLLOUT if queue else 0))
        ready = poller.poll(left * 1000)
        events = ready[0][1] if ready else 0
        if events & ~select.POLLOUT:
            try:
                got = sock.recv(65536)
            except ConnectionError:
                end = "rst"
                break
            if not got:
                end = "fin"
                break
            raw += got
            if stop and stop(bytes(raw)):
                break
        elif events:
            try:
                n = sock.send(queue[0])
                if n == len(queue[0]):
                    queue.pop(0)
                    sent_all = not queue
                else:
                    queue[0] = queue[0][n:]
            except ConnectionError:
                queue.clear()
    sock.settimeout(10)
    return Reply(bytes(raw), end, sent_all)


def expect_refused(reply, *statuses, proxy_status=None):
    """One complete answer with one of the statuses, Connection: close, and the end of the connection behind it."""
    assert reply.status in statuses, f"wanted {statuses}: {reply}"
    assert reply.version == "HTTP/1.1" and reply.reason, reply
    assert "close" in reply.field("connection").lower(), reply
    assert len(reply.fields.get("content-length", [])) <= 1, reply
    if "content-length" in reply.fields:
        assert len(reply.body) == int(reply.field("content-length")), f"more or less than one answer: {reply}"
    assert reply.end in ("fin", "rst"), f"left open: {reply}"
    if proxy_status:
        field = reply.field("proxy-status")
        assert field.startswith("ukai") and f"error={proxy_status}" in field, f"wanted {proxy_status}: {reply}"


def whole_head(raw):
    return b"\r\n\r\n" in raw


def open_tunnel(sock, target, head=None, feed="one-write", early=b"", deadline_s=10):
    """CONNECT; returns the bytes that came behind the 200. Anything but the exact 200 is an AssertionError."""
    request = head if head is not None else f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()
    reply = exchange(sock, request + early, feed, deadline_s, stop=whole_head)
    assert reply.raw.startswith(OPEN_200), f"no tunnel to {target}: {reply}"
    return reply.raw[len(OPEN_200):]


def read_exactly(sock, size, deadline_s=20):
    """Exactly size bytes; an early end is an AssertionError that says how much had come."""
    got, limit = bytearray(), time.monotonic() + deadline_s
    while len(got) < size:
        sock.settimeout(max(limit - time.monotonic(), 0.001))
        try:
            piece = sock.recv(min(size - len(got), 1 << 20))
        except TimeoutError:
            raise AssertionError(f"only {len(got)} of {size} bytes in {deadline_s} s") from None
        assert piece, f"ended after {len(got)} of {size} bytes"
        got += piece
    return bytes(got)


def read_to_end(sock, deadline_s=20):
    """Bytes until the peer ends, and how: 'fin', 'rst', or 'open' when the deadline passed."""
    got, limit = bytearray(), time.monotonic() + deadline_s
    while True:
        left = limit - time.monotonic()
        if left <= 0:
            return bytes(got), "open"
        sock.settimeout(left)
        try:
            piece = sock.recv(1 << 20)
        except TimeoutError:
            return bytes(got), "open"
        except ConnectionError:
            return bytes(got), "rst"
        if not piece:
            return bytes(got), "fin"
        got += piece


def reset(sock):
    """Close with an RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def unacked_bytes(sock):
    """What the kernel still holds for the peer (SIOCOUTQ)."""
    import fcntl
    return struct.unpack("i", fcntl.ioctl(sock.fileno(), 0x5411, b"\0" * 4))[0]
