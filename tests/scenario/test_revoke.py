"""Live revocation: what a reload does to tunnels, requests and waiting clients that the new rules forbid."""
import json
import random
import socket
import struct
import threading
import time

import pytest

from client import exchange, whole_head
from daemon import Ukai, run_tool, sections
from fleet import Fleet
from scene import ECHO, ECHO6, SCRIPTED, wait_until

LINE10 = "tcp 8080 = 192.168.1.10 ; first host\n"
LINE20 = "tcp 8080 = 192.168.1.20 ; second host\n"
DNS = "udp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10 ; names\n"
BOTH = f"[in]\n{LINE10}{LINE20}{DNS}"
ONE = f"[in]\n{LINE10}{DNS}"
NAME = "echo.lab.example:443"


def config(**acl):
    return sections(SCRIPTED, acl={"file": "acl.conf", **acl}, process={"user": "root", "workers": "2", "sandbox": "off",
                                                              "nofile": "16384"})


@pytest.fixture
def ukai(scene):
    with Ukai(scene, config(), BOTH) as daemon:
        yield daemon


def tunnel(scene, target=NAME, host=None):
    """One open tunnel, checked once in both directions."""
    sock = scene.dial(host)
    reply = exchange(sock, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode(), stop=whole_head)
    assert reply.status == 200, reply
    assert is_open(sock)
    return sock


def is_open(sock):
    try:
        sock.sendall(b"ping")
        got = b""
        while len(got) < 4:
            more = sock.recv(4 - len(got))
            if not more:
                return False
            got += more
        return got == b"ping"
    except ConnectionError:
        return False


def ends(sock, deadline_s=10):
    sock.settimeout(deadline_s)
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def acl_records(ukai, mark):
    return [r for r in ukai.records_since(mark) if r.get("closed_by") == "acl"]


def test_exactly_the_forbidden_of_a_thousand_are_cut(scene, ukai):
    fleet, mark = Fleet(), ukai.mark()
    stay = fleet.open(scene.dial, NAME, 350)
    gone = fleet.open(lambda: scene.dial(scene.host20), NAME, 300)
    stay += fleet.open(scene.dial, NAME, 350)
    with fleet:
        fleet.wait_transfer(fleet.tunnels)
        ukai.reload(acl=ONE)
        fleet.wait_ended(gone)
        fleet.wait_transfer(stay)
        assert fleet.ended(stay) == []
        assert {t.end for t in gone} == {"rst"}
        records = wait_until(lambda: len(acl_records(ukai, mark)) >= 300 and acl_records(ukai, mark))
        assert len(records) == 300
        assert {(r["src"], r["event"], r["error"], r["rule"]) for r in records} == \
            {("192.168.1.20", "close", "acl_revoked", "no rule")}
        assert sum(r["bytes_down"] for r in records) >= 300 * 8192
        ukai.reload(acl=BOTH)
        fleet.wait_transfer(stay)
        assert fleet.ended(stay) == []


def test_a_tunnel_is_cut_by_the_address_it_dialled(scene, ukai):
    by4, mark = tunnel(scene, f"{ECHO}:443"), ukai.mark()
    by_name = tunnel(scene)
    ukai.reload(acl=BOTH + f"[out]\ndeny = {ECHO} ; gone bad\ndeny = {ECHO6}\n")
    assert ends(by4) and ends(by_name)
    record = ukai.record(mark, lambda r: r.get("closed_by") == "acl" and r["host"] == ECHO)
    assert record["rule"].startswith("acl.conf:") and record["memo"] == "gone bad"
    ukai.reload(acl=BOTH)


def test_a_tunnel_is_cut_by_its_name(scene, ukai):
    by_name, by_address = tunnel(scene), tunnel(scene, f"{ECHO}:443")
    ukai.reload(acl=BOTH + "[out]\ndeny = *.lab.example\n")
    assert ends(by_name)
    assert is_open(by_address)
    ukai.reload(acl=BOTH + "[out]\nallow = echo.lab.example:443\n")
    assert ends(by_address)
    ukai.reload(acl=BOTH)


def test_a_tunnel_is_cut_by_the_port_list(scene, ukai):
    sock, mark = tunnel(scene), ukai.mark()
    changed = config()
    changed["web-proxy lan"]["connect-ports"] = "8443"
    before = config()
    ukai.reload(config=changed)
    assert ends(sock)
    assert ukai.record(mark, lambda r: r.get("closed_by") == "acl")["rule"] == "port list"
    ukai.reload(config=before)


def test_rules_that_permit_otherwise_cut_nothing(scene, ukai):
    sock, mark = tunnel(scene), ukai.mark()
    ukai.reload(acl="[in]\nany = 192.168.1.0/24 ; all of them\n[out]\nallow = *\n")
    assert is_open(sock)
    sock.close()
    assert ukai.record(mark, lambda r: r["event"] == "close")["memo"] == "all of them"
    ukai.reload(acl=BOTH)


def test_keep_lets_them_finish(scene):
    with Ukai(scene, config(on_reload="keep"), BOTH) as ukai:
        old = tunnel(scene, host=scene.host20)
        ukai.reload(acl=ONE)
        assert is_open(old)
        assert exchange(scene.dial(scene.host20), b"CONNECT " + NAME.encode() + b" HTTP/1.1\r\n\r\n").status is None
        assert is_open(old)
        changed = config(on_reload="revoke")
        ukai.reload(config=changed)
        assert ends(old)


def test_grace_cuts_later_and_spares_what_is_permitted_again(scene):
    with Ukai(scene, config(on_reload="grace=3s"), BOTH) as ukai:
        first, second, mark = tunnel(scene, host=scene.host20), tunnel(scene), ukai.mark()
        start = time.monotonic()
        ukai.reload(acl="[in]\n" + DNS + "tcp 8080 = 192.168.1.99\n")
        assert is_open(first) and is_open(second)
        ukai.reload(acl=ONE)
        assert ends(first)
        assert 2.5 < time.monotonic() - start
        assert ukai.record(mark, lambda r: r.get("closed_by") == "acl")["src"] == "192.168.1.20"
        assert is_open(second)


def plain(target, close=False):
    return f"GET http://{target}/ HTTP/1.1\r\nHost: x\r\n{'Connection: close' + chr(13) + chr(10) if close else ''}\r\n".encode()


def answer(conn, body=b"ok"):
    """Read one request head and answer it."""
    head = b""
    while not whole_head(head):
        got = conn.recv(4096)
        assert got, "the origin's connection ended"
        head += got
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def test_a_pooled_connection_is_not_used_after_its_target_was_forbidden(scene, ukai):
    listener = scene.origin(port=80)
    address = listener.getsockname()[0]
    client = scene.dial()
    client.sendall(plain(address))
    origin = scene.accept(listener)
    answer(origin)
    assert exchange(client, b"", stop=lambda raw: raw.endswith(b"ok")).status == 200
    ukai.reload(acl=BOTH + f"[out]\ndeny = {address}\n")
    origin.settimeout(10)
    assert origin.recv(1) == b"", "the pooled connection outlived its permission"
    assert exchange(client, plain(address)).status == 403
    ukai.reload(acl=BOTH)


def test_a_pooled_connection_is_not_used_for_a_source_that_is_out(scene, ukai):
    listener = scene.origin(port=80)
    address = listener.getsockname()[0]
    client, other = scene.dial(scene.host20), scene.dial(scene.host20)
    client.sendall(plain(address))
    origin = scene.accept(listener)
    answer(origin)
    assert exchange(client, b"", stop=lambda raw: raw.endswith(b"ok")).status == 200
    ukai.reload(acl=ONE)
    assert ends(client), "a client that waits between two requests stays"
    assert ends(other), "a client that has said nothing yet stays"
    assert origin.recv(1) == b""
    ukai.reload(acl=BOTH)


def test_a_request_under_way_is_cut(scene, ukai):
    listener, mark = scene.origin(port=80), ukai.mark()
    address = listener.getsockname()[0]
    client = scene.dial()
    client.sendall(plain(address))
    origin = scene.accept(listener)
    origin.recv(4096)
    origin.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    assert exchange(client, b"", stop=lambda raw: raw.endswith(b"half")).status == 200
    ukai.reload(acl=BOTH + f"[out]\ndeny = {address} ; not this one\n")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    record = ukai.record(mark, lambda r: r.get("closed_by") == "acl")
    assert record["memo"] == "not this one"
    ukai.reload(acl=BOTH)


def test_what_is_dialled_during_a_reload_is_judged_before_it_opens(scene, ukai):
    """The reload comes while the destination has not accepted yet."""
    listener, mark = scene.origin(), ukai.mark()
    address = listener.getsockname()[0]
    scene.hold(address)
    try:
        client = scene.dial()
        client.sendall(f"CONNECT {address}:443 HTTP/1.1\r\n\r\n".encode())
        time.sleep(0.2)  # nothing says that a SYN is on its way to nobody
        ukai.reload(acl=BOTH + f"[out]\ndeny = {address} ; too late\n")
    finally:
        scene.release(address)
    reply = exchange(client, b"", deadline_s=15)
    assert reply.status == 403, reply
    assert ukai.record(mark, lambda r: r["event"] == "refused")["memo"] == "too late"
    ukai.reload(acl=BOTH)


def test_a_dns_connection_of_a_source_that_is_out_is_closed(scene, ukai):
    sock = scene.dial(port=53)
    sock.sendall(dnswire_query("echo.lab.example"))
    assert len(sock.recv(4096)) > 2
    ukai.reload(acl=f"[in]\n{LINE10}")
    assert ends(sock, 5)
    ukai.reload(acl=BOTH)


def dnswire_query(name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    message = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\0\x01\0\x01"
    return len(message).to_bytes(2, "big") + message


def test_a_removed_listener_takes_its_tunnels_along(scene, ukai):
    both = config()
    both["web-proxy two"] = {"listen-network": "lan0", "listen-port": "8090", "bypass-network": "out0",
                             "name-server": "203.0.113.53"}
    acl = BOTH + "tcp 8090 = 192.168.1.10\n"
    ukai.reload(config=both, acl=acl)
    mark = ukai.mark()
    sock = scene.dial(port=8090)
    assert exchange(sock, f"CONNECT {NAME} HTTP/1.1\r\n\r\n".encode(), stop=whole_head).status == 200
    other = tunnel(scene)
    ukai.reload(config=config(), acl=BOTH)
    assert ends(sock)
    assert is_open(other)
    assert ukai.record(mark, lambda r: r.get("closed_by") == "acl")["rule"] == "no listener"


def test_A29_C10_a_storm_of_reloads(scene, ukai):
    """Clients come, talk and leave at every stage while each of 1,000 reloads takes back what the last one gave."""
    rng, errors, n_reloads = random.Random(29), [], 0
    silent, reload, steady = scene.name("silent", silent=True), ukai.reloads_in_turn([BOTH, ONE]), tunnel(scene)
    stop = threading.Event()

    def reload_on():
        nonlocal n_reloads
        try:
            while not stop.is_set():
                reload()
                n_reloads += 1
        except AssertionError as error:
            errors.append(error)

    thread = threading.Thread(target=reload_on)
    thread.start()
    seen, began = {True: 0, False: 0}, time.monotonic()
    try:
        while (n_reloads < 1000 or min(seen.values()) < 50) and not errors:
            assert time.monotonic() - began < 100, (n_reloads, seen)
            socks = [scene.dial(rng.choice((scene.host10, scene.host20))) for _ in range(4)]
            for sock, target in zip(socks, (NAME, f"{silent}:443", f"{ECHO}:443", NAME)):
                try:
                    sock.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode()[:rng.choice((10, 99))])
                except ConnectionError:
                    pass
            reply = exchange(socks[0], b"", deadline_s=0.2, stop=whole_head)
            seen[reply.status == 200 and is_open(socks[0])] += 1
            for sock in socks:
                if rng.random() < 0.5:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            assert is_open(steady), "a tunnel that every file permits was cut"
    finally:
        stop.set()
        thread.join(15)
        ukai.reload(acl=BOTH)
    assert not errors, errors


def test_a_reload_without_a_change_cuts_nothing(scene, ukai):
    fleet, mark = Fleet(), ukai.mark()
    fleet.open(scene.dial, NAME, 100)
    with fleet:
        for _ in range(5):
            ukai.reload()
            fleet.wait_transfer(fleet.tunnels)
        assert fleet.ended(fleet.tunnels) == []
    assert acl_records(ukai, mark) == []


def against_live(ukai, *words):
    return run_tool("check", "-c", ukai.conf_path, "--against-live", *words, netns=ukai.space)


def test_check_against_live_tells_and_changes_nothing(scene, ukai):
    fleet, mark = Fleet(), ukai.mark()
    fleet.open(scene.dial, NAME, 20)
    fleet.open(lambda: scene.dial(scene.host20), NAME, 30)
    listener = scene.origin(port=80)
    address = listener.getsockname()[0]
    client = scene.dial()
    client.sendall(plain(address))
    origin = scene.accept(listener)
    origin.recv(4096)
    with fleet:
        done = against_live(ukai)
        assert done.returncode == 0 and "0 tunnels and 0 requests of 0 sources would be cut (of 51)" in done.out, done.out
        ukai.write(acl=ONE + f"[out]\ndeny = {address} ; not this one\n")
        done = against_live(ukai)
        assert done.returncode == 0, done.out
        assert "30 tunnels and 1 request of 2 sources would be cut (of 51)" in done.out, done.out
        assert "192.168.1.20    30 tunnels, 0 requests: no rule" in done.out, done.out
        assert "192.168.1.10    0 tunnels, 1 request: acl.conf:" in done.out and "not this one" in done.out, done.out
        text = against_live(ukai, "--json").out
        said = json.loads(text[text.index('{"tunnels"'):])
        assert (said["tunnels"], said["requests"], said["of"], said["on_reload"]) == (30, 1, 51, "revoke")
        fleet.wait_transfer(fleet.tunnels)
        assert fleet.ended(fleet.tunnels) == [] and acl_records(ukai, mark) == []
        ukai.write(acl="[in]\nbroken\n")
        assert against_live(ukai).returncode == 78
        ukai.write(acl=ONE)
        ukai.reload()
        fleet.wait_ended(fleet.tunnels[20:])
        assert fleet.ended(fleet.tunnels[:20]) == []


def test_check_against_live_without_a_daemon(scene):
    daemon = Ukai(scene, config(), BOTH)
    assert against_live(daemon).returncode == 1
    assert run_tool("check", "-c", daemon.conf_path, "--json").returncode == 2
