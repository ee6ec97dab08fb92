#!/usr/bin/python3
"""CPU of plain HTTP forwarding beside squid and haproxy: microseconds of proxy CPU per request.

In a network namespace of its own; wrk drives 32 connections, nginx is the origin. Each proxy has one worker, logging and
caching off. Rounds are interleaved, medians are printed. Usage: bench_http.py [--rounds N] [--seconds S] UKAI
"""
import argparse
import os
import pathlib
import pwd
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PACKAGES = {"wrk": "wrk", "nginx": "nginx-light", "squid": "squid", "haproxy": "haproxy"}
ORIGIN, PROXY = "127.0.0.2", "127.0.0.1"
PORTS = {"ukai": 18080, "squid": 18081, "haproxy": 18082}
TICK = os.sysconf("SC_CLK_TCK")


def write(path, text):
    path.write_text(text)
    return path


def children(pid):
    """The process and all below it."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += children(int(child))
    return found


def cpu_seconds(pid):
    total = 0
    for one in children(pid):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def wait_port(address, port, process):
    import socket
    for _ in range(400):
        with socket.socket() as s:
            if s.connect_ex((address, port)) == 0:
                return
        if process.poll() is not None:
            sys.exit(f"a server ended at once: {process.args}")
        time.sleep(0.025)
    sys.exit(f"nobody listens on {address}:{port}")


def start_all(work, binary):
    os.chmod(work, 0o755)
    www = work / "www"
    www.mkdir()
    (www / "1k").write_bytes(b"x" * 1024)
    (www / "1g").write_bytes(b"")
    os.truncate(www / "1g", 1 << 30)
    nginx = write(work / "nginx.conf", f"""daemon off; worker_processes 1; pid {work}/nginx.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; keepalive_requests 100000000; keepalive_timeout 600;
  server {{ listen {ORIGIN}:80 backlog=4096; root {www}; }} }}
""")
    ukai = write(work / "ukai.conf", f"""[web-proxy]
listen-network = {PROXY}
listen-port = {PORTS['ukai']}
[acl]
file = acl.conf
[log]
access = off
[process]
workers = 1
user = root
last-good = off
""")
    write(work / "acl.conf", "[in]\nany = 127.0.0.0/8\n[out]\nallow = 127.0.0.0/8:80\n")
    squid = write(work / "squid.conf", f"""http_port {PROXY}:{PORTS['squid']}
acl all_sources src all
http_access allow all_sources
cache deny all
cache_mem 0
access_log none
cache_store_log none
cache_log /dev/null
pid_filename {work}/squid.pid
workers 1
shutdown_lifetime 0 seconds
pinger_enable off
""")
    haproxy = write(work / "haproxy.cfg", f"""global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend f
  bind {PROXY}:{PORTS['haproxy']}
  default_backend b
backend b
  server s {ORIGIN}:80
""")
    shutil.chown(work, pwd.getpwnam("proxy").pw_uid)
    commands = {"origin": ["nginx", "-c", nginx], "ukai": [binary, "run", "-c", ukai],
                "squid": ["squid", "-N", "-f", squid], "haproxy": ["haproxy", "-db", "-f", haproxy]}
    processes = {name: subprocess.Popen([str(a) for a in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                 for name, command in commands.items()}
    wait_port(ORIGIN, 80, processes["origin"])
    for name, port in PORTS.items():
        wait_port(PROXY, port, processes[name])
    return processes


def drive(work, port, path, seconds, connections, close):
    script = write(work / "load.lua", f"""wrk.headers["Host"] = "{ORIGIN}"
wrk.headers["Connection"] = "{'close' if close else 'keep-alive'}"
request = function() return wrk.format("GET", "http://{ORIGIN}{path}") end
""")
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, f"http://{PROXY}:{port}"],
                         capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if bad:
        one = subprocess.run(["curl", "-sv", "-x", f"http://{PROXY}:{port}", f"http://{ORIGIN}{path}"], capture_output=True, text=True)
        sys.exit(f"refused answers from port {port}: {bad[1]}\n{one.stderr[-800:]}")
    return int(re.search(r"(\d+) requests in", out)[1])


def fetch(port, count):
    for _ in range(count):
        subprocess.run(["curl", "-sS", "-o", "/dev/null", "-x", f"http://{PROXY}:{port}", f"http://{ORIGIN}/1g"], check=True)
    return count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("binary")
    options = parser.parse_args()
    if not options.inside:
        missing = [package for tool, package in PACKAGES.items() if not shutil.which(tool)]
        if missing:
            sys.exit("install first: apt-get install --no-install-recommends " + " ".join(missing))
        os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv, "--inside"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="ukai-bench-") as directory:
        work = pathlib.Path(directory)
        processes = start_all(work, os.path.abspath(options.binary))
        modes = {
            "keep-alive, 1 kB, 32 clients, us/request": lambda port: drive(work, port, "/1k", options.seconds, 32, False),
            "new connection each, 1 kB, us/request": lambda port: drive(work, port, "/1k", options.seconds, 32, True),
            "1 GiB body, ms/GiB": lambda port: fetch(port, 2),
        }
        try:
            for title, mode in modes.items():
                figures = {name: [] for name in PORTS}
                for round_number in range(options.rounds):
                    for name in list(PORTS) if round_number % 2 == 0 else list(PORTS)[::-1]:
                        before = cpu_seconds(processes[name].pid)
                        done = mode(PORTS[name])
                        spent = cpu_seconds(processes[name].pid) - before
                        figures[name].append(spent / done * (1e3 if "GiB" in title else 1e6))
                ours = statistics.median(figures["ukai"])
                for name, values in figures.items():
                    middle = statistics.median(values)
                    print(f"{title:45} {name:8} {middle:9.1f}  ({min(values):.1f}-{max(values):.1f}, n={len(values)})"
                          f"  ukai is {ours / middle:.2f} x", flush=True)
        finally:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.wait()


if __name__ == "__main__":
    main()
