#!/usr/bin/python3
"""Server CPU per DNS query: ukai beside unbound, dnsmasq and dnsdist, one thread each, and a bare echo as the floor.

Two namespaces joined by a veth pair: dnsperf and nsd (no rate limit, one process) on one side, the server under test on
the other. CPU is that process's user and system time from /proc/PID/schedstat (nanoseconds), divided by the answers
that dnsperf counted; so it is a cost, not a throughput, and other load on the machine moves it less. All peers get the
same queries in the same run. Needs root, nsd, dnsperf, unbound, dnsmasq-base, dnsdist.

    tests/bench/bench_dns.py --ukai build/ukai --echo build/tests/bench/bench_dns_echo [--runs N] [--seconds S] [--tls]

--tls measures the forwarded queries again, with a name server that is asked by TLS only (an unbound with one record for all
names, on the other side), for ukai and unbound only.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import dnswire  # noqa: E402
import tlsfiles  # noqa: E402
from netns import Netns  # noqa: E402

SERVER, NSD = "10.9.0.1", "10.9.0.2"
N_HOT, N_FILL, N_CHURN = 1000, 30_000, 100_000
CACHE_MIB, CHURN_MIB = 64, 4          # the second so small that the names of the churn push each other out
UKAI = """[dns bench]
listen-network = lan0
listen-port = 53
bypass-network = lan0
name-server = {nsd}
cache-size = {cache}M
[acl]
file = acl.conf
[admin]
control-socket = {dir}/control.sock
[log]
access = off
[process]
workers = 1
user = root
last-good = off
"""
ACL = "[in]\nudp 53 = 10.9.0.0/24\ntcp 53 = 10.9.0.0/24\n"
UNBOUND = """server:
  directory: "{dir}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  verbosity: 0
  num-threads: 1
  interface: {server}
  do-ip6: no
  access-control: 0.0.0.0/0 allow
  module-config: "iterator"
  msg-cache-size: {half}m
  rrset-cache-size: {cache}m
  outgoing-range: 4096
  num-queries-per-thread: 2048
  so-rcvbuf: 1m
  local-zone: "10.in-addr.arpa." nodefault
  do-not-query-localhost: no
forward-zone:
  name: "."
  forward-addr: {nsd}
"""
TLS_NAME = "dns.bench.example"
TLS_SERVER = """server:
  directory: "{dir}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  num-threads: 1
  interface: {nsd}@853
  tls-service-key: "{dir}/origin.key"
  tls-service-pem: "{dir}/origin.pem"
  access-control: 0.0.0.0/0 allow
  incoming-num-tcp: 100
  local-zone: "bench.example." redirect
  local-data: "bench.example. 86400 A 192.0.2.1"
"""
DNSDIST = """setLocal("{server}:53")
setACL("0.0.0.0/0")
setSecurityPollSuffix("")
newServer({{address="{nsd}:53", healthCheckMode="up"{sockets}}})
setMaxUDPOutstanding(65535)
pc = newPacketCache({entries}, {{maxTTL=86400}})
getPool(""):setCache(pc)
"""


class Bench:
    def __init__(self, options):
        self.options = options
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ukai-bench-"))
        tag = f"ub{os.getpid()}x1"
        self.server, self.world = Netns(tag + "s"), Netns(tag + "w")
        self.server.ip(f"link set lo up\nlink add lan0 type veth peer name eth0 netns {self.world.name}\n"
                       f"addr add {SERVER}/24 dev lan0\nlink set lan0 up\n")
        self.world.ip(f"link set lo up\naddr add {NSD}/24 dev eth0\nlink set eth0 up\n")
        self.processes = []

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.server.delete()
        self.world.delete()
        shutil.rmtree(self.dir, ignore_errors=True)

    def start_nsd(self):
        (self.dir / "zone").write_text("$ORIGIN .\n$TTL 86400\n@ IN SOA ns. a. 1 3600 600 86400 60\n@ IN NS ns.\n"
                                       "ns. IN A 10.9.0.2\n*.bench.example. IN A 192.0.2.1\n")
        (self.dir / "nsd.conf").write_text(f"""server:
  ip-address: {NSD}
  server-count: 1
  username: ""
  zonesdir: "{self.dir}"
  database: ""
  pidfile: ""
  logfile: "{self.dir}/nsd.log"
  xfrdfile: "{self.dir}/xfrd"
  xfrdir: "{self.dir}"
  zonelistfile: "{self.dir}/zones"
  cookie-secret-file: "{self.dir}/cookies"
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: .
  zonefile: zone
""")
        self.spawn(self.world, ["nsd", "-d", "-c", self.dir / "nsd.conf"])
        self.wait_answer(self.world, NSD)

    def spawn(self, space, command):
        process = space.popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=open(self.dir / "stderr", "ab"))
        self.processes.append(process)
        return process

    def end(self, process):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.processes.remove(process)

    def wait_answer(self, space, address, deadline_s=15):
        limit = time.monotonic() + deadline_s
        with space.socket(kind=socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.3)
            sock.connect((address, 53))
            while time.monotonic() < limit:
                try:
                    sock.send(dnswire.query(f"ready{time.monotonic_ns()}.bench.example"))
                    if sock.recv(4096)[3] & 15 == 0:
                        return
                except OSError:
                    time.sleep(0.05)
        raise SystemExit(f"no answer from {address}: " + (self.dir / "stderr").read_text()[-500:])

    def peers(self, mib):
        """The servers with that much cache. dnsmasq has its most in both cases; dnsdist is told entries, of some 400 bytes."""
        half, entries = mib // 2, {CACHE_MIB: 200_000, CHURN_MIB: 10_000}[mib]
        files = {f"unbound-{mib}.conf": UNBOUND.format(dir=self.dir, server=SERVER, nsd=NSD, cache=half, half=half),
                 f"ukai-{mib}.conf": UKAI.format(dir=self.dir, nsd=NSD, cache=mib), "acl.conf": ACL, "empty": "",
                 f"dnsdist-{mib}.conf": DNSDIST.format(server=SERVER, nsd=NSD, entries=entries, sockets="")}
        for name, text in files.items():
            (self.dir / name).write_text(text)
        out = {
            "echo (floor)": [self.options.echo, SERVER, "53"],
            "ukai": [self.options.ukai, "run", "-c", self.dir / f"ukai-{mib}.conf"],
            "unbound": ["unbound", "-d", "-c", self.dir / f"unbound-{mib}.conf"],
            "dnsmasq": ["dnsmasq", "-k", "-C", self.dir / "empty", "--no-resolv", "--no-hosts", f"--server={NSD}",
                        f"--listen-address={SERVER}", "--bind-interfaces", "--cache-size=10000",
                        "--dns-forward-max=4096", "--user=root", "--group=root", "--pid-file="],
            "dnsdist": ["dnsdist", "--supervised", "-C", self.dir / f"dnsdist-{mib}.conf"],
        }
        return {name: command for name, command in out.items() if not self.options.only or name in self.options.only}

    def start_tls_server(self):
        tlsfiles.make(self.dir, [TLS_NAME], [])
        (self.dir / "tls.conf").write_text(TLS_SERVER.format(dir=self.dir, nsd=NSD))
        self.spawn(self.world, ["unbound", "-d", "-c", self.dir / "tls.conf"])

    def tls_peers(self):
        """The same servers, but for their way to the name server."""
        half = CACHE_MIB // 2
        forward = f"  forward-addr: {NSD}\n"
        unbound = UNBOUND.format(dir=self.dir, server=SERVER, nsd=NSD, cache=half, half=half)
        assert forward in unbound
        files = {
            "unbound.conf": unbound.replace(forward, f"  forward-tls-upstream: yes\n  forward-addr: {NSD}@853#{TLS_NAME}\n")
            .replace("server:\n", f'server:\n  tls-cert-bundle: "{self.dir}/ca.pem"\n', 1),
            "ukai.conf": UKAI.format(dir=self.dir, nsd=f"tls://{NSD}#{TLS_NAME}", cache=CACHE_MIB), "acl.conf": ACL,
        }
        for name, text in files.items():
            (self.dir / name).write_text(text)
        out = {
            "ukai": ["env", f"SSL_CERT_FILE={self.dir}/ca.pem", self.options.ukai, "run", "-c", self.dir / "ukai.conf"],
            "unbound": ["unbound", "-d", "-c", self.dir / "unbound.conf"],
        }
        return {name: command for name, command in out.items() if not self.options.only or name in self.options.only}

    def dnsperf(self, queries, limits, outstanding=100, threads=1):
        """(answers, lost, elapsed s)"""
        done = self.world.run(["dnsperf", "-s", SERVER, "-d", queries, "-q", str(outstanding), "-c", "4", "-T",
                               str(threads), "-t", "2", *limits], timeout=300)
        found = {key: float(re.search(key + r":\s+([\d.]+)", done.stdout)[1])
                 for key in ("Queries completed", "Queries lost", "Run time \\(s\\)")}
        return list(found.values())

    def names(self, path, labels):
        path.write_text("".join(f"{label}.bench.example A\n" for label in labels))
        return path


def cpu_ns(pid):
    """Time of all threads on a processor."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total


def rss_mib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def measure(bench, pid, queries, limits, **how):
    before = cpu_ns(pid)
    answers, lost, took = bench.dnsperf(queries, limits, **how)
    return {"us": (cpu_ns(pid) - before) / 1000 / max(answers, 1), "qps": answers / took, "lost": lost}


def one_peer(bench, name, command, run):
    """Hits and forwarded queries of one freshly started server."""
    seconds, serial = bench.options.seconds, f"r{run}x{random.randrange(1 << 30):x}"
    process = bench.spawn(bench.server, command)
    try:
        bench.wait_answer(bench.world, SERVER)
        pid = process.pid             # setpriv, ip and the server replace each other in one process
        out = {}
        hot = bench.names(bench.dir / "hot", (f"h{i}" for i in range(N_HOT)))
        bench.dnsperf(hot, ["-n", "1"])
        out["hit"] = measure(bench, pid, hot, ["-l", str(seconds)])
        if not name.startswith("echo"):
            miss = bench.names(bench.dir / "miss", (f"m{serial}{i}" for i in range(20_000)))
            out["miss"] = measure(bench, pid, miss, ["-n", "1"])
        return out
    finally:
        bench.end(process)


def n_kept(bench, command):
    """How many answers ukai's cache holds."""
    done = bench.server.run([command[0], "status", "-c", command[-1], "--json"])
    return json.loads(done.stdout)["dns"]["cache_entries"]


def one_churn(bench, name, command, run):
    """A freshly started server with a small cache: it is filled, and then each name pushes out another."""
    serial = f"r{run}x{random.randrange(1 << 30):x}"
    process = bench.spawn(bench.server, command)
    try:
        bench.wait_answer(bench.world, SERVER)
        full = bench.names(bench.dir / "full", (f"f{serial}{i}" for i in range(N_FILL)))
        bench.dnsperf(full, ["-n", "1"])
        before = rss_mib(process.pid)
        churn = bench.names(bench.dir / "churn", (f"c{serial}{i}" for i in range(N_CHURN)))
        out = {"churn": measure(bench, process.pid, churn, ["-n", "1"]),
               "rss": {"before": before, "after": rss_mib(process.pid)}}
        if name == "ukai":
            out["evicted"] = {"at least": N_FILL + N_CHURN - n_kept(bench, command)}
        return out
    finally:
        bench.end(process)


def one_by_tls(bench, command, run):
    """Forwarded queries of one freshly started server whose name server is asked by TLS."""
    process = bench.spawn(bench.server, command)
    try:
        bench.wait_answer(bench.world, SERVER)
        serial = f"t{run}x{random.randrange(1 << 30):x}"
        miss = bench.names(bench.dir / "miss", (f"m{serial}{i}" for i in range(20_000)))
        return measure(bench, process.pid, miss, ["-n", "1"])
    finally:
        bench.end(process)


def tls_table(bench):
    bench.start_tls_server()
    peers = bench.tls_peers()
    results = {name: [] for name in peers}
    for run in range(bench.options.runs):
        for name, command in peers.items():
            results[name].append(one_by_tls(bench, command, run))
            print("tls", run + 1, name, results[name][-1], file=sys.stderr, flush=True)
    lines = ["", "Forwarded to a name server that is asked by TLS:", "",
             "| server | µs of server CPU per query | q/s | lost |", "|---|---|---|---|"]
    for name, rows in results.items():
        us = [row["us"] for row in rows]
        lines.append(f"| {name} | {middle(us):.2f} ({min(us):.2f}–{max(us):.2f}) | "
                     f"{middle([row['qps'] for row in rows]):,.0f} | {sum(int(row['lost']) for row in rows)} |")
    return lines


def memory_against_size(bench):
    """Resident memory of ukai when 100,000 names pass through caches of different sizes."""
    rows = []
    for mib in (1, 4, 16, 64):
        (bench.dir / "ukai.conf").write_text(UKAI.format(dir=bench.dir, nsd=NSD, cache=mib))
        process = bench.spawn(bench.server, [bench.options.ukai, "run", "-c", bench.dir / "ukai.conf"])
        try:
            bench.wait_answer(bench.world, SERVER)
            bench.dnsperf(bench.names(bench.dir / "hot", ["one"]), ["-n", "2000"])
            before = rss_mib(process.pid)
            bench.dnsperf(bench.names(bench.dir / "mem", (f"s{mib}x{i}" for i in range(N_CHURN))), ["-n", "1"])
            rows.append((mib, before, rss_mib(process.pid)))
        finally:
            bench.end(process)
    return rows


def middle(values):
    return statistics.median(values)


def table(results, runs):
    lines = [f"Median of {runs} runs (lowest to highest), µs of server CPU per query; q/s and lost are dnsperf's.", "",
             "| server | cache hit | forwarded, no hit | 100,000-name churn, 4 MiB | RSS after, MiB | q/s hit | q/s forwarded "
             "| lost |", "|---|---|---|---|---|---|---|---|"]

    def cell(rows, what):
        values = [r[what]["us"] for r in rows if what in r]
        if not values:
            return "–"
        return f"{middle(values):.2f} ({min(values):.2f}–{max(values):.2f})"

    def rate(rows, what):
        values = [r[what]["qps"] for r in rows if what in r]
        return f"{middle(values):,.0f}" if values else "–"

    for name, rows in results.items():
        if not rows:
            continue
        rss = [r["rss"]["after"] for r in rows if "rss" in r]
        lost = sum(int(v.get("lost", 0)) for r in rows for v in r.values())
        lines.append(f"| {name} | {cell(rows, 'hit')} | {cell(rows, 'miss')} | {cell(rows, 'churn')} | "
                     f"{f'{middle(rss):.0f}' if rss else '–'} | {rate(rows, 'hit')} | {rate(rows, 'miss')} | {lost} |")
    return lines


def ratios(results):
    """What was aimed at, as the median over the runs of what both measured in the same run."""
    def ratio(what, other, other_what):
        pairs = [ours[what]["us"] / theirs[other_what]["us"]
                 for ours, theirs in zip(results["ukai"], results.get(other, [])) if other_what in theirs]
        return f"{middle(pairs):.2f} ({min(pairs):.2f}–{max(pairs):.2f})" if pairs else "–"

    rows = [("hit", "echo (floor)", "hit"), ("hit", "unbound", "hit"), ("hit", "dnsdist", "hit"),
            ("miss", "unbound", "miss"), ("churn", "ukai", "miss")]
    return ["", "| ukai | against | ratio, run by run |", "|---|---|---|",
            *(f"| {what} | {other}, {other_what} | {ratio(what, other, other_what)} |" for what, other, other_what in rows)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ukai", default="build/ukai", type=os.path.abspath)
    parser.add_argument("--echo", default="build/tests/bench/bench_dns_echo", type=os.path.abspath)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of the cache hit part")
    parser.add_argument("--tls", action="store_true", help="forwarding by TLS, and nothing else")
    parser.add_argument("--only", action="append", help="one peer; repeatable")
    options = parser.parse_args()
    bench = Bench(options)
    try:
        bench.start_nsd()
        if options.tls:
            print("\n".join(tls_table(bench)))
            return
        peers, small = bench.peers(CACHE_MIB), bench.peers(CHURN_MIB)
        results = {name: [] for name in peers}
        for run in range(options.runs):
            for name, command in peers.items():
                results[name].append(one_peer(bench, name, command, run))
                if not name.startswith("echo"):
                    results[name][-1].update(one_churn(bench, name, small[name], run))
                print(run + 1, name, results[name][-1], file=sys.stderr, flush=True)
        print("\n".join(table(results, options.runs)))
        if "ukai" in results:
            print("\n".join(ratios(results)))
            evicted = [row["evicted"]["at least"] for row in results["ukai"]]
            print(f"\nukai, churn: {middle(evicted):,.0f} of {N_FILL + N_CHURN:,} names were pushed out of {CHURN_MIB} MiB.")
        print("\nukai, 100,000 names through one cache:\n\n| cache-size, MiB | RSS before, MiB | after | growth |\n"
              "|---|---|---|---|")
        for mib, before, after in memory_against_size(bench):
            print(f"| {mib} | {before:.1f} | {after:.1f} | {after - before:.1f} |")
    finally:
        bench.close()


if __name__ == "__main__":
    main()
