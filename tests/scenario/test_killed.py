"""SIGKILL at any moment of a reload or a handover: whoever comes next works, and what is left behind is in nobody's way."""
import random
import signal
import time

import pytest

from client import exchange
from daemon import ACL, Ukai, run_tool, sections
from scene import wait_until

ROUNDS = 12


def serves(scene):
    try:
        return exchange(scene.dial(timeout=2), b"GARBAGE\r\n\r\n").status == 400
    except OSError:
        return False
    finally:
        scene.close_clients()


def answers(daemon):
    return f"pid {daemon.pid}," in run_tool("status", "-c", daemon.conf_path).out


def kill(daemon):
    daemon.process.kill()
    daemon.process.wait()
    daemon._reader.join(5)
    daemon.process.stderr.close()
    daemon.process = None


def successor(scene, old):
    new = Ukai(scene, old.config, args=["--replace"])
    new.conf_path.write_bytes(old.conf_path.read_bytes())
    new.acl_path.write_bytes(old.acl_path.read_bytes())
    new.start(wait=False)
    return new


def has_let_go(daemon):
    return any("replaced by another daemon" in line for line in daemon.lines)


def moments(seed, longest_s):
    """Moments to strike at, other ones in each run but the same of a run that is repeated by hand."""
    source = random.Random(seed)
    return [source.uniform(0, longest_s) for _ in range(ROUNDS)]


def test_in_a_reload(scene):
    """The files that the next start reads are whole or the last good ones, the control socket is replaced."""
    daemon = Ukai(scene, sections(), ACL)
    for moment in moments(1, 0.03):
        daemon.start()
        daemon.write(ACL + "tcp 8080 = 192.168.1.20\n")
        daemon.signal(signal.SIGHUP)
        time.sleep(moment)
        kill(daemon)
    with daemon:
        assert serves(scene) and answers(daemon)


def test_while_the_last_good_copy_is_written(scene):
    """One of the two that were good, and never a mix or a half: each has as many rules as its file says."""
    daemon = Ukai(scene, sections(), ACL)
    sizes = {}
    for n in (3000, 5000):
        sizes[n] = "[in]\n" + "".join(f"tcp 8080 = 10.{i >> 8}.{i & 255}.1\n" for i in range(n - 1)) + "tcp 8080 = 192.168.1.10\n"
    for i, moment in enumerate(moments(2, 0.08)):
        daemon.write(sizes[3000])
        daemon.start()
        daemon.write(sizes[5000])
        daemon.signal(signal.SIGHUP)
        time.sleep(moment)
        kill(daemon)
        daemon.write("[in]\nnonsense\n")
        with daemon:
            daemon.wait_log("serving by the last good copy of them")
            assert daemon.status()["rules"] in sizes and serves(scene), i
    left = sorted(path.name for path in (daemon.dir / "state").iterdir())
    assert len(left) == 1, left


@pytest.mark.parametrize("victim", ["old", "new"])
def test_in_a_handover(scene, victim):
    """The other one serves, whenever it was: the old one as long as it has not let go, the new one from then on."""
    old = Ukai(scene, sections(), ACL).start()
    n_survived = 0
    try:
        for moment in moments(victim, 0.12):
            new = successor(scene, old)
            time.sleep(moment)
            if victim == "new":
                kill(new)
                wait_until(lambda: answers(old) or has_let_go(old), 5)
                if has_let_go(old):  # it had been told already
                    old.wait_exit(15)
                    old.process.stderr.close()
                    old.start()
                    continue
                n_survived += 1
                assert old.is_alive() and serves(scene) and answers(old)
            else:
                kill(old)
                new.wait_log("msg=ready")
                wait_until(lambda: answers(new), 5)
                assert serves(scene)
                n_survived += 1
                old, new.args = new, ()
        assert n_survived > 0
    finally:
        if old.process:
            old.stop(check=False)
