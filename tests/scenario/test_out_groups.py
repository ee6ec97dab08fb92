"""[out @group]: what one group may reach, another may not; over CONNECT, DNS and after a reload."""
import re

import pytest

from client import exchange, open_tunnel
from daemon import Ukai, run_tool, sections

AGENTS = "agents.deepsecurity.trendmicro.com"
BASE = """[in]
tcp 8080 = @agents, 192.168.1.20
udp 53 = @agents, 192.168.1.20
tcp 53 = @agents
[group agents]
member = 192.168.1.10 ; エージェント
[out]
allow = other.example
"""
GROUP = "[out @agents]\nallow = *.deepsecurity.trendmicro.com:443 ; 更新\n"


@pytest.fixture(scope="module")
def ukai(scene):
    with Ukai(scene, sections(), BASE + GROUP) as daemon:
        yield daemon


def dig(host, name):
    return host.run(["dig", "+time=2", "+tries=1", "@192.168.1.254", name]).stdout


def test_the_group_reaches_its_own_destinations(scene, ukai):
    mark = ukai.mark()
    sock = scene.dial()
    open_tunnel(sock, f"{AGENTS}:443")
    sock.close()
    assert ukai.record(mark, lambda r: r["event"] == "close")["host"] == AGENTS


def test_others_do_not(scene, ukai):
    reply = exchange(scene.dial(host=scene.host20), f"CONNECT {AGENTS}:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert reply.status == 403
    reply = exchange(scene.dial(), b"CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.status == 403, "the group's lines stand in the place of [out]'s"


def test_queries_follow(scene, ukai):
    assert "NOERROR" in dig(scene.host10, AGENTS)
    refused = dig(scene.host20, AGENTS)
    assert "REFUSED" in refused and "EDE: 15" in refused


def test_explain_says_which_line(ukai):
    done = run_tool("explain", "-c", ukai.conf_path, "--from", "192.168.1.10", "--no-resolve", f"CONNECT {AGENTS}:443")
    assert done.returncode == 0 and "acl.conf:10" in done.out and "更新" in done.out, done.out
    done = run_tool("explain", "-c", ukai.conf_path, "--from", "192.168.1.20", "--no-resolve", f"CONNECT {AGENTS}:443")
    assert done.returncode == 3


def test_a_reload_that_takes_the_section_away_ends_the_tunnel(scene, ukai):
    mark = ukai.mark()
    sock = scene.dial()
    open_tunnel(sock, f"{AGENTS}:443")
    try:
        ukai.reload(acl=BASE)
        record = ukai.record(mark, lambda r: r["event"] == "close")
        assert record["closed_by"] == "acl"
    finally:
        ukai.reload(acl=BASE + GROUP)


def test_check_names_out_lines_that_do_nothing(tmp_path):
    (tmp_path / "ukai.conf").write_text("[web-proxy]\nlisten-network = 127.0.0.1\n[acl]\nfile = acl.conf\n")
    (tmp_path / "acl.conf").write_text(BASE + "allow = ssh.example:22 ; 保守\nallow = x.denied.example\ndeny = .denied.example\n"
                                       "[out @agents]\ndeny = y.denied.example\n")
    done = run_tool("check", "-c", tmp_path / "ukai.conf")
    assert done.returncode == 0, done.out
    for line, said in ((9, "warning: nobody gets there: no web proxy has the port"),
                       (10, r"warning: this line allows nothing: line 11 \(deny = .denied.example\) denies all of it"),
                       (12, r"warning: \[out @agents\] has no allow line and stands in place of those of \[out\]"),
                       (13, r"note: line 11 \(deny = .denied.example\) says it already; this line adds nothing")):
        assert re.search(rf"acl\.conf:{line}: {said}", done.out), done.out
    # And it is as it says: the members may go anywhere else.
    assert run_tool("explain", "-c", tmp_path / "ukai.conf", "--from", "192.168.1.10", "--no-resolve",
                    "CONNECT elsewhere.example:443").returncode == 0
