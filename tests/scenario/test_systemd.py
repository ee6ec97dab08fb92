"""The service manager's side: a stand-in for its socket hears what the daemon says, and the unit files hold what they promise."""
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess

import pytest

from client import exchange, open_tunnel
from daemon import REPOSITORY, Ukai, sections
from test_replace import ended, successor

UNITS = REPOSITORY / "contrib" / "systemd"
IN = "[in]\ntcp 8080 = 192.168.1.10\n"
DNS_IN = IN + "udp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\n"


class Manager:
    """Listens where NOTIFY_SOCKET points."""

    def __init__(self, scene, abstract):
        self.socket = scene.router.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"{scene.dir}/notify-{os.getpid()}"
        self.socket.bind("\0" + name[1:] if abstract else name)
        self.path = None if abstract else pathlib.Path(name)
        self.env = {"NOTIFY_SOCKET": "@" + name[1:] if abstract else name}
        self.socket.settimeout(15)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def heard(self, expected):
        """Datagrams until one holds the line expected; returns that one's lines."""
        while True:
            lines = self.socket.recv(4096).decode().split("\n")
            if any(line.startswith(expected) for line in lines):
                return lines

    def told_until(self, expected):
        """(process, lines) of each datagram up to the one that holds the line expected."""
        told = []
        while not told or expected not in told[-1][1]:
            text, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
            told.append((struct.unpack("3i", control[0][2])[0], text.decode().split("\n")))
        return told

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        if self.path:
            self.path.unlink()


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_start_reload_and_stop_are_told(scene, abstract):
    with Manager(scene, abstract) as manager:
        with Ukai(scene, sections(dns=False), IN, env=manager.env) as daemon:
            assert "STATUS=Serving" in manager.heard("READY=1")
            assert exchange(scene.dial(), b"GARBAGE\r\n\r\n").status == 400  # ready is ready
            daemon.signal(signal.SIGHUP)
            assert re.fullmatch(r"MONOTONIC_USEC=\d+", manager.heard("RELOADING=1")[1])
            manager.heard("READY=1")
            daemon.wait_log(r"msg=reloaded")
            daemon.reload(acl="[in]\nnonsense\n", expect="refused")
            manager.heard("RELOADING=1")
            assert any("refused" in line for line in manager.heard("READY=1"))
            daemon.signal(signal.SIGTERM)
            manager.heard("STOPPING=1")
            assert daemon.wait_exit() == 0


def test_a_replaced_daemon_names_its_successor_and_says_no_more(scene):
    """The manager heeds its main process only: who that is comes first, then only the new one speaks."""
    with Manager(scene, False) as manager:
        old = Ukai(scene, sections(dns=False), IN, env=manager.env).start()
        sock = scene.dial()
        open_tunnel(sock, "echo.lab.example:443")  # so that the old one outlives its replacement
        manager.heard("READY=1")
        new = successor(scene, old, env=manager.env)
        try:
            old.wait_log("replaced by another daemon")
            sock.close()
            assert ended(old) == 0
            new.signal(signal.SIGTERM)
            assert new.wait_exit() == 0
            told = manager.told_until("STOPPING=1")
            of_old = [lines for pid, lines in told if pid == old.pid]
            assert of_old == [[f"MAINPID={new.pid}"]], told
            ready = [i for i, (pid, lines) in enumerate(told) if pid == new.pid and "READY=1" in lines]
            assert told.index((old.pid, [f"MAINPID={new.pid}"])) < ready[-1], "what the new one says before is not heard"
            assert told[-1][0] == new.pid
        finally:
            new.stop()


def test_watchdog_gets_signs_of_life_while_all_workers_turn(scene):
    with Manager(scene, False) as manager:
        env = dict(manager.env, WATCHDOG_USEC="200000")
        with Ukai(scene, sections(dns=False), IN, env=env):
            for _ in range(3):
                assert manager.heard("WATCHDOG=1") == ["WATCHDOG=1"]


def test_watchdog_of_another_process_is_not_ours(scene):
    with Manager(scene, False) as manager:
        env = dict(manager.env, WATCHDOG_USEC="200000", WATCHDOG_PID="1")
        with Ukai(scene, sections(dns=False), IN, env=env) as daemon:
            manager.heard("READY=1")
            daemon.signal(signal.SIGTERM)
            lines = []
            while "STOPPING=1" not in lines:
                lines += manager.socket.recv(4096).decode().split("\n")
            assert "WATCHDOG=1" not in lines
            assert daemon.wait_exit() == 0


@pytest.mark.parametrize("value", ["relative", "/nonexistent/socket", "@", "", "/" + "x" * 300, "vsock:2:1"])
def test_a_socket_that_cannot_be_reached_is_as_good_as_none(scene, value):
    with Ukai(scene, sections(dns=False), IN, env={"NOTIFY_SOCKET": value, "WATCHDOG_USEC": "1e99"}):
        assert exchange(scene.dial(), b"GARBAGE\r\n\r\n").status == 400


# socket activation

ACTIVATE = """
import os, sys
n = int(sys.argv[1])
fds = [int(fd) for fd in sys.argv[2].split(",")]
fds = [os.dup(fd) if fd < 3 + n else fd for fd in fds]  # out of the way
moved = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
for i, fd in enumerate(moved):
    os.dup2(fd, 3 + i)
os.closerange(3 + n, 256)
os.environ.update(LISTEN_FDS=str(n), LISTEN_PID=str(os.getpid()) if sys.argv[3] == "ours" else "1")
os.execv(sys.argv[4], sys.argv[4:])
"""


def activated(scene, config, acl, sockets, whose="ours"):
    """A daemon that is started with these sockets as the service manager would hand them over."""
    daemon = Ukai(scene, config, acl)
    for sock in sockets:
        sock.set_inheritable(True)
    daemon.prefix = ["python3", "-c", ACTIVATE, str(len(sockets)), ",".join(str(s.fileno()) for s in sockets), whose]
    daemon.pass_fds = [s.fileno() for s in sockets]
    return daemon


def bound(scene, kind, port, listen=True):
    sock = scene.router.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("192.168.1.254", port))
    if kind == socket.SOCK_STREAM and listen:
        sock.listen(64)
    return sock


BY_ADDRESS = {"listen-network": "192.168.1.254", "bypass-network": None}


def test_sockets_of_the_service_manager_are_used(scene):
    """A connection that came before the daemon is served: it is the very socket."""
    sockets = [bound(scene, socket.SOCK_STREAM, 8080), bound(scene, socket.SOCK_DGRAM, 53), bound(scene, socket.SOCK_STREAM, 53)]
    early = scene.dial()
    with activated(scene, sections(web=BY_ADDRESS, dns_=BY_ADDRESS), DNS_IN, sockets) as daemon:
        for sock in sockets:
            sock.close()
        assert exchange(early, b"GARBAGE\r\n\r\n").status == 400
        for _ in range(8):  # whichever worker gets it
            assert exchange(scene.dial(), b"GARBAGE\r\n\r\n").status == 400
        for transport in ("+notcp", "+tcp"):
            done = scene.host10.run(["dig", "+short", "+time=3", transport, "@192.168.1.254", "agents.deepsecurity.trendmicro.com"])
            assert done.returncode == 0 and done.stdout.strip(), done.stdout
        assert not any("handed over" in line for line in daemon.lines)


def test_a_socket_that_fits_no_listener_is_closed_and_said(scene):
    sockets = [bound(scene, socket.SOCK_STREAM, 8099), bound(scene, socket.SOCK_STREAM, 8080)]
    with activated(scene, sections(dns=False, web=BY_ADDRESS), IN, sockets) as daemon:
        for sock in sockets:
            sock.close()
        daemon.wait_log(r"handed over fit no listener.*n=1")
        assert exchange(scene.dial(), b"GARBAGE\r\n\r\n").status == 400
        with pytest.raises(ConnectionRefusedError):
            scene.dial(port=8099)


def test_sockets_meant_for_another_process_are_left_alone(scene):
    sockets = [bound(scene, socket.SOCK_STREAM, 8099)]
    with activated(scene, sections(dns=False, web=BY_ADDRESS), IN, sockets, whose="theirs") as daemon:
        sockets[0].close()
        assert exchange(scene.dial(), b"GARBAGE\r\n\r\n").status == 400
        assert not any("handed over" in line for line in daemon.lines)


# the files

def test_exposure_is_low(tmp_path):
    shutil.copy(UNITS / "ukai.service", tmp_path)
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", tmp_path / "ukai.service"],
                          capture_output=True, text=True)
    level = re.search(r"exposure level for ukai.service: ([0-9.]+)", done.stdout + done.stderr)
    assert level and float(level[1]) <= 1.6, done.stdout


def test_unit_has_no_word_that_systemd_does_not_know(tmp_path):
    unit = (UNITS / "ukai.service").read_text().replace("/usr/sbin/ukai", "/bin/true")
    unit = re.sub(r"(?m)^Documentation=.*\n", "", unit)
    (tmp_path / "ukai.service").write_text(unit)
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / "ukai.service"], capture_output=True, text=True)
    about_us = [line for line in (done.stdout + done.stderr).splitlines() if "ukai.service" in line]
    assert not about_us, about_us


def test_user_and_directories_can_be_made_from_the_files(tmp_path):
    (tmp_path / "etc").mkdir()
    for tool, option, name in (("systemd-sysusers", "sysusers.d", "ukai.sysusers"),
                               ("systemd-tmpfiles", "tmpfiles.d", "ukai.tmpfiles")):
        command = [tool, f"--root={tmp_path}", UNITS / name]
        if tool == "systemd-tmpfiles":
            (tmp_path / "etc/group").write_text((tmp_path / "etc/group").read_text() + "adm:x:4:\n")
            command.insert(1, "--create")
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "ukai:x:" in (tmp_path / "etc/passwd").read_text()
    assert {p.name for p in (tmp_path / "var").rglob("ukai")} == {"ukai"} and (tmp_path / "run/ukai").is_dir()


def test_logrotate_takes_the_file(tmp_path):
    text = (UNITS / "ukai.logrotate").read_text().replace("0640 ukai adm", "0640 nobody adm")
    (tmp_path / "ukai").write_text(text)
    (tmp_path / "ukai").chmod(0o644)
    done = subprocess.run(["logrotate", "--debug", "--state", "/dev/null", tmp_path / "ukai"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr
