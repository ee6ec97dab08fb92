"""100 reloads, a third of them broken, and 20 upgrades, while 500 tunnels transfer and others come and go."""
import collections
import os
import signal
import threading
import time

import pytest

from client import open_tunnel
from daemon import SANITIZER_DIR, Ukai, run_tool, sections
from fleet import Fleet
from scene import SCRIPTED, wait_until
from test_replace import ended, successor

N_RELOADS, N_UPGRADES, N_TRANSFERS = 100, 20, 500
A_SECOND = 200  # short tunnels, at most
NAME = "echo.lab.example:443"
LINE10, LINE20 = "tcp 8080 = 192.168.1.10 ; first host\n", "tcp 8080 = 192.168.1.20 ; second host\n"
REST = "udp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10 ; names\n"
BOTH, ONE = f"[in]\n{LINE10}{LINE20}{REST}", f"[in]\n{LINE10}{REST}"
BROKEN = BOTH + "tcp 8080 = 192.168.1.999\n"

pytestmark = pytest.mark.limit(180)


def config():
    return sections(SCRIPTED, process={"user": "root", "workers": "2", "nofile": "16384"})


class Comers:
    """Short tunnels, one after another, at a pace: each echoes and ends in order."""

    def __init__(self, scene):
        self.scene, self.failures, self.n_served = scene, [], 0
        self._is_over, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self):
        pause, due = len(self._threads) / A_SECOND, time.monotonic()
        while not self._is_over.is_set():
            try:
                with self.scene.dial() as sock:
                    open_tunnel(sock, NAME)
                    sock.sendall(b"hello")
                    assert sock.recv(5)
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
                continue
            with self._lock:
                self.n_served += 1
            due += pause
            self._is_over.wait(max(0, due - time.monotonic()))


def pss_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


def reload_once(daemon, n):
    """Every third is broken; the command's exit says what became of it."""
    daemon.write(acl=BROKEN if n % 3 == 2 else BOTH)
    done = run_tool("reload", "-c", daemon.conf_path)
    assert done.returncode == (78 if n % 3 == 2 else 0), done.out


def test_reloads_hurt_nobody_and_leave_nothing_behind(scene):
    with Ukai(scene, config(), BOTH) as daemon:
        fleet, mark = Fleet(), daemon.mark()
        fleet.open(scene.dial, NAME, N_TRANSFERS)
        with fleet, Comers(scene) as comers:
            fleet.wait_transfer(fleet.tunnels)
            for n in range(9):
                reload_once(daemon, n)
            before, fds = pss_bytes(daemon.pid), daemon.n_fds()
            for n in range(N_RELOADS):
                reload_once(daemon, n)
                if n % 10 == 9:
                    gone = fleet.open_running(lambda: scene.dial(scene.host20), NAME, 10)
                    daemon.write(acl=ONE)
                    assert run_tool("reload", "-c", daemon.conf_path).returncode == 0
                    fleet.wait_ended(gone)
                    assert {tunnel.end for tunnel in gone} == {"rst"}
                    fleet.tunnels = [tunnel for tunnel in fleet.tunnels if tunnel not in gone]
            fleet.wait_transfer(fleet.tunnels)
            after = pss_bytes(daemon.pid)
            assert fleet.ended(fleet.tunnels) == [] and not comers.failures, comers.failures[:3]
            assert comers.n_served > 0
        n_cut = N_RELOADS // 10 * 10
        scene.close_clients()
        wait_until(lambda: daemon.n_fds() <= fds - 2 * N_TRANSFERS + 4, 20)
        if not SANITIZER_DIR:  # which keep what was freed
            assert after < before * 1.02 + 256 * 1024, (before, after)
        print(f"PSS {before} before, {after} after; {comers.n_served} short tunnels")
        n_all = N_TRANSFERS + comers.n_served + n_cut
        def closes_now():
            return [record for record in daemon.records_since(mark) if record["event"] == "close"]

        wait_until(lambda: len(closes_now()) >= n_all, 20)
        closes = closes_now()
        errors = collections.Counter(record.get("error") for record in closes)
        assert len(closes) == n_all and errors["acl_revoked"] == n_cut, (len(closes), n_all, errors)


@pytest.mark.skipif(bool(SANITIZER_DIR), reason="the sanitizers need what the sandbox forbids")
def test_every_thread_has_nothing_but_what_it_needs(scene):
    with Ukai(scene, config(), BOTH) as daemon:
        open_tunnel(scene.dial(), NAME)
        tasks = os.listdir(f"/proc/{daemon.pid}/task")
        assert len(tasks) >= 3
        for task in tasks:
            with open(f"/proc/{daemon.pid}/task/{task}/status", encoding="ascii") as text:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in text if ":\t" in line)
            assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", (task, status)


def test_upgrades_refuse_nobody(scene):
    old = Ukai(scene, config(), BOTH).start()
    daemons = [old]
    fleet = Fleet()
    fleet.open(scene.dial, NAME, N_TRANSFERS)
    with fleet, Comers(scene) as comers:
        for _ in range(N_UPGRADES):
            n = comers.n_served
            wait_until(lambda: comers.n_served > n + 20 or comers.failures, 20)
            daemons.append(successor(scene, daemons[-1]))
        fleet.wait_transfer(fleet.tunnels)
        assert fleet.ended(fleet.tunnels) == [] and not comers.failures, comers.failures[:3]
    scene.close_clients()
    assert [ended(daemon) for daemon in daemons[:-1]] == [0] * N_UPGRADES
    daemons[-1].stop()


def test_C19_9000_idle_tunnels_outlive_a_reload_and_a_stop_ends_them(scene):
    config_ = sections(SCRIPTED, process={"user": "root", "workers": "2", "nofile": "20000"}, timeouts={"drain": "5s"})
    with Ukai(scene, config_, BOTH) as daemon:
        fleet = Fleet()
        for _ in range(18):
            fleet.open(scene.dial, NAME, 500)
        daemon.reload(acl=BOTH + "any = 192.0.2.1 ; one more\n")
        with fleet:  # each says something and is answered
            fleet.wait_transfer(fleet.tunnels, 1)
            assert fleet.ended(fleet.tunnels) == []
        began = time.monotonic()
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.process.wait(30) == 0
        assert time.monotonic() - began < 15, "the limit is 5 s"
