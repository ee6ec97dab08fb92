"""HTTP/1.1 read strictly: what may reach an origin, and what may reach a client.

Written from RFC 9112 and RFC 9110 without a look at the daemon's parsers, as the second opinion about every byte that it
sends: a message that this grammar refuses could be read in two ways by somebody. Bytes come in any pieces. Bodies are
counted and hashed; only their first bytes are kept.
"""
import hashlib
import re

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
PATH = re.compile(rb"/[\x21\x22\x24-\x7e]*")          # visible ASCII, no fragment
HOST = re.compile(rb"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")
NUMBER = re.compile(rb"0|[1-9][0-9]{0,18}")
HOP_BY_HOP = {"connection", "proxy-connection", "keep-alive", "te", "trailer", "upgrade", "proxy-authorization",
              "proxy-authenticate", "proxy-authentication-info", "http2-settings"}
KEPT_BYTES = 1 << 20
HEAD_BYTES = 1 << 20


class Violation(Exception):
    """The bytes are not what the grammar allows."""


class Message:
    """A head, and what came of its body."""

    def __init__(self, line, fields):
        self.line, self.fields = line, fields
        self.body, self.n_body, self._sum = bytearray(), 0, hashlib.sha1()
        self.is_complete = False

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def field(self, name):
        return ", ".join(self.all(name))

    def has(self, name):
        return bool(self.all(name))

    def take(self, data):
        self.n_body += len(data)
        self._sum.update(data)
        if len(self.body) < KEPT_BYTES:
            self.body += data[:KEPT_BYTES - len(self.body)]

    @property
    def sha1(self):
        return self._sum.hexdigest()

    def __repr__(self):
        return f"{type(self).__name__}({self.line!r}, {self.fields}, body of {self.n_body}: {bytes(self.body[:60])!r})"


class Request(Message):
    def __init__(self, line, fields):
        super().__init__(line, fields)
        self.method, self.target, self.version = line.split(" ")


class Answer(Message):
    def __init__(self, line, fields):
        super().__init__(line, fields)
        version, code, self.reason = (line.split(" ", 2) + [""])[:3]
        self.version, self.status = version, int(code)
        self.until_close = False


class _Stream:
    """Bytes in, messages out; feed() yields ("head", message) and ("end", message), each before what is behind it is read."""

    def __init__(self):
        self._data = bytearray()
        self._message, self._left, self._state = None, 0, "head"

    def feed(self, data):
        self._data += data
        goes_on = True
        while goes_on:
            events = []
            goes_on = self._step(events)
            yield from events

    def is_idle(self):
        """Nothing of a message is under way."""
        return self._state == "head" and not self._data

    def _step(self, events):
        return {"head": self._head, "length": self._length, "size": self._size, "chunk": self._chunk,
                "chunk-end": self._chunk_end, "last": self._last, "close": self._close, "dead": self._dead}[self._state](events)

    def _line(self, limit):
        at = self._data.find(b"\r\n")
        lone = re.search(rb"\n", self._data[:at + 1 if at >= 0 else None])
        if lone:
            raise Violation(f"LF without CR: {bytes(self._data[:80])!r}")
        if at < 0:
            if len(self._data) > limit:
                raise Violation("an endless line")
            return None
        line = bytes(self._data[:at])
        del self._data[:at + 2]
        return line

    def _head(self, events):
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > HEAD_BYTES:
                raise Violation("an endless head")
            self._prefix(bytes(self._data))
            return False
        lines = bytes(self._data[:end]).split(b"\r\n")
        del self._data[:end + 4]
        first, fields = self._start_line(lines[0]), []
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.fullmatch(name):
                raise Violation(f"field line {line!r}")
            value = value.strip(b" \t")
            if not VALUE.fullmatch(value):
                raise Violation(f"field value {line!r}")
            fields.append((name.decode(), value.decode("latin-1")))
        self._message = self._build(first, fields)
        events.append(("head", self._message))
        self._begin_body(events)
        return True

    def _framing(self, message):
        lengths, codings = message.all("content-length"), message.all("transfer-encoding")
        if len(lengths) + len(codings) > 1:
            raise Violation(f"framed twice: {message}")
        if lengths and not NUMBER.fullmatch(lengths[0].encode("latin-1")):
            raise Violation(f"Content-Length: {lengths[0]!r}")
        if codings and codings[0] != "chunked":
            raise Violation(f"Transfer-Encoding: {codings[0]!r}")
        return int(lengths[0]) if lengths else None, bool(codings)

    def _end(self, events):
        self._message.is_complete = True
        self._state = "head"
        events.append(("end", self._message))

    def _length(self, events):
        piece = bytes(self._data[:self._left])
        del self._data[:self._left]
        self._left -= len(piece)
        self._message.take(piece)
        if self._left == 0:
            self._end(events)
        return self._left == 0

    def _size(self, _):
        line = self._line(40)
        if line is None:
            return False
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", line):
            raise Violation(f"chunk size {line!r}")
        self._left = int(line, 16)
        self._state = "chunk" if self._left else "last"
        return True

    def _chunk(self, _):
        piece = bytes(self._data[:self._left])
        del self._data[:self._left]
        self._left -= len(piece)
        self._message.take(piece)
        if self._left == 0:
            self._state = "chunk-end"
        return self._left == 0

    def _chunk_end(self, _):
        if len(self._data) < 2:
            return False
        if self._data[:2] != b"\r\n":
            raise Violation(f"chunk data followed by {bytes(self._data[:8])!r}")
        del self._data[:2]
        self._state = "size"
        return True

    def _last(self, events):
        if len(self._data) < 2:
            return False
        if self._data[:2] != b"\r\n":
            raise Violation(f"a trailer section: {bytes(self._data[:60])!r}")
        del self._data[:2]
        self._end(events)
        return True

    def _close(self, _):
        self._message.take(bytes(self._data))
        self._data.clear()
        return False

    def _dead(self, _):
        if self._data:
            raise Violation(f"bytes behind the last message: {bytes(self._data[:80])!r}")
        return False


class Requests(_Stream):
    """What a connection to an origin carries."""

    def _prefix(self, data):
        if data and not re.match(rb"[A-Za-z!#$%&'*+.^_`|~0-9-]", data):
            raise Violation(f"no request starts so: {data[:80]!r}")
        if re.search(rb"(?<!\r)\n|\r(?!\n|$)", data):
            raise Violation(f"line end: {data[:200]!r}")

    def _start_line(self, line):
        words = line.split(b" ")
        if len(words) != 3 or not TOKEN.fullmatch(words[0]) or words[2] != b"HTTP/1.1":
            raise Violation(f"request line {line!r}")
        if not PATH.fullmatch(words[1]) and (words[0], words[1]) != (b"OPTIONS", b"*"):
            raise Violation(f"request target {line!r}")
        return line.decode()

    def _build(self, first, fields):
        request = Request(first, fields)
        hosts = request.all("host")
        if len(hosts) != 1 or not HOST.fullmatch(hosts[0].encode("latin-1")):
            raise Violation(f"Host: {hosts}")
        bad = [name for name, _ in fields if name.lower() in HOP_BY_HOP]
        if bad:
            raise Violation(f"hop-by-hop fields went on: {bad}")
        if not request.has("via"):
            raise Violation("no Via")
        return request

    def _begin_body(self, events):
        length, is_chunked = self._framing(self._message)
        if is_chunked:
            self._state = "size"
        elif length:
            self._state, self._left = "length", length
        else:
            self._end(events)


class Answers(_Stream):
    """What a client gets, for requests of these methods in this order; an answer to CONNECT 200 ends the HTTP."""

    def __init__(self, methods):
        super().__init__()
        self._methods = list(methods)
        self.rest = b""               # what came behind the 200 of a CONNECT
        self._is_raw = False

    def _prefix(self, data):
        if not b"HTTP/1.1 ".startswith(data[:9]) and not data.startswith(b"HTTP/1.1 "):
            raise Violation(f"no answer starts so: {data[:80]!r}")

    def _start_line(self, line):
        if not re.fullmatch(rb"HTTP/1\.1 [1-5][0-9][0-9] [\t \x21-\x7e\x80-\xff]*", line):
            raise Violation(f"status line {line!r}")
        return line.decode("latin-1")

    def _build(self, first, fields):
        answer = Answer(first, fields)
        bad = [name for name, _ in fields if name.lower() in HOP_BY_HOP - {"connection", "proxy-authenticate"}]
        if bad:
            raise Violation(f"hop-by-hop fields went on: {bad}")
        return answer

    def _begin_body(self, events):
        answer = self._message
        length, is_chunked = self._framing(answer)
        if answer.status < 200:
            if length is not None or is_chunked:
                raise Violation(f"framing in an interim answer: {answer}")
            return self._end(events)
        if not self._methods:
            raise Violation(f"an answer to nothing: {answer}")
        method = self._methods.pop(0)
        closes = "close" in answer.field("connection").lower()
        if method == "CONNECT" and answer.status == 200:
            self._end(events)
            self._state = "close"
            return None
        if method == "HEAD" or answer.status in (204, 304):
            if is_chunked or (answer.status == 204 and length is not None):
                raise Violation(f"framing without a body: {answer}")
            self._end(events)
        elif is_chunked:
            self._state = "size"
        elif length:
            self._state, self._left = "length", length
        elif length == 0:
            self._end(events)
        else:
            if not closes:
                raise Violation(f"until close, but it does not say close: {answer}")
            answer.until_close, self._state = True, "close"
        if closes and self._state == "head":
            self._state = "dead"
        answer.closes = closes
        return None

    def _end(self, events):
        super()._end(events)
        if getattr(self._message, "closes", False) and self._message.status >= 200:
            self._state = "dead"

    def finish(self):
        """The peer's FIN: the answer that ends by it, if there is one."""
        if self._state == "close" and self._message.until_close:
            self._message.is_complete = True
            return [("end", self._message)]
        return []
