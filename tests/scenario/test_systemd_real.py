"""The package under a real systemd: process 1 of a container made from a copy of this machine."""
import json
import re
import subprocess
import threading
import time

import pytest

from machine import Container, bring, overlay, run, the_deb
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
    """Within a second, by the manager's own clock: from the end of the one until the next says that it is ready."""
    main, began = box.show("MainPID"), time.monotonic()
    box.run("kill", "-SEGV", main)
    wait_until(lambda: box.show("ActiveState") == "active" and box.show("MainPID") not in (main, "0") and serves(box))
    took = time.monotonic() - began
    away_us = int(box.show("ActiveEnterTimestampMonotonic")) - int(box.show("ActiveExitTimestampMonotonic"))
    assert box.show("Result") == "success" and 0 < away_us < 1_000_000, away_us
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


def newer_package(packages, directory):
    """The same with a higher version, and a binary that is another file."""
    tree = directory / "tree"
    assert run("dpkg-deb", "-R", the_deb(packages), tree).returncode == 0
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", "Version: 999", control.read_text()))
    out = directory / "ukai_999_all.deb"
    assert run("dpkg-deb", "--root-owner-group", "-b", tree, out).returncode == 0
    return out


TUNNEL = """
import socket, sys, time
origin = socket.create_server(("127.0.0.1", 443))
client = socket.create_connection(("127.0.0.1", 8080))
client.sendall(b"CONNECT 127.0.0.1:443 HTTP/1.1\\r\\nHost: 127.0.0.1:443\\r\\n\\r\\n")
assert b" 200 " in client.recv(4096)
far = origin.accept()[0]
print("open", flush=True)
for line in sys.stdin:
    client.sendall(b"tick")
    assert far.recv(4, socket.MSG_WAITALL) == b"tick"
    print("tick", flush=True)
"""


class HeldTunnel:
    """A tunnel inside the box that is looked at again and again."""

    def __init__(self, box):
        self.process = subprocess.Popen(["nsenter", "-t", str(box.leader), "-a", "/usr/bin/python3", "-c", TUNNEL],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "open\n"

    def goes_on(self):
        self.process.stdin.write("x\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == "tick\n"

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(10)


def test_package_upgrade_interrupts_nobody(box, acl, packages, tmp_path):
    """New clients are served at every moment, the tunnel that is open goes on, and what serves then is the new file."""
    write(box, acl + "[out]\nallow = 127.0.0.1\n")
    assert box.run("systemctl", "reload", "ukai").returncode == 0
    main, tunnel = box.show("MainPID"), HeldTunnel(box)
    deb = bring(box.root, newer_package(packages, tmp_path))
    is_over, n_served, wrong = threading.Event(), [0], []

    def watch():
        while not is_over.is_set():
            if serves(box):
                n_served[0] += 1
            else:
                wrong.append(journal(box)[-500:])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = box.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confold", "-i", deb)
    finally:
        is_over.set()
        watcher.join()
    assert done.returncode == 0, done.stdout
    assert not wrong and n_served[0] > 5, (wrong[:1], n_served)
    new = box.show("MainPID")
    assert new not in (main, "0") and box.show("ActiveState") == "active"
    assert box.run("readlink", f"/proc/{new}/exe").stdout.strip() == "/usr/sbin/ukai", "not (deleted)"
    assert tunnel.goes_on() and main in box.run("pgrep", "ukai").stdout.split(), "the old one has its tunnel"
    tunnel.close()
    wait_until(lambda: main not in box.run("pgrep", "ukai").stdout.split(), 20, what="the old one's end")


def test_upgrade_of_a_configuration_that_the_new_one_refuses(box, acl, packages, tmp_path):
    """The old one goes on with what it has, and dpkg says what to do; nobody is refused."""
    main = box.show("MainPID")
    deb = bring(box.root, newer_package(packages, tmp_path))
    write(box, acl + "nonsense\n")
    done = box.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confold", "-i", deb)
    assert done.returncode == 0 and "mend the file, then run ukai-upgrade" in done.stdout, done.stdout
    assert box.show("MainPID") == main and serves(box)


def test_upgrade_keeps_the_units_environment(box):
    """What a drop-in gives is the new one's too; what is of one process alone is not."""
    drop_in = (box.root / MANAGED[1:]).with_name("environment.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text('[Service]\nEnvironment="UKAI_TEST_A=two words" UKAI_TEST_B=$x\nStateDirectory=\nStateDirectory=ukai-elsewhere\n')
    box.run("systemctl", "daemon-reload")
    try:
        assert box.run("systemctl", "restart", "ukai").returncode == 0

        def environment():
            bytes_ = (box.run("sh", "-c", f"tr '\\0' '\\n' </proc/{box.show('MainPID')}/environ").stdout)
            return dict(line.split("=", 1) for line in bytes_.splitlines())

        before = environment()
        assert before["UKAI_TEST_A"] == "two words" and before["STATE_DIRECTORY"] == "/var/lib/ukai-elsewhere"
        done = box.run("ukai-upgrade")
        assert done.returncode == 0, done.stdout
        own = {"WATCHDOG_PID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID"}
        after = environment()
        assert {k: v for k, v in after.items() if k not in own} == {k: v for k, v in before.items() if k not in own}
        assert after.get("WATCHDOG_PID", before["WATCHDOG_PID"]) != before["WATCHDOG_PID"] or "WATCHDOG_PID" not in after
    finally:
        drop_in.unlink()
        box.run("systemctl", "daemon-reload")
        assert box.run("systemctl", "restart", "ukai").returncode == 0


MARK = r"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void mark(void)
{
    int fd = open("/var/log/ukai/loaded", O_WRONLY | O_APPEND | O_CREAT, 0666);
    if (fd >= 0) {
        dprintf(fd, "%d\n", (int)geteuid());
        close(fd);
    }
}
"""


def test_upgrade_lets_nothing_of_the_environment_near_root(box, tmp_path):
    """A daemon that was broken into writes its own environment: what is in it must not become root's by an upgrade."""
    (tmp_path / "mark.c").write_text(MARK)
    assert run("gcc", "-shared", "-fPIC", "-o", box.root / "var/lib/mark.so", tmp_path / "mark.c").returncode == 0
    loaded = box.root / "var/log/ukai/loaded"
    drop_in = (box.root / MANAGED[1:]).with_name("environment.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text("[Service]\nEnvironment=LD_PRELOAD=/var/lib/mark.so PATH=/nonexistent user=root main=1\n")
    box.run("systemctl", "daemon-reload")
    try:
        loaded.touch()
        loaded.chmod(0o666)
        assert box.run("systemctl", "restart", "ukai").returncode == 0
        assert loaded.read_text() and "0" not in loaded.read_text().split(), "it is loaded, and by the user"
        before, main = loaded.read_text(), box.show("MainPID")
        done = box.run("ukai-upgrade")
        assert done.returncode == 0 and box.show("MainPID") != main, done.stdout
        assert len(loaded.read_text()) > len(before) and "0" not in loaded.read_text().split()
    finally:
        drop_in.unlink()
        loaded.unlink()
        box.run("systemctl", "daemon-reload")
        assert box.run("systemctl", "restart", "ukai").returncode == 0


def test_a_busy_port_is_waited_for(box):
    """However long another program holds it: the unit never gives up."""
    assert box.run("systemctl", "stop", "ukai").returncode == 0
    holder = subprocess.Popen(["nsenter", "-t", str(box.leader), "-a", "/usr/bin/python3", "-c",
                               "import socket, sys; s = socket.create_server(('127.0.0.1', 8080)); print(flush=True); sys.stdin.read()"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    holder.stdout.readline()
    try:
        assert box.run("systemctl", "start", "ukai").returncode != 0
        wait_until(lambda: int(box.show("NRestarts")) >= 8, 30, what=lambda: box.show("NRestarts"))
        assert "another program listens there" in journal(box)
    finally:
        holder.stdin.close()
        holder.stdout.close()
        holder.wait(10)
    wait_until(lambda: box.show("ActiveState") == "active", 10)


def test_logrotate(box, acl):
    """Rotated by force: what comes is in the new file, nothing is lost, and group adm reads both."""
    logs = box.root / "var/log/ukai"

    def counts():
        return {path.name: counts_of(path.name) for path in logs.iterdir()}

    def counts_of(name):
        return (logs / name).read_text().count("\n")

    for path in logs.iterdir():
        path.unlink()
    box.run("systemctl", "kill", "--signal=USR1", "ukai")
    wait_until(lambda: (logs / "access.log").exists())
    for _ in range(5):
        assert serves(box)
    wait_until(lambda: counts() == {"access.log": 5}, what=counts)
    done = box.run("logrotate", "-f", "/etc/logrotate.d/ukai")
    assert done.returncode == 0, done.stdout
    wait_until(lambda: set(counts()) == {"access.log", "access.log.1"}, what=counts)
    for _ in range(3):
        assert serves(box)
    wait_until(lambda: counts() == {"access.log": 3, "access.log.1": 5}, what=counts)
    assert box.run("logrotate", "-f", "/etc/logrotate.d/ukai").returncode == 0
    wait_until(lambda: {path.name for path in logs.iterdir()} == {"access.log", "access.log.1", "access.log.2.gz"})
    assert box.run("sh", "-c", "zcat /var/log/ukai/access.log.2.gz | wc -l").stdout.strip() == "5"
    assert counts_of("access.log.1") == 3
    for name in ("access.log", "access.log.1"):
        said = box.run("stat", "-c", "%a %U %G", f"/var/log/ukai/{name}").stdout.strip()
        assert said == "640 ukai adm", (name, said)
    assert box.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=adm", "cat", "/var/log/ukai/access.log").returncode == 0
    assert box.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "cat", "/var/log/ukai/access.log").returncode != 0


def test_started_through_its_socket(box, packages):
    """ukai.socket of the examples, with this box's address: the first client starts it; a restart refuses nobody."""
    text = (box.root / "usr/share/doc/ukai/examples/systemd/ukai.socket").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("ListenDatagram", "ListenStream=192.168.1.254:53"))]
    unit = box.root / "etc/systemd/system/ukai.socket"
    unit.write_text("\n".join(lines).replace("192.168.1.254", "127.0.0.1") + "\n")
    done = box.run("systemd-analyze", "verify", "/etc/systemd/system/ukai.socket")
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout
    box.run("systemctl", "daemon-reload")
    try:
        assert box.run("systemctl", "stop", "ukai").returncode == 0
        done = box.run("systemctl", "start", "ukai.socket")
        assert done.returncode == 0 and box.show("ActiveState") == "inactive", done.stdout
        assert serves(box) and box.show("ActiveState") == "active"
        assert "closed" not in journal(box).split("msg=ready")[-2], "the socket fits a listener"
        assert box.run("systemctl", "reload", "ukai").returncode == 0
        failed, is_over = [], threading.Event()

        def watch():
            while not is_over.is_set():
                if not serves(box):
                    failed.append(journal(box)[-500:])

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            assert box.run("systemctl", "restart", "ukai").returncode == 0
        finally:
            is_over.set()
            watcher.join()
        assert not failed, failed[0]
    finally:
        box.run("systemctl", "stop", "ukai.socket")
        unit.unlink()
        box.run("systemctl", "daemon-reload")
        assert box.run("systemctl", "restart", "ukai").returncode == 0
