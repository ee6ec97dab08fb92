"""Servers of the outer side: threads of the test process, on sockets that were made in the outer namespace."""
import functools
import http.server
import selectors
import socket
import ssl
import subprocess
import threading


class Acceptor:
    """A thread that hands each connection of a listening socket to serve(conn, peer, local) in a thread of its own."""

    def __init__(self, listener, serve):
        self.listener, self.serve = listener, serve
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def _loop(self):
        while True:
            try:
                conn, peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(conn, peer), daemon=True).start()

    def _one(self, conn, peer):
        with conn:
            try:
                self.serve(conn, peer, conn.getsockname())
            except OSError:
                pass

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.thread.join(5)


class EchoLoop:
    """Echo for thousands of connections in one thread; a FIN is answered with a FIN once all is echoed."""

    def __init__(self, listener):
        self.listener = listener
        self.n_open = 0
        self._wake_r, self._wake_w = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._stopping = False
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def _loop(self):
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj is not self._wake_r:
                    self._serve(key.fileobj)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()
        self._wake_w.close()

    def _accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(conn, selectors.EVENT_READ)
            self.n_open += 1

    def _serve(self, conn):
        try:
            data = conn.recv(65536)
            if data:
                conn.settimeout(5)
                conn.sendall(data)
                conn.setblocking(False)
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._selector.unregister(conn)
        conn.close()
        self.n_open -= 1

    def stop(self):
        self._stopping = True
        self._wake_w.send(b"x")
        self.thread.join(5)


class _Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/hello":
            return self._text(b"hello from the origin\n")
        if self.path == "/peer":
            return self._text(self.client_address[0].encode() + b"\n")
        return super().do_GET()

    def _text(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Sink:
    """What the request handler wants of a server object."""


def serve_files(listener, directory, tls=None):
    """HTTP/1.1 for the files of a directory, plus /hello and /peer; over TLS when a context is given."""
    handler = functools.partial(_Files, directory=str(directory))

    def serve(conn, peer, _):
        conn.settimeout(30)
        if tls is not None:
            try:
                conn = tls.wrap_socket(conn, server_side=True)
            except (ssl.SSLError, OSError):
                return
        try:
            handler(conn, peer, _Sink())
        except (ssl.SSLError, OSError):
            pass
        finally:
            conn.close()

    return Acceptor(listener, serve)


def serve_ssh(listener, config):
    """One `sshd -i` for each connection, as inetd would do it."""
    def serve(conn, *_):
        conn.setblocking(True)
        subprocess.run(["/usr/sbin/sshd", "-i", "-f", str(config)], stdin=conn.fileno(), stdout=conn.fileno(),
                       stderr=subprocess.DEVNULL)

    return Acceptor(listener, serve)
