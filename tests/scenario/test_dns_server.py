"""The LAN's DNS server as an admin sets it up: rates, records of queries, loops of forwarders."""
import pytest

import dnswire
from daemon import Ukai, sections
from dnsscript import Asker, ScriptServer, ede
from dnswire import Message, opt, query
from scene import wait_until

UPSTREAM = "203.0.113.99"
ACL = """[in]
udp 53 = 192.168.1.10 ; DNS用
tcp 53 = 192.168.1.10
udp 53 = 192.168.1.20
"""


@pytest.fixture(scope="module")
def up(scene):
    server = ScriptServer(scene.outer, UPSTREAM)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def asker(scene):
    return Asker(scene)


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
