"""Every key of ukai.conf changed and reloaded: what the manual says of it is what happens, and what needs a restart is named with
the value that stays in force, in the log, in the answer of `ukai reload`, and in `ukai status` until the files say it again."""
import json
import pathlib
import re

import pytest

from daemon import ACL, BINARY, Ukai, run_tool, sections
from scene import NSD, wait_until

# What each key is changed to; None takes its line away. A key of the manual that is not here fails.
LISTENER = {"listen-network": "192.168.1.254", "listen-port": "8081", "bypass-network": None, "bypass-mark": "7", "name-server": f"{NSD}:5353",
            "description": "迂回"}
CHANGES = {
    "web-proxy": {**LISTENER, "connect-ports": "443, 8443", "http-ports": "80"},
    "dns": {**LISTENER, "cache-size": "4M", "min-ttl": "1s", "max-ttl": "2h", "negative-max-ttl": "5m", "serve-stale": "1h", "prefetch": "on",
            "apply-out": "no", "rebind-protection": "on", "special-names": "forward", "any-queries": "minimal", "randomise-case": "on",
            "trust-ad": "192.0.2.1", "per-client-rate": "50", "over-limit": "refuse", "version-answer": "ukai", "hosts-file": "hosts"},
    "dns-zones": {"zone": "corp.example 192.0.2.53"},
    "dns-hosts": {"host": "www.corp.example 192.0.2.80"},
    "acl": {"file": "other.conf", "deny-answer": "403", "deny-answer-dns": "refused", "mode": "observe", "on-reload": "keep"},
    "limits": {"max-clients": "100", "max-tunnels": "100", "per-source-tunnels": "10", "per-source-rate": "10", "per-source-bandwidth": "1M",
               "request-line-size": "4K", "head-size": "16K"},
    "timeouts": {key: "20s" for key in ("head", "dns", "connect", "tunnel-idle", "half-closed", "tunnel-life", "http-idle", "http-response",
                                        "drain")},
    "log": {"level": "debug", "access": "off", "access-format": "logfmt", "periodic": "5s", "log-queries": "yes", "log-query-strings": "yes"},
    "admin": {"control-socket": "/run/other.sock", "listen": "127.0.0.1:9100", "allow": "192.0.2.0/24"},
    "process": {"workers": "3", "user": "nobody", "group": "nogroup", "sandbox": "off", "nofile": "1000", "last-good": "off"},
}
IN_FORCE = {"cache-size": "16M", "workers": "2", "user": "root", "group": "the user's", "sandbox": "yes"}  # of those that need a restart


def manual():
    """(section, key): whether it says that a restart is needed, of the manual page that was built with the binary; None: not
    available yet."""
    text = (pathlib.Path(BINARY).resolve().parent / "doc" / "ukai.conf.5").read_text()
    out = {}
    for part in re.split(r"^\.Ss ", text, flags=re.M)[1:]:
        for item in re.split(r"^\.It Ic ", part.split("\n.El")[0], flags=re.M)[1:]:
            key = item.split("\n")[0].replace("\\-", "-")
            says = [word for word in ("Needs a restart.", "Applied by a reload.", "Not available yet") if word in item]
            assert len(says) == 1, (key, says)
            out[part[1:part.index("]")], key] = None if says == ["Not available yet"] else says == ["Needs a restart."]
    return out


MANUAL = manual()
RESTART = [at for at, needs in MANUAL.items() if needs]
RELOAD = [at for at, needs in MANUAL.items() if needs is False]


def changed(section, key):
    config = {name: dict(keys) for name, keys in sections().items()}
    name = section + " lan" * (section in ("web-proxy", "dns"))
    config.setdefault(name, {})[key] = CHANGES[section][key]
    return config


@pytest.fixture(scope="module")
def ukai(scene):
    with Ukai(scene) as daemon:
        (daemon.dir / "other.conf").write_text(ACL)
        (daemon.dir / "hosts").write_text("192.0.2.80 www.corp.example\n")
        yield daemon


@pytest.fixture(autouse=True)
def as_at_the_start(ukai):
    """Also: what was changed back needs no restart."""
    yield
    told = asked(ukai, sections())
    assert told.out == "" and told.logged == [] and status(ukai)["needs_restart"] == []


def socket_of(ukai):
    return ukai.dir / "control.sock"


def status(ukai):
    """By the old path, wherever the file says that it is."""
    done = run_tool("status", "--json", "--socket", socket_of(ukai))
    assert done.returncode == 0, done.out
    return json.loads(done.out)


def asked(ukai, config):
    """`ukai reload`, with what it and the log say of restarts."""
    ukai.write(config=config)
    mark = len(ukai.lines)
    done = run_tool("reload", "--socket", socket_of(ukai))
    assert done.returncode == 0, done.out
    ukai.wait_log("msg=reloaded", mark)
    done.logged = [line for line in ukai.lines[mark:] if "needs a restart" in line]
    return done


def state_of(ukai):
    """What a key of the process would change: threads, who it is, its fence, its socket."""
    text = pathlib.Path(f"/proc/{ukai.pid}/status").read_text()
    return re.findall(r"^(Threads|Uid|Gid|Seccomp):\s*(.*)$", text, re.M), socket_of(ukai).is_socket()


def test_every_key_is_tried_here():
    assert set(MANUAL) - {at for at, needs in MANUAL.items() if needs is None} == {(s, k) for s, keys in CHANGES.items() for k in keys}
    assert len(RESTART) >= 6 and len(RELOAD) > 50


@pytest.mark.parametrize("section, key", RESTART, ids=map(" ".join, RESTART))
def test_a_key_that_needs_a_restart_is_named(ukai, section, key):
    in_force = IN_FORCE.get(key, str(socket_of(ukai)))
    wanted = {"sandbox": "no"}.get(key, CHANGES[section][key])
    before = state_of(ukai)
    for _ in range(2):  # as long as it holds, and not the first time only
        told = asked(ukai, changed(section, key))
        assert told.out == f"ukai: needs a restart: [{section}] {key} = {wanted}; until then it is {in_force}\n"
        assert len(told.logged) == 1 and f'section={section} key={key} in_force="{in_force}" wanted="{wanted}"' in told.logged[0]
    assert status(ukai)["needs_restart"] == [{"section": section, "key": key, "in_force": in_force, "wanted": wanted}]
    shown = run_tool("status", "--socket", socket_of(ukai)).out
    assert f"\nneeds a restart: [{section}] {key} = {wanted}; until then it is {in_force}\n" in shown, shown
    assert ">Needs a restart<" in run_tool("status", "--html", "--socket", socket_of(ukai)).out
    assert state_of(ukai) == before
    ukai.reload(config=sections())
    by_signal = ukai.reload(config=changed(section, key))
    assert any("needs a restart" in line and f"key={key}" in line for line in by_signal), by_signal


@pytest.mark.parametrize("section, key", RELOAD, ids=map(" ".join, RELOAD))
def test_a_key_that_a_reload_applies_is_not_warned_of(ukai, section, key):
    told = asked(ukai, changed(section, key))
    assert "restart" not in told.out and told.logged == []
    assert status(ukai)["needs_restart"] == []


def test_nofile_and_ports_are_applied(scene, ukai):
    """The rows that said otherwise once."""
    asked(ukai, changed("process", "nofile"))
    assert re.search(r"Max open files\s+1000\s", pathlib.Path(f"/proc/{ukai.pid}/limits").read_text())
    assert status(ukai)["max_clients"] < 500
    asked(ukai, changed("web-proxy", "listen-port"))
    scene.dial(port=8081)
    wait_until(lambda: not is_open(scene, 8080), what="the old port's end")
    asked(ukai, changed("web-proxy", "listen-network"))
    scene.dial(port=8080)


def is_open(scene, port):
    try:
        scene.dial(port=port)
    except OSError:
        return False
    return True


def test_workers_of_the_command_line_need_no_restart(scene):
    """They win over the file, now and after one."""
    config = sections(dns=False, web={"listen-port": "8095"})
    daemon = Ukai(scene, config, ACL.replace("8080", "8095"), name="options", args=("--workers", "1"))
    with daemon:
        config["process"]["workers"] = "5"
        told = asked(daemon, config)
        assert told.out == "" and told.logged == []
        assert status(daemon)["workers"] == 1
