"""A firewall under real packets: which (protocol, port, source) pass the input hook of a namespace of its own.

    lan ── veth ── wall 192.168.1.254, 2001:db8:1::254

Packets leave `lan` with any source address. In `wall` one nft set notes what arrived, before any filter, and one what is
left behind the filters under test; so a result is two sets, and waiting ends when everything sent has arrived.
"""
import errno
import ipaddress
import itertools
import json
import os
import socket

from netns import Netns
from scene import wait_until

WALL4, WALL6 = "192.168.1.254", "2001:db8:1::254"
LAN4, LAN6 = "192.168.1.1", "2001:db8:1::1"
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
_numbers = itertools.count(900)

NOTES = """
table inet notes {{
    set came4 {{ type inet_proto . inet_service . ipv4_addr; size 65536; flags dynamic; }}
    set came6 {{ type inet_proto . inet_service . ipv6_addr; size 65536; flags dynamic; }}
    set left4 {{ type inet_proto . inet_service . ipv4_addr; size 65536; flags dynamic; }}
    set left6 {{ type inet_proto . inet_service . ipv6_addr; size 65536; flags dynamic; }}
    chain first {{
        type filter hook prerouting priority -300; policy accept;
        ip daddr {four} meta l4proto {{ tcp, udp }} add @came4 {{ meta l4proto . th dport . ip saddr }}
        ip6 daddr {six} meta l4proto {{ tcp, udp }} add @came6 {{ meta l4proto . th dport . ip6 saddr }}
    }}
    chain last {{
        type filter hook input priority 300; policy accept;
        ip daddr {four} meta l4proto {{ tcp, udp }} add @left4 {{ meta l4proto . th dport . ip saddr }}
        ip6 daddr {six} meta l4proto {{ tcp, udp }} add @left6 {{ meta l4proto . th dport . ip6 saddr }}
    }}
}}"""


class Wirewall:
    def __init__(self):
        tag = f"uk{os.getpid()}x{next(_numbers)}"
        self.wall, self.lan = Netns(tag + "w"), Netns(tag + "l")
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.wall.delete()
        self.lan.delete()

    def _build(self):
        macs = {self.wall: "02:00:00:00:00:fe", self.lan: "02:00:00:00:00:01"}
        for space in macs:
            with space:
                for path in ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv6/conf/default/accept_dad"):
                    with open("/proc/sys/net/" + path, "w") as file:
                        file.write("0")
        self.wall.ip(f"link add eth0 address {macs[self.wall]} type veth peer name eth0 address {macs[self.lan]} "
                     f"netns {self.lan.name}\n")
        for space, four, six, peer, peer4, peer6 in ((self.wall, WALL4, WALL6, self.lan, LAN4, LAN6),
                                                     (self.lan, LAN4, LAN6, self.wall, WALL4, WALL6)):
            space.ip(f"link set lo up\nlink set eth0 up\naddr add {four}/24 dev eth0\naddr add {six}/64 dev eth0 nodad\n"
                     f"neigh add {peer4} lladdr {macs[peer]} dev eth0\nneigh add {peer6} lladdr {macs[peer]} dev eth0\n"
                     f"route add default via {peer4}\nroute add ::/0 via {peer6}\n")
        self.wall.nft(NOTES.format(four=WALL4, six=WALL6))

    def send(self, protocol, port, source):
        """One packet that opens a flow: the SYN of a connect, or a datagram."""
        is_ipv4 = ipaddress.ip_address(source).version == 4
        family = socket.AF_INET if is_ipv4 else socket.AF_INET6
        with self.lan.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM) as sock:
            sock.setsockopt(*((socket.SOL_IP, IP_TRANSPARENT) if is_ipv4 else (socket.IPPROTO_IPV6, IPV6_TRANSPARENT)), 1)
            sock.setblocking(False)
            sock.bind((source, 0))
            if protocol == "udp":
                sock.sendto(b"x", (WALL4 if is_ipv4 else WALL6, port))
            else:
                assert sock.connect_ex((WALL4 if is_ipv4 else WALL6, port)) == errno.EINPROGRESS

    def noted(self, name):
        """The set's elements as (protocol, port, source)."""
        found = set()
        for family in "46":
            done = self.wall.run(["nft", "-j", "-n", "list", "set", "inet", "notes", name + family])
            assert done.returncode == 0, done.stderr
            for item in json.loads(done.stdout)["nftables"]:
                for element in item.get("set", {}).get("elem", []):
                    number, port, source = element["concat"]
                    found.add(({6: "tcp", 17: "udp"}.get(number, number), port, str(ipaddress.ip_address(source))))
        return found

    def passed(self, triples):
        """Those of the triples that the filters let through."""
        self.wall.nft("".join(f"flush set inet notes {kind}{family}\n" for kind in ("came", "left") for family in "46"))
        for triple in triples:
            self.send(*triple)
        wanted = set(triples)
        wait_until(lambda: self.noted("came") >= wanted, 15, lambda: f"arrival of {wanted - self.noted('came')}")
        # Delivered in order of arrival on one link: the filters are behind for what came last only as long as this takes.
        return self.noted("left") & wanted
