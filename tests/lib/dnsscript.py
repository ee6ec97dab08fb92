"""A name server that does what a test says, packet by packet: the upstream leg's liar.

A handler is a function of an Exchange. It may answer never, late, twice, from another address or port, with any bytes,
and close a TCP connection after any of them. Without a handler a name has one A record. Beside the threads that serve
UDP and TCP there is one for each TCP connection and each late answer.
"""
import itertools
import random
import socket
import struct
import threading
import time

import dnswire
from dnswire import A, Message

DEFAULT_A = "198.51.100.1"
UPSTREAM = "203.0.113.99"  # where the fixture `up` serves
_numbers = itertools.count(1)


def build(asked, answers=(), authority=(), extra=(), rcode=0, flags=0x8180, ident=None, question=None, opt=True,
          n_questions=1, tail=b""):
    """An answer to a parsed query. Records are wire bytes; rcode above 15 needs opt."""
    records = list(extra)
    if opt and asked.opts:
        records.append(b"\0" + struct.pack("!HHBBHH", dnswire.OPT, 1232, rcode >> 4, 0, asked.opts[0][3] & 0x8000, 0))
    body = question if question is not None else asked.wire[12:asked.question_end]
    return struct.pack("!6H", asked.id if ident is None else ident, flags | asked.flags & 0x0110 | rcode & 15,
                       n_questions, len(answers), len(authority), len(records)) + body \
        + b"".join([*answers, *authority, *records]) + tail


def a(address=DEFAULT_A, ttl=30, owner=b"\xc0\x0c"):
    return dnswire.record(owner, A, dnswire.address_rdata(address), ttl)


def txt(*texts, ttl=30, owner=b"\xc0\x0c"):
    return [dnswire.record(owner, dnswire.TXT, bytes([len(t)]) + t.encode(), ttl) for t in texts]


class Exchange:
    """One query that arrived, and the ways to answer it."""

    def __init__(self, server, wire, transport, source, send, close=None):
        self.server, self.wire, self.transport, self.source = server, wire, transport, source
        self.asked = Message(wire)
        self.at = time.monotonic()
        self.send = send              # bytes of a message; TCP adds the prefix
        self.close = close            # TCP only
        self.is_udp = transport == "udp"

    def answer(self, *answers, **how):
        self.send(build(self.asked, answers or (a(),), **how))

    def later(self, delay_s, *args, **kwargs):
        timer = threading.Timer(delay_s, self._late, (args, kwargs))
        timer.daemon = True
        timer.start()

    def _late(self, args, kwargs):
        try:
            self.answer(*args, **kwargs)
        except OSError:
            pass

    def send_from(self, address, port, wire):
        """UDP from elsewhere, to the socket that asked."""
        with self.server.ns.socket(kind=socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.sendto(wire, self.source)


class ScriptServer:
    def __init__(self, ns, address):
        self.ns, self.address = ns, address
        self.handlers = {}
        self.notes = []               # Exchange of every query
        self._udp = ns.socket(kind=socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._udp.bind((address, 53))
        self._tcp = ns.socket()
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind((address, 53))
        self._tcp.listen(128)
        for target in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=target, daemon=True).start()

    def name(self, handler=None, label="s"):
        """A fresh name and what answers for it."""
        owner = f"{label}{next(_numbers)}.script.example"
        if handler:
            self.handlers[owner] = handler
        return owner

    def asked(self, owner, transport=None, qtype=None):
        return [x for x in list(self.notes) if x.asked.questions[0][0].lower() == owner.lower()
                and transport in (None, x.transport) and qtype in (None, x.asked.questions[0][1])]

    def stop(self):
        for sock in (self._udp, self._tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _take(self, exchange):
        self.notes.append(exchange)
        handler = self.handlers.get(exchange.asked.questions[0][0].lower())
        if handler:
            handler(exchange)
        elif exchange.asked.questions[0][1] == A:
            exchange.answer()
        else:
            exchange.send(build(exchange.asked, authority=[dnswire.soa()]))

    def _serve_udp(self):
        while True:
            try:
                wire, source = self._udp.recvfrom(65535)
            except OSError:
                return
            try:
                self._take(Exchange(self, wire, "udp", source, lambda m, to=source: self._udp.sendto(m, to)))
            except (OSError, ValueError, IndexError, struct.error):
                pass

    def _serve_tcp(self):
        while True:
            try:
                peer, source = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_stream, args=(peer, source), daemon=True).start()

    def _serve_stream(self, peer, source):
        with peer:
            peer.settimeout(30)
            try:
                while (wire := dnswire.read_framed(peer)) is not None:
                    exchange = Exchange(self, wire, "tcp", source,
                                        lambda m: peer.sendall(struct.pack("!H", len(m)) + m), peer.close)
                    exchange.raw = peer.sendall
                    self._take(exchange)
            except (OSError, EOFError, ValueError, IndexError, struct.error):
                return


class Asker:
    """Queries from a LAN host to the daemon; answers are checked for what holds of every answer."""

    def __init__(self, scene):
        self.scene = scene

    def udp(self, wire, timeout=4, **where):
        sock = self.scene.udp(timeout=timeout, **where)
        sock.send(wire)
        return self.check(wire, sock.recv(65535))

    def tcp(self, wire, timeout=4):
        sock = self.scene.dial(port=53, timeout=timeout)
        sock.sendall(framed(wire))
        return self.check(wire, read_message(sock))

    def both(self, wire, **kwargs):
        return [self.udp(wire, **kwargs), self.tcp(wire, **kwargs)]

    @staticmethod
    def check(wire, raw):
        reply = Message(raw)
        assert reply.id == struct.unpack("!H", wire[:2])[0] and reply.qr, raw
        return reply

    def silence(self, *wires, for_s=0.4, **where):
        sock = self.scene.udp(timeout=for_s, **where)
        for wire in wires:
            sock.send(wire)
        try:
            got = sock.recv(65535)
        except TimeoutError:
            return
        raise AssertionError(f"answered {got!r}")


def framed(wire):
    return struct.pack("!H", len(wire)) + wire


def read_message(sock):
    wire = dnswire.read_framed(sock)
    assert wire is not None, "closed without an answer"
    return wire


def ede(reply):
    """Codes of the extended errors in a reply."""
    out, rest = [], reply.opts[0][4] if reply.opts else b""
    while rest:
        code, length = struct.unpack("!HH", rest[:4])
        if code == 15:
            out.append(struct.unpack("!H", rest[4:6])[0])
        rest = rest[4 + length:]
    return out


def options(reply):
    out, rest = [], reply.opts[0][4] if reply.opts else b""
    while rest:
        code, length = struct.unpack("!HH", rest[:4])
        out.append(code)
        rest = rest[4 + length:]
    return out


def option(code, data=b""):
    return struct.pack("!HH", code, len(data)) + data


def udp_packet(source, destination, payload):
    """An IPv4 datagram for a raw socket: source and destination are (address, port). No UDP checksum (allowed)."""
    length = 8 + len(payload)
    return (struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, random.randrange(65536), 0, 64, 17, 0,
                        socket.inet_aton(source[0]), socket.inet_aton(destination[0]))
            + struct.pack("!4H", source[1], destination[1], length, 0) + payload)
