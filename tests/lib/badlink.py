"""A link of bad quality between two namespaces: packets get lost, wait, overtake each other, come twice, queue at a rate.

Two tun devices and a thread that carries packets from one to the other. Quality may change at any time; as made, it is good.
"""
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import threading
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000
QUEUE_BYTES = 32 << 10  # of a direction with a rate; what comes to a full one is lost


class BadLink:
    """NEAR is the address of the first namespace, FAR of the second. rto_min keeps what is lost from costing 200 ms each time."""

    NAME, NEAR, FAR = "bad0", "192.168.77.1", "192.168.77.2"

    def __init__(self, near, far, seed=1):
        self.loss, self.delay_s, self.jitter_s, self.doubled, self.bytes_a_second = 0.0, 0.0, 0.0, 0.0, None
        self.n_lost = self.n_overtaking = 0
        self._spaces, self._random = (near, far), random.Random(seed)
        self._waiting, self._order, self._free_at, self._last_due = [], itertools.count(), [0.0, 0.0], [0.0, 0.0]
        self._fds = [self._open(space, address) for space, address in ((near, self.NEAR), (far, self.FAR))]
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _open(self, space, address):
        with space:
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", self.NAME.encode(), IFF_TUN | IFF_NO_PI))
        space.ip(f"addr add {address}/24 dev {self.NAME}\nlink set {self.NAME} up\n"
                 f"route replace 192.168.77.0/24 dev {self.NAME} src {address} rto_min 20ms\n")
        return fd

    def close(self):
        self._stopping = True
        self._thread.join(5)
        for fd in self._fds:
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _run(self):
        while not self._stopping:
            due = self._waiting[0][0] - time.monotonic() if self._waiting else 0.05
            ready, _, _ = select.select(self._fds, [], [], min(max(due, 0), 0.05))
            for fd in ready:
                try:
                    self._take(self._fds.index(fd), os.read(fd, 65536))
                except BlockingIOError:
                    pass
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(self._waiting)
                try:
                    os.write(self._fds[to], packet)
                except OSError:  # the other end is down
                    pass

    def _take(self, end, packet):
        if self._random.random() < self.loss:
            self.n_lost += 1
            return
        now = time.monotonic()
        begins = max(now, self._free_at[end])
        if self.bytes_a_second:
            if (begins - now) * self.bytes_a_second > QUEUE_BYTES:
                self.n_lost += 1
                return
            self._free_at[end] = begins = begins + len(packet) / self.bytes_a_second
        for _ in range(1 + (self._random.random() < self.doubled)):
            due = begins + self.delay_s + self._random.random() * self.jitter_s
            self.n_overtaking += due < self._last_due[end]
            self._last_due[end] = due
            heapq.heappush(self._waiting, (due, next(self._order), 1 - end, packet))
