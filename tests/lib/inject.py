"""A thread of a running process made to stand still, or to make a system call that its program never would.

By ptrace(2), as an intruder who has taken the thread over would do it from inside: the call is made by the thread itself, with
its privileges, behind its fences. x86-64; the tracer is the thread of this process that attached.
"""
import ctypes
import os
import platform
import signal

IS_POSSIBLE = platform.machine() == "x86_64"
_ATTACH, _DETACH, _STEP, _GETREGS, _SETREGS = 16, 17, 9, 12, 13
_WALL = 0x40000000
_REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs "
              "gs").split()
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class _Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulong) for name in _REGISTERS]


def threads(pid):
    """In the order of their making: of a daemon the main thread, the log's, the workers."""
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


class Held:
    """The with statement holds the thread; afterwards it goes on as if nothing had been."""

    def __init__(self, tid):
        self.tid, self.is_dead = tid, False

    def _ptrace(self, what, data=None):
        if _libc.ptrace(what, self.tid, None, data) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def _wait(self):
        _, status = os.waitpid(self.tid, _WALL)
        self.is_dead = not os.WIFSTOPPED(status)
        return status

    def __enter__(self):
        self._ptrace(_ATTACH)
        self._wait()
        return self

    def __exit__(self, *_):
        if not self.is_dead:
            self._ptrace(_DETACH)

    def call(self, number, *arguments):
        """Its result, -errno for a failure; or the signal that the process died of, by its name."""
        before, mine = _Registers(), _Registers()
        self._ptrace(_GETREGS, ctypes.byref(before))
        self._ptrace(_GETREGS, ctypes.byref(mine))
        mine.rip -= 2  # it sleeps in a call: the instruction is right before
        mine.rax, mine.orig_rax = number, ctypes.c_ulong(-1).value  # and is not begun again
        for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments + (0,) * 6):
            setattr(mine, name, ctypes.c_ulong(value).value)
        self._ptrace(_SETREGS, ctypes.byref(mine))
        self._ptrace(_STEP)
        status = self._wait()
        if self.is_dead:
            return signal.Signals(os.WTERMSIG(status)).name
        self._ptrace(_GETREGS, ctypes.byref(mine))
        self._ptrace(_SETREGS, ctypes.byref(before))
        return ctypes.c_long(mine.rax).value
