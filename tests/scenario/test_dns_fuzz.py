"""D23: some ten thousand broken packets. They are our own, made from the seed below: the public corpus that the case
names is no part of this tree.

Every valid query and answer here is cut at every length, has each of its bits turned, each length, count and type replaced
by what parsers stumble over, and pointers put everywhere. Each packet has an id of its own, so two answers to one are seen.
"""
import random
import socket
import struct
import time

import pytest

import dnswire
from daemon import Ukai, sections
from dnsscript import UPSTREAM, Asker, a, build, framed, option, txt
from dnswire import AAAA, ANY, AXFR, IXFR, SOA, TXT, Message, opt, query
from scene import wait_until

ACL = "[in]\nudp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\nudp 53 = 192.168.1.20\n"
N_PACKETS = 10_000                    # the corpus has 9,774
SEED = 23
LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])


def valid_messages():
    """Queries of every kind that the server tells apart, and answers to some."""
    asked = Message(query("www.script.example", edns=opt()))
    signature = dnswire.record(dnswire.name("key"), 250, dnswire.name("hmac-sha256") + bytes(26), 0, 255)
    return [
        query("www.script.example"), query("WwW.ScRiPt.ExAmPlE", AAAA, edns=opt(512, flags=0x8000)), query("", dnswire.NS),
        query("localhost"), query(LONGEST), query("1.1.168.192.in-addr.arpa", dnswire.PTR), query("x.script.example", ANY),
        query("script.example", AXFR), query("script.example", IXFR), query("version.bind", TXT, qclass=3),
        query("www.script.example", 65, edns=opt(options=option(10, bytes(8)) + option(8, b"\0\1\x18\0\xc0\0\2"))),
        query("many.script.example", edns=opt(options=b"".join(option(65001 + i) for i in range(20)))),
        query("www.script.example", SOA, flags=4 << 11), query("script.example", SOA, flags=5 << 11),
        struct.pack("!6H", 1, 0x0100, 1, 0, 0, 1) + dnswire.question("signed.script.example") + signature,
        build(asked, [a(), a("198.51.100.2")]), build(asked, txt("text" * 20), [dnswire.soa()]),
        build(asked, [dnswire.record(b"\xc0\x0c", dnswire.CNAME, b"\1x\xc0\x10"), a(owner=b"\xc0\x2e")]),
    ]


def names_of(wire):
    """Where a pointer or a length of a label could stand."""
    return range(12, len(wire))


def cut(wire):
    return [wire[:n] for n in range(len(wire))]


def turned(wire):
    return [wire[:i >> 3] + bytes([wire[i >> 3] ^ 1 << (i & 7)]) + wire[(i >> 3) + 1:] for i in range(16, 8 * len(wire))]


def with_lengths(wire):
    return [wire[:at] + bytes([value]) + wire[at + 1:] for at in names_of(wire) for value in (0, 0x3f, 0x40, 0x80, 0xff)] \
        + [wire[:at] + struct.pack("!H", value) + wire[at + 2:] for at in range(4, 12, 2) for value in (0, 1, 2, 255, 65535)]


def with_pointers(wire):
    """Into the header, to itself, to the next, to the question, to the end, past it."""
    return [wire[:at] + struct.pack("!H", 0xc000 | to) + wire[at + 2:]
            for at in names_of(wire)[:-1] for to in (0, at, at + 2, 12, len(wire) - 1, 0x3fff)]


def mixed(rng, messages):
    """Several faults at once: pieces of two messages, random bytes over them, something behind."""
    one, other = bytearray(rng.choice(messages)), rng.choice(messages)
    if rng.random() < 0.3:
        at = rng.randrange(len(one))
        one[at:] = other[rng.randrange(len(other)):]
    for _ in range(rng.randint(1, 8)):
        if one:
            one[rng.randrange(len(one))] = rng.randrange(256)
    return bytes(one) + rng.randbytes(rng.choice((0, 0, 1, 11, 500)))


def make_packets():
    """All cuts and as much of the others as makes the number, no two alike, in an order that mixes them."""
    rng, messages = random.Random(SEED), valid_messages()

    def without_ids(packets):
        return {bytes(2)[:len(packet)] + packet[2:] for packet in packets}
    cuts = without_ids(packet for wire in messages for packet in [*cut(wire), wire])
    faults = without_ids(packet for wire in messages for f in (turned, with_lengths, with_pointers) for packet in f(wire))
    chosen = cuts | set(rng.sample(sorted(faults - cuts), N_PACKETS - len(cuts) - 1000))
    while len(chosen) < N_PACKETS:
        chosen |= without_ids([mixed(rng, messages)])
    packets = sorted(chosen)
    rng.shuffle(packets)
    return [struct.pack("!H", i)[:len(packet)] + packet[2:] for i, packet in enumerate(packets)]


@pytest.fixture(scope="module")
def ukai(scene, up):
    with Ukai(scene, sections(UPSTREAM, timeouts={"dns": "1s"}, process={"workers": "1"}), ACL) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def packets():
    made = make_packets()
    assert len(made) == N_PACKETS
    return made


def must_be_silent(packet):
    return len(packet) < 12 or packet[2] & 0x80


def take(sock, into, for_s):
    """What has come, by its id, until nothing comes for a while."""
    sock.settimeout(for_s)
    try:
        while True:
            reply = sock.recv(65535)
            into.setdefault(struct.unpack("!H", reply[:2])[0], []).append(reply)
    except TimeoutError:
        pass


def judge(packets, replies):
    for ident, got in replies.items():
        assert len(got) == 1, f"{len(got)} answers to {packets[ident].hex()}"
        assert not must_be_silent(packets[ident]), f"an answer to {packets[ident].hex()}"
        reply = Message(got[0])       # parses to its last byte
        assert reply.qr and reply.opcode == packets[ident][2] >> 3 & 15 and not reply.flags & 0x0040
        assert len(reply.wire) <= 1232


def test_D23_ten_thousand_packets_by_udp(scene, up, ukai, packets):
    """A known question follows each fifty from elsewhere: when that is answered the fifty have been read."""
    known, replies = up.name(), {}
    other, sock = scene.udp(scene.host20, timeout=5), scene.udp()
    rss = ukai.rss_bytes()
    for at in range(0, len(packets), 50):
        for packet in packets[at:at + 50]:
            sock.send(packet)
        other.send(query(known, ident=at))
        assert Message(other.recv(4096)).id == at
        take(sock, replies, 0.0005)
    take(sock, replies, 1.5)          # those that no name server answers
    judge(packets, replies)
    rcodes = {Message(got[0]).rcode for got in replies.values()}
    assert {0, dnswire.FORMERR, dnswire.NOTIMP, dnswire.REFUSED, dnswire.BADVERS} <= rcodes, rcodes
    valid = {wire[2:] for wire in valid_messages()}
    whole = [i for i, packet in enumerate(packets) if packet[2:] in valid]
    assert all((i in replies) != bool(must_be_silent(packets[i])) for i in whole), "a valid query has no answer"
    assert len(whole) == len(valid) and len(replies) > 3000, (len(whole), len(replies))
    assert ukai.rss_bytes() - rss < 64 << 20
    assert ukai.is_alive() and Asker(scene).udp(query(up.name())).addresses() == ["198.51.100.1"]


def read_to_end(sock, deadline_s=5):
    out, limit = b"", time.monotonic() + deadline_s
    try:
        while time.monotonic() < limit:
            more = sock.recv(65535)
            if not more:
                break
            out += more
    except ConnectionError:
        pass
    return out


def messages_of(stream):
    out = []
    while stream:
        length = struct.unpack("!H", stream[:2])[0]
        assert len(stream) >= 2 + length, "an answer breaks off"
        out.append(stream[2:2 + length])
        stream = stream[2 + length:]
    return out


def test_D23_a_part_by_tcp(scene, up, ukai, packets):
    """Each on a connection of its own, twenty at a time; every third with a wrong prefix."""
    chosen, n_answered = [(i, packets[i]) for i in range(0, len(packets), 8)], 0
    for at in range(0, len(chosen), 20):
        socks = []
        for i, packet in chosen[at:at + 20]:
            sock = scene.dial(port=53, timeout=5)
            wire = framed(packet) if i % 3 else struct.pack("!H", i * 31 & 0xffff) + packet
            try:
                sock.sendall(wire)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass                  # closed at its prefix
            socks.append((i, packet, sock))
        for i, packet, sock in socks:
            got = messages_of(read_to_end(sock))
            assert len(got) <= 1 or i % 3 == 0, f"{len(got)} answers to {packet.hex()}"
            assert not (got and i % 3 and must_be_silent(packet)), f"an answer to {packet.hex()}"
            for reply in got:
                assert Message(reply).qr
            n_answered += len(got)
            sock.close()
    assert len(chosen) == N_PACKETS / 8 and n_answered > 200, n_answered
    wait_until(lambda: ukai.n_fds() <= ukai.fd_baseline + 8, what="connections closed")
    assert ukai.is_alive() and Asker(scene).tcp(query(up.name())).addresses() == ["198.51.100.1"]
