"""The main job, with real clients: two servers without a way out, and nobody else."""
import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time

import pytest

import dnswire
from client import OPEN_200, exchange, open_tunnel, read_exactly, read_to_end, reset
from daemon import ACL, Ukai, sections
from scene import ECHO, LAN_ROUTER, LAN_ROUTER6, NSD, ORIGIN, ORIGIN6, OUT_ROUTER, SCRIPTED, wait_until

AGENTS = "agents.deepsecurity.trendmicro.com"
PROXY = f"{LAN_ROUTER}:8080"
SHORT = {"head": "3s", "dns": "2s", "connect": "3s", "half-closed": "5s", "drain": "5s"}


@pytest.fixture(scope="module")
def ukai(scene):
    with Ukai(scene, sections(timeouts=SHORT)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def scripted(scene):
    """A second listener whose name server is the scripted authority; same LAN leg, port 8081."""
    config = sections(SCRIPTED, dns=False, web={"listen-port": "8081"}, timeouts=SHORT)
    acl = "[in]\ntcp 8081 = 192.168.1.10\n"
    with Ukai(scene, config, acl, name="scripted") as daemon:
        yield daemon


def hosts_with_dns(scene):
    for host in (scene.host10, scene.host20, scene.host30):
        os.makedirs(f"/etc/netns/{host.name}", exist_ok=True)
        with open(f"/etc/netns/{host.name}/resolv.conf", "w") as file:
            file.write(f"nameserver {LAN_ROUTER}\noptions timeout:1 attempts:2\n")


# who passes

@pytest.mark.parametrize("host", ["host10", "host20"])
def test_listed_host_reaches_the_manager_by_name(scene, ukai, host):
    mark = ukai.mark()
    done = getattr(scene, host).run(["curl", "-sS", "--cacert", scene.ca, "-x", f"http://{PROXY}",
                                     f"https://{AGENTS}/hello"])
    assert (done.returncode, done.stdout) == (0, "hello from the origin\n"), done.stderr
    record = ukai.record(mark, lambda r: r.get("host") == AGENTS and "duration_ms" in r)
    assert record["src"] == "192.168.1." + host[4:]


def test_unlisted_host_is_closed_without_a_byte(scene, ukai):
    for request in (b"", b"CONNECT agents.deepsecurity.trendmicro.com:443 HTTP/1.1\r\n\r\n"):
        reply = exchange(scene.dial(scene.host30), request, deadline_s=5)
        assert reply.raw == b"" and reply.end in ("fin", "rst"), reply


def test_unlisted_host_is_refused_for_a_real_client_too(scene, ukai):
    done = scene.host30.run(["curl", "-sS", "-m", "5", "--cacert", scene.ca, "-x", f"http://{PROXY}",
                             f"https://{AGENTS}/hello"])
    assert done.returncode in (52, 56), (done.returncode, done.stderr)


def test_lan_hosts_have_no_other_way_out(scene, ukai):
    done = scene.host10.run(["curl", "-sS", "-m", "2", "--noproxy", "*", f"http://{ORIGIN}/hello"])
    assert done.returncode == 7, done.stderr


def test_nothing_answers_on_the_outer_side(scene, ukai):
    for address in (OUT_ROUTER, LAN_ROUTER, "2001:db8:f::1", LAN_ROUTER6):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for port in (8080, 53):
            with scene.outer.socket(family) as sock:
                sock.settimeout(3)
                with pytest.raises(OSError):
                    sock.connect((address, port))
                    pytest.fail(f"{address} port {port} accepts from outside")
        with scene.outer.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.5)
            sock.connect((address, 53))
            with pytest.raises(OSError):
                sock.send(dnswire.query(AGENTS))
                sock.recv(4096)
                pytest.fail(f"{address} answers DNS from outside")


# real clients

def test_curl_http_1_0(scene, ukai):
    done = scene.host10.run(["curl", "-sS", "--cacert", scene.ca, "--proxy1.0", PROXY, f"https://{AGENTS}/hello"])
    assert (done.returncode, done.stdout) == (0, "hello from the origin\n"), done.stderr


def test_curl_ipv6_literal_target(scene, ukai):
    done = scene.host10.run(["curl", "-sS", "-g", "--cacert", scene.ca, "-x", f"http://{PROXY}",
                             f"https://[{ORIGIN6}]/peer"])
    assert (done.returncode, done.stdout) == (0, "2001:db8:f::1\n"), done.stderr


def test_curl_ipv6_only_name(scene, ukai):
    done = scene.host10.run(["curl", "-sS", "--cacert", scene.ca, "-x", f"http://{PROXY}",
                             "https://six.lab.example/hello"])
    assert (done.returncode, done.stdout) == (0, "hello from the origin\n"), done.stderr


def test_curl_over_ipv6_to_the_proxy(scene, ukai):
    done = scene.host10.run(["curl", "-sS", "-g", "--cacert", scene.ca, "-x", f"http://[{LAN_ROUTER6}]:8080",
                             f"https://{AGENTS}/hello"])
    assert (done.returncode, done.stdout) == (0, "hello from the origin\n"), done.stderr


def test_wget(scene, ukai):
    done = scene.host20.run(["wget", "-q", "-O", "-", "--ca-certificate", scene.ca, "-e", "use_proxy=yes",
                             "-e", f"https_proxy=http://{PROXY}", f"https://{AGENTS}/hello"])
    assert (done.returncode, done.stdout) == (0, "hello from the origin\n"), done.stderr


def test_git_clone_over_https(scene, ukai):
    path = scene.make_git_repository()
    target = scene.dir / "clone"
    done = scene.host10.run(["env", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_SSL_CAINFO=" + str(scene.ca), "git",
                             "-c", f"http.proxy=http://{PROXY}",
                             "clone", "-q", f"https://git.lab.example{path}", target])
    assert done.returncode == 0, done.stderr
    assert (target / "file").read_text() == "through the tunnel\n"


def test_openssl_s_client(scene, ukai):
    done = scene.host10.run(["openssl", "s_client", "-proxy", PROXY, "-connect", f"{AGENTS}:443", "-CAfile", scene.ca,
                             "-servername", AGENTS, "-verify_hostname", AGENTS, "-verify_return_error", "-quiet",
                             "-ign_eof"], stdin=None, input="GET /hello HTTP/1.0\r\n\r\n")
    assert "hello from the origin" in done.stdout, done.stdout + done.stderr


def test_python_http_client(scene, ukai):
    class Lan(http.client.HTTPSConnection):
        def _create_connection(self, *_):
            return None

        def connect(self):
            self.sock = scene.dial()
            self._tunnel()
            self.sock = context.wrap_socket(self.sock, server_hostname=self._tunnel_host)

    context = ssl.create_default_context(cafile=str(scene.ca))
    connection = Lan(LAN_ROUTER, 8080)
    connection.set_tunnel(AGENTS, 443)
    connection.request("GET", "/hello")
    assert connection.getresponse().read() == b"hello from the origin\n"
    connection.close()


def test_ssh_through_a_connect_helper(scene, ukai):
    key = scene.start_ssh()
    done = scene.host10.run(["ssh", "-F", "none", "-i", key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
                             "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
                             "-o", f"ProxyCommand=nc -X connect -x {PROXY} %h %p", "-p", "443",
                             "root@ssh.lab.example", "echo shell says $((6*7))"])
    assert done.stdout == "shell says 42\n", (done.stdout, done.stderr)


# names

def dig(host, *args):
    return host.run(["dig", f"@{LAN_ROUTER}", "+tries=1", "+time=2", "+noedns", *args])


def test_dig_over_udp(scene, ukai):
    assert dig(scene.host10, "+short", AGENTS).stdout == ORIGIN + "\n"
    assert dig(scene.host20, "+short", AGENTS, "AAAA").stdout == ORIGIN6 + "\n"


def test_dig_over_tcp_where_a_rule_allows_it(scene, ukai):
    assert dig(scene.host10, "+tcp", "+short", AGENTS).stdout == ORIGIN + "\n"
    done = dig(scene.host20, "+tcp", "+short", AGENTS)
    assert done.returncode != 0 or ORIGIN not in done.stdout, done.stdout


def test_dig_from_the_unlisted_host_gets_nothing(scene, ukai):
    sock = scene.udp(scene.host30, timeout=1)
    sock.send(dnswire.query(AGENTS))
    with pytest.raises(TimeoutError):
        sock.recv(4096)
    assert read_to_end(scene.dial(scene.host30, port=53), 3) in ((b"", "fin"), (b"", "rst"))


def test_large_answer_comes_by_tcp(scene, ukai):
    done = scene.host10.run(["dig", f"@{LAN_ROUTER}", "+tries=1", "+time=3", "+short", "big.lab.example", "TXT"])
    assert len(done.stdout.splitlines()) == 20, done.stdout


def test_libc_of_a_host_resolves(scene, ukai):
    hosts_with_dns(scene)
    done = scene.host10.run(["getent", "ahosts", AGENTS])
    found = {line.split()[0] for line in done.stdout.splitlines()}
    assert found == {ORIGIN, ORIGIN6}, done
    assert scene.host20.run(["getent", "ahostsv4", "no-such-name.example"]).returncode == 2
    assert scene.host30.run(["getent", "ahostsv4", AGENTS]).returncode == 2


# on the wire

def test_outgoing_packets_use_the_bypass_leg_only(scene, ukai):
    with scene.capture(scene.router, "lan0") as lan, scene.capture(scene.router, "out0") as out:
        done = scene.host10.run(["curl", "-sS", "--cacert", scene.ca, "-x", f"http://{PROXY}",
                                 "https://v4.lab.example/peer"])
        assert done.stdout == OUT_ROUTER + "\n", done.stderr
    assert out.lines(f"tcp and src host {OUT_ROUTER} and dst host {ORIGIN}"), "no packet to the origin was seen"
    assert out.lines(f"udp and dst host {NSD} and dst port 53"), "no question to the name server was seen"
    assert out.lines(f"not host {OUT_ROUTER} and ip") == []
    assert lan.lines("ip and not net 192.168.1.0/24") == []
    assert lan.lines(f"ip host {NSD} or host {ORIGIN}") == []


def test_the_200_has_a_segment_of_its_own(scene, ukai):
    listener = scene.origin()
    with scene.capture(scene.host10, "eth0", "tcp") as seen:
        sock = scene.dial()
        sock.sendall(f"CONNECT {listener.getsockname()[0]}:443 HTTP/1.1\r\n\r\n".encode())
        conn = scene.accept(listener)
        conn.sendall(b"origin speaks at once")
        assert read_exactly(sock, len(OPEN_200) + 21) == OPEN_200 + b"origin speaks at once"
    assert seen.payloads(8080) == [OPEN_200, b"origin speaks at once"]


# tunnels

def tunnel(scene, daemon_port=8080, host=None, origin=None):
    """An open tunnel as (client socket, origin socket)."""
    listener = origin or scene.origin()
    address = listener.getsockname()[0]
    sock = scene.dial(host, port=daemon_port)
    rest = open_tunnel(sock, f"[{address}]:443" if ":" in address else f"{address}:443")
    assert rest == b""
    return sock, scene.accept(listener)


def test_origin_speaks_first(scene, ukai):
    sock, conn = tunnel(scene)
    conn.sendall(b"220 ready")
    assert read_exactly(sock, 9) == b"220 ready"
    sock.sendall(b"hello")
    assert read_exactly(conn, 5) == b"hello"


def test_client_speaks_first(scene, ukai):
    sock, conn = tunnel(scene)
    sock.sendall(b"hello")
    assert read_exactly(conn, 5) == b"hello"
    conn.sendall(b"220 ready")
    assert read_exactly(sock, 9) == b"220 ready"


def pour(conn, data, finish=True):
    """Send from a thread, then FIN."""
    def work():
        try:
            conn.settimeout(60)
            conn.sendall(data)
            if finish:
                conn.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_both_peers_of_an_idle_tunnel_are_probed(scene, ukai):
    """Else a peer that lost its power, or a NAT that forgot, would hold a tunnel until tunnel-idle."""
    open_tunnel(scene.dial(), f"{AGENTS}:443")

    def probed():
        shown = scene.router.run(["ss", "-Htno", "state", "established"]).stdout.splitlines()
        return sum("timer:(keepalive" in line and (":8080 " in line or ":443 " in line) for line in shown) == 2

    wait_until(probed, what="keepalive timers on both legs")


@pytest.mark.parametrize("first", ["client", "origin"])
def test_half_close_lets_ten_megabytes_through_the_other_way(scene, ukai, first):
    sock, conn = tunnel(scene)
    near, far = (sock, conn) if first == "client" else (conn, sock)
    near.sendall(b"last words")
    near.shutdown(socket.SHUT_WR)
    assert read_to_end(far) == (b"last words", "fin")
    data = os.urandom(10 << 20)
    thread = pour(far, data)
    got, end = read_to_end(near, 30)
    thread.join(10)
    assert end == "fin" and hashlib.sha256(got).digest() == hashlib.sha256(data).digest(), (end, len(got))


def test_one_gibibyte_each_way_with_equal_checksums(scene, ukai):
    size, block = 1 << 30, os.urandom((1 << 20) + 7)
    sock, conn = tunnel(scene)
    sums = {}

    def send(name, end):
        digest, left, view = hashlib.sha1(name.encode()), size, memoryview(block)
        end.settimeout(50)
        while left:
            piece = view[:min(left, len(block))]
            end.sendall(piece)
            digest.update(piece)
            left -= len(piece)
        end.shutdown(socket.SHUT_WR)
        sums[name, "sent"] = digest.digest()

    def receive(name, end):
        digest, n, buffer = hashlib.sha1(name.encode()), 0, bytearray(1 << 20)
        end.settimeout(50)
        while got := end.recv_into(buffer):
            digest.update(memoryview(buffer)[:got])
            n += got
        sums[name, "received"] = digest.digest()
        sums[name, "bytes"] = n

    threads = [threading.Thread(target=work, args=(name, end), daemon=True)
               for work, name, end in ((send, "up", sock), (receive, "up", conn), (send, "down", conn),
                                       (receive, "down", sock))]
    rss_before = ukai.rss_bytes()
    mark = ukai.mark()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(55)
    assert sums.get(("up", "bytes")) == sums.get(("down", "bytes")) == size, sums
    for name in ("up", "down"):
        assert sums[name, "sent"] == sums[name, "received"], name
    assert ukai.rss_bytes() - rss_before < 64 << 20
    record = ukai.record(mark, lambda r: r.get("bytes_up") == size)
    assert record["bytes_down"] == size, record


def test_4000_idle_tunnels_survive_a_reload(scene, ukai):
    n = 4000
    socks = []
    for at in range(0, n, 250):
        batch = [scene.dial(scene.host10 if i % 2 else scene.host20) for i in range(250)]
        for sock in batch:
            sock.sendall(b"CONNECT %s:443 HTTP/1.1\r\n\r\n" % ECHO.encode())
        for sock in batch:
            assert read_exactly(sock, len(OPEN_200)) == OPEN_200
        socks += batch
    assert len(socks) == n
    ukai.reload(acl=ACL + "tcp 8080 = 192.168.1.31 ; fresh\n")
    for i, sock in enumerate(socks):
        sock.sendall(b"%06d" % i)
    for i, sock in enumerate(socks):
        assert read_exactly(sock, 6) == b"%06d" % i
    for sock in socks:
        sock.close()
    ukai.reload(acl=ACL)


# clients that leave

def leave_before_dns(scene, leave):
    sock = scene.dial(port=8081)
    sock.sendall(b"CONNECT half.example:443 HTT")
    leave(sock)


def leave_during_dns(scene, leave):
    name = scene.name("silent", silent=True)
    sock = scene.dial(port=8081)
    sock.sendall(f"CONNECT {name}:443 HTTP/1.1\r\n\r\n".encode())
    wait_until(lambda: scene.dns.asked(name), what="question to the authority")
    leave(sock)


def leave_during_connect(scene, leave):
    with scene.capture(scene.router, "out0", "dst host 198.51.100.200") as seen:
        sock = scene.dial(port=8081)
        sock.sendall(b"CONNECT 198.51.100.200:443 HTTP/1.1\r\n\r\n")
        wait_until(lambda: seen.lines(), what="SYN to the black hole")
        leave(sock)


def leave_before_the_200(scene, leave):
    listener = scene.origin()
    sock = scene.dial(port=8081)
    sock.sendall(f"CONNECT {listener.getsockname()[0]}:443 HTTP/1.1\r\n\r\n".encode())
    leave(sock)


def leave_in_relay(scene, leave):
    sock, conn = tunnel(scene, daemon_port=8081)
    conn.sendall(b"x" * 100000)
    leave(sock)
    assert read_to_end(conn, 10)[1] in ("fin", "rst")


def leave_with_unread_data(scene, leave):
    sock, conn = tunnel(scene, daemon_port=8081)
    thread = pour(conn, b"x" * (8 << 20))
    read_exactly(sock, 100000)
    leave(sock)
    thread.join(20)
    assert not thread.is_alive(), "the origin was left writing into a dead tunnel"


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("stage", [leave_before_dns, leave_during_dns, leave_during_connect, leave_before_the_200,
                                   leave_in_relay, leave_with_unread_data], ids=lambda f: f.__name__)
def test_client_leaves(scene, scripted, stage, how):
    stage(scene, reset if how == "rst" else socket.socket.close)
    scene.close_clients()
    scripted.wait_fds()
    assert scripted.is_alive() and not scripted.sanitizer_reports()
    name = scene.name("after", a=[ECHO])
    open_tunnel(scene.dial(port=8081), f"{name}:443")


# life cycle; each with a daemon of its own on port 8082, or on the interface that goes away

def own(scene, **timeouts):
    config = sections(dns=False, web={"listen-port": "8082"}, timeouts={**SHORT, **timeouts})
    return Ukai(scene, config, "[in]\ntcp 8082 = 192.168.1.10\n", name="own")


def wait_closed(scene, port):
    """Until nobody listens there any more."""
    def refused():
        with scene.host10.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex((LAN_ROUTER, port)) != 0

    wait_until(refused, what="listener closed")


def test_term_drains_and_then_ends(scene):
    with own(scene, drain="30s") as daemon:
        sock, conn = tunnel(scene, daemon_port=8082)
        daemon.signal(signal.SIGTERM)
        wait_closed(scene, 8082)
        sock.sendall(b"still here")
        assert read_exactly(conn, 10) == b"still here"
        assert daemon.is_alive()
        sock.close()
        conn.close()
        assert daemon.wait_exit(5) == 0


def test_drain_ends_at_its_limit(scene):
    with own(scene, drain="1s") as daemon:
        sock, conn = tunnel(scene, daemon_port=8082)
        mark, began = daemon.mark(), time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_exit(8) == 0
        assert 0.8 < time.monotonic() - began < 5
        assert read_to_end(sock, 2)[1] in ("fin", "rst")
        assert read_to_end(conn, 2)[1] in ("fin", "rst")
        assert daemon.record(mark, lambda r: r.get("closed_by") == "shutdown")


def test_idle_tunnels_go_when_the_limit_of_the_drain_nears(scene):
    """Who still transfers has the whole time; who says nothing does not hold up the end."""
    with own(scene, drain="15s") as daemon:
        idle, idle_conn = tunnel(scene, daemon_port=8082)
        busy, busy_conn = tunnel(scene, daemon_port=8082)
        mark, began = daemon.mark(), time.monotonic()
        daemon.signal(signal.SIGTERM)
        ended = []
        reader = threading.Thread(target=lambda: ended.append((read_to_end(idle, 20)[1], time.monotonic() - began)))
        reader.start()
        while reader.is_alive():
            busy.sendall(b"still here")
            assert read_exactly(busy_conn, 10) == b"still here"
            time.sleep(0.05)
        (how, after), = ended
        assert how in ("fin", "rst") and 12.5 < after < 15, ended
        record = daemon.record(mark, lambda r: r["event"] == "close")
        assert record["closed_by"] == "shutdown"
        busy.close()  # nothing is left: the end comes before the limit
        busy_conn.close()
        assert daemon.wait_exit(10) == 0


@pytest.mark.parametrize("signals", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT),
                                     (signal.SIGTERM, signal.SIGINT), (signal.SIGQUIT,)], ids=["TERM-TERM", "INT-INT", "TERM-INT", "QUIT"])
def test_second_term_or_quit_stops_at_once(scene, signals):
    with own(scene, drain="60s") as daemon:
        sock, _ = tunnel(scene, daemon_port=8082)
        for i, number in enumerate(signals):
            if i:
                wait_closed(scene, 8082)
            daemon.signal(number)
        assert daemon.wait_exit(3) == 0
        assert read_to_end(sock, 2)[1] in ("fin", "rst")


def test_restart_takes_the_port_at_once(scene):
    with own(scene):
        sock, _ = tunnel(scene, daemon_port=8082)
    with own(scene):
        tunnel(scene, daemon_port=8082)


def answers_on(scene, port):
    def look():
        with scene.host10.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((LAN_ROUTER, port)) != 0:
                return False
            probe.sendall(f"CONNECT {ECHO}:443 HTTP/1.1\r\n\r\n".encode())
            try:
                return probe.recv(100) == OPEN_200
            except OSError:
                return False

    return look


def test_O17_changed_address_does_not_matter(scene):
    with own(scene):
        scene.router.ip("addr add 192.168.1.253/24 dev lan0\n")
        try:
            open_tunnel(scene.dial(to="192.168.1.253", port=8082), f"{ECHO}:443")
        finally:
            scene.close_clients()
            scene.router.ip("addr del 192.168.1.253/24 dev lan0\n")


# reload

def test_bad_acl_file_at_reload_changes_nothing_and_says_why(scene, ukai):
    sock, conn = tunnel(scene)
    said = ukai.reload(acl="[in]\ntcp 8080 = 192.168.1.30\ntcp 8080 = bogus\n", expect="refused")
    assert any("acl.conf:3" in line for line in said), said
    assert exchange(scene.dial(scene.host30), b"").raw == b""
    tunnel(scene)
    sock.sendall(b"x")
    assert read_exactly(conn, 1) == b"x"
    ukai.reload(acl=ACL)


def test_reload_applies_rules_to_new_connections(scene, ukai):
    ukai.reload(acl=ACL + "tcp 8080 = 192.168.1.30\n")
    tunnel(scene, host=scene.host30)
    ukai.reload(acl=ACL)
    assert exchange(scene.dial(scene.host30), b"").raw == b""


def test_emptied_acl_file_is_refused(scene, ukai):
    ukai.reload(acl="", expect="refused")
    tunnel(scene)
    ukai.reload(acl=ACL)


# records

def test_record_of_a_tunnel_names_rule_and_memo(scene, ukai):
    mark = ukai.mark()
    sock, conn = tunnel(scene)
    target = conn.getsockname()[0]
    sock.sendall(b"12345")
    assert read_exactly(conn, 5) == b"12345"
    conn.sendall(b"1234567")
    assert read_exactly(sock, 7) == b"1234567"
    sock.close()
    assert read_to_end(conn)[1] == "fin"
    conn.close()
    record = ukai.record(mark, lambda r: r.get("bytes_up") == 5)
    assert record["bytes_down"] == 7 and record["addr"].startswith(target), record
    assert record["src"] == "192.168.1.10" and record["method"] == "CONNECT" and record["status"] == 200, record
    assert "Webプロキシ利用でのDSaaS通信用" in json.dumps(record, ensure_ascii=False), record
    assert "acl.conf:2" in str(record["rule"]), record
    assert record["closed_by"] == "client", record


def test_refusal_of_a_source_is_recorded(scene, ukai):
    mark = ukai.mark()
    exchange(scene.dial(scene.host30), b"")
    ukai.record(mark, lambda r: r.get("src") == "192.168.1.30")


# last, since it takes the LAN leg away from every daemon

def test_O17_interface_is_waited_for_and_rebound(scene, ukai):
    scene.lan_leg_down()
    try:
        with own(scene) as daemon:
            assert daemon.is_alive()
            scene.lan_leg_up()
            wait_until(answers_on(scene, 8082), 10, "service on the new interface")
            daemon.fd_baseline = daemon.n_fds()
            for _ in range(3):
                scene.lan_leg_down()
                scene.lan_leg_up()
                wait_until(answers_on(scene, 8082), 10, "service on the re-created interface")
            daemon.wait_fds()
    finally:
        if scene.router.run(["ip", "link", "show", "lan0"]).returncode:
            scene.lan_leg_up()
    wait_until(answers_on(scene, 8080), 10, "service of the daemon that ran before")
