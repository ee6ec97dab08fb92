"""The Debian package: built from the committed tree, checked by lintian, and lived with on a copy of this machine.

The copy is an overlay over the root file system, thrown away afterwards; dpkg runs inside it by chroot. No service manager runs
there, so the daemon is started by hand as the unit would start it.
"""
import re
import shutil
import subprocess

import pytest

from machine import bring, overlay, run, the_deb
from scene import wait_until


@pytest.fixture
def copy():
    """A writable copy of this machine at a path."""
    mounted = []
    with overlay() as root:
        try:
            for kind, source, target, options in (("proc", "proc", root / "proc", "ro"),
                                                  ("tmpfs", "tmpfs", root / "run", "mode=755"), ("bind", "/dev", root / "dev", None)):
                command = ["mount", "--bind", source, target] if kind == "bind" else ["mount", "-t", kind, "-o", options, source, target]
                done = run(*command)
                assert done.returncode == 0, done.stdout
                mounted.append(target)
            policy = root / "usr/sbin/policy-rc.d"
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
            yield root
        finally:
            for target in reversed(mounted):
                run("umount", "-l", target)


def dpkg(root, *arguments):
    done = run("chroot", root, "env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confold", *arguments)
    assert done.returncode == 0, done.stdout
    return done.stdout


def newer(packages, directory):
    """The same package with a higher version."""
    tree = directory / "tree"
    assert run("dpkg-deb", "-R", the_deb(packages), tree).returncode == 0
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", r"Version: 999", control.read_text()))
    out = directory / "ukai_999_all.deb"
    assert run("dpkg-deb", "--root-owner-group", "-b", tree, out).returncode == 0
    return out


def test_lintian_finds_no_error(packages):
    (changes,) = packages.glob("*.changes")
    done = run("lintian", "--allow-root", "--fail-on", "error", changes)
    assert done.returncode == 0, done.stdout


def test_what_the_readme_points_at_is_in_it(packages):
    inside = run("dpkg-deb", "-c", the_deb(packages)).stdout
    for name in ("systemd/README.md", "systemd/ukai.socket", "monitoring/ukai.rules.yml", "nifcloud/README.md", "nifcloud/ukai-drift", "nifcloud/ukai-drift.cron"):
        assert f"/usr/share/doc/ukai/examples/{name}" in inside, inside


def test_installs_starts_upgrades_and_purges(packages, copy, tmp_path, scene):
    dpkg(copy, "-i", bring(copy, the_deb(packages)))
    assert re.search(r"(?m)^ukai:", (copy / "etc/passwd").read_text())
    for place in ("bash-completion/completions/ukai", "zsh/vendor-completions/_ukai", "fish/vendor_completions.d/ukai.fish"):
        assert (copy / "usr/share" / place).exists()
    log = copy / "var/log/ukai"
    assert log.is_dir() and log.stat().st_mode & 0o777 == 0o750
    done = run("chroot", copy, "/usr/sbin/ukai", "check", "-c", "/etc/ukai/ukai.conf")
    assert done.returncode == 0, done.stdout

    caps = "+net_bind_service,+net_raw"
    daemon = scene.host30.popen(
        ["chroot", str(copy), "setpriv", "--reuid=ukai", "--regid=ukai", "--clear-groups", f"--inh-caps={caps}",
         f"--ambient-caps={caps}", "/usr/sbin/ukai", "run", "-c", "/etc/ukai/ukai.conf"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        lines = []
        for line in daemon.stderr:
            lines.append(line)
            if "msg=ready" in line:
                break
        assert lines and "msg=ready" in lines[-1], lines
        done = scene.host30.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-x", "http://127.0.0.1:8080",
                                 "http://127.0.0.1:8080/"])
        assert done.stdout == "403", done.stderr
        wait_until(lambda: "/403" in (log / "access.log").read_text(), what="the record")
    finally:
        daemon.terminate()
        daemon.wait(20)
        daemon.stderr.close()

    conf = copy / "etc/ukai/ukai.conf"
    conf.write_text(conf.read_text() + "; mine\n")
    dpkg(copy, "-i", bring(copy, newer(packages, tmp_path)))
    assert conf.read_text().endswith("; mine\n")
    assert "999" in run("chroot", copy, "dpkg-query", "-W", "ukai").stdout

    dpkg(copy, "-r", "ukai")
    assert conf.exists() and not (copy / "usr/sbin/ukai").exists()
    dpkg(copy, "-P", "ukai")
    left = [path for path in ("etc/ukai", "var/log/ukai", "var/lib/ukai", "etc/logrotate.d/ukai") if (copy / path).exists()]
    assert not left
