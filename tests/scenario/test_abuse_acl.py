"""Who may reach what: group A. The outer side owns every address, so a wrong yes is an open tunnel and a noted touch."""
import ipaddress
import os
import re
import threading

import pytest

import dnsscript
import dnswire
from client import FEEDS, OPEN_200, exchange, expect_refused, open_tunnel, whole_head
from daemon import Ukai, run_tool, sections
from scene import (LAN_ROUTER, LAN_ROUTER6, OUT_ROUTER, OUT_ROUTER6, SCRIPTED, SPECIAL_USE_4, SPECIAL_USE_6,
                   is_special_use, wait_until)

STAGES = (0, 1, 12, -1)  # bytes of a request that come before the reload
PUBLIC, PUBLIC6 = "198.51.100.190", "2001:db8:55::1"
IN = """[in]
tcp 8080 = 192.168.1.10 ; first host
tcp 8080 = 192.168.1.20
any = 2001:db8:1::10
udp 53 = 192.168.1.10
"""


@pytest.fixture(scope="module")
def ukai(scene):
    config = sections(SCRIPTED, web={"connect-ports": "443, 444, 53, 8080, 4430"},
                      timeouts={"head": "3s", "dns": "1s", "connect": "2s"})
    with Ukai(scene, config, IN) as daemon:
        yield daemon


@pytest.fixture
def rules(ukai):
    """Load [out] lines for one test; the plain rules come back afterwards."""
    def load(text, base=IN):
        ukai.reload(acl=base + text)

    yield load
    ukai.reload(acl=IN)


def ask(scene, target, host=None, **kwargs):
    """The answer to one CONNECT; a tunnel that opened is a Reply with status 200."""
    sock = scene.dial(host, **kwargs)
    reply = exchange(sock, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode("utf-8"), stop=lambda raw: raw.startswith(OPEN_200))
    if reply.status == 200:
        sock.close()
    return reply


def refused_all(scene, targets, *statuses, proxy_status=None):
    wrong = []
    for target in targets:
        reply = ask(scene, target)
        try:
            expect_refused(reply, *statuses, proxy_status=proxy_status if reply.status == 403 else None)
        except AssertionError as error:
            wrong.append(f"{target}: {error}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(targets)}:"] + wrong)


def passed_all(scene, targets):
    wrong = [f"{target}: {reply}" for target in targets if (reply := ask(scene, target)).status != 200]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(targets)}:"] + wrong)


def bracket(address, port=443):
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def inside_out(net):
    """first-1, first, last, last+1 of a range, where they exist."""
    net = ipaddress.ip_network(net)
    first, last = int(net[0]), int(net[-1])
    top = (1 << net.max_prefixlen) - 1
    make = ipaddress.IPv4Address if net.version == 4 else ipaddress.IPv6Address
    return [make(n) for n in (first - 1, first, last, last + 1) if 0 <= n <= top]


# destinations without any rule

def test_A01_loopback(scene, ukai):
    refused_all(scene, ["127.0.0.1:443", "127.255.255.255:443", "127.1.2.3:443"], 403,
                proxy_status="destination_ip_prohibited")
    refused_all(scene, ["localhost:443"], 403, 502)


def test_A02_loose_ipv4_literals_never_reach_the_resolver(scene, ukai):
    scene.dns.forget()
    hosts = ("127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "00000177.1", "0xa9fea9fe",
             "169.254.43518", "0X7F000001", "0x7f.0x0.0x0.0x1", "1", "0", "0x", "127.0.0.0x1", "a.0x1", "a.1", "1.2.3.4.5",
             "256.1.1.1", "1.2.3.256", "127.0.0.1.1", "198.51.100.0xbe", "a.b.0")
    refused_all(scene, [h + ":443" for h in hosts], 400)
    assert scene.dns.asked() == []


def test_A03_leading_zeros(scene, ukai):
    refused_all(scene, [h + ":443" for h in ("010.0.0.1", "127.0.0.01", "127.000.000.001", "0198.51.100.190",
                                             "198.051.100.190", "00.0.0.0")], 400)


def test_A04_dressed_up_loopback(scene, ukai):
    refused_all(scene, [h + ":443" for h in ("127.0.0.1.", "localhost.", "LOCALHOST", "x.localhost", "+127.0.0.1",
                                             "LocalHost.", "a.b.localhost")], 400, 403, 502)
    refused_all(scene, [h + ":443" for h in (" 127.0.0.1", "127.0.0.1 ", "127.0.0.1\t", "\t127.0.0.1", "127.0.0.1\n",
                                             "127.0.0.1\x0b", "127.0.0.1%20")], 400)


def test_A05_final_dot_and_empty_labels(scene, ukai, rules):
    yes = scene.name("allowed", a=[PUBLIC])
    no = scene.name("denied", a=[PUBLIC])
    rules(f"[out]\nallow = {yes}:443\ndeny = {no}\n")
    passed_all(scene, [f"{yes}:443", f"{yes}.:443"])
    refused_all(scene, [f"{no}:443", f"{no}.:443"], 403, proxy_status="http_request_denied")
    refused_all(scene, ["a..b.example:443", ".a.example:443", f"{yes}..:443", "..:443"], 400)


def test_A06_case(scene, ukai, rules):
    yes, no = scene.name("allowed", a=[PUBLIC]), scene.name("denied", a=[PUBLIC])
    rules(f"[out]\nallow = {yes.upper()}:443\ndeny = {no}\n")
    passed_all(scene, [f"{v}:443" for v in (yes, yes.upper(), yes.title(), yes.swapcase())])
    refused_all(scene, [f"{v}:443" for v in (no, no.upper(), no.title())], 403)


def test_A07_non_ascii_hosts(scene, ukai):
    scene.dns.forget()
    refused_all(scene, [h + ":443" for h in ("münchen.example", "\uff11\uff12\uff17.0.0.1", "127。0。0。1", "example\u3002net",
                                             "ⓔxample.net", "a\u00adb.example", "\ufeffexample.net")], 400)
    assert scene.dns.asked() == []
    name = scene.dns.add("xn--mnchen-3ya.trick.example", a=[PUBLIC])
    passed_all(scene, [f"{name}:443"])
    scene.dns.add("xn--.trick.example", a=[PUBLIC])
    reply = ask(scene, "xn--.trick.example:443")
    assert reply.status in (200, 400), reply


def test_A08_label_boundaries(scene, ukai, rules):
    for name in ("corp.trick.example", "evilcorp.trick.example", "corp.trick.example.evil.trick.example",
                 "a.corp.trick.example", "a.b.corp.trick.example", "free.trick.example"):
        scene.dns.add(name, a=[PUBLIC])
    below = ["a.corp.trick.example:443", "a.b.corp.trick.example:443"]
    strangers = ["evilcorp.trick.example:443", "corp.trick.example.evil.trick.example:443", "free.trick.example:443"]
    apex = ["corp.trick.example:443"]
    for pattern, match in (("*.corp.trick.example", below), (".corp.trick.example", below + apex),
                           ("corp.trick.example", apex)):
        others = [t for t in below + apex + strangers if t not in match]
        rules(f"[out]\ndeny = {pattern}\n")
        refused_all(scene, match, 403, proxy_status="http_request_denied")
        passed_all(scene, others)
        rules(f"[out]\nallow = {pattern}\n")
        passed_all(scene, match)
        refused_all(scene, others, 403)


def test_A09_mapped_addresses_are_judged_as_ipv4(scene, ukai):
    refused_all(scene, [f"[{a}]:443" for a in ("::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:ffff:a00:1",
                                               "::ffff:10.1.2.3", "::FFFF:a9fe:a9fe", "::ffff:0.0.0.0")], 403,
                proxy_status="destination_ip_prohibited")


def test_A09_mapped_public_address_is_dialled_as_ipv4(scene, ukai):
    mark = ukai.mark()
    passed_all(scene, [f"[::ffff:{PUBLIC}]:443"])
    wait_until(lambda: scene.reached(PUBLIC), what="the IPv4 origin reached")
    record = ukai.record(mark, lambda r: r.get("status") == 200)
    assert record["addr"].startswith(PUBLIC), record


def test_A10_embedded_ipv4(scene, ukai):
    refused_all(scene, [f"[{a}]:443" for a in (
        "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::10.1.2.3", "64:ff9b:1::1", "64:ff9b:1::a00:1", "2002:7f00:1::",
        "2002:a00:1::1", "2001:0:a00:1:0:0:80ff:fffe", "2001:0:c000:201:0:0:80ff:fffe", "2001:db8:9::5efe:10.0.0.1",
        "2001:db8:9::200:5efe:7f00:1")], 403, proxy_status="destination_ip_prohibited")
    passed_all(scene, ["[64:ff9b::c633:64be]:443", "[2002:c633:64be::1]:443"])


def test_A11_this_network(scene, ukai):
    refused_all(scene, ["0.0.0.0:443", "[::]:443", "0.1.2.3:443", ":::443"], 403, proxy_status="destination_ip_prohibited")


def test_A12_ipv6_special_use(scene, ukai):
    refused_all(scene, [f"[{a}]:443" for a in ("::1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1",
                                               "ff0e::1", "100::1")], 403, proxy_status="destination_ip_prohibited")
    refused_all(scene, ["[fe80::1%lan0]:443", "[fe80::1%25lan0]:443", "[::1%lo]:443", "[2001:db8:55::1%out0]:443"], 400)


def test_A13_metadata_services(scene, ukai):
    refused_all(scene, [bracket(a) for a in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "169.254.170.2")], 403,
                proxy_status="destination_ip_prohibited")


def test_A14_private_and_reserved(scene, ukai):
    refused_all(scene, [bracket(a) for a in (
        "10.1.2.3", "172.16.0.1", "172.31.255.254", "192.168.100.1", "192.168.1.10", "100.64.0.1", "192.0.0.1", "198.18.0.1",
        "198.19.255.254", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255")], 403,
        proxy_status="destination_ip_prohibited")


def test_A14_a_rule_that_names_a_range_opens_it(scene, ukai, rules, oracle):
    rules("[out]\nallow = *\nallow = 10.1.2.0/24:443\nallow = 172.16.0.5-172.16.0.9:443\nallow = [fd00:1::/32]:443\n")
    opened = ("10.1.2.0", "10.1.2.3", "10.1.2.255", "172.16.0.5", "172.16.0.9", "fd00:1::1")
    oracle.allowed |= set(opened)
    passed_all(scene, [bracket(a) for a in opened] + [bracket(PUBLIC)])
    refused_all(scene, [bracket(a) for a in ("10.1.1.255", "10.1.3.0", "172.16.0.4", "172.16.0.10", "fd00:2::1", "10.0.0.1")],
                403, proxy_status="destination_ip_prohibited")
    refused_all(scene, [bracket("10.1.2.3", 4430)], 403)


@pytest.mark.parametrize("line", ["*", "0.0.0.0/0", "[::/0]", "8.0.0.0/6", "*:443", "10.0.0.0/7", "9.255.255.255-10.1.2.3"])
def test_A14_a_rule_not_wholly_inside_opens_nothing(scene, ukai, rules, line):
    rules(f"[out]\nallow = {line}\nallow = *\n")
    refused_all(scene, [bracket(a) for a in ("10.1.2.3", "127.0.0.1", "fd00::1", "::1")], 403,
                proxy_status="destination_ip_prohibited")


def test_A15_boundaries_of_every_range(scene, ukai):
    edges = [a for net in SPECIAL_USE_4 + SPECIAL_USE_6 for a in inside_out(net)]
    special = [a for a in edges if is_special_use(str(a))]
    free = [a for a in edges if not is_special_use(str(a))]
    assert len(special) >= 30 and len(free) >= 15
    refused_all(scene, [bracket(a) for a in special], 403, proxy_status="destination_ip_prohibited")
    passed_all(scene, [bracket(a) for a in free])
    for address in free:
        wait_until(lambda a=str(address): scene.reached(a), 5, f"{address} reached")


OWN = ([(a, 8080) for a in (LAN_ROUTER, OUT_ROUTER, "127.0.0.1", "0.0.0.0", LAN_ROUTER6, OUT_ROUTER6, "::1", "::",
                           f"::ffff:{LAN_ROUTER}", "64:ff9b::c0a8:1fe", f"::ffff:{OUT_ROUTER}")]
       + [(a, 53) for a in (LAN_ROUTER, LAN_ROUTER6, OUT_ROUTER, OUT_ROUTER6)])


def test_A16_own_listeners_whatever_a_rule_says(scene, ukai, rules):
    named = "".join(f"allow = {a}\n" for a in ("192.168.0.0/16", "127.0.0.0/8", "0.0.0.0/8", "[::/96]", OUT_ROUTER,
                                               f"[{OUT_ROUTER6}]", f"[{LAN_ROUTER6}]", "*"))
    for text in ("", "[out]\n" + named):
        rules(text)
        refused_all(scene, [bracket(a, port) for a, port in OWN], 403)
        mine = scene.name("mine", a=[LAN_ROUTER], aaaa=[LAN_ROUTER6])
        outside = scene.name("outside", a=[OUT_ROUTER])
        refused_all(scene, [f"{mine}:8080", f"{mine}:53", f"{outside}:8080"], 403)


# names and what they resolve to

def test_A17_innocent_name_with_a_private_address(scene, ukai):
    for answers in ({"a": ["10.1.2.3"]}, {"aaaa": ["fd00::1"]}, {"a": ["127.0.0.1"], "aaaa": ["::1"]}, {"a": ["169.254.169.254"]},
                    {"aaaa": ["::ffff:10.1.2.3"]}, {"a": ["0.0.0.0"]}, {"aaaa": ["64:ff9b::7f00:1"]}):
        refused_all(scene, [scene.name("innocent", **answers) + ":443"], 403, proxy_status="destination_ip_prohibited")


def test_A18_mixed_answers_lose_the_private_ones(scene, ukai):
    import itertools
    for order in itertools.permutations(["10.1.2.3", PUBLIC, "127.0.0.1"]):
        passed_all(scene, [scene.name("mixed", a=list(order)) + ":443"])
    passed_all(scene, [scene.name("mixed", a=["10.1.2.3"], aaaa=[PUBLIC6]) + ":443",
                       scene.name("mixed", a=[PUBLIC], aaaa=["fd00::1"]) + ":443"])
    refused_all(scene, [scene.name("mixed", a=["10.1.2.3", "192.168.5.5"], aaaa=["fd00::1"]) + ":443"], 403)


def test_A19_rebinding_between_two_resolutions(scene, ukai):
    name = scene.name("flip", turns=[[PUBLIC], ["10.1.2.3"]], ttl=0)
    assert ask(scene, f"{name}:443").status == 200
    expect_refused(ask(scene, f"{name}:443"), 403, proxy_status="destination_ip_prohibited")
    assert len([note for note in scene.dns.asked(name) if note[1] == 1]) == 2


def test_A20_cname(scene, ukai, rules):
    target = scene.name("target", a=[PUBLIC])
    private = scene.name("private", a=["10.1.2.3"])
    alias, alias_private = scene.name("alias", cname=target), scene.name("alias", cname=private)
    rules(f"[out]\ndeny = {target}\n")
    passed_all(scene, [f"{alias}:443"])
    refused_all(scene, [f"{target}:443", f"{alias_private}:443"], 403)


def test_A21_allowed_name_in_a_denied_range(scene, ukai, rules, oracle):
    name = scene.name("intranet", a=["10.1.2.3"])
    rules(f"[out]\nallow = {name}:443\n")
    refused_all(scene, [f"{name}:443"], 403, proxy_status="destination_ip_prohibited")
    rules(f"[out]\nallow = {name}:443\nallow = 10.1.2.0/24:443\n")
    oracle.allowed.add("10.1.2.3")
    passed_all(scene, [f"{name}:443"])
    other = scene.name("other", a=[PUBLIC])
    rules(f"[out]\nallow = *\ndeny = {PUBLIC}\n")
    refused_all(scene, [f"{other}:443", bracket(PUBLIC)], 403)


def test_A22_literals_when_only_names_are_allowed(scene, ukai, rules):
    name = scene.name("named", a=[PUBLIC])
    rules(f"[out]\nallow = {name}\n")
    passed_all(scene, [f"{name}:443"])
    refused_all(scene, [bracket(PUBLIC), bracket(PUBLIC6), "other.trick.example:443"], 403)


def test_A22_denied_names_are_not_resolved(scene, ukai, rules):
    yes, no = scene.name("named", a=[PUBLIC]), scene.name("denied", a=[PUBLIC])
    rules(f"[out]\nallow = {yes}\n")
    scene.dns.forget()
    refused_all(scene, [f"{no}:443"], 403, proxy_status="http_request_denied")
    rules(f"[out]\ndeny = {no}\n")
    refused_all(scene, [f"{no}:443"], 403, proxy_status="http_request_denied")
    assert scene.dns.asked(no) == []


def test_A23_reverse_dns_has_no_effect(scene, ukai, rules):
    name = scene.name("named", a=[PUBLIC])
    scene.dns.add("77.100.51.198.in-addr.arpa", raw=lambda wire, asked: dnsscript.build(
        asked, [dnswire.record(b"\xc0\x0c", 12, dnswire.name(name), 60)]))  # whose name it is, says who may lie
    rules(f"[out]\nallow = {name}\n")
    scene.dns.forget()
    refused_all(scene, ["198.51.100.77:443"], 403)
    assert [n for n in scene.dns.asked() if n[0].endswith(".arpa")] == []


def test_A24_no_search_list_no_hosts_file(scene):
    home = f"/etc/netns/{scene.router.name}"
    os.makedirs(home, exist_ok=True)
    with open(f"{home}/hosts", "w") as file:
        file.write(f"127.0.0.1 localhost\n{PUBLIC} hostsonly.example hostsonly\n")
    with open(f"{home}/resolv.conf", "w") as file:
        file.write(f"nameserver {SCRIPTED}\nsearch trick.example\noptions ndots:5\n")
    scene.dns.add("intranet.trick.example", a=[PUBLIC])
    config = sections(None, dns=False, web={"listen-port": "8085", "name-server": None}, timeouts={"dns": "1s"})
    with Ukai(scene, config, "[in]\ntcp 8085 = 192.168.1.10\n", name="search"):
        scene.dns.forget()
        for target in ("intranet:443", "hostsonly.example:443", "hostsonly:443"):
            expect_refused(ask(scene, target, port=8085), 502, proxy_status="dns_error")
        asked = {note[0] for note in scene.dns.asked() if not note[0].endswith(".ukai-loop")}
        assert asked == {"intranet", "hostsonly.example", "hostsonly"}
        assert ask(scene, "intranet.trick.example:443", port=8085).status == 200


@pytest.mark.parametrize("n", [0, 1, 500])
def test_A25_number_of_addresses(scene, ukai, n):
    dead = [f"198.51.100.{193 + i % 30}" for i in range(n)]
    name = scene.name("many", a=dead)
    with scene.capture(scene.router, "out0", "tcp[tcpflags] & tcp-syn != 0 and dst net 198.51.100.192/27") as seen:
        reply = ask(scene, f"{name}:443")
    expect_refused(reply, 502, 504)
    tried = {line.split(" > ")[1].split(":")[0] for line in seen.lines()}
    assert min(n, 1) <= len(tried) <= 16, tried
    if n == 500:
        good = scene.name("many", a=[f"198.51.{101 + i // 250}.{i % 250}" for i in range(500)])
        passed_all(scene, [f"{good}:443"])


# sources

def test_A26_ipv4_and_ipv6_clients_alternate(scene, ukai):
    for _ in range(10):
        assert ask(scene, bracket(PUBLIC)).status == 200
        assert ask(scene, bracket(PUBLIC6), to=LAN_ROUTER6).status == 200
        for to in (LAN_ROUTER, LAN_ROUTER6):
            assert exchange(scene.dial(scene.host30, to=to), b"").raw == b""
        assert exchange(scene.dial(scene.host20, to=LAN_ROUTER6), b"").raw == b""


@pytest.mark.parametrize("feed", FEEDS)
def test_A27_forged_sources(scene, ukai, feed):
    fields = b"X-Forwarded-For: 192.168.1.10\r\nForwarded: for=192.168.1.10\r\n"
    line = b"PROXY TCP4 192.168.1.10 192.168.1.254 1000 8080\r\nCONNECT 198.51.100.190:443 HTTP/1.1\r\n\r\n"
    second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 168, 1, 10, 192, 168, 1, 254]) + b"\x03\xe8\x1f\x90" + line.partition(b"\n")[2]
    for data in (b"CONNECT 198.51.100.190:443 HTTP/1.1\r\n" + fields + b"\r\n", line, second):
        reply = exchange(scene.dial(scene.host30), data, feed)
        assert reply.raw == b"" and reply.end in ("fin", "rst"), reply
    for data in (line, second):
        expect_refused(exchange(scene.dial(), data, feed), 400)
    sock = scene.dial()
    open_tunnel(sock, "", b"CONNECT 198.51.100.190:443 HTTP/1.1\r\nX-Forwarded-For: 192.168.1.99\r\n\r\n", feed)


def test_A28_default_deny(scene, ukai):
    for host, source in ((scene.host30, None), (scene.host10, "192.168.1.11"), (scene.host10, "192.168.1.9")):
        if source:
            host.ip(f"addr add {source}/24 dev eth0\n")
        reply = exchange(scene.dial(host, source=(source, 0) if source else None), b"CONNECT 198.51.100.190:443 HTTP/1.1\r\n\r\n")
        assert reply.raw == b"" and reply.end in ("fin", "rst"), (source, reply)


def test_A28_deny_answer_403(scene, ukai):
    import copy
    config = copy.deepcopy(ukai.config)
    config["acl"] = {"file": "acl.conf", "deny-answer": "403"}
    before, ukai.config = ukai.config, config
    try:
        ukai.reload()
        reply = exchange(scene.dial(scene.host30), b"CONNECT 198.51.100.190:443 HTTP/1.1\r\n\r\n")
        expect_refused(reply, 403)
        assert exchange(scene.dial(scene.host30, port=53), b"").raw == b""
    finally:
        ukai.config = before
        ukai.reload()
    assert exchange(scene.dial(scene.host30), b"").raw == b""


def test_A28_sources_by_cidr_range_group_and_any(scene, ukai, rules):
    for line, yes in (("tcp 8080 = 192.168.1.0/27", True), ("tcp 8080 = 192.168.1.29-192.168.1.31", True),
                      ("any = 192.168.1.30", True), ("TCP 8000-8100 = 192.168.1.30", True),
                      ("tcp 8080 = @agents\n[group agents]\nmember = 192.168.1.30", True),
                      ("tcp 8080 = 192.168.1.1, 192.168.1.30", True), ("udp 8080 = 192.168.1.30", False),
                      ("tcp 8081 = 192.168.1.30", False), ("tcp 808 = 192.168.1.30", False),
                      ("tcp 8080 = 192.168.1.31-192.168.1.40", False), ("https = 192.168.1.30", False)):
        rules("", base=IN + line + "\n")
        reply = exchange(scene.dial(scene.host30), b"CONNECT 198.51.100.190:443 HTTP/1.1\r\n\r\n", stop=whole_head)
        assert (reply.raw == OPEN_200) is yes, (line, reply)


def test_A29_reload_while_requests_arrive(scene, ukai):
    name = scene.name("flip", a=[PUBLIC])
    texts = [f"[in]\ntcp 8080 = 192.168.1.10, 192.168.1.20 ; {file}\n[out]\n{word} = {name} ; {file}\n"
             for word, file in (("deny", "one"), ("allow", "other"))]
    stop, errors, n_reloads, mark, reload = threading.Event(), [], 0, ukai.mark(), ukai.reloads_in_turn(texts)

    def reload_forever():
        nonlocal n_reloads
        while not stop.is_set():
            try:
                reload()
            except AssertionError as error:
                errors.append(error)
                return
            n_reloads += 1

    thread = threading.Thread(target=reload_forever)
    thread.start()
    seen = {200: 0, 403: 0}
    try:
        wait_until(lambda: n_reloads > 2)
        while (sum(seen.values()) < 1000 or n_reloads < 100) and not errors:
            reply = ask(scene, f"{name}:443", host=scene.host20 if sum(seen.values()) % 2 else None)
            assert reply.status in seen, reply
            seen[reply.status] += 1
    finally:
        stop.set()
        thread.join(15)
        ukai.reload(acl=IN)
    assert not errors, errors
    assert min(seen.values()) > 50, seen
    scene.close_clients()

    def ends():  # each by one file only: who was let in by the one is judged by the one
        return [(r["status"], r["memo"]) for r in ukai.records_since(mark) if r["event"] in ("close", "refused")
                and r.get("error") != "acl_revoked"]

    wait_until(lambda: len(ends()) >= seen[403])
    assert set(ends()) <= {(200, "other"), (403, "one")}, set(ends())


def test_A29_a_reload_between_accept_and_request(scene, ukai):
    """1,000 clients that were accepted under one file and ask under the next: that one decides, also when some of the request
    came before it."""
    name = scene.name("flip", a=[PUBLIC])
    texts = [f"[in]\ntcp 8080 = 192.168.1.10, 192.168.1.20 ; {file}\n[out]\n{word} = {name} ; {file}\n"
             for word, file in (("deny", "one"), ("allow", "other"))]
    request, mark = f"CONNECT {name}:443 HTTP/1.1\r\n\r\n".encode(), ukai.mark()
    for n in range(250):
        before, socks = ukai.status()["traffic"]["accepted"], [scene.dial(host) for host in (None, scene.host20) * 2]
        for sock, n_bytes in zip(socks, STAGES):
            sock.sendall(request[:n_bytes])
        wait_until(lambda: ukai.status()["traffic"]["accepted"] == before + len(socks))
        ukai.reload(acl=texts[n % 2])
        for sock, n_bytes in zip(socks, STAGES):
            reply = exchange(sock, request[n_bytes:], stop=whole_head)
            assert reply.status == (403, 200)[n % 2], (n, n_bytes, reply)
            sock.close()

    def ends():
        return [(r["status"], r["memo"]) for r in ukai.records_since(mark) if r["event"] in ("close", "refused")]

    wait_until(lambda: len(ends()) >= 1000)
    assert {end: ends().count(end) for end in set(ends())} == {(403, "one"): 500, (200, "other"): 500}
    ukai.reload(acl=IN)


# what the answer tells

def test_reason_phrase_names_the_rule_and_the_body_does_not(scene, ukai, rules):
    one, two = scene.name("one", a=[PUBLIC]), scene.name("two", a=[PUBLIC])
    rules(f"[out]\ndeny = {one}\ndeny = {two}\n")
    n_before = IN.count("\n")
    replies = [ask(scene, f"{name}:443") for name in (one, two)]
    for i, reply in enumerate(replies):
        expect_refused(reply, 403, proxy_status="http_request_denied")
        assert reply.reason == f"Forbidden by rule acl.conf:{n_before + 2 + i}", reply
        assert b"acl.conf" not in reply.body and len(reply.body) < 1000, reply
    import re
    bodies = [re.sub(rb"[0-9A-Fa-f]+(\.[0-9A-Fa-f]+)*", b"#", r.body) for r in replies]
    assert bodies[0] == bodies[1], bodies


def test_port_rules_of_out(scene, ukai, rules):
    name = scene.name("ported", a=[PUBLIC])
    rules(f"[out]\nallow = {name}:{{443,4430}}\nallow = {PUBLIC}:444\n")
    passed_all(scene, [f"{name}:443"])
    refused_all(scene, [f"{name}:8080", bracket(PUBLIC)], 403)
    expect_refused(ask(scene, bracket(PUBLIC, 444)), 502, proxy_status="connection_refused")
    expect_refused(ask(scene, f"{name}:4430"), 502, proxy_status="connection_refused")
    rules(f"[out]\nallow = {name}:440-450\n")
    passed_all(scene, [f"{name}:443"])
    refused_all(scene, [f"{name}:4430"], 403)


def test_out_does_not_widen_the_port_list(scene, ukai, rules):
    rules("[out]\nallow = *:22\nallow = *\n")
    refused_all(scene, [bracket(PUBLIC, 22), "h.example:25"], 403, proxy_status="http_request_denied")


# the same verdicts from `explain`

@pytest.mark.parametrize("source, target, code", [
    ("192.168.1.10", f"CONNECT {PUBLIC}:443", 0), ("192.168.1.99", f"CONNECT {PUBLIC}:443", 3),
    ("192.168.1.10", "CONNECT 127.0.0.1:443", 3), ("192.168.1.10", "CONNECT [fd00::1]:443", 3),
    ("192.168.1.10", f"CONNECT {PUBLIC}:22", 3), ("192.168.1.10", "CONNECT a.b.example:443", 0),
    ("192.168.1.10", f"CONNECT {LAN_ROUTER}:8080", 3), ("192.168.1.10", "DNS a.example", 0),
    ("192.168.1.20", "DNS a.example", 3), ("192.168.1.10", "DNS/tcp a.example", 3), ("::1", f"CONNECT {PUBLIC}:443", 3)])
def test_explain_says_what_the_daemon_does(scene, ukai, source, target, code):
    done = run_tool("explain", "-c", ukai.conf_path, "--from", source, "--no-resolve", target, netns=scene.router)
    assert done.returncode == code, (done.returncode, done.out)
    if code == 0 and target.startswith("CONNECT"):
        assert "acl.conf:2" in done.out and "first host" in done.out, done.out


def test_A32_every_rule_gives_the_same_answer_but_for_its_phrase(scene, ukai, rules):
    rules("[out]\ndeny = one.example\ndeny = *.two.example:443 ; 秘密の理由\ndeny = 198.51.100.7\nallow = three.example\n")
    replies = {}
    for target in ("one.example:443", "x.two.example:443", "198.51.100.7:443", "four.example:443"):
        reply = exchange(scene.dial(), f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        assert reply.status == 403
        body = re.sub(rb"\b\d+\.\d+\b", b"ID", reply.body)
        replies[reply.reason] = (body, {name: value for name, value in reply.fields.items() if name.lower() not in ("date",)})
        assert "秘密".encode() not in reply.body and b"acl.conf" not in reply.body
    assert len(replies) == 4, "the phrase names the rule"
    assert len({body for body, _ in replies.values()}) == 1, replies
    assert len({str(sorted(fields.items())) for _, fields in replies.values()}) == 1, replies
