"""`ukai top`: in a real terminal, line by line, and for programs; and what it leaves behind in each."""
import json
import os
import signal
import subprocess
import unicodedata

import pytest

from client import open_tunnel
from daemon import BINARY, Ukai, run_tool, sections
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
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


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
    import socket
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(ukai.dir / "control.sock"))
        sock.sendall(json.dumps(request_words).encode() + b"\n")
        assert json.loads(sock.makefile("rb").readline())["exit"] == 2


def test_without_a_daemon(tmp_path):
    done = run_tool("top", "--socket", tmp_path / "none.sock")
    assert done.returncode == 1 and "no answer at" in done.out


def test_a_daemon_that_says_nothing_is_given_up(tmp_path):
    import socket
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen()
        done = run_tool("top", "--once", "--socket", tmp_path / "mute.sock")
    assert done.returncode == 1 and "does not answer" in done.out


# in a terminal

def is_restored(terminal):
    return terminal.state("alternate_on", "cursor_flag", "wrap_flag") == ["0", "1", "1"]


@pytest.mark.parametrize("columns, lines", [(80, 24), (40, 15)])
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
        terminal.resize(120, 30)
        terminal.wait(lambda s: "IDLE" in s and "MEMO" in s and s.split("\n")[29].startswith("q quit"))
        terminal.keys("q")
        terminal.wait(lambda s: "$" in s and "MEMO" not in s)


@pytest.mark.parametrize("how", ["C-c", "SIGTERM", "SIGHUP"])
def test_terminal_is_given_back_by_any_end(ukai, how):
    with Terminal(80, 24) as terminal:
        pid_file = ukai.dir / "top.pid"
        terminal.run("sh", "-c", f"echo $$ >{pid_file}; exec \"$@\"", "sh", *command(ukai))
        terminal.wait(lambda s: "sources" in s)
        if how == "C-c":
            terminal.keys("C-c")
        else:
            os.kill(int(pid_file.read_text()), getattr(signal, how))
        terminal.wait(lambda s: "sources" not in s and "$" in s)
        assert is_restored(terminal)


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
