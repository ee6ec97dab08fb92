"""A machine that runs short or is set anew under a daemon at work: address space, local ports, clocks, routes
(O04, O11, O14, O17); and the most
rules that the manual speaks of (G25)."""
import os
import pathlib
import re
import resource
import signal
import subprocess
import time

import pytest

from client import exchange, open_tunnel, read_exactly, reset, whole_head
from daemon import ACL, SANITIZER_DIR, Ukai, sections
from dnswire import Message, query
from faults import Faults
from scene import ECHO, ORIGIN, OUTER_GATE, SCRIPTED, wait_until

TARGET = f"{ECHO}:443"
YEAR_S = 365 * 24 * 3600


def connect(scene, target=TARGET):
    sock = scene.dial()
    return sock, exchange(sock, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode(), stop=whole_head)


def echoes(sock):
    sock.sendall(b"still there")
    return read_exactly(sock, 11) == b"still there"


# O04

@pytest.mark.skipif(bool(SANITIZER_DIR), reason="the sanitizers take address space by the terabyte")
def test_O04_five_megabytes_left(scene):
    room = 5 << 20
    config = sections(dns=False, timeouts={"head": "20s"}, process={"workers": "1"})
    with Ukai(scene, config, ACL, env={"MALLOC_ARENA_MAX": "1"}) as daemon:  # no arena of 64 MB in reserve
        old = [connect(scene)[0] for _ in range(10)]
        with open(f"/proc/{daemon.pid}/status", encoding="ascii") as status:
            size = int(re.search(r"VmSize:\s+(\d+) kB", status.read())[1]) * 1024
        resource.prlimit(daemon.pid, resource.RLIMIT_AS, (size + room, resource.RLIM_INFINITY))
        greedy, refusals = [], []
        while len(greedy) < 1000 and len(refusals) < 3:
            greedy.append(scene.dial())
            greedy[-1].sendall(f"CONNECT {TARGET} HTTP/1.1\r\nX: ".encode() + b"x" * 30000)
            sock, reply = connect(scene)
            sock.close()
            refusals += [reply] * (reply.status != 200)
        assert 50 < len(greedy) < 1000 and {reply.status for reply in refusals} <= {None, 503}, refusals
        assert refusals[0].status == 503 and refusals[0].field("retry-after")
        assert all(echoes(sock) for sock in old)
        for sock in greedy:
            sock.close()
        wait_until(lambda: connect(scene)[1].status == 200)
        assert all(echoes(sock) for sock in old)


# O11

class Clocked:
    """What would notice a clock that jumps: a limit, a cached answer, an idle tunnel."""

    def __init__(self, scene):
        self.scene, self.name = scene, scene.name(a=[ORIGIN], ttl=600)
        self.tunnel = connect(scene)[0]
        self.ttl = self.ask()

    def ask(self):
        with self.scene.udp() as sock:
            sock.send(query(self.name))
            message = Message(sock.recv(4096))
        assert message.addresses() == [ORIGIN]
        return message.answers[0][3]

    def is_unmoved(self):
        assert echoes(self.tunnel)
        assert self.ttl - 60 <= self.ask() <= self.ttl and self.scene.dns.entries[self.name].n_asked == 1
        assert connect(self.scene)[1].status == 200
        with self.scene.dial() as sock:  # in its second, neither at once nor never
            began = time.monotonic()
            reply = exchange(sock, b"CONNECT h", deadline_s=8)
            assert reply.status == 408 and 0.9 < time.monotonic() - began < 6


def clock_config():
    return sections(SCRIPTED, timeouts={"head": "1s"}, process={"workers": "1"})


@pytest.mark.skipif(bool(SANITIZER_DIR), reason="preloading")
def test_O11_wall_clock_a_year_ahead_and_back(scene):
    daemon = Ukai(scene, clock_config(), ACL)
    faults = Faults(daemon.dir)
    daemon.prefix = faults.prefix
    with daemon:
        clocked = Clocked(scene)
        for years in (1, -1, 0):
            faults.shift_wall_clock(years * YEAR_S)
            mark = daemon.mark()
            clocked.is_unmoved()
            record = daemon.record(mark, lambda r: r["status"] == 408)
            assert abs(record["ts"] - (time.time() + years * YEAR_S)) < 120, "records tell the clock on the wall"


# A monotonic clock past 2^31 s and 2^41 ms.
HIGH_CLOCK = ["unshare", "--time", "--monotonic", "3000000000", "--boottime", "3000000000"]
HAS_TIME_NAMESPACES = subprocess.run([*HIGH_CLOCK, "true"], stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(not HAS_TIME_NAMESPACES, reason="a kernel without time namespaces")
def test_O11_monotonic_clock_starts_high(scene):
    daemon = Ukai(scene, clock_config(), ACL)
    daemon.prefix = HIGH_CLOCK
    with daemon:
        Clocked(scene).is_unmoved()


# O07

@pytest.mark.skipif(bool(SANITIZER_DIR), reason="preloading")
def test_O07_stopped_for_a_minute(scene):
    """Whatever was due in that time is done once, and then it is quiet: timers do not come in a storm."""
    daemon = Ukai(scene, clock_config(), ACL)
    faults = Faults(daemon.dir)
    daemon.prefix = faults.prefix
    with daemon:
        tunnels = [connect(scene)[0] for _ in range(200)]
        late = scene.dial(timeout=5)
        late.sendall(b"CONNECT h")  # due within a second
        os.kill(daemon.pid, signal.SIGSTOP)
        faults.shift_steady_clock(60)
        faults.shift_wall_clock(60)
        before = daemon.cpu_seconds()
        os.kill(daemon.pid, signal.SIGCONT)
        assert connect(scene)[1].status == 200, "and so it looks at its clock"
        assert b" 408 " in late.recv(4096)
        assert all(echoes(tunnel) for tunnel in tunnels)
        waits = int(re.search(r"voluntary_ctxt_switches:\s+(\d+)", pathlib.Path(f"/proc/{daemon.pid}/status").read_text())[1])
        time.sleep(2)  # what a storm would fill
        after = int(re.search(r"voluntary_ctxt_switches:\s+(\d+)", pathlib.Path(f"/proc/{daemon.pid}/status").read_text())[1])
        assert daemon.cpu_seconds() - before < 0.5 and after - waits < 200, (daemon.cpu_seconds() - before, after - waits)


# O14

def test_O14_no_local_port_is_left(scene):
    config = sections(dns=False, admin={"listen": "192.168.1.254:9090", "allow": "192.168.1.10"}, process={"workers": "1"})
    with scene.router:
        before = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    scene.router.sysctl(net__ipv4__ip_local_port_range="40000 40007")

    def n_refused():
        text = exchange(scene.dial(port=9090), b"GET /metrics HTTP/1.1\r\nHost: 192.168.1.254\r\n\r\n").body.decode()
        return int((re.search(r'ukai_connections_total\{listener="lan",result="limit"\} (\d+)', text) or [0, 0])[1])

    try:
        with Ukai(scene, config, ACL) as daemon:
            open_ones = [connect(scene)[0] for _ in range(8)]
            sock, reply = connect(scene)
            assert reply.status == 503 and reply.field("retry-after"), reply
            sock.close()
            wait_until(lambda: n_refused() == 1, what="the count of it")
            assert connect(scene, f"{ORIGIN}:443")[1].status == 200, "another target has its own"
            assert all(echoes(sock) for sock in open_ones)
            assert daemon.record(0, lambda r: r["status"] == 503)["error"] == "limit"
            reset(open_ones.pop())  # an end in order would keep the port for a minute
            wait_until(lambda: connect(scene)[1].status == 200)
    finally:
        scene.router.sysctl(net__ipv4__ip_local_port_range=before)


# O17

def test_O17_an_address_goes_and_comes_back(scene):
    """The rest is served meanwhile, and what is said of it is said once."""
    config = sections(dns=False, web={"listen-network": "192.168.1.254, 192.168.1.252"})
    scene.router.ip("addr add 192.168.1.252/24 dev lan0\n")
    try:
        with Ukai(scene, config, ACL) as daemon:
            old = connect(scene)[0]
            mark = len(daemon.lines)
            scene.router.ip("addr del 192.168.1.252/24 dev lan0\n")
            assert connect(scene)[1].status == 200 and echoes(old)
            scene.router.ip("addr add 192.168.1.252/24 dev lan0\n")
            open_tunnel(scene.dial(to="192.168.1.252"), TARGET)
            assert echoes(old)
            assert len([line for line in daemon.lines[mark:] if "level=info" not in line]) <= 2, daemon.lines[mark:]
    finally:
        scene.close_clients()
        scene.router.ip("addr del 192.168.1.252/24 dev lan0\n")


def test_O17_the_route_flaps(scene):
    far = "198.51.100.190:443"
    with Ukai(scene, sections(dns=False, web={"bypass-network": None}), ACL) as daemon:
        near, mark = connect(scene)[0], len(daemon.lines)
        for _ in range(5):
            scene.router.ip("route del default\n")
            reply = connect(scene, far)[1]
            assert reply.status == 502 and "destination_ip_unroutable" in reply.field("proxy-status"), reply
            scene.router.ip(f"route add default via {OUTER_GATE}\n")
            assert connect(scene, far)[1].status == 200 and echoes(near)
        assert len([line for line in daemon.lines[mark:] if "level=info" not in line]) <= 2, daemon.lines[mark:]


def test_O17_the_interface_goes_down_and_up(scene):
    with Ukai(scene, sections(dns=False), ACL) as daemon:
        old, mark = connect(scene)[0], len(daemon.lines)
        for _ in range(3):
            scene.router.ip("link set lan0 down\n")
            scene.router.ip("link set lan0 up\n")
        assert echoes(old), "a tunnel outlives that"
        assert connect(scene)[1].status == 200
        assert len([line for line in daemon.lines[mark:] if "level=info" not in line]) <= 2, daemon.lines[mark:]


# G25

@pytest.mark.skipif(bool(SANITIZER_DIR), reason="a matter of time and memory")
def test_G25_a_million_rules(scene):
    """Read by a reload, while tunnels go on; the bound of ukai-acl(5) with room for a slow machine."""
    rules = "".join(f"tcp {1 + n % 65000} = 10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(1_000_000))
    with Ukai(scene, sections(dns=False, process={"last-good": "off"}), ACL) as daemon:
        sock, before = connect(scene)[0], daemon.rss_bytes()
        daemon.write(acl=ACL + rules + "tcp 8080 = 192.168.1.30\n")
        mark, began = len(daemon.lines), time.monotonic()
        daemon.signal(signal.SIGHUP)
        while not any("msg=reloaded" in line for line in daemon.lines[mark:]):
            assert echoes(sock) and time.monotonic() - began < 20, daemon.lines[mark:]
            time.sleep(0.02)
        assert daemon.rss_bytes() - before < 400 << 20
        open_tunnel(scene.dial(scene.host30), TARGET)
        assert echoes(sock)
        daemon.reload(acl=ACL)
