"""The status page in a real browser: the daemon's own numbers, with and without scripts, on a desk and on a phone, and
nothing of what strangers choose but as text."""
import json
import re
import shlex
import shutil

import pytest

from browser import Browser
from client import exchange, open_tunnel, read_exactly
from daemon import BINARY, SANITIZER_DIR, Ukai, run_tool, sections
from faults import Faults
from scene import ECHO, wait_until

AGENTS = "agents.deepsecurity.trendmicro.com"
ACL = """[in]
tcp 8080 = 192.168.1.10 ; Webプロキシ利用 <b>&
tcp 8080 = 192.168.1.30
udp 53 = 192.168.1.10
tcp 53 = 192.168.1.10
[out]
deny = .evil.example ; 止める "quoted"
deny = never.example
"""
URL = "http://192.168.1.254:9090/"

pytestmark = pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")


@pytest.fixture(scope="module")
def browser(scene):
    with Browser(scene.host10) as running:
        yield running


@pytest.fixture
def ukai(scene):
    with Ukai(scene, sections(admin={"listen": "192.168.1.254:9090", "allow": "192.168.1.10"}), ACL) as daemon:
        yield daemon


@pytest.fixture
def page(browser, ukai):
    browser.events.clear()
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.look(1280)
    return browser


def ctl(daemon, *words):
    done = run_tool(words[0], "-c", daemon.conf_path, *words[1:])
    assert done.returncode == 0, done.out
    return done.out


def ctl_json(daemon, word):
    return json.loads(ctl(daemon, word, "--json"))


def connect(scene, target, host=None):
    return exchange(scene.dial(host=host), f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())


def figure(browser, name):
    return int(browser.evaluate(f"document.getElementById('{name}').value || document.getElementById('{name}').getAttribute('value')"))


def texts(browser, selector):
    return browser.evaluate(f"[...document.querySelectorAll(`{selector}`)].map(e => e.innerText.trim())")


def refusals(browser):
    """Each row as a dict by its labels, with the command below it."""
    return browser.evaluate("""[...document.querySelectorAll('tr.refusal')].map(row => {
        const cells = Object.fromEntries([...row.cells].map(c => [c.dataset.label, c.innerText.trim()]));
        const next = row.nextElementSibling;
        cells.command = next && next.classList.contains('ask') ? next.innerText.trim() : null;
        return cells; })""")


def make_traffic(scene):
    open_tunnel(scene.dial(), f"{AGENTS}:443")
    assert connect(scene, "www.evil.example:443").status == 403
    assert connect(scene, "www.evil.example:443").status == 403
    assert connect(scene, "git.lab.example:22").status == 403
    assert exchange(scene.dial(host=scene.host20), b"").raw == b""
    assert scene.host10.run(["dig", "+short", "@192.168.1.254", AGENTS]).stdout.strip()


@pytest.mark.parametrize("scripts", ["with scripts", "without scripts"])
def test_the_numbers_are_those_of_the_control_socket(scene, ukai, page, scripts):
    make_traffic(scene)
    page.call("Emulation.setScriptExecutionDisabled", value=scripts == "without scripts")
    page.open(URL)
    status = ctl_json(ukai, "status")
    traffic, dns = status["traffic"], status["dns"]
    shown = {name: figure(page, name) for name in
             ("tunnels-open", "clients", "accepted", "tunnels-opened", "sources-denied", "refused", "dns-udp", "dns-tcp",
              "dns-hits", "dns-forwarded", "dns-entries")}
    assert shown == {"tunnels-open": traffic["tunnels"], "clients": traffic["clients"], "accepted": traffic["accepted"],
                     "tunnels-opened": traffic["tunnels_opened"], "sources-denied": traffic["sources_denied"],
                     "refused": traffic["refused"], "dns-udp": dns["queries_udp"], "dns-tcp": dns["queries_tcp"],
                     "dns-hits": dns["hits"], "dns-forwarded": dns["forwarded"], "dns-entries": dns["cache_entries"]}
    assert shown["tunnels-open"] == 1 and shown["refused"] >= 3 and shown["sources-denied"] >= 1 and shown["dns-udp"] >= 1
    assert texts(page, "#state") == ["serving"]
    rules = {row["line"]: row for row in ctl_json(ukai, "rules")}
    rows = texts(page, "#rules + table tbody tr")
    assert len(rows) == len(rules)
    assert "Webプロキシ利用 <b>&" in rows[0] and "never" in rows[-1]
    assert texts(page, "#rules + table tbody tr:nth-child(1) td:nth-child(4)") == [str(rules[2]["hits"])]
    assert page.evaluate("document.querySelectorAll('figure svg path.line').length") == 6


CHARTS = {"connections": "Connections", "refusals": "Refusals", "up": "Up", "down": "Down", "queries": "DNS queries", "tunnels": "Open tunnels"}
BOTTOM, TOP = 47, 3  # of a line in its box of 48


def heights(path):
    """The y of each point of a chart's line; x must grow and stay in the box of 240."""
    points = [tuple(map(float, point.split())) for point in re.findall(r"[ML]([\d.]+ [\d.]+)", path)]
    assert path.startswith("M") and len(points) >= 2, path
    assert [x for x, _ in points] == sorted(x for x, _ in points) and 0 <= points[0][0] and points[-1][0] <= 240, path
    return [y for _, y in points]


def drawn(page):
    """What the browser made of them: a path that it cannot read has no length."""
    return page.evaluate("""Object.fromEntries([...document.querySelectorAll('.charts figure')].map(f => [f.id.replace('chart-', ''), {
        line: f.querySelector('path.line').getAttribute('d'), area: f.querySelector('path.area').getAttribute('d'),
        length: f.querySelector('path.line').getTotalLength(), width: f.querySelector('path.line').getBBox().width,
        now: f.querySelector('b').innerText, label: f.querySelector('svg').getAttribute('aria-label')}]))""")


@pytest.mark.skipif(bool(SANITIZER_DIR), reason="clocks are set by a preloaded library")
def test_the_charts_are_of_what_passed(scene, browser):
    """Two half minutes, by a clock that is put forward: busy, then nothing but the tunnels that stay open."""
    daemon = Ukai(scene, sections(admin={"listen": "192.168.1.254:9090", "allow": "192.168.1.10"}), ACL)
    faults = Faults(daemon.dir)
    daemon.prefix = faults.prefix

    def asking_wakes_it():
        return ctl(daemon, "status", "--html")

    def half_minute(n):
        faults.shift_steady_clock(n * 31)
        wait_until(lambda: len(re.findall("[ML]", re.search('class="line" d="([^"]*)"', asking_wakes_it())[1])) == n + 1, what="a point more")

    with daemon:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
        browser.open(URL)
        assert {chart["line"] for chart in drawn(browser).values()} == {""} and {chart["now"] for chart in drawn(browser).values()} == {"not yet"}
        make_traffic(scene)
        sock = scene.dial()
        open_tunnel(sock, f"{ECHO}:443")
        sock.sendall(b"x" * 3000)
        read_exactly(sock, 3000)
        half_minute(1)
        half_minute(2)
        browser.open(URL)
        charts = drawn(browser)
        assert set(charts) == set(CHARTS)
        for name, chart in charts.items():
            ys = heights(chart["line"])
            assert chart["area"].startswith(chart["line"]) and chart["area"].endswith("Z")
            assert chart["length"] > 0 and chart["width"] > 0, chart
            assert ys[:-1] == [TOP, TOP] and ys[-1] == (TOP if name == "tunnels" else BOTTOM), (name, ys)
            assert chart["label"].startswith(CHARTS[name] + " over the last hour: now ") and not chart["label"].endswith("highest 0"), chart
        assert charts["tunnels"]["now"] == "2" and charts["connections"]["now"].startswith("0")


def test_it_says_who_runs_and_by_what(scene, ukai, page):
    open_tunnel(scene.dial(), f"{AGENTS}:443")
    page.open(URL)
    said = " ".join(texts(page, "main"))
    assert str(ukai.conf_path) in said and "lan0" in said and "203.0.113.53" in said
    assert AGENTS in " ".join(texts(page, "#tunnels + table tbody tr")) and "192.168.1.10" in said
    assert texts(page, "#servers + table tbody tr td:nth-child(3)") == ["up"]


def test_a_refusal_has_its_reason_and_a_command_that_says_the_same(scene, ukai, page):
    make_traffic(scene)
    page.open(URL)
    rows = {row["Target"]: row for row in refusals(page)}
    evil = rows["CONNECT www.evil.example:443"]
    assert evil["Times"] == "2" and evil["Client"] == "192.168.1.10" and evil["Listener"] == "lan"
    assert evil["Reason"] == "destination refused by [out]" and evil["Rule"] == 'acl.conf:7 止める "quoted"'
    assert rows["CONNECT git.lab.example:22"]["Reason"] == "port not in the port list"
    assert rows[""]["Reason"] == "source not admitted by [in]" and rows[""]["Client"] == "192.168.1.20"
    for row in rows.values():
        words = shlex.split(row["command"])
        assert words[:2] == ["ukai", "explain"]
        done = scene.router.run(["sh", "-c", row["command"].replace("ukai", shlex.quote(BINARY), 1)])
        assert done.returncode == 3, (row["command"], done.stdout, done.stderr)


HOSTILE = ("<script>document.title='owned'</script>.example:443", "\"><img/src=x/onerror=document.title='owned'>:443",
           "a'onmouseover='x.example:443", "$(reboot).example:443", "`id`.evil.example:443")


def test_hostile_names_stay_text(scene, ukai, page):
    for target in HOSTILE:
        connect(scene, target)
        exchange(scene.dial(), f"GET http://{target}/{target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {target}\r\n\r\n".encode())
    scene.host10.run(["dig", "@192.168.1.254", "<svg/onload=x>.evil.example"])
    page.open(URL)
    assert page.evaluate("document.title").startswith("serving: ukai on")
    assert page.evaluate("document.querySelectorAll('img, iframe, main script, main svg [onload], [onerror], [onmouseover]').length") == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    for row in refusals(page):
        assert row["command"] is None or not re.search(r"[`$<>;\"]", row["command"]), row
    assert not page.complaints()


def test_it_follows_without_a_reload_and_keeps_to_itself(scene, ukai, page):
    page.open(URL)
    assert figure(page, "tunnels-open") == 0
    page.evaluate("window.kept = true")
    open_tunnel(scene.dial(), f"{AGENTS}:443")
    page.wait_for("document.getElementById('tunnels-open').value == '1'")
    assert page.evaluate("window.kept") is True and texts(page, "#live") == ["live"]
    assert set(page.requests()) == {URL}, "only the page itself"
    assert not page.complaints(), "no policy is broken"


def test_the_end_of_the_daemon_is_told(scene, page, ukai):
    page.open(URL)
    ukai.stop()
    page.wait_for("document.getElementById('live').className == 'bad'")
    assert "does not answer" in texts(page, "#live")[0]


def test_a_refused_reload_and_observing_are_told(scene, ukai, page):
    ukai.reload(acl=ACL + "nonsense <i>\n", expect="refused")
    page.open(URL)
    (told,) = texts(page, ".notice")
    assert "The last reload was refused" in told and "acl.conf:9" in told
    ukai.reload(acl=ACL, config=sections(acl={"mode": "observe"}))
    connect(scene, "www.evil.example:443")
    page.open(URL)
    (told,) = texts(page, ".notice")
    assert "Observing" in told and texts(page, "#state") == ["observing"]
    assert any("observed, let pass" in row["Reason"] for row in refusals(page))


@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_and_follows_light_and_dark(scene, ukai, page, width, tmp_path):
    make_traffic(scene)
    connect(scene, "x" * 60 + "." + "y" * 60 + "." + "z" * 60 + ".evil.example:443")
    seen = {}
    for scheme in ("light", "dark"):
        page.look(width, scheme=scheme)
        page.open(URL)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        seen[scheme] = page.screenshot(tmp_path / f"{scheme}-{width}.png")
        assert seen[scheme].width == width and seen[scheme].n_colours() > 20, "not blank"
    assert seen["light"].brightness() > 200 and seen["dark"].brightness() < 70


def test_text_can_be_read_in_both_schemes(scene, ukai, page):
    """Contrast of 4.5 to 1 at least for all text (WCAG 2.1, 1.4.3)."""
    make_traffic(scene)
    for scheme in ("light", "dark"):
        page.look(1280, scheme=scheme)
        page.open(URL)
        assert page.evaluate(CONTRAST) == []


CONTRAST = """(() => {
    const parse = text => text.match(/[\\d.]+/g).map(Number);
    const over = (top, below) => { const a = top[3] ?? 1; return [0, 1, 2].map(i => top[i] * a + below[i] * (1 - a)); };
    const ground = e => e ? over(parse(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : [255, 255, 255];
    const luminance = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                             return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const bad = [];
    for (const e of document.querySelectorAll('body *')) {
        if (!e.offsetParent || ![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
            continue;
        const below = ground(e), a = luminance(over(parse(getComputedStyle(e).color), below)), b = luminance(below);
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5)
            bad.push(e.outerHTML.slice(0, 80) + ' ' + contrast.toFixed(2));
    }
    return bad; })()"""


def test_a_saved_page_is_whole(scene, ukai, browser, tmp_path):
    make_traffic(scene)
    path = tmp_path / "status.html"
    path.write_text(ctl(ukai, "status", "--html"))
    browser.events.clear()
    browser.open(f"file://{path}")
    assert figure(browser, "tunnels-open") == 1 and texts(browser, "#live") == ["a copy, which does not change"]
    assert browser.requests() == [f"file://{path}"] and not browser.complaints()


def test_only_status_is_a_page(ukai):
    assert run_tool("tunnels", "-c", ukai.conf_path, "--html").returncode == 2
    assert "--html" in run_tool("status", "--help").out and "--html" not in run_tool("rules", "--help").out
