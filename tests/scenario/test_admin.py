"""The admin's pages: who may ask, what hostile clients get, and that a reload moves the listener and nothing else."""
import json
import re
import socket
import subprocess
import time

import pytest

from client import exchange, open_tunnel, read_exactly, read_to_end, reset
from daemon import SANITIZER_DIR, Ukai, run_tool, sections
from scene import wait_until

IN = "[in]\ntcp 8080 = 192.168.1.10\ntcp 8080 = 192.168.1.20\nudp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\n"
LISTEN, PORT = "192.168.1.254:9090", 9090


def config(listen=LISTEN, allow="192.168.1.10, 127.0.0.1", **changes):
    return sections(admin={"listen": listen, "allow": allow}, **changes)


@pytest.fixture
def ukai(scene):
    with Ukai(scene, config(), IN) as daemon:
        yield daemon


def dial(scene, port=PORT, **options):
    return scene.dial(port=port, **options)


def ask(scene, path, head=b"", method=b"GET", host=b"192.168.1.254:9090", version=b"1.1", port=PORT, **options):
    with dial(scene, port, **options) as sock:
        return exchange(sock, method + b" " + path + b" HTTP/" + version + b"\r\nHost: " + host + b"\r\n" + head +
                        b"\r\n")


def is_closed(scene, **options):
    """Closed without a byte, or refused."""
    try:
        with dial(scene, **options) as sock:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: 192.168.1.254\r\n\r\n")
            return sock.recv(1) == b""
    except (ConnectionError, BrokenPipeError):
        return True


def unread(scene):
    """For each client of the pages, what waits in the kernel to be taken."""
    shown = scene.router.run(["ss", "-Htn", "state", "established", f"sport = :{PORT}"]).stdout
    return [int(line.split()[1]) for line in shown.splitlines()]  # Recv-Q, Send-Q: no state before them


def all_wait_for_their_readers(scene):
    """Every place (32) has a client, and each of those has more to read than the kernel holds."""
    return len(unread(scene)) <= 32 and all(unread(scene))


def is_answered(scene, path):
    """One that has no place is closed, or reset, in the middle of its request."""
    try:
        return ask(scene, path).status == 200
    except (OSError, AssertionError):
        return False


def body(reply):
    return reply.raw.partition(b"\r\n\r\n")[2]


# what is served

def test_health(scene, ukai):
    reply = ask(scene, b"/healthz")
    assert reply.status == 200 and body(reply) == b"ok\n"
    assert reply.field("connection") == "close" and reply.field("cache-control") == "no-store"
    assert reply.field("x-content-type-options") == "nosniff"
    assert "default-src 'none'" in reply.field("content-security-policy")
    done = scene.host10.run(["curl", "-sS", "--max-time", "10", f"http://{LISTEN}/healthz"])
    assert done.stdout == "ok\n"


def test_head_has_the_length_and_no_body(scene, ukai):
    reply = ask(scene, b"/healthz", method=b"HEAD")
    assert reply.status == 200 and reply.field("content-length") == "3" and body(reply) == b""


def test_health_while_draining(scene):
    daemon = Ukai(scene, config(), IN).start()
    listener = scene.origin(443)
    with scene.dial() as sock:
        sock.sendall(b"CONNECT agents.deepsecurity.trendmicro.com:443 HTTP/1.1\r\n\r\n")
        assert b" 200 " in sock.recv(4096)
        assert run_tool("drain", "-c", daemon.conf_path).returncode == 0
        reply = ask(scene, b"/healthz")
        assert reply.status == 503 and body(reply) == b"draining\n"
    listener.close()
    daemon.stop()


def test_health_says_that_a_reload_was_refused(scene, ukai):
    ukai.reload(acl="[in]\ntcp 8080 = nonsense\n", expect="refused")
    reply = ask(scene, b"/healthz")
    assert reply.status == 200 and b"reload was refused" in body(reply)
    ukai.reload(acl=IN)
    assert body(ask(scene, b"/healthz")) == b"ok\n"


# who may ask

def test_a_source_not_in_allow_is_closed(scene, ukai):
    assert is_closed(scene, host=scene.host20)
    assert ask(scene, b"/healthz").status == 200


def test_the_proxy_is_no_way_around_it(scene, ukai):
    with scene.dial() as sock:
        reply = exchange(sock, b"GET http://192.168.1.254:9090/healthz HTTP/1.1\r\nHost: 192.168.1.254:9090\r\n\r\n")
    assert reply.status == 403
    ukai.reload(acl=IN + "[out]\nallow = 192.168.1.0/24:9090\n")
    with scene.dial() as sock:
        reply = exchange(sock, b"GET http://192.168.1.254:9090/healthz HTTP/1.1\r\nHost: 192.168.1.254:9090\r\n\r\n")
    assert reply.status == 403 and "destination_ip_prohibited" in reply.field("proxy-status")


# what is refused

@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"get"])
def test_other_methods(scene, ukai, method):
    reply = ask(scene, b"x:443" if method == b"CONNECT" else b"/healthz", method=method)
    assert reply.status == 405 and reply.field("allow") == "GET, HEAD"


def test_a_body_does_not_cost_the_answer(scene, ukai):
    with dial(scene) as sock:
        reply = exchange(sock, b"POST /healthz HTTP/1.1\r\nHost: 192.168.1.254\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30000)
    assert reply.status == 405


def test_unknown_page(scene, ukai):
    assert ask(scene, b"/etc/passwd").status == 404
    assert ask(scene, b"/healthz/").status == 404
    assert ask(scene, b"/healthz?probe=1").status == 200


def test_malformed(scene, ukai):
    with dial(scene) as sock:
        assert exchange(sock, b"GET /healthz HTTP/1.1\r\n\r\n").status == 400  # no Host
    with dial(scene) as sock:
        assert exchange(sock, b"GET /healthz HTTP/1.1\nHost: x\n\n").status == 400
    with dial(scene) as sock:
        assert exchange(sock, b"GET http://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n").status == 400
    assert ask(scene, b"/" + b"a" * 4000).status == 414
    assert ask(scene, b"/healthz", head=b"".join(b"X-%d: y\r\n" % i for i in range(2000))).status == 431
    assert ask(scene, b"/healthz", version=b"2.0").status == 505
    assert ask(scene, b"/healthz").status == 200


def test_pipelined_requests_get_one_answer(scene, ukai):
    one = b"GET /healthz HTTP/1.1\r\nHost: 192.168.1.254\r\n\r\n"
    with dial(scene) as sock:
        sock.sendall(one * 50)
        assert read_to_end(sock)[0].count(b"HTTP/1.1 200") == 1


def test_silent_clients_do_not_keep_others_out(scene, ukai):
    held = [dial(scene) for _ in range(100)]
    try:
        started = time.monotonic()
        assert ask(scene, b"/healthz").status == 200
        assert time.monotonic() - started < 3
        for sock in held:
            sock.settimeout(20)
        assert all(sock.recv(1) == b"" for sock in held[-3:]), "a silent client is closed after a time"
    finally:
        for sock in held:
            sock.close()
    ukai.wait_fds()


def test_who_asks_and_leaves_costs_a_place_only(scene, ukai):
    for _ in range(200):
        with dial(scene) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: 192.168.1.254\r\n\r\n")
            reset(sock)
    wait_until(lambda: ask(scene, b"/metrics").status == 200)
    ukai.wait_fds()


def test_readers_who_do_not_read_cost_a_place_for_a_second(scene):
    """50 ask for the status page and never read it: the page waits with us, since the kernel takes 4 KiB of it."""
    scene.router.run(["sysctl", "-qw", "net.ipv4.tcp_wmem=4096 4096 4096"])
    held = []
    try:
        many = "".join(f"tcp 8080 = 192.168.9.{i} ; {'x' * 100}\n" for i in range(1, 250))
        with Ukai(scene, config(), IN + many) as daemon:
            page = ask(scene, b"/")
            assert page.status == 200 and len(page.raw) > 60_000
            before = daemon.rss_bytes()
            for _ in range(50):
                held.append(dial(scene))
                held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                held[-1].sendall(b"GET / HTTP/1.1\r\nHost: 192.168.1.254\r\n\r\n")
            wait_until(lambda: all_wait_for_their_readers(scene), deadline_s=30, what="every place taken")
            for path in (b"/metrics", b"/healthz"):
                wait_until(lambda path=path: is_answered(scene, path), deadline_s=15, what="a place for who reads")
            if not SANITIZER_DIR:  # whose allocator keeps what is freed
                assert daemon.rss_bytes() - before < 32 * len(page.raw) + (4 << 20)
            for sock in held:
                sock.close()
            daemon.wait_fds()
    finally:
        for sock in held:
            sock.close()
        scene.router.run(["sysctl", "-qw", "net.ipv4.tcp_wmem=4096 16384 4194304"])


@pytest.mark.limit(120)
@pytest.mark.skipif(bool(SANITIZER_DIR), reason="half a minute of waiting")
def test_who_never_reads_is_let_go_after_his_time(scene):
    """/metrics and the page, unread; nobody else wants the places, so only the limit of 30 s ends them."""
    scene.router.run(["sysctl", "-qw", "net.ipv4.tcp_wmem=4096 4096 4096"])
    try:
        many = "".join(f"deny = {i}.example ; {'x' * 250}\n" for i in range(200))  # the most hit ones are in /metrics
        with Ukai(scene, config(), IN + "[out]\n" + many) as daemon:
            for i in range(200):
                with scene.dial() as sock:
                    assert exchange(sock, f"CONNECT {i}.example:443 HTTP/1.1\r\n\r\n".encode()).status == 403
            assert len(ask(scene, b"/metrics").raw) > 66_000, "more than the kernels hold"
            daemon.wait_fds()
            began, n_fds = time.monotonic(), daemon.n_fds()
            for path in (b"/metrics", b"/"):
                sock = dial(scene)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                sock.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: 192.168.1.254\r\n\r\n")
            wait_until(lambda: len(unread(scene)) == 2 and all(unread(scene)), what="both answers under way")
            assert daemon.n_fds() >= n_fds + 2
            wait_until(lambda: daemon.n_fds() <= n_fds, deadline_s=60, what="both let go")
            assert time.monotonic() - began > 25
    finally:
        scene.router.run(["sysctl", "-qw", "net.ipv4.tcp_wmem=4096 16384 4194304"])


def test_a_half_closed_client_gets_its_page(scene, ukai):
    with dial(scene) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: 192.168.1.254\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        answer, _ = read_to_end(sock)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.rstrip().split(b"\n")[-1].startswith(b"process_max_fds")


def test_a_slow_head_is_cut(scene, ukai):
    with dial(scene) as sock:
        sock.settimeout(20)
        sock.sendall(b"GET /healthz HTTP/1.1\r\n")
        started = time.monotonic()
        assert sock.recv(1) == b""
        assert 3 < time.monotonic() - started < 15


# reload

def test_reload_adds_moves_and_removes(scene):
    with Ukai(scene, config(listen="off"), IN) as daemon:
        assert is_closed(scene)
        daemon.reload(config=config())
        assert ask(scene, b"/healthz").status == 200
        with dial(scene) as waiting:  # accepted before the reload, asked after it
            daemon.reload(config=config(listen=f"{LISTEN}, 192.168.1.254:9091"))
            assert exchange(waiting, b"GET /healthz HTTP/1.1\r\nHost: 192.168.1.254\r\n\r\n").status == 200
        assert ask(scene, b"/healthz", port=9091).status == 200
        daemon.reload(config=config(listen="192.168.1.254:9091"))
        assert is_closed(scene)
        assert ask(scene, b"/healthz", port=9091).status == 200
        daemon.reload(config=config(listen="192.168.1.254:9091", allow="192.168.1.20"))
        assert is_closed(scene, port=9091)
        daemon.reload(config=config(listen="off"))
        assert is_closed(scene, port=9091, host=scene.host20)
        daemon.wait_fds()


def test_a_taken_port_is_an_error(scene):
    daemon = Ukai(scene, config(listen="192.168.1.254:8080"), IN)
    daemon.write(config=sections(web={"listen-network": "192.168.1.254"}, admin={"listen": "192.168.1.254:8080"}))
    done = run_tool("check", "-c", daemon.conf_path)
    assert done.returncode == 78 and "is taken by the section" in done.out


def test_replace_hands_it_over(scene):
    old = Ukai(scene, config(), IN).start()
    new = Ukai(scene, old.config, IN, args=["--replace"])
    new.conf_path.write_bytes(old.conf_path.read_bytes())
    new.access_path = old.access_path
    new.start()
    try:
        old.wait_log("replaced by another daemon")
        assert old.wait_exit(15) == 0
        old.process.stderr.close()
        old.process = None
        assert ask(scene, b"/healthz").status == 200
    finally:
        new.stop()


# metrics

AGENTS = "agents.deepsecurity.trendmicro.com"


def metrics(scene, **options):
    """{(name, frozenset of labels): value}; what promtool finds wrong is an AssertionError."""
    reply = ask(scene, b"/metrics", **options)
    assert reply.status == 200 and reply.field("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    text = body(reply).decode()
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r'([a-z_]+)(?:\{(.*)\})? (\S+)', line).groups()
        key = name, frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
        assert key not in found, f"twice: {line}"
        found[key] = float(value)
    return found


def value(found, name, **labels):
    return found.get((name, frozenset(labels.items())), 0)


def total(found, name):
    return sum(v for (n, _), v in found.items() if n == name)


def http_get(scene, target, method=b"GET"):
    with scene.dial() as sock:
        host = target.split("/")[2].encode()
        return exchange(sock, method + b" " + target.encode() + b" HTTP/1.1\r\nHost: " + host +
                        b"\r\nConnection: close\r\n\r\n")


def test_every_metric_of_the_interface_is_there(scene, ukai):
    names = {name for name, _ in metrics(scene)}
    for name in ("ukai_tunnels_open", "ukai_connections_total", "ukai_bytes_total", "ukai_connect_seconds_bucket",
                 "ukai_connect_seconds_sum", "ukai_connect_seconds_count", "ukai_dns_upstream_seconds_count",
                 "ukai_dns_queries_total", "ukai_dns_cache_entries", "ukai_dns_cache_bytes", "ukai_log_dropped_total",
                 "ukai_config_reloads_total", "ukai_config_loaded_timestamp_seconds", "ukai_build_info",
                 "process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes",
                 "process_open_fds", "process_max_fds", "process_start_time_seconds"):
        assert name in names, name
    text = body(ask(scene, b"/metrics")).decode()
    for name in ("ukai_http_requests_total", "ukai_acl_hits_total", "ukai_dns_upstream_failures_total"):
        assert f"# TYPE {name} counter" in text


def test_counts_are_those_of_the_transactions(scene):
    with Ukai(scene, config(), IN.replace("10\ntcp 8080", '10 ; a "memo" \\ Webプロキシ\ntcp 8080', 1)) as daemon:
        before = metrics(scene)
        listener = scene.origin(443)
        socks = []
        for _ in range(3):
            sock = scene.dial()
            open_tunnel(sock, f"{listener.getsockname()[0]}:443")
            conn = scene.accept(listener)
            sock.sendall(b"u" * 1000)
            assert read_exactly(conn, 1000) == b"u" * 1000
            conn.sendall(b"d" * 5000)
            assert read_exactly(sock, 5000) == b"d" * 5000
            socks.append((sock, conn))
        during = metrics(scene)
        assert value(during, "ukai_tunnels_open") == 3
        assert value(during, "ukai_bytes_total", listener="lan", direction="up") == 3000, "of open tunnels too"
        assert value(during, "ukai_bytes_total", listener="lan", direction="down") == 15000
        for sock, conn in socks:
            sock.close()
            conn.close()
        for _ in range(2):
            with scene.dial() as sock:
                assert exchange(sock, b"CONNECT 10.0.0.1:443 HTTP/1.1\r\n\r\n").status == 403
        with scene.dial() as sock:
            assert exchange(sock, b"GARBAGE\r\n\r\n").status == 400
        with scene.dial() as sock:
            assert exchange(sock, f"BREW http://{AGENTS}:22/ HTTP/1.1\r\nHost: {AGENTS}:22\r\n\r\n".encode()).status == 403
        listener.close()
        after = wait_until(lambda: (lambda m: m if total(m, "ukai_connections_total") == 7 else None)(metrics(scene)))
        ended = {dict(labels)["result"]: v for (n, labels), v in after.items() if n == "ukai_connections_total" and v}
        assert ended == {"client_closed": 3, "special_use": 2, "bad_request": 1, "port_denied": 1} or \
            sum(ended.values()) == 7 and ended["special_use"] == 2, ended
        requests = {(dict(l)["method"], dict(l)["status"]): v for (n, l), v in after.items()
                    if n == "ukai_http_requests_total"}
        assert requests == {("CONNECT", "200"): 3, ("CONNECT", "403"): 2, ("other", "400"): 1, ("other", "403"): 1}
        assert value(after, "ukai_bytes_total", listener="lan", direction="up") == 3000
        assert value(after, "ukai_connect_seconds_count") == 3
        assert value(after, "ukai_connect_seconds_bucket", le="+Inf") == 3
        assert value(after, "ukai_tunnels_open") == 0
        hits = {dict(l)["line"]: (v, dict(l)["memo"]) for (n, l), v in after.items() if n == "ukai_acl_hits_total"}
        assert hits["2"] == (7, 'a \\"memo\\" \\\\ Webプロキシ'), hits
        assert total(before, "ukai_connections_total") == 0


def test_dns_counts(scene, ukai):
    for _ in range(2):
        assert scene.host10.run(["dig", "+short", "@192.168.1.254", AGENTS]).stdout.strip()
    assert scene.host10.run(["dig", "+tcp", "+short", "@192.168.1.254", AGENTS]).stdout.strip()
    found = metrics(scene)
    udp = {r: value(found, "ukai_dns_queries_total", transport="udp", result=r) for r in ("hit", "miss", "denied")}
    assert udp["hit"] + udp["miss"] == 2 and udp["miss"] >= 1 and udp["denied"] == 0
    assert sum(v for (n, l), v in found.items() if n == "ukai_dns_queries_total" and ("transport", "tcp") in l) == 1
    assert value(found, "ukai_dns_upstream_seconds_count") >= 1
    assert value(found, "ukai_dns_cache_entries") >= 1 and value(found, "ukai_dns_cache_bytes") > 0


def test_reloads_are_counted_and_keep_the_figures(scene, ukai):
    with scene.dial() as sock:
        exchange(sock, b"GARBAGE\r\n\r\n")
    ukai.reload(acl="[in]\nnonsense\n", expect="refused")
    changed = config(web={"listen-port": "8081"})
    ukai.reload(acl=IN + "tcp 8081 = 192.168.1.10\n", config=changed)
    with scene.dial(port=8081) as sock:
        exchange(sock, b"GARBAGE\r\n\r\n")
    found = wait_until(lambda: (lambda m: m if total(m, "ukai_connections_total") == 2 else None)(metrics(scene)))
    assert value(found, "ukai_config_reloads_total", result="ok") == 1
    assert value(found, "ukai_config_reloads_total", result="refused") == 1
    assert value(found, "ukai_http_requests_total", listener="lan", method="other", status="400") == 2


def test_metrics_only_under_our_own_names(scene, ukai):
    for host in (b"evil.example", b"192.168.1.254.evil.example", b"localhost.evil.example:9090", b"x" * 300):
        assert ask(scene, b"/metrics", host=host).status == 421, host
    for host in (b"192.168.1.254", b"[2001:db8::1]:9090", b"LOCALHOST:9090", socket.gethostname().encode()):
        assert ask(scene, b"/metrics", host=host).status == 200, host

def test_plain_requests_and_keep_alive(scene):
    with Ukai(scene, config(), IN) as daemon:
        listener = scene.origin(80)
        host = listener.getsockname()[0]
        with scene.dial() as sock:
            for number in range(3):
                sock.sendall(f"GET http://{host}/{number} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                if number == 0:
                    conn = scene.accept(listener)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += conn.recv(4096)
                conn.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\nhello" % (200, 404, 299)[number])
                answer = b""
                while not answer.endswith(b"hello"):
                    answer += sock.recv(4096)
        found = wait_until(lambda: (lambda m: m if total(m, "ukai_connections_total") == 1 else None)(metrics(scene)))
        requests = {(dict(l)["method"], dict(l)["status"]): v for (n, l), v in found.items()
                    if n == "ukai_http_requests_total"}
        assert requests == {("GET", "200"): 1, ("GET", "404"): 1, ("GET", "other"): 1}
        assert value(found, "ukai_connections_total", listener="lan", result="ok") == 1
        assert value(found, "ukai_connect_seconds_count") == 1, "one connection to the origin served all three"
        assert value(found, "ukai_bytes_total", listener="lan", direction="down") == 15
        conn.close()


def test_unlisted_sources_are_counted(scene):
    with Ukai(scene, config(), "[in]\ntcp 8080 = 192.168.1.99\n") as daemon:
        for _ in range(5):
            with scene.dial() as sock:
                try:
                    assert sock.recv(1) == b""
                except ConnectionError:
                    pass
        found = metrics(scene)
        assert value(found, "ukai_connections_total", listener="lan", result="source_denied") == 5
        assert not any(name == "ukai_http_requests_total" for name, _ in found)


# automatic configuration

def test_pac_by_running_it(scene, ukai):
    reply = ask(scene, b"/wpad.dat", host=b"wpad.corp.example")
    assert reply.status == 200 and reply.field("content-type") == "application/x-ns-proxy-autoconfig"
    assert body(ask(scene, b"/proxy.pac")) == body(reply)
    cases = {"www.example.com": "PROXY 192.168.1.254:8080", "intranet": "DIRECT", "printer.local": "DIRECT",
             "10.1.2.3": "DIRECT", "172.16.0.1": "DIRECT", "172.32.0.1": "PROXY 192.168.1.254:8080",
             "192.168.7.7": "DIRECT", "198.51.100.1": "PROXY 192.168.1.254:8080", "LOCALHOST": "DIRECT",
             "[fd00::1]": "DIRECT", "fe80::1": "DIRECT", "[2001:db8::5]": "PROXY 192.168.1.254:8080",
             "10.1.2.3.example.com": "PROXY 192.168.1.254:8080", "www.example.com.": "PROXY 192.168.1.254:8080"}
    code = body(reply).decode() + f"\nconst cases = {json.dumps(list(cases))};\n" \
        "console.log(JSON.stringify(cases.map(h => FindProxyForURL('http://' + h + '/', h))));"
    done = subprocess.run(["node", "-e", code], capture_output=True, text=True, timeout=30)
    assert dict(zip(cases, json.loads(done.stdout))) == cases, done.stderr


def test_pac_names_several_listeners_the_near_one_first(scene):
    both = config(web={"listen-network": "192.168.1.253, 192.168.1.254"})
    with Ukai(scene, both, IN):
        assert b'return "PROXY 192.168.1.254:8080; PROXY 192.168.1.253:8080";' in body(ask(scene, b"/proxy.pac"))
