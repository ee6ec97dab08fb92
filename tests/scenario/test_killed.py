"""SIGKILL in the middle of a reload, of a handover, of keeping the last good copy: the next start finds nothing in its way."""
import signal

import pytest

import deathblow
from client import exchange
from daemon import SANITIZER_DIR, Ukai, run_tool, sections

pytestmark = pytest.mark.skipif(bool(SANITIZER_DIR), reason="the sanitizers make system calls of their own")

IN = "[in]\ntcp 8080-8081 = 192.168.1.10\n"
LONG = IN + "".join(f"tcp 8080 = 192.168.1.{i % 250 + 1} ; {i}\n" for i in range(10, 1000))


def serves(scene, port=8080):
    with scene.dial(port=port, timeout=10) as sock:
        return exchange(sock, b"GARBAGE\r\n\r\n").status == 400


def copies(daemon):
    return sorted(path.name.rpartition("ukai.conf.")[2] for path in (daemon.dir / "state").iterdir())


def expect_next_start(scene, daemon, port=8080):
    """All as if nothing had been; and the copy, whichever it is, is whole."""
    daemon.prefix = []
    with daemon:
        assert serves(scene, port) and run_tool("status", "-c", daemon.conf_path).returncode == 0
        run_tool("reload", "-c", daemon.conf_path)
        assert copies(daemon) == ["last-good"]


# (a)

@pytest.mark.parametrize("call, n", [("openat", 1), ("openat", 2), ("bind", 1), ("listen", 1), ("listen", 3), ("close", 4)])
def test_in_a_reload(scene, call, n):
    daemon = Ukai(scene, sections(dns=False), IN).start()
    daemon.config["web-proxy lan"]["listen-port"] = "8081"
    with deathblow.awaiting(daemon.pid, call, n):
        daemon.write(config=daemon.config)
        daemon.signal(signal.SIGHUP)
        assert deathblow.is_killed(daemon)
    expect_next_start(scene, daemon, 8081)


# (b)

def pair(scene):
    old = Ukai(scene, sections(dns=False), IN)
    new = Ukai(scene, old.config, IN, args=["--replace"])
    new.conf_path.write_bytes(old.conf_path.read_bytes())  # the same control socket, the same log
    new.access_path = old.access_path
    return old, new


@pytest.mark.parametrize("call, n", [("sendto", 2), ("recvmsg", 3), ("clone3", 1), ("clone3", 3), ("write", 1)])
def test_the_new_one_in_a_handover(scene, call, n):
    old, new = pair(scene)
    with old:
        new.prefix = deathblow.prefix(call, n)
        new.start(wait=False)
        assert deathblow.is_killed(new)
        assert all(serves(scene) for _ in range(20))
        assert f"pid {old.pid}," in run_tool("status", "-c", old.conf_path).out
        old.reload()
    expect_next_start(scene, old)


@pytest.mark.parametrize("call, n", [("sendmsg", 1), ("sendmsg", 2), ("sendmsg", 3)])
def test_the_old_one_in_a_handover(scene, call, n):
    old, new = pair(scene)
    old.start()
    with deathblow.awaiting(old.pid, call, n), new:
        assert deathblow.is_killed(old)
        assert all(serves(scene) for _ in range(20))
        assert f"pid {new.pid}," in run_tool("status", "-c", new.conf_path).out
        assert run_tool("reload", "-c", new.conf_path).returncode == 0
    expect_next_start(scene, old)


# (c)

@pytest.mark.parametrize("call, n", [("write", 1), ("write", 3), ("fsync", 1), ("renameat", 1)])
def test_while_it_keeps_a_copy(scene, call, n):
    """What it had kept before is still there, whole, and the half one is in nobody's way."""
    daemon = Ukai(scene, sections(dns=False), IN).start()
    daemon.reload()
    half = next((daemon.dir / "state").iterdir()).with_suffix(".last-good.new")
    with deathblow.awaiting(daemon.pid, call, n, half if call != "renameat" else None):  # by a name in a directory
        daemon.write(acl=LONG)
        daemon.signal(signal.SIGHUP)
        assert deathblow.is_killed(daemon)
    assert copies(daemon) == ["last-good", "last-good.new"]
    daemon.write(acl="[in]\nnonsense\n")
    with daemon:
        daemon.wait_log("serving by the last good copy of them")
        assert serves(scene)
    daemon.write(acl=LONG)
    expect_next_start(scene, daemon)


def test_as_the_first_copy_is_kept(scene):
    daemon = Ukai(scene, sections(dns=False), IN)
    daemon.prefix = deathblow.prefix("fsync")
    daemon.start(wait=False)
    assert deathblow.is_killed(daemon)
    assert copies(daemon) == ["last-good.new"]
    expect_next_start(scene, daemon)
