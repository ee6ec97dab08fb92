"""[limits] of one source: how many tunnels, how many connections a second, how many bytes a second."""
import json
import pathlib
import random
import re
import socket
import struct
import threading
import time

import pytest

from client import exchange, expect_refused, whole_head
from daemon import Ukai, run_tool, sections
from scene import ECHO, LAN_ROUTER6, wait_until

IN = "[in]\ntcp 8080 = 192.168.1.10\ntcp 8080 = 192.168.1.20\ntcp 8080 = 2001:db8:1::/48\n"
TARGET = f"{ECHO}:443"


def config(**limits):
    return sections(dns=False, limits=limits)


def connect(scene, host=None, source=None, to=None, target=TARGET):
    sock = scene.dial(host, to=to, source=source)
    return sock, exchange(sock, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode(), stop=whole_head)


def opened(scene, *args, **kwargs):
    sock, reply = connect(scene, *args, **kwargs)
    assert reply.status == 200, reply
    return sock


def refused(scene, *args, **kwargs):
    sock = scene.dial(*args)
    reply = exchange(sock, f"CONNECT {TARGET} HTTP/1.1\r\n\r\n".encode())
    expect_refused(reply, 429, proxy_status="connection_limit_reached")
    assert int(reply.field("retry-after")) > 0, reply
    return reply


def status(daemon):
    done = run_tool("status", "-c", daemon.conf_path, "--json")
    assert done.returncode == 0, done.out
    return json.loads(done.out)


def is_alive(sock):
    sock.sendall(b"ping")
    got = b""
    while len(got) < 4:
        more = sock.recv(4 - len(got))
        assert more
        got += more
    return got == b"ping"


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# tunnels

def test_one_tunnel_too_many(scene):
    with Ukai(scene, config(per_source_tunnels="3")) as daemon:
        mark = daemon.mark()
        mine = [opened(scene) for _ in range(3)]
        refused(scene)
        opened(scene, scene.host20)
        assert all(is_alive(sock) for sock in mine)
        record = daemon.record(mark, lambda r: r["status"] == 429)
        assert record["error"] == "source_limit" and record["src"] == "192.168.1.10"
        sources = status(daemon)["sources"]
        assert (sources["now"], sources["busiest"], sources["busiest_tunnels"]) == (2, "192.168.1.10", 3)
        assert "192.168.1.10 has 3 tunnels, at most 3 tunnels each" in run_tool("status", "-c", daemon.conf_path).out
        mine.pop().close()
        wait_until(lambda: connect(scene)[1].status == 200, what="a tunnel in place of the closed one")


def test_curl_is_told_and_comes_back(scene):
    with Ukai(scene, config(per_source_tunnels="1")) as daemon:
        mine = opened(scene)
        command = ["curl", "-sS", "-o", "/dev/null", "--max-time", "20", "-w", "%{http_connect} %{http_code}", "-x",
                   "http://192.168.1.254:8080", "--cacert", scene.ca, "--noproxy", "",
                   "https://agents.deepsecurity.trendmicro.com/hello"]
        done = scene.host10.run(command)
        assert done.returncode == 56 and done.stdout.startswith("429"), done
        other = scene.host20.run(command)
        assert (other.returncode, other.stdout) == (0, "200 200"), other
        mine.close()
        wait_until(lambda: status(daemon)["sources"]["now"] == 0)
        done = scene.host10.run(command)
        assert (done.returncode, done.stdout) == (0, "200 200"), done


def test_those_that_are_set_up_count(scene):
    with Ukai(scene, sections(name_server="203.0.113.250", dns=False, limits={"per-source-tunnels": "1"})) as daemon:
        slow = scene.dial()
        slow.sendall(b"CONNECT nobody.answers.example:443 HTTP/1.1\r\n\r\n")
        wait_until(lambda: status(daemon)["sources"]["busiest_tunnels"] == 1)
        refused(scene)
        slow.close()
        wait_until(lambda: status(daemon)["sources"]["now"] == 0)
        opened(scene)


@pytest.mark.parametrize("one, same, other", [("2001:db8:1::10", "2001:db8:1::ffff", "2001:db8:1:1::10")])
def test_O15_ipv6_counts_a_64(scene, one, same, other):
    for address in (same, other):
        scene.host10.ip(f"addr add {address}/48 dev eth0 nodad")
    scene.router.ip("route add 2001:db8:1:1::/64 dev lan0")
    try:
        with Ukai(scene, config(per_source_tunnels="1"), IN) as daemon:
            opened(scene, to=LAN_ROUTER6, source=(one, 0))
            assert connect(scene, to=LAN_ROUTER6, source=(same, 0))[1].status == 429
            opened(scene, to=LAN_ROUTER6, source=(other, 0))
            assert status(daemon)["sources"]["now"] == 2
    finally:
        scene.router.ip("route del 2001:db8:1:1::/64 dev lan0")
        for address in (same, other):
            scene.host10.ip(f"addr del {address}/48 dev eth0")


def test_no_end_leaks(scene):
    """A thousand connections that end in every state and way; nothing is left of any."""
    rng = random.Random(7)
    with Ukai(scene, config(per_source_tunnels="60", per_source_bandwidth="64M")) as daemon:
        for turn in range(1000):
            sock = scene.dial(rng.choice([scene.host10, scene.host20]))
            kind = turn % 10
            head = f"CONNECT {TARGET} HTTP/1.1\r\n\r\n".encode()
            if kind == 0:
                sock.sendall(head[:rng.randrange(1, len(head))])
            elif kind == 1:
                sock.sendall(head)
            elif kind == 2:
                sock.sendall(b"CONNECT nobody.answers.example:443 HTTP/1.1\r\n\r\n")
            elif kind == 3:
                sock.sendall(b"CONNECT 203.0.113.251:443 HTTP/1.1\r\n\r\n")
            elif kind == 4:
                sock.sendall(b"CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n")
            elif kind == 5:
                sock.sendall(b"GET http://203.0.113.10/hello HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            else:
                exchange(sock, head, stop=whole_head)
                sock.sendall(b"x" * rng.randrange(1, 300000) if kind < 8 else b"x")
                if kind == 9:
                    sock.shutdown(socket.SHUT_WR)
            if turn % 100 == 50:
                run_tool("kill", "-c", daemon.conf_path, "192.168.1.10")
            if rng.random() < 0.5:
                reset(sock)
            else:
                sock.close()
        wait_until(lambda: status(daemon)["traffic"]["clients"] == 0, deadline_s=40)
        now = status(daemon)
        assert (now["sources"]["now"], now["sources"]["busiest_tunnels"], now["traffic"]["tunnels"]) == (0, 0, 0)


def test_reload_lowers_and_raises(scene):
    with Ukai(scene, config(per_source_tunnels="4")) as daemon:
        mine = [opened(scene) for _ in range(4)]
        daemon.reload(config=config(per_source_tunnels="2"))
        assert all(is_alive(sock) for sock in mine)
        for sock in mine[:2]:
            sock.close()
        wait_until(lambda: status(daemon)["sources"]["busiest_tunnels"] == 2)
        refused(scene)
        daemon.reload(config=config(per_source_tunnels="3"))
        opened(scene)
        refused(scene)


def test_reload_counts_what_is_open_already(scene):
    with Ukai(scene, config()) as daemon:
        mine = [opened(scene) for _ in range(3)]
        assert status(daemon)["sources"]["now"] == 0
        daemon.reload(config=config(per_source_tunnels="3"))
        wait_until(lambda: status(daemon)["sources"]["busiest_tunnels"] == 3)
        refused(scene)
        daemon.reload(config=config())
        mine += [opened(scene) for _ in range(3)]
        assert all(is_alive(sock) for sock in mine)


# all of them

def test_the_memory_budget_is_told_when_it_changes(scene):
    def of(**limits):
        return sections(dns=False, limits=limits)

    with Ukai(scene, of(**{"max-clients": "1000"})) as daemon:
        first = daemon.wait_log(r"memory budget. idle_mib=\d+ most_mib=\d+")
        mark = len(daemon.lines)
        daemon.reload()
        daemon.wait_log("msg=reloaded", since=mark)
        assert not any("memory budget" in line for line in daemon.lines[mark:]), "nothing has changed"
        daemon.reload(config=of(**{"max-clients": "4000"}))
        assert daemon.wait_log("memory budget", since=mark) != first


@pytest.mark.parametrize("how, nofile", [("key", 256), ("key", 1024), ("key", 4096), ("key", 16000), ("limit", 1024), ("limit", 4096)])
def test_the_caps_follow_the_limit_of_open_files(scene, how, nofile):
    """By the key nofile, or by the limit that the process was given: half of what the reserve leaves, said at the start with
    what memory that may need, and shown by status."""
    daemon = Ukai(scene, sections(dns=False, process={"nofile": str(nofile)} if how == "key" else {}))
    if how == "limit":
        daemon.prefix = ["prlimit", f"--nofile={nofile}:{nofile}"]
    with daemon:
        said = dict(re.findall(r"(\w+)=(\d+)", daemon.wait_log(r"\bmsg=ready\b")))
        kept = min(max(nofile // 32, 8), 256)
        clients = max((nofile - 96 - 2 * (64 + kept)) // 2, 32)
        assert int(said["nofile"]) == nofile and int(said["max_clients"]) == int(said["max_tunnels"]) == clients
        assert status(daemon)["max_clients"] == status(daemon)["max_tunnels"] == clients
        assert re.search(rf"Max open files\s+{nofile}\s", pathlib.Path(f"/proc/{daemon.pid}/limits").read_text())
        budget = dict(re.findall(r"(\w+)=(\d+)", daemon.wait_log("memory budget")))
        fixed = 2 + 4  # MiB: two workers, and the cache without a [dns]
        assert int(budget["idle_mib"]) == (clients * 1024 + (fixed << 20)) >> 20
        assert int(budget["idle_mib"]) < int(budget["most_mib"]) and int(budget["cache_mib"]) == 4


def test_more_clients_than_open_files_are_warned_of(scene):
    with Ukai(scene, sections(dns=False, process={"nofile": "1024"}, limits={"max-clients": "5000"})) as daemon:
        assert "max_clients=5000 fits=368 nofile=1024" in daemon.wait_log("max-clients needs more open files")
        assert "max_clients=5000 max_tunnels=368" in daemon.wait_log(r"\bmsg=ready\b")


@pytest.mark.parametrize("key", ["max-clients", "max-tunnels"])
def test_caps_of_all(scene, key):
    """503 beyond; open ones stay over a reload that lowers the cap; one that closes makes room."""
    def of(n):
        return sections(dns=False, limits={key: str(n)})

    with Ukai(scene, of(3)) as daemon:
        daemon.wait_log(r"memory budget. idle_mib=\d+ most_mib=\d+")
        mine = [opened(scene) for _ in range(3)]
        reply = exchange(scene.dial(scene.host20), f"CONNECT {TARGET} HTTP/1.1\r\n\r\n".encode())
        expect_refused(reply, 503, proxy_status="connection_limit_reached")
        assert int(reply.field("retry-after")) > 0
        daemon.reload(config=of(1))
        assert all(is_alive(sock) for sock in mine)
        mine.pop().close()
        wait_until(lambda: status(daemon)["traffic"]["tunnels"] == 2)
        wait_until(lambda: connect(scene, scene.host20)[1].status == 503)
        daemon.reload(config=of(4))
        wait_until(lambda: connect(scene, scene.host20)[1].status == 200)


# new connections a second

def test_rate(scene):
    """Of many at once a second's worth is served; as many again are answered, the rest are closed."""
    with Ukai(scene, config(per_source_rate="10")) as daemon:
        begin = time.monotonic()
        replies = []
        for _ in range(60):
            sock = scene.dial()
            replies.append(exchange(sock, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"))
        took = time.monotonic() - begin
        served = sum(r.status == 200 for r in replies)
        told = [r for r in replies if r.status == 429]
        silent = sum(r.status is None for r in replies)
        assert 10 <= served <= 10 + 10 * took + 1 and served + len(told) + silent == 60
        assert 10 <= len(told) <= 10 + 10 * took + 1
        for reply in told:
            assert reply.field("retry-after") == "1" and reply.end == "fin"
        assert exchange(scene.dial(scene.host20), b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
        wait_until(lambda: exchange(scene.dial(), b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status == 200)
        wait_until(lambda: status(daemon)["traffic"]["clients"] == 0)


def test_rate_flood_is_sampled(scene):
    """Fifty refusals a second are recorded, whether they were answered or not; the others are counted."""
    with Ukai(scene, config(per_source_rate="100")) as daemon:
        mark, since, begin = daemon.mark(), len(daemon.lines), time.monotonic()
        for _ in range(400):
            scene.dial().close()
        daemon.wait_log("refusals not recorded one by one", since)
        wait_until(lambda: status(daemon)["traffic"]["clients"] == 0)
        n = sum(r.get("error") == "source_limit" for r in daemon.records_since(mark))
        assert 0 < n <= 50 * (time.monotonic() - begin + 1), n


def test_rate_does_not_count_requests(scene):
    with Ukai(scene, config(per_source_rate="1")):
        sock = scene.dial()
        for _ in range(5):
            reply = exchange(sock, b"GET http://203.0.113.10/hello HTTP/1.1\r\nHost: 203.0.113.10\r\n\r\n",
                             stop=lambda raw: raw.endswith(b"origin\n"))
            assert reply.status == 200, reply


# bytes a second: limits are tested by the least time that they leave, and by a very generous most

MIB = 1 << 20
BURST_S = 0.1


def in_time(took, n_bytes, rate):
    """Not faster than the limit, and not much slower: the machine may be busy."""
    least = n_bytes / rate - BURST_S
    assert least * 0.97 <= took <= least * 1.15 + 2, f"{took:.2f} s, at least {least:.2f} s for {n_bytes} bytes"


def far_tunnel(scene, host=None, rcvbuf=None):
    """A tunnel to a fresh origin; both ends are the test's."""
    listener = scene.origin()
    near = opened(scene, host, target=f"{listener.getsockname()[0]}:443")
    far = scene.accept(listener)
    return near, far


def pour(sock, n_bytes):
    def run():
        try:
            sock.sendall(bytes(n_bytes))
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    sock.settimeout(60)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def drain(sock, n_bytes, counts=None, index=0):
    sock.settimeout(60)
    got = 0
    while got < n_bytes:
        piece = sock.recv(min(1 << 18, n_bytes - got))
        assert piece, f"ended after {got} of {n_bytes}"
        got += len(piece)
        if counts is not None:
            counts[index] = got


@pytest.mark.parametrize("mode", ["adaptive", "copy", "splice", "switch"])
@pytest.mark.parametrize("way", ["down", "up"])
def test_bandwidth_of_a_tunnel(scene, mode, way):
    args = () if mode == "adaptive" else ("--test-relay", mode)
    with Ukai(scene, config(per_source_bandwidth="2M"), args=args):
        near, far = far_tunnel(scene)
        source, sink = (far, near) if way == "down" else (near, far)
        begin = time.monotonic()
        pour(source, 5 * MIB)
        drain(sink, 5 * MIB)
        in_time(time.monotonic() - begin, 5 * MIB, 2 * MIB)
        assert sink.recv(1) == b""  # its FIN
        sink.sendall(b"and back")
        assert source.recv(8) == b"and back"


def test_bandwidth_is_of_both_directions(scene):
    with Ukai(scene, config(per_source_bandwidth="2M")):
        near, far = far_tunnel(scene)
        begin = time.monotonic()
        pour(near, 3 * MIB)
        pour(far, 3 * MIB)
        counts = [0, 0]
        thread = threading.Thread(target=drain, args=(near, 3 * MIB, counts, 0))
        thread.start()
        drain(far, 3 * MIB, counts, 1)
        thread.join()
        assert counts == [3 * MIB, 3 * MIB]
        in_time(time.monotonic() - begin, 6 * MIB, 2 * MIB)


def test_tunnels_of_a_source_share_and_others_are_not_slowed(scene):
    with Ukai(scene, config(per_source_bandwidth="2M")):
        counts, threads = [0] * 4, []
        pairs = [far_tunnel(scene) for _ in range(4)]
        begin = time.monotonic()
        for index, (near, far) in enumerate(pairs):
            pour(far, 40 * MIB)
            threads.append(threading.Thread(target=lambda n=near, i=index: _until_closed(n, counts, i), daemon=True))
            threads[-1].start()
        near, far = far_tunnel(scene, scene.host20)
        alone = time.monotonic()
        pour(far, 3 * MIB)
        drain(near, 3 * MIB)
        in_time(time.monotonic() - alone, 3 * MIB, 2 * MIB)
        wait_until(lambda: sum(counts) > 6 * MIB, deadline_s=30)
        now, took = list(counts), time.monotonic() - begin
        assert sum(now) <= (took + BURST_S) * 2 * MIB * 1.03 + 4 * 65536
        assert min(now) > 0.7 * sum(now) / 4 and max(now) < 1.3 * sum(now) / 4, now
        for near, far in pairs:
            reset(far)
            reset(near)


def _until_closed(sock, counts, index):
    sock.settimeout(60)
    try:
        while piece := sock.recv(1 << 16):
            counts[index] += len(piece)
    except OSError:
        pass


@pytest.mark.parametrize("kind", ["length", "chunked", "close"])
def test_bandwidth_of_plain_answers(scene, kind):
    listener = scene.origin(80)
    with Ukai(scene, config(per_source_bandwidth="2M")):
        sock = scene.dial()
        host = listener.getsockname()[0]
        sock.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        far = scene.accept(listener)
        exchange(far, b"", stop=whole_head)
        head = {"length": f"Content-Length: {4 * MIB}\r\n", "chunked": "Transfer-Encoding: chunked\r\n",
                "close": "Connection: close\r\n"}[kind]
        begin = time.monotonic()
        body = b"10000\r\n" + bytes(65536) + b"\r\n" if kind == "chunked" else bytes(65536)

        def serve():
            far.settimeout(60)
            far.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
            for _ in range(64):
                far.sendall(body)
            if kind == "chunked":
                far.sendall(b"0\r\n\r\n")
            if kind == "close":
                far.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        drain(sock, 4 * MIB)
        in_time(time.monotonic() - begin, 4 * MIB, 2 * MIB)


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_bandwidth_of_plain_requests(scene, kind):
    listener = scene.origin(80)
    with Ukai(scene, config(per_source_bandwidth="2M")):
        sock = scene.dial(timeout=60)
        host = listener.getsockname()[0]
        head = {"length": f"Content-Length: {4 * MIB}\r\n", "chunked": "Transfer-Encoding: chunked\r\n"}[kind]
        sock.sendall(f"POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{head}\r\n".encode())
        body = b"10000\r\n" + bytes(65536) + b"\r\n" if kind == "chunked" else bytes(65536)
        begin = time.monotonic()
        threading.Thread(target=lambda: [sock.sendall(body) for _ in range(64)], daemon=True).start()
        drain(scene.accept(listener), 4 * MIB)
        in_time(time.monotonic() - begin, 4 * MIB, 2 * MIB)


def test_bandwidth_by_many_short_tunnels(scene):
    """Closing and coming again brings no new allowance."""
    with Ukai(scene, config(per_source_bandwidth="256K")) as daemon:
        begin, n_bytes = time.monotonic(), 0
        for _ in range(40):  # each within what may pass at once after a pause
            near, far = far_tunnel(scene)
            pour(far, 20 * 1024)
            drain(near, 20 * 1024)
            n_bytes += 20 * 1024
            reset(near)
            wait_until(lambda: status(daemon)["sources"]["now"] == 0)
        assert time.monotonic() - begin >= (n_bytes / (256 * 1024) - BURST_S) * 0.97


def test_reload_changes_what_runs(scene):
    """From no limit to one, to another, and to none again, while a transfer runs."""
    with Ukai(scene, config()) as daemon:
        near, far = far_tunnel(scene)
        drained = [0]
        pour(far, 400 * MIB)
        thread = threading.Thread(target=_until_closed, args=(near, drained, 0), daemon=True)
        thread.start()
        wait_until(lambda: drained[0] > 4 * MIB)
        daemon.reload(config=config(per_source_bandwidth="64K"))
        time_before, before = time.monotonic(), drained[0]
        wait_until(lambda: time.monotonic() > time_before + 2, deadline_s=10)
        slow = drained[0] - before
        daemon.reload(config=config(per_source_bandwidth="2K"))
        daemon.reload(config=config())
        wait_until(lambda: drained[0] == 400 * MIB, deadline_s=60)
        assert slow < 24 * MIB, slow  # what was in the sockets, and two seconds' worth


def test_a_slowed_tunnel_is_not_idle(scene):
    limits = {"limits": {"per-source-bandwidth": "1K"}, "timeouts": {"tunnel-idle": "2s", "half-closed": "2s"}}
    with Ukai(scene, sections(dns=False, **limits)):
        pairs = [far_tunnel(scene) for _ in range(4)]
        for _, far in pairs:
            pour(far, 5 * 1024)
        for near, _ in pairs:
            drain(near, 5 * 1024)


def test_a_slowed_tunnel_costs_no_time(scene):
    with Ukai(scene, config(per_source_bandwidth="16K")) as daemon:
        pairs = [far_tunnel(scene) for _ in range(8)]
        for _, far in pairs:
            pour(far, 4 * MIB)
        before, since = daemon.cpu_seconds(), time.monotonic()
        wait_until(lambda: time.monotonic() > since + 3, deadline_s=10)
        assert daemon.cpu_seconds() - before < 0.6
