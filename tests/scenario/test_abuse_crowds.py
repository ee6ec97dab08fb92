"""Many at once: more than there are descriptors, slow ones, ones that leave at once, one that wants everything (O01, O12, O13, O15)."""
import resource
import signal
import socket
import struct
import subprocess
import time

import pytest

from client import exchange, open_tunnel, read_exactly, reset, whole_head
from daemon import SANITIZER_DIR, Ukai, sections
from netns import CLEAN_ENV
from scene import ECHO, LAN_ROUTER, ORIGIN, wait_until

TARGET = f"{ECHO}:443"
ACL = "[in]\ntcp 8080 = 192.168.1.10 ; first\ntcp 8080 = 192.168.1.20 ; second\n"


@pytest.fixture(scope="module", autouse=True)
def many_sockets():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def config(**changes):
    changes.setdefault("process", {}).setdefault("nofile", "16384")
    return sections(dns=False, **changes)


def tunnel(scene, host=None):
    sock = scene.dial(host)
    open_tunnel(sock, TARGET)
    return sock


def echoes(sock):
    sock.sendall(b"still there")
    return read_exactly(sock, 11) == b"still there"


def test_O01_more_clients_than_descriptors(scene):
    daemon = Ukai(scene, config(process={"nofile": "auto"}, limits={"max-clients": "1000"}), ACL)
    daemon.prefix = ["prlimit", "--nofile=64:64"]
    with daemon:
        mine = [tunnel(scene) for _ in range(5)]
        crowd = [scene.dial(scene.host20) for _ in range(200)]
        wait_until(lambda: len(daemon.links()) >= 60, what="descriptors used up")
        spent, began = daemon.cpu_seconds(), time.monotonic()
        while time.monotonic() < began + 1:
            assert all(echoes(sock) for sock in mine)
            time.sleep(0.1)
        spent = daemon.cpu_seconds() - spent
        assert spent < 0.3, f"{spent} s of CPU in one second"
        for sock in crowd:
            sock.close()
        began = time.monotonic()
        tunnel(scene)
        took = time.monotonic() - began
        assert took < (3 if SANITIZER_DIR else 1), took
        assert all(echoes(sock) for sock in mine)


def test_O12_slowhttptest(scene):
    """Its four kinds side by side, 500 connections each, from one host; the other is served as ever."""
    (scene.www / "large").write_bytes(b"x" * (1 << 20))
    a_second, seconds = 200, 2
    kinds = {"-H": "hello", "-B": "hello", "-R": "hello", "-X": "large"}
    with Ukai(scene, config(limits={"per-source-rate": str(a_second)}, timeouts={"head": "2s"}), ACL) as daemon:
        before, most = daemon.n_fds(), 0
        crowd = [scene.host20.popen(["slowhttptest", kind, "-c", 500, "-r", 500, "-i", 1, "-l", seconds, "-d", f"{LAN_ROUTER}:8080",
                                     "-u", f"http://{ORIGIN}/{path}"], env=CLEAN_ENV, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for kind, path in kinds.items()]
        n_served = 0
        while any(process.poll() is None for process in crowd):
            began = time.monotonic()
            with scene.dial() as sock:
                reply = exchange(sock, f"GET http://{ORIGIN}/hello HTTP/1.1\r\nHost: {ORIGIN}\r\nConnection: close\r\n\r\n".encode())
            assert reply.status == 200 and time.monotonic() - began < 2, reply
            n_served, most = n_served + 1, max(most, daemon.n_fds())
            time.sleep(0.02)
        records = daemon.records()
        assert n_served > 20 and {r["src"] for r in records if r.get("status") == 429} == {"192.168.1.20"}
        assert before + 50 < most < before + 2 * a_second * (seconds + 2), f"{most} descriptors"


def test_O13_connect_and_reset(scene):
    with Ukai(scene, config(), ACL) as daemon:
        mine = tunnel(scene)
        before = daemon.n_fds()
        with scene.host20:
            for n in range(10_000):
                sock = socket.socket()
                sock.connect((LAN_ROUTER, 8080))
                if n % 3 == 0:
                    sock.send(b"CONNECT h")
                reset(sock)
        assert echoes(mine)
        wait_until(lambda: daemon.n_fds() <= before + 4, what=lambda: f"{daemon.n_fds()} descriptors, {before} before")
        # Reset while they wait in the backlog.
        daemon.signal(signal.SIGSTOP)
        crowd = []
        with scene.host20:
            for _ in range(3000):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex((LAN_ROUTER, 8080))
                crowd.append(sock)
        for sock in crowd:
            reset(sock)
        daemon.signal(signal.SIGCONT)
        assert echoes(mine) and echoes(tunnel(scene))
        wait_until(lambda: daemon.n_fds() <= before + 8)


def syn(source, port):
    """A TCP SYN to the proxy's port, IPv4 header and all."""
    address = socket.inet_aton(source), socket.inet_aton(LAN_ROUTER)
    tcp = struct.pack("!HHIIBBHHH", port, 8080, port * 65536, 0, 5 << 4, 2, 65535, 0, 0)
    words = struct.unpack("!16H", address[0] + address[1] + struct.pack("!HH", 6, len(tcp)) + tcp)
    total = sum(words)
    total = (total & 0xffff) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xffff
    tcp = tcp[:16] + struct.pack("!H", checksum) + tcp[18:]
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, *address) + tcp


def n_cookies(space):
    with space, open("/proc/thread-self/net/netstat", encoding="ascii") as file:
        names, values = [line.split() for line in file if line.startswith("TcpExt:")]
    return int(values[names.index("SyncookiesSent")])


def test_O13_syns_beyond_the_backlog(scene):
    """From addresses that never answer; 12,000, and the backlogs of two workers hold 4,096 each."""
    with Ukai(scene, config(), ACL) as daemon:
        mine, before = tunnel(scene), n_cookies(scene.router)
        with scene.host20.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            for n in range(12_000):
                raw.sendto(syn(f"192.168.1.{100 + n % 100}", 1024 + n), (LAN_ROUTER, 0))
        assert n_cookies(scene.router) > before, "the backlog was not full"
        assert echoes(mine) and echoes(tunnel(scene))
        assert daemon.cpu_seconds() < 5


def test_O15_one_client_wants_five_thousand(scene):
    cap = 50
    with Ukai(scene, config(limits={"per-source-tunnels": str(cap)}), ACL) as daemon:
        mine = tunnel(scene)
        statuses, crowd = [], []
        with scene.host20:
            for _ in range(5000):
                sock = socket.create_connection((LAN_ROUTER, 8080), timeout=10)
                sock.sendall(f"CONNECT {TARGET} HTTP/1.1\r\n\r\n".encode())
                crowd.append(sock)
        for sock in crowd:
            statuses.append(sock.recv(4096)[9:12])
        assert statuses.count(b"200") == cap and set(statuses) == {b"200", b"429"}
        assert echoes(mine) and echoes(tunnel(scene))
        for sock in crowd:
            sock.close()
        wait_until(lambda: exchange(scene.dial(scene.host20), f"CONNECT {TARGET} HTTP/1.1\r\n\r\n".encode(), stop=whole_head).status == 200)
