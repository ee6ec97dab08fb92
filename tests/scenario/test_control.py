"""The control socket and the commands that use it: who may, what they say, and that nobody can hold the daemon up by it."""
import contextlib
import grp
import json
import os
import shlex
import socket
import stat
import subprocess
import threading
import time

import pytest

import inject
from client import exchange, open_tunnel, read_exactly
from daemon import BINARY, SANITIZER_DIR, Ukai, run_tool, sections
from scene import ECHO, NSD, wait_until

AGENTS = "agents.deepsecurity.trendmicro.com"
IN = "[in]\ntcp 8080 = 192.168.1.10 ; Webプロキシ\ntcp 8080 = 192.168.1.20\nudp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\n"


@pytest.fixture
def ukai(scene):
    with Ukai(scene, sections(), IN) as daemon:
        yield daemon


def ctl(daemon, *words, **options):
    return run_tool(words[0], "-c", daemon.conf_path, *words[1:], **options)


def ctl_json(daemon, *words):
    done = ctl(daemon, *words, "--json")
    assert done.returncode == 0, done.out
    return json.loads(done.out)


def raw(daemon, timeout=10):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)

    def connected():
        try:
            sock.connect(str(daemon.dir / "control.sock"))
            return True
        except BlockingIOError:  # a full backlog
            return False

    wait_until(connected)
    return sock


def tunnels(daemon):
    return [json.loads(line) for line in ctl(daemon, "tunnels", "--json").out.splitlines()]


# the place

def test_O08_mode_and_removal(scene):
    daemon = Ukai(scene, sections(dns=False), IN)
    with daemon:
        mode = os.lstat(daemon.dir / "control.sock").st_mode
        assert stat.S_ISSOCK(mode) and mode & 0o777 == 0o660
    assert not (daemon.dir / "control.sock").exists()


def test_O08_what_a_crash_left_is_replaced(scene):
    daemon = Ukai(scene, sections(dns=False), IN)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(daemon.dir / "control.sock"))
    left.close()
    with daemon:
        assert ctl(daemon, "status").returncode == 0


@pytest.mark.parametrize("what, words", [("link", "symbolic link"), ("file", "no socket"), ("open", "anybody may write"),
                                         ("live", "another daemon"), ("alien", "belongs to another user")])
def test_O08_refused(scene, what, words):
    daemon = Ukai(scene, sections(dns=False), IN)
    place = daemon.dir / "control.sock"
    held = None
    if what == "link":
        place.symlink_to("/tmp/elsewhere.sock")
    elif what == "file":
        place.write_text("mine")
    elif what == "open":
        daemon.dir.chmod(0o777)
    elif what == "alien":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(place))
        os.chown(place, 65534, 65534)
    else:
        held = socket.socket(socket.AF_UNIX)
        held.bind(str(place))
        held.listen()
    daemon.start(wait=False)
    assert daemon.wait_exit() == 1
    assert any(words in line for line in daemon.lines), daemon.lines
    if what == "file":
        assert place.read_text() == "mine"
    if what == "alien":
        assert os.lstat(place).st_uid == 65534
    daemon.process.stderr.close()
    daemon.process = None
    if held:
        held.close()


def test_O08_root_and_the_group_alone_may_ask(scene):
    """Real processes: of the daemon's user, of a member of its group by whatever user, and of others."""
    daemon = Ukai(scene, sections(dns=False, process={"user": "nobody", "group": "games"}), IN)
    for path in (daemon.dir, *daemon.dir.parents):
        if path.stat().st_uid == 0 and str(path).startswith(str(scene.dir)):
            path.chmod(path.stat().st_mode | 0o055)
    os.chown(daemon.dir, 65534, 0)
    with daemon:
        place = daemon.dir / "control.sock"

        def asks(*who):
            done = subprocess.run(["setpriv", *who, BINARY, "status", "--socket", place], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            return done.returncode, done.stdout

        games = grp.getgrnam("games").gr_gid
        for who in (("--reuid=0",), ("--reuid=65534", "--regid=65534", "--clear-groups"),
                    ("--reuid=daemon", "--regid=daemon", f"--groups={games}"), ("--reuid=daemon", f"--regid={games}", "--clear-groups")):
            code, said = asks(*who)
            assert code == 0 and f"pid {daemon.pid}," in said, (who, said)
        code, said = asks("--reuid=daemon", "--regid=daemon", "--clear-groups")
        assert code == 1 and "Permission denied" in said, said


def test_without_a_daemon_the_command_says_so(tmp_path):
    done = run_tool("status", "--socket", tmp_path / "none.sock")
    assert done.returncode == 1 and "is the daemon running" in done.out


# the words

def test_status_counts_what_happens(scene, ukai):
    before = ctl_json(ukai, "status")
    sock = scene.dial()
    open_tunnel(sock, f"{AGENTS}:443")
    assert scene.host10.run(["dig", "+short", "@192.168.1.254", AGENTS]).stdout.strip()
    now = ctl_json(ukai, "status")
    assert now["traffic"]["tunnels"] == 1 and now["traffic"]["tunnels_opened"] == before["traffic"]["tunnels_opened"] + 1
    assert now["dns"]["queries_udp"] == before["dns"]["queries_udp"] + 1 and now["dns"]["cache_entries"] >= 1
    assert {l["kind"] for l in now["listeners"]} == {"web-proxy", "dns"} and now["rules"] == 4
    text = ctl(ukai, "status").out
    assert "tunnels 1 of" in text and "lan0 port 8080" in text


def test_status_counts_the_bytes_of_open_tunnels(scene, ukai):
    sock = scene.dial()
    open_tunnel(sock, f"{ECHO}:443")
    sock.sendall(b"x" * 3000)
    read_exactly(sock, 3000)
    traffic = ctl_json(ukai, "status")["traffic"]
    assert traffic["tunnels_closed"] == 0 and traffic["bytes_up"] == traffic["bytes_down"] == 3000
    assert "1 opened, 2.9 KiB up, 2.9 KiB down" in ctl(ukai, "status").out
    sock.close()
    wait_until(lambda: ctl_json(ukai, "status")["traffic"]["tunnels_closed"] == 1)
    assert ctl_json(ukai, "status")["traffic"]["bytes_up"] == 3000


def test_tunnels_are_listed_with_rule_and_memo(scene, ukai):
    sock = scene.dial()
    open_tunnel(sock, f"{AGENTS}:443")
    (tunnel,) = tunnels(ukai)
    assert tunnel["src"] == "192.168.1.10" and tunnel["host"] == AGENTS and tunnel["port"] == 443
    assert tunnel["memo"] == "Webプロキシ" and tunnel["rule"].endswith("acl.conf:2")
    assert AGENTS in ctl(ukai, "tunnels").out
    sock.close()
    wait_until(lambda: not tunnels(ukai))


def test_a_thousand_tunnels_are_listed(scene, ukai):
    socks = []
    for _ in range(1000):
        socks.append(scene.dial())
        open_tunnel(socks[-1], f"{AGENTS}:443")
    assert len({t["id"] for t in tunnels(ukai)}) == 1000


def test_kill_by_id_and_by_address(scene, ukai):
    mark = ukai.mark()
    socks = [scene.dial(), scene.dial(), scene.dial(host=scene.host20)]
    for sock in socks:
        open_tunnel(sock, f"{AGENTS}:443")
    victim = next(t for t in tunnels(ukai) if t["src"] == "192.168.1.20")
    assert ctl(ukai, "kill", victim["id"]).out == "1 connections ended\n"
    record = ukai.record(mark, lambda r: r["event"] == "close")
    assert record["closed_by"] == "admin" and record["src"] == "192.168.1.20" and record["id"] == victim["id"]
    assert len(tunnels(ukai)) == 2
    assert ctl_json(ukai, "kill", "192.168.1.10") == {"ended": 2}
    assert not tunnels(ukai)
    assert ctl(ukai, "kill", "192.168.1.10").returncode == 3


@pytest.mark.parametrize("text", ["", "x", "1.", ".1", "1.x", "1.-1", "192.168.1", "1.2.3.4.5"])
def test_kill_of_nonsense_is_a_usage_error(ukai, text):
    assert ctl(ukai, "kill", text).returncode == 2


def test_flush_forgets(scene, ukai):
    for name in (AGENTS, "ns.trendmicro.com"):
        scene.host10.run(["dig", "+short", "@192.168.1.254", name])
    assert ctl_json(ukai, "flush", AGENTS)["forgotten"] == 1
    assert ctl_json(ukai, "flush", AGENTS)["forgotten"] == 0
    scene.host10.run(["dig", "+short", "@192.168.1.254", AGENTS])
    assert ctl_json(ukai, "flush", "*.trendmicro.com")["forgotten"] == 2
    scene.host10.run(["dig", "+short", "@192.168.1.254", AGENTS])
    assert ctl_json(ukai, "flush", f".{AGENTS}")["forgotten"] == 1
    assert ctl(ukai, "flush", "a..b").returncode == 2
    ctl(ukai, "flush")
    assert ctl_json(ukai, "status")["dns"]["cache_entries"] == 0


def test_reload_tells_the_truth(scene, ukai):
    def served():
        return exchange(scene.dial(host=scene.host20), b"GARBAGE\r\n\r\n").status == 400

    assert served()
    ukai.write(acl="[in]\ntcp 8080 = 192.168.1.10\n")
    assert ctl(ukai, "reload").returncode == 0
    assert not served()  # at once: the command returns when the workers have it
    ukai.write(acl="[in]\ntcp 8080 = 192.168.1.10\ntcp 99999 = 192.168.1.20\n")
    done = ctl(ukai, "reload")
    assert done.returncode == 78 and "acl.conf:3: error:" in done.out and "old configuration stays" in done.out
    ukai.write(acl=IN)
    assert ctl(ukai, "reload").returncode == 0 and served()


def test_reload_works_while_ukai_conf_is_broken(ukai):
    good = ukai.conf_path.read_text()
    ukai.write(conf_text=good + "\n[nonsense]\nx = 1\n")
    assert ctl(ukai, "reload").returncode == 78
    assert ctl_json(ukai, "status")["reload_refused_timestamp_s"] > 0
    assert "the last reload was refused, 20" in ctl(ukai, "status").out
    assert "RELOAD REFUSED" in ctl(ukai, "top", "--once").out
    ukai.write(conf_text=good)
    assert ctl(ukai, "reload").returncode == 0
    assert "reload_refused_timestamp_s" not in ctl_json(ukai, "status")


def test_drain_by_command(scene):
    with Ukai(scene, sections(dns=False), IN) as daemon:
        sock = scene.dial()
        open_tunnel(sock, f"{AGENTS}:443")
        assert ctl(daemon, "drain").returncode == 0
        daemon.wait_log("msg=draining")
        assert ctl_json(daemon, "status")["draining"] is True
        assert ctl(daemon, "reload").returncode == 1
        sock.close()
        assert daemon.wait_exit() == 0


def test_log_level(ukai):
    assert ctl(ukai, "log", "debug").returncode == 0
    assert ctl(ukai, "status").returncode == 0
    ukai.wait_log('msg=control verb="status" uid=0')
    assert ctl(ukai, "log", "loud").returncode == 2


def test_rules_show_hits(scene, ukai):
    open_tunnel(scene.dial(), f"{AGENTS}:443")
    text = ctl(ukai, "rules").out
    line = next(line for line in text.splitlines() if "Webプロキシ" in line)
    assert line.split()[0] == "1"


def test_status_tells_the_recent_refusals_and_how_to_ask(scene, ukai):
    for _ in range(3):
        exchange(scene.dial(), b"CONNECT 10.66.0.1:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    row = next(r for r in ctl_json(ukai, "status")["refusals"] if "10.66.0.1" in r["target"])
    assert row["times"] == 3 and row["source"] == "192.168.1.10" and row["reason"] == "special_use"
    assert row["listener"] and not row["observed"] and 0 <= time.time() - row["last_timestamp_s"] < 60
    text = ctl(ukai, "status").out
    assert "CONNECT 10.66.0.1:443  special-use address" in text and "(3 times)" in text and row["explain"] in text
    explained = scene.router.run([BINARY, *shlex.split(row["explain"])[1:]])
    assert explained.returncode == 3 and "10.0.0.0/8" in explained.stdout, explained


def test_a_relative_file_is_told_by_its_whole_path(scene):
    """The `explain` line is pasted elsewhere; with a quote and blanks in the path it is for a shell."""
    daemon = Ukai(scene, sections(dns=False), IN)
    path = daemon.conf_path.rename(daemon.dir / "it's here.conf")
    daemon.conf_path = "./it's here.conf"
    daemon.prefix = ["env", "-C", daemon.dir]
    with daemon:
        daemon.conf_path = path
        exchange(scene.dial(), b"CONNECT 10.66.0.1:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        status = ctl_json(daemon, "status")
        line = status["refusals"][0]["explain"]
        assert status["file"] == f"{daemon.dir}/./it's here.conf" and line in ctl(daemon, "status").out
        assert shlex.split(line)[:4] == ["ukai", "explain", "-c", status["file"]]
        pasted = scene.router.run(["sh", "-c", line.replace("ukai", BINARY, 1)], cwd="/")
        assert pasted.returncode == 3 and "10.0.0.0/8" in pasted.stdout, pasted


def test_learn_over_the_socket(scene):
    config = sections(dns=False, acl={"mode": "observe"})
    with Ukai(scene, config, IN + "[out]\nallow = nothing.example\n") as daemon:
        open_tunnel(scene.dial(), f"{AGENTS}:443")
        assert f"allow = {AGENTS}:443" in ctl(daemon, "learn").out


# who wants to be a nuisance

def many_rules(n):
    return IN + "".join(f"tcp 8080 = 10.{i >> 16}.{i >> 8 & 255}.{i & 255} ; {'x' * 200}\n" for i in range(n))


@pytest.mark.limit(120)
@pytest.mark.skipif(bool(SANITIZER_DIR), reason="a matter of time and memory")
def test_answers_that_are_too_long(scene):
    """64 MiB for one, 128 for all: who asks for more is told so, and nothing is kept of it."""
    with Ukai(scene, sections(dns=False), many_rules(240_000)) as daemon:
        done = ctl(daemon, "rules")
        assert (done.returncode, done.out) == (1, "ukai: the answer is too long: at most 64 MiB, and 128 MiB for all who ask now\n")
        daemon.reload(acl=many_rules(130_000))
        whole = ctl(daemon, "rules").out
        assert 34 << 20 < len(whole) < 42 << 20 and whole.endswith(" never hit\n")
        for _ in range(4):  # what was given is given back
            assert len(ctl(daemon, "rules").out) == len(whole)
        with contextlib.ExitStack() as held:
            heads = []
            for _ in range(6):
                sock = held.enter_context(socket.socket(socket.AF_UNIX))
                sock.settimeout(20)
                sock.connect(str(daemon.dir / "control.sock"))
                sock.sendall(b'["rules"]\n')
                heads.append(json.loads(sock.makefile("rb", 0).readline()))
            assert [head["exit"] for head in heads] == [0, 0, 0, 1, 1, 1], heads
            assert ctl(daemon, "status").returncode == 0
        wait_until(lambda: ctl(daemon, "rules").returncode == 0, what="room again")



@pytest.mark.parametrize("request_bytes", [
    b"\n", b"[]\n", b"[1]\n", b'{"a":1}\n', b'["status"\n', b'["no-such-verb"]\n', b'["sta\\u0000tus"]\n', b"\xff\xfe\n",
    b"[" * 4000 + b"\n", json.dumps(["x"] * 17).encode() + b"\n", b'["status","' + b"a" * 3900 + b'"]\n'])
def test_garbage_gets_an_answer_and_does_no_harm(ukai, request_bytes):
    with raw(ukai) as sock:
        sock.sendall(request_bytes)
        head = json.loads(sock.makefile("rb").readline())
        assert head["exit"] in (0, 2)
    assert ctl(ukai, "status").returncode == 0


def test_a_request_without_end_is_dropped(ukai):
    with raw(ukai) as sock:
        sock.sendall(b"x" * 4096)
        assert sock.recv(10) == b""
    assert ctl(ukai, "status").returncode == 0


def test_silent_clients_hold_nobody_up(ukai):
    silent = [raw(ukai) for _ in range(15)]
    assert ctl(ukai, "status").returncode == 0
    more = [raw(ukai) for _ in range(5)]  # beyond the places: closed
    assert any(sock.recv(1) == b"" for sock in more)
    for sock in silent + more:
        sock.close()
    wait_until(lambda: ctl(ukai, "status").returncode == 0)


def test_clients_that_leave_in_the_middle(ukai):
    for _ in range(50):
        with raw(ukai) as sock:
            sock.sendall(b'["tunnels"]\n')
    assert ctl(ukai, "tunnels").returncode in (0, 1)
    wait_until(lambda: ctl(ukai, "tunnels").returncode == 0)


def test_many_reloads_at_once_all_hear_the_outcome(ukai):
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(ctl(ukai, "reload").returncode)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 8


def test_a_reload_beyond_the_places_is_turned_away_and_not_told_done(ukai):
    """Clients that left keep their places while their reloads wait for a worker; the next one is told so, and 1. Once their
    work was forgotten and the seventeenth heard 0 while nothing had been applied."""
    with inject.Held(inject.threads(ukai.pid)[-1]):  # a worker stands still, the main thread goes on
        waiting = [raw(ukai) for _ in range(16)]
        for sock in waiting:
            sock.sendall(b'["reload"]\n')
        gone, staying = waiting[:12], waiting[12:]
        wait_until(lambda: ctl(ukai, "log", "info").returncode == 1, what="all places taken")
        for sock in gone:
            sock.close()
        for _ in range(3):
            done = ctl(ukai, "reload")
            assert done.returncode == 1 and done.out == "ukai: the daemon has as many commands under way as it takes; try again\n"
        for sock in staying:
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(1)
    for sock in staying:
        sock.setblocking(True)
        assert json.loads(sock.recv(4096).split(b"\n")[0])["exit"] == 0
    wait_until(lambda: ctl(ukai, "reload").returncode == 0)


def test_fifty_reloads_at_once(ukai):
    """Each is done, or turned away with a word."""
    done = []
    threads = [threading.Thread(target=lambda: done.append(ctl(ukai, "reload"))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 50 and {d.returncode for d in done} <= {0, 1}
    assert [d for d in done if d.returncode == 0]
    assert all("try again" in d.out for d in done if d.returncode == 1), [d.out for d in done]
    assert ctl(ukai, "reload").returncode == 0


def test_every_command_has_help():
    words = run_tool("--help").out
    for command in ("status", "tunnels", "rules", "learn", "reload", "drain", "kill", "flush", "log"):
        assert f"  {command} " in words
        done = run_tool(command, "--help")
        assert done.returncode == 0 and f"usage: ukai {command}" in done.out
        assert run_tool(command, "--no-such-option").returncode == 2


# name servers

def name_servers(daemon):
    return {s["server"]: s for s in ctl_json(daemon, "status")["name_servers"]}


def test_status_tells_the_health_of_name_servers(scene):
    dead = "203.0.113.254"
    with Ukai(scene, sections(f"{dead}, {NSD}"), IN) as daemon:
        before = name_servers(daemon)
        assert list(before) == [f"{dead}:53", f"{NSD}:53"]
        assert before[f"{dead}:53"]["state"] == before[f"{NSD}:53"]["state"] == "up"
        for n in range(20):
            assert scene.host10.run(["dig", "+short", "@192.168.1.254", f"n{n}.{AGENTS}"]).returncode == 0
        now = name_servers(daemon)
        assert now[f"{dead}:53"]["state"] == "down" and now[f"{dead}:53"]["answered"] == 0, now
        assert now[f"{dead}:53"]["failures"] >= 1 and now[f"{dead}:53"]["workers_down"] >= 1
        good = now[f"{NSD}:53"]
        assert good["state"] == "up" and good["queries"] >= 20 and good["answered"] >= 20, now
        assert 0 <= good["rtt_ms"] < 1000
        text = ctl(daemon, "status").out
        assert "name servers\n  203.0.113.254:53             down" in text, text
        assert daemon.reload() and name_servers(daemon)[f"{NSD}:53"]["queries"] >= 20
        shown = ctl(daemon, "top", "--once").out
        assert "name servers 1/2 up" in shown
