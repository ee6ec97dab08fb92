"""What happens to the daemon itself: signals, a second one, a strange environment."""
import os
import signal
import subprocess
import time

import pytest

from client import exchange, expect_refused, open_tunnel
from daemon import ACL, BINARY, SANITIZER_DIR, Ukai, run_tool, sanitizer_env, sections
from scene import wait_until

TARGET = "agents.deepsecurity.trendmicro.com:443"


def serves(scene):
    return exchange(scene.dial(), b"GARBAGE\r\n\r\n").status == 400


@pytest.mark.parametrize("sandbox", ["on", "off"])
def test_O18_a_second_one_fails_and_harms_nobody(scene, sandbox):
    with Ukai(scene, sections(process={"sandbox": sandbox}), ACL) as daemon:
        sock = scene.dial()
        open_tunnel(sock, TARGET)
        again = run_tool("run", "-c", daemon.conf_path, netns=scene.router, env=daemon.env)
        assert again.returncode == 1 and "already in use" in again.out, again.out
        assert serves(scene) and run_tool("status", "-c", daemon.conf_path).returncode == 0
        sock.close()


def test_O07_signals(scene):
    with Ukai(scene, sections(timeouts={"drain": "30s"}), ACL) as daemon:
        os.kill(daemon.pid, signal.SIGPIPE)
        assert serves(scene)
        os.kill(daemon.pid, signal.SIGSTOP)
        os.kill(daemon.pid, signal.SIGCONT)
        assert serves(scene)
        sock = scene.dial()
        open_tunnel(sock, TARGET)
        os.kill(daemon.pid, signal.SIGTERM)
        daemon.wait_log("msg=draining")
        sock.sendall(b"x")  # the tunnel goes on
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.process.wait(10) == 0, "the second one ends it at once"


def test_O07_killed_and_started_again(scene):
    daemon = Ukai(scene, sections(), ACL).start()
    sock = scene.dial()
    open_tunnel(sock, TARGET)
    daemon.process.kill()
    daemon.process.wait()
    daemon.process.stderr.close()
    sock.close()
    with daemon:  # the port is free, and what the dead one left of its control socket is replaced
        assert serves(scene) and run_tool("status", "-c", daemon.conf_path).returncode == 0


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_O21_standard_descriptors_are_closed_at_start(scene, closed):
    daemon = Ukai(scene, sections(), ACL)
    words = " ".join(f"{n}>&-" for n in closed)
    process = scene.router.popen(["sh", "-c", f'exec "$0" run -c "$1" {words}', BINARY, str(daemon.conf_path)],
                                 env=sanitizer_env(dict(os.environ, **daemon.env), daemon.dir.name),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: run_tool("status", "-c", daemon.conf_path).returncode == 0)
        for n in closed:
            assert os.readlink(f"/proc/{process.pid}/fd/{n}") == "/dev/null"
        assert serves(scene)
    finally:
        scene.close_clients()
        process.terminate()
        assert process.wait(15) == 0


def test_O22_a_hostile_environment_changes_nothing(scene):
    env = {"LC_ALL": "tr_TR.UTF-8", "LANG": "../../etc", "TZ": "../../etc/passwd", "HOSTALIASES": "/etc/passwd",
           "RES_OPTIONS": "ndots:15", "MALLOC_CHECK_": "3", "BIG": "x" * 100_000, "EVENT_NOEPOLL": "1", "EVENT_SHOW_METHOD": "1",
           "TERM": "\x1b[2J", "http_proxy": "http://203.0.113.1:1", "OPENSSL_CONF": "/nonexistent",
           "LD_PRELOAD": "/nonexistent.so", "LD_LIBRARY_PATH": "/nonexistent:.", "LD_BIND_NOW": "", "LD_AUDIT": "/nonexistent.so",
           "LISTEN_FDS": "2147483647", "LISTEN_PID": "1", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "NOTIFY_SOCKET": "/nonexistent",
           **{f"BIG{n}": "x" * 120_000 for n in range(9)}}
    if SANITIZER_DIR:
        del env["LD_PRELOAD"], env["LD_AUDIT"]  # they look at these themselves
    daemon = Ukai(scene, sections(), ACL, env=env)
    daemon.prefix = ["sh", "-c", 'umask 0; exec "$@"', "sh"]
    with daemon:
        modes = {name: os.lstat(daemon.dir / name).st_mode & 0o777 for name in ("access.json", "control.sock")}
        assert modes == {"access.json": 0o640, "control.sock": 0o660}
        sock = scene.dial()
        mark = daemon.mark()
        open_tunnel(sock, TARGET)
        sock.close()
        record = daemon.record(mark, lambda r: r["event"] == "close")
        assert abs(record["ts"] - time.time()) < 60 if isinstance(record["ts"], (int, float)) else record["ts"].endswith("Z")


def test_O20_the_admins_pages_are_out_of_reach_through_the_proxy(scene):
    config = sections(admin={"listen": "192.168.1.254:9090", "allow": "0.0.0.0/0"}, web={"connect-ports": "443, 9090"})
    acl = ACL + "[out]\nallow = *\nallow = 192.168.1.0/24\nallow = 127.0.0.0/8\n"
    with Ukai(scene, config, acl):
        pages = [f"GET http://{host}:{port}/{path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n" for port in (9090, 8080)
                 for host in ("192.168.1.254", "[::ffff:192.168.1.254]") for path in ("", "metrics", "proxy.pac", "wpad.dat", "healthz")]
        for request in ["CONNECT 192.168.1.254:9090 HTTP/1.1\r\nHost: x\r\n\r\n", *pages]:
            reply = exchange(scene.dial(), request.encode())
            assert reply.status == 403 and "own listener" in reply.reason, (request, reply)
            assert b"FindProxyForURL" not in reply.raw and b"ukai_" not in reply.raw
        with scene.dial(port=9090) as sock:
            assert exchange(sock, b"GET /proxy.pac HTTP/1.1\r\nHost: 192.168.1.254\r\n\r\n").status == 200, "it is there"
    config["admin"]["allow"] = "192.168.1.20"
    with Ukai(scene, config, acl):
        for path in ("", "metrics", "proxy.pac", "wpad.dat", "healthz"):
            reply = exchange(scene.dial(port=9090), f"GET /{path} HTTP/1.1\r\nHost: 192.168.1.254\r\n\r\n".encode())
            assert reply.status in (403, None) and b"FindProxyForURL" not in reply.raw and b"ukai_" not in reply.raw, (path, reply)


@pytest.mark.parametrize("host", ["<script>alert(1)</script>", "<script>", "a\"onload=\"x", "h&lt;", "x" * 8000, "y" * 300,
                                  "<b>" * 2000], ids=lambda host: host[:8])
def test_O19_an_error_page_repeats_no_host(scene, host):
    """Malformed, too long, or refused by name: what the client said is in no answer, and answers are small."""
    with Ukai(scene, sections(limits={"request-line-size": "16K"}), ACL + "[out]\ndeny = .refused.example\n"):
        for data in (f"CONNECT {host}:443 HTTP/1.1\r\n\r\n", f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
                     f"GET http://refused.example/{host} HTTP/1.1\r\nHost: refused.example\r\n\r\n",
                     f"GET http://x.refused.example/ HTTP/1.1\r\nHost: x.refused.example\r\nReferer: {host}\r\n\r\n"):
            reply = exchange(scene.dial(), data.encode())
            expect_refused(reply, 400, 403, 414, 501, 502)
            assert len(reply.raw) < 1000 and host[:8].encode() not in reply.raw, reply
            assert reply.field("content-type").startswith("text/plain")


@pytest.mark.skipif(bool(SANITIZER_DIR), reason="the sanitizers catch the signal, and there is no sandbox")
def test_O23_a_crash_leaves_no_core_and_a_start_rebuilds_everything(scene):
    """The test is the service manager: it sees the end and starts the daemon again."""
    daemon = Ukai(scene, sections(), ACL)
    daemon.prefix = ["sh", "-c", f'ulimit -c unlimited && cd {daemon.dir} && exec "$@"', "sh"]
    daemon.start()
    sock = scene.dial()
    open_tunnel(sock, TARGET)
    exchange(scene.dial(), b"GET http://h/ HTTP/1.1\r\nProxy-Authorization: Basic c2VjcmV0\r\nHost: h\r\n\r\n")
    os.kill(daemon.pid, signal.SIGSEGV)
    _, status = os.waitpid(daemon.pid, 0)
    crashed = time.monotonic()
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV
    assert not os.WCOREDUMP(status) and not list(daemon.dir.glob("core*"))
    daemon.process.stderr.close()
    daemon.prefix = []
    with daemon:
        assert time.monotonic() - crashed < 1
        open_tunnel(scene.dial(), TARGET)
        status = run_tool("status", "-c", daemon.conf_path)
        assert status.returncode == 0 and "agents" not in status.out
        assert run_tool("rules", "-c", daemon.conf_path).returncode == 0
