#!/usr/bin/python3
"""ukai beside its peers and a floor: CPU time of the proxy per unit of work, in a namespace of this process alone.

Started by run.sh, which makes the namespace. Each program has an address of its own; one load is put on one of them
at a time, and the others are stopped meanwhile (SIGSTOP). The order is A B C .. C B A over and over, so that drift of the machine meets all
alike; the figures of one direction of that are one pair with the floor's. Medians are given with the middle half of the
runs, and a median of ratios with the interval that order statistics give it at 95 % (none with fewer than six pairs).
"""
import argparse
import json
import math
import os
import pathlib
import platform
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import programs
from programs import ECHO, FAR_ORIGIN, HTTP, IDLE_TUNNELS, MOST_TUNNELS, ORIGIN, SINK, SOURCE

GIB = 1 << 30
SHAPED = "5gbit"
SETTLE_S = 0.05
FLOOR = programs.Floor.name
BEGIN, END = "<!-- table: written by tests/bench/run.py -->", "<!-- end of table -->"
# load: (title, unit, mode of the generator, service, options, figure)
LOADS = {
    "connect": ("CONNECT + 64 B echo + close", "µs", "connect", "echo", [], "units"),
    "pingpong": ("64 B ping-pong, 32 tunnels", "µs", "pingpong", "echo", [], "units"),
    "pingpong-idle": (f"the same beside {IDLE_TUNNELS:,} idle tunnels", "µs", "pingpong", "echo",
                      ["--idle", str(IDLE_TUNNELS)], "units"),
    "down": ("bulk down, 32 streams", "ms per GiB", "down", "source", [], "bytes"),
    "up": ("bulk up, 32 streams", "ms per GiB", "up", "sink", [], "bytes"),
    "mixed": ("bulk down, 32 streams, beside 8 ping-pong tunnels", "ms per GiB", "mixed", "echo", ["--conns", "8"], "bytes"),
    "keepalive": ("GET 1 kB, keep-alive, 32 clients", "µs", "keepalive", "http", [], "units"),
    "request": ("GET 1 kB, a connection each", "µs", "request", "http", [], "units"),
    "body": ("GET 1 GiB, 4 clients", "ms per GiB", "body", "http", ["--conns", "4", "--bytes", str(GIB)], "bytes"),
    "pingpong-1": ("64 B ping-pong, one tunnel", "µs", "pingpong", "echo", ["--conns", "1"], "units"),
    "pingpong-9000": (f"64 B ping-pong, 32 tunnels beside {MOST_TUNNELS:,} idle ones", "µs", "pingpong", "echo",
                      ["--idle", str(MOST_TUNNELS)], "units"),
    "connect-veth": ("CONNECT + 64 B echo + close, origin behind a veth", "µs", "connect", "echo", [], "units"),
    "pingpong-veth": ("64 B ping-pong, 32 tunnels, origin behind a veth", "µs", "pingpong", "echo", [], "units"),
    "down-veth": ("bulk down, 32 streams, veth", "ms per GiB", "down", "source", [], "bytes"),
    "up-veth": ("bulk up, 32 streams, veth", "ms per GiB", "up", "sink", [], "bytes"),
    "down-segments": ("bulk down, 32 streams, veth without offloads", "ms per GiB", "down", "source", [], "bytes"),
    "up-segments": ("bulk up, 32 streams, veth without offloads", "ms per GiB", "up", "sink", [], "bytes"),
    "down-shaped": (f"bulk down, 32 streams, veth shaped to {SHAPED}", "ms per GiB", "down", "source", [], "bytes"),
}
# load: the link its origin is behind; the others' is on the same loopback
LINKS = {"connect-veth": "veth", "pingpong-veth": "veth", "down-veth": "veth", "up-veth": "veth",
         "down-segments": "segments", "up-segments": "segments", "down-shaped": "shaped"}
# These have a run in every pass, the others in every third.
PAIRED = ("connect", "pingpong", "down", "up", "mixed", "keepalive")
PORTS = {"echo": ECHO, "source": SOURCE, "sink": SINK, "http": HTTP}


def make_namespace(n_programs):
    """Refuses to run where there is any way out: the loads must not leave."""
    shown = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout)
    links = [link["ifname"] for link in shown if link["ifname"] != "lo"]
    if links:
        sys.exit(f"run.py: this namespace has {', '.join(links)}; start it by run.sh")
    for command in (["link", "set", "lo", "up"], ["addr", "add", f"{ORIGIN}/32", "dev", "lo"],
                    *(["addr", "add", f"10.77.1.{n + 1}/32", "dev", "lo"] for n in range(n_programs))):
        subprocess.run(["ip", *command], check=True)
    for key, value in (("tcp_tw_reuse", "1"), ("ip_local_port_range", "10000 65000"), ("tcp_max_tw_buckets", "8192")):
        pathlib.Path("/proc/sys/net/ipv4", key).write_text(value)


class Link:
    """A veth, MTU 1500, to a namespace of its own where the far origins are."""

    def __init__(self):
        self.kind = "veth"
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "3600"])
        ours = os.stat("/proc/self/ns/net").st_ino
        while os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino == ours:
            time.sleep(0.01)
        for command in (f"link add near type veth peer name far netns {self.holder.pid}", "addr add 10.78.0.2/24 dev near",
                        "link set near up"):
            subprocess.run(["ip", *command.split()], check=True)
        for command in (f"addr add {FAR_ORIGIN}/24 dev far", "link set far up", "link set lo up",
                        "route add default via 10.78.0.2"):
            self.far("ip", *command.split())

    def inside(self, *command):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *command]

    def far(self, *command):
        subprocess.run(self.inside(*command), check=True)

    def set(self, kind):
        if kind == self.kind:
            return
        offload = "off" if kind == "segments" else "on"
        features = [word for name in ("tso", "gso", "gro") for word in (name, offload)]
        subprocess.run(["ethtool", "-K", "near", *features], check=True)
        self.far("ethtool", "-K", "far", *features)
        if self.kind == "shaped":
            self.far("tc", "qdisc", "del", "dev", "far", "root")
        if kind == "shaped":
            self.far("tc", "qdisc", "add", "dev", "far", "root", "tbf", "rate", SHAPED, "burst", "4mb", "latency", "20ms")
        self.kind = kind

    def stop(self):
        self.holder.kill()
        self.holder.wait()


class Bench:
    def __init__(self, options):
        self.options = options
        self.loadgen = str(pathlib.Path(options.build).resolve() / "tests/bench/bench_loadgen")
        self.dir = tempfile.mkdtemp(prefix="ukai-bench-")
        os.chmod(self.dir, 0o755)
        self.origins, self.programs = [], []
        self.link = Link()
        self.failures = []
        self.restarts = {}  # program and load -> how often it did not come to rest
        self.runs = {}  # load -> program -> results in the order of passes, None where one failed

    def start(self, classes):
        build = str(pathlib.Path(self.options.build).resolve())
        for service, port in PORTS.items():
            self.origins.append(subprocess.Popen([self.loadgen, "origin", service, f"{ORIGIN}:{port}"]))
            self.origins.append(subprocess.Popen(self.link.inside(self.loadgen, "origin", service, f"{FAR_ORIGIN}:{port}")))
        for n, cls in enumerate(classes):
            program = cls(f"10.77.1.{n + 1}", self.dir, build)
            try:
                program.start()
                self.programs.append(program)
                program.freeze(True)
            except (OSError, RuntimeError) as error:
                self.failures.append(str(error))
                print(error, file=sys.stderr)

    def stop(self):
        for program in self.programs:
            program.stop()
        for origin in self.origins:
            origin.kill()
            origin.wait()
        self.link.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, program, mode, service, options, origin=ORIGIN):
        command = [self.loadgen, mode, "--proxy", f"{program.address}:{program.port(service)}", "--target",
                   f"{origin}:{PORTS[service]}", "--pid", str(program.process.pid), "--ms", str(self.options.ms)]
        if mode == "mixed":
            command += ["--bulk-proxy", f"{program.address}:{program.port('source')}",
                        "--bulk-target", f"{ORIGIN}:{SOURCE}"]
        if program.is_plain and service != "http":
            command.append("--plain")
        if program.is_origin_form:
            command.append("--origin-form")
        try:
            done = subprocess.run(command + options, capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            self.failures.append(f"{program.name}, {mode}: no end within 120 s")
            return None
        if done.returncode != 0:
            self.failures.append(f"{program.name}, {mode}: {done.stderr.strip()[:200]}")
            return None
        return json.loads(done.stdout)

    def one_pass(self, load, order):
        _, _, mode, service, options, figure = LOADS[load]
        if load in LINKS:
            self.link.set(LINKS[load])
        for program in order:
            program.freeze(False)
            result = self.run(program, mode, service, options, FAR_ORIGIN if load in LINKS else ORIGIN)
            if result:
                done = result["units"] * 1000 if figure == "units" else result["bytes"] / GIB * 1e6
                result["cost"] = result["cpu_ns"] / done if done else math.nan
            if result and not done:
                self.failures.append(f"{program.name}, {mode}: a run without any work done")
                result = None
            self.runs.setdefault(load, {}).setdefault(program.name, []).append(result)
            self.rest(program, f"after {load}")

    def rest(self, program, when):
        """Lets it clean up. One that never comes to rest would spoil its next figures: it is started anew."""
        for _ in range(40):
            before = program.cpu_s()
            time.sleep(SETTLE_S)
            if program.cpu_s() - before < SETTLE_S / 4:
                break
        else:
            self.restarts[f"{program.name}, {when}"] = self.restarts.get(f"{program.name}, {when}", 0) + 1
            program.stop()
            program.start()
            time.sleep(SETTLE_S)
        program.freeze(True)

    def measure(self, loads):
        for n in range(self.options.pairs):
            for load in (load for load in loads if load in PAIRED or n % 3 == 0):
                members = [p for p in self.programs if load in p.loads]
                order = [p for p in members if n % p.every == 0]
                for program in members:
                    if program not in order:
                        self.runs.setdefault(load, {}).setdefault(program.name, []).append(None)
                self.one_pass(load, order if n % 2 == 0 else order[::-1])
            print(f"pass {n + 1} of {self.options.pairs}", file=sys.stderr)

    def idle(self):
        """Fresh programs would be fairer to those that keep memory of earlier loads: so this runs first."""
        found = {}
        for program in self.programs:
            if "idle" in program.loads:
                program.freeze(False)
                result = self.run(program, "idle", "echo", ["--conns", str(IDLE_TUNNELS)])
                if result:
                    found[program.name] = (result["pss_before"],
                                           (result["pss_after"] - result["pss_before"]) / result["tunnels"])
                time.sleep(0.5)  # so many ends at once
                self.rest(program, "after idle")
        return found


def interval(values):
    """The median of values, and the two order statistics that hold the true one with 95 %; None below six."""
    values, n = sorted(values), len(values)
    below, k = 0.0, 0
    while k < n // 2 and below + math.comb(n, k) / 2 ** n <= 0.025:
        below += math.comb(n, k) / 2 ** n
        k += 1
    return statistics.median(values), (values[k - 1], values[n - k]) if k > 0 else None


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def ratio_cell(ours, theirs):
    pairs = [a["cost"] / b["cost"] for a, b in zip(ours, theirs) if a and b]
    if not pairs:
        return ""
    median, bounds = interval(pairs)
    return f"{median:.2f}" + (f" ({bounds[0]:.2f}–{bounds[1]:.2f})" if bounds else f" ({len(pairs)} pair{'s' * (len(pairs) > 1)})")


def rate(results, figure):
    """What passed, for orientation: the machine is shared with clients and origin."""
    if figure == "bytes":
        return f"{statistics.median(r['bytes'] * 8 / r['ns'] for r in results):.1f} Gbit/s"
    return f"{statistics.median(r['units'] / r['ns'] for r in results) * 1e9:,.0f}/s"


def load_rows(runs, load):
    title, unit, *_, figure = LOADS[load]
    rows = [f"### {title}", "",
            f"| | {unit} of CPU, median | middle half | × the floor | ukai × it | p50, ms | p99, ms | rate | runs |",
            "|---|---|---|---|---|---|---|---|---|"]
    for name, results in runs[load].items():
        good = [r for r in results if r]
        if not good:
            rows.append(f"| {name} | failed | | | | | | | 0 |")
            continue
        costs = sorted(r["cost"] for r in good)
        half = f"{number(costs[len(costs) // 4])}–{number(costs[(3 * len(costs) - 1) // 4])}"
        late = [f"{statistics.median(r[p] for r in good) / 1000:.2f}" if good[0]["units"] and load != "body" else ""
                for p in ("p50_us", "p99_us")]
        floor = ratio_cell(results, runs[load][FLOOR]) if FLOOR in runs[load] and name != FLOOR else ""
        ours = ratio_cell(runs[load]["ukai"], results) if name != "ukai" and "ukai" in runs[load] else ""
        rows.append(f"| {name} | {number(statistics.median(costs))} | {half} | {floor} | {ours} | {late[0]} | {late[1]} "
                    f"| {rate(good, figure)} | {len(good)} |")
    return rows + [""]


def versions(names):
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *names], capture_output=True, text=True)
    return ", ".join(shown.stdout.split("\n")).strip(", ")


def table(bench, idle, seconds):
    options = bench.options
    rows = [BEGIN, "", f"    {options.command}", "",
            f"{time.strftime('%Y-%m-%d')}; {options.pairs} run{'s' * (options.pairs > 1)} of {options.ms} ms each per load and program, interleaved; "
            f"{os.cpu_count()} cores, Linux {platform.release()}; {seconds / 60:.0f} minutes in all."
            + (f" {options.note}" if options.note else ""), "",
            f"Peers: {versions([p.name for p in bench.programs if p.name not in OURS])}." if any(
                p.name not in OURS for p in bench.programs) else "", ""]
    for load in bench.runs:
        rows += load_rows(bench.runs, load)
    rows += [f"### Memory of {IDLE_TUNNELS:,} idle tunnels", "", "| | PSS before, KiB | bytes a tunnel |", "|---|---|---|"]
    rows += [f"| {name} | {before / 1024:,.0f} | {each:,.0f} |" for name, (before, each) in idle.items()]
    if bench.restarts:
        rows += ["", "Still busy two seconds after the load had ended, and started anew (how often):", ""]
        rows += [f"- {what}: {n}" for what, n in sorted(bench.restarts.items())]
    if bench.failures:
        rows += ["", "Failed:", ""] + [f"- {failure}" for failure in sorted(set(bench.failures))]
    return "\n".join(rows + ["", END])


OURS = {cls.name for cls in (programs.Ukai, programs.UkaiBefore, programs.UkaiRules, programs.Floor, programs.FloorCopy)}


def write_into(path, text):
    page = path.read_text()
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    path.write_text(head + text + tail)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--quick", action="store_true", help="ukai beside the floor, less than a minute")
    parser.add_argument("--pairs", type=int, help="runs of each program under each load (30; quick: 6)")
    parser.add_argument("--ms", type=int, default=500, help="length of a run")
    parser.add_argument("--loads", help="only these, by comma")
    parser.add_argument("--only", help="only these programs, by semicolon")
    parser.add_argument("--against", metavar="BUILD", help="another build directory: its ukai runs beside this one's")
    parser.add_argument("--output", help="a page to write the table into; without it the table is printed")
    parser.add_argument("--note", help="what else is to be said of the machine")
    options = parser.parse_args()
    options.pairs = options.pairs or (6 if options.quick else 30)
    options.command = shlex.join(["tests/bench/run.sh", *(["--quick"] if options.quick else []), "build"] + [
        f"--{key}={getattr(options, key)}" for key in ("pairs", "ms", "loads", "only") if getattr(options, key)])
    classes = programs.QUICK if options.quick else programs.ALL
    if options.against:
        programs.UkaiBefore.before = str(pathlib.Path(options.against).resolve())
        classes += (programs.UkaiBefore,)
    if options.only:
        classes = [cls for cls in programs.ALL if cls.name in options.only.split(";")]
    quick_loads = ("connect", "pingpong", "down", "up", "mixed")
    loads = options.loads.split(",") if options.loads else quick_loads if options.quick else tuple(LOADS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.environ["PATH"] += ":/usr/sbin:/sbin"

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("run.py: told to stop"))  # and what it started ends too
    make_namespace(len(classes))
    bench, began = Bench(options), time.monotonic()
    try:
        bench.start(classes)
        idle = bench.idle()
        bench.measure(loads)
        text = table(bench, idle, time.monotonic() - began)
    finally:
        bench.stop()
    if options.output:
        write_into(pathlib.Path(options.output), text)
    else:
        print(text)


if __name__ == "__main__":
    main()
