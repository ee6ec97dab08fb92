"""`preset = NAME`: a readable file of destinations, the shipped one and the admin's own."""
import json
import os
import re
import shutil

import pytest

from client import exchange, open_tunnel
from daemon import REPOSITORY, Ukai, run_tool, sections
from scene import wait_until
from test_admin import metrics

AGENTS = "agents.deepsecurity.trendmicro.com"
SHIPPED = REPOSITORY / "conf/presets.d/trend-micro.conf"


def daemon_with(scene, text=None, name="trend-micro", out="[out]\npreset = trend-micro\n"):
    daemon = Ukai(scene, sections(dns=False), "[in]\ntcp 8080 = 192.168.1.10\n" + out)
    folder = daemon.dir / "presets.d"
    folder.mkdir()
    if text is None:
        shutil.copy(SHIPPED, folder)
    else:
        (folder / f"{name}.conf").write_text(text)
    return daemon


def test_the_shipped_preset_reaches_what_the_agents_need(scene):
    with daemon_with(scene) as daemon:
        open_tunnel(scene.dial(), f"{AGENTS}:443")
        reply = exchange(scene.dial(), b"CONNECT www.other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reply.status == 403
        done = run_tool("explain", "-c", daemon.conf_path, "--from", "192.168.1.10", "--no-resolve", f"CONNECT {AGENTS}:443")
        assert done.returncode == 0 and re.search(r"preset trend-micro:\d+: manager", done.out), done.out


def asked(daemon, name, port):
    what = f"CONNECT {name}:443" if port == 443 else f"GET http://{name}/"
    return run_tool("explain", "-c", daemon.conf_path, "--from", "192.168.1.10", "--no-resolve", what)


@pytest.mark.parametrize("name, ports", [
    ("agents.deepsecurity", [443]), ("app.deepsecurity", [443]), ("relay.deepsecurity", [443]), ("dsmim.deepsecurity", [443]),
    ("agents.workload.jp-1.cloudone", [443]), ("relay.workload.us-1.cloudone", [443]), ("files", [80, 443]), ("iaus", [80, 443]),
    ("iaus.activeupdate", [80, 443]), ("ipv6-iaus", [80, 443]), ("ipv6-iaus.activeupdate", [80, 443]), ("x.icrc", [80, 443]),
    ("x.url", [80]), ("osce-jp-census", [80, 443]), ("deepsec-en.gfrbridge", [80, 443])])
def test_each_kind_of_host_is_in_it(scene, name, ports):
    daemon = daemon_with(scene)
    assert [port for port in ports if asked(daemon, f"{name}.trendmicro.com", port).returncode] == []


def test_hosts_of_others_in_it(scene):
    daemon = daemon_with(scene)
    assert asked(daemon, "www.trendmicro.co.jp", 443).returncode == 0
    assert asked(daemon, "a1b2-ats.iot.ap-northeast-1.amazonaws.com", 443).returncode == 0
    for name, port in ("a1b2-ats.iot.ap-northeast-1.amazonaws.com", 80), ("s3.ap-northeast-1.amazonaws.com", 443), ("trendmicro.com.example", 443):
        assert asked(daemon, name, port).returncode == 3


def test_the_admins_file_wins(scene):
    with daemon_with(scene, "[preset]\nallow = only.example:443 ; 自分の\n"):
        reply = exchange(scene.dial(), f"CONNECT {AGENTS}:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert reply.status == 403


def test_within_a_group(scene):
    out = "[group g]\nmember = 192.168.1.10\n[out]\nallow = nothing.example\n[out @g]\npreset = trend-micro\n"
    with daemon_with(scene, out=out):
        open_tunnel(scene.dial(), f"{AGENTS}:443")


@pytest.mark.parametrize("text, words", [
    ("[preset]\ndeny = x.example\n", "allow = PATTERN"), ("[out]\nallow = x.example\n", "[preset]"), ("", "no line"),
    ("[preset]\n", "no line"), ("[preset]\n; x\nallow = http://x\n", ".conf:3: error"), ("allow = x\n", "error")], ids=range(6))
def test_a_broken_preset_is_refused_with_its_place(scene, text, words):
    done = run_tool("check", "-c", daemon_with(scene, text).conf_path)
    assert done.returncode == 78 and words in done.out, done.out


@pytest.mark.parametrize("name", ["trend", "../presets.d/trend-micro", "/etc/passwd", "Trend-Micro", "-x", "x" * 41])
def test_an_unknown_one_names_those_there_are(scene, name):
    done = run_tool("check", "-c", daemon_with(scene, out=f"[out]\npreset = {name}\n").conf_path)
    assert done.returncode == 78 and "acl.conf:4: error: there is no preset" in done.out and "trend-micro" in done.out, done.out


def test_the_nearest_name_is_offered(scene):
    done = run_tool("check", "-c", daemon_with(scene, out="[out]\npreset = trendmicro\n").conf_path)
    assert done.returncode == 78 and "did you mean trend-micro?" in done.out, done.out


def test_the_memo_behind_it_is_kept(scene):
    daemon = daemon_with(scene, "[preset]\n\nallow = only.example:443 ; 自分の\n", out="[out]\npreset = mine ; 申請 12\n", name="mine")
    done = run_tool("explain", "-c", daemon.conf_path, "--from", "192.168.1.10", "--no-resolve", "CONNECT only.example:443")
    assert done.returncode == 0 and "preset mine:3: 自分の; 申請 12" in done.out, done.out


@pytest.mark.parametrize("make", [
    lambda path: os.mkfifo(path), lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.symlink_to("nowhere.conf"), lambda path: path.write_bytes(b"[preset]\nallow = x\0.example\n"),
    lambda path: path.write_text("[preset]\n" + "allow = x.example\n" * 200_000)],
    ids=["fifo", "directory", "dev-zero", "dangling", "nul", "too-long"])
def test_G20_a_preset_that_is_no_sane_file_is_refused_at_once(scene, make):
    daemon = daemon_with(scene, out="[out]\npreset = odd\n")
    make(daemon.dir / "presets.d" / "odd.conf")
    done = run_tool("check", "-c", daemon.conf_path)  # within run_tool's limit of time
    assert done.returncode == 78 and "error: " in done.out and "odd" in done.out, done.out


def test_rules_counts_each_of_its_lines(scene):
    with daemon_with(scene, "[preset]\nallow = one.example\nallow = .trendmicro.com:443 ; 自分の\n",
                     out="[out]\npreset = mine ; 申請 12\n", name="mine") as daemon:
        open_tunnel(scene.dial(), f"{AGENTS}:443")
        rules = run_tool("rules", "--json", "-c", daemon.conf_path)
        out = [r for r in json.loads(rules.out) if "trend" in r["text"] or "one" in r["text"]]
        assert [(r["line"], r["text"], r["memo"], r["hits"]) for r in out] == [
            (4, "allow = one.example", "preset mine:2; 申請 12", 0),
            (4, "allow = .trendmicro.com:443", "preset mine:3: 自分の; 申請 12", 1)], rules.out
        assert "preset mine:3: 自分の; 申請 12" in run_tool("rules", "-c", daemon.conf_path).out


def test_metrics_count_each_of_its_lines_and_each_section_that_names_it(scene):
    """A counter stays under its labels, whatever other lines of the preset are hit later."""
    acl = "[in]\ntcp 8080 = 192.168.1.10\ntcp 8080 = 192.168.1.20\n" \
        "[group a]\nmember = 192.168.1.10\n[group b]\nmember = 192.168.1.20\n" \
        "[out @a]\npreset = mine\n[out @b]\npreset = mine ; 申請 12\n"
    daemon = Ukai(scene, sections(dns=False, admin={"listen": "192.168.1.254:9090", "allow": "192.168.1.10"}), acl)
    (daemon.dir / "presets.d").mkdir()
    (daemon.dir / "presets.d" / "mine.conf").write_text(
        f"[preset]\nallow = v4.lab.example:443\nallow = {AGENTS}:443 ; 自分の\nallow = .nowhere.example\n")

    def hits():
        return {(dict(l)["line"], dict(l)["memo"]): n for (name, l), n in metrics(scene).items()
                if name == "ukai_acl_hits_total" and dict(l)["section"] == "out"}

    with daemon:
        for host in (scene.host10, scene.host10, scene.host20):
            open_tunnel(scene.dial(host=host), f"{AGENTS}:443")
        wanted = {("9", "preset mine:3: 自分の"): 2, ("11", "preset mine:3: 自分の; 申請 12"): 1}
        wait_until(lambda: hits() == wanted, what=lambda: f"{hits()} == {wanted}")
        open_tunnel(scene.dial(), "v4.lab.example:443")
        wanted["9", "preset mine:2"] = 1
        wait_until(lambda: hits() == wanted, what=lambda: f"{hits()} == {wanted}")
