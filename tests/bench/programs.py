"""How each program under test is started: one worker or thread, no log, no cache, in the foreground."""
import os
import pathlib
import signal
import socket
import subprocess
import time

ORIGIN = "10.77.0.1"
FAR_ORIGIN = "10.78.0.1"  # behind a link
ECHO, SOURCE, SINK, HTTP = 9001, 9002, 9003, 9004
SERVICES = {"echo": ECHO, "source": SOURCE, "sink": SINK, "http": HTTP}
TUNNEL_LOADS = ("connect", "pingpong", "pingpong-idle", "down", "up", "mixed", "idle")
HTTP_LOADS = ("keepalive", "request", "body")
IDLE_TUNNELS, MOST_TUNNELS = 4000, 8968
LINK_LOADS = ("connect-veth", "pingpong-veth", "down-veth", "up-veth", "down-segments", "up-segments", "down-shaped")
SCALE_LOADS = ("pingpong-1", "pingpong-9000")


class Program:
    """One program: its address, what of it carries which load, its process."""
    name = ""
    every = 1             # takes part in every so manieth pass
    loads = TUNNEL_LOADS + HTTP_LOADS
    is_plain = False      # tunnels: forwards TCP, a port for each service, no CONNECT
    is_origin_form = False  # HTTP: a reverse proxy

    def __init__(self, address, directory, build):
        self.address, self.build = address, build
        self.dir = pathlib.Path(directory) / self.name.replace(" ", "-").replace(",", "")
        self.dir.mkdir()
        self.dir.chmod(0o777)  # some give up root
        self.process = None

    def command(self):
        raise NotImplementedError

    def file(self, name, text):
        path = self.dir / name
        path.write_text(text)
        return str(path)

    def port(self, service):
        return SERVICES[service] if self.is_plain or (service == "http" and self.is_origin_form) else 8080

    def start(self):
        with open(self.dir / "output", "wb") as output:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        for _ in range(300):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection((self.address, self.port("echo")), 1).close()
                time.sleep(0.2)
                return
            except OSError:
                time.sleep(0.1)
        output = (self.dir / "output").read_text(errors="replace")[-600:]
        self.stop()
        raise RuntimeError(f"{self.name} did not start: {output}")

    def pids(self):
        """Its process and all below."""
        found = [self.process.pid]
        for pid in found:
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    found += map(int, children.read_text().split())
                except OSError:
                    pass  # the thread ended
        return found

    def cpu_s(self):
        """By the CPU clock of each process (clock_getcpuclockid(3))."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.pids())

    def freeze(self, is_frozen):
        """What is not under test must not use the machine."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP if is_frozen else signal.SIGCONT)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.freeze(False)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Ukai(Program):
    name = "ukai"
    loads = TUNNEL_LOADS + HTTP_LOADS + SCALE_LOADS + LINK_LOADS
    n_rules = 1
    n_workers = 1

    def command(self):
        self.dir.chmod(0o755)  # a control socket stands in no directory of everybody's
        sources = "".join(f"tcp 8080 = 172.{16 + n // 65536}.{n // 256 % 256}.{n % 256} ; server {n}\n"
                          for n in range(self.n_rules - 1))
        self.file("acl.conf", f"[in]\n{sources}tcp 8080 = 10.77.0.0/16\n[out]\nallow = {ORIGIN}\nallow = {FAR_ORIGIN}\n")
        config = self.file("ukai.conf", f"""[web-proxy bench]
listen-network = {self.address}
listen-port = 8080
connect-ports = 443, 1025-65535
name-server = {ORIGIN}
[acl]
file = acl.conf
[log]
access = off
[limits]
max-clients = 9200
max-tunnels = 9200
[admin]
control-socket = {self.dir}/control.sock
[process]
workers = {self.n_workers}
user = root
last-good = off
""")
        return [f"{self.build}/ukai", "run", "--config", config]


class UkaiBefore(Ukai):
    """Another build of it: what a change costs or saves."""
    name = "ukai, before"
    before = ""

    def command(self):
        return [f"{self.before}/ukai", *super().command()[1:]]


class UkaiRules(Ukai):
    name = "ukai, 100,000 rules"
    n_rules = 100_000
    loads = ("connect",)


class UkaiTwo(Ukai):
    name = "ukai, two workers"
    n_workers = 2
    loads = ("connect", "pingpong", "down")


class Floor(Program):
    name = "floor, splice"
    loads = TUNNEL_LOADS + SCALE_LOADS + LINK_LOADS
    mode = "splice"

    def command(self):
        return [f"{self.build}/tests/bench/bench_floor", self.mode, self.address, "8080"]


class FloorCopy(Floor):
    name = "floor, copy"
    mode = "copy"
    loads = ("down", "up")


class Squid(Program):
    name = "squid"

    def command(self):
        config = self.file("squid.conf", f"""http_port {self.address}:8080
http_access allow all
cache deny all
cache_mem 0
access_log none
cache_store_log none
cache_log {self.dir}/cache.log
pid_filename none
netdb_filename none
pinger_enable off
coredump_dir none
workers 1
max_filedescriptors 20000
shutdown_lifetime 0 seconds
visible_hostname bench
""")
        return ["squid", "-N", "-f", config]


class Tinyproxy(Program):
    name = "tinyproxy"
    every = 3

    def command(self):
        return ["tinyproxy", "-d", "-c", self.file("tinyproxy.conf", f"""User nobody
Group nogroup
Port 8080
Listen {self.address}
Timeout 600
LogLevel Critical
MaxClients 10000
""")]


class Haproxy(Program):
    name = "haproxy"
    is_plain = True
    is_origin_form = True

    def command(self):
        plain = "".join(f"listen {name}\n mode tcp\n bind {self.address}:{port}\n server o {ORIGIN}:{port}\n"
                        for name, port in SERVICES.items() if name != "http")
        return ["haproxy", "-db", "-f", self.file("haproxy.cfg", f"""global
 nbthread 1
 maxconn 7500
defaults
 timeout connect 10s
 timeout client 1h
 timeout server 1h
 option splice-auto
{plain}listen http
 mode http
 http-reuse always
 bind {self.address}:{HTTP}
 server o {ORIGIN}:{HTTP}
""")]


class Apache(Program):
    name = "apache2"
    every = 3

    def command(self):
        modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
                          for name in ("mpm_event", "authz_core", "proxy", "proxy_connect", "proxy_http"))
        return ["apache2", "-DFOREGROUND", "-f", self.file("apache2.conf", f"""ServerRoot {self.dir}
{modules}ServerName bench
Listen {self.address}:8080
PidFile {self.dir}/pid
Mutex pthread
ErrorLog /dev/null
LogLevel emerg
ServerLimit 1
StartServers 1
ThreadLimit {IDLE_TUNNELS + 200}
ThreadsPerChild {IDLE_TUNNELS + 200}
MaxRequestWorkers {IDLE_TUNNELS + 200}
MinSpareThreads 1
MaxSpareThreads {2 * IDLE_TUNNELS}
MaxConnectionsPerChild 0
MaxKeepAliveRequests 0
KeepAliveTimeout 600
Timeout 3600
ProxyRequests On
ProxyVia Off
AllowCONNECT 443 1025-65535
User www-data
Group www-data
""")]


class Nginx(Program):
    name = "nginx"
    every = 3
    is_plain = True
    is_origin_form = True

    def command(self):
        plain = "".join(f" server {{ listen {self.address}:{port}; proxy_pass {ORIGIN}:{port}; }}\n"
                        for name, port in SERVICES.items() if name != "http")
        return ["nginx", "-c", self.file("nginx.conf", f"""load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log /dev/null crit;
pid {self.dir}/pid;
events {{ worker_connections 19000; }}
stream {{
 proxy_timeout 1h;
{plain}}}
http {{
 access_log off;
 keepalive_requests 1000000000;
 keepalive_timeout 600s;
 proxy_max_temp_file_size 0;
 upstream o {{ server {ORIGIN}:{HTTP}; keepalive 64; keepalive_requests 1000000000; }}
 server {{
  listen {self.address}:{HTTP};
  location / {{ proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection ""; }}
 }}
}}
""")]


QUICK = (Ukai, Floor)
ALL = (Ukai, Floor, FloorCopy, UkaiRules, UkaiTwo, Squid, Tinyproxy, Haproxy, Apache, Nginx)
