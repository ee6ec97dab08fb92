"""Bad networks between client and daemon (O16): bytes stay exact, and limits are those of the configuration."""
import hashlib
import random
import threading
import time

import pytest

from badlink import BadLink
from client import open_tunnel, read_exactly
from daemon import SANITIZER_DIR, Ukai, sections
from scene import ECHO

pytestmark = pytest.mark.skipif(bool(SANITIZER_DIR), reason="what differs is the network, and it takes its time")

ACL = f"[in]\ntcp 8080 = {BadLink.FAR}\n"
IDLE_S = 2


@pytest.fixture(scope="module")
def link(scene):
    with BadLink(scene.router, scene.host30) as made:
        yield made


def config(idle_s):
    return sections(dns=False, web={"listen-network": BadLink.NAME}, timeouts={"tunnel-idle": f"{idle_s}s"}, process={"workers": "1"})


@pytest.fixture(scope="module")
def ukai(scene, link):
    with Ukai(scene, config(60), ACL) as daemon:
        yield daemon


@pytest.fixture
def impatient(ukai):
    ukai.reload(config=config(IDLE_S))
    yield ukai
    ukai.reload(config=config(60))


@pytest.fixture
def tunnel(scene, ukai, link):
    """Opened while the link is good, which it is again afterwards."""
    sock = scene.dial(scene.host30, to=link.NEAR)
    open_tunnel(sock, f"{ECHO}:443")
    yield sock
    link.loss = link.delay_s = link.jitter_s = link.doubled = 0.0
    link.bytes_a_second = None


def echo(sock, size, deadline_s):
    """All that is sent comes back as it was."""
    data = random.Random(size).randbytes(size)
    sender = threading.Thread(target=sock.sendall, args=(data,))
    sock.settimeout(deadline_s)
    sender.start()
    got = read_exactly(sock, size, deadline_s)
    sender.join()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("loss, size", [(0.05, 500_000), (0.2, 60_000), (0.4, 8_000)])
def test_O16_loss(tunnel, link, loss, size):
    before = link.n_lost
    link.loss = loss
    echo(tunnel, size, 40)
    assert link.n_lost > before


def test_O16_delay_reordering_and_doubles(tunnel, link):
    link.delay_s, link.jitter_s, link.doubled = 0.3, 0.03, 0.1
    before = link.n_overtaking
    echo(tunnel, 50_000, 40)
    assert link.n_overtaking > before


def test_O16_64_kbit_a_second_is_slow_and_not_idle(impatient, tunnel, link):
    link.bytes_a_second = 8000
    began = time.monotonic()
    echo(tunnel, 10_000, 40)
    assert time.monotonic() - began > IDLE_S, "it was to take longer than the idle limit"


def test_O16_a_dead_link_ends_at_the_idle_limit(impatient, tunnel, link):
    mark, began = impatient.mark(), time.monotonic()
    link.loss = 1.0
    tunnel.sendall(b"lost")
    record = impatient.record(mark, lambda r: r["event"] == "close", deadline_s=IDLE_S + 10)
    assert record["closed_by"] == "idle" and time.monotonic() - began >= IDLE_S - 0.1
