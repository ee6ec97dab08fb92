"""A DNS authority whose answers a test decides name by name.

It stands beside the real authority of the scene and hands on whatever it has no entry for, so a daemon that uses it as its
name server still resolves everything else. Every question is noted with its transport, for tests that claim that nothing
was asked. Two threads (UDP, TCP accept) plus one for each TCP connection and each delayed answer.
"""
import socket
import struct
import threading

import dnswire


class Entry:
    """What one name answers. silent and delay_s come first, then rcode, then cname, then the addresses."""

    def __init__(self, a=(), aaaa=(), txt=(), ttl=30, cname=None, rcode=0, silent=False, delay_s=0.0, turns=None,
                 raw=None, truncate_udp=False):
        self.records = {dnswire.A: list(a), dnswire.AAAA: list(aaaa), dnswire.TXT: list(txt)}
        self.ttl = ttl
        self.cname = cname
        self.rcode = rcode
        self.silent = silent
        self.delay_s = delay_s
        self.turns = turns            # list of lists of IPv4 addresses: one for each A query, the last one stays
        self.raw = raw                # function(query bytes, Message) -> whole answer bytes or None
        self.truncate_udp = truncate_udp
        self.n_asked = 0


class Authority:
    def __init__(self, ns, address, onward):
        self.entries = {}
        self.log = []                 # (name in lower case, type, transport, wire of the query, source)
        self._lock = threading.Lock()
        self._ns = ns
        self._onward = onward
        self._stopping = False
        self._udp = ns.socket(kind=socket.SOCK_DGRAM)
        self._udp.bind((address, 53))
        self._tcp = ns.socket()
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind((address, 53))
        self._tcp.listen(128)
        self._threads = [threading.Thread(target=self._serve_udp, daemon=True),
                         threading.Thread(target=self._serve_tcp, daemon=True)]
        for thread in self._threads:
            thread.start()

    def add(self, owner, **what):
        """Decide the answers of a name; returns the name, for use in a request."""
        with self._lock:
            self.entries[owner.lower().rstrip(".")] = Entry(**what)
        return owner

    def asked(self, owner=None):
        """Notes on the questions for a name, or all of them."""
        with self._lock:
            return [note for note in self.log if owner is None or note[0] == owner.lower().rstrip(".")]

    def forget(self):
        with self._lock:
            self.log.clear()

    def stop(self):
        self._stopping = True
        for sock in (self._udp, self._tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        for thread in self._threads:
            thread.join(5)

    def _serve_udp(self):
        while not self._stopping:
            try:
                wire, source = self._udp.recvfrom(65535)
            except OSError:
                return
            self._answer(wire, "udp", source, lambda reply, to=source: self._udp.sendto(reply, to))

    def _serve_tcp(self):
        while not self._stopping:
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
                    self._answer(wire, "tcp", source,
                                 lambda reply: peer.sendall(struct.pack("!H", len(reply)) + reply))
            except (OSError, EOFError):
                return

    def _answer(self, wire, transport, source, send):
        try:
            asked = dnswire.Message(wire)
            owner, qtype, _ = asked.questions[0]
        except (ValueError, IndexError, struct.error):
            return
        owner = owner.lower()
        with self._lock:
            self.log.append((owner, qtype, transport, wire, source))
            entry = self.entries.get(owner)
            if entry is not None and qtype == dnswire.A:
                entry.n_asked += 1
        if entry is None:
            reply = self._ask_onward(wire, transport)
        elif entry.silent:
            return
        elif entry.raw is not None:
            reply = entry.raw(wire, asked)
        else:
            reply = self._build(asked, entry, qtype, transport)
        if reply is None:
            return
        if entry is not None and entry.delay_s:
            timer = threading.Timer(entry.delay_s, self._send, (send, reply))
            timer.daemon = True
            timer.start()
        else:
            self._send(send, reply)

    @staticmethod
    def _send(send, reply):
        """The asker may have left."""
        try:
            send(reply)
        except OSError:
            pass

    def _build(self, asked, entry, qtype, transport):
        flags = 0x8480 | asked.flags & 0x0110 | entry.rcode
        question = asked.wire[12:asked.question_end]
        owner = b"\xc0\x0c"
        answers = []
        if entry.rcode == 0:
            if entry.cname:
                target = dnswire.name(entry.cname)
                answers.append(dnswire.record(owner, dnswire.CNAME, target, entry.ttl))
                owner = target
                with self._lock:
                    entry = self.entries.get(entry.cname.lower().rstrip("."), Entry())
            if qtype == dnswire.A and entry.turns:
                values = entry.turns[min(entry.n_asked, len(entry.turns)) - 1]
            else:
                values = entry.records.get(qtype, [])
            for value in values:
                rdata = (bytes([len(value)]) + value.encode() if qtype == dnswire.TXT
                         else dnswire.address_rdata(value))
                answers.append(dnswire.record(owner, qtype, rdata, entry.ttl))
        authority = [] if answers or entry.rcode not in (0, 3) else [dnswire.soa()]
        extra = [dnswire.opt()] if asked.opts else []
        body = question + b"".join(answers + authority + extra)
        if transport == "udp" and (entry.truncate_udp or len(body) > 1220):
            return struct.pack("!6H", asked.id, flags | 0x0200, 1, 0, 0, len(extra)) + question + b"".join(extra)
        return struct.pack("!6H", asked.id, flags, 1, len(answers), len(authority), len(extra)) + body

    def _ask_onward(self, wire, transport):
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        with self._ns.socket(kind=kind) as sock:
            sock.settimeout(3)
            try:
                sock.connect((self._onward, 53))
                if transport == "udp":
                    sock.send(wire)
                    return sock.recv(65535)
                sock.sendall(struct.pack("!H", len(wire)) + wire)
                return dnswire.read_framed(sock)
            except (OSError, EOFError):
                return None
