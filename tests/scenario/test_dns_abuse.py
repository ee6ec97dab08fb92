"""Group U and what belongs to look-ups of tunnels, on an upstream that does what a test says."""
import socket
import time

import pytest

import dnswire
from client import exchange, expect_refused, open_tunnel
from daemon import Ukai, run_tool, sections
from dnsscript import UPSTREAM, ScriptServer, a, build, txt
from dnswire import AAAA, TXT, Message, opt, query
from scene import ORIGIN, wait_until

SECOND = "203.0.113.12"
ACL = """[in]
tcp 8080 = 192.168.1.10
udp 53 = 192.168.1.10
tcp 53 = 192.168.1.10
"""
SOL_UDP, UDP_SEGMENT = 17, 103
IPV6_DEAD = "2001:db8:f::dead"          # nobody answers there


@pytest.fixture(scope="module")
def second(scene):
    server = ScriptServer(scene.outer, SECOND)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def ukai(scene, up, second):
    config = sections(f"{UPSTREAM}, {SECOND}", timeouts={"dns": "1s"}, process={"workers": "1"}, web={"connect-ports": "443"})
    with Ukai(scene, config, ACL) as daemon:
        yield daemon


def n_asked(name, *servers):
    return sum(len(server.asked(name)) for server in servers)


def connect(name):
    return f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()


# what is refused when the configuration is read

@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_B1_6_2_no_wildcard_address(scene, address):
    daemon = Ukai(scene, sections(UPSTREAM, dns_={"listen-network": address}), ACL, name="wildcard")
    done = run_tool("check", "-c", daemon.conf_path)
    assert done.returncode == 78 and "wildcard address answers the outer side" in done.out, done.out


@pytest.mark.parametrize("server", ["ns.example", "tls://ns.example#ns.example", "tls://ns.example"])
def test_B4_41_name_servers_have_addresses(scene, server):
    """So nothing has to be resolved before it can be asked."""
    daemon = Ukai(scene, sections(server), ACL, name="byname")
    done = run_tool("check", "-c", daemon.conf_path)
    assert done.returncode == 78 and "name-server" in done.out, done.out


# answers of the wrong time and place

def test_U04_an_answer_to_an_old_port(asker, up, ukai):
    """Right in everything but that it goes to the socket of the question before."""
    ports = []

    def note(x):
        ports.append(x.source)
        x.answer()

    def stray(x):
        wrong = build(x.asked, [a("198.51.100.66")])
        with up.ns.socket(kind=socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((UPSTREAM, 53))
            sock.sendto(wrong, ports[-1])
        x.later(0.1)
    assert asker.udp(query(up.name(note))).addresses()
    assert asker.udp(query(up.name(stray))).addresses() == ["198.51.100.1"]


@pytest.mark.parametrize("rcode", [dnswire.SERVFAIL, dnswire.REFUSED, dnswire.FORMERR, dnswire.NOTIMP])
def test_U09_codes_that_are_no_answer(asker, up, second, ukai, rcode):
    """The next server is asked; when all say so it is SERVFAIL (REFUSED if that is all they say), after few questions."""
    name = up.name(lambda x: x.send(build(x.asked, rcode=rcode)))
    assert asker.udp(query(name)).addresses() == ["198.51.100.1"]
    assert n_asked(name, up) <= 2 and n_asked(name, second) == 1
    worse = up.name(lambda x: x.send(build(x.asked, rcode=rcode)))
    second.handlers[worse] = up.handlers[worse]
    wanted = dnswire.REFUSED if rcode == dnswire.REFUSED else dnswire.SERVFAIL
    assert asker.udp(query(worse)).rcode == wanted
    assert n_asked(worse, up, second) <= 4


@pytest.mark.parametrize("rcode", [0, dnswire.NXDOMAIN])
def test_U09_codes_that_are_final(asker, up, second, ukai, rcode):
    name = up.name(lambda x: x.send(build(x.asked, authority=[dnswire.soa()], rcode=rcode)))
    reply = asker.udp(query(name))
    assert reply.rcode == rcode and not reply.answers and reply.authority
    assert n_asked(name, up, second) == 1


def test_U15_answers_as_large_as_they_get(asker, up, ukai):
    """Nearly 64 KiB by TCP pass whole, and come truncated by UDP; a datagram of 8 KiB passes too."""
    def filled(x):
        x.send(build(x.asked, txt("x" * 255) * 240, opt=False))
    name = up.name(lambda x: x.answer(flags=0x8380) if x.is_udp else filled(x))
    reply = asker.tcp(query(name, TXT))
    assert len(reply.wire) > 62_000 and len(reply.answers) == 240
    short = asker.udp(query(name, TXT, edns=opt(4096)))
    assert short.tc and not short.answers and len(short.wire) <= 1232
    wide = up.name(lambda x: x.send(build(x.asked, txt("z" * 200) * 40)))
    asker.udp(query(wide, TXT))
    assert len(asker.tcp(query(wide, TXT)).answers) == 40


def test_U19_an_answer_after_our_time(asker, scene, up, second, ukai):
    """The question counts as not answered, the packet as one to a closed port, and the name has no answer by it."""
    name = up.name(lambda x: x.later(1.3, a("198.51.100.77")))
    second.handlers[name] = up.handlers[name]
    before, closed = ukai.status()["dns"], scene.udp_counters()["NoPorts"]
    assert asker.udp(query(name)).rcode == dnswire.SERVFAIL
    now = ukai.status()["dns"]
    assert now["upstream_timeouts"] - before["upstream_timeouts"] == 1, (before, now)
    n_sent = n_asked(name, up, second)
    assert now["upstream_sent"] - before["upstream_sent"] == n_sent
    wait_until(lambda: scene.udp_counters()["NoPorts"] - closed >= n_sent, what="the late answers")
    del second.handlers[name]
    up.handlers[name] = lambda x: x.answer()
    wait_until(lambda: asker.udp(query(name)).addresses() == ["198.51.100.1"], what="the name after the late answer")


def test_U20_a_million_packets_nobody_asked_for(scene, asker, up, ukai):
    """Answers to no question, at the LAN's socket and at ports of the outer side: cheap, and no line each. Every packet
    is in a counter: the daemon's, or the kernel's of what found the queue full."""
    packet = build(Message(query("www.example")), [a()], flags=0x8180)
    known = up.name()
    asker.udp(query(known))
    cpu, lines, dropped, kernel = ukai.cpu_seconds(), len(ukai.lines), ukai.status()["dns"]["dropped"], scene.udp_counters()
    sock = scene.udp(timeout=0.2)
    sock.setsockopt(SOL_UDP, UDP_SEGMENT, len(packet))
    n_sent = 0
    while n_sent < 1_000_000:
        sock.send(packet * 30)
        n_sent += 30

    def accounted():
        return ukai.status()["dns"]["dropped"] - dropped, scene.udp_counters()["RcvbufErrors"] - kernel["RcvbufErrors"]
    wait_until(lambda: sum(accounted()) >= n_sent, what=lambda: f"{n_sent} in {accounted()}")
    assert sum(accounted()) == n_sent and accounted()[0] > 200_000, accounted()
    with scene.outer.socket(kind=socket.SOCK_DGRAM) as stray:
        for port in range(32768, 60000):
            stray.sendto(packet, ("203.0.113.1", port))
    wait_until(lambda: scene.udp_counters()["NoPorts"] - kernel["NoPorts"] > 27_000, what="packets to closed ports")
    assert asker.udp(query(known)).addresses()
    assert ukai.cpu_seconds() - cpu < 20, "over 20 us each"
    assert len(ukai.lines) - lines < 10, ukai.lines[lines:][:20]
    with pytest.raises(TimeoutError):
        sock.recv(4096)


@pytest.mark.parametrize("rcode", [dnswire.SERVFAIL, dnswire.REFUSED])
def test_U22_all_servers_fail_and_tunnels_are_told_at_once(scene, asker, up, second, ukai, rcode):
    """502, and within the failure's first second again without a question; afterwards it is asked anew."""
    name = up.name(lambda x: x.send(build(x.asked, rcode=rcode)))
    second.handlers[name] = up.handlers[name]
    began = time.monotonic()
    expect_refused(exchange(scene.dial(), connect(name)), 502, proxy_status="dns_error")
    assert time.monotonic() - began < 0.7, "waited though every server had answered"
    n_first = n_asked(name, up, second)
    for _ in range(3):
        again = time.monotonic()
        expect_refused(exchange(scene.dial(), connect(name)), 502, proxy_status="dns_error")
        assert time.monotonic() - again < 0.3, "a failure that is known was waited for"
    assert time.monotonic() - began > 1 or n_asked(name, up, second) == n_first, "asked again within a second"
    del up.handlers[name], second.handlers[name]
    wait_until(lambda: asker.udp(query(name)).addresses(), deadline_s=9, what="an answer when the servers are well again")


# look-ups of tunnels

def test_B7_61_both_families_are_asked_at_once(scene, up, ukai):
    """AAAA is asked beside A; when its answer stays out the dial starts within moments, and none is lost by the other."""
    def by_type(x):
        if x.asked.questions[0][1] == AAAA:
            x.later(0.9, dnswire.record(b"\xc0\x0c", AAAA, dnswire.address_rdata(IPV6_DEAD)))
        else:
            x.answer(a(ORIGIN))
    name = up.name(by_type)
    began = time.monotonic()
    open_tunnel(scene.dial(), f"{name}:443")
    assert time.monotonic() - began < 0.7, "waited for AAAA"
    first = {x.asked.questions[0][1]: x.at for x in reversed(up.asked(name))}
    assert abs(first[AAAA] - first[dnswire.A]) < 0.1
    failing = up.name(lambda x: x.answer(a(ORIGIN)) if x.asked.questions[0][1] == dnswire.A
                      else x.send(build(x.asked, rcode=dnswire.SERVFAIL)))
    open_tunnel(scene.dial(), f"{failing}:443")


def test_B7_62_failures_are_told_apart(scene, up, second, ukai):
    rows = [(lambda x: x.send(build(x.asked, authority=[dnswire.soa()], rcode=dnswire.NXDOMAIN)), 502, "dns_error"),
            (lambda x: x.send(build(x.asked, authority=[dnswire.soa()])), 502, "dns_error"),
            (lambda x: None, 504, "dns_timeout")]
    for handler, status, error in rows:
        name = up.name(handler)
        second.handlers[name] = handler
        expect_refused(exchange(scene.dial(), connect(name)), status, proxy_status=error)
    name = up.name()
    ukai.reload(acl=ACL + f"[out]\ndeny = {name}\n")
    try:
        expect_refused(exchange(scene.dial(), connect(name)), 403)
        assert not up.asked(name)
    finally:
        ukai.reload(acl=ACL)


def test_B7_63_the_address_judged_is_the_address_dialled(scene, up, ukai):
    """TTL 0: public the first time, private the next. Each tunnel has one resolution, and dials what was judged."""
    answers = [a(ORIGIN, ttl=0), a("10.1.2.3", ttl=0)]

    def turns(x):
        if x.asked.questions[0][1] == dnswire.A:
            x.answer(answers[min(len(up.asked(name, qtype=dnswire.A)) - 1, 1)])
        else:
            x.send(build(x.asked, authority=[dnswire.soa()]))
    name = up.name(turns)
    open_tunnel(scene.dial(), f"{name}:443")
    assert len(up.asked(name, qtype=dnswire.A)) == 1
    expect_refused(exchange(scene.dial(), connect(name)), 403, proxy_status="destination_ip_prohibited")
    assert len(up.asked(name, qtype=dnswire.A)) == 2


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_U17_the_unspecified_address_is_no_destination(asker, scene, up, ukai, address):
    """Clients of the LAN get it as it is (blocking lists use it); a tunnel does not, and nothing kept is lost by it."""
    known = up.name()
    asker.udp(query(known))
    wanted = AAAA if ":" in address else dnswire.A

    def answer(x):
        if x.asked.questions[0][1] == wanted:
            x.answer(dnswire.record(b"\xc0\x0c", wanted, dnswire.address_rdata(address), 30))
        else:
            x.send(build(x.asked, authority=[dnswire.soa()]))
    name = up.name(answer)
    expect_refused(exchange(scene.dial(), connect(name)), 403, proxy_status="destination_ip_prohibited")
    assert asker.udp(query(name, wanted)).rcode == 0
    before = len(up.asked(known))
    assert asker.udp(query(known)).addresses() and len(up.asked(known)) == before
