"""`ukai top`: in a real terminal, line by line, and for programs; and what it leaves behind in each."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import unicodedata

import pytest

from client import open_tunnel
from daemon import BINARY, Ukai, is_printable, run_tool, sections
from scene import wait_until
from tmux import Terminal

ECHO = "echo.lab.example"
IN = "[in]\ntcp 8080 = 192.168.1.10 ; Webプロキシ利用でのDSaaS通信用\ntcp 8080 = 192.168.1.20\nudp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\n"


@pytest.fixture
def ukai(scene):
    with Ukai(scene, sections(), IN) as daemon:
        yield daemon


def command(daemon, *words):
    return [BINARY, "top", "-c", daemon.conf_path, *words]


def width(line):
    return sum(0 if unicodedata.combining(c) or c == "\ufeff" else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def busy(scene, ukai, n=5):
    """Tunnels of two clients; n of the first."""
    socks = [scene.dial() for _ in range(n)] + [scene.dial(host=scene.host20)]
    for sock in socks:
        open_tunnel(sock, f"{ECHO}:443")
    return socks


def once(daemon, *words, **env):
    return run_tool("top", "-c", daemon.conf_path, "--once", *words, env=env)


# for scripts

@pytest.mark.parametrize("columns, lines", [(80, 24), (40, 15), (132, 50), (1, 1), (100000, 3)])
def test_once_fits(scene, ukai, columns, lines):
    busy(scene, ukai)
    done = once(ukai, COLUMNS=str(columns), LINES=str(lines))
    assert done.returncode == 0
    shown = done.out.split("\n")[:-1]
    assert max(map(width, shown)) <= min(max(columns if columns <= 10000 else 80, 40), 300), done.out
    assert len(shown) <= max(lines, 1) and "\x1b" not in done.out
    if lines >= 15:
        assert "192.168.1.20" in done.out and "tunnels by rate, 1-" in done.out
    if columns >= 80 and lines >= 15:
        assert "Webプロキシ利用でのDSaaS通信用" in done.out


def test_json_adds_up(scene, ukai):
    busy(scene, ukai)
    model = json.loads(once(ukai, "--json").out)
    assert model["window"]["ms"] >= 700 and model["traffic"]["tunnels"] == 6
    sources = {s["src"]: s for s in model["busy_sources"]}
    assert sources["192.168.1.10"]["tunnels"] == 5 and sources["192.168.1.20"]["tunnels"] == 1
    assert sources["192.168.1.10"]["memo"] == "Webプロキシ利用でのDSaaS通信用"
    assert {(d["host"], d["port"], d["tunnels"]) for d in model["busy_destinations"]} == {(ECHO, 443, 6)}
    assert {t["id"] for t in model["busy_tunnels"]} == {t["id"] for t in map(json.loads, run_tool(
        "tunnels", "-c", ukai.conf_path, "--json").out.splitlines())}


def test_rates_are_those_of_the_traffic(scene, ukai):
    socks = busy(scene, ukai, 1)
    first = json.loads(once(ukai, "--json").out)
    before = {t["id"]: t for t in first["busy_tunnels"]}
    for _ in range(20):
        socks[1].sendall(b"x" * 10000)
    seen = json.loads(once(ukai, "--json").out)
    moved = [t for t in seen["busy_tunnels"] if t["bytes_up"] > before[t["id"]]["bytes_up"]]
    assert [t["src"] for t in moved] == ["192.168.1.20"] and seen["busy_tunnels"][0]["src"] == "192.168.1.20"
    assert seen["busy_tunnels"][0]["rate_up"] > 0 and seen["window"]["bytes_up"] > 0


def test_sort_by_source(scene, ukai):
    busy(scene, ukai)
    model = json.loads(once(ukai, "--json", "--sort", "source").out)
    assert [t["src"] for t in model["busy_tunnels"]] == ["192.168.1.10"] * 5 + ["192.168.1.20"]


def test_batch_goes_on_until_told(ukai):
    process = subprocess.Popen(command(ukai, "--batch", "--interval", "0.5"), stdout=subprocess.PIPE, text=True)
    for _ in range(40):
        process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait(10) == 0


@pytest.mark.parametrize("words", [["--interval", "0"], ["--interval", "x"], ["--interval", "nan"], ["--interval", "1e9"],
                                   ["--sort", "size"], ["more"], ["--no-such-option"]])
def test_wrong_words_are_a_usage_error(ukai, words):
    assert once(ukai, *words).returncode == 2


@pytest.mark.parametrize("request_words", [["top"], ["top", "rate"], ["top", "x", "5"], ["top", "rate", "-1"],
                                           ["top", "rate", "5x"], ["top", "rate", "", "1"]])
def test_the_daemon_takes_no_nonsense(ukai, request_words):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(ukai.dir / "control.sock"))
        sock.sendall(json.dumps(request_words).encode() + b"\n")
        assert json.loads(sock.makefile("rb").readline())["exit"] == 2


def test_without_a_daemon(tmp_path):
    done = run_tool("top", "--socket", tmp_path / "none.sock")
    assert done.returncode == 1 and "no answer at" in done.out


def test_a_daemon_that_says_nothing_is_given_up(tmp_path):
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen()
        done = run_tool("top", "--once", "--socket", tmp_path / "mute.sock")
    assert done.returncode == 1 and "does not answer" in done.out


# in a terminal

def is_restored(terminal):
    return terminal.state("alternate_on", "cursor_flag", "wrap_flag") == ["0", "1", "1"]


@pytest.mark.parametrize("columns, lines", [(80, 24), (40, 15), (200, 50)])
def test_terminal_shows_and_is_given_back(scene, ukai, columns, lines):
    busy(scene, ukai)
    with Terminal(columns, lines) as terminal:
        terminal.run(*command(ukai, "--interval", "0.5"))
        screen = terminal.wait(lambda s: "tunnels by rate" in s and "192.168.1.20" in s)
        assert all(width(line) <= columns for line in screen.split("\n"))
        assert terminal.lines()[lines - 1].startswith("q quit")
        assert terminal.state("alternate_on", "cursor_flag") == ["1", "0"]
        for order in ("bytes", "age", "source", "rate"):
            terminal.keys("s")
            terminal.wait(lambda s, order=order: f"tunnels by {order}" in s)
        terminal.keys("d")
        terminal.wait(lambda s: "destinations by rate" in s)
        terminal.keys("?")
        terminal.wait(lambda s: "look again now" in s)
        terminal.keys("?", "p")
        terminal.wait(lambda s: "PAUSED" in s)
        terminal.keys("q")
        terminal.wait(lambda s: "tunnels" not in s and "$" in s)
        assert is_restored(terminal)
        terminal.run("stty", "-a")
        terminal.wait(lambda s: " icanon" in s and " echo " in s.replace(";", " "))


def test_terminal_follows_a_resize(scene, ukai):
    busy(scene, ukai)
    with Terminal(80, 24) as terminal:
        terminal.run(*command(ukai))
        terminal.wait(lambda s: "MEMO" in s)
        terminal.resize(40, 15)
        terminal.wait(lambda s: "MEMO" not in s and "SOURCE" in s and len(s.split("\n")) <= 16)
        terminal.resize(200, 30)
        screen = terminal.wait(lambda s: s.count("MEMO") == 2 and s.split("\n")[29].startswith("q quit"))
        assert screen.count("SOURCE") == 2 and screen.count("IDLE") == screen.count("TUN ") == 1, "nothing of before is left"
        terminal.resize(1, 1)
        terminal.resize(80, 24)
        terminal.wait(lambda s: s.count("MEMO") == 1 and s.split("\n")[23].startswith("q quit"))
        terminal.keys("q")
        terminal.wait(lambda s: "$" in s and "MEMO" not in s)


@pytest.mark.parametrize("how", ["q", "C-c", "SIGINT", "SIGTERM", "SIGHUP"])
def test_terminal_is_given_back_by_any_end(ukai, how, tmp_path):
    with Terminal(80, 24) as terminal:
        before = terminal.modes(tmp_path / "before")
        pid_file = ukai.dir / "top.pid"
        terminal.run("sh", "-c", f"echo $$ >{pid_file}; exec \"$@\"", "sh", *command(ukai))
        terminal.wait(lambda s: "sources" in s)
        if how.startswith("SIG"):
            os.kill(int(pid_file.read_text()), getattr(signal, how))
        else:
            terminal.keys(how)
        terminal.wait(lambda s: "sources" not in s and "$" in s)
        assert is_restored(terminal)
        assert terminal.modes(tmp_path / "after") == before


def test_terminal_stops_and_goes_on(ukai):
    with Terminal(80, 24) as terminal:
        terminal.run(*command(ukai, "--interval", "0.5"))
        terminal.wait(lambda s: "sources" in s)
        terminal.keys("C-z")
        terminal.wait(lambda s: "topped" in s)
        assert is_restored(terminal)
        terminal.run("fg")
        terminal.wait(lambda s: "sources" in s and "q quit" in s)
        assert terminal.state("alternate_on") == ["1"]
        terminal.keys("q")
        terminal.wait(lambda s: "sources" not in s)
        assert is_restored(terminal)


def test_the_daemon_dies_meanwhile(scene):
    with Ukai(scene, sections(dns=False), IN) as daemon, Terminal(80, 24) as terminal:
        terminal.keys(" ".join(map(str, command(daemon, "--interval", "0.5"))) + "; echo code $?", "Enter")
        terminal.wait(lambda s: "sources" in s)
        daemon.signal(signal.SIGTERM)
        daemon.wait_exit()
        terminal.wait(lambda s: "the daemon is gone at" in s and "code 1" in s)
        assert is_restored(terminal)


def test_a_tunnel_is_ended_after_a_yes(scene, ukai):
    busy(scene, ukai, 2)
    with Terminal(80, 24) as terminal:
        terminal.run(*command(ukai, "--sort", "source"))
        terminal.wait(lambda s: "192.168.1.20" in s)
        terminal.keys("x")
        terminal.wait(lambda s: "y/n" in s)
        terminal.keys("n")
        terminal.wait(lambda s: "y/n" not in s)
        terminal.keys("G")
        terminal.keys("x")
        terminal.wait(lambda s: "of 192.168.1.20? y/n" in s)
        terminal.keys("y")
        terminal.wait(lambda s: "is ended" in s)
        wait_until(lambda: "192.168.1.20" not in run_tool("tunnels", "-c", ukai.conf_path).out)
        assert run_tool("tunnels", "-c", ukai.conf_path).out.count("192.168.1.10") == 2
        terminal.keys("q")


def test_no_colour_where_none_is_wanted(scene):
    with Ukai(scene, sections(dns=False, acl={"mode": "observe"}), IN) as daemon:
        for env, has_colour in (({}, True), ({"NO_COLOR": "1"}, False)):
            with Terminal(80, 24, env) as terminal:
                terminal.run(*command(daemon))
                terminal.wait(lambda s: "OBSERVING" in s)
                assert ("31m" in terminal.screen(escapes=True)) == has_colour


def test_a_dumb_terminal_gets_lines(ukai):
    with Terminal(80, 24, {"TERM": "dumb"}) as terminal:
        terminal.run(*command(ukai, "--interval", "0.5"))
        terminal.wait(lambda s: s.count("sources: none") > 1)
        assert terminal.state("alternate_on") == ["0"]
        terminal.keys("C-c")


def test_status_in_a_terminal(scene, ukai):
    busy(scene, ukai)
    with Terminal(80, 24) as terminal:
        terminal.run(BINARY, "status", "-c", ukai.conf_path)
        terminal.wait(lambda s: "tunnels 6 of" in s)


# hostile words: of whoever answers at the socket, each text that `top` and `status` show

HOSTILE = ["\x1b[2J\x1b]0;title\x07", "\x9b31mC1\x90q", "\u202egnp.exe\u2066\u200f", "a\r\nb\x08\x08\x7f", "\u2028\u2029\u061c",
           "日本語のとても長いメモ" * 20, "e\u0301\u0301\u0301\u0301" * 60, "\U0010fffd\ufdd0\u00ad\ufeff", "%s%n%d" * 9, ""]
SEQUENCES = re.compile(r"\x1b(\[\?(1049|25|7)[hl]|\[\d+;1H|\[2?[JK]|\[[0-9;]*m)")  # of screen.c


class Liar:
    """Answers at a socket of its own as the daemon does, once with each of the texts in place of every one."""

    def __init__(self, ukai, verb, path):
        said = run_tool(verb, "-c", ukai.conf_path, "--json", *["--once"] * (verb == "top")).out
        self.true = [json.loads(line) for line in said.splitlines()]
        self.path, self.socket = path, socket.socket(socket.AF_UNIX)

    def __enter__(self):
        self.socket.bind(str(self.path))
        self.socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _lie(self, value, text):
        if isinstance(value, str):
            return text
        if isinstance(value, list):
            is_table = value is not self.true and value and isinstance(value[0], dict)
            return [self._lie(one, word) for one in value for word in (HOSTILE if is_table else [text])]
        return {key: self._lie(one, text) for key, one in value.items()} if isinstance(value, dict) else value

    def _serve(self):
        out = "".join(json.dumps(one) + "\n" for one in self._lie(self.true, "".join(HOSTILE))).encode()
        try:
            while True:
                with self.socket.accept()[0] as asker:
                    asker.makefile("rb").readline()
                    asker.sendall(json.dumps({"exit": 0, "out": len(out), "err": 0}).encode() + b"\n" + out)
        except OSError:
            pass


def raw_lines(path):
    """What came to the terminal, without what a screen of ours is made of: lines that should not have come."""
    return [line for line in SEQUENCES.sub("", path.read_bytes().decode()).split("\r\n") if not is_printable(line)]


@pytest.mark.parametrize("columns, lines", [(80, 24), (40, 30), (200, 50)])
def test_hostile_words_in_a_terminal(scene, ukai, tmp_path, columns, lines):
    busy(scene, ukai)
    with Liar(ukai, "top", tmp_path / "s") as liar, Terminal(columns, lines) as terminal:
        terminal.record(tmp_path / "bytes")
        terminal.run(BINARY, "top", "--socket", liar.path, "--interval", "0.5")
        screen = terminal.wait(lambda s: "DOWN/S" in s and s.split("\n")[lines - 1].startswith("q quit")).split("\n")
        plain = run_tool("top", "--once", "--socket", liar.path, env={"COLUMNS": str(columns), "LINES": str(lines - 1)}).out
        rows = [line for line in screen[1:lines - 1] if " by " not in line]
        assert not set(rows) - set(plain.split("\n")), "the terminal counts columns as we do"
        assert any("日本語" in row for row in rows) and all(width(line) <= columns for line in screen)
        terminal.keys("x")
        terminal.wait(lambda s: "end tunnel" in s)
        terminal.keys("n", "q")
        terminal.wait(lambda s: "DOWN/S" not in s)
        assert is_restored(terminal)
        assert not raw_lines(tmp_path / "bytes")


@pytest.mark.parametrize("verb, end", [("status", "answers,"), ("tunnels", "DESTINATION")])
def test_hostile_words_in_what_people_read(scene, ukai, tmp_path, verb, end):
    busy(scene, ukai)
    with Liar(ukai, verb, tmp_path / "s") as liar, Terminal(200, 50) as terminal:
        terminal.record(tmp_path / "bytes")
        terminal.run(BINARY, verb, "--socket", liar.path)
        terminal.wait(lambda s: end in s)
        terminal.run("echo", "all is", "said")
        terminal.wait(lambda s: "all is said" in s)
        assert not raw_lines(tmp_path / "bytes")
        assert "日本語のとても長いメモ" in (tmp_path / "bytes").read_text()
