"""The scene: a private LAN, its router with one leg outside, and the world behind it, as network namespaces.

    host10 192.168.1.10 ─┐                                                            ┌ 203.0.113.53  nsd, authoritative
    host20 192.168.1.20 ─┼─ switch ─ lan0 192.168.1.254 [router] 203.0.113.1 out0 ─ outer ┼ 203.0.113.54  scripted authority
    host30 192.168.1.30 ─┘        2001:db8:1::/64              2001:db8:f::/64        └ 203.0.113.10… origins

The LAN hosts have their link route only and the router forwards nothing, so what arrives outside came through the daemon.
The outer namespace owns every address in the world but 203.0.113.0/24 and 2001:db8:f::/64 (local routes for whole
prefixes), so that any address that the daemon dials can be answered. A wildcard listener there notes who was reached, and
an nft set in the router notes every connection attempt to a special-use address, loopback included: the canaries.
"""
import ipaddress
import itertools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import authority
import origins
import tlsfiles
from netns import Netns

SPECIAL_USE_4 = ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
                 "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4")
SPECIAL_USE_6 = ("::/96", "fe80::/10", "fec0::/10", "fc00::/7", "ff00::/8", "64:ff9b:1::/48", "100::/64")

LAN_ROUTER, LAN_ROUTER6 = "192.168.1.254", "2001:db8:1::254"
OUT_ROUTER, OUT_ROUTER6 = "203.0.113.1", "2001:db8:f::1"
OUTER_GATE, OUTER_GATE6 = "203.0.113.254", "2001:db8:f::fe"
NSD, SCRIPTED = "203.0.113.53", "203.0.113.54"
ORIGIN, ORIGIN6, SSH_ORIGIN, ECHO, ECHO6 = ("203.0.113.10", "2001:db8:f::10", "203.0.113.11", "203.0.113.12",
                                            "2001:db8:f::12")
# Destinations whose packets vanish, and ones that answer "host unreachable".
BLACKHOLE, BLACKHOLE6 = "198.51.100.192/27", "2001:db8:dead::/48"
UNREACHABLE = "198.51.100.224/28"

AGENT_NAMES = tuple(n + ".deepsecurity.trendmicro.com" for n in ("agents", "app", "relay", "dsmim"))
ZONE = """$ORIGIN .
$TTL 60
@ IN SOA ns.example. admin.example. 1 3600 600 86400 5
@ IN NS ns.example.
ns.example. IN A 203.0.113.53
{agents}
git.lab.example. IN A 203.0.113.10
v4.lab.example. IN A 203.0.113.10
six.lab.example. IN AAAA 2001:db8:f::10
ssh.lab.example. IN A 203.0.113.11
echo.lab.example. IN A 203.0.113.12
echo.lab.example. IN AAAA 2001:db8:f::12
alias.lab.example. IN CNAME v4.lab.example.
text.lab.example. IN TXT "a text"
odd.lab.example. IN TYPE65280 \\# 4 deadbeef
{big}
"""

_numbers = itertools.count(1)


def is_special_use(text):
    """The contract's table, written down a second time; IPv4 inside mapped forms counts as that IPv4."""
    address = ipaddress.ip_address(text)
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    table = SPECIAL_USE_4 if address.version == 4 else SPECIAL_USE_6
    return any(address in ipaddress.ip_network(net) for net in table)


def wait_until(claim, deadline_s=10, what="condition"):
    """Poll a cheap claim until it holds and return what it said; for states that send no event."""
    limit = time.monotonic() + deadline_s
    while True:
        value = claim()
        if value:
            return value
        if time.monotonic() > limit:
            raise AssertionError(f"{what() if callable(what) else what} did not hold within {deadline_s} s")
        time.sleep(0.005)


class Scene:
    """Use as a context manager; everything it makes carries the pid in its name and goes away at the end."""

    def __init__(self):
        self.tag = f"uk{os.getpid()}x{next(_numbers)}"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ukai-scene-"))
        self.dir.chmod(0o755)
        self._spaces, self._processes, self._servers, self._clients = [], [], [], []
        self._addresses = (f"198.51.100.{n}" for n in itertools.cycle(range(1, 190)))
        self._labels = itertools.count(1)
        self.touched = []             # (local address, port) of connections that the wildcard listeners accepted
        self._touch_lock = threading.Lock()

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    # building

    def _space(self, suffix):
        space = Netns(self.tag + suffix)
        self._spaces.append(space)
        with space:
            for version in ("ipv4", "ipv6"):
                for scope in ("all", "default"):
                    base = pathlib.Path(f"/proc/sys/net/{version}/conf/{scope}")
                    if version == "ipv4":
                        (base / "rp_filter").write_text("0")
                        (base / "accept_redirects").write_text("0")
                    else:
                        (base / "accept_dad").write_text("0")
                        (base / "dad_transmits").write_text("0")
                        (base / "accept_ra").write_text("0")
        space.ip("link set lo up\n")
        return space

    def _build(self):
        Netns.sweep("uk")
        self.switch, self.router, self.outer = self._space("s"), self._space("r"), self._space("o")
        self.host10, self.host20, self.host30 = (self._space(n) for n in "abc")
        self.switch.ip("link add br0 type bridge forward_delay 0\nlink set br0 up\n")
        for n, host in ((10, self.host10), (20, self.host20), (30, self.host30)):
            self.switch.ip(f"link add p{n} type veth peer name eth0 netns {host.name}\n"
                           f"link set p{n} master br0 up\n")
            host.ip(f"addr add 192.168.1.{n}/24 dev eth0\naddr add 2001:db8:1::{n}/64 dev eth0 nodad\n"
                    "link set eth0 up\n")
        self.lan_leg_up()
        self.router.ip(f"link add out0 type veth peer name eth0 netns {self.outer.name}\n"
                       f"addr add {OUT_ROUTER}/24 dev out0\naddr add {OUT_ROUTER6}/64 dev out0 nodad\n"
                       f"link set out0 up\n")
        self._build_outer()
        self.router.ip(f"route add default via {OUTER_GATE}\nroute add ::/0 via {OUTER_GATE6}\n")
        self.router.sysctl(net__ipv4__ip_forward=0, net__ipv6__conf__all__forwarding=0)
        self._build_canaries()
        self._start_nsd()
        self.dns = authority.Authority(self.outer, SCRIPTED, NSD)
        self._servers.append(self.dns)
        self._start_origins()

    def lan_leg_up(self):
        """Make the router's LAN interface; also after lan_leg_down(). Same MAC each time: the hosts' ARP caches hold it."""
        self.switch.ip("link add prouter type veth peer name lan0 address 02:00:c0:a8:01:fe "
                       f"netns {self.router.name}\n"
                       "link set prouter master br0 up\n")
        self.router.ip(f"addr add {LAN_ROUTER}/24 dev lan0\naddr add {LAN_ROUTER6}/64 dev lan0 nodad\n"
                       "link set lan0 up\n")

    def lan_leg_down(self):
        """Remove the router's LAN interface altogether."""
        self.router.ip("link del lan0\n")

    def _build_outer(self):
        mine4 = [f"203.0.113.{n}" for n in (10, 11, 12, 53, 54, 99, 254)]
        mine6 = ["2001:db8:f::" + n for n in ("10", "11", "12", "53", "54", "fe")]
        self.outer.sysctl(net__ipv4__ip_nonlocal_bind=1, net__ipv6__ip_nonlocal_bind=1)
        self.outer.ip("link set eth0 up\n"
                      + "".join(f"addr add {a}/24 dev eth0\n" for a in mine4)
                      + "".join(f"addr add {a}/64 dev eth0 nodad\n" for a in mine6)
                      + "route add 203.0.113.0/24 dev eth0 table local\n"
                      + f"route add {LAN_ROUTER}/32 via {OUT_ROUTER} table local\n"
                      + "route add local 0.0.0.0/0 dev lo table local\n"
                      + "route add 2001:db8:f::/64 dev eth0 table local metric 1\n"
                      + "route add fe80::/10 dev eth0 table local\n"
                      + f"route add {LAN_ROUTER6}/128 via {OUT_ROUTER6} dev eth0 table local\n"
                      + "route add local ::/0 dev lo table local\n")
        self.outer.nft(f"""
            table inet scene {{
                set held4 {{ type ipv4_addr; }}
                chain in {{
                    type filter hook input priority 0; policy accept;
                    ip daddr {{ {BLACKHOLE} }} drop
                    ip6 daddr {{ {BLACKHOLE6} }} drop
                    ip daddr {{ {UNREACHABLE} }} reject with icmp type host-unreachable
                    ip daddr @held4 drop
                }}
            }}""")

    def hold(self, address):
        """Drop what arrives for an address of the outer side, until release()."""
        self.outer.nft(f"add element inet scene held4 {{ {address} }}")

    def release(self, address):
        self.outer.nft(f"delete element inet scene held4 {{ {address} }}")

    def _build_canaries(self):
        four, six = ", ".join(SPECIAL_USE_4), ", ".join(SPECIAL_USE_6)
        self.router.nft(f"""
            table inet canary {{
                set touched4 {{ type ipv4_addr . inet_service; size 65535; flags dynamic; }}
                set touched6 {{ type ipv6_addr . inet_service; size 65535; flags dynamic; }}
                chain out {{
                    type filter hook output priority 0; policy accept;
                    ip daddr {{ {four} }} tcp flags & (syn | ack) == syn add @touched4 {{ ip daddr . tcp dport }}
                    ip daddr {{ {four} }} udp sport != 53 add @touched4 {{ ip daddr . udp dport }}
                    ip6 daddr {{ {six} }} tcp flags & (syn | ack) == syn add @touched6 {{ ip6 daddr . tcp dport }}
                    ip6 daddr {{ {six} }} udp sport != 53 add @touched6 {{ ip6 daddr . udp dport }}
                }}
            }}""")
        for space in (self.outer, self.router):
            for family, wildcard in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                if space is self.router:
                    wildcard = "127.0.0.1" if family == socket.AF_INET else "::1"
                listener = self._listener(space, wildcard, 443, family)
                self._servers.append(origins.Acceptor(listener, self._note_touch))

    def _note_touch(self, conn, _, local):
        with self._touch_lock:
            self.touched.append((local[0], local[1]))
        conn.settimeout(30)
        while conn.recv(65536):
            pass

    def reached(self, address, port=443):
        """Whether a wildcard listener was reached under that address."""
        with self._touch_lock:
            return (address, port) in self.touched

    def forbidden_touched(self):
        """Special-use destinations that somebody in the router tried to reach; the notes are cleared by reading them."""
        done = self.router.run(["nft", "-j", "list", "table", "inet", "canary"])
        out = set()
        for item in json.loads(done.stdout)["nftables"]:
            for element in item.get("set", {}).get("elem", []):
                if isinstance(element, dict) and "elem" in element:
                    element = element["elem"]["val"]
                out.add(tuple(element["concat"]))
        if out:
            self.router.nft("flush set inet canary touched4\nflush set inet canary touched6\n")
        with self._touch_lock:
            out.update(t for t in self.touched if is_special_use(t[0]))
            self.touched.clear()
        return out

    def _start_nsd(self):
        agents = "".join(f"{n}. IN A {ORIGIN}\n{n}. IN AAAA {ORIGIN6}\n" for n in AGENT_NAMES)
        big = "".join(f'big.lab.example. IN TXT "{n:03d} {"x" * 200}"\n' for n in range(20))
        home = self.dir / "nsd"
        home.mkdir()
        (home / "zone").write_text(ZONE.format(agents=agents, big=big))
        (home / "nsd.conf").write_text(f"""
server:
  ip-address: {NSD}
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
""")
        self._processes.append(self.outer.popen(["nsd", "-d", "-c", home / "nsd.conf"], stdin=subprocess.DEVNULL,
                                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        def answers():
            with self.outer.socket() as probe:
                probe.settimeout(0.2)
                return probe.connect_ex((NSD, 53)) == 0

        wait_until(answers, what="nsd listening")

    def _start_origins(self):
        tls_dir, www = self.dir / "tls", self.dir / "www"
        tls_dir.mkdir()
        www.mkdir()
        tlsfiles.make(tls_dir, [*AGENT_NAMES, "git.lab.example", "v4.lab.example", "six.lab.example",
                                "alias.lab.example", "*.trick.example"], [ORIGIN, ORIGIN6])
        self.ca = tls_dir / "ca.pem"
        self.www = www
        import ssl
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls_dir / "origin.pem", tls_dir / "origin.key")
        for address, family in ((ORIGIN, socket.AF_INET), (ORIGIN6, socket.AF_INET6)):
            self._servers.append(origins.serve_files(self._listener(self.outer, address, 443, family), www, context))
            self._servers.append(origins.serve_files(self._listener(self.outer, address, 80, family), www))
        self.echo_loops = [origins.EchoLoop(self._listener(self.outer, ECHO, 443, backlog=4096)),
                           origins.EchoLoop(self._listener(self.outer, ECHO6, 443, socket.AF_INET6))]
        self._servers += self.echo_loops

    def start_ssh(self):
        """sshd on port 443 of an address of its own; returns the path of the client's key."""
        home = self.dir / "ssh"
        home.mkdir(mode=0o700)
        pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
        shutil.copy(home / "user.pub", home / "authorized")
        (home / "config").write_text(f"HostKey {home}/host\nAuthorizedKeysFile {home}/authorized\nStrictModes no\n"
                                     "UsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n")
        self._servers.append(origins.serve_ssh(self._listener(self.outer, SSH_ORIGIN, 443), home / "config"))
        return home / "user"

    def make_git_repository(self):
        """A repository below the files of the origin, for git's plain file protocol; returns its path there."""
        work = self.dir / "git-work"
        env = dict(os.environ, GIT_AUTHOR_NAME="t", GIT_AUTHOR_EMAIL="t@example", GIT_COMMITTER_NAME="t",
                   GIT_COMMITTER_EMAIL="t@example", GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1")

        def git(*args):
            subprocess.run(["git", *map(str, args)], check=True, env=env, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)

        git("init", "-q", work)
        (work / "file").write_text("through the tunnel\n")
        git("-C", work, "add", "file")
        git("-C", work, "commit", "-q", "-m", "first")
        git("clone", "-q", "--bare", work, self.www / "repo.git")
        git("-C", self.www / "repo.git", "update-server-info")
        return "/repo.git"

    def udp_counters(self):
        """The router's kernel's: InDatagrams were read, NoPorts came to no socket, RcvbufErrors found a queue full."""
        heads, values = [line.split()[1:] for line in self.router.run(["cat", "/proc/net/snmp"]).stdout.splitlines()
                         if line.startswith("Udp:")]
        return {head: int(value) for head, value in zip(heads, values)}

    # sockets for tests

    @staticmethod
    def _listener(space, address, port, family=socket.AF_INET, backlog=1024):
        sock = space.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(backlog)
        return sock

    def origin(self, port=443, address=None):
        """A listening socket outside for the test to accept on; its address is fresh unless given. Closed after the test."""
        address = address or next(self._addresses)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = self._listener(self.outer, address, port, family)
        listener.settimeout(10)
        self._clients.append(listener)
        return listener

    def accept(self, listener):
        conn, _ = listener.accept()
        conn.settimeout(10)
        self._clients.append(conn)
        return conn

    def dial(self, host=None, to=None, port=8080, source=None, timeout=10):
        """A connection from a LAN host (host10 unless told) to the daemon's LAN address; closed after the test."""
        to = to or LAN_ROUTER
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        sock = (host or self.host10).socket(family)
        self._clients.append(sock)
        sock.settimeout(timeout)
        if source:
            sock.bind(source)
        sock.connect((to, port))
        return sock

    def udp(self, host=None, to=None, port=53, source=None, timeout=3):
        """A connected UDP socket from a LAN host to the daemon's LAN address; closed after the test."""
        to = to or LAN_ROUTER
        sock = (host or self.host10).socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
        self._clients.append(sock)
        sock.settimeout(timeout)
        if source:
            sock.bind(source)
        sock.connect((to, port))
        return sock

    def name(self, label="n", **answers):
        """A fresh name below trick.example with the given answers (see authority.Entry)."""
        return self.dns.add(f"{label}{next(self._labels)}.trick.example", **answers)

    def close_clients(self):
        while self._clients:
            self._clients.pop().close()

    def capture(self, space, interface, expression=""):
        return Capture(self, space, interface, expression)

    def close(self):
        self.close_clients()
        for server in reversed(self._servers):
            server.stop()
        for process in self._processes:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for space in self._spaces:
            shutil.rmtree(f"/etc/netns/{space.name}", ignore_errors=True)
            space.delete()
        try:
            os.rmdir("/etc/netns")
        except OSError:
            pass
        shutil.rmtree(self.dir, ignore_errors=True)


class Capture:
    """tcpdump on one interface while the block runs; afterwards lines() gives what it saw.

    tcpdump drops what it has not read yet when it is told to stop, so the block ends with a frame of our own: when that
    one is in the file, so is all before it.
    """

    MARK_TYPE, MARK = 0x88b5, b"end of the capture"

    def __init__(self, scene, space, interface, expression):
        self._space, self._interface = space, interface
        expression = f"({expression}) or ether proto {self.MARK_TYPE}" if expression else ""
        self._path = scene.dir / f"capture-{next(_numbers)}.pcap"
        self._args = ["tcpdump", "-i", interface, "-Z", "root", "-n", "-U", "--immediate-mode", "-w", self._path]
        self._args += [expression] if expression else []

    def __enter__(self):
        self._process = self._space.popen(self._args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                          stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            if "listening on" in line:
                return self
        raise RuntimeError("tcpdump did not start")

    def __exit__(self, *_):
        with self._space.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((self._interface, 0))
            sock.send(b"\2\0\0\0\0\1" * 2 + self.MARK_TYPE.to_bytes(2, "big") + self.MARK.ljust(46))
        wait_until(lambda: self.MARK in self._path.read_bytes(), what="end of the capture")
        self._process.send_signal(2)
        self._process.communicate(timeout=10)

    def lines(self, expression=""):
        """The packets as text, one a line."""
        wanted = f"not ether proto {self.MARK_TYPE}" + (f" and ({expression})" if expression else "")
        done = subprocess.run(["tcpdump", "-nn", "-t", "-r", str(self._path), wanted],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return done.stdout.splitlines()

    def payloads(self, port):
        """TCP payloads of the packets that came from a port, in order, empty ones left out (IPv4 on Ethernet)."""
        data, out, at = self._path.read_bytes(), [], 24
        while at + 16 <= len(data):
            size = int.from_bytes(data[at + 8:at + 12], "little")
            frame, at = data[at + 16:at + 16 + size], at + 16 + size
            if frame[12:14] != b"\x08\x00" or frame[23] != 6:
                continue
            ip = frame[14:14 + int.from_bytes(frame[16:18], "big")]
            tcp = ip[(ip[0] & 15) * 4:]
            payload = tcp[(tcp[12] >> 4) * 4:]
            if int.from_bytes(tcp[:2], "big") == port and payload:
                out.append(payload)
        return out
