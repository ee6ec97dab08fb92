"""What may be said of an answer: expired ones, ones that point inside, trusted ones, and what a server said about its failure.

Numbers are those of the checklist (B4 to B6, 0.12) and of the abuse cases (U).
"""
import struct
import threading
import time

import pytest

import dnsscript
import dnswire
from client import open_tunnel
from daemon import Ukai, run_tool, sections
from dnsscript import UPSTREAM, ScriptServer, a, build, option
from dnswire import A, AAAA, opt, query
from scene import wait_until

SECOND = "203.0.113.12"
ACL = "[in]\ntcp 8080 = 192.168.1.10\nudp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\n"
HTTPS = 65
AD, CD, DO = 0x0020, 0x0010, 0x8000
STALE, STALE_NXDOMAIN, CACHED_ERROR, BLOCKED = 3, 19, 13, 15


def daemon_with(scene, servers=UPSTREAM, **dns):
    config = sections(servers, timeouts={"dns": "4s"}, process={"workers": "1"},
                      dns_={key.replace("_", "-"): value for key, value in dns.items()})
    return Ukai(scene, config, ACL)


def edns(name, qtype=A, flags=0x0100, **how):
    return query(name, qtype, flags=flags, edns=opt(**how))


def ede(reply):
    """The one extended error, or None."""
    codes = dnsscript.ede(reply)
    assert len(codes) <= 1
    return codes[0] if codes else None


def ttls(reply):
    return [rr[3] for rr in reply.answers]


class Switch:
    """A handler that answers at first and then does something else."""

    def __init__(self, first, then=lambda x: None):
        self.first, self.then, self.is_on = first, then, True

    def __call__(self, x):
        (self.first if self.is_on else self.then)(x)


# serve-stale

@pytest.fixture
def stale(scene, up):
    with daemon_with(scene, serve_stale="1h") as daemon:
        yield daemon


def expired(asker, up, handler, qtype=A):
    """A name whose answer was kept and has expired; from now on the handler does the other thing."""
    name = up.name(handler)
    first = asker.udp(edns(name, qtype))
    handler.is_on = False
    time.sleep(1.1)  # its TTL: there is nothing else to await
    return name, first


def test_0_12_stale_after_the_client_has_waited(asker, up, stale):
    name, _ = expired(asker, up, Switch(lambda x: x.answer(a(ttl=1))))
    began = time.monotonic()
    reply = asker.udp(edns(name))
    assert 1.5 < time.monotonic() - began < 3.5
    assert reply.addresses() == ["198.51.100.1"] and ttls(reply) == [30] and ede(reply) == STALE
    assert up.asked(name)[1:], "the upstream is asked first"


def test_0_12_who_comes_later_does_not_wait_again(asker, up, stale):
    name, _ = expired(asker, up, Switch(lambda x: x.answer(a(ttl=1))))
    asker.udp(edns(name))
    began = time.monotonic()
    assert ede(asker.udp(edns(name))) == STALE and time.monotonic() - began < 1


def test_0_12_a_fresh_answer_in_time_wins(asker, up, stale):
    name, _ = expired(asker, up, Switch(lambda x: x.answer(a(ttl=1)), lambda x: x.later(0.5, a("198.51.100.2", ttl=60))))
    reply = asker.udp(edns(name))
    assert reply.addresses() == ["198.51.100.2"] and ede(reply) is None


def test_0_12_the_late_answer_is_kept_for_the_next(asker, up, stale):
    name, _ = expired(asker, up, Switch(lambda x: x.answer(a(ttl=1)), lambda x: x.later(2.5, a("198.51.100.2", ttl=60))))
    assert ede(asker.udp(edns(name))) == STALE
    wait_until(lambda: asker.udp(edns(name)).addresses() == ["198.51.100.2"])


def test_B6_55_failure_does_not_take_the_good_answers_place(asker, up, stale):
    name, _ = expired(asker, up, Switch(lambda x: x.answer(a(ttl=1)), lambda x: x.send(build(x.asked, rcode=2))))
    for _ in range(3):  # the first after the failure, the others in the recheck window
        reply = asker.udp(edns(name))
        assert reply.addresses() == ["198.51.100.1"] and ede(reply) == STALE


def test_0_12_the_window_after_a_failure_asks_nobody(asker, up, stale):
    name, _ = expired(asker, up, Switch(lambda x: x.answer(a(ttl=1)), lambda x: x.send(build(x.asked, rcode=5))))
    asker.udp(edns(name))
    n = len(up.asked(name))
    time.sleep(1.2)  # longer than a failure is kept
    assert ede(asker.udp(edns(name))) == STALE and len(up.asked(name)) == n


def test_0_12_stale_nxdomain(asker, up, stale):
    name, first = expired(asker, up, Switch(
        lambda x: x.send(build(x.asked, authority=[dnswire.soa(ttl=1)], rcode=3)), lambda x: x.send(build(x.asked, rcode=2))))
    assert first.rcode == 3
    reply = asker.udp(edns(name))
    assert reply.rcode == 3 and ede(reply) == STALE_NXDOMAIN


def test_B6_55_nxdomain_takes_the_place_of_an_answer(asker, up, stale):
    name, _ = expired(asker, up, Switch(lambda x: x.answer(a(ttl=1)),
                                        lambda x: x.send(build(x.asked, authority=[dnswire.soa()], rcode=3))))
    assert asker.udp(edns(name)).rcode == 3
    assert asker.udp(edns(name)).rcode == 3


def test_0_12_a_tunnel_takes_no_stale_answer_while_the_upstream_is_only_late(scene, asker, up, stale):
    """It gets it once every name server has failed: better an old address than none."""
    origin = scene.origin(443, "203.0.113.10")
    name, _ = expired(asker, up, Switch(lambda x: x.answer(a("203.0.113.10", ttl=1)) if x.asked.questions[0][1] == A
                                        else x.send(build(x.asked, authority=[dnswire.soa()]))))
    began = time.monotonic()
    open_tunnel(scene.dial(), f"{name}:443", deadline_s=15)
    assert time.monotonic() - began > 3
    origin.close()


def test_0_12_off_by_default(scene, asker, up):
    with daemon_with(scene):
        name, _ = expired(asker, up, Switch(lambda x: x.answer(a(ttl=1)), lambda x: x.send(build(x.asked, rcode=2))))
        assert asker.udp(edns(name)).rcode == 2


# prefetch

def test_B6_58_popular_answers_are_asked_for_before_they_expire(scene, asker, up):
    with daemon_with(scene, prefetch="on"):
        handler = Switch(lambda x: x.answer(a(ttl=10)), lambda x: x.answer(a("198.51.100.2", ttl=60)))
        name, rare = up.name(handler), up.name(lambda x: x.answer(a(ttl=10)))
        asker.udp(edns(rare))
        for _ in range(4):
            asker.udp(edns(name))
        handler.is_on = False
        asked = {len(up.asked(n)) for n in (name, rare)}
        assert asked == {1}
        time.sleep(8.5)
        limit = time.monotonic() + 1.4
        while time.monotonic() < limit and len(up.asked(name)) == 1:  # hits in the last tenth of its life
            asker.udp(edns(name))
            time.sleep(0.05)
        assert len(up.asked(name)) == 2, "asked for once more, and once only"
        wait_until(lambda: asker.udp(edns(name)).addresses() == ["198.51.100.2"], 3)
        assert len(up.asked(name)) == 2 and len(up.asked(rare)) == 1


# rebind protection

@pytest.fixture
def guarded(scene, up):
    with daemon_with(scene, rebind_protection="on, inside.example, script2.example") as daemon:
        yield daemon


def hint(key, *addresses):
    data = b"".join(dnswire.address_rdata(x) for x in addresses)
    return struct.pack("!H", 1) + b"\0" + struct.pack("!HH", 1, 3) + b"\x02h2" + struct.pack("!HH", key, len(data)) + data


INWARD = [(A, "10.1.2.3"), (A, "127.0.0.1"), (A, "169.254.169.254"), (A, "192.168.1.254"), (A, "0.0.0.0"), (A, "100.64.0.1"),
          (AAAA, "::"), (AAAA, "::1"), (AAAA, "fe80::1"), (AAAA, "fd00::1"), (AAAA, "::ffff:10.0.0.1"),
          (AAAA, "64:ff9b::a00:1"), (AAAA, "2002:7f00:1::")]


@pytest.mark.parametrize("qtype, address", INWARD, ids=[x[1] for x in INWARD])
def test_U16_U17_inward_addresses_are_refused(asker, up, guarded, qtype, address):
    name = up.name(lambda x: x.answer(dnswire.record(b"\xc0\x0c", qtype, dnswire.address_rdata(address), 30)))
    for _ in range(2):  # also from the cache
        reply = asker.udp(edns(name, qtype))
        assert reply.rcode == 5 and ede(reply) == BLOCKED and not reply.answers


@pytest.mark.parametrize("data", [hint(4, "10.0.0.1"), hint(4, "198.51.100.1", "192.168.0.1"), hint(6, "fd00::1")],
                         ids=["v4", "second", "v6"])
def test_B5_50_hints_of_https_records_too(asker, up, guarded, data):
    name = up.name(lambda x: x.answer(dnswire.record(b"\xc0\x0c", HTTPS, data, 30)))
    assert ede(asker.udp(edns(name, HTTPS))) == BLOCKED


def test_B5_50_public_addresses_and_hints_pass(asker, up, guarded):
    assert asker.udp(edns(up.name())).addresses()
    name = up.name(lambda x: x.answer(dnswire.record(b"\xc0\x0c", HTTPS, hint(4, "198.51.100.1"), 30)))
    assert len(asker.udp(edns(name, HTTPS)).answers) == 1


def test_B5_50_one_inward_among_public_ones_is_enough(asker, up, guarded):
    name = up.name(lambda x: x.answer(a(), a("10.0.0.1")))
    assert ede(asker.udp(edns(name))) == BLOCKED


@pytest.mark.parametrize("owner", ["host.inside.example", "inside.example", "HOST.Inside.Example"])
def test_B5_50_exempt_suffixes_pass(asker, up, guarded, owner):
    up.handlers[owner.lower()] = lambda x: x.answer(a("10.1.2.3"))
    assert asker.udp(edns(owner)).addresses() == ["10.1.2.3"]


def test_B5_50_a_suffix_is_whole_labels(asker, up, guarded):
    up.handlers["notinside.example"] = lambda x: x.answer(a("10.1.2.3"))
    assert ede(asker.udp(edns("notinside.example"))) == BLOCKED


def test_B5_50_localhost_of_our_own_passes(asker, guarded):
    assert asker.udp(edns("localhost")).addresses() == ["127.0.0.1"]


def test_B5_50_off_by_default(scene, asker, up):
    with daemon_with(scene):
        name = up.name(lambda x: x.answer(a("10.1.2.3")))
        assert asker.udp(edns(name)).addresses() == ["10.1.2.3"]


# trust-ad

def signed(x):
    x.answer(flags=0x8180 | AD)


def test_0_10_AD_of_a_trusted_server_goes_to_who_asked_for_it(scene, asker, up):
    with daemon_with(scene, trust_ad=f"{UPSTREAM}/32"):
        name = up.name(signed)
        for _ in range(2):  # a miss and a hit
            assert asker.udp(query(name, flags=0x0100 | AD)).flags & AD
        assert asker.udp(edns(up.name(signed), flags=0x0100 | AD)).flags & AD
        assert asker.udp(query(name, edns=opt(flags=DO))).flags & AD
        assert not asker.udp(query(name)).flags & AD, "RFC 6840 5.8"
        assert not asker.udp(query(up.name(), flags=0x0100 | AD)).flags & AD, "the server did not say so"


def test_0_10_AD_is_not_lost_to_who_asked_before_without_it(scene, asker, up):
    """The server says so only to who asks for it, as RFC 6840 wants."""
    with daemon_with(scene, trust_ad=f"{UPSTREAM}/32"):
        name = up.name(lambda x: x.answer(flags=0x8180 | x.asked.flags & AD))
        assert not asker.udp(query(name)).flags & AD
        for _ in range(2):
            assert asker.udp(query(name, flags=0x0100 | AD)).flags & AD
        assert not asker.udp(query(name)).flags & AD


@pytest.mark.parametrize("trust", [None, "203.0.113.98"])
def test_0_10_AD_of_others_is_cleared(scene, asker, up, trust):
    with daemon_with(scene, trust_ad=trust):
        name = up.name(signed)
        for _ in range(2):
            assert not asker.udp(query(name, flags=0x0100 | AD)).flags & AD


# extended errors of others

def said(code, text=b"because"):
    return b"\0" + struct.pack("!HHIH", dnswire.OPT, 1232, 0, 6 + len(text)) + struct.pack("!HHH", 15, 2 + len(text), code) + text


def test_B5_51_extended_error_of_a_failure_is_passed_on(scene, asker, up):
    with daemon_with(scene):
        name = up.name(lambda x: x.send(build(x.asked, rcode=2, extra=[said(6)], opt=False)))
        for _ in range(2):  # and from the failure cache
            reply = asker.udp(edns(name))
            assert reply.rcode == 2 and ede(reply) == 6
        assert not asker.udp(query(name)).opts, "only to who speaks EDNS"


def test_B5_51_and_of_an_answer(scene, asker, up):
    with daemon_with(scene):
        name = up.name(lambda x: x.answer(a(), extra=[said(4)], opt=False))
        for _ in range(2):
            reply = asker.udp(edns(name))
            assert reply.addresses() and ede(reply) == 4


def test_B5_51_a_failure_of_the_cache_is_said_to_be_one(scene, asker, up):
    with daemon_with(scene):
        name = up.name(lambda x: x.send(build(x.asked, rcode=2)))
        assert ede(asker.udp(edns(name))) is None
        assert ede(asker.udp(edns(name))) == CACHED_ERROR


@pytest.mark.parametrize("options", [b"\0\x0f\0\xff\0\x01", b"\0\x0f\0\x01\0", b"\0\x0f", b"\0\x0f\0\0", option(65001, b"x")],
                         ids=["past-the-end", "too-short", "cut", "empty", "another"])
def test_B5_51_malformed_ones_say_nothing(scene, asker, up, options):
    with daemon_with(scene):
        record = b"\0" + struct.pack("!HHIH", dnswire.OPT, 1232, 0, len(options)) + options
        reply = asker.udp(edns(up.name(lambda x: x.answer(a(), extra=[record], opt=False))))
        assert reply.addresses() and ede(reply) is None


# flush

def test_B6_59_a_flush_outlives_what_is_in_flight(scene, asker, up):
    """The answer that was on its way goes to who waits, and is not kept."""
    with daemon_with(scene) as daemon:
        arrived = threading.Event()
        held = []

        def handler(x):
            held.append(x)
            arrived.set()

        name = up.name(handler)
        replies = []
        thread = threading.Thread(target=lambda: replies.append(asker.udp(edns(name))))
        thread.start()
        assert arrived.wait(5)
        assert run_tool("flush", "-c", daemon.conf_path, name).returncode == 0
        up.handlers[name] = lambda x: x.answer(a("198.51.100.2"))
        held[0].answer(a("198.51.100.1"))
        thread.join()
        assert replies[0].addresses() == ["198.51.100.1"]
        assert asker.udp(edns(name)).addresses() == ["198.51.100.2"]


def test_B6_59_a_reload_keeps_the_cache_unless_the_servers_change(scene, asker, up):
    second = ScriptServer(scene.outer, SECOND)
    try:
        with daemon_with(scene) as daemon:
            name = up.name(lambda x: x.answer(a(ttl=300)))
            asker.udp(edns(name))
            daemon.reload(acl=ACL + "tcp 8080 = 192.168.1.20\n")
            asker.udp(edns(name))
            assert len(up.asked(name)) == 1
            config = daemon.config
            for section in ("dns lan", "web-proxy lan"):
                config[section]["name-server"] = SECOND
            daemon.reload(config=config)
            asker.udp(edns(name))
            assert len(second.asked(name)) == 1
    finally:
        second.stop()
