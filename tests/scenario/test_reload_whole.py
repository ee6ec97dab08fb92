"""A reload is whole or nothing: what is refused late leaves even the log where it was."""
import pytest

from client import exchange
from daemon import Ukai, sections
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
