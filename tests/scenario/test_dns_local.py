"""Local policy of the resolver: records of our own, zones with servers of their own, and files that are watched.

Case ids: the DNS checklist's (B2_..) and the abuse list's (D.., U..). Clients are dig and a browser's CONNECT; a zone
is served by a second nsd beside the scene's one.
"""
import os
import re
import shutil
import subprocess
import time

import pytest

import dnswire
from client import exchange, expect_refused, whole_head
from daemon import Ukai, run_tool, sections
from scene import LAN_ROUTER, ORIGIN, SCRIPTED, wait_until

CORP = "203.0.113.99"
DEAD = "198.51.100.200"
ACL = """[in]
tcp 8080 = 192.168.1.10
udp 53 = 192.168.1.10
tcp 53 = 192.168.1.10
udp 53 = 2001:db8:1::10
[out]
deny = denied.lan
deny = *.denied.corp.example
"""
HOSTS = """# comes from the DHCP server
192.168.1.50   printer.lan printer  # in the hall
2001:db8:1::50 printer.lan
192.168.1.51   scanner.lan
203.0.113.10   web.lan
192.168.1.66   denied.lan
"""
ZONES = {
    "corp.example": "www IN A 203.0.113.10\nbig IN TXT " + " ".join(f'"{"x" * 200}"' for _ in range(12)) +
                    "\na.denied IN A 203.0.113.10\nlate IN A 203.0.113.10\n",
    "home.arpa": "nas IN A 192.168.7.7\n",
    "7.168.192.in-addr.arpa": "7 IN PTR nas.home.arpa.\n",
    "test": "box IN A 203.0.113.10\n",
}


@pytest.fixture(scope="module")
def corp(scene):
    """An authority of its own for the zones."""
    home = scene.dir / "corp-nsd"
    home.mkdir()
    lines = [f'server:\n  ip-address: {CORP}\n  server-count: 1\n  username: ""\n  zonesdir: "{home}"\n  database: ""\n'
             f'  pidfile: ""\n  logfile: "{home}/log"\n  xfrdfile: "{home}/xfrd"\n  xfrdir: "{home}"\n'
             f'  zonelistfile: "{home}/zones"\n  cookie-secret-file: "{home}/cookies"\n  rrl-ratelimit: 0\n'
             "  rrl-whitelist-ratelimit: 0\nremote-control:\n  control-enable: no\n"]
    for zone, records in ZONES.items():
        (home / zone).write_text(f"$ORIGIN {zone}.\n$TTL 60\n@ IN SOA ns admin 1 3600 600 86400 5\n@ IN NS ns\n"
                                 f"ns IN A {CORP}\n{records}")
        lines.append(f"zone:\n  name: {zone}\n  zonefile: {zone}\n")
    (home / "nsd.conf").write_text("".join(lines))
    process = scene.outer.popen(["nsd", "-d", "-c", home / "nsd.conf"], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers():
        with scene.outer.socket() as probe:
            probe.settimeout(0.2)
            return probe.connect_ex((CORP, 53)) == 0

    wait_until(answers, what="the second nsd listening")
    yield process
    process.kill()
    process.wait()


def config(**changes):
    zones = [("zone", f"corp.example {CORP}"), ("zone", f"home.arpa {CORP}"),
             ("zone", f"7.168.192.in-addr.arpa. {CORP}"), ("zone", f"test {CORP}"),
             ("zone", f"dead.example {DEAD}")]
    out = sections(SCRIPTED, dns_={"hosts-file": "hosts"}, timeouts={"dns": "1s"}, **changes)
    out["dns-zones"] = zones
    out["dns-hosts"] = [("host", "router.lan 192.168.1.254, 2001:db8:1::254"), ("host", "Mixed.Case.LAN. 192.168.1.77"),
                        ("host", "scanner.lan 192.168.1.52"), ("host", "local.corp.example 192.168.1.78")]
    return out


@pytest.fixture
def ukai(scene, corp):
    daemon = Ukai(scene, config(), ACL, name="local")
    put(daemon, HOSTS)
    with daemon:
        yield daemon


def put(daemon, text):
    daemon._replace(daemon.dir / "hosts", text)


class Dug:
    """What dig saw: status, flags, and for each section its records as (owner, ttl, type, data)."""

    def __init__(self, text):
        assert "status:" in text, text
        self.text = text
        self.status = re.search(r"status: (\w+)", text)[1]
        self.flags = re.search(r"flags: ([a-z ]*);", text)[1].split()
        self.sections = {}
        for title, body in re.findall(r";; (\w+) SECTION:\n(.*?)(?:\n\n|\Z)", text, re.S):
            self.sections[title] = [(f[0], int(f[1]), f[3], f[4]) for f in
                                    (line.split(None, 4) for line in body.splitlines() if not line.startswith(";"))]

    @property
    def answer(self):
        return self.sections.get("ANSWER", [])

    def data(self):
        return sorted(r[3] for r in self.answer)


def dig(scene, *args):
    done = scene.host10.run(["dig", f"@{LAN_ROUTER}", "+tries=1", "+time=5", "+nocookie", *args])
    return Dug(done.stdout)


def connect(scene, target, stop=whole_head):
    return exchange(scene.dial(), f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode(), stop=stop)


def is_local(got):
    return got.status == "NOERROR" and "aa" in got.flags and "ra" in got.flags


# local records

@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_B2_06_local_addresses_with_AA_and_a_life_of_a_minute(scene, ukai, transport):
    scene.dns.forget()
    got = dig(scene, transport, "printer.lan", "A")
    assert is_local(got) and got.data() == ["192.168.1.50"] and got.answer[0][1] == 60
    assert dig(scene, transport, "printer.lan", "AAAA").data() == ["2001:db8:1::50"]
    assert dig(scene, transport, "router.lan", "A").data() == ["192.168.1.254"]
    assert dig(scene, transport, "printer", "A").data() == ["192.168.1.50"]
    assert dig(scene, transport, "scanner.lan", "A").data() == ["192.168.1.52"]  # [dns-hosts] comes first
    assert dig(scene, transport, "local.corp.example", "A").data() == ["192.168.1.78"]  # before its zone
    assert scene.dns.asked() == []


def test_D19_case_is_kept_and_does_not_matter(scene, ukai):
    got = dig(scene, "MIXED.case.lan", "A")
    assert is_local(got) and got.answer[0][0] == "MIXED.case.lan." and got.data() == ["192.168.1.77"]


@pytest.mark.parametrize("qtype", ["AAAA", "HTTPS", "SVCB", "MX", "TXT", "TYPE65280", "CNAME", "DS", "NS", "SOA"])
def test_B2_16_other_types_of_a_local_name_are_nodata_never_nxdomain(scene, ukai, qtype):
    scene.dns.forget()
    got = dig(scene, "scanner.lan", qtype)
    assert is_local(got) and got.answer == []
    assert [r[2] for r in got.sections["AUTHORITY"]] == ["SOA"] and got.sections["AUTHORITY"][0][1] <= 60
    assert scene.dns.asked("scanner.lan") == []


def test_B2_16_names_around_a_local_one_are_asked_outside(scene, ukai):
    scene.dns.add("x.printer.lan", a=[ORIGIN])
    assert dig(scene, "x.printer.lan", "A").data() == [ORIGIN]
    assert dig(scene, "lan", "A").status == "NXDOMAIN"
    assert scene.dns.asked("lan") and scene.dns.asked("x.printer.lan")


def test_B2_15_reverse_of_local_addresses(scene, ukai):
    assert dig(scene, "-x", "192.168.1.50").data() == ["printer.lan."]
    assert dig(scene, "-x", "2001:db8:1::50").data() == ["printer.lan."]
    assert dig(scene, "-x", "192.168.1.254").data() == ["router.lan."]
    assert is_local(dig(scene, "50.1.168.192.in-addr.arpa", "A"))
    scene.dns.forget()
    assert dig(scene, "-x", "192.168.1.200").status == "NXDOMAIN"  # the special zone, as ever
    assert scene.dns.asked() == []


def test_B2_12_any_of_a_local_name(scene, ukai):
    got = dig(scene, "+notcp", "printer.lan", "ANY")
    assert is_local(got) and got.data() == ["192.168.1.50", "2001:db8:1::50"]


def test_B2_05_without_RD_local_data_is_given(scene, ukai):
    got = dig(scene, "+norec", "printer.lan", "A")
    assert is_local(got) and got.data() == ["192.168.1.50"] and "rd" not in got.flags
    assert dig(scene, "+norec", "never-asked.example", "A").status == "REFUSED"


def test_apply_out_and_in_hold_for_local_names(scene, ukai):
    assert dig(scene, "denied.lan", "A").status == "REFUSED"
    sock = scene.udp(scene.host20, timeout=0.5)
    sock.send(dnswire.query("printer.lan"))
    with pytest.raises(TimeoutError):
        sock.recv(4096)


def test_connect_uses_local_records_and_the_guard_judges_them(scene, ukai):
    scene.dns.forget()
    assert connect(scene, "web.lan:443").status == 200
    expect_refused(connect(scene, "scanner.lan:443", stop=None), 403, proxy_status="destination_ip_prohibited")
    expect_refused(connect(scene, "mixed.case.lan:443", stop=None), 403, proxy_status="destination_ip_prohibited")
    assert scene.dns.asked() == []


def test_plain_http_uses_local_records(scene, ukai):
    reply = exchange(scene.dial(), b"GET http://scanner.lan/ HTTP/1.1\r\nHost: scanner.lan\r\n\r\n")
    expect_refused(reply, 403, proxy_status="destination_ip_prohibited")


def test_local_names_never_wait_for_a_dead_upstream(scene, corp):
    dead = config(web={"name-server": DEAD})
    dead["dns lan"]["name-server"] = DEAD
    daemon = Ukai(scene, dead, ACL, name="dead")
    put(daemon, HOSTS)
    with daemon:
        waiting = [scene.udp() for _ in range(100)]
        for i, sock in enumerate(waiting):
            sock.send(dnswire.query(f"n{i}.example"))
        began = time.monotonic()
        for _ in range(20):
            assert dig(scene, "printer.lan", "A").data() == ["192.168.1.50"]
        assert connect(scene, "web.lan:443").status == 200
        assert time.monotonic() - began < 10


# zones

def test_B2_14_zones_are_asked_of_their_own_servers(scene, ukai):
    scene.dns.forget()
    assert dig(scene, "www.corp.example", "A").data() == [ORIGIN]
    assert dig(scene, "WWW.Corp.Example", "A").data() == [ORIGIN]
    assert dig(scene, "nope.corp.example", "A").status == "NXDOMAIN"
    assert len(dig(scene, "big.corp.example", "TXT").answer) == 1  # by TCP, after TC
    assert scene.dns.asked() == []
    assert dig(scene, "xcorp.example", "A").status == "NXDOMAIN"
    assert scene.dns.asked("xcorp.example")
    assert connect(scene, "www.corp.example:443").status == 200


@pytest.mark.parametrize("name, qtype, data", [
    ("nas.home.arpa", "A", "192.168.7.7"), ("7.7.168.192.in-addr.arpa", "PTR", "nas.home.arpa."),
    ("box.test", "A", ORIGIN)])
def test_B2_15_D21_special_names_of_a_zone_go_to_it(scene, ukai, name, qtype, data):
    scene.dns.forget()
    got = dig(scene, name, qtype)
    assert got.data() == [data] and "aa" not in got.flags
    assert scene.dns.asked() == []


@pytest.mark.parametrize("name, status", [("x.invalid", "NXDOMAIN"), ("x.onion", "NXDOMAIN"),
                                          ("8.8.168.192.in-addr.arpa", "NXDOMAIN"), ("localhost", "NOERROR")])
def test_D21_other_special_names_stay_here(scene, ukai, name, status):
    scene.dns.forget()
    assert dig(scene, name, "A").status == status
    assert scene.dns.asked() == []


def test_apply_out_holds_for_names_of_zones(scene, ukai):
    assert dig(scene, "a.denied.corp.example", "A").status == "REFUSED"


def test_U18_a_dead_zone_costs_nobody_else_anything(scene, ukai):
    for i in range(600):
        scene.udp().send(dnswire.query(f"n{i}.dead.example"))
    scene.close_clients()
    began = time.monotonic()
    assert dig(scene, "www.corp.example", "AAAA").status == "NOERROR"
    assert dig(scene, f"after{time.monotonic_ns()}.example", "A").status == "NXDOMAIN"
    assert time.monotonic() - began < 4
    assert dig(scene, "x.dead.example", "A").status == "SERVFAIL"


def test_zone_queries_leave_by_the_listener_s_way(scene, ukai):
    """bypass-network is out0: a zone's server that only lan0 could reach is not asked there."""
    with scene.capture(scene.router, "out0", f"udp port 53 and host {CORP}") as seen:
        assert dig(scene, "late.corp.example", "A").data() == [ORIGIN]
        wait_until(lambda: seen.lines(), what="a packet to the zone's server on out0")


@pytest.mark.parametrize("way, match", [
    ({"bypass-network": "203.0.113.2", "bypass-mark": "7"}, "ip saddr 203.0.113.2 meta mark 7"),
    ({"bypass-network": "out0"}, "oifname out0"),
], ids=["address-and-mark", "device"])
def test_B4_31_every_question_leaves_by_the_same_way(scene, corp, way, match):
    """One after the other, so that each finds a socket that another has used, and a zone's server too. The routing table
    sends the zone's questions elsewhere: only the device that the socket is bound to keeps them from it."""
    settings = config()
    settings["dns lan"].update(way)
    daemon = Ukai(scene, settings, ACL, name="way")
    put(daemon, HOSTS)
    scene.router.ip("addr add 203.0.113.2/24 dev out0\n" + (f"route add {CORP} dev lan0\n" if match[0] == "o" else ""))
    scene.router.nft("table inet ways { chain out { type filter hook output priority 0; "
                     f"udp dport 53 {match} counter; udp dport 53 counter; }}; }}")
    try:
        with daemon:
            for i in range(5):
                for zone in ("corp.example", "example"):
                    assert dig(scene, f"way{i}x{time.monotonic_ns()}.{zone}", "A").status == "NXDOMAIN"
        listed = scene.router.run(["nft", "list", "table", "inet", "ways"]).stdout
        n_right, n_all = map(int, re.findall(r"counter packets (\d+)", listed))
        assert n_right == n_all >= 10, listed
    finally:
        scene.router.nft("delete table inet ways")
        scene.router.ip("addr del 203.0.113.2/24 dev out0\n" + (f"route del {CORP} dev lan0\n" if match[0] == "o" else ""))


def test_B4_40_a_zone_server_that_is_ourselves_is_an_error(scene, tmp_path):
    (tmp_path / "acl.conf").write_text("[in]\nudp 53 = 192.168.1.0/24\n")
    (tmp_path / "ukai.conf").write_text("[dns]\nlisten-network = 192.168.1.254\nname-server = 203.0.113.54\n"
                                        "[dns-zones]\nzone = lan 192.168.1.254\n")
    done = run_tool("check", "-c", tmp_path / "ukai.conf")
    assert done.returncode == 78 and re.search(r"ukai\.conf:5: error: zone: .* our own \[dns\]", done.out)


def test_explain_tells_local_names_and_zones(scene, ukai):
    def explain(target):
        return run_tool("explain", "-c", ukai.conf_path, "--from", "192.168.1.10", target, netns=scene.router)

    assert re.search(r"local .*printer\.lan is a local record of .*/hosts", explain("DNS printer.lan").out)
    assert "local record of [dns-hosts]" in explain("DNS router.lan").out
    assert "servers of zone corp.example" in explain("DNS www.corp.example").out
    refused = explain("CONNECT scanner.lan:443")
    assert refused.returncode == 3 and "local record" in refused.out and "192.168.1.52" in refused.out
    assert explain("CONNECT www.corp.example:443").returncode == 0


# the hosts file while it is watched

@pytest.fixture
def watched(scene, corp):
    daemon = Ukai(scene, config(), ACL, name="watched")
    put(daemon, HOSTS)
    with daemon:
        yield daemon


def change(daemon, do, expect="read again"):
    """Does something to a watched file and waits for the log to say what became of it."""
    mark = len(daemon.lines)
    do()
    return daemon.wait_log(expect, mark)


def addresses(scene, name):
    return dig(scene, name, "A").data()


def test_hosts_file_renamed_over_twice(scene, watched):
    assert addresses(scene, "printer.lan") == ["192.168.1.50"]
    for last in (60, 61):
        change(watched, lambda: put(watched, f"192.168.1.{last} printer.lan\n"))
        wait_until(lambda: addresses(scene, "printer.lan") == [f"192.168.1.{last}"], what="the new record")
    assert dig(scene, "-x", "192.168.1.50").status == "NXDOMAIN"
    expect_refused(connect(scene, "printer.lan:443", stop=None), 403)
    assert addresses(scene, "web.lan") == []


def test_hosts_file_half_written_is_not_read(scene, watched):
    path = watched.dir / "hosts"
    mark = len(watched.lines)
    with open(path, "w") as file:
        file.write("192.168.1.60 printer.lan\n192.168.1.")
        file.flush()
        time.sleep(0.3)  # nothing may happen: there is no event to wait for
        assert addresses(scene, "printer.lan") == ["192.168.1.50"]
        assert not any("hosts" in line for line in watched.lines[mark:])
        file.write("61 web.lan\n")
    watched.wait_log("read again", mark)
    wait_until(lambda: addresses(scene, "web.lan") == ["192.168.1.61"], what="the whole file")


def test_hosts_file_with_a_bad_line_changes_nothing_and_is_told_with_its_line(scene, watched):
    line = change(watched, lambda: put(watched, "192.168.1.60 printer.lan\n\n192.168.1.1234 x\n"), "is no address")
    assert "level=error" in line or "error" in line
    assert "line=3" in line and "/hosts" in line
    assert addresses(scene, "printer.lan") == ["192.168.1.50"]
    mark = len(watched.lines)
    watched.reload(expect="refused")  # a reload with a broken file: the old configuration stays as a whole
    assert any("line=3" in entry for entry in watched.lines[mark:])
    assert addresses(scene, "printer.lan") == ["192.168.1.50"]
    change(watched, lambda: put(watched, "192.168.1.60 printer.lan\n"))
    wait_until(lambda: addresses(scene, "printer.lan") == ["192.168.1.60"], what="the mended file")


def test_hosts_file_deleted_and_made_again(scene, watched):
    change(watched, (watched.dir / "hosts").unlink, "hosts-file: No such file")
    assert addresses(scene, "printer.lan") == ["192.168.1.50"]
    change(watched, lambda: put(watched, "192.168.1.60 printer.lan\n"))
    wait_until(lambda: addresses(scene, "printer.lan") == ["192.168.1.60"], what="the new file")


def test_hosts_file_change_reads_nothing_else_and_keeps_the_cache(scene, watched):
    name = scene.name("cached", a=[ORIGIN], ttl=300)
    assert addresses(scene, name) == [ORIGIN]
    asked = len(scene.dns.asked(name))
    watched.write(conf_text="this is broken\n")
    change(watched, lambda: put(watched, "192.168.1.60 printer.lan\n"))
    wait_until(lambda: addresses(scene, "printer.lan") == ["192.168.1.60"], what="the new record")
    for _ in range(4):
        assert addresses(scene, name) == [ORIGIN]
    assert len(scene.dns.asked(name)) - asked <= 1  # the other worker's cache, once


def test_hosts_file_with_100000_names(scene, watched):
    text = "".join(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255} host{i}.many.lan\n" for i in range(100000))
    before = watched.rss_bytes()
    line = change(watched, lambda: put(watched, text))
    assert "records=100000" in line
    wait_until(lambda: addresses(scene, "host99999.many.lan") == ["10.1.134.159"], what="the last of them")
    assert dig(scene, "-x", "10.0.0.7").data() == ["host7.many.lan."]
    assert watched.rss_bytes() - before < 64 << 20


def test_tunnels_outlive_a_change_of_the_hosts_file(scene, watched):
    sock = scene.dial()
    assert exchange(sock, b"CONNECT echo.lab.example:443 HTTP/1.1\r\n\r\n", stop=whole_head).status == 200
    change(watched, lambda: put(watched, "192.168.1.60 printer.lan\n"))
    sock.sendall(b"still there?")
    assert sock.recv(100)


# resolv.conf while it is watched

@pytest.fixture
def etc(scene):
    """A copy of /etc that the daemon sees in place of the real one."""
    copy = scene.dir / "etc"
    subprocess.run(["cp", "-a", "/etc", copy], check=True)
    resolv = copy / "resolv.conf"
    resolv.unlink(missing_ok=True)
    resolv.write_text(f"nameserver {SCRIPTED}\n")
    yield copy
    shutil.rmtree(copy, ignore_errors=True)


@pytest.fixture
def following(scene, etc):
    settings = config(web={"name-server": None})
    settings["dns lan"]["name-server"] = None
    daemon = Ukai(scene, settings, ACL, name="following")
    daemon.prefix = ["sh", "-c", f'mount --bind {etc} /etc && exec "$@"', "sh"]
    put(daemon, HOSTS)
    with daemon:
        yield daemon


def replace(path, text):
    fresh = path.with_name("resolv.fresh")
    fresh.write_text(text)
    os.rename(fresh, path)


def asks_scripted(scene):
    """Whether a fresh name is asked of the scripted authority."""
    name = scene.name("which", a=[ORIGIN])
    addresses(scene, name)
    return bool(scene.dns.asked(name))


def test_resolv_conf_renamed_over_gives_new_servers(scene, following, etc):
    assert asks_scripted(scene)
    line = change(following, lambda: replace(etc / "resolv.conf", f"nameserver {CORP}\n"), "name servers read again")
    assert "servers=1" in line
    wait_until(lambda: not asks_scripted(scene), what="the new server")
    change(following, lambda: replace(etc / "resolv.conf", f"nameserver {SCRIPTED}\nnameserver {CORP}\n"),
           "name servers read again")
    wait_until(lambda: asks_scripted(scene), what="the old server again")
    name = scene.name("via", a=[ORIGIN])
    assert connect(scene, f"{name}:443").status == 200


def test_resolv_conf_broken_or_gone_keeps_the_old_servers_and_says_so_once(scene, following, etc):
    path = etc / "resolv.conf"
    change(following, lambda: replace(path, "# nothing\n"), "no usable name server, the old ones stay")
    mark = len(following.lines)
    replace(path, "nameserver nonsense\n")
    path.unlink()
    for _ in range(3):
        assert asks_scripted(scene)
    following.reload()
    assert asks_scripted(scene)
    assert not any("no usable name server" in line and "stay" in line for line in following.lines[mark:])
    change(following, lambda: replace(path, f"nameserver {SCRIPTED}\n"), "names a usable name server again")


def test_resolv_conf_by_symlink_whose_target_changes(scene, following, etc):
    path, run = etc / "resolv.conf", etc / "net"
    run.mkdir()
    (run / "a").write_text(f"nameserver {CORP}\n")
    (run / "link").symlink_to("net/a")
    change(following, lambda: os.rename(run / "link", path), "name servers read again")
    wait_until(lambda: not asks_scripted(scene), what="the link's server")
    change(following, lambda: replace(run / "a", f"nameserver {SCRIPTED}\n"), "name servers read again")
    wait_until(lambda: asks_scripted(scene), what="the target's new server")
    (run / "b").write_text(f"nameserver {CORP}\n")
    (run / "link").symlink_to("net/b")
    change(following, lambda: os.rename(run / "link", path), "name servers read again")
    wait_until(lambda: not asks_scripted(scene), what="the other target's server")


def test_B6_59_resolv_conf_with_the_same_servers_keeps_the_cache(scene, following, etc):
    path = etc / "resolv.conf"
    change(following, lambda: replace(path, f"nameserver {SCRIPTED}\nnameserver {CORP}\n"), "name servers read again")
    name = scene.name("kept", a=[ORIGIN], ttl=300)
    wait_until(lambda: addresses(scene, name) == [ORIGIN] and len(scene.dns.asked(name)) >= 1, what="the answer")
    for _ in range(6):
        addresses(scene, name)
    asked = len(scene.dns.asked(name))
    mark = len(following.lines)
    replace(path, f"# a comment\nsearch lan\nnameserver {SCRIPTED}\nnameserver {CORP}\n")
    change(following, lambda: replace(path, f"nameserver {CORP}\nnameserver {SCRIPTED}\n"), "name servers read again")
    assert sum("name servers read again" in line for line in following.lines[mark:]) == 1
    for _ in range(6):
        assert addresses(scene, name) == [ORIGIN]
    assert len(scene.dns.asked(name)) - asked <= 1
