"""The package under a real systemd: process 1 of a container made from a copy of this machine."""
import json
import re
import time

import pytest

from machine import Container, bring, overlay, the_deb
from scene import wait_until

pytestmark = pytest.mark.limit(180)
MANAGED = "/etc/systemd/system/ukai.service.d/test.conf"


@pytest.fixture(scope="module")
def box(packages):
    """ukai is installed as anybody would, and nothing was started by hand; the watchdog is an impatient one."""
    with overlay() as root, Container(root) as container:
        done = container.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confold", "-i", bring(root, the_deb(packages)))
        assert done.returncode == 0, done.stdout
        yield container


@pytest.fixture(autouse=True)
def serves_before_and_after(box):
    assert box.show("ActiveState") == "active", box.run("systemctl", "status", "ukai").stdout
    yield
    wait_until(lambda: serves(box), what="the service at the end")


def serves(box):
    return "403" in box.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-x", "http://127.0.0.1:8080",
                            "http://127.0.0.1:8080/").stdout


def journal(box):
    return box.run("journalctl", "-u", "ukai", "--no-pager", "-o", "cat").stdout


def write(box, text):
    (box.root / "etc/ukai/acl.conf").write_text(text)


def status_of(box, keys=("Uid", "Gid", "Groups", "Umask", "NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapBnd", "CapAmb")):
    """What the kernel says of the main process."""
    lines = box.run("cat", f"/proc/{box.show('MainPID')}/status").stdout.splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {key: status[key].strip() for key in keys}


def limit_of(box, name):
    """(soft, hard) of the main process."""
    return re.search(rf"^Max {name}\s+(\S+)\s+(\S+)", box.run("cat", f"/proc/{box.show('MainPID')}/limits").stdout, re.M).groups()


@pytest.fixture
def acl(box):
    text = (box.root / "etc/ukai/acl.conf").read_text()
    yield text
    write(box, text)
    assert box.run("systemctl", "reload", "ukai").returncode == 0


def test_installed_it_runs_as_nobody_special(box):
    assert serves(box) and box.show("StatusText") == "Serving"
    status = status_of(box)
    assert status["Uid"].split()[0] != "0" and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert int(status["CapEff"], 16) == 0, "the configuration needs none"
    assert "msg=ready" in journal(box)


def test_reload_tells_the_truth(box, acl):
    main = box.show("MainPID")
    write(box, acl + "tcp 8080 = 192.168.1.10 ; 追加\n")
    assert box.run("systemctl", "reload", "ukai").returncode == 0
    assert "追加" in box.run("ukai", "rules").stdout
    write(box, acl + "nonsense\n")
    assert box.run("systemctl", "reload", "ukai").returncode != 0
    assert box.show("MainPID") == main and box.show("ActiveState") == "active"
    assert "追加" in box.run("ukai", "rules").stdout, "the old rules stay"


def test_a_typo_and_a_restart(box, acl):
    """What a reboot would do: the unit must not stop what the last good copy makes possible."""
    write(box, acl + "nonsense\n")
    assert box.run("systemctl", "restart", "ukai").returncode == 0
    assert serves(box) and "THE FILES ARE BROKEN" in box.run("ukai", "status").stdout


def test_O23_after_a_crash_it_serves_again(box):
    """Within half a second on an idle machine; the bound is for a loaded one."""
    main, began = box.show("MainPID"), time.monotonic()
    box.run("kill", "-SEGV", main)
    wait_until(lambda: box.show("ActiveState") == "active" and box.show("MainPID") not in (main, "0") and serves(box))
    took = time.monotonic() - began
    assert box.show("Result") == "success" and took < 5, took
    assert "code=killed, status=11/SEGV" in journal(box), "not code=dumped: what clients said is not for the disk"
    assert json.loads(box.run("ukai", "status", "--json").stdout)["uptime_s"] <= took + 1


def test_one_that_hangs_is_started_anew(box):
    (box.root / MANAGED[1:]).parent.mkdir(parents=True, exist_ok=True)
    (box.root / MANAGED[1:]).write_text("[Service]\nWatchdogSec=1s\n")
    box.run("systemctl", "daemon-reload")
    assert box.run("systemctl", "restart", "ukai").returncode == 0
    main = box.show("MainPID")
    time.sleep(2.5)  # longer than the watchdog waits: signs of life do come
    assert box.show("MainPID") == main
    box.run("kill", "-STOP", main)
    wait_until(lambda: box.show("MainPID") not in (main, "0") and serves(box), 20)


def test_upgrade_stays_the_same_service(box):
    main, n_restarts = box.show("MainPID"), box.show("NRestarts")
    given = limit_of(box, "open files"), status_of(box)
    done = box.run("ukai-upgrade")
    assert done.returncode == 0, done.stdout
    new = box.show("MainPID")
    assert new not in (main, "0") and box.show("ActiveState") == "active" and box.show("NRestarts") == n_restarts
    assert (limit_of(box, "open files"), status_of(box)) == given, "what the unit gives"
    assert "/ukai.service" in box.run("cat", f"/proc/{new}/cgroup").stdout
    assert serves(box) and "replaced by another daemon" in journal(box)
    assert re.search(rf"pid {new},", box.run("ukai", "status").stdout)
    wait_until(lambda: main not in box.run("pgrep", "ukai").stdout.split(), what="the old one's end")
    time.sleep(2.5)  # the watchdog of the test before is the new one's too
    assert box.show("MainPID") == new
    assert box.run("systemctl", "restart", "ukai").returncode == 0
    assert new not in box.run("pgrep", "ukai").stdout.split(), "it is the service's to stop"
