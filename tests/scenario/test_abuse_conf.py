"""Configuration files that lie, break or change under way: group G, by `check`, by `run` and by HUP."""
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from client import OPEN_200, exchange, open_tunnel
from daemon import BINARY, Ukai, run_tool, sections
from scene import ECHO, wait_until

CONF = """[web-proxy lan]
listen-network = lan0
bypass-network = out0
name-server = 203.0.113.53

[acl]
file = acl.conf
"""
ACL = """[in]
tcp 8080 = 192.168.1.10 ; DSaaS01
tcp 53 = 192.168.1.10
udp 53 = 192.168.1.10
"""
LIVE_ACL = "[in]\ntcp 8080 = 192.168.1.10\n"


class Files:
    """A directory with ukai.conf and acl.conf, and `ukai check` on them."""

    def __init__(self, directory):
        self.dir = directory
        self.conf, self.acl = directory / "ukai.conf", directory / "acl.conf"
        self.write()

    def write(self, conf=CONF, acl=ACL):
        for path, text in ((self.conf, conf), (self.acl, acl)):
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            path.chmod(0o644)

    def check(self):
        began = time.monotonic()
        done = run_tool("check", "-c", self.conf)
        assert done.returncode in (0, 1, 3, 78), f"status {done.returncode}: {done.out}"
        done.seconds = time.monotonic() - began
        return done

    def refused(self, *places, conf=CONF, acl=ACL):
        """check says 78 and names each FILE:LINE as an error; returns the text."""
        self.write(conf, acl)
        done = self.check()
        assert done.returncode == 78, f"status {done.returncode}: {done.out}\n{conf!r}\n{acl!r}"
        for place in places:
            assert re.search(rf"{re.escape(place)}: error: \S", done.out), f"no error at {place}: {done.out}"
        return done.out

    def accepted(self, conf=CONF, acl=ACL, warning=None):
        self.write(conf, acl)
        done = self.check()
        assert done.returncode == 0, f"status {done.returncode}: {done.out}\n{conf!r}\n{acl!r}"
        assert ": error: " not in done.out, done.out
        if warning:
            assert re.search(rf"{warning}", done.out), f"no {warning!r} in: {done.out}"
        return done.out


@pytest.fixture
def files():
    with tempfile.TemporaryDirectory(prefix="ukai-conf-") as name:
        os.chmod(name, 0o755)
        yield Files(pathlib.Path(name))


def last_line(text):
    return text.count("\n") + (not text.endswith("\n"))


def acl_refused(files, line, n=None):
    """A line behind [in] and one good rule is an error on its own line."""
    text = "[in]\ntcp 8080 = 192.168.1.10\n" + line + "\n"
    return files.refused(f"acl.conf:{n or 3}", acl=text)


def conf_refused(files, line, section="timeouts"):
    text = CONF + f"[{section}]\n{line}\n"
    return files.refused(f"ukai.conf:{last_line(text)}", conf=text)


def test_the_plain_files_are_valid(files):
    out = files.accepted()
    assert "warning" not in out or "warnings" in out, out


def test_usage_errors(files):
    for args in (("check", "--nonsense"), ("nonsense",), ("check", "-c"), ("run", "--workers", "many", "-c", files.conf), ()):
        assert run_tool(*args).returncode == 2, args
    for command in ("run", "check", "explain", "version"):
        done = run_tool(command, "--help")
        assert done.returncode == 0 and "usage" in done.out.lower(), (command, done.out)
    done = run_tool("version")
    assert done.returncode == 0 and "libevent" in done.out and "OpenSSL" in done.out, done.out


# what is not a file, or not there

def test_G01_directory(files):
    files.acl.unlink()
    files.acl.mkdir()
    assert files.check().returncode == 78
    done = run_tool("check", "-c", files.dir)
    assert done.returncode == 78 and "directory" in done.out, done.out


def test_G02_missing_empty_without_rules(files):
    files.acl.unlink()
    assert files.check().returncode == 78
    assert run_tool("check", "-c", files.dir / "nothing.conf").returncode == 78
    for acl in ("", "\n", "; only a comment\n", "[out]\ndeny = *.example\n", "[in]\n", "[group a]\nmember = 192.168.1.1\n"):
        files.refused(acl=acl)
    for conf in ("", "; empty\n", "[acl]\nfile = acl.conf\n"):
        files.refused(conf=conf)


def test_G02_unreadable(files):
    files.acl.chmod(0o600)
    binary = shutil.copy(BINARY, files.dir / "ukai")
    done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", binary, "check", "-c", files.conf],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 78 and "acl.conf" in done.stdout, (done.returncode, done.stdout)


def test_G02_run_refuses_to_start(scene):
    for acl in ("", "[in]\n", "[in]\ntcp 8080 = nonsense\n"):
        daemon = Ukai(scene, sections(dns=False), acl)
        daemon.start(wait=False)
        assert daemon.wait_exit() == 78, daemon.lines
        assert any("acl.conf" in line for line in daemon.lines), daemon.lines
        daemon.stop(check=False)


# lines

def rule_of(size):
    """A valid rule of exactly size bytes."""
    value = ",".join(f"192.168.7.{n}" for n in range(10, 22))
    head = "tcp 8080 ="
    return head + " " * (size - len(head) - len(value)) + value


def test_G03_line_length(files):
    for size in (198, 199):
        assert len(rule_of(size)) == size
        files.accepted(acl="[in]\n" + rule_of(size) + "\n")
        files.accepted(acl="[in]\n" + rule_of(size) + " ; " + "memo " * 30 + "\n")
    for size in (200, 201, 250, 5000):
        out = acl_refused(files, rule_of(size))
        assert "199" in out, out
    assert "199" in conf_refused(files, "description = " + "x" * 300, "web-proxy b")


def test_G03_last_address_of_a_full_line_counts(files):
    files.accepted(acl="[in]\n" + rule_of(199) + "\n")
    done = run_tool("explain", "-c", files.conf, "--from", "192.168.7.21", "--no-resolve", "CONNECT a.example:443")
    assert done.returncode == 0, done.out


def test_G04_tail_of_a_long_line_never_becomes_a_key(files):
    for tail in ("tcp 8080 = 0.0.0.0/0", "any=0.0.0.0/0", "deny=all"):
        for at in (198, 199, 200, 201):
            acl_refused(files, rule_of(199)[:190].ljust(at) + tail)
    text = "[in]\ntcp 8080 = 192.168.1.10 ; " + "m" * 171 + "any=0.0.0.0/0\n"
    files.accepted(acl=text)
    done = run_tool("explain", "-c", files.conf, "--from", "192.168.1.99", "--no-resolve", "CONNECT a.example:443")
    assert done.returncode == 3, done.out


def test_G05_nul(files):
    for text in (b"[in]\ntcp 8080 = 192.168.1.10\0, 192.168.1.11\n", b"[in]\ntcp 8080 = 192.168.1.10\n\0\n",
                 b"[in]\ntcp 8080 = 192.168.1.10 ; me\0mo\n", b"\0[in]\ntcp 8080 = 192.168.1.10\n",
                 b"[in\0]\ntcp 8080 = 192.168.1.10\n", b"[in]\ntcp 8080 = 192.168.1.10\n; comment\0\n"):
        files.refused(f"acl.conf:{text[:text.index(0)].count(10) + 1}", acl=text)


def test_G06_indented_line(files):
    for indent in (" ", "\t", "   "):
        acl_refused(files, indent + "tcp 8080 = 192.168.1.11")
        acl_refused(files, indent + "192.168.1.11")


def test_G07_semicolon_and_hash_in_values(files):
    acl_refused(files, "tcp 8080 = 192.168.1.11;memo")
    acl_refused(files, "tcp 8080 = 192.168.1.11 # memo")
    files.refused("acl.conf:1", acl="[in];memo\ntcp 8080 = 192.168.1.10\n")
    files.accepted(acl="[in] ; the firewall\ntcp 8080 = 192.168.1.10 ; a # b ; c; d\n; comment # x\n")


def test_G07_text_behind_a_bracket(files):
    files.refused("acl.conf:1", acl="[in] tcp\ntcp 8080 = 192.168.1.10\n")
    files.refused("acl.conf:1", acl="[in]]\ntcp 8080 = 192.168.1.10\n")


def test_G08_colon_splits_nothing(files):
    for line in ("2001:db8::1 = tcp 8080", "tcp 8080: 192.168.1.11", "tcp:8080 = 192.168.1.11", "any: 2001:db8::1",
                 "2001:db8::1", "192.168.1.11", "tcp 8080", "= 192.168.1.11"):
        acl_refused(files, line)
    files.accepted(acl=ACL + "any = 2001:db8:1::/64\n")


def test_G09_long_names(files):
    files.refused(f"acl.conf:{last_line(ACL) + 1}", acl=ACL + "[" + "g" * 50 + "]\n")
    files.refused(f"acl.conf:{last_line(ACL) + 1}", acl=ACL + "[group " + "g" * 50 + "]\nmember = 192.168.1.1\n")
    acl_refused(files, "k" * 50 + " = 192.168.1.11")
    conf_refused(files, "k" * 50 + " = 1s")
    files.refused(conf=CONF + "[web-proxy " + "n" * 49 + "]\nlisten-network = lan1\n")


def test_G10_duplicates(files):
    text = CONF + "[timeouts]\nhead = 5s\ndns = 1s\nhead = 6s\n"
    out = files.refused(f"ukai.conf:{last_line(text)}", conf=text)
    assert str(last_line(text) - 2) in out.split("error:", 1)[1], out
    text = CONF + "[timeouts]\nhead = 5s\n[log]\nlevel = info\n[timeouts]\ndns = 6s\n"
    out = files.refused(f"ukai.conf:{last_line(text) - 1}", conf=text)
    assert str(last_line(text) - 5) in out.split("error:", 1)[1], out
    files.refused(conf=CONF + "[web-proxy lan]\nlisten-network = lan1\n")
    files.accepted(acl=ACL + "tcp 8080 = 192.168.1.11\ntcp 8080 = 192.168.1.12\n")


@pytest.mark.parametrize("text, near", [
    ("[timeouts]\nhaed = 5s\n", "head"), ("[timeouts]\ntunnel_idle = 5s\n", "tunnel-idle"), ("[timeout]\nhead = 5s\n", "timeouts"),
    ("[log]\nacces = off\n", "access"), ("[process]\nsandbx = on\n", "sandbox"), ("[web-proxi b]\nlisten-network = lan1\n", "web-proxy"),
    ("[limits]\nmaxclients = 5\n", "max-clients")])
def test_G11_unknown_names_say_the_nearest(files, text, near):
    out = files.refused(conf=CONF + text)
    assert re.search(rf"\b{near}\b", out), out


@pytest.mark.parametrize("line", ["log-queries = ture", "log-queries = 2", "log-queries =", "level = lots"])
def test_G11_misspelt_values(files, line):
    conf_refused(files, line, "log")


def test_G11_unknown_things_in_the_rules(files):
    files.refused(f"acl.conf:{last_line(ACL) + 1}", acl=ACL + "[inn]\ntcp 8080 = 192.168.1.1\n")
    acl_refused(files, "tpc 8080 = 192.168.1.11")
    acl_refused(files, "tcp = 192.168.1.11")
    acl_refused(files, "icmp 8 = 192.168.1.11")
    acl_refused(files, "any 80 = 192.168.1.11")
    acl_refused(files, "tcp 8080 = @nobody")
    files.refused(f"acl.conf:{last_line(ACL) + 2}", acl=ACL + "[out]\nallwo = *\n")
    files.refused(f"acl.conf:{last_line(ACL) + 2}", acl=ACL + "[group g]\nmembers = 192.168.1.1\n")


def test_G11_every_finding_is_printed(files):
    text = CONF + "[timeouts]\nhead = soon\ndns = 5\nbogus = 1s\n"
    n = last_line(text)
    files.refused(f"ukai.conf:{n - 2}", f"ukai.conf:{n - 1}", f"ukai.conf:{n}", "acl.conf:2", "acl.conf:3",
                  conf=text, acl="[in]\ntcp 8080 = x\ntcp 0 = 192.168.1.1\ntcp 8080 = 192.168.1.10\n")


def test_G12_unterminated_section(files):
    for head in ("[out", "[group a", "[", "[]"):
        files.refused(f"acl.conf:{last_line(ACL) + 1}", acl=ACL + head + "\nany = 0.0.0.0/0\n")
    files.refused(conf=CONF.replace("[acl]", "[acl"))


def test_G13_encodings_and_line_ends(files):
    files.refused(acl=ACL.replace("\n", "\r"))
    files.refused(conf=CONF.replace("\n", "\r"))
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        files.refused(acl=ACL.encode(encoding))
    files.accepted(acl=b"\xef\xbb\xbf" + ACL.encode(), conf=b"\xef\xbb\xbf" + CONF.encode())
    files.accepted(acl=ACL.replace("\n", "\r\n"), conf=CONF.replace("\n", "\r\n"))
    files.accepted(acl=ACL.rstrip("\n"))
    files.refused("acl.conf:2", acl="[in]\ntcp 8080 = 192.168.1.10\r, 192.168.1.11\n")
    files.accepted(acl="[in]\ntcp 8080 = 192.168.1.10 ; Webプロキシ利用でのDSaaS通信用\n")


BAD_SOURCES = ("10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0/8", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0", "::/129", "010.0.0.0/8",
               "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/ 8", "10.1", "1.2.3.4.5", "0x0a000001", "167772161", "localhost", "a.example", "*",
               "10.0.0.1-", "-10.0.0.1", "10.0.0.9-10.0.0.5", "10.0.0.1-2001:db8::1", "10.0.0.1-9", "2001:db8::1%eth0",
               "192.168.1.1:80", "10.0.0.0/8,", ",10.0.0.1", "10.0.0.1,,10.0.0.2", "", "@", "10.0.0.1 10.0.0.2", "2001:db8::/",
               "2001:db8:::1", "٠.0.0.0")


@pytest.mark.parametrize("source", BAD_SOURCES)
def test_G14_malformed_sources(files, source):
    acl_refused(files, f"tcp 8080 = {source}")


def test_G14_mapped_prefix(files):
    files.write(acl="[in]\ntcp 8080 = ::ffff:10.0.0.0/104\n")
    done = files.check()
    if done.returncode == 0:
        explain = run_tool("explain", "-c", files.conf, "--from", "10.1.2.3", "--no-resolve", "CONNECT a.example:443")
        assert explain.returncode == 0, explain.out
    else:
        assert done.returncode == 78 and "acl.conf:2: error" in done.out, done.out


@pytest.mark.parametrize("source, hint", [("10.0.0.5/8", "10.0.0.0/8"), ("192.168.1.10/24", "192.168.1.0/24"),
                                          ("2001:db8::1/64", "2001:db8::/64"), ("1.1.1.1/0", "0.0.0.0/0")])
def test_G15_host_bits(files, source, hint):
    assert hint in acl_refused(files, f"tcp 8080 = {source}")


def test_G16_overlaps_duplicates_and_everything(files):
    files.accepted(acl=ACL + "tcp 8080 = 192.168.1.10\n", warning=r"acl\.conf:5: warning: ")
    files.accepted(acl=ACL + "tcp 8080 = 192.168.1.0/24\n", warning=r"acl\.conf:\d+: (warning|note): ")
    files.accepted(acl=ACL + "tcp 8080 = 0.0.0.0/0\n", warning=r"acl\.conf:5: warning: ")
    files.accepted(acl=ACL + "any = ::/0\n", warning=r"acl\.conf:5: warning: ")
    files.accepted(acl="[in]\ntcp 8080 = 192.168.1.10\n[out]\nallow = a.example\ndeny = a.example\n")
    done = run_tool("explain", "-c", files.conf, "--from", "192.168.1.10", "--no-resolve", "CONNECT a.example:443")
    assert done.returncode == 3, done.out


def test_G16_order_does_not_matter(files):
    lines = ["tcp 8080 = 192.168.1.0/24", "tcp 8080 = 192.168.1.10", "any = 192.168.1.128/25", "tcp 1-65535 = 192.168.2.1"]
    verdicts = set()
    for order in (lines, lines[::-1]):
        files.accepted(acl="[in]\n" + "\n".join(order) + "\n")
        verdicts.add(tuple(run_tool("explain", "-c", files.conf, "--from", source, "--no-resolve", "CONNECT a.example:443").returncode
                           for source in ("192.168.1.10", "192.168.1.200", "192.168.2.1", "192.168.3.1")))
    assert verdicts == {(0, 0, 0, 3)}


def test_G16_check_reports_rules_that_are_not_ours_and_missing_tcp_53(files):
    conf = CONF + "[dns lan]\nlisten-network = lan0\n"
    out = files.accepted(conf, acl="[in]\ntcp 8080 = 192.168.1.10\nudp 53 = 192.168.1.10\ntcp 22 = 192.168.1.10\nicmp = 192.168.1.10\nrdp = 192.168.1.10\n")
    assert "not ours" in out, out
    assert re.search(r"warning: .*(TCP|tcp) 53", out), out


@pytest.mark.parametrize("ports", ["0", "65536", "443-", "-443", "500-400", "443,,80", "80a", "0x50", "+80", "99999999999", "1-65536", "0-80",
                                   "80-90-100", "8080.", "80 90", "٤٤٣"])
def test_G17_ports_of_rules(files, ports):
    acl_refused(files, f"tcp {ports} = 192.168.1.11")


@pytest.mark.parametrize("ports", ["0", "65536", "443-", "500-400", "443,,80", "443,", "80a", "-1", "", "443 80"])
def test_G17_ports_of_the_configuration(files, ports):
    text = CONF.replace("name-server", f"connect-ports = {ports}\nname-server")
    files.refused("ukai.conf:4", conf=text)
    if "," not in ports:
        files.refused("ukai.conf:4", conf=CONF.replace("name-server", f"listen-port = {ports}\nname-server"))


def test_G17_blanks_are_trimmed(files):
    files.accepted(CONF.replace("name-server", "connect-ports =   443 ,  8443 , 9000-9010\nname-server"),
                   "[in]\ntcp   8080   =    192.168.1.10  ,  192.168.1.11\nTCP 8080-8090=192.168.1.12\n")


@pytest.mark.parametrize("pattern", ["", "a..b", "*.", "*a.example", "a.*.example", "10.0.0.5/8", "a.example:", "a.example:0", "a.example:500-400",
                                     "a.example:{}", "a.example:{80,", "2001:db8::/32:443", "[10.0.0.1]:443", "a b", "münchen.example", "a.example:80,90"])
def test_G17_patterns_of_out(files, pattern):
    files.refused(f"acl.conf:{last_line(ACL) + 2}", acl=ACL + f"[out]\ndeny = {pattern}\n")


@pytest.mark.parametrize("value", ["-1", "-1s", "0", "5", "1000000000000000000s", "18446744073709551616ms", "5x", "5 m s", "s", "1e3s", "0x5s", "",
                                   "9223372036854775807d", "1.5s", "5M"])
def test_G18_times(files, value):
    conf_refused(files, f"connect = {value}")


def test_G18_good_times(files):
    for value in ("5m", "1h", "90s", "1500ms"):
        files.accepted(CONF + f"[timeouts]\ntunnel-idle = {value}\n")


@pytest.mark.parametrize("value", ["-1", "18446744073709551616", "99999999999999999999K", "17179869184G", "5X", "K", "1.5K", "0x10", ""])
def test_G18_sizes(files, value):
    conf_refused(files, f"head-size = {value}", "limits")


def test_later_features_are_accepted_with_a_warning(files):
    files.accepted(CONF + "[web-proxy b]\nlisten-network = lan1\nauth-file = users\n",
                   warning=r"warning: .*not available yet")


# kinds of files

def test_G20_only_regular_files(files):
    kinds = []
    fifo = files.dir / "fifo"
    os.mkfifo(fifo)
    kinds.append(fifo)
    dangling = files.dir / "dangling"
    dangling.symlink_to(files.dir / "nowhere")
    kinds.append(dangling)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(files.dir / "socket"))
    kinds += [files.dir / "socket", "/dev/zero", "/dev/null", files.dir]
    for path in kinds:
        files.write(conf=CONF.replace("acl.conf", str(path)))
        done = files.check()
        assert done.returncode == 78, (path, done.out)
        assert done.seconds < 3, (path, done.seconds)
        done = run_tool("check", "-c", path, timeout=5)
        assert done.returncode == 78, (path, done.out)
    listener.close()


def test_G20_symlink_to_a_regular_file(files):
    link = files.dir / "link.conf"
    link.symlink_to(files.acl)
    files.write(conf=CONF.replace("acl.conf", "link.conf"))
    assert files.check().returncode in (0, 78)


def test_G21_writable_by_others(files):
    for path in (files.acl, files.conf):
        files.write()
        path.chmod(0o666)
        done = files.check()
        assert done.returncode == 78 or "warning" in done.out and "writable" in done.out, done.out


def test_G21_directory_writable_by_others(files):
    files.dir.chmod(0o777)
    done = files.check()
    files.dir.chmod(0o755)
    assert done.returncode == 78 or "warning" in done.out and "writable" in done.out, done.out


# a running daemon

@pytest.fixture(scope="module")
def ukai(scene):
    with Ukai(scene, sections(dns=False), LIVE_ACL) as daemon:
        yield daemon


def still_serves(scene, yes=True):
    reply = exchange(scene.dial(), f"CONNECT {ECHO}:443 HTTP/1.1\r\n\r\n".encode(), stop=lambda raw: raw == OPEN_200)
    assert (reply.raw == OPEN_200) is yes, reply
    assert exchange(scene.dial(scene.host30), b"").raw == b""


BAD_ACL = {
    "empty": b"", "no-rule": b"[in]\n", "nul": LIVE_ACL.encode() + b"tcp 8080 = 192.168.1.30\0\n",
    "cr-only": LIVE_ACL.replace("\n", "\r").encode(), "utf-16": LIVE_ACL.encode("utf-16"), "unclosed": LIVE_ACL.encode() + b"[out\nallow = *\n",
    "long": (LIVE_ACL + rule_of(5000) + "\n").encode(), "half": LIVE_ACL.encode()[:-8], "garbage": os.urandom(5000),
    "indented": LIVE_ACL.encode() + b" any = 0.0.0.0/0\n", "host-bits": LIVE_ACL.encode() + b"any = 192.168.1.30/24\n"}


@pytest.mark.parametrize("kind", BAD_ACL)
def test_bad_rules_at_reload_change_nothing(scene, ukai, kind):
    said = ukai.reload(acl=BAD_ACL[kind], expect="refused")
    assert any("acl.conf" in line for line in said), said
    still_serves(scene)
    ukai.reload(acl=LIVE_ACL)
    still_serves(scene)


def test_bad_configuration_at_reload_changes_nothing(scene, ukai):
    good = ukai.conf_path.read_text()
    for text in (good + "[timeouts]\nhead = never\n", good.replace("[acl]", "[acl"), "", good + "[bogus]\n", good.replace("lan0", "")):
        ukai.reload(conf_text=text, expect="refused")
        still_serves(scene)
    ukai.reload(conf_text=good)


def test_G01_G02_rules_vanish_at_reload(scene, ukai):
    for replace in (lambda: None, ukai.acl_path.mkdir, lambda: os.mkfifo(ukai.acl_path), lambda: ukai.acl_path.symlink_to("/dev/zero")):
        ukai.acl_path.unlink()
        replace()
        mark = len(ukai.lines)
        ukai.signal(signal.SIGHUP)
        assert "refused" in ukai.wait_log(r'msg="?(reloaded|reload refused)', mark)
        still_serves(scene)
        if ukai.acl_path.is_dir():
            ukai.acl_path.rmdir()
            ukai.acl_path.touch()
        elif ukai.acl_path.is_symlink() or ukai.acl_path.exists():
            ukai.acl_path.unlink()
            ukai.acl_path.touch()
        else:
            ukai.acl_path.touch()
    ukai.reload(acl=LIVE_ACL)


def acl_of(n_more):
    """LIVE_ACL and so many rules more, of hosts that are nowhere."""
    return LIVE_ACL + "".join(f"tcp 8080 = 10.{n // 250}.{n % 250}.1\n" for n in range(n_more))


def reload_whatever_is_there(ukai):
    """By HUP; whether it was taken."""
    mark = len(ukai.lines)
    ukai.signal(signal.SIGHUP)
    return "refused" not in ukai.wait_log(r'msg="?(reloaded|reload refused)', mark)


def test_G22_a_client_comes_while_the_file_is_on_its_last_line(scene, ukai):
    """All but the end of that line is there, and who comes then is served by the old file, as a whole; then the rest comes."""
    ukai.reload(acl=acl_of(100))
    text = acl_of(3000).replace("192.168.1.10", "192.168.1.30").encode()
    with open(ukai.acl_path, "wb", buffering=0) as file:
        file.write(text[:-4])
        mark = len(ukai.lines)
        ukai.signal(signal.SIGHUP)
        still_serves(scene)  # as the file is read
        assert "refused" in ukai.wait_log(r'msg="?(reloaded|reload refused)', mark)
        still_serves(scene)
        assert ukai.status()["rules"] == 101
        file.write(text[-4:])
    assert reload_whatever_is_there(ukai)
    assert ukai.status()["rules"] == 3001
    assert exchange(scene.dial(), b"").raw == b""
    open_tunnel(scene.dial(scene.host30), f"{ECHO}:443")
    ukai.reload(acl=LIVE_ACL)


def test_G22_replaced_by_rename_during_reloads(scene, ukai):
    """Each reload takes one of the two, and none is refused."""
    stop, seen, texts = threading.Event(), set(), {n: acl_of(n - 1) for n in (11, 3001)}

    def swap():
        while not stop.is_set():
            for text in texts.values():
                ukai.write_acl(text)
                time.sleep(0.005)

    ukai.reload(acl=texts[11])
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(40):
            assert reload_whatever_is_there(ukai)
            seen.add(ukai.status()["rules"])
            still_serves(scene)
    finally:
        stop.set()
        thread.join()
    assert seen == set(texts)
    ukai.reload(acl=LIVE_ACL)


# Writes a file in place by whole lines, so that whatever is there is valid at any time; then tells its longest pause.
WRITER = """
import sys, time
path, text, longest = sys.argv[1], sys.stdin.buffer.read(), 0
lines = text.splitlines(True)
with open(path, "wb", buffering=0) as file:
    last = time.monotonic()
    print("begun", flush=True)
    for at in range(0, len(lines), 20):
        file.write(b"".join(lines[at:at + 20]))
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        time.sleep(0.0005)
print(longest, flush=True)
"""
RESTED_S = 0.015  # below what the daemon takes for the end of writing


def test_G22_half_written_during_reloads(scene, ukai):
    """Wherever a reload catches the writer, the old rules hold or all of the new ones, never some of them."""
    pipe, rng, seen = subprocess.PIPE, random.Random(22), {1: 0, 3001: 0}
    for _ in range(30):
        ukai.reload(acl=LIVE_ACL)
        with subprocess.Popen([sys.executable, "-c", WRITER, ukai.acl_path], stdin=pipe, stdout=pipe) as writer:
            writer.stdin.write(acl_of(3000).encode())
            writer.stdin.close()
            assert writer.stdout.readline() == b"begun\n"
            time.sleep(rng.uniform(0, 0.1))
            is_taken = reload_whatever_is_there(ukai)
            n_rules, longest_s = ukai.status()["rules"], float(writer.stdout.readline())
        still_serves(scene)
        if longest_s < RESTED_S:  # who pauses for longer has written a file, as far as anyone can tell
            assert n_rules == (3001 if is_taken else 1)
            seen[n_rules] += 1
    assert sum(seen.values()) > 10 and seen[3001] > 0, seen
    assert reload_whatever_is_there(ukai) and ukai.status()["rules"] == 3001
    ukai.reload(acl=LIVE_ACL)


def wait_quiet(daemon):
    """Until no line has come for a while: reloads that were asked for are done."""
    seen = [0, 0.0]

    def quiet():
        if len(daemon.lines) != seen[0] or not seen[1]:
            seen[:] = [len(daemon.lines), time.monotonic()]
        return time.monotonic() - seen[1] > 0.3

    wait_until(quiet, what="quiet log")


def test_G23_a_thousand_hups(scene, ukai):
    for n in range(1000):
        ukai.signal(signal.SIGHUP)
        if n % 100 == 0:
            still_serves(scene)
    wait_quiet(ukai)
    mark = len(ukai.lines)
    ukai.signal(signal.SIGSTOP)
    for n in range(1000):
        ukai.signal(signal.SIGHUP)
    ukai.signal(signal.SIGCONT)
    wait_quiet(ukai)
    assert sum("msg=reloaded" in line for line in ukai.lines[mark:]) == 1, "asked a thousand times before it looked"
    ukai.reload(acl=LIVE_ACL)
    still_serves(scene)
    ukai.reload(acl="[in]\nbroken\n", expect="refused")
    ukai.reload(acl=LIVE_ACL)
    still_serves(scene)


def test_G23_term_during_reload(scene):
    for n in range(3):
        daemon = Ukai(scene, sections(dns=False, web={"listen-port": "8086"}), "[in]\ntcp 8086 = 192.168.1.10\n", name="hup")
        daemon.start()
        for _ in range(5):
            daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGTERM)
        for _ in range(2):
            if daemon.is_alive():
                daemon.signal(signal.SIGHUP)
        assert daemon.wait_exit(5) == 0
        daemon.stop()


def test_G24_file_that_only_root_reads(scene):
    config = sections(dns=False, web={"listen-port": "8087"}, process={"user": "nobody"}, log={"access": "stderr"},
                      admin={"control-socket": None})
    daemon = Ukai(scene, config, "[in]\ntcp 8087 = 192.168.1.10\n", name="dropped")
    with daemon:
        uid = re.search(r"Uid:\s+(\d+)", open(f"/proc/{daemon.pid}/status").read())[1]
        assert uid != "0"
        daemon.reload()
        daemon.acl_path.chmod(0o600)
        os.chown(daemon.acl_path, 0, 0)
        mark = len(daemon.lines)
        daemon.signal(signal.SIGHUP)
        assert "refused" in daemon.wait_log(r'msg="?(reloaded|reload refused)', mark)
        assert daemon.is_alive()
        open_tunnel(scene.dial(port=8087), f"{ECHO}:443")


def test_changed_listener_moves_at_a_reload(scene, ukai):
    """From the interface to its address and back, and to another port: the old one ends, and no restart is asked for."""
    before = ukai.config
    for web in ({"listen-network": "192.168.1.254"}, {"listen-network": "192.168.1.254", "listen-port": "8089"}):
        port = int(web.get("listen-port", "8080"))
        said = ukai.reload(acl=LIVE_ACL + f"tcp {port} = 192.168.1.10\n" * (port != 8080), config=sections(dns=False, web=web))
        assert not any("restart" in line for line in said), said
        open_tunnel(scene.dial(port=port), f"{ECHO}:443")
    with pytest.raises(ConnectionRefusedError):
        scene.dial(port=8080)
    ukai.reload(acl=LIVE_ACL, config=before)
    still_serves(scene)


def test_second_instance_leaves_the_first_unharmed(scene, ukai):
    """A second daemon on the same address fails clearly (78 or 1), or shares the port; the first one serves on."""
    second = Ukai(scene, sections(dns=False), LIVE_ACL, name="second")
    second.start(wait=False)
    wait_until(lambda: not second.is_alive() or any("msg=ready" in line for line in second.lines), what="second instance")
    if not second.is_alive():
        assert second.wait_exit() in (1, 78)
    else:
        second.stop()
    for _ in range(5):
        still_serves(scene)


SECRET = "sesame-7f3a"


def test_G26_a_password_is_for_few_and_goes_nowhere(scene):
    """The one key that holds one is not available yet, but it is read; no command line takes any, and there are no core files
    (test_systemd_real)."""
    config = sections(dns=False, web={"parent-proxy": f"http://user:{SECRET}@192.0.2.1:3128", "listen-port": "8099"})
    daemon = Ukai(scene, config, "[in]\ntcp 8099 = 192.168.1.10\n")  # beside the one of the other tests
    said = run_tool("check", "-c", daemon.conf_path)
    line = daemon.conf_path.read_text().split("\n").index(f"parent-proxy = http://user:{SECRET}@192.0.2.1:3128") + 1
    assert said.returncode == 0 and f"ukai.conf:{line}: warning: there is a password in this line" in said.out, said.out
    daemon.conf_path.chmod(0o640)
    quiet = run_tool("check", "-c", daemon.conf_path)
    assert quiet.returncode == 0 and "password" not in quiet.out, quiet.out
    with daemon:
        assert exchange(scene.dial(port=8099), b"GARBAGE\r\n\r\n").status == 400
        daemon.reload()
        told = [said.out, quiet.out, *daemon.lines, str(daemon.records())]
        told += [run_tool(*words, "-c", daemon.conf_path).out for words in
                 (["status"], ["status", "--json"], ["status", "--html"], ["rules"], ["explain", "--no-resolve", "--from", "192.168.1.10", "CONNECT x.example:443"])]
        assert not [text for text in told if SECRET in text]
        copies = list((daemon.dir / "state").iterdir())
        assert copies and {copy.stat().st_mode & 0o777 for copy in copies} == {0o600}
