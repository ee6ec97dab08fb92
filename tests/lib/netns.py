"""A network namespace as an object.

setns(2) moves one thread only, and a socket stays in the namespace in which it was made. So one test process can hold
sockets of every host of the scene: step in, make the socket, step out. Commands run through `ip netns exec`, which also
puts the files of /etc/netns/NAME over those of /etc.
"""
import ctypes
import os
import re
import socket
import subprocess

CLONE_NEWNET = 0x40000000

# What clients get to see: no proxy variables, no certificates of the machine that runs the tests.
CLEAN_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


class Netns:
    """One named namespace; made by the constructor, removed by delete()."""

    def __init__(self, name):
        self.name = name
        self.fd = -1
        self._home = []
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.fd = os.open("/run/netns/" + name, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self):
        self._home.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        _setns(self.fd)
        return self

    def __exit__(self, *_):
        home = self._home.pop()
        _setns(home)
        os.close(home)

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, proto=0):
        with self:
            return socket.socket(family, kind, proto)

    def command(self, args):
        return ["ip", "netns", "exec", self.name, *map(str, args)]

    def run(self, args, **kwargs):
        """Run to the end with a clean environment; output captured as text, never raises on the exit status."""
        kwargs.setdefault("env", CLEAN_ENV)
        kwargs.setdefault("timeout", 60)
        kwargs.setdefault("text", True)
        return subprocess.run(self.command(args), stdin=kwargs.pop("stdin", subprocess.DEVNULL),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)

    def popen(self, args, **kwargs):
        """Start a process that ends with this one, even when this one is killed."""
        return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.command(args)], **kwargs)

    def ip(self, script):
        """Run lines of ip(8) commands inside the namespace."""
        done = subprocess.run(["ip", "-n", self.name, "-batch", "-"], input=script, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f"ip in {self.name}: {done.stdout}")

    def sysctl(self, **settings):
        """Write settings; a double underscore in a name stands for the dot."""
        with self:
            for key, value in settings.items():
                with open("/proc/sys/" + key.replace("__", "/"), "w") as file:
                    file.write(str(value))

    def nft(self, script):
        done = subprocess.run(self.command(["nft", "-f", "-"]), input=script, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f"nft in {self.name}: {done.stdout}")

    @staticmethod
    def sweep(prefix):
        """Remove namespaces named PREFIXpidx… whose process is gone (killed before it could tidy up)."""
        for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
            found = re.fullmatch(re.escape(prefix) + r"(\d+)x\d+[a-z]", name)
            if found and not os.path.exists("/proc/" + found[1]):
                subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)

    def delete(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        subprocess.run(["ip", "netns", "del", self.name], check=False)
