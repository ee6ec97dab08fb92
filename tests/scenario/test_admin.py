"""The admin's pages: who may ask, what hostile clients get, and that a reload moves the listener and nothing else."""
import socket
import time

import pytest

from client import exchange, read_to_end
from daemon import Ukai, run_tool, sections
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
