"""Shared fixtures: a scene a module, a time limit and the oracle around every test."""
import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import daemon as daemon_module  # noqa: E402
import machine  # noqa: E402
import oracle as oracle_module  # noqa: E402
from dnsscript import UPSTREAM, Asker, ScriptServer  # noqa: E402
from scene import Scene  # noqa: E402

TEST_LIMIT_S = 60


def pytest_configure(config):
    """TERM (a runner's time limit) ends like Ctrl-C, so that the namespaces are taken down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "limit(seconds): how long the test may take")


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        raise pytest.UsageError("the scenario tests build network namespaces: run them as root")
    if not os.access(daemon_module.BINARY, os.X_OK):
        raise pytest.UsageError(f"no binary at {daemon_module.BINARY}: build it, or set UKAI_BIN")


@pytest.fixture(scope="module")
def scene():
    with Scene() as built:
        yield built


@pytest.fixture(scope="module")
def up(scene):
    """A name server that does what a test says."""
    server = ScriptServer(scene.outer, UPSTREAM)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def asker(scene):
    """A client of the LAN that asks ukai."""
    return Asker(scene)


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    return machine.build_packages(tmp_path_factory.mktemp("deb"))


@pytest.fixture(autouse=True)
def time_limit(request):
    """A test that hangs fails by itself."""
    own = request.node.get_closest_marker("limit")
    limit_s = own.args[0] if own else TEST_LIMIT_S

    def late(*_):
        raise AssertionError(f"the test took over {limit_s} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(limit_s)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def oracle(request, time_limit):
    """After each test that uses a scene: see oracle.check(). A test may put addresses into .allowed."""
    class Exempt:
        allowed = set()

    exempt = Exempt()
    exempt.allowed = set()
    if "scene" not in request.fixturenames:
        yield exempt
        return
    scene = request.getfixturevalue("scene")
    ukai = request.getfixturevalue("ukai") if "ukai" in request.fixturenames else None
    yield exempt
    oracle_module.check(scene, ukai, exempt.allowed)
