"""DNS with software that others wrote: nsd behind two unbounds, asked by dig, kdig, drill, libc and dnsperf.

The last ones break one of two name servers under load. What is claimed is what a client sees.
"""
import os
import re
import time

import pytest

from daemon import Ukai, sections
from dnspeers import Load, Unbound, start_authority
from dnsscript import Asker
from dnswire import query
from scene import LAN_ROUTER, LAN_ROUTER6, ORIGIN, ORIGIN6, wait_until

FIRST, SECOND = "203.0.113.99", "203.0.113.12"
AGENT = "agents.deepsecurity.trendmicro.com"
ACL = """[in]
udp 53 = 192.168.1.0/24
tcp 53 = 192.168.1.0/24
udp 53 = 2001:db8:1::/64
tcp 53 = 2001:db8:1::/64
"""
RATE = 400


@pytest.fixture(scope="module")
def recursors(scene):
    authority = start_authority(scene)
    pair = [Unbound(scene, address).start() for address in (FIRST, SECOND)]
    yield pair
    for one in pair:
        one.stop()
    authority.terminate()
    authority.wait(10)


@pytest.fixture(scope="module")
def ukai(scene, recursors):
    config = sections(f"{FIRST}, {SECOND}", timeouts={"dns": "3s"})
    with Ukai(scene, config, ACL, name="peers") as daemon:
        yield daemon


@pytest.fixture
def libc(scene):
    """host10 and host20 use the router as /etc/resolv.conf says."""
    for host in (scene.host10, scene.host20):
        os.makedirs(f"/etc/netns/{host.name}", exist_ok=True)
        with open(f"/etc/netns/{host.name}/resolv.conf", "w") as file:
            file.write(f"nameserver {LAN_ROUTER}\noptions timeout:2 attempts:2\n")
        with open(f"/etc/netns/{host.name}/nsswitch.conf", "w") as file:
            file.write("hosts: dns\n")


# clients

DIG = [([], "A", ORIGIN), (["+tcp"], "A", ORIGIN), (["+dnssec"], "AAAA", ORIGIN6), (["+noedns"], "A", ORIGIN),
       (["+cookie", "+nsid", "+subnet=192.0.2.0/24"], "A", ORIGIN), (["+bufsize=4096", "+cdflag"], "A", ORIGIN)]


@pytest.mark.parametrize("options, qtype, wanted", DIG, ids=[" ".join(d[0]) or "plain" for d in DIG])
def test_dig(scene, ukai, options, qtype, wanted):
    done = scene.host10.run(["dig", f"@{LAN_ROUTER}", "+tries=1", *options, AGENT, qtype])
    assert "status: NOERROR" in done.stdout and wanted in done.stdout, done.stdout
    assert "WARNING" not in done.stdout and "malformed" not in done.stdout.lower(), done.stdout


def test_dig_falls_back_to_tcp(scene, ukai):
    done = scene.host20.run(["dig", f"@{LAN_ROUTER}", "+tries=1", "big.lab.example", "TXT"])
    assert "retrying in TCP mode" in done.stdout and done.stdout.count("xxxx\"") == 20, done.stdout


def test_dig_by_ipv6(scene, ukai):
    done = scene.host10.run(["dig", f"@{LAN_ROUTER6}", "+short", "+tries=1", AGENT])
    assert done.stdout.split() == [ORIGIN]


def test_dig_keeps_the_connection(scene, ukai):
    done = scene.host10.run(["dig", f"@{LAN_ROUTER}", "+tcp", "+keepopen", "+short", AGENT, "v4.lab.example",
                             "ssh.lab.example"])
    assert done.stdout.split() == [ORIGIN, ORIGIN, "203.0.113.11"]


@pytest.mark.parametrize("options", [[], ["+tcp"], ["+dnssec", "+bufsize=1232"], ["+padding=128"], ["+nsid"],
                                     ["+tcp", "+keepopen"]], ids=lambda o: " ".join(o) or "plain")
def test_kdig(scene, ukai, options):
    done = scene.host10.run(["kdig", f"@{LAN_ROUTER}", *options, AGENT, "A"])
    assert "status: NOERROR" in done.stdout and ORIGIN in done.stdout, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr, done.stdout + done.stderr


def test_kdig_sees_unknown_types_whole(scene, ukai):
    done = scene.host10.run(["kdig", f"@{LAN_ROUTER}", "odd.lab.example", "TYPE65280"])
    assert "DEADBEEF" in done.stdout.upper(), done.stdout


@pytest.mark.parametrize("options", [[], ["-t"], ["-D"], ["-b", "1232"]], ids=lambda o: " ".join(o) or "plain")
def test_drill(scene, ukai, options):
    done = scene.host10.run(["drill", *options, AGENT, f"@{LAN_ROUTER}"])
    assert "rcode: NOERROR" in done.stdout and ORIGIN in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("host", ["host10", "host20"])
def test_libc_of_the_servers(scene, ukai, libc, host):
    space = getattr(scene, host)
    found = space.run(["getent", "ahosts", AGENT]).stdout
    assert ORIGIN in found and ORIGIN6 in found, found
    assert ORIGIN in space.run(["getent", "ahostsv4", "alias.lab.example"]).stdout
    assert space.run(["getent", "ahosts", "nope.lab.example"]).returncode == 2
    assert space.run(["getent", "ahostsv6", "v4.lab.example"]).stdout.split()[:1] in ([], ["::ffff:" + ORIGIN])


@pytest.mark.parametrize("mode", ["udp", "tcp"])
def test_dnsperf_gets_every_answer(scene, ukai, mode):
    load = Load(scene, [AGENT, "v4.lab.example", "alias.lab.example", "nope.example", "big.lab.example"], 1, 2000,
                mode=mode).end()
    assert load.lost == 0 and set(load.codes) == {"NOERROR", "NXDOMAIN"} and load.completed > 500, load.text[-1500:]


# one of two name servers breaks

def fresh_names(tag):
    """Names that nobody has in a cache: every query has to go up."""
    return [f"{tag}{i}.lab.example" for i in range(20_000)]


def under_load(scene, tag, seconds, break_it, mend_it=None, mend_at_s=1.5):
    """dnsperf all along; the break comes after 0.5 s. NXDOMAIN is the right answer to these names."""
    load = Load(scene, fresh_names(tag), seconds, RATE)
    time.sleep(0.5)
    break_it()
    if mend_it:
        time.sleep(mend_at_s)
        mend_it()
    return load.end(), seconds


def no_failure_seen(load, seconds):
    assert load.completed > 0.8 * RATE * seconds, load.text[-1500:]
    assert load.lost == 0 and set(load.codes) == {"NXDOMAIN"}, (load.lost, load.codes)


@pytest.mark.parametrize("which", [0, 1])
def test_U18_killed_and_started_again(scene, ukai, recursors, which):
    load, seconds = under_load(scene, f"kill{which}x", 3, recursors[which].kill, recursors[which].start, 1.5)
    no_failure_seen(load, seconds)
    assert load.longest_s < 1.5


@pytest.mark.parametrize("which", [0, 1])
def test_U18_blackholed_and_revived(scene, ukai, recursors, which):
    address = recursors[which].address
    load, seconds = under_load(scene, f"hole{which}x", 3, lambda: scene.hold(address), lambda: scene.release(address))
    no_failure_seen(load, seconds)
    assert load.longest_s < 1.5


def test_U18_flapping(scene, ukai, recursors):
    def flap():
        for _ in range(4):
            scene.hold(FIRST)
            time.sleep(0.35)
            scene.release(FIRST)
            time.sleep(0.35)
    no_failure_seen(*under_load(scene, "flap", 4, flap))


def test_U18_the_first_is_used_again_within_two_seconds(scene, ukai, recursors):
    """Held until it counts as down; from its return on it must be asked first again."""
    with scene.capture(scene.outer, "eth0", f"udp dst port 53 and dst host {FIRST}") as seen:
        scene.hold(FIRST)
        load = Load(scene, fresh_names("back"), 4, RATE)
        time.sleep(1.5)
        scene.release(FIRST)
        no_failure_seen(load.end(), 4)
    n = sum("back" in line for line in seen.lines())
    assert n > 0.5 * RATE, f"only {n} queries reached the first name server in 2.5 s after its return"


def test_U18_both_gone_and_one_back(scene, ukai, recursors):
    """SERVFAIL while nobody lives, cached names all the while, and an answer within two seconds of a return."""
    def rcode(name):
        done = scene.host10.run(["dig", f"@{LAN_ROUTER}", "+tries=1", "+time=5", name])
        found = re.search(r"status: (\w+)", done.stdout)
        return found and found[1]

    for _ in range(24):               # each worker has a cache of its own
        assert Asker(scene).udp(query(AGENT)).rcode == 0
    for address in (FIRST, SECOND):
        scene.hold(address)
    try:
        began = time.monotonic()
        assert rcode("gone1.lab.example") == "SERVFAIL" and time.monotonic() - began < 4.5
        began = time.monotonic()
        assert rcode(AGENT) == "NOERROR" and time.monotonic() - began < 0.5, "a cached name waited"
    finally:
        for address in (SECOND, FIRST):
            scene.release(address)
    began = time.monotonic()
    wait_until(lambda: rcode(f"again{time.monotonic_ns()}.lab.example") == "NXDOMAIN", what="an answer")
    assert time.monotonic() - began < 2
