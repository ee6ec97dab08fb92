#!/usr/bin/python3
"""Types README's commands into a shell on the router of the scene and prints what they say: one daemon, from its start to its last
good copy. As root; the shell has an /etc, /run and /var/lib of its own, so nothing of the machine changes. What is printed is pasted
into README as it is, so its parts agree.

    tests/tools/readme-session.py
"""
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lib"))

from client import exchange, open_tunnel  # noqa: E402
from daemon import BINARY  # noqa: E402
from scene import AGENT_NAMES, Scene, wait_until  # noqa: E402

README = (ROOT / "README.md").read_text()
CONF, ACL = (re.sub("^   ", "", text, flags=re.M) for text in re.findall(r"```ini\n(.*?)   ```", README, re.S)[:2])
OUT = "[out]\ndeny = *.example.net\n"
END = "-- end of the answer --"
PRIVATE = """
mount -t tmpfs tmpfs {0}
for at in etc run var/lib; do
    mkdir -p {0}/$at/upper {0}/$at/work
    mount -t overlay overlay -o lowerdir=/$at,upperdir={0}/$at/upper,workdir={0}/$at/work /$at
done
useradd --system --shell /usr/sbin/nologin ukai
rm -rf /etc/ukai /run/ukai /var/lib/ukai
mkdir -p /etc/ukai {0}/bin
ln -s {1} {0}/bin/ukai
PATH={0}/bin:$PATH
echo nameserver 203.0.113.53 >/etc/resolv.conf
mkdir {0}/home
cd {0}/home
"""


class Shell:
    """bash(1) in the router's namespaces."""

    def __init__(self, space, directory):
        self._bash = space.popen(["unshare", "--mount", "bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 env={"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C.UTF-8"})
        self.run(PRIVATE.format(directory, BINARY))

    def run(self, command):
        # Whatever it says comes before the end; $? is that of the command.
        self._bash.stdin.write(f"{command}\n{{ e=$?; echo; echo '{END}'; (exit $e); }}\n".encode())
        self._bash.stdin.flush()
        lines = []
        for raw in self._bash.stdout:
            line = raw.decode().rstrip("\n")
            if line == END:
                break
            lines.append(line)
        return "\n".join(lines).strip("\n")

    def show(self, command):
        said = self.run(command)
        print(f"    $ {command}")
        for line in said.splitlines():
            print(f"    {line}".rstrip())
        return said

    def close(self):
        self._bash.stdin.close()
        self._bash.wait(10)


def write(shell, path, text):
    shell.run(f"cat >{path} <<'EOT'\n{text}EOT")


def flow(sock, stop):
    """A client of an echo: what it sends comes back, a little now and then."""
    while not stop.wait(0.1):
        try:
            sock.sendall(b"x" * 8000)
            n = 0
            while n < 8000:
                n += len(sock.recv(8000))
        except OSError:
            return


def traffic(scene, stop):
    for host, names in ((scene.host10, AGENT_NAMES), (scene.host20, AGENT_NAMES[:2])):
        for name in names:
            open_tunnel(scene.dial(host), f"{name}:443")
        for _ in range(2):
            sock = scene.dial(host)
            open_tunnel(sock, "echo.lab.example:443")
            threading.Thread(target=flow, args=(sock, stop), daemon=True).start()
        for name in AGENT_NAMES * 2:
            host.run(["dig", "+short", "@192.168.1.254", name])
    for target in ("10.1.2.3:443", "www.example.net:443", "www.example.net:443"):
        exchange(scene.dial(), f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    exchange(scene.dial(scene.host30), b"")


def firewall(shell):
    shell.run(f"cp {ROOT}/contrib/nifcloud/security-group.json table.json")
    shell.show("ukai import --format nifcloud-json --group webservers=192.168.2.0/24 table.json >acl.new")
    shell.show("cat acl.new")
    shell.show("mkdir try && cp /etc/ukai/ukai.conf try && mv acl.new try/acl.conf")
    shell.show("ukai check -c try/ukai.conf")


def operate(scene, shell):
    stop = threading.Event()
    shell.run("ukai run 2>log.1 >/dev/null & pid=$!")
    wait_until(lambda: "msg=ready" in shell.run("cat log.1"), what="the start")
    traffic(scene, stop)
    shell.run("ukai top --once")
    time.sleep(12)  # so that the figures of `top` are of a while
    shell.show("ukai status")
    shell.show("ukai tunnels")
    shell.run("ukai top --once >/dev/null; sleep 2")
    shell.show("ukai top --once")
    stop.set()
    scene.close_clients()
    wait_until(lambda: "\n" not in shell.run("ukai tunnels"), what="the end of all tunnels")
    shell.show("ukai rules")
    shell.show("sed -i 's/192.168.1.20/192.168.1.2O/' /etc/ukai/acl.conf  # an O for a 0")
    shell.show("ukai reload")
    shell.show("echo $?")
    shell.run("kill -QUIT $pid; wait $pid; ukai run 2>log.2 >/dev/null & pid=$!")
    wait_until(lambda: "last good copy" in shell.run("cat log.2"), what="the start by the copy")
    shell.show("grep broken log.2")
    shell.run("kill -QUIT $pid")


def main():
    with Scene() as scene, tempfile.TemporaryDirectory(prefix="ukai-readme-") as directory:
        os.chmod(directory, 0o755)
        shell = Shell(scene.router, directory)
        try:
            write(shell, "/etc/ukai/ukai.conf", CONF)
            firewall(shell)
            write(shell, "/etc/ukai/acl.conf", ACL + OUT)
            operate(scene, shell)
        finally:
            shell.close()


if __name__ == "__main__":
    socket.setdefaulttimeout(20)
    main()
