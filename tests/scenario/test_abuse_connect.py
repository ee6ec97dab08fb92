"""Hostile CONNECT requests and tunnels: groups R, H and C of the abuse cases. Every request comes in three feeds."""
import hashlib
import os
import random
import select
import signal
import socket
import threading
import time

import pytest

from client import (FEEDS, OPEN_200, exchange, expect_refused, open_tunnel, read_exactly, read_to_end, reset,
                    whole_head)
from daemon import Ukai, sections
from scene import ECHO, LAN_ROUTER, OUT_ROUTER, SCRIPTED, wait_until

GOOD, GOOD6 = "198.51.100.190:443", "2001:db8:55::1"      # the wildcard listener answers there
DEAD, UNREACHABLE, NO_LISTENER = "198.51.100.200", "198.51.100.230", "198.51.100.191:444"
LINE_LIMIT, HEAD_LIMIT = 8 << 10, 32 << 10

ACL = """[in]
tcp 8080 = 192.168.1.10 ; first
tcp 8080 = 192.168.1.20
tcp 8083 = 192.168.1.10
tcp 8084 = 192.168.1.10
"""


@pytest.fixture(scope="module")
def ukai(scene):
    config = sections(SCRIPTED, dns=False, web={"connect-ports": "443, 444, 8080"},
                      timeouts={"head": "2s", "dns": "1s", "connect": "2s"})
    with Ukai(scene, config, ACL) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def quick(scene):
    """A daemon with short limits for tunnels, on port 8083."""
    config = sections(SCRIPTED, dns=False, web={"listen-port": "8083"},
                      timeouts={"head": "2s", "connect": "10s", "tunnel-idle": "2s", "half-closed": "1500ms"})
    with Ukai(scene, config, ACL, name="quick") as daemon:
        yield daemon


feeds = pytest.mark.parametrize("feed", FEEDS)


def connect(target=GOOD, version="HTTP/1.1", fields=""):
    return f"CONNECT {target} {version}\r\n{fields}\r\n".encode("latin-1")


def refuse_all(scene, feed, requests, *statuses, proxy_status=None):
    """Each request on a connection of its own; reports every one that is not refused as wanted."""
    wrong = []
    for i, data in enumerate(requests):
        sock = scene.dial()
        reply = exchange(sock, data, feed, stop=lambda raw: raw.startswith(OPEN_200), seed=i, deadline_s=6)
        try:
            expect_refused(reply, *statuses, proxy_status=proxy_status)
        except AssertionError as error:
            wrong.append(f"{data[:120]!r}: {error}")
        sock.close()
    assert not wrong, "\n".join([f"{len(wrong)} of {len(requests)}:"] + wrong)


def accept_all(scene, feed, requests):
    wrong = []
    for i, data in enumerate(requests):
        sock = scene.dial()
        reply = exchange(sock, data, feed, stop=whole_head, seed=i, deadline_s=6)
        if reply.raw != OPEN_200:
            wrong.append(f"{data[:120]!r}: {reply}")
        sock.close()
    assert not wrong, "\n".join([f"{len(wrong)} of {len(requests)}:"] + wrong)


def tunnel(scene, port=8080, listener=None):
    listener = listener or scene.origin()
    sock = scene.dial(port=port)
    assert open_tunnel(sock, f"{listener.getsockname()[0]}:443") == b""
    return sock, scene.accept(listener)


# R: the request line

def test_R01_slow_heads_end_at_the_header_timeout(scene, ukai):
    heads = [b"", b"CONN", b"CONNECT " + GOOD.encode(), connect()[:-1], connect()[:-2]]
    socks = [scene.dial() for _ in heads]
    for sock, data in zip(socks, heads):
        sock.sendall(data)
    began = time.monotonic()
    open_tunnel(scene.dial(), GOOD)
    for sock, data in zip(socks, heads):
        reply = exchange(sock, b"", deadline_s=8)
        assert reply.end in ("fin", "rst"), (data, reply)
        if reply.raw or data:
            expect_refused(reply, 408)
    assert 1 < time.monotonic() - began < 6


def test_R01_trickled_head_is_late_too(scene, ukai):
    sock = scene.dial()
    sock.settimeout(0.3)
    began, data = time.monotonic(), connect(fields="X: " + "y" * 500 + "\r\n")
    for i in range(len(data)):
        try:
            sock.sendall(data[i:i + 1])
            if sock.recv(1000):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    assert time.monotonic() - began < 6


@feeds
def test_R02_a_few_leading_crlf_are_taken(scene, ukai, feed):
    accept_all(scene, feed, [b"\r\n" * n + connect() for n in (1, 2, 4)])


@feeds
def test_R02_endless_leading_crlf_are_refused(scene, ukai, feed):
    refuse_all(scene, feed, [b"\r\n" * 20000, b"\r\n" * 5 + connect()], 400)
    refuse_all(scene, feed, [b"\n" + connect(), b"\r" + connect()], 400)


def test_R02_lone_cr_as_last_byte(scene, ukai):
    sock = scene.dial()
    sock.sendall(connect()[:-1])
    assert select.select([sock], [], [], 0.3)[0] == []
    sock.sendall(b"\n")
    assert read_exactly(sock, len(OPEN_200)) == OPEN_200


def test_R03_any_cut_gives_the_same_result(scene, ukai):
    data = connect(fields="Host: h\r\nProxy-Connection: Keep-Alive\r\n")
    wrong = []
    for at in range(1, len(data)):
        sock = scene.dial()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(data[:at])
        time.sleep(0.002)
        reply = exchange(sock, data[at:], stop=whole_head, deadline_s=5)
        if reply.raw != OPEN_200:
            wrong.append((at, reply))
        sock.close()
    assert not wrong, wrong


def line_of(size):
    return b"CONNECT " + b"a" * (size - len("CONNECT :443 HTTP/1.1")) + b":443 HTTP/1.1\r\n\r\n"


@feeds
def test_R04_request_line_limit(scene, ukai, feed):
    refuse_all(scene, feed, [line_of(n) for n in (LINE_LIMIT - 1, LINE_LIMIT)], 400)
    refuse_all(scene, feed, [line_of(n) for n in (LINE_LIMIT + 1, 96 << 10)], 414)


def test_R04_ten_megabytes_of_request_line(scene, ukai):
    before = ukai.rss_bytes()
    refuse_all(scene, "one-write", [line_of(10 << 20), b"A" * (10 << 20)], 414, 501)
    assert ukai.rss_bytes() - before < 16 << 20


@feeds
def test_R05_odd_methods(scene, ukai, feed):
    methods = ["C" * 1024, 'CON"NECT', "CONNECT(", "@CONNECT", "CON@NECT", "", "CONNECT:", "{", "C\xd6NNECT"]
    refuse_all(scene, feed, [f"{m} {GOOD} HTTP/1.1\r\n\r\n".encode("latin-1") for m in methods], 400, 501)


@feeds
def test_R06_methods_are_case_sensitive(scene, ukai, feed):
    lines = [f"connect {GOOD}", f"Connect {GOOD}", f"CONNECt {GOOD}", f"get http://{GOOD}/", f"FOO {GOOD}"]
    refuse_all(scene, feed, [f"{line} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for line in lines], 501)


@feeds
def test_R08_trace_is_not_reflected(scene, ukai, feed):
    fields = "Host: h\r\nMax-Forwards: 0\r\nProxy-Authorization: Basic c2VjcmV0\r\n\r\n"
    for target in ("http://198.51.100.190/", GOOD):
        reply = exchange(scene.dial(), f"TRACE {target} HTTP/1.1\r\n{fields}".encode(), feed)
        expect_refused(reply, 405)
        assert b"c2VjcmV0" not in reply.raw and b"Max-Forwards" not in reply.raw


@feeds
def test_R09_no_version(scene, ukai, feed):
    lines = [f"CONNECT {GOOD}", "GET http://198.51.100.190/", f"CONNECT {GOOD} ", "CONNECT", "CONNECT "]
    refuse_all(scene, feed, [f"{line}\r\n\r\n".encode() for line in lines], 400)


@feeds
def test_R10_http2_preface(scene, ukai, feed):
    refuse_all(scene, feed, [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], 505)


@feeds
def test_R11_other_versions(scene, ukai, feed):
    versions = ["HTTP/1.2", "HTTP/1.32", "HTTP/01.1", "http/1.1", "HTTP/4294967297.1", "HTTP/1.", "HTTP/1", "HTTP/.1",
                "HTTP/1.11", "HTTP/2.0", "HTTP/0.9", "HTTP/1.1x", "HTTPS/1.1", "HTTP/1,1", "HTTP/-1.1", "HTTP/1.4294967297",
                "Http/1.1", "HTTP /1.1", "xHTTP/1.1", "HTTP/3"]
    refuse_all(scene, feed, [connect(version=v) for v in versions], 400, 505)


@feeds
def test_R12_blanks_between_the_words(scene, ukai, feed):
    lines = []
    for blank in ("\t", "\v", "\f", "\r", "  ", " \t", "\x85", "\xa0"):
        lines += [f"CONNECT{blank}{GOOD} HTTP/1.1", f"CONNECT {GOOD}{blank}HTTP/1.1"]
    lines += [f"CONNECT {GOOD} HTTP/1.1 ", f" CONNECT {GOOD} HTTP/1.1", f"CONNECT {GOOD} HTTP/1.1\t",
              f"CONNECT {GOOD} x HTTP/1.1", f"\tCONNECT {GOOD} HTTP/1.1"]
    refuse_all(scene, feed, [f"{line}\r\n\r\n".encode("latin-1") for line in lines], 400)


@feeds
def test_R13_bare_lf(scene, ukai, feed):
    line = f"CONNECT {GOOD} HTTP/1.1"
    refuse_all(scene, feed, [data.encode() for data in (
        f"{line}\n\n", f"{line}\nHost: h\n\n", f"{line}\r\nHost: h\n\r\n", f"{line}\nHost: h\r\n\r\n",
        f"{line}\r\nHost: h\r\n\n", f"{line}\n\r\n")], 400)


@feeds
def test_R14_bare_cr(scene, ukai, feed):
    refuse_all(scene, feed, [data.encode() for data in (
        f"CONNECT {GOOD}\r HTTP/1.1\r\n\r\n", "CONNECT 198.51\r.100.190:443 HTTP/1.1\r\n\r\n",
        f"CONNECT {GOOD} HTTP/1.1\rHost: h\r\n\r\n", f"CONNECT {GOOD} HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        f"CONNECT {GOOD} HTTP/1.1\r\nHost: a\r\r\n\r\n", f"CONNECT {GOOD} HTTP/1.1\r\r\n\r\n")], 400)


@feeds
def test_R15_nul(scene, ukai, feed):
    refuse_all(scene, feed, [b"CON\0NECT x:443 HTTP/1.1\r\n\r\n", b"CONNECT h\0.evil:443 HTTP/1.1\r\n\r\n",
                             b"CONNECT 198.51.100.190:443\0 HTTP/1.1\r\n\r\n", b"CONNECT h:443 HTTP/1.1\0\r\n\r\n",
                             b"\0CONNECT h:443 HTTP/1.1\r\n\r\n"], 400)


@feeds
def test_R16_raw_bytes_in_the_target(scene, ukai, feed):
    scene.dns.forget()
    targets = ["h%s.example:443" % chr(n) for n in (1, 8, 0x1b, 0x7f, 0x80, 0x9b, 0xa0, 0xff)]
    targets += ["h\"x:443", "<h>:443", "h\\x:443", "h^x:443", "h`x:443", "{h}:443", "h|x:443", "h x:443", "h!x:443"]
    refuse_all(scene, feed, [connect(t) for t in targets], 400)
    assert scene.dns.asked() == []


@feeds
def test_R17_origin_form(scene, ukai, feed):
    refuse_all(scene, feed, [f"{m} / HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode() for m in ("GET", "POST", "DELETE")], 400)
    refuse_all(scene, feed, [b"CONNECT / HTTP/1.1\r\nHost: h:443\r\n\r\n"], 400)


@feeds
def test_R18_asterisk_and_other_forms(scene, ukai, feed):
    lines = ("GET *", "OPTIONS */x", "GET admin", "CONNECT *", "GET ?x", "GET *:443")
    refuse_all(scene, feed, [f"{line} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for line in lines], 400)
    reply = exchange(scene.dial(), b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", feed)
    assert reply.status in (200, 204, 501) and reply.end in ("fin", "rst"), reply


@feeds
def test_R19_other_schemes(scene, ukai, feed):
    targets = ["ftp://h/", "gopher://h/", "urn:x", "file:///etc/passwd", "cache_object://h/", "whois://h/",
               "jar:http://h/!/", "http+unix://h/", "://h/", "1http://h/"]
    refuse_all(scene, feed, [f"GET {t} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for t in targets], 400, 501)
    refuse_all(scene, feed, [connect(t) for t in targets + [f"http://{GOOD}", f"https://{GOOD}"]], 400)


@feeds
def test_R20_https_in_absolute_form(scene, ukai, feed):
    refuse_all(scene, feed, [b"GET https://198.51.100.190/ HTTP/1.1\r\nHost: 198.51.100.190\r\n\r\n"], 501)


@feeds
def test_R22_userinfo(scene, ukai, feed):
    hosts = ("u:p@h", "ok@evil", "ok\\@evil", "ok#@evil", "@h", "u:p@198.51.100.190")
    refuse_all(scene, feed, [connect(h + ":443") for h in hosts], 400)
    refuse_all(scene, feed, [f"GET http://{h}/ HTTP/1.1\r\nHost: h\r\n\r\n".encode() for h in hosts], 400, 501)


@feeds
def test_R23_empty_host(scene, ukai, feed):
    refuse_all(scene, feed, [connect(t) for t in (":443", ".:443", "..:443", "[]:443", ":", "")], 400)
    targets = ("http:///x", "http://:80/", "http://?", "http://", "http:")
    refuse_all(scene, feed, [f"GET {t} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for t in targets], 400, 501)


@feeds
def test_R24_ports(scene, ukai, feed):
    ports = (":0", ":65536", ":65979", ":4294967376", ":4294967739", ":18446744073709552059", ":+443", ":-1", ":0x1bb",
             ":443a", ":443:443", "::443", ":0000443", ":", "", ":4 43", ":443.", ":.443", ":٤٤٣")
    refuse_all(scene, feed, [f"CONNECT 198.51.100.190{p} HTTP/1.1\r\n\r\n".encode() for p in ports], 400)


@feeds
def test_R25_fragment(scene, ukai, feed):
    refuse_all(scene, feed, [connect(t) for t in (GOOD + "#frag", "h#f:443", "#h:443")], 400)


@feeds
def test_R26_percent_in_the_host(scene, ukai, feed):
    scene.dns.forget()
    hosts = ("%31%32%37.0.0.1", "h%00.evil", "%61gents.example", "198.51.100.19%30", "h%2eexample")
    refuse_all(scene, feed, [connect(h + ":443") for h in hosts], 400)
    assert scene.dns.asked() == []


@feeds
def test_R28_host_fields(scene, ukai, feed):
    refuse_all(scene, feed, [connect(fields="Host: a\r\nHost: a\r\n"), connect(fields="Host: a\r\nHost: b\r\n"),
                             connect(fields="Host: a\r\nX: y\r\nhOST: a\r\n")], 400)


@feeds
def test_R28_host_never_decides_the_target(scene, ukai, feed):
    scene.dns.forget()
    for value in ("other.example:443", "h/path", "u@h", "a, b", "", "192.168.1.254:8080", "[::1"):
        reply = exchange(scene.dial(), connect(fields=f"Host: {value}\r\n"), feed, stop=whole_head)
        assert reply.raw == OPEN_200 or reply.status == 400, (value, reply)
    assert scene.dns.asked() == []


@feeds
def test_R29_nothing_behind_the_port(scene, ukai, feed):
    refuse_all(scene, feed, [connect(GOOD + tail) for tail in ("/%00", "/%0d%0a", "/%2e%2e", "?x", "/", "%00", "%0d%0aX:y")],
               400)


# H: fields

@feeds
def test_H01_obs_fold(scene, ukai, feed):
    folds = ("X: a\r\n b\r\n", "X: a\r\n\tb\r\n", "Transfer-Encoding:\r\n chunked\r\n", "X:\r\n \r\n", "X: a\r\n \r\n")
    refuse_all(scene, feed, [connect(fields=f) for f in folds], 400)


@feeds
def test_H02_blank_before_the_colon(scene, ukai, feed):
    refuse_all(scene, feed, [connect(fields=f) for f in ("Host : h\r\n", "Host\t: h\r\n", "X Y: h\r\n",
                                                         "Content-Length : 5\r\n")], 400)


@feeds
def test_H03_no_name_no_colon(scene, ukai, feed):
    refuse_all(scene, feed, [connect(fields=f) for f in (": x\r\n", ":\r\n", "nocolon\r\n", "X: y\r\n: z\r\nW: v\r\n")], 400)


@feeds
def test_H04_blank_before_the_first_field(scene, ukai, feed):
    refuse_all(scene, feed, [connect(fields=f) for f in (" X: y\r\n", "\tX: y\r\n", " \r\nX: y\r\n")], 400)


@feeds
def test_H05_controls_in_values(scene, ukai, feed):
    refuse_all(scene, feed, [connect(fields=f"X: a{chr(n)}b\r\n") for n in [*range(9), 0x0b, 0x0c, 0x1b, 0x1f, 0x7f]], 400)


@feeds
def test_H06_names_are_tokens(scene, ukai, feed):
    names = ("X[]", "X()", "X\x85", "X\xa0", "\xc3\xa4", "X\"", "X,", "X/", "X@", "X{", "X\0", "X;", "X=")
    refuse_all(scene, feed, [connect(fields=f"{n}: y\r\n") for n in names], 400)
    accept_all(scene, feed, [connect(fields="X_Y: z\r\n"), connect(fields="!#$%&'*+-.^_`|~09: z\r\n"),
                             connect(fields="X: \xe4\xf6 \tz\r\n"), connect(fields="X:\r\n")])


def head_of(size, n_fields):
    """A head of exactly size bytes with n_fields fields."""
    bare = len(connect(fields="X: \r\n" * n_fields))
    fill = divmod(size - bare, n_fields)
    values = [fill[0] + (i < fill[1]) for i in range(n_fields)]
    data = connect(fields="".join(f"X: {'y' * n}\r\n" for n in values))
    assert len(data) == size
    return data


@feeds
def test_H07_head_limit(scene, ukai, feed):
    accept_all(scene, feed, [head_of(HEAD_LIMIT - 1, 8), head_of(HEAD_LIMIT - 1, 1), head_of(HEAD_LIMIT, 3)])
    refuse_all(scene, feed, [head_of(HEAD_LIMIT + 1, 8), head_of(HEAD_LIMIT + 1, 1), head_of(1 << 20, 1),
                             head_of(1 << 20, 100)], 431)


def test_H07_memory_is_bounded_by_the_limit(scene, ukai):
    socks, before = [scene.dial() for _ in range(100)], ukai.rss_bytes()
    for sock in socks:
        sock.sendall(connect(fields="X: " + "y" * 30000 + "\r\n")[:-2])
    open_tunnel(scene.dial(), GOOD)
    assert ukai.rss_bytes() - before < 100 * 3 * HEAD_LIMIT + (8 << 20)


@feeds
def test_H08_many_fields(scene, ukai, feed):
    accept_all(scene, feed, [connect(fields="X: y\r\n" * 100)])
    began = time.monotonic()
    refuse_all(scene, feed, [connect(fields="X: y\r\n" * 20000)], 431)
    assert time.monotonic() - began < 3


@feeds
def test_H09_values_around_16_bits(scene, ukai, feed):
    refuse_all(scene, feed, [connect(fields="X: " + "y" * n + "\r\n") for n in (65533, 65534, 65535, 65536, 65537)], 431)


@feeds
def test_H10_length_twice(scene, ukai, feed):
    refuse_all(scene, feed, [connect(fields=f) for f in (
        "Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n", "Content-Length: 5, 5\r\n", "Content-Length: 5, 6\r\n",
        "Content-Length: 0, 0\r\n")], 400)


@feeds
def test_H11_length_forms(scene, ukai, feed):
    values = ("", "+5", "-5", "0x5", "5_0", "5a", "5 6", "1e1", str(1 << 63), str((1 << 64) + 5), "9" * 30, "005", "-0",
              "+0", "0x0", "0.0", str(1 << 64), "\xb2")
    refuse_all(scene, feed, [connect(fields=f"Content-Length: {v}\r\n") for v in values], 400)


@feeds
def test_H12_length_and_transfer_encoding(scene, ukai, feed):
    refuse_all(scene, feed, [connect(fields=f) for f in (
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")], 400)


@feeds
def test_H13_transfer_encoding(scene, ukai, feed):
    values = ("chunked", "CHUNKED", "gzip, chunked", "chunked, chunked", "identity", "xchunked", ",chunked", "chunked,",
              '"chunked"', "chunked\x0b", "\xa0chunked", "chunked\r\nTransfer-Encoding: chunked", "", "chunked;a=b",
              "chunked gzip", "\x00chunked")
    refuse_all(scene, feed, [connect(fields=f"Transfer-Encoding: {v}\r\n") for v in values], 400, 501)


@feeds
def test_H14_transfer_encoding_in_1_0(scene, ukai, feed):
    refuse_all(scene, feed, [connect(version="HTTP/1.0", fields="Transfer-Encoding: chunked\r\n")], 400)


@feeds
def test_H26_odd_ends_of_the_head(scene, ukai, feed):
    line = f"CONNECT {GOOD} HTTP/1.1\r\nHost: h"
    refuse_all(scene, feed, [(line + end).encode() for end in ("\r\n\rX", "\n\r\n", "\r\r", "\r\n\r\r\n", "\r\n\n")], 400)


# C: CONNECT

@feeds
def test_C01_what_real_clients_send(scene, ukai, feed):
    name = scene.name("ok", a=["198.51.100.190"])
    v6 = GOOD6
    accept_all(scene, feed, [
        f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\nUser-Agent: curl/8\r\nProxy-Connection: Keep-Alive\r\n\r\n".encode(),
        f"CONNECT {name}:443 HTTP/1.0\r\n\r\n".encode(),
        f"CONNECT {v6}:443 HTTP/1.0\r\n\r\n".encode(),
        f"CONNECT {v6}:443 HTTP/1.1\r\n\r\n".encode(),
        f"CONNECT [{v6}]:443 HTTP/1.1\r\nHost: {v6}:443\r\n\r\n".encode(),
        f"CONNECT [{v6.upper()}]:443 HTTP/1.1\r\nHost: [{v6}]:443\r\n\r\n".encode(),
        f"CONNECT {name}:443 HTTP/1.0\r\nProxy-Connection: Keep-Alive\r\n\r\n".encode(),
        f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}\r\nProxy-Connection: keep-alive\r\n\r\n".encode(),
        f"CONNECT {name}:443 HTTP/1.1\r\nHost: 192.168.1.254:8080\r\n\r\n".encode(),
        f"CONNECT {name}:443 HTTP/1.1\r\n\r\n".encode(),
        f"CONNECT {name.upper()}:443 HTTP/1.1\r\n\r\n".encode(),
        f"CONNECT {name}.:443 HTTP/1.1\r\n\r\n".encode(),
        f"CONNECT {name}:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode(),
        f"CONNECT {name}:443 HTTP/1.1\r\nTE: deflate,gzip;q=0.3\r\nConnection: TE, close\r\nHost: h\r\n\r\n".encode(),
        f"CONNECT {name}:443 HTTP/1.1\r\nHost: h\r\nConnection: close\r\nProxy-Connection: close\r\n\r\n".encode(),
    ])


def test_C01_connection_close_does_not_close_the_tunnel(scene, ukai):
    sock = scene.dial()
    open_tunnel(sock, ECHO, connect(ECHO + ":443", fields="TE: deflate\r\nConnection: TE, close\r\n"))
    sock.sendall(b"still here")
    assert read_exactly(sock, 10) == b"still here"


@feeds
def test_C02_malformed_targets(scene, ukai, feed):
    scene.dns.forget()
    targets = ("h", "h:", ":443", "h:0", "h:65536", "h:443/", "http://h:443", "u@h:443", "h:443?x", "[::1", "[::1]443",
               "[]:443", "[::1%25eth0]:443", "[fe80::1%eth0]:443", "fe80::1%eth0:443", "h:443:443", "h,evil:443", "*", "/",
               "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:", "2001:db8::1:65536", "2001:db8:::1:443",
               "[2001:db8::1]x:443", "x[2001:db8::1]:443", "h..example:443", ".h.example:443",
               "a" * 64 + ".example:443", "a." * 127 + "abc:443", "h.-x.example:443 x")
    refuse_all(scene, feed, [connect(t) for t in targets], 400)
    assert scene.dns.asked() == []


@feeds
def test_C03_brackets_hold_ipv6_only(scene, ukai, feed):
    scene.dns.forget()
    refuse_all(scene, feed, [connect(t) for t in ("[127.0.0.1]:443", "[198.51.100.190]:443", "[example.net]:443",
                                                  "[[::1]]:443", "[[2001:db8:55::1]]:443", "[ 2001:db8:55::1]:443",
                                                  "[v1.x]:443", "[2001:db8:55::1 ]:443")], 400)
    assert scene.dns.asked() == []


@feeds
def test_C04_ports_outside_the_list(scene, ukai, feed):
    scene.dns.forget()
    targets = ["198.51.100.190:25", "198.51.100.190:22", "h.example:6379", "198.51.100.190:80", "h.example:442",
               "198.51.100.190:4430", f"[{GOOD6}]:22"]
    refuse_all(scene, feed, [connect(t) for t in targets], 403, proxy_status="http_request_denied")
    assert scene.dns.asked() == []


@feeds
def test_C05_bodies_on_connect(scene, ukai, feed):
    accept_all(scene, feed, [connect(fields="Content-Length: 0\r\n")])
    refuse_all(scene, feed, [connect(fields="Content-Length: 5\r\n"), connect(fields="Content-Length: 5\r\n") + b"hello"], 400)
    refuse_all(scene, feed, [connect(fields="Transfer-Encoding: chunked\r\n")], 400, 501)


@pytest.mark.parametrize("size", [1, 1000, 70000, 1 << 20])
def test_C06_early_bytes_wait_for_the_origin(scene, ukai, size):
    listener = scene.origin()
    address = listener.getsockname()[0]
    data = os.urandom(size)
    scene.hold(address)
    released = False
    try:
        sock = scene.dial()
        sock.setblocking(False)
        request, sent = connect(f"{address}:443") + data, 0
        poller = select.poll()
        poller.register(sock, select.POLLOUT)
        while sent < len(request) and poller.poll(300):
            sent += sock.send(request[sent:])
        sock.settimeout(10)
        scene.release(address)
        released = True
        threading.Thread(target=lambda: sock.sendall(request[sent:]), daemon=True).start()
        conn = scene.accept(listener)
        assert read_exactly(conn, size) == data
        assert read_exactly(sock, len(OPEN_200)) == OPEN_200
    finally:
        if not released:
            scene.release(address)


def test_C06_early_bytes_of_a_refused_request_go_nowhere(scene, ukai):
    listener = scene.origin()
    address = listener.getsockname()[0]
    expect_refused(exchange(scene.dial(), connect(f"{address}:25") + b"A" * 100000), 403)
    listener.settimeout(0.2)
    with pytest.raises(TimeoutError):
        listener.accept()


@feeds
def test_C07_nothing_behind_a_refused_connect_is_processed(scene, ukai, feed):
    scene.dns.forget()
    listener = scene.origin()
    address = listener.getsockname()[0]
    for refused, status in ((connect(f"{address}:25"), 403), (connect("h:0"), 400), (connect("nx.example:443"), 502)):
        for behind in (f"GET http://{address}:443/ HTTP/1.1\r\nHost: {address}\r\n\r\n".encode(), connect(f"{address}:443")):
            expect_refused(exchange(scene.dial(), refused + behind, feed), status)
    listener.settimeout(0.2)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_C08_answers_arrive_whole_while_the_client_still_sends(scene, ukai):
    noise = os.urandom(1 << 20)
    slow = scene.name("silent", silent=True)
    for target, status in (("198.51.100.190:25", 403), ("h:0", 400), ("nx.example:443", 502), (f"{slow}:443", 504),
                           (NO_LISTENER, 502)):
        reply = exchange(scene.dial(), connect(target) + noise, deadline_s=15)
        expect_refused(reply, status)


def test_C09_the_200_has_no_fields_and_its_own_segment(scene, ukai):
    listener = scene.origin()
    with scene.capture(scene.host10, "eth0", "tcp") as seen:
        sock = scene.dial()
        sock.sendall(connect(f"{listener.getsockname()[0]}:443") + b"early")
        conn = scene.accept(listener)
        conn.sendall(b"220 hello")
        assert read_exactly(sock, len(OPEN_200) + 9) == OPEN_200 + b"220 hello"
        assert read_exactly(conn, 5) == b"early"
    assert seen.payloads(8080) == [OPEN_200, b"220 hello"]


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_C10_client_leaves_at_each_stage(scene, ukai, how):
    leave = reset if how == "rst" else socket.socket.close
    for _ in range(5):
        silent = scene.name("silent", silent=True)
        for data in (b"", b"CONN", connect()[:-1], connect(f"{silent}:443"), connect(f"{DEAD}:443"), connect(),
                     connect() + b"x" * 1000, connect("h:0"), connect("198.51.100.190:25")):
            sock = scene.dial()
            sock.sendall(data)
            leave(sock)
    for _ in range(5):
        sock, conn = tunnel(scene)
        conn.sendall(b"x" * 200000)
        leave(sock)
        assert read_to_end(conn, 10)[1] in ("fin", "rst")


def test_C10_client_leaves_during_a_reload(scene, ukai):
    silent = scene.name("silent", silent=True)
    for i in range(10):
        socks = [scene.dial() for _ in range(4)]
        for sock, data in zip(socks, (connect(f"{silent}:443"), connect(f"{DEAD}:443"), connect(), b"CONN")):
            sock.sendall(data)
        ukai.signal(signal.SIGHUP)
        for sock in socks:
            (reset if i % 2 else socket.socket.close)(sock)
    ukai.reload()
    open_tunnel(scene.dial(), GOOD)


def test_C10_client_leaves_during_the_drain(scene):
    config = sections(SCRIPTED, dns=False, web={"listen-port": "8084"}, timeouts={"dns": "1s", "connect": "2s", "drain": "20s"})
    with Ukai(scene, config, ACL, name="drained") as daemon:
        silent = scene.name("silent", silent=True)
        waiting = [scene.dial(port=8084) for _ in range(3)]
        for sock, data in zip(waiting, (connect(f"{silent}:443"), connect(f"{DEAD}:443"), b"CONN")):
            sock.sendall(data)
        wait_until(lambda: scene.dns.asked(silent), what="question to the authority")
        sock, conn = tunnel(scene, port=8084)
        daemon.signal(signal.SIGTERM)
        for sock_ in (*waiting, sock):
            reset(sock_)
        assert read_to_end(conn, 5)[1] in ("fin", "rst")
        assert daemon.wait_exit(8) == 0


def test_C11_destinations_that_fail(scene, ukai):
    expect_refused(exchange(scene.dial(), connect(NO_LISTENER)), 502, proxy_status="connection_refused")
    expect_refused(exchange(scene.dial(), connect(f"{UNREACHABLE}:443")), 502, proxy_status="destination_ip_unroutable")
    began = time.monotonic()
    expect_refused(exchange(scene.dial(), connect(f"{DEAD}:443")), 504, proxy_status="connection_timeout")
    assert 1.5 < time.monotonic() - began < 5


def test_C11_the_next_address_is_tried(scene, ukai):
    for a, aaaa in ((["198.51.100.200", "198.51.100.201", "198.51.100.190"], []),
                    (["198.51.100.200", "198.51.100.190"], ["2001:db8:dead::1"]), (["198.51.100.190"], ["2001:db8:dead::1"])):
        name = scene.name("mixed", a=a, aaaa=aaaa)
        began = time.monotonic()
        open_tunnel(scene.dial(), f"{name}:443")
        assert time.monotonic() - began < 2


def test_C11_all_addresses_dead(scene, ukai):
    refused = scene.name("refused", a=["198.51.100.185", "198.51.100.186"])
    expect_refused(exchange(scene.dial(), connect(f"{refused}:444")), 502, proxy_status="connection_refused")
    silent = scene.name("dead", a=[f"198.51.100.{n}" for n in range(193, 203)])
    began = time.monotonic()
    expect_refused(exchange(scene.dial(), connect(f"{silent}:443")), 504, 502)
    assert time.monotonic() - began < 5


def test_C11_names_that_fail(scene, ukai):
    expect_refused(exchange(scene.dial(), connect("nx.example:443")), 502, proxy_status="dns_error")
    nodata = scene.name("nodata")
    expect_refused(exchange(scene.dial(), connect(f"{nodata}:443")), 502, proxy_status="dns_error")
    silent = scene.name("silent", silent=True)
    began = time.monotonic()
    expect_refused(exchange(scene.dial(), connect(f"{silent}:443")), 504, proxy_status="dns_timeout")
    assert 0.5 < time.monotonic() - began < 4
    servfail = scene.name("servfail", rcode=2)
    expect_refused(exchange(scene.dial(), connect(f"{servfail}:443")), 502, proxy_status="dns_error")


def test_C12_half_closed_client_gets_ten_megabytes(scene, ukai):
    listener = scene.origin()
    sock = scene.dial()
    sock.sendall(connect(f"{listener.getsockname()[0]}:443") + b"request")
    sock.shutdown(socket.SHUT_WR)
    conn = scene.accept(listener)
    assert read_to_end(conn) == (b"request", "fin")
    data = os.urandom(10 << 20)
    thread = threading.Thread(target=lambda: (conn.sendall(data), conn.close()), daemon=True)
    thread.start()
    got, end = read_to_end(sock, 30)
    assert end == "fin" and got[:len(OPEN_200)] == OPEN_200
    assert hashlib.sha256(got[len(OPEN_200):]).digest() == hashlib.sha256(data).digest(), len(got)


def test_C13_half_closed_origin_is_bounded(scene, quick):
    sock, conn = tunnel(scene, 8083)
    conn.sendall(b"bye")
    conn.shutdown(socket.SHUT_WR)
    assert read_to_end(sock) == (b"bye", "fin")
    mark = quick.mark()
    for _ in range(4):
        time.sleep(0.8)
        sock.sendall(b"more")
        assert read_exactly(conn, 4) == b"more"
    began = time.monotonic()
    assert read_to_end(conn, 10)[1] in ("fin", "rst")
    assert 1 < time.monotonic() - began < 6
    quick.record(mark, lambda r: r.get("closed_by") == "half-closed")


@pytest.mark.parametrize("side", ["client", "origin"])
def test_C14_reset_reaches_the_other_side(scene, ukai, side):
    sock, conn = tunnel(scene)
    near, far = (sock, conn) if side == "client" else (conn, sock)
    near.sendall(b"x" * 1000)
    assert read_exactly(far, 1000)
    began = time.monotonic()
    reset(near)
    assert read_to_end(far, 5)[1] == "rst"
    assert time.monotonic() - began < 1


def fill(*socks):
    """Send on every socket until none takes more for 300 ms; returns the number of bytes taken."""
    poller, by_fd, taken = select.poll(), {}, 0
    for sock in socks:
        sock.setblocking(False)
        poller.register(sock, select.POLLOUT)
        by_fd[sock.fileno()] = sock
    block = b"z" * 65536
    while ready := poller.poll(300):
        for fd, _ in ready:
            try:
                taken += by_fd[fd].send(block)
            except BlockingIOError:
                pass
    return taken


def test_C15_neither_side_reads(scene, quick):
    sock, conn = tunnel(scene, 8083)
    assert fill(sock, conn) < 64 << 20
    cpu, began = quick.cpu_seconds(), time.monotonic()
    other, _ = tunnel(scene, 8083)
    time.sleep(1.0)
    spent = quick.cpu_seconds() - cpu
    assert spent <= 0.03 * (time.monotonic() - began) + 0.01, f"{spent} s of CPU while nothing moved"
    other.close()
    assert wait_closed(sock, 8) and wait_closed(conn, 8)


def wait_closed(sock, deadline_s):
    """Whether the peer ends the connection, whatever data is left to read."""
    return read_to_end(sock, deadline_s)[1] in ("fin", "rst")


def test_C16_idle_limit(scene, quick):
    sock, conn = tunnel(scene, 8083)
    mark = quick.mark()
    for _ in range(3):
        assert select.select([sock, conn], [], [], 1.2)[0] == [], "closed inside the idle limit"
        conn.sendall(b"x")
        assert read_exactly(sock, 1) == b"x"
    began = time.monotonic()
    assert wait_closed(sock, 8) and wait_closed(conn, 2)
    assert 1.2 < time.monotonic() - began < 6
    assert quick.record(mark, lambda r: r.get("closed_by") == "idle")


def test_C16_silence_stays_with_longer_limits(scene, ukai):
    sock, conn = tunnel(scene)
    assert select.select([sock, conn], [], [], 4)[0] == []
    sock.sendall(b"x")
    assert read_exactly(conn, 1) == b"x"


def test_C17_who_speaks_first(scene, ukai):
    for first in ("client", "origin", "both"):
        sock, conn = tunnel(scene)
        if first in ("client", "both"):
            sock.sendall(b"from the client")
        if first in ("origin", "both"):
            conn.sendall(b"from the origin")
        if first in ("client", "both"):
            assert read_exactly(conn, 15) == b"from the client"
        if first in ("origin", "both"):
            assert read_exactly(sock, 15) == b"from the origin"


class End:
    """One end of a tunnel while duplex() pumps: what it still sends, what it got."""

    def __init__(self, sock, data):
        self.sock, self.data, self.at = sock, memoryview(data), 0
        self.got, self.is_sent, self.is_ended = bytearray(), False, False
        sock.setblocking(False)

    def wants(self):
        return (0 if self.is_sent else select.POLLOUT) | (0 if self.is_ended else select.POLLIN)

    def send(self, rng, finish):
        try:
            self.at += self.sock.send(self.data[self.at:self.at + rng.randint(1, 300000)])
        except BlockingIOError:
            return
        except ConnectionError:
            self.at = len(self.data)
            finish = False
        if self.at == len(self.data):
            self.is_sent = True
            if finish:
                self.sock.shutdown(socket.SHUT_WR)

    def receive(self, rng):
        try:
            piece = self.sock.recv(rng.randint(1, 300000))
        except BlockingIOError:
            return 0
        except ConnectionError:
            piece = b""
        self.is_ended = not piece
        self.got += piece
        return len(piece)


def duplex(sock, conn, up, down, rng, abort_at=None):
    """Pump both ways in one thread; returns what arrived (up, down). With abort_at, resets one side after that many bytes."""
    near, far = End(sock, up), End(conn, down)
    limit, moved = time.monotonic() + 30, 0
    while near.wants() or far.wants():
        assert time.monotonic() < limit, "the transfer hangs"
        poller, by_fd = select.poll(), {}
        for end in (near, far):
            if end.wants():
                poller.register(end.sock, end.wants())
                by_fd[end.sock.fileno()] = end
        for fd, events in poller.poll(1000):
            end = by_fd[fd]
            if events & select.POLLOUT and not end.is_sent:
                end.send(rng, abort_at is None)
            if events & ~select.POLLOUT and not end.is_ended:
                moved += end.receive(rng)
            if abort_at is not None and moved > abort_at:
                other = far if end is near else near
                reset(end.sock)
                rest, how = read_to_end(other.sock, 10)
                assert how in ("fin", "rst"), "the other side of an aborted tunnel stays open"
                other.got += rest
                return bytes(far.got), bytes(near.got)
    return bytes(far.got), bytes(near.got)


def test_C18_random_sizes_both_ways_with_aborts(scene, ukai):
    rng = random.Random(18)
    pool = os.urandom(8 << 20)
    listener = scene.origin()
    for n in range(200):
        sock, conn = tunnel(scene, listener=listener)
        sizes = [int(2 ** rng.uniform(0, 23)) for _ in range(2)]
        starts = [rng.randint(0, len(pool) - size) for size in sizes]
        up, down = (pool[at:at + size] for at, size in zip(starts, sizes))
        abort_at = rng.randint(0, (sum(sizes) - 1) // 2) if n % 5 == 4 else None
        got_up, got_down = duplex(sock, conn, up, down, rng, abort_at)
        if abort_at is None:
            assert got_up == up and got_down == down, (n, sizes, len(got_up), len(got_down))
        else:
            assert up.startswith(got_up) and down.startswith(got_down), (n, sizes)
        sock.close()
        conn.close()


def test_C20_urgent_byte_has_no_effect(scene, ukai):
    for turn in (0, 1):
        pair = tunnel(scene)
        near, far = pair[turn], pair[1 - turn]
        near.sendall(b"abc")
        assert read_exactly(far, 3) == b"abc"
        near.send(b"!", socket.MSG_OOB)
        near.sendall(b"def")
        got = read_exactly(far, 3)
        if got[:1] == b"!":
            got = got[1:] + read_exactly(far, 1)
        assert got == b"def"
        far.sendall(b"back")
        assert read_exactly(near, 4) == b"back"


@feeds
def test_C21_our_own_listener_is_no_destination(scene, ukai, feed):
    mine = scene.name("me", a=[LAN_ROUTER])
    targets = (f"{LAN_ROUTER}:8080", f"{mine}:8080", f"[::ffff:{LAN_ROUTER}]:8080", f"{OUT_ROUTER}:8080")
    refuse_all(scene, feed, [connect(t) + connect(t) * 100 for t in targets], 403)


def test_C22_dns_that_never_answers_holds_up_nobody_else(scene, ukai):
    silent = scene.name("silent", silent=True)
    began = time.monotonic()
    socks = [scene.dial() for _ in range(300)]
    for sock in socks:
        sock.sendall(connect(f"{silent}:443"))
    for n in range(20):
        name = scene.name("fine", a=["198.51.100.190"])
        asked = time.monotonic()
        open_tunnel(scene.dial(scene.host20), f"{name}:443")
        assert time.monotonic() - asked < 0.5, "another name waits"
    for sock in socks:
        expect_refused(exchange(sock, b"", deadline_s=8), 504)
    assert time.monotonic() - began < 6
    assert len(scene.dns.asked(silent)) <= 40, "identical questions were not put together"


# records

def test_each_transaction_leaves_one_record(scene, ukai):
    cases = [(connect("u@h:443"), 400), (connect("198.51.100.190:25"), 403), (line_of(9000), 414),
             (connect(fields="X: " + "y" * 40000 + "\r\n"), 431), (connect(NO_LISTENER), 502),
             (connect("nx.example:443"), 502), (b"TRACE http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 405)]
    for data, status in cases:
        mark = ukai.mark()
        expect_refused(exchange(scene.dial(), data), status)
        ukai.record(mark, lambda r: r.get("status") == status)
        sock, _ = tunnel(scene)
        sock.close()
        ukai.record(mark, lambda r: r.get("bytes_up") == 0 and r.get("status") == 200 and "duration_ms" in r)
        found = [r for r in ukai.records_since(mark) if r.get("status") == status]
        assert len(found) == 1, found


def test_hostile_bytes_are_escaped_in_the_record(scene, ukai):
    mark = ukai.mark()
    agent = "x\x1b[31m\u202e\u009b\xff\"%s%n\\"
    fields = b"User-Agent: " + agent.encode("utf-8", "surrogateescape").replace(b"\x1b", b"\x1c") + b"\r\n"
    exchange(scene.dial(), b"CONNECT 198.51.100.190:25 HTTP/1.1\r\n" + fields + b"\r\n")
    exchange(scene.dial(), b"CONNECT 198.51.100.190:25 HTTP/1.1\r\nUser-Agent: \xe2\x80\xae\xc2\x9b\xff\"%s%n\\\r\n\r\n")
    exchange(scene.dial(), b"CONNECT h\x1b]0;x\x07\r\n\xff:443 HTTP/1.1\r\n\r\n")
    wait_until(lambda: len(ukai.records_since(mark)) >= 2, what="records")


def test_proxy_authorization_is_never_logged(scene, ukai):
    mark = ukai.mark()
    exchange(scene.dial(), connect("198.51.100.190:25", fields="Proxy-Authorization: Basic c2VjcmV0OnNlY3JldA==\r\n"))
    ukai.record(mark, lambda r: r.get("status") == 403)
    text = ukai.access_path.read_text() + "\n".join(ukai.lines)
    assert "c2VjcmV0" not in text and "secret" not in text
