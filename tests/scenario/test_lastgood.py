"""A copy of the last valid files: a start with broken ones runs on it and says so everywhere; nothing else reads it."""
import json
import os
import subprocess
import time

import pytest

from client import exchange
from daemon import ACL, SANITIZER_DIR, Ukai, run_tool, sections
from faults import Faults
from scene import wait_until

BROKEN = ACL + "tcp 8080 = 192.168.1.999 ; 打ち間違い\n"


@pytest.fixture
def ukai(scene):
    """One that served, and was stopped."""
    daemon = Ukai(scene, sections(admin={"listen": "192.168.1.254:9090", "allow": "192.168.1.10"}), ACL)
    with daemon:
        pass
    yield daemon


def copies(daemon):
    return [path for path in (daemon.dir / "state").iterdir() if path.name.endswith(".last-good")]


def status(daemon):
    return json.loads(run_tool("status", "-c", daemon.conf_path, "--json").out)


def serves(scene):
    return exchange(scene.dial(), b"GARBAGE\r\n\r\n").status == 400


def refuses_to_start(daemon, code=78):
    daemon.start(wait=False)
    assert daemon.wait_exit() == code
    lines = list(daemon.lines)
    daemon.process.stderr.close()
    daemon.process = None
    return lines


def test_a_typo_and_a_restart(scene, ukai):
    ukai.write(acl=BROKEN)
    assert run_tool("check", "-c", ukai.conf_path).returncode == 78
    with ukai:
        assert any("acl.conf:9: error" in line for line in ukai.lines), ukai.lines
        ukai.wait_log("serving by the last good copy of them")
        assert serves(scene)
        assert status(ukai)["last_good_timestamp_s"] <= time.time()
        assert "THE FILES ARE BROKEN" in run_tool("status", "-c", ukai.conf_path).out
        assert "last good" in run_tool("status", "-c", ukai.conf_path, "--html").out
        assert "BY THE LAST GOOD COPY" in run_tool("top", "-c", ukai.conf_path, "--once").out.split("\n")[0]
        told = scene.host10.run(["curl", "-s", "http://192.168.1.254:9090/healthz"]).stdout
        assert told.startswith("ok, by the last good copy")
        assert "ukai_config_last_good 1" in scene.host10.run(["curl", "-s", "http://192.168.1.254:9090/metrics"]).stdout
        assert run_tool("reload", "-c", ukai.conf_path).returncode == 78
        assert "last_good_timestamp_s" in status(ukai)
        ukai.reload(acl=ACL)
        assert "LAST GOOD" not in run_tool("top", "-c", ukai.conf_path, "--once").out
        assert "last_good_timestamp_s" not in status(ukai)
        assert "ukai_config_last_good 0" in scene.host10.run(["curl", "-s", "http://192.168.1.254:9090/metrics"]).stdout


@pytest.mark.skipif(bool(SANITIZER_DIR), reason="the clock's library is not for the sanitizers")
def test_every_hour_it_is_said_again(scene, ukai):
    def said():
        run_tool("status", "-c", ukai.conf_path)  # wakes it
        return sum("serving by the last good copy of them" in line for line in ukai.lines)

    faults = Faults(ukai.dir)
    ukai.prefix = faults.prefix
    ukai.write(acl=BROKEN)
    with ukai:
        ukai.wait_log("serving by the last good copy of them")
        assert said() == 1
        for hours in (1, 2):
            faults.shift_steady_clock(hours * 3600 + 1)
            wait_until(lambda hours=hours: said() == 1 + hours, what="the reminder")
        ukai.reload(acl=ACL)
        faults.shift_steady_clock(4 * 3600)
        assert [said() for _ in range(10)] == [3] * 10


def test_all_files_are_in_it(scene):
    acl = ACL + "[out]\nallow = *\npreset = mine\n"
    config = sections(dns_={"hosts-file": "hosts"})
    daemon = Ukai(scene, config, acl)
    (daemon.dir / "presets.d").mkdir()
    (daemon.dir / "presets.d/mine.conf").write_text("[preset]\nallow = a.example:443 ; 先\n")
    (daemon.dir / "hosts").write_text("192.0.2.77 box.example\n")
    with daemon:
        pass
    for name in ("presets.d/mine.conf", "hosts", "acl.conf"):
        (daemon.dir / name).unlink()
    with daemon:
        daemon.wait_log("serving by the last good copy of them")
        assert "192.0.2.77" in scene.host10.run(["dig", "+short", "@192.168.1.254", "box.example"]).stdout


def test_a_reload_renews_it(scene, ukai):
    with ukai:
        ukai.reload(acl=ACL.replace("192.168.1.10 ", "192.168.1.30 "))
        (copy,) = copies(ukai)
        assert b"192.168.1.30" in copy.read_bytes()
        assert run_tool("reload", "-c", ukai.conf_path).returncode == 0
        ukai.reload(acl=BROKEN, expect="refused")
        assert "192.168.1.999" not in copy.read_text() and copy.stat().st_mode & 0o777 == 0o600
    assert len(list((ukai.dir / "state").iterdir())) == 1, "nothing is left beside it"


def test_it_can_be_switched_off(scene, ukai):
    assert copies(ukai)
    ukai.config["process"]["last-good"] = "off"
    ukai.write(config=ukai.config)
    with ukai:
        assert not copies(ukai)
    ukai.write(acl=BROKEN)
    refuses_to_start(ukai)


@pytest.mark.parametrize("harm", ["cut", "changed", "link", "open", "foreign", "version"])
def test_a_copy_that_is_not_trusted_is_not_used(ukai, harm):
    ukai.write(acl=BROKEN)
    (copy,) = copies(ukai)
    if harm == "cut":
        copy.write_bytes(copy.read_bytes()[:-30])
    elif harm == "changed":
        copy.write_text(copy.read_text().replace("192.168.1.20", "192.168.1.21"))
    elif harm == "link":
        os.rename(copy, ukai.dir / "elsewhere")
        copy.symlink_to(ukai.dir / "elsewhere")
    elif harm == "open":
        copy.chmod(0o666)
    elif harm == "foreign":
        os.chown(copy, 65534, 65534)
    else:
        copy.write_text(copy.read_text().replace("ukai last good 1", "ukai last good 9"))
    assert any("last good copy is not used" in line for line in refuses_to_start(ukai))


def test_a_directory_of_the_user_cannot_make_root_of_it(ukai):
    """Whoever has broken into the daemon writes what it may write; its configuration says user = root."""
    os.chown(ukai.dir / "state", 65534, 65534)
    ukai.write(acl=BROKEN)
    assert any("names another user to run as" in line for line in refuses_to_start(ukai))


@pytest.mark.parametrize("harm", ["gone", "link", "open"])
def test_without_a_place_it_serves_all_the_same(scene, harm):
    daemon = Ukai(scene, sections(), ACL, env={"STATE_DIRECTORY": None})
    place = daemon.dir / "state"
    daemon.env["STATE_DIRECTORY"] = str(place if harm != "gone" else daemon.dir / "no/such")
    if harm == "link":
        place.rmdir()
        place.symlink_to(daemon.dir)
    elif harm == "open":
        place.chmod(0o777)
    with daemon:
        assert serves(scene)
        if harm != "gone":
            daemon.wait_log("no copy of the files is kept")


@pytest.fixture
def small_disk(ukai):
    """Two pages for the copy: today's fits, a longer one does not."""
    place = ukai.dir / "state"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k,mode=0700", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("harm", ["full", "read-only"])
def test_a_copy_that_cannot_be_renewed_stays_whole(scene, ukai, small_disk, harm):
    with ukai:
        (copy,) = copies(ukai)
        before = copy.read_bytes()
        longer = ACL + "".join(f"tcp 8080 = 192.168.9.{i} ; {'x' * 150}\n" for i in range(1, 200))
        if harm == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        mark = len(ukai.lines)
        ukai.reload(acl=longer)
        ukai.wait_log("msg=reloaded", since=mark)
        said = [line for line in ukai.lines[mark:] if "level=warning" in line and "copy" in line]
        assert len(said) == 1, ukai.lines[mark:]
        assert status(ukai)["rules"] > 200 and serves(scene), "the reload itself is not harmed"
        assert copy.read_bytes() == before and len(list(small_disk.iterdir())) == 1, "nothing is left half written"
    ukai.write(acl=BROKEN)
    with ukai:
        ukai.wait_log("serving by the last good copy of them")
        assert status(ukai)["rules"] < 100


def test_after_the_privileges_are_gone_it_is_renewed_too(scene):
    daemon = Ukai(scene, sections(process={"user": "nobody", "group": "nogroup"}), ACL)
    for path in (daemon.dir, daemon.dir / "state"):
        os.chown(path, 65534, 65534)
    with daemon:
        daemon.reload(acl=ACL + "tcp 8080 = 192.168.9.9 ; 追加\n")
        (copy,) = copies(daemon)
        assert "追加" in copy.read_text()
        assert copy.stat().st_uid == 65534 and copy.stat().st_mode & 0o777 == 0o600
    daemon.write(acl=BROKEN)
    with daemon:
        daemon.wait_log("serving by the last good copy of them")
        assert "追加" in run_tool("rules", "-c", daemon.conf_path).out


def test_who_replaces_does_not_use_it(scene, ukai):
    with ukai:
        ukai.write(acl=BROKEN)
        done = run_tool("run", "-c", ukai.conf_path, "--replace", netns=scene.router,
                        env={"STATE_DIRECTORY": str(ukai.dir / "state")})
        assert done.returncode == 78 and "last good" not in done.out, done.out
        assert serves(scene)
        ukai.write(acl=ACL)
