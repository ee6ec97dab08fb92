"""What the machine may refuse at any moment: system calls and memory (O02, O03).

The faults are made to order by ../lib/faults.py, preloaded into the daemon, so none of this is for a build with sanitizers.
"""
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from client import exchange, open_tunnel, read_exactly, whole_head
from daemon import SANITIZER_DIR, Ukai, run_tool, sections
from dnswire import Message, query, read_framed
from faults import CALLS, Faults
from scene import ECHO, LAN_ROUTER, ORIGIN, OUT_ROUTER, SCRIPTED, wait_until

pytestmark = pytest.mark.skipif(bool(SANITIZER_DIR), reason="allocator and calls are the sanitizers' own")

ACL = "[in]\ntcp 8080 = 192.168.1.10 ; first\nudp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\n"
TARGET = f"{ECHO}:443"
N_OWN_ALLOCS, N_SIDE_BY_SIDE = 280, 3


def make(scene, **changes):
    """One worker, so that calls come in a steady order."""
    changes.setdefault("process", {}).setdefault("workers", "1")
    times = {"head": "2s", "dns": "1s", "connect": "2s", "http-idle": "500ms"}
    daemon = Ukai(scene, sections(SCRIPTED, timeouts=times, **changes), ACL)
    daemon.faults = Faults(daemon.dir)
    daemon.prefix = daemon.faults.prefix
    return daemon


@pytest.fixture(scope="module")
def ukai(scene):
    with make(scene, web={"bypass-network": OUT_ROUTER}) as daemon:  # by bind(2); [dns] goes by interface
        yield daemon


class Tunnel:
    """One that was there before; it goes on, whatever fails elsewhere."""

    def __init__(self, scene, port=8080):
        self.sock = scene.dial(port=port)
        open_tunnel(self.sock, TARGET)

    def goes_on(self):
        self.sock.sendall(b"still there")
        return read_exactly(self.sock, 11, 5) == b"still there"


def is_echoed(sock):
    sock.sendall(b"hello")
    try:
        return read_exactly(sock, 5, 5) == b"hello"
    except (ConnectionError, AssertionError):
        return False


class Deeds:
    """One transaction of each kind. True: done as it should; False: failed as a client may expect it, by an answer that
    says so, or an end. Each has a name of its own: nothing is cached of it, no connection to it is kept."""

    def __init__(self, scene):
        self.scene = scene
        self.all = {"GET": self.get, "CONNECT": self.connect, "DNS": self.udp, "DNS/tcp": self.tcp}

    def _say(self, data):
        with self.scene.dial() as sock:
            return exchange(sock, data, stop=whole_head, deadline_s=6)

    @staticmethod
    def _judge(reply):
        assert reply.status in (None, 200, 502, 503, 504), reply
        assert reply.status or reply.end in ("fin", "rst"), reply
        return reply.status == 200

    def get(self):
        web = self.scene.name(a=[ORIGIN], ttl=0)
        with self.scene.dial() as sock:
            reply = exchange(sock, f"GET http://{web}/hello HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n".encode())
        return self._judge(reply) and reply.body == b"hello from the origin\n"

    def connect(self):
        with self.scene.dial() as sock:
            reply = exchange(sock, f"CONNECT {self.scene.name(a=[ECHO], ttl=0)}:443 HTTP/1.1\r\n\r\n".encode(), stop=whole_head)
            if not self._judge(reply):
                return False
            return is_echoed(sock)

    def _judge_dns(self, wire):
        message = Message(wire)
        assert message.rcode in (0, 2), message.rcode
        return message.rcode == 0 and message.addresses() == [ORIGIN]

    def udp(self):
        with self.scene.udp(timeout=1) as sock:
            sock.send(query(self.scene.name(a=[ORIGIN], ttl=0)))
            try:
                return self._judge_dns(sock.recv(4096))
            except TimeoutError:
                return False

    def tcp(self):
        wire = query(self.scene.name(a=[ORIGIN], ttl=0))
        with self.scene.dial(port=53, timeout=3) as sock:
            try:
                sock.sendall(len(wire).to_bytes(2, "big") + wire)
                return self._judge_dns(read_framed(sock))
            except (OSError, TypeError):
                return False


@pytest.fixture
def deeds(scene, ukai):
    made = Deeds(scene)
    for deed in made.all.values():
        assert deed()
    return made


def each_fault(arm, n_hit, deed, tunnel, n_most=60):
    """The deed with its first, second, ... fault until there is none left to hit; how many there were, and what was wrong."""
    wrong = []
    for n in range(1, n_most):
        before = n_hit()
        arm(n)
        done = deed()
        is_hit = n_hit() > before
        arm(0)
        if not is_hit:
            assert done
            return n - 1, wrong
        if not deed():
            wrong.append(f"fault {n} is still felt by the next")
        if not tunnel.goes_on():
            wrong.append(f"fault {n} hit another's tunnel")
    raise AssertionError(f"over {n_most} faults in one transaction")


@pytest.mark.parametrize("call", [call for call in CALLS if call != "getrandom"])
def test_O02_one_call_fails_and_only_its_transaction(scene, ukai, deeds, call):
    tunnel, n_all = Tunnel(scene), 0
    for name, deed in deeds.all.items():
        n, wrong = each_fault(lambda n: ukai.faults.fail_call(call, n), lambda: ukai.faults.n_failed_calls(call), deed, tunnel)
        assert not wrong, (name, wrong)
        n_all += n
    assert n_all > 0


def test_O02_getrandom_fails(scene, ukai, deeds):
    """It is asked now and then only, for many questions at once."""
    tunnel, before = Tunnel(scene), ukai.faults.n_failed_calls("getrandom")
    ukai.faults.fail_call("getrandom", 1)
    for _ in range(400):
        deeds.udp()
        if ukai.faults.n_failed_calls("getrandom") > before:
            break
    assert ukai.faults.n_failed_calls("getrandom") > before
    assert all(deed() for deed in deeds.all.values()) and tunnel.goes_on()


def test_O02_any_call_fails_now_and_then(scene, ukai, deeds):
    n_done = 0
    for call in CALLS:
        ukai.faults.fail_calls(call, 30)
    try:
        for _ in range(15):
            n_done += sum(deed() for deed in deeds.all.values())
    finally:
        for call in CALLS:
            ukai.faults.fail_calls(call, 0)
    assert 15 < n_done < 60, n_done
    for name, deed in deeds.all.items():
        wait_until(deed, what=name)  # a name server that failed in a row is left alone for a moment


# O03: the Nth allocation fails

def test_O03_transactions(scene, ukai, deeds):
    tunnel, faults = Tunnel(scene), ukai.faults
    before = faults.n_live()
    for name, deed in deeds.all.items():
        n, wrong = each_fault(faults.fail_alloc, faults.n_failed_allocs, deed, tunnel)
        assert n > 0 and not wrong, (name, n, wrong)
    assert run_tool("flush", "-c", ukai.conf_path).returncode == 0  # failures are cached, too
    wait_until(lambda: faults.n_live() <= before + 4, what=lambda: f"{faults.n_live()} blocks, {before} before")


def answers(scene, host, port, data):
    try:
        with scene.dial(host, port=port) as sock:
            return exchange(sock, data).status
    except (ConnectionError, EOFError):
        return None


def in_force(scene, with_second):
    """Whether host20 is served on a listener of its own, and health is told: all that the second configuration brings."""
    found = (answers(scene, scene.host20, 8084, b"GARBAGE\r\n\r\n"),
             answers(scene, scene.host10, 8085, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    return found == ((400, 200) if with_second else (None, None))


def test_O03_reload(scene):
    """`ukai reload` says what came of it, whichever allocation of it fails: all, nothing, or what follows within a second."""
    one = sections(SCRIPTED, process={"workers": "1"}, web={"listen-port": "8083"}, dns_={"listen-port": "5300"})
    two = {**one, "web-proxy second": {**one["web-proxy lan"], "listen-port": "8084"},
           "admin": {**one["admin"], "listen": f"{LAN_ROUTER}:8085", "allow": "192.168.1.10"}}
    acl_one, acl_two = ACL.replace("8080", "8083"), ACL.replace("8080", "8083") + "tcp 8084 = 192.168.1.20\n"
    daemon = Ukai(scene, one, acl_one)
    faults, outcomes, before = Faults(daemon.dir), {}, 0
    daemon.prefix = faults.prefix
    with daemon:
        tunnel = Tunnel(scene, port=8083)
        begun = faults.n_allocs()
        daemon.reload(acl=acl_two, config=two)
        n_allocs = faults.n_allocs() - begun
        daemon.reload(acl=acl_one, config=one)
        for n in range(1, n_allocs):
            daemon.write(acl_two, two)
            faults.fail_alloc(n)
            done = run_tool("reload", "-c", daemon.conf_path)
            faults.fail_alloc(0)
            what = "done" if done.returncode == 0 else "in part" if "in part" in done.out else "refused"
            outcomes[what] = outcomes.get(what, 0) + 1
            assert what != "refused" or "memory" in done.out or "memory" in "".join(daemon.lines), (n, done.out)
            if what == "in part":
                wait_until(lambda: in_force(scene, True), 5, what=f"allocation {n}: {done.out}")
                wait_until(lambda: "NOT IN FORCE" not in run_tool("status", "-c", daemon.conf_path).out, 5)
            else:
                assert in_force(scene, what == "done"), (n, done.out)
            assert tunnel.goes_on()
            daemon.write(acl_one, one)
            back = run_tool("reload", "-c", daemon.conf_path)  # its answer, since log lines may be on their way still
            assert back.returncode == 0 and in_force(scene, False), back.out
            before = before or faults.n_live()
        assert min(outcomes.get(what, 0) for what in ("done", "in part", "refused")) > 0, outcomes
        wait_until(lambda: faults.n_live() <= before + 4, what=lambda: f"{faults.n_live()} blocks, {before} before")


def start_with_fault(daemon, n):
    """It ends with a word on what is missing, or serves, and then hears signals; the exit code."""
    daemon.faults.clear()
    daemon.faults.fail_alloc(n)
    daemon.lines.clear()
    daemon.start(wait=False)
    wait_until(lambda: not daemon.is_alive() or any("msg=ready" in line for line in daemon.lines), 30)
    if daemon.is_alive():
        daemon.signal(signal.SIGTERM)
    code = daemon.wait_exit(30)
    daemon.process.stderr.close()
    assert code in (0, 1, 78) and daemon.lines, (n, code, daemon.lines)
    return code


def test_O03_start(scene):
    """Our own allocations come first, then those of the name servers' trust store."""
    daemons = [make(scene, process={"sandbox": "off"}, web={"listen-port": f"{8083 + i}"}, dns_={"listen-port": f"{5300 + i}"})
               for i in range(N_SIDE_BY_SIDE)]
    with daemons[0]:
        n_allocs = daemons[0].faults.n_allocs()
    assert n_allocs > N_OWN_ALLOCS
    todo = [*range(1, N_OWN_ALLOCS), *range(N_OWN_ALLOCS, n_allocs, 97)]

    def try_share(i):
        return {start_with_fault(daemons[i], n) for n in todo[i::N_SIDE_BY_SIDE]}

    with ThreadPoolExecutor(N_SIDE_BY_SIDE) as pool:
        codes = set().union(*pool.map(try_share, range(N_SIDE_BY_SIDE)))
    for daemon in daemons:
        daemon.process = None
    assert codes == {0, 1} or codes == {0, 1, 78}
