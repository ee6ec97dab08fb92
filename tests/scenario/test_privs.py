"""What the daemon is left with while it serves (abuse cases O09, O10, G24), and that it still serves with it."""
import errno
import grp
import os
import pathlib
import pwd
import re
import signal

import pytest

import inject
from client import open_tunnel
from daemon import SANITIZER_DIR, Ukai, run_tool, sections
from scene import wait_until

CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW = 1 << 10, 1 << 12, 1 << 13
USER = "nobody"
AGENTS = "agents.deepsecurity.trendmicro.com"
TARGET = f"{AGENTS}:443"

needs_fences = pytest.mark.skipif(bool(SANITIZER_DIR), reason="a build with sanitizers has no sandbox")


def make(scene, port="8086", **changes):
    """A daemon that starts as root and becomes nobody; its directory is that user's, as packages set it up."""
    config = sections(dns=False, web={"listen-port": port}, **changes)
    config["process"].update(user=USER, group=grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name, sandbox="on")
    daemon = Ukai(scene, config, f"[in]\ntcp {port} = 192.168.1.10\n")
    pathlib.Path(scene.dir).chmod(0o711)
    os.chown(daemon.dir, pwd.getpwnam(USER).pw_uid, -1)
    return daemon


def statuses(daemon):
    """/proc status of every thread, as dicts."""
    return [dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
            for path in pathlib.Path(f"/proc/{daemon.pid}/task").glob("*/status")]


def expect_fenced(daemon, caps):
    """Each thread has no more than the documented capabilities, those who serve have them all, and no way back."""
    threads = statuses(daemon)
    assert len(threads) >= 4  # main, the log's and two workers
    uid = str(pwd.getpwnam(USER).pw_uid)
    for status in threads:
        assert set(status["Uid"].split()) == {uid} and "0" not in status["Gid"].split()
        assert status["Groups"].split() == []
        assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
        held = {int(status[name], 16) for name in ("CapEff", "CapPrm")}
        assert held <= {caps, 0} and int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert sum(int(status["CapEff"], 16) == caps for status in threads) >= 2 + 1, "main and the workers"


@needs_fences
@pytest.mark.parametrize("port, changes, caps", [
    ("8086", {}, CAP_NET_RAW),
    ("986", {}, CAP_NET_RAW | CAP_NET_BIND_SERVICE),
    ("8086", {"has_mark": True}, CAP_NET_RAW | CAP_NET_ADMIN),
    ("8086", {"by_address": True}, 0),
], ids=["by-interface", "low-port", "mark", "by-address"])
def test_O09_every_thread_is_fenced_and_has_the_documented_capabilities(scene, port, changes, caps):
    daemon = make(scene, port)
    web = daemon.config["web-proxy lan"]
    if changes.get("has_mark"):
        web["bypass-mark"] = "7"
    if changes.get("by_address"):
        web["listen-network"] = "192.168.1.254"
        del web["bypass-network"]
    daemon.write(config=daemon.config)
    with daemon:
        open_tunnel(scene.dial(port=int(port)), TARGET)
        expect_fenced(daemon, caps)
        daemon.reload(acl=f"[in]\ntcp {port} = 192.168.1.10\ntcp {port} = 192.168.1.20\n")
        open_tunnel(scene.dial(host=scene.host20, port=int(port)), TARGET)
        expect_fenced(daemon, caps)


@needs_fences
@pytest.mark.parametrize("mark, left", [(None, CAP_NET_RAW), ("7", CAP_NET_RAW | CAP_NET_ADMIN)], ids=["plain", "mark"])
def test_O09_of_the_capabilities_that_a_service_manager_gave_only_the_needed_stay(scene, mark, left):
    daemon = make(scene)
    daemon.config["web-proxy lan"]["bypass-mark"] = mark
    daemon.write(config=daemon.config)
    given = "+net_raw,+net_admin,+net_bind_service"
    daemon.prefix = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", f"--inh-caps={given}",
                     f"--ambient-caps={given}"]
    with daemon:
        for _ in range(2):
            open_tunnel(scene.dial(port=8086), TARGET)
            expect_fenced(daemon, left)
            assert {int(status[name], 16) for status in statuses(daemon) for name in ("CapPrm", "CapEff")} == {left}
            daemon.reload()


@needs_fences
@pytest.mark.parametrize("way", ["root", "ambient"])
def test_O09_the_successor_is_fenced_as_the_first_was(scene, way):
    """What it was handed by the old one gives it no more; the old one, which drains, has no more than before either."""
    old = make(scene)
    given = "+net_raw,+net_admin,+net_bind_service"
    prefix = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", f"--inh-caps={given}", f"--ambient-caps={given}"]
    old.prefix = prefix if way == "ambient" else []
    new = make(scene)
    new.prefix, new.args = old.prefix, ["--replace"]
    new.conf_path.write_bytes(old.conf_path.read_bytes())  # the same control socket, the same log
    new.access_path = old.access_path
    with old:
        sock = scene.dial(port=8086)
        open_tunnel(sock, TARGET)
        with new:
            old.wait_log("replaced by another daemon")
            open_tunnel(scene.dial(port=8086), TARGET)
            expect_fenced(new, CAP_NET_RAW)
            expect_fenced(old, CAP_NET_RAW)
            scene.close_clients()
            assert old.wait_exit() == 0


def fails_to_start(daemon, line='msg="cannot start"'):
    """What it says of it; exit code 1."""
    daemon.start(wait=False)
    assert daemon.wait_exit() == 1
    daemon.process.stderr.close()
    daemon.process = None
    said = [text for text in daemon.lines if line in text]
    assert len(said) == 1, daemon.lines
    return said[0]


@pytest.mark.parametrize("changes, why", [
    ({"user": "nobody-of-ours"}, "there is no user 'nobody-of-ours' to run as: make it with `useradd"),
    ({"group": "nobodies-of-ours"}, "there is no group 'nobodies-of-ours' (group in [process])"),
], ids=["user", "group"])
def test_G24_no_such_user_or_group(scene, changes, why):
    daemon = make(scene)
    daemon.config["process"].update(changes)
    daemon.write(config=daemon.config)
    assert why in fails_to_start(daemon)


def test_O09_root_that_may_not_become_another(scene):
    daemon = make(scene)
    daemon.prefix = ["setpriv", "--bounding-set=-setuid,-setgid"]
    said = fails_to_start(daemon)
    assert f"cannot become user '{USER}': Operation not permitted; root needs CAP_SETUID, CAP_SETGID" in said


def test_O02_no_thread_for_the_log(scene):
    """Root is beyond that limit; the user that it becomes is not."""
    daemon = make(scene)
    daemon.prefix = ["prlimit", "--nproc=1"]
    said = fails_to_start(daemon)
    assert ("the thread that writes the log could not be made: Resource temporarily unavailable; raise the limits of processes and "
            "threads (LimitNPROC=, TasksMax=)") in said


def test_O02_no_descriptors_for_the_workers(scene):
    daemon = make(scene)
    daemon.config["process"]["workers"] = "64"
    daemon.write(config=daemon.config)
    daemon.prefix = ["prlimit", "--nofile=64:64"]
    assert "raise the limit of open files (LimitNOFILE=)" in fails_to_start(daemon, 'msg="cannot go on"')
    assert [line for line in daemon.lines if "Too many open files" in line and line.startswith("level=error ")]
    assert all(line.startswith("level=") for line in daemon.lines), daemon.lines


def test_O09_a_mark_that_the_daemon_may_no_longer_set_is_refused(scene):
    """Started without any, and with nothing that needs a capability: with the mark every dial would fail."""
    daemon = make(scene)
    web = daemon.config["web-proxy lan"]
    web["listen-network"] = "192.168.1.254"
    del web["bypass-network"]
    daemon.config["log"]["access"] = "off"
    daemon.write(config=daemon.config)
    with daemon:
        web["bypass-mark"] = "7"
        said = daemon.reload(config=daemon.config, expect="refused")
        assert any("bypass-mark needs CAP_NET_ADMIN" in line for line in said), said
        open_tunnel(scene.dial(port=8086), TARGET)
    daemon.prefix = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups"]
    assert "bypass-mark needs CAP_NET_ADMIN" in fails_to_start(daemon)


def test_O02_fewer_open_files_than_asked_for_are_warned_of(scene):
    """Without root the hard limit holds; the key is applied as far as it goes, at the start and at a reload."""
    daemon = make(scene)
    daemon.config["log"]["access"] = "off"
    daemon.config["process"]["nofile"] = "5000"
    daemon.write(config=daemon.config)
    daemon.prefix = ["prlimit", "--nofile=1000:1000", "setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups"]
    with daemon:
        assert "nofile=1000 wanted=5000" in daemon.wait_log('msg="fewer open files than nofile asks for"')
        daemon.wait_log(r"\bmsg=ready\b.* nofile=1000\b")
        daemon.config["process"]["nofile"] = "6000"
        said = daemon.reload(config=daemon.config)
        assert any("nofile=1000 wanted=6000" in line for line in said), said


@needs_fences
def test_O09_no_descriptor_that_root_opened_but_listeners_and_logs(scene):
    with make(scene) as daemon:
        files = [link for link in daemon.links() if link.startswith("/")]
        assert set(files) <= {"/dev/null", str(daemon.access_path)}, files


@needs_fences
def test_O10_says_what_fences_there_are(scene):
    with make(scene) as daemon:
        assert "seccomp=yes" in daemon.wait_log(r"msg=sandboxed")
        assert int(re.search(r"landlock_abi=(\d+)", daemon.wait_log(r"msg=sandboxed"))[1]) >= 1


# What an intruder would try: number, arguments, and what must come of it.
AF_NETLINK, AF_PACKET, SIGCHLD, CLONE_NEWNET = 16, 17, 17, 0x40000000
READ_WRITE_EXEC, PRIVATE_ANONYMOUS = 7, 0x22
ATTEMPTS = {
    "execve": (59, (0, 0, 0), "SIGSYS"), "a new process": (56, (SIGCHLD,), "SIGSYS"), "fork": (57, (), "SIGSYS"),
    "ptrace": (101, (0,), "SIGSYS"), "setuid": (105, (0,), "SIGSYS"), "unshare": (272, (CLONE_NEWNET,), "SIGSYS"),
    "executable memory": (9, (0, 4096, READ_WRITE_EXEC, PRIVATE_ANONYMOUS, -1, 0), "SIGSYS"), "bpf": (321, (0, 0, 0), "SIGSYS"),
    "io_uring": (425, (1, 0), "SIGSYS"), "reading another process": (310, (1, 0, 0, 0, 0, 0), "SIGSYS"), "module": (175, (0, 0, 0), "SIGSYS"),
    "a netlink socket": (41, (AF_NETLINK, 3, 0), -errno.EACCES), "a packet socket": (41, (AF_PACKET, 3, 0), -errno.EACCES),
    "another clock": (227, (0, 0), -errno.ENOSYS), "kill": (62, (1, 0), -errno.ENOSYS)}


@needs_fences
@pytest.mark.skipif(not inject.IS_POSSIBLE, reason="the calls are put into the thread for x86-64 only")
@pytest.mark.parametrize("which, name", [(1, "the log"), (-1, "a worker")], ids=["log", "worker"])
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_O10_a_call_that_a_thread_of_the_serving_daemon_must_not_make(scene, attempt, which, name):
    """Put into the thread itself, in place of a hook in the program: it dies of it, or is refused and serves on."""
    number, arguments, outcome = ATTEMPTS[attempt]
    daemon = make(scene)
    with daemon:
        open_tunnel(scene.dial(port=8086), TARGET)
        with inject.Held(inject.threads(daemon.pid)[which]) as thread:
            assert thread.call(39) == daemon.pid, "getpid, so that the way is right"
            result = thread.call(number, *arguments)
        if attempt in ("fork", "a new process") and isinstance(result, int) and result > 0:
            os.kill(result, signal.SIGKILL)  # it would keep the pipe of the log open
        assert result == outcome
        if outcome != "SIGSYS":
            open_tunnel(scene.dial(port=8086), TARGET)
            return
        scene.close_clients()
        assert daemon.wait_exit() == -signal.SIGSYS
        daemon.process.stderr.close()
        daemon.process = None


def test_O10_off_is_said_as_a_warning(scene):
    daemon = make(scene)
    daemon.config["process"]["sandbox"] = "off"
    daemon.write(config=daemon.config)
    with daemon:
        assert daemon.wait_log(r'msg="running without a sandbox"').startswith("level=warning")


def test_G24_reload_after_the_privilege_drop_needs_no_root(scene):
    with make(scene) as daemon:
        daemon.reload(acl="[in]\ntcp 8086 = 192.168.1.10\ntcp 8086 = 192.168.1.20\n")
        open_tunnel(scene.dial(host=scene.host20, port=8086), TARGET)


@pytest.mark.parametrize("which", ["acl", "conf"])
def test_G24_a_file_that_only_root_can_read_leaves_the_old_rules(scene, which):
    with make(scene) as daemon:
        path = getattr(daemon, f"{which}_path")
        daemon.write_acl("[in]\ntcp 8086 = 192.168.1.20\n")  # were it read, the client would be shut out
        path.chmod(0o600)
        mark = len(daemon.lines)
        daemon.signal(signal.SIGHUP)
        assert "Permission denied" in daemon.wait_log(r'msg="reload refused"', mark)
        done = run_tool("reload", "-c", daemon.conf_path)
        assert done.returncode == 78 and "Permission denied" in done.out, done.out
        open_tunnel(scene.dial(port=8086), TARGET)
        path.chmod(0o644)
        assert run_tool("reload", "-c", daemon.conf_path).returncode == 0
        open_tunnel(scene.dial(host=scene.host20, port=8086), TARGET)


def test_the_log_that_root_made_is_the_users(scene):
    """So it can be opened anew as it is, and behind a directory's own group stays that group's."""
    with make(scene) as daemon:
        user = daemon.access_path.stat().st_uid
        assert user == int(re.search(r"Uid:\s+(\d+)", open(f"/proc/{daemon.pid}/status", encoding="ascii").read())[1]) != 0
        mark = len(daemon.lines)
        daemon.signal(signal.SIGUSR1)
        assert "log files reopened" in daemon.wait_log("reopened", mark)


def test_USR1_reopens_the_log_behind_the_fences(scene):
    with make(scene) as daemon:
        rotated = daemon.access_path.with_name("access.json.1")
        daemon.access_path.rename(rotated)
        mark = len(daemon.lines)
        daemon.signal(signal.SIGUSR1)
        daemon.wait_log(r'msg="log files reopened"', mark)
        open_tunnel(scene.dial(port=8086), TARGET)
        scene.close_clients()
        wait_until(lambda: daemon.access_path.exists() and AGENTS in daemon.access_path.read_text())
        assert daemon.access_path.stat().st_uid == pwd.getpwnam(USER).pw_uid


@needs_fences
def test_O10_a_log_outside_the_fence_is_refused_at_reload_and_says_so(scene, tmp_path):
    tmp_path.chmod(0o777)
    with make(scene) as daemon:
        text = daemon.conf_path.read_text().replace(str(daemon.access_path), f"{tmp_path}/elsewhere.json")
        lines = daemon.reload(conf_text=text, expect="refused")
        assert any("access log cannot be opened" in line for line in lines), lines


def test_O17_a_lost_interface_is_bound_again_without_root(scene):
    with make(scene) as daemon:
        for _ in range(2):
            mark = len(daemon.lines)
            scene.lan_leg_down()
            scene.lan_leg_up()

            def serves():
                try:
                    open_tunnel(scene.dial(port=8086, timeout=1), TARGET)
                    return True
                except (OSError, AssertionError):
                    return False

            wait_until(serves, 15, lambda: f"service again: {daemon.lines[mark:]}")
