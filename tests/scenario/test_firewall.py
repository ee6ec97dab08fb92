"""import, export and diff: tables of every format, against real packets, the daemon and `explain`; abuse case G19."""
import ipaddress
import json
import os
import random
import re
import socket
import subprocess

import pytest

from client import exchange, whole_head
from daemon import BINARY, REPOSITORY, SANITIZER_DIR, Ukai, run_tool, sections
from scene import ECHO
from wirewall import LAN4, WALL4, Wirewall

CONF = """[web-proxy lan]
listen-network = lo
name-server = 127.0.0.1

[web-proxy agents]
listen-network = lo
listen-port = 3128
name-server = 127.0.0.1

[dns lan]
listen-network = lo
name-server = 127.0.0.1

[acl]
file = acl.conf
"""
# How `explain` is asked about a listener's port.
LISTENERS = {("tcp", 8080): ("lan", "CONNECT 203.0.113.10:443"), ("tcp", 3128): ("agents", "CONNECT 203.0.113.10:443"),
             ("udp", 53): ("lan", "DNS a.example"), ("tcp", 53): ("lan", "DNS/tcp a.example")}
OWN_LINK = {4: ipaddress.ip_network("192.168.1.0/24"), 6: ipaddress.ip_network("2001:db8:1::/64")}
OTHERS = (("tcp", 22), ("udp", 123), ("udp", 8080), ("udp", 3128))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "ukai.conf").write_text(CONF)
    return tmp_path


@pytest.fixture(scope="module")
def wirewall():
    with Wirewall() as built:
        yield built


def write_acl(files, text):
    (files / "acl.conf").write_text(text)


def export(files, form):
    done = run_tool("export", "--format", form, "-c", files / "ukai.conf")
    assert done.returncode == 0, done.out
    return done.out


# random tables and triples

def random_address(rng, version):
    if version == 6:
        return ipaddress.ip_address("2001:db8::") + rng.choice((0, 1 << 64, 2 << 64)) + rng.randrange(64)
    return ipaddress.ip_address(rng.choice(("192.168.7.0", "10.0.0.0", "172.16.0.0", "198.51.100.0"))) + rng.randrange(256)


def random_source(rng):
    """Text of a host, a network or a range, and its two ends."""
    first = random_address(rng, rng.choice((4, 4, 6)))
    kind = rng.randrange(3)
    if kind == 0:
        return str(first), (first, first)
    if kind == 1:
        net = ipaddress.ip_network((first, first.max_prefixlen - rng.randrange(1, 7)), strict=False)
        return str(net), (net[0], net[-1])
    last = first + rng.randrange(1, 40)
    return f"{first}-{last}", (first, last)


def random_table(rng, n):
    """acl.conf and a list of (protocol, first port, last port, first, last)."""
    lines, rules = ["[in]"], []
    for _ in range(n):
        protocol = rng.choice(("tcp", "tcp", "udp", "any"))
        port = rng.choice((8080, 3128, 53, 53, 22, 8000))
        last = port + rng.choice((0, 0, 100))
        text, ends = random_source(rng)
        service = "any" if protocol == "any" else f"{protocol} {port}" + (f"-{last}" if last > port else "")
        lines.append(f"{service} = {text} ; {len(rules)} 用")
        rules.append((protocol, 1 if protocol == "any" else port, 65535 if protocol == "any" else last, *ends))
    return "\n".join(lines) + "\n", rules


def admits(rules, protocol, port, source):
    address = ipaddress.ip_address(source)
    return any(p in (protocol, "any") and first <= port <= last and a.version == address.version and a <= address <= b
               for p, first, last, a, b in rules)


def can_be_sent(address):
    """A source that the kernel neither calls a martian nor has on its own link."""
    return not (address.is_multicast or address.is_loopback or address.is_reserved or address.is_link_local
                or int(address) >> (address.max_prefixlen - 8) == 0 or address in OWN_LINK[address.version])


def random_triples(rng, rules, n, services=(*LISTENERS, *LISTENERS, *OTHERS)):
    triples = set()
    while len(triples) < n:
        protocol, port = rng.choice(tuple(services))
        _, _, _, first, last = rng.choice(rules)
        near = [first, last, random_address(rng, first.version)]
        near += [end + step for end, step in ((first, -1), (last, 1))
                 if 0 <= int(end) + step < 2 ** end.max_prefixlen]
        source = rng.choice(near)
        if can_be_sent(source):
            triples.add((protocol, port, str(source)))
    return sorted(triples)


def explained(files, protocol, port, source):
    listener, target = LISTENERS[protocol, port]
    done = run_tool("explain", "-c", files / "ukai.conf", "--no-resolve", "--from", source, "--listener", listener, target)
    assert done.returncode in (0, 3), done.out
    return done.returncode == 0


# export to nftables

@pytest.mark.parametrize("seed", (20190311, 5, 77))
def test_nft_admits_what_explain_admits(wirewall, files, seed):
    rng = random.Random(seed)
    acl, rules = random_table(rng, 60)
    write_acl(files, acl)
    (files / "ukai.nft").write_text(export(files, "nftables"))
    assert wirewall.wall.run(["nft", "-c", "-f", files / "ukai.nft"]).returncode == 0
    wirewall.wall.nft((files / "ukai.nft").read_text())
    served = random_triples(rng, rules, 100 if SANITIZER_DIR else 500, LISTENERS)  # `explain` starts once for each
    beside = random_triples(rng, rules, 100, OTHERS)
    passed = wirewall.passed(served + beside)
    assert set(beside) <= passed, ("a port that no listener has was touched", set(beside) - passed)
    wrong = [t for t in served if explained(files, *t) != (t in passed)]
    assert not wrong, wrong
    assert len(served) / 10 < sum(t in passed for t in served) < len(served) * 9 / 10


def test_nft_is_loaded_again_and_leaves_other_tables_alone(wirewall, files):
    wirewall.wall.nft("table inet mine { chain input { type filter hook input priority 0; tcp dport 9999 drop; }; }")
    for source in ("192.168.1.1", "192.168.1.2"):
        write_acl(files, f"[in]\ntcp 8080 = {source}\n")
        wirewall.wall.nft(export(files, "nftables"))
    listed = wirewall.wall.run(["nft", "list", "ruleset"]).stdout
    assert "tcp dport 9999 drop" in listed and "192.168.1.2" in listed and "saddr 192.168.1.1 " not in listed, listed
    assert listed.count("table inet ukai") == 1
    wirewall.wall.nft("delete table inet mine")


def test_nft_lets_replies_and_loopback_pass(wirewall, files):
    """A connection of the host's own from a port that a listener has; and the host's own clients."""
    write_acl(files, "[in]\ntcp 8080 = 192.0.2.1\nudp 53 = 192.0.2.1\n")
    wirewall.wall.nft(export(files, "nftables"))
    with wirewall.lan.socket() as listener, wirewall.wall.socket() as own:
        listener.bind((LAN4, 7777))
        listener.listen()
        own.settimeout(10)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((WALL4, 8080))
        own.connect((LAN4, 7777))
    with wirewall.lan.socket(kind=socket.SOCK_DGRAM) as peer, wirewall.wall.socket(kind=socket.SOCK_DGRAM) as own:
        peer.bind((LAN4, 7777))
        own.settimeout(10)
        own.bind((WALL4, 53))
        own.sendto(b"?", (LAN4, 7777))
        peer.settimeout(10)
        peer.sendto(b"!", peer.recvfrom(10)[1])
        assert own.recv(10) == b"!"
    with wirewall.wall.socket() as listener, wirewall.wall.socket() as own:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 8080))
        listener.listen()
        own.settimeout(10)
        own.connect(("127.0.0.1", 8080))
    wirewall.wall.nft("delete table inet ukai")


# iptables

IPTABLES = """
iptables-nft -P INPUT DROP
iptables-nft -N web
iptables-nft -A INPUT -i lo -j ACCEPT
iptables-nft -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables-nft -A INPUT -m conntrack --ctstate INVALID -j DROP
iptables-nft -A INPUT -p tcp ! --syn -m state --state NEW -j DROP
iptables-nft -A INPUT -s 10.0.0.0/28 -p tcp -m multiport --dports 8080,3128,22:23 -m comment --comment 'Webプロキシ "用" it'"'"'s' -j ACCEPT
iptables-nft -A INPUT -p udp --dport 53 -m iprange --src-range 192.168.7.5-192.168.7.90 -m comment --comment DNS用 -j ACCEPT
iptables-nft -A INPUT -s 172.16.0.0/25 -p udp ! --dport 123 -j ACCEPT
iptables-nft -A INPUT -p tcp --dport 53 -j web
iptables-nft -A web -s 10.0.0.77 -j ACCEPT
iptables-nft -A web ! -s 10.0.0.0/8 -j ACCEPT
iptables-nft -A web -j RETURN
iptables-nft -A INPUT -s 198.51.100.0/26 -j ACCEPT
iptables-nft -A INPUT -m limit --limit 5/min -j LOG --log-prefix "denied: "
iptables-nft -A INPUT -j REJECT --reject-with icmp-host-prohibited
ip6tables-nft -P INPUT DROP
ip6tables-nft -A INPUT -s 2001:db8:0:1::/122 -p tcp --dport 8080 -j ACCEPT
"""


def acl_rules(text):
    """acl.conf as import prints it, into the list that admits() asks."""
    rules = []
    for service, source in re.findall(r"^(any|(?:tcp|udp) [\d-]+) = (\S+)", text, re.M):
        protocol, _, ports = service.partition(" ")
        first, _, last = ports.partition("-")
        if "-" in source:
            ends = [ipaddress.ip_address(part) for part in source.split("-")]
        else:
            net = ipaddress.ip_network(source)
            ends = [net[0], net[-1]]
        rules.append((protocol, int(first or 1), int(last or first or 65535), *ends))
    return rules


def test_iptables_import_admits_what_the_kernel_admits(wirewall, files):
    (files / "rules.sh").write_text("set -e\n" + IPTABLES)
    try:
        done = wirewall.wall.run(["sh", files / "rules.sh"])
        assert done.returncode == 0, done.stderr
        saved = [wirewall.wall.run([tool]).stdout for tool in ("iptables-nft-save", "ip6tables-nft-save")]
        (files / "rules").write_text("".join(saved))
        done = run_tool("import", "--format", "iptables", files / "rules")
        assert done.returncode == 0 and 'Webプロキシ "用" it\'s' in done.out, done.out
        write_acl(files, done.out[done.out.index("[in]"):])
        rules = acl_rules(done.out)
        rng = random.Random(4)
        triples = random_triples(rng, rules, 400)
        passed = wirewall.passed(triples)
        wrong = [t for t in triples if admits(rules, *t) != (t in passed)]
        assert not wrong, (wrong, done.out)
        assert 50 < len(passed) < 350
        diff = run_tool("diff", "--format", "iptables", files / "rules", "-c", files / "ukai.conf")
        assert diff.returncode == 0, diff.out
    finally:
        wirewall.wall.run(["nft", "flush", "ruleset"])


def test_iptables_what_needs_a_drop_is_refused_with_its_line(files):
    (files / "rules").write_text("*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.5/32 -j DROP\n"
                                 "-A INPUT -s 10.0.0.0/24 -p tcp -m tcp --dport 8080 -j ACCEPT\nCOMMIT\n")
    done = run_tool("import", "--format", "iptables", files / "rules")
    assert done.returncode == 78 and "rules:3: error: it drops a part of what line 4 accepts" in done.out, done.out
    assert "[in]" not in done.out


# round trips and drift

def test_diff_of_an_exported_table_is_empty(files):
    rng = random.Random(7)
    for _ in range(5):
        acl, _ = random_table(rng, 60)
        write_acl(files, acl)
        (files / "table.json").write_text(re.sub(r"^/.*\n", "", export(files, "nifcloud-json"), flags=re.M))
        done = run_tool("diff", "--format", "nifcloud-json", files / "table.json", "-c", files / "ukai.conf")
        assert done.returncode == 0, done.out


def test_diff_of_a_large_exported_table_is_empty(files):
    """80,000 lines, several sources in a line, 5,000 members of a group: nothing too large for the way back."""
    lines = [f"tcp {8000 + n % 5} = 10.{n >> 16}.{n >> 8 & 255}.{n & 255} ; 用" for n in range(80000)]
    lines += [f"udp 53 = 192.168.{n}.0/24, 192.168.{n}.0-192.168.{n + 1}.77, 2001:db8:{n:x}::/48" for n in range(100)]
    members = "".join(f"member = 172.16.{n >> 8}.{n & 255}\n" for n in range(5000))
    write_acl(files, "\n".join(["[in]", *lines, "tcp 8080 = @big ; 多", "[group big]", members]))
    table = subprocess.run([BINARY, "export", "--format", "nifcloud-json", "-c", files / "ukai.conf"], capture_output=True)
    assert table.returncode == 0, table.stderr
    # The longest rule has a line of its own as the others have: 4,096 sources, and what is left of 5,000.
    assert table.stdout.count(b"\n") == 80102 + 2 and json.loads(table.stdout)
    (files / "table.json").write_bytes(table.stdout)
    done = run_tool("diff", "--format", "nifcloud-json", files / "table.json", "-c", files / "ukai.conf")
    assert (done.returncode, done.out) == (0, ""), done.out[:1000]


GROUP = {"SecurityGroupInfo": [{"GroupName": "router", "GroupStatus": "applied", "IpPermissions": [
    {"IpProtocol": "TCP", "FromPort": 8080, "ToPort": 8090, "InOut": "IN", "IpRanges": [{"CidrIp": "192.168.1.0/24"}],
     "Description": "Webプロキシ利用でのDSaaS通信用"}]}]}


def test_diff_names_the_interval_and_both_origins(files):
    (files / "table.json").write_text(json.dumps(GROUP))
    write_acl(files, "[in]\ntcp 8080 = 192.168.1.0/25 ; 半分\nudp 53 = 192.168.1.10 ; DNS用\n")
    done = run_tool("diff", "--format", "nifcloud-json", files / "table.json", "-c", files / "ukai.conf")
    assert done.returncode == 3, done.out
    lines = [line for line in done.out.splitlines() if " admits " in line]
    assert [line.split(":")[0] for line in lines] == ["tcp 8080 = 192.168.1.128/25", "tcp 8081-8090 = 192.168.1.0/24",
                                                      "udp 53 = 192.168.1.10"]
    assert "router IpPermissions[0] ; Webプロキシ利用でのDSaaS通信用" in lines[0] and "acl.conf" in lines[0]
    assert "acl.conf:3 ; DNS用" in lines[2] and "table.json" in lines[2]
    done = run_tool("diff", "--served", "--format", "nifcloud-json", files / "table.json", "-c", files / "ukai.conf")
    served = [line.split(":")[0] for line in done.out.splitlines() if " admits " in line]
    assert (done.returncode, served) == (3, ["tcp 8080 = 192.168.1.128/25", "udp 53 = 192.168.1.10"]), done.out


MEMO = "Webプロキシ利用でのDSaaS通信用"
TABLES = {
    "nifcloud-json": json.dumps(GROUP),
    "nifcloud-xml": f"""<?xml version="1.0" encoding="UTF-8"?>
<DescribeSecurityGroupsResponse xmlns="https://computing.api.nifcloud.com/api/"><securityGroupInfo><item>
  <groupName>router</groupName><groupStatus>applied</groupStatus><ipPermissions><item>
    <ipProtocol>TCP</ipProtocol><fromPort>8080</fromPort><toPort>8090</toPort><inOut>IN</inOut><groups/>
    <ipRanges><item><cidrIp>192.168.1.0/24</cidrIp></item></ipRanges>
    <description>{MEMO}</description><addDatetime>2026-11-01T09:00:00.000+09:00</addDatetime>
  </item></ipPermissions></item></securityGroupInfo></DescribeSecurityGroupsResponse>
""",
    "terraform-json": json.dumps({"format_version": "1.0", "values": {"root_module": {"resources": [
        {"address": "nifcloud_security_group_rule.web", "mode": "managed", "type": "nifcloud_security_group_rule",
         "name": "web", "values": {"security_group_names": ["router"], "type": "IN", "protocol": "TCP", "from_port": 8080,
                                   "to_port": 8090, "cidr_ip": "192.168.1.0/24", "description": MEMO}}]}}}),
    "iptables": f"""# Generated by iptables-save v1.8.9 on Sun Nov  1 09:00:00 2026
*filter
:INPUT DROP [0:0]
-A INPUT -s 192.168.1.0/24 -p tcp -m tcp --dport 8080:8090 -m comment --comment {MEMO} -j ACCEPT
COMMIT
""",
}


@pytest.mark.parametrize("form", TABLES)
def test_the_memo_survives_import_log_explain_and_export(scene, tmp_path, form):
    (tmp_path / "table").write_text(TABLES[form])
    acl = run_tool("import", "--format", form, tmp_path / "table")
    assert acl.returncode == 0 and acl.out == f"[in]\ntcp 8080-8090 = 192.168.1.0/24   ; {MEMO}\n", acl.out
    with Ukai(scene, sections(dns=False), acl.out + "[out]\ndeny = 203.0.113.11\n") as ukai:
        mark = ukai.mark()
        assert exchange(scene.dial(), f"CONNECT {ECHO}:443 HTTP/1.1\r\n\r\n".encode(), stop=whole_head).status == 200
        assert ukai.record(mark, lambda r: r["event"] == "open")["memo"] == MEMO
        done = run_tool("explain", "-c", ukai.conf_path, "--from", "192.168.1.10", "--no-resolve", f"CONNECT {ECHO}:443")
        assert done.returncode == 0 and MEMO in done.out, done.out
        done = run_tool("export", "--format", "nifcloud-json", "-c", ukai.conf_path)
        (item,) = json.loads(done.out)["SecurityGroupInfo"][0]["IpPermissions"]
        assert item["Description"] == MEMO and item["IpRanges"] == [{"CidrIp": "192.168.1.0/24"}], done.out
        done = run_tool("diff", "--format", form, tmp_path / "table", "-c", ukai.conf_path)
        assert (done.returncode, done.out) == (0, ""), done.out


def test_what_nifcloud_would_not_take_is_said_on_export(files):
    write_acl(files, "[in]\n" + "".join(f"tcp 8080 = 10.0.0.{n}, 10.1.0.{n} ; {'用' * (40 if n else 41)}\n" for n in range(101)))
    said = export(files, "nifcloud-json")
    assert "acl.conf:2: the memo is longer than the 40 characters" in said and "acl.conf:3: the memo" not in said, said[:500]
    assert "101 rules; a firewall group of NIFCLOUD takes 100" in said, said[:500]


def test_the_nightly_script_speaks_of_drift_only(files):
    script = REPOSITORY / "contrib/nifcloud/ukai-drift"
    table = REPOSITORY / "contrib/nifcloud/security-group.json"
    (files / "bin").mkdir()
    (files / "bin/ukai").symlink_to(os.path.abspath(BINARY))
    env = {"PATH": f"{files}/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

    def run(fetch, options="--served --group webservers=192.168.2.0/24"):
        (files / "settings").write_text(f"FETCH='{fetch}'\nOPTIONS='{options}'\nCONFIG={files}/ukai.conf\n")
        return subprocess.run([script, files / "settings"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    done = run_tool("import", "--format", "nifcloud-json", "--group", "webservers=192.168.2.0/24", table)
    write_acl(files, done.out[done.out.index("[in]"):])
    done = run(f"cat {table}")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    done = run(f"sed s/192.168.1.20/192.168.1.21/ {table}")
    assert done.returncode == 3 and "tcp 8080 = 192.168.1.21: the firewall admits" in done.stdout, done.stdout
    assert "no rule of firewall-group does" in done.stdout, done.stdout
    # a memo may say what it likes
    noted = (files / "acl.conf").read_text()
    write_acl(files, noted + "tcp 8080 = 192.168.9.9 ; note: of ours\n")
    done = run(f"cat {table}")
    assert done.returncode == 3 and "note: of ours" in done.stdout and "OUT rule" not in done.stdout, done.stdout
    write_acl(files, noted)
    # what could not be compared is told, though nothing disagrees
    write_acl(files, "".join(line for line in (files / "acl.conf").read_text().splitlines(True) if "192.168.2." not in line))
    done = run(f"cat {table}", "--served")
    assert done.returncode == 0 and re.fullmatch(r".*warning: .*webservers.*\n", done.stdout), done.stdout
    done = run(f"sed s/applied/applying/ {table}", "--served --group webservers=192.168.2.0/32")
    assert "still changing" in done.stdout, done.stdout
    # warnings of our own files are for `ukai check`
    (files / "ukai.conf").write_text(CONF.replace("[acl]", "[web-proxy lan3]\nlisten-network = lo\nlisten-port = 3129\n"
                                                  "name-server = 127.0.0.1\nauth-file = /x\n\n[acl]"))
    done = run(f"cat {table}", "--served")
    assert done.returncode == 0 and re.fullmatch(r".*warning: .*webservers.*\n", done.stdout), done.stdout
    assert run("false").returncode == 1
    assert run("echo nonsense").returncode == 78


def test_groups_on_the_command_line(files):
    table = REPOSITORY / "contrib/nifcloud/security-group.json"
    done = run_tool("import", "--format", "nifcloud-json", "--group", "a=10.0.0.1", "--group", "a=10.0.0.2", table)
    assert done.returncode == 2 and "given twice" in done.out, done.out
    done = run_tool("import", "--format", "nifcloud-json", "--group", "webserver=10.0.0.1", table)
    assert done.returncode == 0 and "no rule names the group of --group webserver" in done.out, done.out
    (files / "empty").write_text('{"SecurityGroupInfo":[]}')
    done = run_tool("import", "--format", "nifcloud-json", files / "empty")
    assert done.returncode == 0 and "warning: it admits nobody" in done.out, done.out


# what is refused

def refused(files, form, text, reason=None):
    path = files / "table"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = run_tool("import", "--format", form, path)
    assert done.returncode == 78, f"status {done.returncode} for {text[:80]!r}: {done.out[:500]}"
    assert "error: " in done.out and "[in]" not in done.out, done.out[:500]
    assert reason is None or reason in done.out, done.out[:500]


def rule_json(**changes):
    rule = {"IpProtocol": "TCP", "FromPort": 80, "IpRanges": [{"CidrIp": "10.0.0.1"}], **changes}
    return json.dumps({"SecurityGroupInfo": [{"IpPermissions": [rule]}]})


def test_G19_rules_json(files):
    for form in ("nifcloud-json", "terraform-json"):
        refused(files, form, "[" * 100000)
        refused(files, form, '{"SecurityGroupInfo":[],"SecurityGroupInfo":[]}')
        refused(files, form, "[1e999]")
        refused(files, form, '{"a":"\\ud800"}')
        refused(files, form, "{} trailing")
        refused(files, form, b"\xff\xfe{}")
        refused(files, form, "[" + " " * (64 << 20) + "]", "larger than")
    for wrong in ({"FromPort": 1e300}, {"FromPort": []}, {"FromPort": True}, {"IpRanges": {}}, {"IpRanges": [1]},
                  {"IpProtocol": 6}, {"Description": {}}, {"InOut": "SIDEWAYS"}, {"Groups": "x"}):
        refused(files, "nifcloud-json", rule_json(**wrong))
    refused(files, "nifcloud-json", rule_json(toport=90), "IpPermissions[0]: toport: write ToPort")
    (files / "table").write_text(rule_json(IpRanges=[], Groups=[{"GroupName": "nobody"}]))
    done = run_tool("import", "--format", "nifcloud-json", files / "table")
    assert done.returncode == 0 and "nobody" in done.out and " = " not in done.out.split("[in]")[1], done.out


def test_a_refused_table_says_why_behind_a_thousand_warnings(files):
    rules = [{"IpProtocol": "ANY", "Groups": [{"GroupName": f"g{n}"}]} for n in range(3000)]
    text = json.dumps({"SecurityGroupInfo": [{"IpPermissions": [*rules, {"IpProtocol": "SCTP"}]}]})
    refused(files, "nifcloud-json", text, "unknown protocol `SCTP`")
    done = run_tool("import", "--format", "nifcloud-json", files / "table")
    assert "2000 more findings are not shown, 0 of them errors" in done.out, done.out[-300:]


def test_xml_entities_and_bombs_are_refused(files):
    refused(files, "nifcloud-xml", '<!DOCTYPE r [<!ENTITY a "b">]><securityGroupInfo>&a;</securityGroupInfo>')
    refused(files, "nifcloud-xml", "<a>" * 100000)


def test_usage(files):
    (files / "table").write_text(rule_json())
    for args in (("import",), ("import", "--format", "csv", files / "table"), ("import", "--format", "iptables"),
                 ("import", "--format", "iptables", "--group", "x", files / "table"), ("export", "--format", "iptables"),
                 ("import", "--served", "--format", "iptables", files / "table")):
        assert run_tool(*args).returncode == 2, args
    for command in ("import", "export", "diff"):
        done = run_tool(command, "--help")
        assert done.returncode == 0 and "--format" in done.out
    assert run_tool("import", "--format", "iptables", files / "nothing").returncode == 78
    assert run_tool("diff", "--format", "nifcloud-json", files / "table", "-c", files / "nothing").returncode == 78


def blocks_of_readme(heading):
    """(command, what it prints) of the README's section, in order."""
    text = (REPOSITORY / "README.md").read_text()
    section = text[text.index(heading):]
    section = section[:section.index("\n## ", 1)]
    out = []
    for line in re.findall(r"^    (.*)$", section, re.M):
        if line.startswith("$ "):
            out.append((line[2:], []))
        elif out:
            out[-1][1].append(line)
    return [(command, "".join(line + "\n" for line in lines)) for command, lines in out]


def test_the_readme_s_path_from_the_router_s_table_to_a_denial(files):
    """Each command as printed, each output as printed; only places that belong to the machine are others."""
    (files / "bin").mkdir()
    (files / "ukai.conf").write_text(CONF.replace(CONF[CONF.index("[web-proxy agents]"):CONF.index("[dns lan]")], ""))
    (files / "table.json").write_bytes((REPOSITORY / "contrib/nifcloud/security-group.json").read_bytes())
    (files / "settings").write_text(f"FETCH='cat {files}/table.json'\nOPTIONS='--served --group webservers=192.168.2.0/24'\n"
                                    f"CONFIG={files}/ukai.conf\n")
    config = f"case \"$*\" in *' -c '*) ;; check*|diff*|explain*) set -- \"$@\" -c {files}/ukai.conf ;; esac\n"
    for name, script in (("ukai", f"{config}exec {os.path.abspath(BINARY)} \"$@\"\n"),
                         ("ukai-drift", f"exec {REPOSITORY}/contrib/nifcloud/ukai-drift {files}/settings\n")):
        (files / "bin" / name).write_text("#!/bin/sh\n" + script)
        (files / "bin" / name).chmod(0o755)
    places = {"/etc/ukai": str(files), "/etc/cron.d/ukai-drift": str(REPOSITORY / "contrib/nifcloud/ukai-drift.cron")}
    script, wanted = [], []
    for command, output in blocks_of_readme("## One truth with the router's firewall"):
        for place, ours in places.items():
            command = command.replace(place, ours)
        output = output.replace("/etc/ukai/", f"{files}/")
        script.append(command)
        wanted.append(f"{output}")
    assert len(script) >= 9
    env = {"PATH": f"{files}/bin:/usr/sbin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["sh", "-c", "\n".join(f"{line}\n{{ status=$?; echo ---; (exit $status); }} 2>&1" for line in script)], env=env, cwd=files,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.stdout.split("---\n")[:-1] == wanted
