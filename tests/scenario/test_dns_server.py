"""The LAN's DNS server as an admin sets it up: rates, records of queries, loops of forwarders."""
import signal
import subprocess

import pytest

import dnswire
from daemon import Ukai, is_printable, run_tool, sections
from dnspeers import UNBOUND
from dnsscript import UPSTREAM, ede
from dnswire import Message, opt, query
from scene import wait_until

ACL = """[in]
udp 53 = 192.168.1.10 ; DNS用
tcp 53 = 192.168.1.10
udp 53 = 192.168.1.20
"""


def serving(scene, rules=ACL, servers=UPSTREAM, log=None, **dns):
    return Ukai(scene, sections(servers, timeouts={"dns": "1s"}, process={"workers": "2"}, dns_=dns, log=log or {}), rules)


@pytest.mark.parametrize("answer", ["truncate", "refuse"])
def test_B2_18_over_a_clients_limit(scene, asker, up, answer):
    """Many sockets, so both workers; the client beside it is not touched, and TCP still answers."""
    name = up.name()
    with serving(scene, **{"per-client-rate": "10", "over-limit": answer}):
        socks = [scene.udp(timeout=2) for _ in range(60)]
        for sock in socks:
            sock.send(query(name, edns=opt()))
        replies = [Message(sock.recv(4096)) for sock in socks]
        served = [r for r in replies if r.addresses()]
        assert 10 <= len(served) <= 20, len(served)          # a second's worth, and what the sending took
        for reply in (r for r in replies if not r.addresses()):
            if answer == "truncate":
                assert reply.tc and reply.rcode == 0 and len(reply.wire) <= len(query(name, edns=opt()))
            else:
                assert not reply.tc and reply.rcode == dnswire.REFUSED and ede(reply) == [18]
        assert asker.tcp(query(name)).addresses(), "by TCP there is an allowance of its own"
        assert asker.udp(query(name), host=scene.host20).addresses(), "somebody else pays for it"
        refused = [asker.tcp(query(name, edns=opt())) for _ in range(30)]
        assert any(r.rcode == dnswire.REFUSED and ede(r) == [18] for r in refused)


def test_D11_dig_comes_back_by_tcp(scene, up):
    name = up.name()
    with serving(scene, **{"per-client-rate": "2"}):
        outs = [scene.host10.run(["dig", "@192.168.1.254", "+tries=1", name]).stdout for _ in range(4)]
        assert any("retrying in TCP mode" in out for out in outs)
        assert all("status: NOERROR" in out and "198.51.100.1" in out for out in outs), outs


def test_a_burst_waits_in_the_queue(scene, up):
    """1,500 questions while the daemon does nothing: the kernel's own 208 KiB hold 277 of them for a socket."""
    name = up.name()
    with serving(scene) as daemon:
        socks = [scene.udp(timeout=10) for _ in range(50)]
        socks[0].send(query(name))
        assert Message(socks[0].recv(4096)).addresses()
        daemon.signal(signal.SIGSTOP)
        try:
            for sock in socks:
                for _ in range(30):
                    sock.send(query(name))
        finally:
            daemon.signal(signal.SIGCONT)
        for sock in socks:
            for _ in range(30):
                assert Message(sock.recv(4096)).addresses()


# log-queries

def dns_records(daemon, n):
    def found():
        return [r for r in daemon.records() if r["event"] == "dns"]
    wait_until(lambda: len(found()) >= n, what=lambda: f"{n} records of queries: {found()}")
    assert len(found()) == n
    return found()


def test_queries_are_recorded_when_wanted(scene, asker, up):
    name = up.name()
    with serving(scene, rules=ACL + "[out]\ndeny = *.blocked.example\n", log={"log-queries": "yes"}) as daemon:
        asker.tcp(query(name))
        asker.tcp(query(name))        # perhaps the other worker
        asker.udp(query("localhost", dnswire.AAAA))
        asker.udp(query("www.blocked.example", 65280))
        asker.udp(query("bad\x1b\n.example", dnswire.A))
        first, second, local, blocked, odd = dns_records(daemon, 5)
        assert (first["result"], first["type"], first["rcode"], first["host"]) == ("miss", "A", "NOERROR", name)
        assert first["method"] == "DNS/tcp" and first["rule"] == "acl.conf:3" and first["src"] == "192.168.1.10"
        assert second["result"] in ("hit", "miss") and second["bytes_down"] > second["bytes_up"] > 0
        assert (local["result"], local["type"], local["memo"], local["method"]) == ("local", "AAAA", "DNS用", "DNS")
        assert (blocked["result"], blocked["rcode"], blocked["type"]) == ("blocked", "REFUSED", "TYPE65280")
        assert odd["host"] == "bad\\027\\010.example" and odd["duration_ms"] >= 0


def test_queries_are_not_recorded_by_default(scene, asker, up):
    with serving(scene, log={"log-queries": "no"}) as daemon:
        asker.udp(query(up.name()))
        asker.silence(query(up.name()), host=scene.host30)
        refused = daemon.record(0, lambda r: r["event"] == "refused")
        assert refused["src"] == "192.168.1.30" and len(daemon.records()) == 1


def test_queries_in_the_native_line(scene, asker, up):
    name = up.name()
    with serving(scene, log={"log-queries": "yes", "access-format": "squid"}) as daemon:
        asker.udp(query(name))
        wait_until(lambda: f" 192.168.1.10 DNS_miss/NOERROR " in daemon.access_path.read_text()
                   and f" DNS dns:{name}?type=A - HIER_NONE/- -\n" in daemon.access_path.read_text(),
                   what=lambda: daemon.access_path.read_text())


ODD = {b"a\0b": "a\\000b", b"a.b": "a\\.b", b"\xff": "\\255", b"\r\n": "\\013\\010", b"\x1b[31m": "\\027[31m",
       b"\xe2\x80\xae": "\\226\\128\\174", b'"\\': '\\"\\\\'}


@pytest.mark.parametrize("form", ["json", "squid", "logfmt", "%{src} %{type} %{host}"], ids=["json", "squid", "logfmt", "own"])
def test_D20_odd_labels_are_one_printable_line_each(scene, asker, up, form):
    """NUL, a dot, 0xFF, CR LF, ESC, a bidi control, quote and backslash: as many lines as queries, in every format."""
    with serving(scene, log={"log-queries": "yes", "access-format": form}) as daemon:
        for label in ODD:
            asker.udp(query("x.script.example").replace(b"\1x", bytes([len(label)]) + label))
        wait_until(lambda: daemon.access_path.read_bytes().count(b"\n") >= len(ODD), what="a line each")
        lines = daemon.access_path.read_bytes().split(b"\n")
        assert lines.pop() == b"" and len(lines) == len(ODD), lines
        assert all(is_printable(line.decode()) for line in lines), lines
        if form == "json":
            assert [r["host"] for r in daemon.records()] == [text + ".script.example" for text in ODD.values()]
        assert all(is_printable(line) for line in daemon.lines)


# loops

MIDDLE = "192.168.1.20"


class Middle:
    """An unbound on the LAN that forwards everything to one server."""

    def __init__(self, scene):
        self.scene, self.home, self.process = scene, scene.dir / "middle", None
        self.home.mkdir(exist_ok=True)
        self.home.chmod(0o755)
        (self.home / "hints").write_text(". 3600 IN NS ns.example.\nns.example. 3600 IN A 203.0.113.1\n")

    def forward_to(self, address):
        self.stop()
        (self.home / "conf").write_text(UNBOUND.format(home=self.home, address=MIDDLE) +
                                        f'forward-zone:\n  name: "."\n  forward-addr: {address}\n')
        self.process = self.scene.host20.popen(["unbound", "-d", "-c", self.home / "conf"], stdin=subprocess.DEVNULL,
                                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.scene.host20.run(["dig", f"@{MIDDLE}", "+tries=1", "+time=1", "localhost"]).returncode == 0,
                   what="the middle forwarder listening")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)
        self.process = None


@pytest.fixture
def middle(scene):
    one = Middle(scene)
    yield one
    one.stop()


def test_B4_40_U21_a_name_server_that_leads_back_here(scene, oracle, asker, up, middle):
    """Found by a forwarder in between; left out, told once, and used again when it leads elsewhere."""
    oracle.allowed.add(MIDDLE)
    middle.forward_to("192.168.1.254")
    config = sections(f"{MIDDLE}, {UPSTREAM}", timeouts={"dns": "3s"}, process={"workers": "2"})
    for section in ("dns lan", "web-proxy lan"):
        del config[section]["bypass-network"]

    mark = len(up.notes)

    def seen_by_middle(n, label):
        with scene.capture(scene.router, "lan0", f"udp dst port 53 and dst host {MIDDLE}") as seen:
            for _ in range(n):
                assert asker.udp(query(up.name(label=label))).addresses()
        return sum(label in line for line in seen.lines())

    def leaked():
        return [x for x in up.notes[mark:] if x.asked.questions[0][0].lower().endswith(".ukai-loop")]

    with Ukai(scene, config, ACL) as daemon:
        for _ in range(3):
            assert asker.udp(query(up.name())).addresses()
        daemon.wait_log(rf"name server is down.*server={MIDDLE}.*reason=loop")
        assert seen_by_middle(20, "around") == 0
        assert len(leaked()) <= 1, "the name went to others than the server itself"
        assert sum("reason=loop" in line for line in daemon.lines) == 1
        middle.forward_to(UPSTREAM)
        daemon.reload()

        def is_back():
            asker.udp(query(up.name()))
            return any(f"answers again\" server={MIDDLE}" in line for line in daemon.lines)
        wait_until(is_back, deadline_s=30, what="the end of the loop")
        assert seen_by_middle(10, "straight") >= 8


def test_B4_40_U21_our_own_address_is_refused_at_load(scene):
    config = sections("192.168.1.254", dns_={"listen-network": "192.168.1.254"})
    daemon = Ukai(scene, config, ACL, name="own")
    done = run_tool("check", "-c", daemon.conf_path)
    assert done.returncode == 78 and "is our own [dns]; it would ask itself" in done.out, done.out
