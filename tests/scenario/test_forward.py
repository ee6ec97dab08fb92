"""Plain HTTP as it should go: what passes unchanged, which connections are kept, who is judged when, what is recorded."""
import os
import pathlib
import re
import signal
import socket
import threading
import time

import pytest

from client import exchange, expect_refused, read_exactly, read_to_end
from daemon import Ukai, sections
from httporigin import HttpOrigin, answer, chunked
from httptalk import ADDRESSES, ORIGIN_6, ORIGIN_A, ORIGIN_B, Web, get, post, talk
from scene import LAN_ROUTER, OUT_ROUTER, SCRIPTED, wait_until

DENIED = "192.0.2.66"
IN = "[in]\ntcp 8080 = 192.168.1.10 ; Web用\ntcp 8080 = 192.168.1.20\ntcp 8083 = 192.168.1.10\ntcp 8084 = 192.168.1.10\n"
ACL = f"{IN}[out]\ndeny = {DENIED}\n"
TIMES = {"head": "2s", "dns": "1s", "connect": "2s", "http-idle": "3s", "http-response": "1s", "drain": "5s"}


@pytest.fixture(scope="module")
def origin(scene):
    made = HttpOrigin(scene.outer, ADDRESSES)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ukai(scene):
    """One worker, so that one pool serves all; a second listener leaves by the outer address instead of the interface."""
    config = sections(SCRIPTED, dns=False, timeouts=TIMES, process={"workers": "1"})
    config["web-proxy other"] = {"listen-network": "lan0", "listen-port": "8083", "bypass-network": OUT_ROUTER,
                                 "name-server": SCRIPTED}
    with Ukai(scene, config, ACL) as daemon:
        yield daemon


@pytest.fixture
def web(scene, oracle, ukai, origin):
    pair = Web(scene, ukai, origin)
    yield pair
    pair.settle()


def used(web, mark, *paths):
    """Numbers of the origin connections that carried the paths, in the order of the paths."""
    return [next(c.number for c in web.origin.since(0) for r in c.requests if r.target == path) for path in paths]


def unique(web, n):
    """Paths that no test has asked for yet."""
    return [web.origin.answer(answer(b"u%d" % i)) for i in range(n)]


# connections kept

def test_two_clients_in_turn_share_one_origin_connection(web):
    paths = unique(web, 20)
    one, two = web.dial(), web.dial(web.scene.host20)
    for i, path in enumerate(paths):
        done = web.ask(get(path), sock=two if i % 2 else one)
        assert done.bodies == [b"u%d" % i], done
    assert len(set(used(web, 0, *paths))) == 1


def test_a_new_client_connection_finds_the_kept_one(web):
    paths = unique(web, 5)
    for path in paths:
        assert web.ask(get(path, "Connection: close\r\n"), wait_end=True).statuses == [200]
    assert len(set(used(web, 0, *paths))) == 1


def test_the_connection_used_last_is_taken_first(web):
    slow, quick = web.origin.answer(0.3, answer(b"slow")), web.origin.answer(0.1, answer(b"quick"))
    socks = web.dial(), web.dial()
    threads = [threading.Thread(target=lambda s=sock, p=path: out.update({p: talk(s, get(p))}))
               for sock, path in zip(socks, (slow, quick))]
    out = {}
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert out[slow].bodies + out[quick].bodies == [b"slow", b"quick"]
    for done in out.values():
        web.owe(done.port)
    (after,) = unique(web, 1)
    web.ask(get(after))
    last, first, next_one = used(web, 0, slow, quick, after)
    assert last != first and next_one == last


def test_ports_and_addresses_have_connections_of_their_own(web):
    targets = [(ORIGIN_A, "/"), (f"{ORIGIN_A}:8000", "/"), (ORIGIN_B, "/"), (f"[{ORIGIN_6}]", "/")]
    paths = unique(web, 4)
    for (host, _), path in zip(targets, paths):
        assert web.ask(get(path, host=host)).statuses == [200]
    assert len(set(used(web, 0, *paths))) == 4
    assert [web.origin.connection_of(path).local for path in paths] == [
        (ORIGIN_A, 80), (ORIGIN_A, 8000), (ORIGIN_B, 80), (ORIGIN_6, 80)]


def test_another_way_out_is_another_connection(web, scene, ukai, origin):
    paths = unique(web, 2)
    assert web.ask(get(paths[0])).statuses == [200]
    done = talk(scene.dial(port=8083), get(paths[1]))
    web.owe(done.port)
    assert done.statuses == [200] and len(set(used(web, 0, *paths))) == 2


def test_two_names_of_one_address_share_a_connection(web):
    a, b = web.scene.name("one", a=[ORIGIN_A]), web.scene.name("two", a=[ORIGIN_A])
    paths = unique(web, 2)
    assert web.ask(get(paths[0], host=a)).statuses == [200] and web.ask(get(paths[1], host=b)).statuses == [200]
    assert len(set(used(web, 0, *paths))) == 1
    assert [web.origin.one(p).field("host") for p in paths] == [a, b]


@pytest.mark.parametrize("data, kept", [
    (answer(b"x"), True), (answer(b""), True), (b"HTTP/1.1 204 No Content\r\n\r\n", True),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc"), True),
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", True),
    (answer(b"x", fields="Connection: close\r\n"), False), (answer(b"x", fields="Connection: X, ClOsE\r\n"), False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", False)],
    ids=["length", "empty", "204", "chunked", "1.0-keep", "close", "close-in-list", "1.0"])
def test_which_answers_leave_a_connection_to_keep(web, data, kept):
    path, (after,) = web.origin.answer(data), unique(web, 1)
    assert web.ask(get(path)).statuses[0] in (200, 204)
    assert web.ask(get(after)).statuses == [200]
    assert (len(set(used(web, 0, path, after))) == 1) == kept


def test_a_kept_connection_that_ends_is_let_go(web):
    path = web.origin.answer(answer(b"x"))
    before = web.ukai.n_fds()
    assert web.ask(get(path, "Connection: close\r\n"), wait_end=True).statuses == [200]
    conn = web.origin.connection_of(path)
    conn.sock.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: web.ukai.n_fds() <= before, 2, "the end of the kept connection")


def stop_all_threads(daemon):
    """SIGSTOP is done when no thread runs any more."""
    daemon.signal(signal.SIGSTOP)
    tasks = pathlib.Path(f"/proc/{daemon.pid}/task")
    wait_until(lambda: all((task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T" for task in tasks.iterdir()), what="stopped threads")


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_connection_that_died_unseen_is_not_used(web, how):
    """While the daemon is stopped the kept connection dies and a POST arrives: it must not be written to the dead one."""
    first, path = web.origin.answer(answer(b"x")), web.origin.does(lambda conn, request: conn.send(answer(bytes(request.body))))
    sock = web.dial()
    assert web.ask(get(first), sock=sock).statuses == [200]
    conn = web.origin.connection_of(first)
    stop_all_threads(web.ukai)
    try:
        sock.sendall(post(path, b"once"))
        if how == "rst":
            conn.reset()
            conn.sock.shutdown(socket.SHUT_RD)     # wakes the thread that reads, which closes it
            wait_until(lambda: conn.end, what="end at the origin")
        else:
            conn.sock.shutdown(socket.SHUT_WR)
        time.sleep(0.1)
    finally:
        web.ukai.signal(signal.SIGCONT)
    done = talk(sock, b"", ["POST"])
    web.owe(done.port)
    assert done.bodies == [b"once"], done
    assert len(web.origin.find(path)) == 1


def test_a_kept_connection_ends_at_the_idle_limit(web):
    (path,) = unique(web, 1)
    assert web.ask(get(path)).statuses == [200]
    began = time.monotonic()
    wait_until(lambda: web.origin.connection_of(path).end, 6, "end of the kept connection")
    assert time.monotonic() - began > 1.5


def test_a_client_that_is_idle_between_requests_is_closed_without_a_word(web):
    sock = web.dial()
    assert web.ask(get(), sock=sock).statuses == [200]
    assert read_to_end(sock, 6) == (b"", "fin")


# order

def test_pipelined_answers_come_in_order(web):
    slow = web.origin.answer(0.2, answer(b"slow"))
    done = web.ask(get(slow), *[get(f"/p{i}") for i in range(9)], post("/q", b"body"), get("/last"))
    assert done.bodies == [b"slow"] + [b"/p%d" % i for i in range(9)] + [b"/q", b"/last"], done


def test_a_long_pipeline(web):
    paths = [f"/{i}/" + "x" * (i % 50) for i in range(500)]
    done = web.ask(*map(get, paths), deadline_s=20)
    assert done.bodies == [path.encode() for path in paths]


def test_the_next_request_is_not_sent_before_this_answer_is_out(web):
    slow, (after,) = web.origin.answer(0.3, answer(b"slow")), unique(web, 1)
    sock = web.dial()
    sock.sendall(get(slow) + get(after))
    time.sleep(0.15)
    assert web.origin.find(slow) and not web.origin.find(after)
    done = talk(sock, b"", ["GET", "GET"])
    web.owe(done.port, 2)
    assert done.statuses == [200, 200]


# judged anew

def test_a_reload_between_requests_decides_the_next_one(web):
    sock = web.dial()
    assert web.ask(get(), sock=sock).statuses == [200]
    try:
        web.ukai.reload(acl=f"{IN}[out]\ndeny = {DENIED}\ndeny = {ORIGIN_A}\n")
        n = len(web.origin.requests)
        done = web.ask(get(), sock=sock)
        assert done.statuses == [403] and len(web.origin.requests) == n, done
    finally:
        web.ukai.reload(acl=ACL)
    assert web.ask(get()).statuses == [200]


def test_a_reload_takes_the_source_away(web):
    sock = web.dial()
    assert web.ask(get(), sock=sock).statuses == [200]
    try:
        web.ukai.reload(acl=ACL.replace("tcp 8080 = 192.168.1.10 ; Web用\n", ""))
        n = len(web.origin.requests)
        reply = exchange(sock, get(), deadline_s=3)
        web.owe(sock.getsockname()[1], 0)
        assert reply.status in (None, 403) and reply.end in ("fin", "rst") and len(web.origin.requests) == n, reply
        web.due.clear()
    finally:
        web.ukai.reload(acl=ACL)


def test_a_reload_closes_what_is_kept_and_spares_what_runs(web):
    kept, slow = web.origin.answer(answer(b"kept")), web.origin.answer(0.4, answer(b"slow"))
    one, two = web.dial(), web.dial()
    two.sendall(get(slow))
    wait_until(lambda: web.origin.find(slow), what="request at the origin")
    assert web.ask(get(kept), sock=one).statuses == [200]
    web.ukai.reload(acl=ACL + "deny = 192.0.2.67\n")
    wait_until(lambda: web.origin.connection_of(kept).end, 2, "end of the kept connection")
    done = talk(two, b"")
    web.owe(done.port)
    assert done.bodies == [b"slow"], done
    web.ukai.reload(acl=ACL)


def test_pipelined_to_a_denied_host(web):
    done = web.ask(get("/a"), get("/b", host=ORIGIN_B), get("/c", host=DENIED), get("/d"), lines=3, wait_end=True)
    assert done.statuses == [200, 200, 403] and web.origin.find("/d") == [], done


@pytest.mark.parametrize("port", [22, 25, 443 + 1, 1023, 6000])
def test_ports_outside_the_list(scene, oracle, origin, web, port):
    in_list = port in (80, 443, 21, 70, 210, 280, 488, 591, 777, 873) or port >= 1025
    sock = web.dial()
    web.owe(sock.getsockname()[1])
    with scene.capture(scene.router, "out0", f"tcp and dst port {port}") as seen:
        reply = exchange(sock, get(host=f"{ORIGIN_A}:{port}"), deadline_s=4)
    if in_list:
        expect_refused(reply, 502, proxy_status="connection_refused")
        assert seen.lines()
    else:
        expect_refused(reply, 403, proxy_status="http_request_denied")
        assert "http-ports" in reply.reason and seen.lines() == [], reply


def test_a_list_of_ports_of_ones_own(scene, origin):
    config = sections(SCRIPTED, dns=False, web={"listen-port": "8084", "http-ports": "8000-8001"}, timeouts=TIMES)
    with Ukai(scene, config, ACL, name="ports") as daemon:
        assert talk(scene.dial(port=8084), get(host=f"{ORIGIN_A}:8000")).statuses == [200]
        expect_refused(exchange(scene.dial(port=8084), get()), 403)
        scene.close_clients()
        assert daemon.is_alive()


def test_special_use_destinations(web):
    names = [web.scene.name("private", a=["10.1.2.3"]), web.scene.name("loop", a=["127.0.0.1"], aaaa=["::1"])]
    hosts = ["127.0.0.1", "10.0.0.1", "192.168.1.10", "169.254.169.254", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]",
             "[64:ff9b::7f00:1]", "100.64.0.1", *names]
    web.refuse_all("one-write", [get(host=h) for h in hosts], 403, proxy_status="destination_ip_prohibited")
    web.refuse_all("one-write", [get(host=h) for h in ("127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost.")[:4]], 400)


def test_own_listeners(web):
    hosts = [f"{LAN_ROUTER}:8080", f"{OUT_ROUTER}:8080", "[2001:db8:1::254]:8080", web.scene.name("self", a=[OUT_ROUTER]) + ":8080"]
    web.refuse_all("one-write", [get(host=h) for h in hosts], 403, proxy_status="destination_ip_prohibited")


def test_a_refused_head_gets_no_body(web):
    done = web.ask(get(host=DENIED, method="HEAD"), wait_end=True)
    assert done.statuses == [403] and done.reply.raw.endswith(b"\r\n\r\n"), done


# destinations that fail

def test_destinations_that_fail(web):
    silent = web.scene.name("silent", silent=True)
    for host, status, error in ((f"{ORIGIN_A}:8001", 502, "connection_refused"), ("198.51.100.230", 502, "destination_ip_unroutable"),
                                ("198.51.100.200", 504, "connection_timeout"), ("nx.example", 502, "dns_error"),
                                (silent, 504, "dns_timeout")):
        web.refuse_all("one-write", [get(host=host)], status, proxy_status=error)


def test_an_origin_that_never_answers(web):
    path = web.origin.does(lambda *_: None)
    began = time.monotonic()
    web.refuse_all("one-write", [get(path)], 504, proxy_status="http_response_timeout", reaches=True)
    assert 0.8 < time.monotonic() - began < 2.5
    wait_until(lambda: web.origin.connection_of(path).end, 3, "end of the origin connection")


def test_a_slow_origin_that_does_answer(web):
    pieces = [part for n in range(8) for part in (b"abcdefgh"[n:n + 1], 0.2)]
    path = web.origin.answer(b"HTTP/1.1 200 OK\r\nContent-Le", 0.1, b"ngth: 8\r\n\r", 0.1, b"\n", *pieces)
    assert web.ask(get(path)).bodies == [b"abcdefgh"]


def test_the_second_address_of_a_name_serves(web):
    name = web.scene.name("two", a=["198.51.100.200", ORIGIN_B])
    (path,) = unique(web, 1)
    assert web.ask(get(path, host=name)).statuses == [200]
    assert web.origin.connection_of(path).local == (ORIGIN_B, 80)


# versions and bodies

def test_an_old_client_gets_one_answer_and_the_end(web):
    for fields in ("", "Host: h\r\n"):
        done = web.ask(get("/old", fields, version="HTTP/1.0", own_host=""), wait_end=True)
        assert done.bodies == [b"/old"] and done.end == "fin" and done.answers[0].version == "HTTP/1.1", done
        assert "close" in done.answers[0].field("connection")


def test_an_old_client_that_asks_is_kept(web):
    sock = web.dial()
    for field in ("Connection: keep-alive\r\n", "Proxy-Connection: Keep-Alive\r\n"):
        done = web.ask(get("/kept", field, version="HTTP/1.0"), sock=sock)
        assert done.bodies == [b"/kept"] and "keep-alive" in done.answers[0].field("connection").lower(), done


def test_an_old_client_never_sees_chunks(web):
    for data, end in ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc", b"def"), None),
                      (b"HTTP/1.1 200 OK\r\n\r\nabcdef", "fin")):
        path = web.origin.answer(data, end=end)
        done = web.ask(get(path, "Connection: keep-alive\r\n", version="HTTP/1.0"), wait_end=True)
        assert done.bodies == [b"abcdef"] and not done.answers[0].has("transfer-encoding") and done.end == "fin", done


def test_an_answer_until_close_is_chunked_for_a_new_client(web):
    path = web.origin.answer(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n", b"abc", 0.05, b"def", end="fin")
    done = web.ask(get(path), get("/next"))
    assert done.bodies == [b"abcdef", b"/next"] and done.answers[0].field("transfer-encoding") == "chunked", done


@pytest.mark.parametrize("method, data", [
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: \"e\"\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"e\"\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 404 Not Found\r\nETag: \"e\"\r\n\r\n"),
    ("GET", b"HTTP/1.1 204 No Content\r\nETag: \"e\"\r\n\r\n"),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12345\r\nETag: \"e\"\r\n\r\n"),
    ("GET", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n")])
def test_answers_without_a_body(web, method, data):
    path, (after,) = web.origin.answer(data), unique(web, 1)
    done = web.ask(get(path, method=method), get(after))
    assert done.bodies == [b"", b"u0"] and done.answers[0].field("etag") == '"e"', done
    if b"12345" in data:
        assert done.answers[0].field("content-length") == "12345"
    assert len(set(used(web, 0, path, after))) == 1


def test_ranges_pass_untouched(web):
    head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/100\r\nContent-Length: 5\r\nAccept-Ranges: bytes\r\n\r\n"
    path = web.origin.answer(head + b"fghij")
    done = web.ask(get(path, 'Range: bytes=5-9\r\nIf-Range: "etag"\r\n'))
    seen = web.origin.one(path)
    assert (seen.field("range"), seen.field("if-range")) == ("bytes=5-9", '"etag"')
    assert done.answers[0].status == 206 and done.answers[0].field("content-range") == "bytes 5-9/100" and done.bodies == [b"fghij"]
    multi = web.origin.answer(answer(b"--B\r\n\r\n0\r\n--B--\r\n", "206 Partial Content", "Content-Type: multipart/byteranges; boundary=B\r\n"))
    assert web.ask(get(multi, "Range: bytes=0-0,2-2\r\n")).bodies == [b"--B\r\n\r\n0\r\n--B--\r\n"]


def test_a_client_that_half_closes_gets_its_answer(web):
    path = web.origin.answer(0.2, answer(b"z" * 100000))
    done = talk(web.dial(), get(path), half_close=True)
    web.owe(done.port)
    assert done.bodies == [b"z" * 100000], done


def test_both_bodies_at_once(web):
    """An origin that answers while it reads, piece by piece."""
    def work(conn, request):
        if not request.is_complete:
            conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nearly\r\n")
        else:
            conn.send(chunked(bytes(request.body)))

    path = web.origin.does(work, at="both")
    sock = web.dial()
    sock.sendall(get(path, "Transfer-Encoding: chunked\r\n", "POST", body=b"3\r\nabc\r\n"))
    got = b""
    while b"early" not in got:
        got += sock.recv(1000)
    sock.sendall(b"3\r\ndef\r\n0\r\n\r\n")
    rest, end = read_to_end(sock, 5)
    web.owe(sock.getsockname()[1])
    assert (got + rest).endswith(b"early\r\n6\r\nabcdef\r\n0\r\n\r\n") and end == "fin", (got, rest, end)


@pytest.mark.parametrize("size", [0, 1, 1000, 65535, 65536, 65537, 1 << 20, 5000001])
def test_bodies_of_many_sizes_each_way(web, size):
    body = os.urandom(size)
    path = web.origin.does(lambda conn, request: conn.send(
        answer(request.sha1.encode() if size > 1 << 20 else bytes(request.body))))
    up = web.ask(post(path, body), get(path, "Transfer-Encoding: chunked\r\n", "PUT", body=chunked(body) if body else b"0\r\n\r\n"))
    assert len(set(up.bodies)) == 1 and up.statuses == [200, 200]
    assert size > 1 << 20 or up.bodies[0] == body
    assert {r.n_body for r in web.origin.find(path)} == {size}
    assert len({r.sha1 for r in web.origin.find(path)}) == 1
    pieces = [body[i:i + 9973] for i in range(0, size, 9973)]
    for data, end in ((answer(body), None), (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(*pieces), None),
                      (b"HTTP/1.1 200 OK\r\n\r\n" + body, "fin")):
        down = web.origin.answer(data, end=end)
        sock = web.dial()
        sock.sendall(get(down, "Connection: close\r\n"))
        got, how = read_to_end(sock, 10)
        web.owe(sock.getsockname()[1])
        done = talk_of(got)
        assert how == "fin" and done.n_body == size and bytes(done.body) == body[:1 << 20], (how, done)


def talk_of(raw):
    from httpgrammar import Answers
    grammar = Answers(["GET"])
    answers = [message for kind, message in [*grammar.feed(raw), *grammar.finish()] if kind == "end"]
    assert len(answers) == 1, answers
    return answers[0]


# load

def test_many_clients_at_once(scene, oracle, ukai, origin):
    """80 clients, 25 requests each on kept connections, several kinds of body, aborts mixed in."""
    wrong, count = [], [0]
    big = origin.answer(answer(b"B" * 300000))
    socks = [scene.dial(scene.host10 if n % 2 else scene.host20, timeout=30) for n in range(80)]

    def client(n):
        sock = socks[n]
        for i in range(25):
            path = f"/c{n}/{i}"
            if (n + i) % 9 == 0:
                data, method, body = post(path, os.urandom(20000)), "POST", path.encode()
            elif (n + i) % 7 == 0:
                data, method, body = get(big), "GET", b"B" * 300000
            else:
                data, method, body = get(path), "GET", path.encode()
            done = talk(sock, data, [method], deadline_s=20)
            if done.bodies != [body] or done.violation:
                wrong.append((path, str(done)[:300]))
                return
            count[0] += 1
        if n % 4 == 0:
            sock.sendall(get(big))
            read_exactly(sock, 1000)
        sock.close()

    threads = [threading.Thread(target=client, args=(n,), daemon=True) for n in range(80)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert not wrong and count[0] == 80 * 25, (count, wrong[:3])
    origin.check()


def test_fifty_slow_readers_hold_little_memory(web):
    path = web.origin.answer(answer(b"S" * (8 << 20)))
    web.ask(get("/warm"))
    before, socks = web.ukai.rss_bytes(), [web.dial() for _ in range(50)]
    for sock in socks:
        sock.sendall(get(path))
        web.owe(sock.getsockname()[1])
    wait_until(lambda: len(web.origin.find(path)) == 50, what="all requests at the origin")
    for sock in socks:
        read_exactly(sock, 100)
    began = time.monotonic()
    assert web.ask(get("/meanwhile")).bodies == [b"/meanwhile"] and time.monotonic() - began < 1
    assert web.ukai.rss_bytes() - before < 50 * (256 << 10), web.ukai.rss_bytes() - before


def test_the_drain_lets_an_exchange_finish(scene, origin):
    config = sections(SCRIPTED, dns=False, web={"listen-port": "8084"}, timeouts=TIMES)
    with Ukai(scene, config, ACL, name="drained") as daemon:
        slow = origin.answer(0.5, answer(b"slow"))
        idle, sock = scene.dial(port=8084), scene.dial(port=8084)
        assert talk(idle, get()).statuses == [200]
        sock.sendall(get(slow))
        wait_until(lambda: origin.find(slow), what="request at the origin")
        daemon.signal(signal.SIGTERM)
        assert read_to_end(idle, 0.4) == (b"", "fin")
        done = talk(sock, b"", wait_end=True)
        assert done.bodies == [b"slow"] and done.end == "fin", done
        assert daemon.wait_exit(6) == 0


# records

def test_json_records(web):
    mark = web.ukai.mark()
    path = web.origin.does(lambda conn, request: conn.send(answer(b"12345")))
    name = web.scene.name("log", a=[ORIGIN_A])
    web.ask(get(path + "?secret=1", "User-Agent: tester/1\r\nContent-Length: 3\r\n", "POST", host=name, body=b"abc"))
    record = web.ukai.record(mark, lambda r: r.get("host") == name)
    wanted = {"event": "request", "src": "192.168.1.10", "listener": "lan", "method": "POST", "port": 80, "addr": f"{ORIGIN_A}:80",
              "memo": "Web用", "status": 200, "bytes_up": 3, "bytes_down": 5, "user_agent": "tester/1"}
    assert {key: record.get(key) for key in wanted} == wanted, record
    assert record["rule"].endswith("acl.conf:2") and all(record[k] >= 0 for k in ("dns_ms", "first_byte_ms", "duration_ms")), record
    assert "secret" not in web.ukai.access_path.read_text()


def test_json_records_of_what_fails(web):
    mark = web.ukai.mark()
    web.refuse_all("one-write", [get(host=DENIED)], 403)
    record = web.ukai.record(mark, lambda r: r.get("host") == DENIED)
    assert (record["event"], record["status"], record["method"], record["error"]) == ("refused", 403, "GET", "out_denied"), record
    assert "addr" not in record
    path = web.origin.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", end="fin")
    sock = web.dial()
    sock.sendall(get(path))
    assert read_to_end(sock, 5)[1] == "rst"
    web.owe(sock.getsockname()[1])
    record = web.ukai.record(mark, lambda r: r.get("src_port") == web_port(web))
    assert record["status"] == 200 and record["bytes_down"] == 4 and record["error"] == "origin_closed", record


def web_port(web):
    return list(web.due)[-1]


SQUID = re.compile(r"^\s*\d+\.\d{3}\s+\d+ \S+ [A-Z_]+/\d{3} \d+ \S+ \S+ \S+ \S+/\S+ \S+$")


@pytest.mark.parametrize("queries", ["no", "yes"])
def test_squid_records(scene, origin, queries):
    config = sections(SCRIPTED, dns=False, web={"listen-port": "8084"}, timeouts=TIMES, log={"access-format": "squid", "log-query-strings": queries})
    with Ukai(scene, config, ACL, name="squid") as daemon:
        name = scene.name("squid", a=[ORIGIN_A])
        talk(scene.dial(port=8084), get("/a/b?c=d", host=name) + get("/p", host=f"{name}:8000") + get("/", method="HEAD", host=name) +
             get("/x", host=DENIED), ["GET", "GET", "HEAD", "GET"])
        exchange(scene.dial(port=8084), b"G@RBAGE\r\n\r\n")
        lines = wait_until(lambda: (found := daemon.access_path.read_text().splitlines()) and len(found) >= 5 and found, 5, "five lines")
        scene.close_clients()
    assert all(SQUID.match(line) for line in lines) and len(lines) == 5, lines
    words = [line.split() for line in lines]
    query = "?c=d" if queries == "yes" else ""
    assert [w[6] for w in words[:4]] == [f"http://{name}/a/b{query}", f"http://{name}:8000/p", f"http://{name}/", f"http://{DENIED}/x"], lines
    assert [w[3] for w in words[:4]] == ["TCP_MISS/200"] * 3 + ["TCP_DENIED/403"], lines
    assert [w[5] for w in words[:4]] == ["GET", "GET", "HEAD", "GET"] and words[0][2] == "192.168.1.10"
    assert [w[8] for w in words[:4]] == [f"HIER_DIRECT/{ORIGIN_A}"] * 3 + ["HIER_NONE/-"], lines
    assert [int(w[4]) for w in words[:3]] == [len("/a/b?c=d"), len("/p"), 0], lines
    assert words[4][3] == "NONE_NONE/400", lines


def test_records_of_odd_urls_are_one_printable_line(web):
    mark = web.ukai.mark()
    for path in ("/%0a%0d", "/\"quoted\"", "/<b>", "/" + "x" * 4000, "/%", "/a|b^c`{}"):
        assert web.ask(get(path)).statuses == [200]
    assert web.ask(get("/", "User-Agent: \xe3\x81\x82 \xff\x80 \" \\ \t end\r\n")).statuses == [200]
    web.ukai.record(mark, lambda r: "end" in r.get("user_agent", ""))
