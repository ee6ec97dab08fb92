"""mode = observe: what [in] and [out] refuse passes and is recorded; the guard refuses as ever; explain still says no."""
import pytest

from client import exchange, whole_head
from daemon import Ukai, run_tool, sections
from scene import ECHO, SCRIPTED, wait_until

ACL = """[in]
tcp 8080 = 192.168.1.10 ; first host
udp 53 = 192.168.1.10
tcp 53 = 192.168.1.10
[out]
deny = echo.lab.example ; by name
deny = 203.0.113.12 ; by address
"""


@pytest.fixture(scope="module")
def ukai(scene):
    with Ukai(scene, sections(name_server=SCRIPTED, acl={"file": "acl.conf", "mode": "observe"}), ACL) as daemon:
        yield daemon


def connect(scene, target, host=None):
    return exchange(scene.dial(host), f"CONNECT {target} HTTP/1.1\r\n\r\n".encode(), stop=whole_head)


def observed(ukai, mark, **want):
    def claim(record):
        return record["event"] == "observed" and all(record.get(k) == v for k, v in want.items())
    return ukai.record(mark, claim, what=f"observed {want}")


def test_a_name_that_is_denied_passes_and_is_recorded(scene, ukai):
    mark = ukai.mark()
    assert connect(scene, "echo.lab.example:443").status == 200
    record = observed(ukai, mark, host="echo.lab.example", method="CONNECT")
    assert (record["error"], record["memo"], record["src"]) == ("out_denied", "by name", "192.168.1.10")
    assert "closed_by" not in record
    opened = ukai.record(mark, lambda r: r["event"] == "open")
    assert opened["id"] == record["id"] and opened["memo"] == "first host"


def test_an_address_that_is_denied_passes_and_is_recorded(scene, ukai):
    mark = ukai.mark()
    assert connect(scene, f"{ECHO}:443").status == 200
    assert observed(ukai, mark, host=ECHO)["memo"] == "by address"


def test_an_unlisted_source_passes_and_is_recorded(scene, ukai):
    mark = ukai.mark()
    assert connect(scene, "v4.lab.example:443", scene.host20).status == 200
    record = observed(ukai, mark, src="192.168.1.20")
    assert (record["error"], record["rule"]) == ("source_denied", "no rule")


def test_guard_and_port_list_refuse(scene, ukai):
    assert connect(scene, "127.0.0.1:443").status == 403
    assert connect(scene, "192.168.1.254:8080").status == 403
    assert connect(scene, "v4.lab.example:25").status == 403
    assert connect(scene, f"{scene.name(a=['10.9.8.7'])}:443").status == 403


def test_dns_of_an_unlisted_source_and_a_denied_name(scene, ukai):
    mark = ukai.mark()
    assert asks(scene.udp(scene.host20), "v4.lab.example") == 0
    assert observed(ukai, mark, src="192.168.1.20", method="DNS")["error"] == "source_denied"
    assert asks(scene.udp(), "echo.lab.example") == 0
    record = observed(ukai, mark, host="echo.lab.example", method="DNS")
    assert (record["error"], record["memo"]) == ("out_denied", "by name")


def asks(sock, name):
    """The RCODE of the answer to an A query."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    sock.send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\0\x01\0\x01")
    return sock.recv(4096)[3] & 15


def test_explain_says_what_enforce_would_do(scene, ukai):
    done = run_tool("explain", "-c", ukai.conf_path, "--no-resolve", "--from", "192.168.1.10",
                    "CONNECT echo.lab.example:443", netns=scene.router)
    assert done.returncode == 3, done.out
    assert "observe" in done.out


def test_check_warns_and_the_log_says_it(scene, ukai):
    done = run_tool("check", "-c", ukai.conf_path, netns=scene.router)
    assert done.returncode == 0 and "mode = observe" in done.out, done.out


def test_enforce_takes_it_all_back(scene, ukai):
    sock = scene.dial(scene.host20)
    assert exchange(sock, b"CONNECT v4.lab.example:443 HTTP/1.1\r\n\r\n", stop=whole_head).status == 200
    mark = ukai.mark()
    try:
        ukai.reload(config=sections(name_server=SCRIPTED), acl=ACL)
        assert wait_until(lambda: [r for r in ukai.records_since(mark) if r.get("closed_by") == "acl"])
        assert connect(scene, "echo.lab.example:443").status == 403
        assert connect(scene, "v4.lab.example:443", scene.host20).status is None
    finally:
        ukai.reload(config=sections(name_server=SCRIPTED, acl={"file": "acl.conf", "mode": "observe"}), acl=ACL)
