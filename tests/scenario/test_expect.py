"""[expect]: what the admin says must be so blocks a file under which it is not."""
import pytest

from client import exchange
from daemon import Ukai, run_tool, sections

RULES = """[in]
tcp 8080 = 192.168.1.10 ; エージェント
udp 53 = 192.168.1.10
[out]
deny = *.bad.example ; だめ
"""
GOOD = RULES + """[expect]
allow = 192.168.1.10 CONNECT agents.deepsecurity.trendmicro.com:443 ; the point of it all
deny = 192.168.1.99 CONNECT agents.deepsecurity.trendmicro.com:443
deny = 192.168.1.10 CONNECT www.bad.example:443
deny = 192.168.1.10 CONNECT 10.0.0.1:443
allow = 192.168.1.10 GET http://updates.example/
allow = 192.168.1.10 DNS
deny = 192.168.1.10 DNS/tcp
deny = 192.168.1.10 DNS x.bad.example
"""


def check(scene, acl):
    daemon = Ukai(scene, sections(), acl)
    return run_tool("check", "-c", daemon.conf_path)


def test_what_holds_is_said_to_be_valid(scene):
    done = check(scene, GOOD)
    assert done.returncode == 0, done.out


@pytest.mark.parametrize("line, words", [
    ("allow = 192.168.1.10 CONNECT www.bad.example:443", ("refused", "acl.conf:5", "だめ")),
    ("allow = 192.168.1.99 CONNECT x.example:443", ("refused", "no [in] line admits it to tcp 8080")),
    ("deny = 192.168.1.10 CONNECT x.example:443", ("allowed",)),
    ("allow = 192.168.1.10 CONNECT x.example:25", ("refused", "connect-ports")),
    ("allow = 192.168.1.10 CONNECT 127.0.0.1:443", ("refused", "special-use")),
    ("allow = 192.168.1.10 DNS/tcp", ("refused", "tcp 53")),
    ("allow = 192.168.1.10 DNS x.bad.example", ("refused", "だめ")),
    ("deny = 192.168.1.10 DNS", ("allowed",)),
], ids=range(8))
def test_a_line_that_does_not_hold_names_the_rule(scene, line, words):
    done = check(scene, RULES + f"[expect]\n{line}\n")
    assert done.returncode == 3 and "acl.conf:7: error: [expect]" in done.out, done.out
    assert all(word in done.out for word in words), done.out


@pytest.mark.parametrize("line", ["allow = 192.168.1.10 CONNECT x.example", "allow = 192.168.1.10 FTP x", "allow = 192.168.1.10",
                                  "allow = host CONNECT x:443", "permit = 192.168.1.10 DNS",
                                  "allow = 192.168.1.10 GET https://x.example/", "deny = 192.168.1.10 DNS a..b",
                                  "deny = 192.168.1.10 DNS bad.example good.example", "deny = 192.168.1.10 DNS a.example A junk",
                                  "deny = 192.168.1.10 DNS a.example TYPE65536"], ids=range(10))
def test_a_malformed_line_is_an_error(scene, line):
    done = check(scene, RULES + f"[expect]\n{line}\n")
    assert done.returncode == 78 and "acl.conf:7: error: [expect]" in done.out, done.out


def test_a_malformed_line_weighs_more_than_one_that_does_not_hold(scene):
    done = check(scene, RULES + "[expect]\nallow = 192.168.1.10 FTP x\ndeny = 192.168.1.10 DNS\n")
    assert done.returncode == 78 and "acl.conf:7:" in done.out and "acl.conf:8:" in done.out, done.out


def test_a_family_that_the_way_out_does_not_have(scene):
    config = sections()
    config["web-proxy lan"]["bypass-network"] = "203.0.113.1"
    daemon = Ukai(scene, config, RULES + "[expect]\nallow = 192.168.1.10 CONNECT [2001:db8:f::10]:443\n")
    done = run_tool("check", "-c", daemon.conf_path)
    assert done.returncode == 3 and "bypass-network has no IPv6" in done.out, done.out


def test_other_errors_weigh_more(scene):
    done = check(scene, RULES + "tcp = 1\n[expect]\ndeny = 192.168.1.10 DNS\n")
    assert done.returncode == 78


def test_start_is_refused(scene):
    daemon = Ukai(scene, sections(), RULES + "[expect]\ndeny = 192.168.1.10 DNS\n")
    daemon.start(wait=False)
    assert daemon.wait_exit() == 78
    daemon.process.stderr.close()
    daemon.process = None


def test_reload_is_blocked_and_the_old_rules_stay(scene):
    with Ukai(scene, sections(), GOOD) as daemon:
        lines = daemon.reload(acl=GOOD.replace("tcp 8080 = 192.168.1.10", "tcp 8080 = 192.168.1.20"), expect="refused")
        assert any("does not hold" in line for line in lines)
        assert exchange(scene.dial(), b"GARBAGE\r\n\r\n").status == 400
        done = run_tool("reload", "-c", daemon.conf_path)
        assert done.returncode == 78 and "does not hold" in done.out
        daemon.write_acl(GOOD.replace("[expect]", "preset = nosuch\n[expect]"))
        done = run_tool("reload", "-c", daemon.conf_path)
        assert done.returncode == 78 and done.out.count('no preset "nosuch"') == 2, done.out  # for people: no backslashes
        daemon.reload(acl=GOOD)


def test_our_own_listeners_are_known(scene):
    acl = GOOD.replace("[expect]", "allow = *\nallow = 192.168.1.254\n[expect]") + "deny = 192.168.1.10 CONNECT 192.168.1.254:8080\n"
    config = sections(web={"connect_ports": "443, 8080"})
    done = check(scene, acl)
    assert done.returncode == 0, done.out  # by the port list
    with Ukai(scene, config, acl) as daemon:
        assert run_tool("check", "-c", daemon.conf_path, netns=scene.router).returncode == 0
        daemon.reload(acl=acl)
        lines = daemon.reload(acl=acl.replace("deny = 192.168.1.10 CONNECT 192", "allow = 192.168.1.10 CONNECT 192"), expect="refused")
        assert any("listener of ukai's own" in line for line in lines), lines


def test_of_several_listeners_the_one_that_came_farthest_is_told(scene):
    config = sections()
    config["web-proxy other"] = {"listen-network": "lan0", "listen-port": "8081"}
    done = run_tool("check", "-c", Ukai(scene, config, RULES + "[expect]\nallow = 192.168.1.10 CONNECT x.bad.example:443\n").conf_path)
    assert done.returncode == 3 and "is refused: x.bad.example:443 is denied by acl.conf:5" in done.out, done.out
