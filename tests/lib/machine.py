"""A copy of this machine to install into: an overlay over its root, thrown away afterwards; and a systemd that runs in one."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from daemon import REPOSITORY


def run(*command, **options):
    options.setdefault("timeout", 300)
    return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **options)


def build_packages(out):
    """The Debian packages of the committed tree, in the directory out."""
    done = run(REPOSITORY / "contrib/debian/build", out, env=dict(os.environ, DEB_BUILD_OPTIONS="parallel=2"))
    assert done.returncode == 0, done.stdout[-4000:]
    return out


def the_deb(packages):
    (deb,) = packages.glob("ukai_*.deb")
    return deb


def bring(root, deb):
    """Into the copy; returns its path there."""
    shutil.copy(deb, root / "var/cache" / deb.name)
    return f"/var/cache/{deb.name}"


@contextlib.contextmanager
def overlay():
    """The path of a writable copy; mounts that are made below it are the caller's."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="ukai-machine-", dir="/var/tmp"))
    for name in ("upper", "work", "root"):
        (base / name).mkdir()
    done = run("mount", "-t", "overlay", "-o", f"lowerdir=/,upperdir={base}/upper,workdir={base}/work", "overlay", base / "root")
    assert done.returncode == 0, done.stdout
    try:
        yield base / "root"
    finally:
        run("umount", "-l", base / "root")
        shutil.rmtree(base)


class Container:
    """systemd as process 1 on such a copy, with a loopback and nothing else; run() commands in it."""

    def __init__(self, root):
        self.root, self.leader = root, None
        (root / "etc/machine-id").write_text(f"{os.getpid():032x}\n")
        for place in ("var/lib/ukai", "var/log/ukai", "etc/ukai"):
            shutil.rmtree(root / place, ignore_errors=True)

    def __enter__(self):
        self._log = open(self.root / "nspawn.log", "w+", encoding="utf-8")
        self._process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "-D", self.root, "--private-network",
             f"--machine=ukai{os.getpid()}", "--console=pipe", "--link-journal=no", "--system-call-filter=landlock_create_ruleset "
             "landlock_add_rule landlock_restrict_self", "--", "systemd.unit=basic.target"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        limit = time.monotonic() + 60
        while not self._is_up():
            if time.monotonic() > limit or self._process.poll() is not None:
                self._log.seek(0)
                said = self._log.read()
                self.__exit__()
                raise AssertionError(f"systemd does not come up: {said}")
            time.sleep(0.1)
        return self

    def _is_up(self):
        children = pathlib.Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return False
        self.leader = int(children[0])
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def run(self, *command, **options):
        return run("nsenter", "-t", str(self.leader), "-a", *command, **options)

    def show(self, name, unit="ukai"):
        return self.run("systemctl", "show", "-p", name, "--value", unit).stdout.strip()

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)  # orderly; once more: at once
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
