"""The ways to a name server: one TCP connection for many questions, DNS over TLS that proves itself, signed queries.

The peers are an unbound that speaks TLS, and servers of our own that break off, stall, count connections and say
whether a session was resumed. What is claimed is what the name server saw and what the client got. Numbers are those
of the DNS checklist.
"""
import os
import shutil
import socket
import struct
import subprocess

import pytest

import dnsstream
import dnswire
import tlsfiles
from daemon import Ukai, sections
from dnspeers import Load, Unbound, start_authority
from dnsscript import Asker, ScriptServer, build, ede, framed, read_message
from dnswire import A, OPT, SERVFAIL, Message, query
from scene import LAN_ROUTER, ORIGIN, wait_until

FIRST, SECOND, SCRIPT = "203.0.113.99", "203.0.113.12", "203.0.113.11"
NAME = "dns.lab.example"
AGENT = "agents.deepsecurity.trendmicro.com"
ACL = """[in]
udp 53 = 192.168.1.0/24
tcp 53 = 192.168.1.0/24
"""


@pytest.fixture(scope="module")
def certs(scene):
    """Directories by what is in them: good, other name, expired, of a stranger's CA, by address."""
    home = scene.dir / "dot"
    home.mkdir()
    tlsfiles.make_all(home, NAME, SECOND)
    return home


@pytest.fixture(scope="module")
def authority(scene):
    process = start_authority(scene)
    yield process
    process.terminate()
    process.wait(10)


def tls_unbound(scene, certs, address):
    one = Unbound(scene, address, f"""  interface: {address}@853
  tls-service-key: "{certs}/good/origin.key"
  tls-service-pem: "{certs}/good/origin.pem"
  extended-statistics: yes
""")
    return one


def daemon(scene, certs, servers, name="dot", **changes):
    changes.setdefault("timeouts", {"dns": "4s"})
    return Ukai(scene, sections(servers, **changes), ACL, name=name,
                env={"SSL_CERT_FILE": str(certs / "good" / "ca.pem"), "SSL_CERT_DIR": "/nonexistent"})


def dot(address, name=NAME):
    return f"tls://{address}#{name}"


def ask(scene, name, qtype=A, timeout=8, **how):
    return Asker(scene).udp(query(name, qtype, edns=dnswire.opt(), **how), timeout=timeout)


# DNS over TLS


def test_B4_39_unbound_over_tls(scene, certs, authority):
    unbound = tls_unbound(scene, certs, FIRST).start()
    try:
        with daemon(scene, certs, dot(FIRST)), \
                scene.capture(scene.outer, "eth0", f"host {FIRST} and (port 53 or port 853)") as seen:
            assert ask(scene, AGENT).addresses() == [ORIGIN]
            assert len(ask(scene, "big.lab.example", dnswire.TXT).wire) > 12
        assert seen.lines("port 53") == [] and seen.lines("tcp port 853"), seen.lines()
        assert b"deepsecurity" not in b"".join(seen.payloads(853))
    finally:
        unbound.stop()
