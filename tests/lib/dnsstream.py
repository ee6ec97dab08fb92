"""Name servers on streams that a test scripts: plain or TLS, that count connections, stall, break off and forge.

One thread a connection. Every connection is noted with the queries it carried and whether its TLS session was resumed.
Questions by which the daemon looks for loops are answered and not noted.
"""
import socket
import ssl
import struct
import threading

from dnsscript import a, build
from dnswire import A, Message, read_framed, soa


class Connection:
    def __init__(self, sock, source):
        self.sock, self.source = sock, source
        self.queries = []             # Message
        self.raw = b""                # first bytes of the client, for servers that only listen
        self.is_resumed = None        # TLS
        self.error = None
        self.is_closed = False

    def send(self, message):
        self.sock.sendall(struct.pack("!H", len(message)) + message)


def right(asked):
    """198.51.100.1 for A, else no data."""
    if asked.questions[0][1] == A:
        return build(asked, [a()])
    return build(asked, authority=[soa()])


def answer_all(connection, asked):
    connection.send(right(asked))


class StreamServer:
    """handler(connection, Message) answers; on_accept(connection), if given, has the raw socket for itself."""

    def __init__(self, ns, address, port, handler=answer_all, context=None, on_accept=None):
        self.ns, self.address, self.port = ns, address, port
        self.handler, self.context, self.on_accept = handler, context, on_accept
        self.connections = []
        self._listener = None
        self.start()

    def start(self):
        self._listener = self.ns.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self.address, self.port))
        self._listener.listen(128)
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    @property
    def n_queries(self):
        return sum(len(c.queries) for c in list(self.connections))

    def stop(self):
        """The listener and every connection, as a crash would."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for connection in list(self.connections):
            self.hang_up(connection)

    @staticmethod
    def hang_up(connection):
        try:
            connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _serve(self, listener):
        while True:
            try:
                sock, source = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(30)
            connection = Connection(sock, source)
            self.connections.append(connection)
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection):
        try:
            if self.on_accept:
                self.on_accept(connection)
                return
            if self.context:
                connection.sock = self.context.wrap_socket(connection.sock, server_side=True)
                connection.is_resumed = connection.sock.session_reused
                connection.alpn = connection.sock.selected_alpn_protocol()
                connection.version = connection.sock.version()
            while (wire := read_framed(connection.sock)) is not None:
                asked = Message(wire)
                if asked.questions[0][0].lower().endswith(".ukai-loop"):
                    connection.send(right(asked))   # not a client's
                    continue
                connection.queries.append(asked)
                self.handler(connection, asked)
        except (OSError, EOFError, ValueError) as error:
            connection.error = error
        finally:
            connection.is_closed = True
            connection.sock.close()


def tls_context(directory, minimum=ssl.TLSVersion.TLSv1_2, maximum=ssl.TLSVersion.MAXIMUM_SUPPORTED):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = minimum, maximum
    context.load_cert_chain(directory / "origin.pem", directory / "origin.key")
    context.set_alpn_protocols(["dot"])
    return context
