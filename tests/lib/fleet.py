"""Many tunnels at once that never stop transferring: each echoes a pattern of its own, checked byte by byte."""
import random
import resource
import selectors
import socket
import threading
import time

PATTERN = random.Random(7).randbytes(1 << 16)
BLOCK = 8192


class Tunnel:
    def __init__(self, sock, number):
        self.sock, self.shift = sock, (number * 257) % len(PATTERN)
        self.sent = self.got = 0
        self.end = None               # 'fin', 'rst', 'wrong'; None: it lives

    def piece(self, at, size):
        start = (at + self.shift) % len(PATTERN)
        return PATTERN[start:start + size]


class Fleet:
    """open() tunnels, then run the transfer in a thread of its own (with statement)."""

    def __init__(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16384)), hard))
        self.tunnels = []
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def open(self, dial, target, count):
        """count more tunnels; they are opened side by side, then each must have its 200."""
        fresh = []
        for _ in range(count):
            sock = dial()
            sock.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
            fresh.append(sock)
        for sock in fresh:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                got = sock.recv(1)
                assert got, f"no tunnel: {head!r}"
                head += got
            assert head.startswith(b"HTTP/1.1 200 "), head
            sock.setblocking(False)
            self.tunnels.append(Tunnel(sock, len(self.tunnels)))
        return self.tunnels[-count:]

    def open_running(self, dial, target, count):
        """The same while the transfer runs."""
        fresh = self.open(dial, target, count)
        for tunnel in fresh:
            self._send(tunnel)
            self._selector.register(tunnel.sock, selectors.EVENT_READ, tunnel)
        return fresh

    def __enter__(self):
        for tunnel in self.tunnels:
            self._selector.register(tunnel.sock, selectors.EVENT_READ, tunnel)
            self._send(tunnel)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping = True
        self._thread.join(10)
        self._selector.close()

    def _loop(self):
        while not self._stopping:
            for key, _ in self._selector.select(0.2):
                self._read(key.data)

    def _over(self, tunnel, how):
        tunnel.end = how
        self._selector.unregister(tunnel.sock)

    def _send(self, tunnel):
        """One block at a time is under way, so nothing ever blocks."""
        try:
            tunnel.sent += tunnel.sock.send(tunnel.piece(tunnel.sent, BLOCK))
        except ConnectionError:
            self._over(tunnel, "rst")

    def _read(self, tunnel):
        try:
            got = tunnel.sock.recv(BLOCK)
        except BlockingIOError:
            return
        except ConnectionError:
            self._over(tunnel, "rst")
            return
        if not got:
            self._over(tunnel, "fin")
            return
        at = 0
        while at < len(got):
            want = tunnel.piece(tunnel.got, len(got) - at)
            if got[at:at + len(want)] != want:
                self._over(tunnel, "wrong")
                return
            at += len(want)
            tunnel.got += len(want)
        if tunnel.got == tunnel.sent:
            self._send(tunnel)

    @staticmethod
    def ended(tunnels):
        return [t for t in tunnels if t.end is not None]

    @staticmethod
    def wait_ended(tunnels, deadline_s=20):
        limit = time.monotonic() + deadline_s
        while any(t.end is None for t in tunnels):
            assert time.monotonic() < limit, f"{sum(t.end is None for t in tunnels)} of {len(tunnels)} still live"
            time.sleep(0.01)

    @staticmethod
    def wait_transfer(tunnels, n_bytes=2 * BLOCK, deadline_s=20):
        """Every one of them moves that much more, or has ended."""
        marks = {id(t): t.got + n_bytes for t in tunnels}
        limit = time.monotonic() + deadline_s
        while any(t.end is None and t.got < marks[id(t)] for t in tunnels):
            assert time.monotonic() < limit, "a tunnel stands still"
            time.sleep(0.01)
