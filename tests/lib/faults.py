"""Faults made to order inside a daemon: an allocation or a system call that fails, clocks that jump.

tests/tools/faults.c is preloaded; a page that both sides map says what is to fail and what was
counted. Not for binaries with sanitizers, whose allocator and calls are their own.
"""
import errno
import mmap
import pathlib
import struct

from tools import built

# As in faults.c, in its order; errors that the kernel really gives.
CALLS = {
    "socket": (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
    "bind": (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.ENOMEM),
    "connect": (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EPERM, errno.ENOBUFS),
    "accept4": (errno.ECONNABORTED, errno.EMFILE, errno.ENOMEM, errno.EPROTO),
    "send": (errno.ENOBUFS, errno.EPERM, errno.ECONNRESET, errno.ENOMEM),
    "epoll_ctl": (errno.ENOMEM, errno.ENOSPC),
    "setsockopt": (errno.ENOMEM, errno.ENOBUFS),
    "getrandom": (errno.ENOSYS, errno.EINTR),
}
_HEAD, _CALL = struct.Struct("<QQQqqq"), struct.Struct("<QQQQ4q")
_N_ALLOCS, _FAIL_ALLOC_AT, _N_FAILED_ALLOCS, _N_LIVE, _WALL_OFFSET_S, _STEADY_OFFSET_S = range(6)
_N, _FAIL_AT, _PER_MILLE, _N_FAILED = range(4)


class Faults:
    """Of one daemon, whose prefix it becomes: daemon.prefix = faults.prefix."""

    def __init__(self, directory):
        library = built("faults", "-shared", "-fPIC", "-fno-builtin")
        page = pathlib.Path(directory) / "faults.page"
        page.write_bytes(bytes(_HEAD.size + len(CALLS) * _CALL.size))
        with open(page, "r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)
        self.prefix = ["env", f"LD_PRELOAD={library}", f"FAULTS_PAGE={page}"]
        for i, errors in enumerate(CALLS.values()):
            for k, number in enumerate(errors):
                self._put(_HEAD.size + i * _CALL.size + (4 + k) * 8, number)

    def _put(self, at, value):
        self._page[at:at + 8] = struct.pack("<q", value)

    def _get(self, at):
        return struct.unpack("<q", self._page[at:at + 8])[0]

    @staticmethod
    def _at(call, field):
        return _HEAD.size + list(CALLS).index(call) * _CALL.size + field * 8

    # allocations

    def clear(self):
        """For a life that begins."""
        for at in range(0, _HEAD.size, 8):
            self._put(at, 0)

    def fail_alloc(self, n):
        """The n-th from now, counted from 1; 0: none."""
        self._put(_FAIL_ALLOC_AT * 8, self._get(_N_ALLOCS * 8) + n if n else 0)

    def n_allocs(self):
        return self._get(_N_ALLOCS * 8)

    def n_failed_allocs(self):
        return self._get(_N_FAILED_ALLOCS * 8)

    def n_live(self):
        return self._get(_N_LIVE * 8)

    # calls

    def fail_call(self, call, n):
        """The n-th from now, counted from 1; 0: none."""
        self._put(self._at(call, _FAIL_AT), self._get(self._at(call, _N)) + n if n else 0)

    def fail_calls(self, call, per_mille):
        self._put(self._at(call, _PER_MILLE), per_mille)

    def n_failed_calls(self, call):
        return self._get(self._at(call, _N_FAILED))

    # time

    def shift_wall_clock(self, offset_s):
        self._put(_WALL_OFFSET_S * 8, offset_s)

    def shift_steady_clock(self, offset_s):
        """That of timers. Who sleeps wakes by the kernel's: something else must happen before the daemon looks."""
        self._put(_STEADY_OFFSET_S * 8, offset_s)
