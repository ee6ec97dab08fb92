"""`run --replace`: another daemon takes the listeners over, and no client notices."""
import signal
import threading
import time

import pytest

from client import exchange, open_tunnel
from daemon import Ukai, run_tool, sections
from dnsscript import ScriptServer
from dnswire import Message, query, read_framed
from scene import wait_until

AGENTS = "agents.deepsecurity.trendmicro.com"
IN = "[in]\ntcp 8080 = 192.168.1.10\nudp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\n"


def successor(scene, old, workers="2", env=None):
    """A daemon of the same files that replaces the old one; the old one's end is the caller's."""
    new = Ukai(scene, old.config, old.acl_path.read_text(), env=env, args=["--replace", "--workers", workers])
    new.conf_path.write_bytes(old.conf_path.read_bytes())  # the same control socket, the same log
    new.access_path = old.access_path
    new.start()
    return new


def served(scene):
    with scene.dial(timeout=5) as sock:
        return exchange(sock, b"GARBAGE\r\n\r\n").status == 400


def ended(old):
    code = old.wait_exit(15)
    old.process.stderr.close()
    old.process = None
    return code


def test_listeners_control_socket_and_tunnels(scene):
    old = Ukai(scene, sections(), IN).start()
    listener = scene.origin(443)
    sock = scene.dial()
    open_tunnel(sock, f"{AGENTS}:443")
    new = successor(scene, old)
    try:
        old.wait_log("replaced by another daemon")
        assert served(scene)
        assert scene.host10.run(["dig", "+short", "@192.168.1.254", AGENTS]).stdout.strip()
        assert f"pid {new.pid}," in run_tool("status", "-c", new.conf_path).out
        assert old.is_alive(), "its tunnel is open"
        sock.close()
        assert ended(old) == 0
        assert run_tool("status", "-c", new.conf_path).returncode == 0, "the old one left the new one's socket alone"
        assert served(scene)
    finally:
        listener.close()
        if old.process:
            old.stop(check=False)
        new.stop()


@pytest.mark.parametrize("workers", ["1", "4"])
def test_another_number_of_workers(scene, workers):
    old = Ukai(scene, sections(), IN).start()
    new = successor(scene, old, workers)
    try:
        assert ended(old) == 0
        assert all(served(scene) for _ in range(40))
    finally:
        new.stop()


def test_nobody_is_refused_in_ten_upgrades(scene):
    daemon = Ukai(scene, sections(dns=False), IN).start()
    is_over = threading.Event()
    failures, n_served = [], [0]

    def load():
        while not is_over.is_set():
            try:
                assert served(scene)
                n_served[0] += 1
            except (OSError, AssertionError) as error:
                failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            before = n_served[0]
            wait_until(lambda: n_served[0] > before + 20 or failures, 20)
            new = successor(scene, daemon)
            assert ended(daemon) == 0
            daemon = new
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        daemon.stop()
    assert not failures and n_served[0] > 200, (failures[:3], n_served)


SLOW = "203.0.113.99"


@pytest.fixture
def slow(scene):
    """A name server that answers after a second and a half, and its two names."""
    server = ScriptServer(scene.outer, SLOW)
    server.names = [server.name(lambda x: x.later(1.5)) for _ in range(2)]
    yield server
    server.stop()


@pytest.mark.parametrize("way", ["replaced", "drained"])
def test_a_question_under_way_is_answered(scene, slow, way):
    old = Ukai(scene, sections(name_server=SLOW), IN).start()
    new = None
    try:
        by_udp, by_tcp = scene.udp(timeout=10), scene.dial(port=53, timeout=10)
        by_udp.send(query(slow.names[0], ident=1))
        wire = query(slow.names[1], ident=2)
        by_tcp.sendall(len(wire).to_bytes(2, "big") + wire)
        wait_until(lambda: all(slow.asked(name) for name in slow.names), 5)
        if way == "replaced":
            new = successor(scene, old)
            assert served(scene)
            cached = scene.udp(timeout=10)
            cached.send(query(slow.name(), ident=3))
            assert Message(cached.recv(4096)).id == 3, "the successor answers beside it"
        else:
            old.signal(signal.SIGTERM)
            old.wait_log("msg=draining")
        for wire, ident in ((by_udp.recv(4096), 1), (read_framed(by_tcp), 2)):
            reply = Message(wire)
            assert (reply.id, reply.addresses()) == (ident, ["198.51.100.1"])
        assert ended(old) == 0
    finally:
        if old.process:
            old.stop(check=False)
        if new:
            new.stop()


def test_quit_waits_for_no_answer(scene, slow):
    old = Ukai(scene, sections(name_server=SLOW), IN).start()
    scene.udp().send(query(slow.names[0]))
    wait_until(lambda: slow.asked(slow.names[0]), 5)
    before = time.monotonic()
    old.signal(signal.SIGQUIT)
    assert ended(old) == 0
    assert time.monotonic() - before < 1.2


def test_without_a_daemon_it_just_starts(scene):
    with Ukai(scene, sections(dns=False), IN, args=["--replace"]) as daemon:
        daemon.wait_log("there is no daemon to replace")
        assert served(scene)
        assert run_tool("status", "-c", daemon.conf_path).returncode == 0


def test_without_the_option_a_second_daemon_is_refused_and_the_first_unharmed(scene):
    with Ukai(scene, sections(dns=False), IN) as first:
        second = Ukai(scene, first.config, IN)
        second.start(wait=False)
        assert second.wait_exit() == 1
        second.process.stderr.close()
        second.process = None
        assert served(scene)


def test_a_broken_configuration_replaces_nothing(scene):
    with Ukai(scene, sections(dns=False), IN) as first:
        done = Ukai(scene, first.config, "[in]\nnonsense\n", args=["--replace"])
        done.conf_path.write_bytes(first.conf_path.read_bytes().replace(b"acl.conf", str(done.acl_path).encode()))
        done.start(wait=False)
        assert done.wait_exit() == 78
        done.process.stderr.close()
        done.process = None
        assert served(scene) and first.is_alive()
