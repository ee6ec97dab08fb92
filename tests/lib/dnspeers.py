"""Real DNS servers and load for a scene: unbound as recursive name servers, an nsd behind them, and dnsperf.

The nsd is one more beside the scene's, with the same zone, since nsd drops answers past 200 a second unless it is told
not to, and a test under load would take that for a loss of the daemon's.
"""
import re
import socket
import subprocess

import dnswire
from scene import LAN_ROUTER, NSD, ORIGIN, wait_until

AUTHORITY = ORIGIN                  # nothing else of the scene uses port 53 there

UNBOUND = """server:
  directory: "{home}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: "{home}/log"
  num-threads: 1
  interface: {address}
  outgoing-interface: {address}
  do-ip6: no
  access-control: 0.0.0.0/0 allow
  module-config: "iterator"
  root-hints: "{home}/hints"
  target-fetch-policy: "0 0 0 0 0"
  qname-minimisation: no
"""

NSD_CONF = """server:
  ip-address: {address}
  server-count: 1
  username: ""
  zonesdir: "{home}"
  database: ""
  pidfile: ""
  logfile: "{home}/log"
  xfrdfile: "{home}/xfrd"
  xfrdir: "{home}"
  zonelistfile: "{home}/zones"
  cookie-secret-file: "{home}/cookies"
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: .
  zonefile: zone
"""


def answers(scene, address):
    with scene.outer.socket(kind=socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.3)
        try:
            sock.connect((address, 53))
            sock.send(dnswire.query("v4.lab.example"))
            return sock.recv(4096)[3] & 15 == 0
        except OSError:
            return False


def start_authority(scene):
    """The process; the caller ends it."""
    home = scene.dir / "nsd-unlimited"
    home.mkdir()
    zone = (scene.dir / "nsd" / "zone").read_text()
    glue = f"ns.example. IN A {NSD}\n"
    assert glue in zone
    (home / "zone").write_text(zone.replace(glue, f"ns.example. IN A {AUTHORITY}\n"))
    (home / "conf").write_text(NSD_CONF.format(home=home, address=AUTHORITY))
    process = scene.outer.popen(["nsd", "-d", "-c", home / "conf"], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: answers(scene, AUTHORITY), what="nsd listening")
    return process


class Unbound:
    """One recursive name server on an address of the outer side; its root is start_authority()'s."""

    def __init__(self, scene, address, extra=""):
        self.scene, self.address = scene, address
        self.home = scene.dir / f"unbound-{address}"
        self.home.mkdir(exist_ok=True)
        self.home.chmod(0o755)
        (self.home / "hints").write_text(f". 3600 IN NS ns.example.\nns.example. 3600 IN A {AUTHORITY}\n")
        (self.home / "conf").write_text(UNBOUND.format(home=self.home, address=address) + extra)
        self.process = None

    def start(self):
        self.process = self.scene.outer.popen(["unbound", "-d", "-c", self.home / "conf"], stdin=subprocess.DEVNULL,
                                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: answers(self.scene, self.address), what=f"unbound on {self.address}")
        return self

    def kill(self):
        """At once, as a crash."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self):
        if self.process:
            self.kill()


class Load:
    """dnsperf from a LAN host at a steady rate; what became of the queries at the end."""

    def __init__(self, scene, names, seconds, rate, timeout_s=2, mode="udp"):
        path = scene.dir / "load"
        path.write_text("".join(f"{name} A\n" for name in names))
        self.process = scene.host10.popen(
            ["dnsperf", "-s", LAN_ROUTER, "-m", mode, "-d", path, "-l", str(seconds), "-Q", str(rate), "-t",
             str(timeout_s), "-q", "1000", "-c", "4", "-v", "-W"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(self):
        """Numbers of dnsperf's report, and the codes by count."""
        out = self.process.communicate(timeout=60)[0]
        self.text = out

        def number(what):
            return int(re.search(what + r":\s+(\d+)", out)[1])

        codes = re.search(r"Response codes:\s+(.*)", out)
        self.codes = {code: int(n) for code, n in re.findall(r"(\w+) (\d+) \(", codes[1] if codes else "")}
        self.sent, self.completed, self.lost = map(number, ("Queries sent", "Queries completed", "Queries lost"))
        self.longest_s = float(re.search(r"max ([\d.]+)\)", out)[1])
        return self
