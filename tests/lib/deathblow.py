"""SIGKILL for a daemon at one exact place: as it enters its Nth system call of a name, before that call is done.

strace puts the signal there. Either it starts the daemon (daemon.prefix = prefix("fsync")) or comes to a running one
(with awaiting(daemon.pid, "listen", 3): …); the count begins there, and is that of each thread.
"""
import contextlib
import signal
import subprocess


def _options(call, n, path):
    only = ["-P", str(path)] if path else []
    return ["-f", "-e", f"trace={call}", *only, "-e", f"inject={call}:signal=KILL:when={n}"]


def prefix(call, n=1):
    """The daemon keeps its process id: strace steps aside."""
    return ["strace", "-D", "-qq", "-o", "/dev/null", *_options(call, n, None)]


@contextlib.contextmanager
def awaiting(pid, call, n=1, path=None):
    """path: only calls that have to do with it."""
    tracer = subprocess.Popen(["strace", *_options(call, n, path), "-o", "/dev/null", "-p", str(pid)],
                              stderr=subprocess.PIPE, text=True)
    try:
        assert "attached" in tracer.stderr.readline()
        yield
    finally:
        tracer.terminate()
        tracer.communicate(timeout=10)


def is_killed(daemon):
    """It died of that, and nothing else; it can be started again."""
    code = daemon.wait_exit(20)
    daemon.process.stderr.close()
    daemon.process = None
    assert code == -signal.SIGKILL, (code, daemon.lines)
    return True
