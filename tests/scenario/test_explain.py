"""`ukai explain` as one JSON object, and asked of the running daemon."""
import collections
import concurrent.futures
import json
import random

import pytest

import dnswire
from client import exchange, read_exactly, whole_head
from daemon import Ukai, run_tool, sections
from scene import ECHO, ORIGIN, ORIGIN6, OUT_ROUTER, OUT_ROUTER6, wait_until

AGENTS = "agents.deepsecurity.trendmicro.com"
ACL = f"""[in]
tcp 8080 = 192.168.1.10 ; エージェント
udp 53 = 192.168.1.10
[group agents]
member = 192.168.1.10
[out]
deny = *.bad.example ; だめ
[out @agents]
allow = {AGENTS}:443 ; 更新
allow = 127.0.0.0/8:8443
"""


@pytest.fixture(scope="module")
def ukai(scene):
    with Ukai(scene, sections(), ACL) as daemon:
        yield daemon


def live(ukai, target, *args, source="192.168.1.10"):
    return run_tool("explain", "-c", ukai.conf_path, "--live", "--from", source, *args, target)


# before the daemon of the others is there

@pytest.mark.parametrize("bypass, target, code", [
    (OUT_ROUTER, f"[{ORIGIN6}]", 1), (OUT_ROUTER, ORIGIN, 0), (OUT_ROUTER6, f"[{ORIGIN6}]", 0), (OUT_ROUTER6, ORIGIN, 1),
    (OUT_ROUTER, "git.lab.example", 0),
])
def test_a_family_that_the_way_out_does_not_have(scene, bypass, target, code):
    """As the daemon does, asked live and offline."""
    config = sections()
    config["web-proxy lan"]["bypass-network"] = bypass
    with Ukai(scene, config, "[in]\ntcp 8080 = 192.168.1.10\n") as daemon:
        for extra in ("--live",), ("--no-resolve",):
            done = run_tool("explain", "-c", daemon.conf_path, *extra, "--from", "192.168.1.10", f"CONNECT {target}:443")
            assert done.returncode == code and ("bypass-network has no IPv" in done.out) == (code == 1), done.out
        sock = scene.dial()
        sock.sendall(f"CONNECT {target}:443 HTTP/1.1\r\n\r\n".encode())
        assert read_exactly(sock, 12) == (b"HTTP/1.1 200" if code == 0 else b"HTTP/1.1 502")


NAMES = ["v4.lab.example", "six.lab.example", "git.lab.example", "echo.lab.example", "nobody.lab.example", "localhost", AGENTS]
LITERALS = [ORIGIN, ECHO, f"[{ORIGIN6}]", "10.0.0.1", "127.0.0.1", "192.168.1.254", "[::1]", "[::ffff:10.0.0.1]"]
PATTERNS = ["*", "*.lab.example", ".lab.example", "v4.lab.example", "git.lab.example:443", "*.trendmicro.com:443", "203.0.113.0/24",
            f"{ORIGIN}:80", "203.0.113.11-203.0.113.99", "[2001:db8:f::/48]:443", "2001:db8:f::/48", "10.0.0.0/8:443", "*:{80,443}"]


def random_acl(rng):
    """Lines of [out] and of two groups, one of which both hosts are in."""
    def lines():
        return "".join(f"{rng.choice(['allow', 'allow', 'deny'])} = {rng.choice(PATTERNS)}\n" for _ in range(rng.randrange(4)))

    acl = ("[in]\ntcp 8080 = 192.168.1.10\ntcp 8080 = 192.168.1.20\nudp 53 = 192.168.1.10, 192.168.1.20\ntcp 53 = 192.168.1.10\n[group one]\nmember = 192.168.1.10\n"
           f"[group all]\nmember = 192.168.1.0/24\n[out]\n{lines()}")
    return acl + "".join(f"[out @{group}]\n{text}" for group in ("one", "all") if (text := lines()))


def random_question(rng):
    if rng.random() < 0.2:
        return f"{rng.choice(['DNS', 'DNS/tcp'])} {rng.choice(NAMES)}"
    host = rng.choice(NAMES + 2 * LITERALS)
    if rng.random() < 0.6:
        return f"CONNECT {host}:{rng.choice([443, 443, 8443, 25])}"
    return f"GET http://{host}{rng.choice(['', ':80', ':8081'])}/"


def answered_by_dns(scene, host, name, is_tcp):
    """Silence, a closed connection and REFUSED are a no; any other answer is one."""
    wire = dnswire.query(name)
    try:
        if is_tcp:
            with scene.dial(host=host, port=53) as sock:
                sock.sendall(len(wire).to_bytes(2, "big") + wire)
                answer = sock.recv(4096)[2:]
        else:
            sock = scene.udp(host=host, timeout=1)
            sock.send(wire)
            answer = sock.recv(4096)
    except (TimeoutError, ConnectionError):
        return 3
    return 3 if not answer or dnswire.Message(answer).rcode == dnswire.REFUSED else 0


def answered(scene, host, question):
    """What the daemon makes of it, as `explain` would end: 0 it is dialled, 3 refused, 1 there is nowhere to go."""
    method, target = question.split(" ")
    if method.startswith("DNS"):
        return answered_by_dns(scene, host, target, method == "DNS/tcp")
    with scene.dial(host=host) as sock:
        reply = exchange(sock, f"{method} {target} HTTP/1.1\r\nHost: x.example\r\n\r\n".encode(), stop=whole_head)
    if not reply.raw or reply.status == 403:  # closed at accept, or told
        return 3
    status = ", ".join(reply.fields.get("proxy-status", []))
    assert reply.status in (200, 404, 502, 504), reply
    return 1 if "error=dns_error" in status or "destination_ip_unroutable" in status else 0


@pytest.mark.limit(120)
@pytest.mark.parametrize("seed", range(3))
def test_random_questions_end_as_the_daemon_ends_them(scene, oracle, seed):
    """Literals and names of both families, ports, groups, guard and way out: told by `explain --live`, and done."""
    oracle.allowed.add("10.0.0.1")  # a line of some files opens it
    rng = random.Random(seed)
    config = sections()
    config["web-proxy lan"].update({"connect-ports": "443, 8443", "http-ports": "80, 8081"})
    if seed > 0:
        config["web-proxy lan"]["bypass-network"] = OUT_ROUTER
    ends = collections.Counter()
    with Ukai(scene, config, random_acl(rng)) as daemon:
        for n in range(150):
            if n % 10 == 9:
                daemon.reload(acl=random_acl(rng))
            number, question = rng.choice([10, 10, 10, 20, 20, 30]), random_question(rng)
            told = live(daemon, question, source=f"192.168.1.{number}")
            done = answered(scene, getattr(scene, f"host{number}"), question)
            assert told.returncode == done, (seed, n, number, question, done, told.out, daemon.acl_path.read_text())
            ends[done] += 1
    assert min(ends[code] for code in (0, 3)) > 5, ends


def test_a_daemon_that_stops_meanwhile(scene):
    """A question that waits for a silent name server does not hold the daemon up."""
    with Ukai(scene, sections(name_server="203.0.113.250", timeouts={"dns": "20s"}), ACL) as daemon:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(live, daemon, f"CONNECT {AGENTS}:443")
            wait_until(lambda: "203.0.113.250" in daemon.space.run(["ss", "-Hun"]).stdout)
            daemon.stop()
            assert asked.result().returncode == 1


def test_json_has_the_rule_of_each_step(ukai):
    done = run_tool("explain", "-c", ukai.conf_path, "--json", "--no-resolve", "--from", "192.168.1.10",
                    f"CONNECT {AGENTS}:443")
    told = json.loads(done.out)
    assert done.returncode == told["exit"] == 0 and told["verdict"] == "allowed"
    (listener,) = told["listeners"]
    assert (listener["name"], listener["protocol"], listener["port"], listener["verdict"]) == ("lan", "tcp", 8080, "allowed")
    steps = {step["step"]: step for step in listener["steps"]}
    assert steps["source"]["rule"] == {"file": "acl.conf", "line": 2, "text": "tcp 8080 = 192.168.1.10", "memo": "エージェント"}
    assert steps["name"]["verdict"] == "allow" and steps["name"]["rule"]["memo"] == "更新"


@pytest.mark.parametrize("target, words", [
    ("DNS localhost", "special name"), ("DNS x.invalid AAAA", "special name"), ("DNS 1.1.168.192.in-addr.arpa PTR", "special name"),
    ("DNS www.example TYPE65", None), ("DNS/tcp", None),
])
def test_who_answers_for_special_names(scene, target, words):
    idle = Ukai(scene, sections(), "[in]\nudp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\n")
    done = run_tool("explain", "-c", idle.conf_path, "--no-resolve", "--from", "192.168.1.10", target)
    assert done.returncode == 0 and ("special name" in done.out) == bool(words), done.out


@pytest.mark.parametrize("target", ["DNS bad.example good.example", "DNS a.example A junk", "DNS a.example TYPE65536", "DNS a..b"])
def test_what_is_no_question_is_a_usage_error(ukai, target):
    done = run_tool("explain", "-c", ukai.conf_path, "--from", "192.168.1.10", target)
    assert done.returncode == 2, done.out


def test_live_resolves_by_the_daemon(scene, ukai):
    """No name server is reachable from outside of the router: only the daemon can have asked."""
    done = live(ukai, f"CONNECT {AGENTS}:443")
    assert done.returncode == 0, done.out
    assert "203.0.113." in done.out and "leaves    by interface out0" in done.out, done.out
    told = json.loads(live(ukai, f"CONNECT {AGENTS}:443", "--json").out)
    addresses = [step for step in told["listeners"][0]["steps"] if step["step"] == "address"]
    assert addresses and all(step["verdict"] == "allow" for step in addresses)


def test_live_is_by_the_rules_in_force(scene, ukai):
    ukai.write(acl=ACL.replace("192.168.1.10 ;", "192.168.1.11 ;"))
    assert live(ukai, f"CONNECT {AGENTS}:443").returncode == 0
    assert run_tool("explain", "-c", ukai.conf_path, "--no-resolve", "--from", "192.168.1.10",
                    f"CONNECT {AGENTS}:443").returncode == 3
    ukai.write(acl=ACL)


@pytest.mark.parametrize("target, words", [
    ("CONNECT x.bad.example:443", "acl.conf:7"),
    ("CONNECT other.example:443", "no allow line of [out @agents] matches"),
    ("CONNECT 127.0.0.1:8080", "8080 is not in connect-ports"),
    ("DNS x.bad.example", "だめ"),
], ids=range(4))
def test_live_names_what_refuses(ukai, target, words):
    done = live(ukai, target)
    assert done.returncode == 3 and words in done.out, done.out


def test_the_phrase_names_the_group_too(scene, ukai):
    reply = exchange(scene.dial(), b"CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.status == 403 and reply.reason == "Forbidden, no allow line of [out @agents] matches", reply


def test_bad_questions(ukai):
    assert live(ukai, "CONNECT x", source="192.168.1.10").returncode == 2
    assert live(ukai, "DNS x.example", source="192.168.1").returncode == 2
    assert live(ukai, "DNS x.example", "--listener", "none").returncode == 2
    done = run_tool("explain", "--socket", ukai.dir / "nobody.sock", "--from", "192.168.1.10", "DNS x.example")
    assert done.returncode == 1 and "no answer" in done.out, done.out
