"""A reload is whole or nothing: what is refused late leaves even the log where it was."""
import socket

import pytest

from client import exchange
from daemon import Ukai, run_tool, sections
from scene import wait_until

IN = "[in]\ntcp 8080 = 192.168.1.10\n"


@pytest.fixture
def ukai(scene):
    with Ukai(scene, sections(dns=False), IN) as daemon:
        yield daemon


def test_a_reload_that_finds_a_port_taken_keeps_the_log(scene, ukai):
    good = ukai.conf_path.read_text()
    other = ukai.dir / "other.json"
    taken = scene.router.socket()
    taken.bind(("192.168.1.254", 8090))
    taken.listen()
    second = "\n[web-proxy two]\nlisten-network = 192.168.1.254\nlisten-port = 8090\nname-server = 203.0.113.53\n"
    try:
        ukai.reload(conf_text=good.replace(str(ukai.access_path), str(other)) + second, expect="refused")
    finally:
        taken.close()
    exchange(scene.dial(), b"GARBAGE\r\n\r\n")
    wait_until(lambda: ukai.access_path.read_text().count("bad_request") == 1)
    assert not other.exists() or other.read_text() == ""


def test_a_reload_takes_the_log_along(scene, ukai):
    other = ukai.dir / "other.json"
    ukai.reload(conf_text=ukai.conf_path.read_text().replace(str(ukai.access_path), str(other)))
    exchange(scene.dial(), b"GARBAGE\r\n\r\n")
    wait_until(lambda: other.read_text().count("bad_request") == 1)
    assert "bad_request" not in ukai.access_path.read_text()


TAKEN = {
    "web": ("\n[web-proxy two]\nlisten-network = 192.168.1.254\nlisten-port = 8090\nname-server = 203.0.113.53\n", socket.SOCK_STREAM, "TCP"),
    "dns-udp": ("\n[dns]\nlisten-network = 192.168.1.254\nlisten-port = 8090\nname-server = 203.0.113.53\n", socket.SOCK_DGRAM, "UDP"),
    "dns-tcp": ("\n[dns]\nlisten-network = 192.168.1.254\nlisten-port = 8090\nname-server = 203.0.113.53\n", socket.SOCK_STREAM, "TCP"),
    "admin": ("listen = 192.168.1.254:8090\n", socket.SOCK_STREAM, "TCP")}


def asked(ukai):
    return run_tool("reload", "-c", ukai.conf_path)


def answers(scene):
    return exchange(scene.dial(), b"GARBAGE\r\n\r\n").status == 400


@pytest.mark.parametrize("what", TAKEN)
def test_a_port_of_another_program_is_exit_1_and_says_which(scene, ukai, what):
    more, kind, protocol = TAKEN[what]
    good = ukai.conf_path.read_text()
    taken = scene.router.socket(kind=kind)
    taken.bind(("192.168.1.254", 8090))
    if kind == socket.SOCK_STREAM:
        taken.listen()
    ukai.write(conf_text=good + more)  # [admin] is the last section
    try:
        done = asked(ukai)
        assert done.returncode == 1, done.out
        why = f"cannot listen on {protocol} 192.168.1.254:8090: Address already in use: another program listens there, see `ss -lntup`"
        assert f"ukai: reload refused, the old configuration stays in force: {why}\n" in done.out
        assert ukai.status()["reload_refused_reason"] == why and ukai.status()["generation"] == 1
        assert answers(scene)
    finally:
        taken.close()
    assert asked(ukai).returncode == 0
    assert "reload_refused_reason" not in ukai.status() and answers(scene)


@pytest.mark.parametrize("place, why", [("missing/access.json", "No such file or directory; make its directory"), ("state", "Is a directory")])
def test_a_log_that_cannot_be_opened_is_exit_1_and_the_old_one_is_written_on(scene, ukai, place, why):
    good = ukai.conf_path.read_text()
    ukai.write(conf_text=good.replace("access.json", place), acl=IN.replace("192.168.1.10", "192.168.1.20"))
    done = asked(ukai)
    assert done.returncode == 1, done.out
    assert f"the access log cannot be opened: {ukai.dir / place}: {why}\n" in done.out, done.out
    assert answers(scene)  # by the old rules, too
    wait_until(lambda: ukai.access_path.read_text().count("bad_request") == 1)
    ukai.write(conf_text=good, acl=IN)
    assert asked(ukai).returncode == 0
