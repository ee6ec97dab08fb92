"""One ukai daemon under test: its files, its life, its logs and what it holds.

The configuration is a dict of sections, each a list of (key, value) pairs or a dict; None takes a key away. Standard
error is read by a thread, so waiting for a log line is waiting for an event. The access log is JSON in a file.
"""
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import unicodedata

from scene import NSD, wait_until

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
RUN_ARGS = os.environ.get("UKAI_RUN_ARGS", "").split()  # for every daemon: --test-relay splice
BINARY = os.environ.get("UKAI_BIN", str(REPOSITORY / "build" / "ukai"))
SANITIZER_DIR = os.environ.get("UKAI_ASAN_LOG_DIR")

ACL = """[in]
tcp 8080 = 192.168.1.10     ; Webプロキシ利用でのDSaaS通信用
udp 53   = 192.168.1.10     ; DNS用
tcp 8080 = 192.168.1.20     ; Webプロキシ利用でのDSaaS通信用
udp 53   = 192.168.1.20     ; DNS用
tcp 53   = 192.168.1.10
tcp 8080 = 2001:db8:1::10
udp 53   = 2001:db8:1::10
"""


def sections(name_server=NSD, dns=True, **changes):
    """The contract's smallest useful configuration; changes are section="…" dicts with _ for blank and dash in names."""
    out = {
        "web-proxy lan": {"listen-network": "lan0", "bypass-network": "out0", "name-server": name_server},
        "dns lan": {"listen-network": "lan0", "bypass-network": "out0", "name-server": name_server},
        "acl": {"file": "acl.conf"},
        "log": {"access": "access.json", "access-format": "json"},
        "process": {"user": "root", "workers": "2", "sandbox": os.environ.get("UKAI_SANDBOX", "on")},
        "admin": {"control-socket": "control.sock"},
    }
    if not dns:
        del out["dns lan"]
    for section, keys in changes.items():
        target = out.setdefault({"web": "web-proxy lan", "dns_": "dns lan"}.get(section, section.replace("_", "-")), {})
        target.update({key.replace("_", "-"): value for key, value in keys.items()})
    return out


def render(config, directory):
    """Text of a configuration; paths of files that the daemon writes are put below directory."""
    lines = []
    for section, keys in config.items():
        lines.append(f"[{section}]")
        for key, value in (keys.items() if isinstance(keys, dict) else keys):
            if value is None:
                continue
            if (section, key) in (("log", "access"), ("admin", "control-socket")) and value in ("access.json",
                                                                                               "control.sock"):
                value = f"{directory}/{value}"
            lines.append(f"{key} = {value}")
        lines.append("")
    return "\n".join(lines)


def sanitizer_env(env, name):
    """Point the sanitizers of a child at files of its own, if a directory for them is given."""
    if SANITIZER_DIR:
        for variable in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            env[variable] = ":".join(filter(None, [os.environ.get(variable), f"log_path={SANITIZER_DIR}/{name}",
                                                   "print_stacktrace=1"] +
                                                  ["quarantine_size_mb=1"] * (variable == "ASAN_OPTIONS")))
    return env


def run_tool(*args, cwd=None, timeout=30, netns=None, env=None):
    """Run a subcommand of the binary to its end; out holds both streams."""
    command = [BINARY, *map(str, args)]
    if netns:
        command = netns.command(command)
    done = subprocess.run(command, cwd=cwd, timeout=timeout, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=sanitizer_env(dict(os.environ, **(env or {})), "tool"))
    done.out = done.stdout.decode("utf-8", "replace")
    return done


def is_printable(text):
    """No control characters, no bidi controls: what the contract promises of a log line."""
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
                   or c in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" for c in text)


class Ukai:
    """Starts with start() or the with statement; stop() must see exit status 0."""

    def __init__(self, scene, config=None, acl=ACL, space=None, name="ukai", env=None, args=()):
        self.scene, self.space, self.name = scene, space or scene.router, name
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=name + "-", dir=scene.dir))
        self.dir.chmod(0o755)
        self.conf_path, self.acl_path = self.dir / "ukai.conf", self.dir / "acl.conf"
        self.access_path = self.dir / "access.json"
        self.config = config or sections()
        (self.dir / "state").mkdir(mode=0o700)
        self.env, self.args, self.prefix = {"STATE_DIRECTORY": str(self.dir / "state"), **(env or {})}, args, []  # prefix: a command that starts the daemon
        self.pass_fds = ()
        self.process = None
        self.lines = []
        self._news = threading.Condition()
        self._ended = False
        self._records, self._access_offset = [], 0
        self.write(acl=acl)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        self.scene.close_clients()
        self.stop(check=kind is None)

    # files

    def write(self, acl=None, config=None, conf_text=None):
        """Replace files by rename, as an editor would."""
        if config is not None:
            self.config = config
        self._replace(self.conf_path, conf_text if conf_text is not None else render(self.config, self.dir))
        if acl is not None:
            self.write_acl(acl)

    def write_acl(self, text):
        """That file alone: the configuration stays as it is, also one that did not come of self.config."""
        self._replace(self.acl_path, text)

    @staticmethod
    def _replace(path, text):
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(text if isinstance(text, bytes) else text.encode())
        fresh.chmod(0o644)
        os.rename(fresh, path)

    # life

    def start(self, wait=True):
        """Run in the router namespace; wait for the line that says ready."""
        env = sanitizer_env(dict(os.environ, **self.env), self.dir.name)
        self.process = self.space.popen([*self.prefix, BINARY, "run", "-c", self.conf_path, *self.args, *RUN_ARGS], env=env,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        pass_fds=self.pass_fds)
        self.pid = self.process.pid
        self.lines, self._ended = [], False  # of this life
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        if wait:
            self.wait_log(r"\bmsg=ready\b")
            self.fd_baseline = self.n_fds()
        return self

    def _read_stderr(self):
        for raw in self.process.stderr:
            with self._news:
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_log(self, pattern, since=0, deadline_s=15):
        """The first line after position since that matches; an early end of the daemon is an AssertionError."""
        found = []

        def look():
            found[:] = [line for line in self.lines[since:] if re.search(pattern, line)]
            return found or self._ended

        with self._news:
            self._news.wait_for(look, deadline_s)
        assert found, f"no line matching {pattern!r} on stderr:\n" + "\n".join(self.lines[-20:])
        return found[0]

    def signal(self, number):
        os.kill(self.pid, number)

    def reload(self, acl=None, config=None, conf_text=None, expect="reloaded"):
        """HUP after writing files; returns the log lines of this reload."""
        self.write(acl, config, conf_text)
        mark = len(self.lines)
        self.signal(signal.SIGHUP)
        line = self.wait_log(r'msg="?(reloaded|reload refused)', mark)
        said = "reloaded" if "reloaded" in line else "refused"
        assert said == expect, f"reload was {said}:\n" + "\n".join(self.lines[mark:])
        return self.lines[mark:]

    def reloads_in_turn(self, texts):
        """A function that loads the next of these rules. They are written but once: what has rested is not waited for."""
        paths = [self.dir / f"acl-{n}.conf" for n in range(len(texts))]
        for path, text in zip(paths, texts):
            path.write_text(text)
            os.utime(path, (0, 0))
        turn = itertools.cycle(paths)

        def reload():
            fresh = self.dir / "acl.new"
            os.link(next(turn), fresh)
            os.rename(fresh, self.acl_path)
            mark = len(self.lines)
            self.signal(signal.SIGHUP)
            assert "refused" not in self.wait_log(r'msg="?(reloaded|reload refused)', mark)

        return reload

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_exit(self, deadline_s=10):
        """Exit status; raises when the daemon does not end."""
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {deadline_s} s") from None
        self._reader.join(5)
        return code

    def stop(self, check=True):
        """TERM twice (drain, then at once), KILL as the last resort."""
        if self.process is None:
            return
        code, how = self.process.poll(), "had ended on its own"
        if code is None:
            how = "TERM"
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
                self.signal(number)
                try:
                    code = self.process.wait(3 if number == signal.SIGTERM else 10)
                    break
                except subprocess.TimeoutExpired:
                    how = "needed more than one TERM"
        self._reader.join(5)
        self.process.stderr.close()
        reports = self.sanitizer_reports()
        self.process = None
        assert not reports, reports
        if check:
            assert code == 0, f"exit status {code} ({how}):\n" + "\n".join(self.lines[-20:])

    # what it holds

    def links(self):
        """What every descriptor of the daemon is."""
        links = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                links.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
            except OSError:
                pass
        return links

    def n_fds(self):
        """Without the pipes that each of two workers keeps for splicing: at most eight, of two ends."""
        links = self.links()
        n_pipes = sum(link.startswith("pipe:") for link in links)
        spare = min(n_pipes, 2 * 8 * 2)
        return len(links) - spare

    def rss_bytes(self):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_fds(self, slack=4, deadline_s=8):
        """Descriptors back at the number after start; slack covers ones kept on purpose (pipes, a DNS stream)."""
        limit = time.monotonic() + deadline_s
        while self.n_fds() > self.fd_baseline + slack:
            if time.monotonic() > limit:
                raise AssertionError(f"{self.n_fds()} descriptors, {self.fd_baseline} at the start: "
                                     f"{sorted(self.links())}")
            time.sleep(0.01)

    def status(self):
        """What `ukai status --json` tells."""
        done = run_tool("status", "-c", self.conf_path, "--json")
        assert done.returncode == 0, done.out
        return json.loads(done.out)

    def sanitizer_reports(self):
        if not SANITIZER_DIR:
            return []
        return [path.read_text(errors="replace")
                for path in pathlib.Path(SANITIZER_DIR).glob(f"{self.dir.name}.*")]

    # access log

    def records(self):
        """Every record so far; a line that is not printable UTF-8 and JSON is an AssertionError."""
        if self.access_path.exists():
            with open(self.access_path, "rb") as file:
                file.seek(self._access_offset)
                fresh = file.read()
            fresh = fresh[:fresh.rfind(b"\n") + 1]
            self._access_offset += len(fresh)
            for raw in fresh.split(b"\n")[:-1]:
                line = raw.decode("utf-8")
                assert is_printable(line), f"unprintable access line {raw!r}"
                self._records.append(json.loads(line))
        return self._records

    def mark(self):
        """A position in the access log, for record() and records_since()."""
        return len(self.records())

    def records_since(self, mark):
        return self.records()[mark:]

    def record(self, mark, claim, deadline_s=5, what="record"):
        """The first record after mark for which claim(record) holds."""
        def look():
            return next((r for r in self.records_since(mark) if claim(r)), None)

        return wait_until(look, deadline_s, lambda: f"access {what} among {self.records_since(mark)}")
