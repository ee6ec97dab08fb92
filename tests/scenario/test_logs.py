"""Targets and formats of the access log beyond files of JSON: format strings, the journal, records of tunnels that stay open."""
import pathlib
import re
import socket
import tempfile

import pytest

from client import exchange, open_tunnel
from daemon import BINARY, REPOSITORY, Ukai, run_tool, sections
from scene import wait_until

AGENTS = "agents.deepsecurity.trendmicro.com"
IN = "[in]\ntcp 8080 = 192.168.1.10 ; Webプロキシ\n"


def test_format_string(scene):
    config = sections(dns=False, log={"access-format": '%{src}|%{method}|%{host}:%{port}|"%{memo}"|%{status}|100%%|%{path}'})
    with Ukai(scene, config, IN) as daemon:
        sock = scene.dial()
        open_tunnel(sock, f"{AGENTS}:443")
        sock.close()
        line = f'192.168.1.10|CONNECT|{AGENTS}:443|"Webプロキシ"|200|100%|-\n'
        wait_until(lambda: daemon.access_path.read_text() == line, what=lambda: daemon.access_path.read_text())


def test_every_field_is_in_the_manual_and_no_other(scene):
    """Asked of the program by format strings: it takes what the manual names, and says so of the two that wait."""
    page = (pathlib.Path(BINARY).resolve().parent / "doc" / "ukai.conf.5").read_text().split(".Sh RECORDS\n")[1].split("\n.Sh ")[0]
    documented = {name for item in re.findall(r"^\.It Li (.*)$", page, re.M) for name in item.split(" , ")}
    table = (REPOSITORY / "conf" / "logfield.c").read_text()
    assert documented == set(re.findall(r'^    \[LOG_FIELD_\w+\] = "(\w+)"', table, re.M))
    for name in sorted(documented) + ["user", "sni"]:
        daemon = Ukai(scene, sections(dns=False, log={"access-format": f"%{{{name}}}"}), IN)
        assert run_tool("check", "-c", daemon.conf_path).returncode == (0 if name in documented else 78), name
    assert ".Li sni" in page and ".Li user" in page


def test_O06_format_string_stays_one_line(scene):
    config = sections(dns=False, log={"access-format": "%{host} %{path} %{error}"})
    with Ukai(scene, config, IN) as daemon:
        exchange(scene.dial(), b"GET http://h/%0d%0a\x1b[31m HTTP/1.1\r\nHost: h\r\n\r\n")
        exchange(scene.dial(), b"GET http://[::1]/%n%s%0aX HTTP/1.1\r\nHost: h\r\n\r\n")
        wait_until(lambda: daemon.access_path.read_text().count("\n") == 2)
        assert "\x1b" not in daemon.access_path.read_text()


@pytest.mark.parametrize("end", ["%", "%n", "%s", "%n%n%n", "%1000000d", "%{n}", "%{src"])
def test_G27_what_is_no_field_is_an_error_and_never_a_format(scene, end):
    daemon = Ukai(scene, sections(dns=False, log={"access-format": "%{src} " + end}), IN)
    done = run_tool("check", "-c", daemon.conf_path)
    assert done.returncode == 78 and re.search(r"ukai\.conf:\d+: error: access-format .* is no field", done.out), done.out


def test_G27_percent_signs_of_peers_are_text(scene):
    config = sections(dns=False, log={"access-format": "%{method} %{path} %{user_agent}"})
    with Ukai(scene, config, IN) as daemon:
        exchange(scene.dial(), b"GET http://[::1]/%n%s%1000000d HTTP/1.1\r\nHost: h\r\nUser-Agent: %n%s%n\r\n\r\n")
        wait_until(lambda: daemon.access_path.read_text().endswith("\n"))
        assert daemon.access_path.read_text() == "GET /%n%s%1000000d %n%s%n\n"


@pytest.mark.parametrize("size", [200, 9000])
def test_G27_a_long_path_is_an_error(scene, size):
    daemon = Ukai(scene, sections(dns=False, log={"access": "/" + "x" * size}), IN)
    done = run_tool("check", "-c", daemon.conf_path)
    assert done.returncode == 78 and re.search(r"ukai\.conf:\d+: error: ", done.out) and len(done.out) < 2000, done.out


def test_periodic_records_of_an_open_tunnel(scene):
    with Ukai(scene, sections(dns=False, log={"periodic": "1s"}), IN) as daemon:
        sock = scene.dial()
        open_tunnel(sock, f"{AGENTS}:443")
        first = daemon.record(0, lambda r: r["event"] == "periodic", what="first periodic")
        mark = len(daemon.records())
        second = daemon.record(mark, lambda r: r["event"] == "periodic", what="second periodic")
        assert first["host"] == AGENTS and "closed_by" not in first and second["duration_ms"] > first["duration_ms"]
        daemon.write(config=sections(dns=False, log={"periodic": "off"}))
        daemon.reload()
        sock.close()
        closed = daemon.record(mark, lambda r: r["event"] == "close")
        assert closed["id"] == first["id"]


class Journal:
    """Stands where journald's socket is, in a mount namespace of the daemon's own."""

    def __init__(self, scene):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="journal-", dir=scene.dir))
        self.socket = None
        self.listen()
        self.prefix = ["unshare", "--mount", "sh", "-c",
                       f'mount -t tmpfs run /run && mkdir -p /run/systemd/journal && '
                       f'mount --bind {self.dir} /run/systemd/journal && exec "$@"', "sh"]

    def listen(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        (self.dir / "socket").unlink(missing_ok=True)
        self.socket.bind(str(self.dir / "socket"))
        (self.dir / "socket").chmod(0o666)
        self.socket.settimeout(10)

    def entry(self):
        lines = self.socket.recv(65536).decode().split("\n")
        assert lines.pop() == ""
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def journal(scene):
    place = Journal(scene)
    yield place
    place.socket.close()


def test_journal_gets_the_line_and_its_fields(scene, journal):
    daemon = Ukai(scene, sections(dns=False, log={"access": "journald", "access-format": "squid"}), IN)
    daemon.prefix = journal.prefix
    with daemon:
        exchange(scene.dial(), b"GARBAGE\r\n\r\n")
        entry = journal.entry()
        assert entry["MESSAGE"].endswith("error:bad_request - HIER_NONE/- -") or "bad_request" in entry["MESSAGE"]
        assert entry["UKAI_SRC"] == "192.168.1.10" and entry["UKAI_MEMO"] == "Webプロキシ"
        assert entry["UKAI_STATUS"] == "400" and entry["SYSLOG_IDENTIFIER"] == "ukai" and entry["PRIORITY"] == "6"
        # The journal is started anew: nothing is lost from then on.
        journal.socket.close()
        journal.listen()
        exchange(scene.dial(), b"GARBAGE\r\n\r\n")
        assert journal.entry()["UKAI_SRC"] == "192.168.1.10"


def test_O05_a_dead_journal_delays_nobody_and_the_loss_is_told(scene, journal):
    daemon = Ukai(scene, sections(dns=False, log={"access": "journald"}), IN)
    daemon.prefix = journal.prefix
    with daemon:
        journal.socket.close()
        for _ in range(20):
            assert exchange(scene.dial(), b"GARBAGE\r\n\r\n").status == 400
        journal.listen()

        def told():
            exchange(scene.dial(), b"GARBAGE\r\n\r\n")
            return any("records were dropped" in line for line in daemon.lines)

        wait_until(told, what="the loss told")


def test_without_a_journal_the_start_is_refused_with_the_reason(scene):
    daemon = Ukai(scene, sections(dns=False, log={"access": "journald"}), IN)
    daemon.prefix = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs run /run && exec "$@"', "sh"]
    daemon.start(wait=False)
    assert daemon.wait_exit() == 1
    assert any("access log cannot be opened" in line for line in daemon.lines), daemon.lines
    daemon.process.stderr.close()
    daemon.process = None
