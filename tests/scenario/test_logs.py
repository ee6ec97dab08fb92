"""Targets and formats of the access log beyond files of JSON: format strings, the journal, records of tunnels that stay open."""
import errno
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

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


@pytest.mark.parametrize("umask", ["077", "000"])
def test_the_group_reads_the_file_whatever_the_umask(scene, umask):
    daemon = Ukai(scene, sections(dns=False), IN)
    daemon.prefix = ["sh", "-c", f'umask {umask}; exec "$@"', "sh"]
    with daemon:
        assert daemon.access_path.stat().st_mode & 0o7777 == 0o640


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


class Syslog(Journal):
    """Stands where a syslog daemon's socket is: /dev of a mount namespace of the daemon's own."""

    def __init__(self, scene):
        super().__init__(scene)
        self.prefix = ["unshare", "--mount", "sh", "-c",
                       'mount -t tmpfs dev /mnt && for d in null zero full random urandom; do '
                       'touch /mnt/$d && mount --bind /dev/$d /mnt/$d; done && '
                       f'ln -s {self.dir}/socket /mnt/log && mount --move /mnt /dev && exec "$@"', "sh"]

    def line(self):
        """What came, without its prefix."""
        head, text = self.socket.recv(65536).decode().split(": ", 1)
        assert re.fullmatch(r"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ukai\[\d+\]", head), head
        return text


@pytest.fixture
def syslog(scene):
    place = Syslog(scene)
    yield place
    place.socket.close()


def garbage(scene):
    """One transaction, not held up by its record."""
    with scene.dial(timeout=2) as sock:
        assert exchange(sock, b"GARBAGE\r\n\r\n", deadline_s=1).status == 400


def test_syslog_gets_each_record_as_a_line(scene, syslog):
    daemon = Ukai(scene, sections(dns=False, log={"access": "syslog", "access-format": "logfmt"}), IN)
    daemon.prefix = syslog.prefix
    with daemon:
        garbage(scene)
        line = syslog.line()
        assert 'src="192.168.1.10"' in line and 'memo="Webプロキシ"' in line and "\n" not in line, line
        syslog.socket.close()  # started anew: nothing is lost from then on
        syslog.listen()
        garbage(scene)
        assert 'src="192.168.1.10"' in syslog.line()
        assert daemon.status()["log_dropped"] == 0


def test_without_syslog_the_start_is_refused_with_the_reason(scene, syslog):
    syslog.socket.close()
    daemon = Ukai(scene, sections(dns=False, log={"access": "syslog"}), IN)
    daemon.prefix = syslog.prefix
    daemon.start(wait=False)
    assert daemon.wait_exit() == 1
    assert any("the access log cannot be opened: /dev/log (syslog): " in line for line in daemon.lines), daemon.lines
    daemon.process.stderr.close()
    daemon.process = None


N_LOST = 20


def lose_some(scene, daemon):
    """Transactions whose records cannot be written: each is served at once, each is counted, the trouble is told once."""
    for _ in range(N_LOST):
        garbage(scene)
    wait_until(lambda: daemon.status()["log_dropped"] == N_LOST, what=lambda: daemon.status()["log_dropped"])
    assert sum("access records cannot be written" in line for line in daemon.lines) == 1


def lose_no_more(scene, daemon, read):
    garbage(scene)
    daemon.wait_log(rf'msg="access records were dropped" n={N_LOST}$')
    garbage(scene)
    wait_until(lambda: len(read()) == 2, what=read)
    assert daemon.status()["log_dropped"] == N_LOST


def test_O05_dead_syslog(scene, syslog):
    daemon = Ukai(scene, sections(dns=False, log={"access": "syslog"}), IN)
    daemon.prefix = syslog.prefix
    with daemon:
        syslog.socket.close()
        lose_some(scene, daemon)
        syslog.listen()
        got = []

        def read():
            syslog.socket.settimeout(0.2)
            try:
                got.append(syslog.line())
            except TimeoutError:
                pass
            return got

        lose_no_more(scene, daemon, read)


def test_O05_full_device(scene):
    config = sections(dns=False, log={"access": "/dev/full"}, process={"sandbox": "off"})
    with Ukai(scene, config, IN) as daemon:
        lose_some(scene, daemon)
        target = daemon.dir / "elsewhere.json"
        daemon.reload(config=sections(dns=False, log={"access": str(target)}, process={"sandbox": "off"}))
        lose_no_more(scene, daemon, lambda: target.read_text().splitlines())


@pytest.fixture
def small_disk(scene):
    """A file system of 64 KiB."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="disk-", dir=scene.dir))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "small", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(place):
    with open(place / "filler", "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 512):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


def test_O05_full_file_system(scene, small_disk):
    """Lines are whole again when there is room, though the last one before was cut anywhere."""
    log = small_disk / "access.json"
    config = sections(dns=False, log={"access": str(log)})
    with Ukai(scene, config, IN) as daemon:
        garbage(scene)
        wait_until(lambda: log.read_text().endswith("\n"))
        fill(small_disk)
        n_written = 1
        while not daemon.status()["log_dropped"]:  # the page that the file has is still its own
            n_before = daemon.status()["traffic"]["accepted"]
            garbage(scene)
            wait_until(lambda: log.read_text().count("\n") + daemon.status()["log_dropped"] == n_before + 1)
        n_written = log.read_text().count("\n")
        for _ in range(N_LOST):
            garbage(scene)
        wait_until(lambda: daemon.status()["log_dropped"] == N_LOST + 1)
        assert not log.read_text().endswith("\n"), "the last one was cut"
        (small_disk / "filler").unlink()
        garbage(scene)
        daemon.wait_log(rf'msg="access records were dropped" n={N_LOST + 1}$')
        garbage(scene)
        wait_until(lambda: log.read_text().count("\n") == n_written + 3)
        lines = log.read_text().splitlines()
        broken = lines.pop(n_written)
        assert all(json.loads(line)["src"] == "192.168.1.10" for line in lines) and 0 < len(broken) < len(lines[0])
        assert daemon.status()["log_dropped"] == N_LOST + 1


def test_O05_fifo_without_reader(scene):
    """What it holds waits for a reader; what does not fit is counted."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="fifo-", dir=scene.dir)) / "access"
    os.mkfifo(place)
    with Ukai(scene, sections(dns=False, log={"access": str(place)}), IN) as daemon:
        reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        os.close(reader)
        for _ in range(N_LOST + 10):
            garbage(scene)
        wait_until(lambda: daemon.status()["log_dropped"] > 0, 15)
        reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
        got = b""

        def read():
            nonlocal got
            try:
                got += os.read(reader, 65536)
            except BlockingIOError:
                pass
            return got

        read()
        n_lost = daemon.status()["log_dropped"]
        garbage(scene)
        daemon.wait_log(rf'msg="access records were dropped" n={n_lost}$')
        garbage(scene)
        wait_until(lambda: read().endswith(b"\n") and N_LOST + 12 - n_lost <= got.count(b"\n"))
        os.close(reader)
        lines = got.decode().splitlines()
        broken = [line for line in lines if not line.endswith("}")]
        assert len(lines) - len(broken) + n_lost == N_LOST + 12 and len(broken) <= 1, (lines, n_lost)
        assert all(json.loads(line)["src"] == "192.168.1.10" for line in lines if line not in broken)


def test_O05_removed_directory(scene):
    """Records go to the file that is open; to open it again fails with the reason and loses nothing."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="gone-", dir=scene.dir))
    config = sections(dns=False, log={"access": str(place / "access.json")})
    with Ukai(scene, config, IN) as daemon:
        garbage(scene)
        wait_until(lambda: (place / "access.json").read_text().count("\n") == 1)
        kept = open(place / "access.json", encoding="utf-8")
        shutil.rmtree(place)
        garbage(scene)
        daemon.signal(signal.SIGUSR1)
        daemon.wait_log("the access log cannot be reopened, writing to the old one")
        garbage(scene)
        wait_until(lambda: kept.seek(0) == 0 and kept.read().count("\n") == 3)
        assert daemon.status()["log_dropped"] == 0
        kept.close()


def test_records_have_the_form_of_where_they_go(scene, journal):
    """Reloads between a file and the journal, under load: no fields in the file, no lines in the journal, none lost."""
    def config(access):
        return sections(dns=False, log={"access": access}, process={"workers": "2"})

    daemon = Ukai(scene, config("access.json"), IN)
    daemon.prefix = journal.prefix
    entries, is_over, is_read, n_done = [], threading.Event(), threading.Event(), [0, 0]

    def read_journal():
        while True:
            try:
                entries.append(journal.entry())
            except OSError:
                if is_read.is_set():
                    return

    def load(i):
        while not is_over.is_set():
            garbage(scene)
            n_done[i] += 1

    journal.socket.settimeout(0.2)
    threads = [threading.Thread(target=read_journal)] + [threading.Thread(target=load, args=(i,)) for i in (0, 1)]
    with daemon:
        for thread in threads:
            thread.start()
        try:
            for i in range(20):
                n_before = sum(n_done)
                wait_until(lambda: sum(n_done) > n_before + 10)
                daemon.reload(config=config("access.json" if i % 2 else "journald"))
        finally:
            is_over.set()
            for thread in threads[1:]:
                thread.join()
        try:
            wait_until(lambda: len(entries) + len(daemon.access_path.read_text().splitlines()) == sum(n_done),
                       what=lambda: (len(entries), len(daemon.access_path.read_text().splitlines()), n_done))
        finally:
            is_read.set()
            threads[0].join()
        assert daemon.status()["log_dropped"] == 0
    assert all(json.loads(line)["event"] for line in daemon.access_path.read_text().splitlines())
    assert all("MESSAGE" in entry and "UKAI_SRC" in entry for entry in entries) and len(entries) > 50
