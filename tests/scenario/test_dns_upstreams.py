"""The ways to a name server: one TCP connection for many questions, DNS over TLS that proves itself, signed queries.

The peers are an unbound that speaks TLS, and servers of our own that break off, stall, count connections and say
whether a session was resumed. What is claimed is what the name server saw and what the client got. Numbers are those
of the DNS checklist.
"""
import itertools
import ssl
import struct
import time

import pytest

import dnswire
import tlsfiles
from daemon import Ukai, run_tool, sections
from dnspeers import Load, Unbound, start_authority
from dnsscript import Asker, ScriptServer, a, build, ede, framed, options, read_message
from dnsstream import StreamServer, answer_all, right, tls_context
from dnswire import A, NOERROR, SERVFAIL, TXT, Message, query
from scene import ORIGIN, wait_until

FIRST, SECOND = "203.0.113.99", "203.0.113.12"
NAME = "dns.lab.example"
AGENT = "agents.deepsecurity.trendmicro.com"
ACL = """[in]
udp 53 = 192.168.1.0/24
tcp 53 = 192.168.1.0/24
"""
PADDING, NO_REACHABLE, NETWORK_ERROR, TSIG, SIG, TKEY = 12, 22, 23, 250, 24, 249
_numbers = itertools.count(1)


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
    changes.setdefault("process", {"workers": "1", "sandbox": "on"})
    return Ukai(scene, sections(servers, **changes), ACL, name=name,
                env={"SSL_CERT_FILE": str(certs / "good" / "ca.pem"), "SSL_CERT_DIR": "/nonexistent"})


def dot(address, name=NAME):
    return f"tls://{address}#{name}"


def fresh():
    return f"u{next(_numbers)}.up.example"


def ask(scene, name=None, qtype=A, timeout=10):
    return Asker(scene).udp(query(name or fresh(), qtype, edns=dnswire.opt()), timeout=timeout)


def tls_server(scene, certs, address=FIRST, kind="good", **how):
    return StreamServer(scene.outer, address, 853, context=tls_context(certs / kind), **how)


def seen_by(server):
    """What a ScriptServer was asked for clients, not to find loops."""
    return [x for x in list(server.notes) if not x.asked.questions[0][0].lower().endswith(".ukai-loop")]


def many_by_tcp(scene, names, timeout=10):
    """All of them at once over one connection; the answers by id."""
    sock = scene.dial(port=53, timeout=timeout)
    sock.sendall(b"".join(framed(query(name, ident=i)) for i, name in enumerate(names)))
    return {reply.id: reply for reply in (Message(read_message(sock)) for _ in names)}


# DNS over TLS: whom it believes


def test_B4_39_unbound_over_tls(scene, certs, authority):
    unbound = tls_unbound(scene, certs, FIRST).start()
    try:
        with daemon(scene, certs, dot(FIRST)), \
                scene.capture(scene.outer, "eth0", f"host {FIRST} and (port 53 or port 853)") as seen:
            assert ask(scene, AGENT).addresses() == [ORIGIN]
            assert ask(scene, "big.lab.example", TXT).tc
            assert len(many_by_tcp(scene, ["big.lab.example"])[0].wire) == 12 + len(
                many_by_tcp(scene, ["big.lab.example"])[0].wire[12:])
        assert seen.lines("port 53") == [] and seen.lines("tcp port 853"), seen.lines()
        assert b"deepsecurity" not in b"".join(seen.payloads(853))
    finally:
        unbound.stop()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_B4_39_versions_and_alpn(scene, certs, version):
    server = StreamServer(scene.outer, FIRST, 853, context=tls_context(certs / "good", version, version))
    with server, daemon(scene, certs, dot(FIRST)):
        assert ask(scene).rcode == NOERROR
        assert server.connections[0].alpn == "dot"
        assert server.connections[0].version == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_B4_39_tls_1_1_is_too_old(scene, certs):
    context = tls_context(certs / "good")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with StreamServer(scene.outer, FIRST, 853, context=context) as server, daemon(scene, certs, dot(FIRST)):
        reply = ask(scene)
        assert reply.rcode == SERVFAIL and ede(reply) == [NETWORK_ERROR] and server.n_queries == 0


def test_B4_39_name_may_be_an_address(scene, certs):
    with tls_server(scene, certs, SECOND, "literal") as server, daemon(scene, certs, dot(SECOND, SECOND)):
        assert ask(scene).rcode == NOERROR and server.n_queries == 1


BAD = {"other": ("good", "hostname mismatch"), "expired": ("good", "certificate has expired"),
       "stranger": ("good", "self-signed certificate in certificate chain|unable to get local issuer"),
       "literal": ("good", "hostname mismatch")}


@pytest.mark.parametrize("kind", BAD)
def test_B4_39_untrusted_is_not_asked(scene, certs, kind):
    """Nothing of the query leaves, neither in TLS nor in cleartext; the log says what is wrong, and EDE the class."""
    with tls_server(scene, certs, kind=kind) as server, daemon(scene, certs, dot(FIRST)) as ukai, \
            scene.capture(scene.outer, "eth0", f"host {FIRST}") as seen:
        name = fresh()
        began = time.monotonic()
        reply = ask(scene, name)
        assert reply.rcode == SERVFAIL and ede(reply) == [NETWORK_ERROR]
        assert time.monotonic() - began < 3, "a certificate that is wrong now is not waited on"
        ukai.wait_log(r'level=warning.*server=203\.0\.113\.99:853.*reason=tls.*detail="(' + BAD[kind][1] + ")"
                      if "level=" in "".join(ukai.lines) else r'reason=tls.*detail="(' + BAD[kind][1] + ")")
        for _ in range(5):
            assert ask(scene).rcode == SERVFAIL
        assert sum("reason=tls" in line for line in ukai.lines) == 1, "one line a minute"
    assert server.n_queries == 0
    assert not seen.lines("udp or port 53") and b"up" not in b"".join(c.raw for c in server.connections)


def test_B4_39_no_cleartext_to_a_server_that_has_no_tls(scene, certs):
    """What arrives at a port 853 that speaks plain DNS is a ClientHello and nothing of the question."""
    got = []

    def listen(connection):
        got.append(connection.sock.recv(4096))
        connection.sock.sendall(framed(b"\0" * 40))
        connection.sock.recv(4096)

    with StreamServer(scene.outer, FIRST, 853, on_accept=listen), daemon(scene, certs, dot(FIRST)), \
            scene.capture(scene.outer, "eth0", f"host {FIRST}") as seen:
        name = fresh()
        assert ask(scene, name).rcode == SERVFAIL
    assert got and all(first[:1] == b"\x16" and name.split(".")[0].encode() not in first for first in got)
    assert not seen.lines("udp or port 53")


def test_B4_39_mixed_group_goes_on_in_the_order_given(scene, certs):
    """tls:// first and untrusted, a plain one behind it: the admin listed both, so the second is asked."""
    plain = ScriptServer(scene.outer, SECOND)
    try:
        with tls_server(scene, certs, kind="other") as server, daemon(scene, certs, f"{dot(FIRST)}, {SECOND}"):
            for _ in range(3):
                assert ask(scene).rcode == NOERROR
            assert server.n_queries == 0 and len(seen_by(plain)) == 3
    finally:
        plain.stop()


def test_B4_39_stalled_tls_counts_as_dead(scene, certs):
    """It accepts and says nothing. The next server answers, soon at once; alone it is SERVFAIL with "not reachable"."""
    def stall(connection):
        while connection.sock.recv(4096):
            pass

    plain = ScriptServer(scene.outer, SECOND)
    try:
        with StreamServer(scene.outer, FIRST, 853, on_accept=stall) as server:
            with daemon(scene, certs, f"{dot(FIRST)}, {SECOND}") as ukai:
                for _ in range(5):
                    assert ask(scene).rcode == NOERROR
                ukai.wait_log("name server is down.*reason=timeout")
                began = time.monotonic()
                assert ask(scene).rcode == NOERROR and time.monotonic() - began < 0.3
            with daemon(scene, certs, dot(FIRST), timeouts={"dns": "2s"}):
                reply = ask(scene)
                assert reply.rcode == SERVFAIL and ede(reply) == [NO_REACHABLE]
                many_by_tcp(scene, [fresh() for _ in range(20)])
            assert len(server.connections) < 12, "a connection a question"
    finally:
        plain.stop()


def test_B4_39_queries_are_padded_and_padding_is_taken(scene, certs):
    def pad(connection, asked):
        body = b"\x00\x0c\x01\x00" + b"\xff" * 256
        opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, len(body)) + body
        connection.send(build(asked, [a()], extra=[opt], opt=False))

    with tls_server(scene, certs, handler=pad) as server, daemon(scene, certs, dot(FIRST)):
        for length in (1, 20, 60):
            assert ask(scene, "p" * length + fresh()).rcode == NOERROR
        queries = server.connections[0].queries
        assert len(queries) == 3
        assert all(len(q.wire) % 128 == 0 and PADDING in options(q) for q in queries), [len(q.wire) for q in queries]


def test_B3_30_no_padding_in_cleartext(scene, certs):
    plain = ScriptServer(scene.outer, FIRST)
    try:
        with daemon(scene, certs, FIRST):
            names = [fresh(), fresh()]
            ask(scene, names[0])
            many_by_tcp(scene, names[1:])
        assert sorted(x.transport for x in seen_by(plain)) == ["tcp", "udp"]
        assert not any(PADDING in options(x.asked) for x in seen_by(plain))
    finally:
        plain.stop()


def test_B4_39_sessions_are_resumed(scene, certs):
    """The server ends each connection after its answer; from the second on the session is the old one."""
    def once(connection, asked):
        answer_all(connection, asked)
        StreamServer.hang_up(connection)

    with tls_server(scene, certs, handler=once) as server, daemon(scene, certs, dot(FIRST)):
        for n in range(1, 5):
            assert ask(scene).rcode == NOERROR
            wait_until(lambda: len([c for c in server.connections if c.is_closed]) == n)
        assert [c.is_resumed for c in server.connections] == [False, True, True, True]


def test_check_names_a_store_without_certificates(scene, certs):
    ukai = daemon(scene, certs, dot(FIRST))
    empty = {"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": str(scene.dir)}
    done = run_tool("check", "-c", ukai.conf_path, env=empty)
    assert "warning: name-server: no CA certificate can be read" in done.out and "SSL_CERT_FILE" in done.out, done.out
    assert done.returncode == 0
    done = run_tool("check", "-c", ukai.conf_path, env=ukai.env)
    assert "CA certificate" not in done.out, done.out


def test_zones_and_signed_queries_over_tls(scene, certs):
    """A zone's server is asked by TLS, for a signed query too; all other names go where they always went."""
    plain = ScriptServer(scene.outer, SECOND)
    try:
        with tls_server(scene, certs) as server:
            config = sections(SECOND, process={"workers": "1"}, timeouts={"dns": "4s"},
                              dns_zones={"zone": f"up.example {dot(FIRST)}"})
            with Ukai(scene, config, ACL, name="zone", env=daemon(scene, certs, SECOND).env):
                assert ask(scene).rcode == NOERROR
                assert len(Asker(scene).udp(signed(fresh())).answers) == 1
                assert server.n_queries == 2 and seen_by(plain) == []
                assert ask(scene, plain.name()).rcode == NOERROR and len(seen_by(plain)) == 1
    finally:
        plain.stop()


def test_explain_resolves_over_tls(scene, certs):
    with tls_server(scene, certs) as server:
        ukai = daemon(scene, certs, dot(FIRST))
        ukai.write(acl=ACL + "tcp 8080 = 192.168.1.0/24\n")
        done = run_tool("explain", "-c", ukai.conf_path, "--from", "192.168.1.10", "CONNECT www.up.example:443",
                        env=ukai.env, netns=scene.router)
        assert "198.51.100.1" in done.out and server.n_queries > 0, done.out


def test_web_proxy_resolves_over_tls(scene, certs):
    """The listener's own name servers; a tunnel whose name cannot be asked for is a 502, not a way around."""
    acl = ACL + "tcp 8080 = 192.168.1.0/24\n"
    for kind, wanted in (("good", b"HTTP/1.1 200"), ("other", b"HTTP/1.1 502")):
        def origin(connection, asked):
            connection.send(build(asked, [a(ORIGIN)] if asked.questions[0][1] == A else [], authority=[dnswire.soa()]))

        with tls_server(scene, certs, kind=kind, handler=origin) as server:
            ukai = daemon(scene, certs, dot(FIRST))
            ukai.write(acl=acl)
            with ukai:
                sock = scene.dial()
                sock.sendall(b"CONNECT www.up.example:443 HTTP/1.1\r\nHost: www.up.example:443\r\n\r\n")
                assert sock.recv(100).startswith(wanted)
        assert (server.n_queries > 0) == (kind == "good")


# connections


@pytest.fixture(params=["tcp", "tls"])
def kind(request):
    return request.param


def server_of(scene, certs, kind, **how):
    if kind == "tls":
        return tls_server(scene, certs, **how)
    return StreamServer(scene.outer, FIRST, 53, **how)


def servers_of(kind):
    return dot(FIRST) if kind == "tls" else FIRST


def test_B4_38_one_connection_carries_many_questions(scene, certs, kind):
    n = 40
    with server_of(scene, certs, kind) as server, daemon(scene, certs, servers_of(kind)):
        replies = many_by_tcp(scene, [fresh() for _ in range(n)])
        assert len(replies) == n and all(r.rcode == NOERROR for r in replies.values())
        assert server.n_queries == n and len(server.connections) == 1
        ids = [q.id for q in server.connections[0].queries]
        assert len(set(ids)) == n


def test_B4_38_answers_come_in_any_order(scene, certs, kind):
    held = []

    def reversed_(connection, asked):
        held.append(asked)
        if len(held) == 20:
            for one in reversed(held):
                address = "198.51.100." + one.questions[0][0][1:].split(".")[0][-2:].lstrip("0")
                connection.send(build(one, [a(address)]))

    with server_of(scene, certs, kind, handler=reversed_) as server, daemon(scene, certs, servers_of(kind)):
        names = [f"n{i}.order{next(_numbers)}.example" for i in range(10, 30)]
        replies = many_by_tcp(scene, names)
        assert [replies[i].addresses() for i in range(20)] == [[f"198.51.100.{i}"] for i in range(10, 30)]
        assert len(server.connections) == 1


@pytest.mark.parametrize("after", [1, 3])
def test_B4_38_server_closes_after_a_few_answers(scene, certs, kind, after):
    """What it leaves unanswered is asked again on a fresh connection, until all is answered."""
    def few(connection, asked):
        answer_all(connection, asked)
        if len(connection.queries) == after:
            StreamServer.hang_up(connection)

    n = 12
    with server_of(scene, certs, kind, handler=few) as server, daemon(scene, certs, servers_of(kind)):
        replies = many_by_tcp(scene, [fresh() for _ in range(n)])
        assert len(replies) == n and all(r.rcode == NOERROR for r in replies.values())
        assert n // after <= len(server.connections) <= n + 2


def test_B4_38_tries_are_bounded(scene, certs, kind):
    """It takes every query and closes: three connections for a question, not one after the other without end."""
    with server_of(scene, certs, kind, handler=lambda c, q: StreamServer.hang_up(c)) as server, \
            daemon(scene, certs, servers_of(kind)):
        replies = many_by_tcp(scene, [fresh()])
        assert replies[0].rcode == SERVFAIL and 1 <= len(server.connections) <= 3


@pytest.mark.parametrize("cut", [1, 2, 3, 13, 40])
def test_B4_38_cut_at_byte(scene, certs, kind, cut):
    """Half an answer and the end is no answer: the next try gets the whole one."""
    def half(connection, asked):
        if len(server.connections) == 1:
            connection.sock.sendall(framed(right(asked))[:cut])
            StreamServer.hang_up(connection)
        else:
            answer_all(connection, asked)

    with server_of(scene, certs, kind, handler=half) as server, daemon(scene, certs, servers_of(kind)):
        replies = many_by_tcp(scene, [fresh()])
        assert replies[0].rcode == NOERROR and len(server.connections) == 2


def test_B4_38_idle_connections_are_closed_by_us(scene, certs, kind):
    with server_of(scene, certs, kind) as server, daemon(scene, certs, servers_of(kind)):
        many_by_tcp(scene, [fresh()])
        began = time.monotonic()
        wait_until(lambda: server.connections[0].is_closed, deadline_s=30, what="closed")
        assert 5 < time.monotonic() - began < 25


def test_B5_43_wrong_ids_and_questions_are_ignored(scene, certs, kind):
    def forging(connection, asked):
        connection.send(build(asked, [a("6.6.6.6")], ident=asked.id ^ 1))
        connection.send(build(asked, [a("6.6.6.6")], question=dnswire.question("evil.example")))
        connection.send(build(asked, [a("6.6.6.6")], question=b"", n_questions=0))
        answer_all(connection, asked)

    with server_of(scene, certs, kind, handler=forging) as server, daemon(scene, certs, servers_of(kind)):
        for reply in many_by_tcp(scene, [fresh() for _ in range(3)]).values():
            assert reply.addresses() == ["198.51.100.1"]
        assert len(server.connections) == 1


def test_B4_36_U08_truncated_by_stream_is_a_failure(scene, certs, kind):
    with server_of(scene, certs, kind, handler=lambda c, q: c.send(build(q, flags=0x8380))) as server, \
            daemon(scene, certs, servers_of(kind)):
        assert many_by_tcp(scene, [fresh()])[0].rcode == SERVFAIL and server.n_queries <= 3


def test_B4_36_truncated_udp_shares_a_connection(scene, certs):
    """Twenty truncated answers, asked again over one connection."""
    def truncating(x):
        x.send(build(x.asked, flags=0x8380)) if x.is_udp else x.answer()

    plain = ScriptServer(scene.outer, FIRST)
    try:
        names = [plain.name(truncating) for _ in range(20)]
        with daemon(scene, certs, FIRST), scene.capture(
                scene.outer, "eth0", f"dst host {FIRST} and tcp port 53 and tcp[tcpflags] & tcp-syn != 0") as syns:
            for name in names:
                assert ask(scene, name).rcode == NOERROR
        assert sum(x.transport == "tcp" for x in seen_by(plain)) == 20 and len(syns.lines()) <= 2
    finally:
        plain.stop()


def test_reload_keeps_connections_of_servers_that_stay(scene, certs, kind):
    with server_of(scene, certs, kind) as server, daemon(scene, certs, servers_of(kind)) as ukai:
        many_by_tcp(scene, [fresh()])
        ukai.write(config=sections(servers_of(kind), dns_={"max-ttl": "1h"}, process=dict(ukai.config["process"])))
        ukai.reload()
        many_by_tcp(scene, [fresh()])
        assert len(server.connections) == 1 and not server.connections[0].is_closed
        ukai.write(config=sections(SECOND, process=dict(ukai.config["process"])))
        ukai.reload()
        wait_until(lambda: server.connections[0].is_closed, what="the removed server's connection closed")


# outages under load


def test_B4_38_killed_and_revived_under_load(scene, certs, authority):
    """The first of two DoT servers dies as by a crash and comes back: no client sees a failure."""
    pair = [tls_unbound(scene, certs, address).start() for address in (FIRST, SECOND)]
    try:
        with daemon(scene, certs, f"{dot(FIRST)}, {dot(SECOND)}") as ukai:
            assert ask(scene, AGENT).rcode == NOERROR
            load = Load(scene, [f"kill{i}.lab.example" for i in range(20000)], 4, 300)
            time.sleep(0.5)
            pair[0].kill()
            time.sleep(1.2)
            pair[0].start()
            load.end()
            assert load.completed > 0.8 * 300 and load.lost == 0, load.text[-1500:]
            assert set(load.codes) == {"NXDOMAIN"}, load.codes
            ukai.wait_log("name server answers again")
    finally:
        for one in pair:
            one.stop()


def test_B4_38_blackholed_under_load(scene, certs, authority):
    pair = [tls_unbound(scene, certs, address).start() for address in (FIRST, SECOND)]
    try:
        with daemon(scene, certs, f"{dot(FIRST)}, {dot(SECOND)}"):
            assert ask(scene, AGENT).rcode == NOERROR
            load = Load(scene, [f"hole{i}.lab.example" for i in range(20000)], 5, 300, timeout_s=4)
            time.sleep(0.5)
            scene.hold(FIRST)
            time.sleep(1.5)
            scene.release(FIRST)
            load.end()
            assert load.lost == 0 and set(load.codes) == {"NXDOMAIN"}, (load.lost, load.codes)
    finally:
        for one in pair:
            one.stop()


# signed queries


def signed(name, rtype=TSIG, rdata=b"not ours to read", ident=0x4711, qtype=A):
    """A query with a signature's record behind an OPT with options that we would not send."""
    opt = dnswire.opt(size=4096, options=b"\xff\xfd\x00\x03abc")
    record = dnswire.record(dnswire.name("Key.Example"), rtype, rdata, 0, 255)
    return struct.pack("!6H", ident, 0x0100, 1, 0, 0, 2) + dnswire.question(name, qtype) + opt + record


SIGNATURES = [(TSIG, b"\x08hmac-md5\0" + bytes(16)), (SIG, b"\0\0" + bytes(20)), (TKEY, b"gss")]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("rtype, rdata", SIGNATURES, ids=["tsig", "sig0", "tkey"])
def test_B1_4_5_signed_queries_pass_byte_for_byte(scene, certs, transport, rtype, rdata):
    """Both ways, each time anew, also when two ask the same at once. No signature covers the options of a bare TKEY, so
    those become padding."""
    sent = []

    def signing(x):
        answer = build(x.asked, [a()], extra=[dnswire.record(b"\0", rtype, b"\x01\x02\x03", 0, 255)], rcode=9, opt=False)
        sent.append(answer)
        x.send(answer)

    plain = ScriptServer(scene.outer, FIRST)
    try:
        with daemon(scene, certs, FIRST):
            name = plain.name(signing)
            for ident in (1, 2, 2):
                wire = signed(name.upper(), rtype, rdata, ident, TKEY if rtype == TKEY else A)
                reply = getattr(Asker(scene), transport)(wire)
                assert reply.wire == struct.pack("!H", ident) + sent[-1][2:]
                went = wire[2:].replace(b"\xff\xfd\0\3abc", b"\0\x0c\0\3\0\0\0") if rtype == TKEY else wire[2:]
                assert seen_by(plain)[-1].wire[2:] == went
                assert seen_by(plain)[-1].transport == transport
            assert len(seen_by(plain)) == 3
    finally:
        plain.stop()


def test_B1_4_5_truncated_signed_answer_passes_as_it_is(scene, certs):
    """No TCP of ours behind it: who signed asks again by TCP."""
    sent = []

    def truncating(x):
        sent.append(build(x.asked, flags=0x8380, extra=[dnswire.record(b"\0", TSIG, b"mac", 0, 255)], opt=False))
        x.send(sent[-1])

    plain = ScriptServer(scene.outer, FIRST)
    try:
        with daemon(scene, certs, FIRST):
            reply = Asker(scene).udp(signed(plain.name(truncating)))
            assert reply.tc and reply.wire[2:] == sent[0][2:] and len(seen_by(plain)) == 1
    finally:
        plain.stop()


def test_B1_4_5_answer_larger_than_the_asker_takes(scene, certs):
    """By TLS the server does not know what the asker takes by UDP: TC and the question, unsigned, then all by TCP."""
    def large(connection, asked):
        connection.send(build(asked, [dnswire.record(b"\xc0\x0c", TXT, b"\xff" + b"x" * 255, 60)] * 8, opt=False))

    with tls_server(scene, certs, handler=large) as server, daemon(scene, certs, dot(FIRST)):
        wire = signed(fresh(), qtype=TXT)
        reply = Asker(scene).udp(wire)
        assert reply.tc and not reply.answers and not [r for r in reply.additional if r[1] == TSIG]
        assert len(Asker(scene).tcp(wire).answers) == 8
        assert all(q.wire[2:] == wire[2:] for q in server.connections[0].queries), "not padded, not touched"


def test_B1_4_5_signed_queries_obey_the_rules(scene, certs):
    plain = ScriptServer(scene.outer, FIRST)
    try:
        ukai = daemon(scene, certs, FIRST)
        ukai.write(acl=ACL + "[out]\ndeny = *.evil.example\n")
        with ukai:
            assert Asker(scene).udp(signed("www.evil.example")).rcode == dnswire.REFUSED
            assert Asker(scene).udp(signed("name.onion")).rcode == dnswire.NXDOMAIN
            assert seen_by(plain) == []
    finally:
        plain.stop()
