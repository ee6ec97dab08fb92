"""Just enough of RFC 1035 to ask, to answer and to look at answers. Trusts what it builds, checks what it reads."""
import ipaddress
import struct

A, NS, CNAME, SOA, PTR, TXT, AAAA, OPT, AXFR, ANY = 1, 2, 5, 6, 12, 16, 28, 41, 252, 255
IXFR = 251
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16


def name(text):
    """Wire form of a dotted name without escapes."""
    labels = [part for part in text.rstrip(".").split(".") if part]
    return b"".join(bytes([len(part)]) + part.encode("latin-1") for part in labels) + b"\0"


def question(text, qtype=A, qclass=1):
    return name(text) + struct.pack("!HH", qtype, qclass)


def opt(size=1232, version=0, flags=0, options=b"", owner=b"\0"):
    return owner + struct.pack("!HHBBHH", OPT, size, 0, version, flags, len(options)) + options


def query(text, qtype=A, qclass=1, ident=0x1234, flags=0x0100, edns=None, tail=b""):
    """A query message; edns is an OPT record made by opt(), or None."""
    extra = 1 if edns else 0
    return (struct.pack("!6H", ident, flags, 1, 0, 0, extra) + question(text, qtype, qclass)
            + (edns or b"") + tail)


def record(owner, rtype, rdata, ttl=60, rclass=1):
    """owner is wire form; rdata bytes."""
    return owner + struct.pack("!HHIH", rtype, rclass, ttl, len(rdata)) + rdata


def soa(zone="example", ttl=5):
    rdata = name("ns." + zone) + name("admin." + zone) + struct.pack("!5I", 1, 3600, 600, 86400, ttl)
    return record(name(zone), SOA, rdata, ttl)


def address_rdata(text):
    return ipaddress.ip_address(text).packed


def _exactly(sock, n):
    got = b""
    while len(got) < n:
        more = sock.recv(n - len(got))
        if not more:
            break
        got += more
    return got


def read_framed(sock):
    """One message of a stream, TLS or not; None at its end, EOFError inside a message."""
    head = _exactly(sock, 2)
    if not head:
        return None
    body = _exactly(sock, struct.unpack("!H", head)[0]) if len(head) == 2 else b""
    if len(head) < 2 or len(body) < struct.unpack("!H", head)[0]:
        raise EOFError("the stream ends inside a message")
    return body


class Message:
    """A parsed message; raises ValueError on anything that does not parse to its last byte."""

    def __init__(self, wire):
        if len(wire) < 12:
            raise ValueError("shorter than a header")
        self.wire = wire
        self.id, self.flags, n_q, n_an, n_ns, n_ar = struct.unpack("!6H", wire[:12])
        self.rcode = self.flags & 15
        self.qr, self.aa, self.tc = self.flags >> 15, self.flags >> 10 & 1, self.flags >> 9 & 1
        self.rd, self.ra, self.ad, self.cd = (self.flags >> 8 & 1, self.flags >> 7 & 1,
                                              self.flags >> 5 & 1, self.flags >> 4 & 1)
        self.opcode = self.flags >> 11 & 15
        at = 12
        self.questions = []
        for _ in range(n_q):
            owner, at = self._name(at)
            qtype, qclass = struct.unpack_from("!HH", wire, at)
            at += 4
            self.questions.append((owner, qtype, qclass))
        self.question_end = at
        self.answers, at = self._records(at, n_an)
        self.authority, at = self._records(at, n_ns)
        self.additional, at = self._records(at, n_ar)
        if at != len(wire):
            raise ValueError(f"{len(wire) - at} bytes behind the message")
        self.opts = [rr for rr in self.additional if rr[1] == OPT]
        if self.opts:
            self.rcode |= self.opts[0][3] >> 24 << 4

    def _name(self, at):
        labels, end, hops = [], None, 0
        while True:
            length = self.wire[at]
            if length & 0xC0 == 0xC0:
                if end is None:
                    end = at + 2
                at = (length & 0x3F) << 8 | self.wire[at + 1]
                hops += 1
                if hops > 100:
                    raise ValueError("pointer loop")
            elif length == 0:
                return ".".join(labels), at + 1 if end is None else end
            else:
                labels.append(self.wire[at + 1:at + 1 + length].decode("latin-1"))
                at += 1 + length

    def _records(self, at, count):
        out = []
        for _ in range(count):
            owner, at = self._name(at)
            rtype, rclass, ttl, length = struct.unpack_from("!HHIH", self.wire, at)
            at += 10
            if at + length > len(self.wire):
                raise ValueError("record past the end")
            out.append((owner, rtype, rclass, ttl, self.wire[at:at + length]))
            at += length
        return out, at

    def addresses(self):
        return [str(ipaddress.ip_address(rr[4])) for rr in self.answers if rr[1] in (A, AAAA)]
