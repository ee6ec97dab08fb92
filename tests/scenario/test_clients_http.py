"""Plain HTTP with the clients that people have: each fetches through the proxy, and the origin judges what came of it."""
import hashlib
import os
import shutil
import subprocess

import pytest

from daemon import Ukai, sections
from httporigin import HttpOrigin, answer, files
from netns import CLEAN_ENV
from scene import LAN_ROUTER, SCRIPTED, wait_until

PROXY = f"http://{LAN_ROUTER}:8080"
SITE, SITE_ADDRESS, SITE_ADDRESS6 = "site.trick.example", "192.0.2.20", "2001:db8:77::20"
ACL = "[in]\ntcp 8080 = 192.168.1.10\ntcp 8080 = 192.168.1.20\n"


@pytest.fixture(scope="module")
def www(scene):
    directory = scene.dir / "site"
    directory.mkdir()
    (directory / "hello").write_text("hello over plain http\n")
    (directory / "big").write_bytes(os.urandom(3 << 20))
    return directory


@pytest.fixture(scope="module")
def site(scene, www):
    made = HttpOrigin(scene.outer, [(SITE_ADDRESS, 80), (SITE_ADDRESS6, 80)], files(www))
    scene.dns.add(SITE, a=[SITE_ADDRESS], aaaa=[SITE_ADDRESS6])
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ukai(scene):
    config = sections(SCRIPTED, dns=False, timeouts={"http-idle": "2s", "drain": "2s"})
    with Ukai(scene, config, ACL) as daemon:
        yield daemon


@pytest.fixture
def url(oracle, ukai, site):
    """Where the site is; afterwards every byte that it got is judged."""
    yield f"http://{SITE}"
    site.check()


def needs(program, package):
    return pytest.mark.skipif(not shutil.which(program), reason=f"no {program}: install Debian's {package}")


def echo(site):
    """A path that takes uploads: says 100 when it is asked to, and the length and sum of what came."""
    def work(conn, request):
        if request.is_complete:
            conn.send(answer(f"{request.method} {request.n_body} {request.sha1}".encode()))
        elif request.field("expect"):
            conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    return site.does(work, at="both")


def sha1(path):
    return hashlib.sha1(path.read_bytes()).hexdigest()


def curl(scene, *args):
    return scene.host10.run(["curl", "-sS", "-m", "20", "-x", PROXY, *args])


# curl and wget

def test_curl_get(scene, url):
    done = curl(scene, f"{url}/hello", f"{url}/hello")
    assert (done.returncode, done.stdout) == (0, "hello over plain http\n" * 2), done.stderr


def test_curl_http_1_0(scene, url):
    done = curl(scene, "-0", f"{url}/hello")
    assert (done.returncode, done.stdout) == (0, "hello over plain http\n"), done.stderr


def test_curl_ipv6_literal(scene, url):
    done = curl(scene, "-g", f"http://[{SITE_ADDRESS6}]/hello")
    assert (done.returncode, done.stdout) == (0, "hello over plain http\n"), done.stderr


def test_curl_head_and_conditions(scene, url, www):
    done = curl(scene, "-I", f"{url}/big")
    assert done.returncode == 0 and f"Content-Length: {3 << 20}" in done.stdout, done
    done = curl(scene, "-w", "%{http_code} %{size_download}", "-z", str(www / "hello"), f"{url}/hello")
    assert done.stdout == "304 0", done


def test_curl_ranges_and_a_resumed_download(scene, url, www, tmp_path):
    done = curl(scene, "-r", "6-9", f"{url}/hello")
    assert done.stdout == "over", done
    part = tmp_path / "big"
    part.write_bytes((www / "big").read_bytes()[:1 << 20])
    done = curl(scene, "-C", "-", "-o", part, f"{url}/big")
    assert done.returncode == 0 and sha1(part) == sha1(www / "big"), done.stderr


@pytest.mark.parametrize("fields", [(), ("-H", "Expect: 100-continue"), ("-H", "Expect:"), ("-H", "Transfer-Encoding: chunked"),
                                    ("-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue")],
                         ids=["plain", "expect", "no-expect", "chunked", "chunked-expect"])
def test_curl_uploads(scene, url, site, www, fields):
    path = echo(site)
    done = curl(scene, "-T", www / "big", *fields, url + path)
    assert done.stdout == f"PUT {3 << 20} {sha1(www / 'big')}", (done.stdout, done.stderr)
    done = curl(scene, "--data-binary", f"@{www / 'big'}", *fields, url + path)
    assert done.stdout == f"POST {3 << 20} {sha1(www / 'big')}", (done.stdout, done.stderr)


def test_curl_sees_the_refusal(scene, url):
    done = curl(scene, "-w", "%{http_code}", "-o", "/dev/null", "http://127.0.0.1/", "-w", " %{http_code}", "-o", "/dev/null",
                "ftp://h.example/")
    assert done.stdout.split()[0] == "403", done


@needs("wget", "wget")
def test_wget(scene, url, www, tmp_path):
    options = ["-q", "-T", "10", "-t", "1", "-e", "use_proxy=yes", "-e", f"http_proxy={PROXY}"]
    done = scene.host20.run(["wget", *options, "-O", "-", f"{url}/hello"])
    assert (done.returncode, done.stdout) == (0, "hello over plain http\n"), done.stderr
    part = tmp_path / "big"
    part.write_bytes((www / "big").read_bytes()[:1000])
    done = scene.host20.run(["wget", *options, "-c", "-P", tmp_path, f"{url}/big"])
    assert done.returncode == 0 and sha1(part) == sha1(www / "big"), done.stderr


# apt

N_PACKAGES = 15


@pytest.fixture(scope="module")
def repository(www):
    """A flat repository of small packages, under the site."""
    pool = www / "debian"
    for n in range(N_PACKAGES):
        tree = www.parent / "deb-work" / f"p{n}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr/share/probe").mkdir(parents=True)
        (tree / f"usr/share/probe/p{n}").write_bytes(os.urandom(2000 * (n + 1)))
        (tree / "DEBIAN/control").write_text(f"Package: probe-{n}\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.com>\n"
                                             "Description: probe\n")
        pool.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, pool / f"probe-{n}_1.0_all.deb"], check=True, stdout=subprocess.DEVNULL)
    for command, name in (("packages", "Packages"), ("release", "Release")):
        text = subprocess.run(["apt-ftparchive", command, "."], cwd=pool, check=True, stdout=subprocess.PIPE).stdout
        (pool / name).write_bytes(text)
    return pool


@needs("apt-ftparchive", "apt-utils")
def test_apt_updates_and_installs_with_pipelining(scene, url, ukai, site, repository, tmp_path):
    root = tmp_path / "root"
    for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial",
                 "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log/apt", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] {url}/debian ./\n")
    (root / "apt.conf").write_text(f"""
        Dir "{root}"; Dir::Bin::dpkg "/usr/bin/dpkg"; Dir::Log "var/log/apt"; Dir::State::status "{root}/var/lib/dpkg/status";
        APT::Sandbox::User "root"; Acquire::http::Proxy "{PROXY}"; Acquire::http::Pipeline-Depth "10"; Acquire::Retries "0";
        Acquire::Languages "none"; DPkg::Options {{ "--root={root}"; "--force-unsafe-io"; }}; Dpkg::Use-Pty "false";""")
    env = dict(CLEAN_ENV, APT_CONFIG=str(root / "apt.conf"), DEBIAN_FRONTEND="noninteractive")
    done = scene.host10.run(["apt-get", "-q", "update"], env=env)
    assert done.returncode == 0 and "W:" not in done.stderr.replace("W: Download is performed", ""), (done.stdout, done.stderr)
    mark = ukai.mark()
    names = [f"probe-{n}" for n in range(N_PACKAGES)]
    done = scene.host10.run(["apt-get", "-q", "-y", "install", *names], env=env)
    assert done.returncode == 0, (done.stdout, done.stderr)
    for n in range(N_PACKAGES):
        assert sha1(root / f"usr/share/probe/p{n}") == sha1(scene.dir / f"deb-work/p{n}/usr/share/probe/p{n}")
    records = wait_until(lambda: (r := ukai.records_since(mark)) and len(r) >= N_PACKAGES and r, 5, "a record for each package")
    assert len(records) == N_PACKAGES and len({r["src_port"] for r in records}) == 1, "one connection carried all packages"
    assert {r["status"] for r in records} == {200}
    done = scene.host10.run(["apt-get", "-q", "update"], env=env)
    assert done.returncode == 0 and "Hit:" in done.stdout, (done.stdout, done.stderr)


# dnf

SPEC = """Name: probe
Version: 1.0
Release: 1
Summary: probe
License: none
BuildArch: noarch
%description
probe
%install
mkdir -p %{buildroot}/opt
head -c 300000 /dev/zero >%{buildroot}/opt/probe
%files
/opt/probe
"""


@needs("dnf", "dnf")
@needs("createrepo_c", "createrepo-c")
@needs("rpmbuild", "rpm")
def test_dnf_installs(scene, url, ukai, site, www, tmp_path):
    (www / "rpms").mkdir()
    (tmp_path / "probe.spec").write_text(SPEC)
    env = dict(CLEAN_ENV, HOME=str(tmp_path))
    for command in (["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {tmp_path}/rpm", "--define", f"_rpmdir {www}/rpms", tmp_path / "probe.spec"],
                    ["createrepo_c", "-q", www / "rpms"]):
        done = subprocess.run(list(map(str, command)), env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
    (tmp_path / "log").mkdir()
    root, mark = tmp_path / "root", ukai.mark()
    done = scene.host10.run(["dnf", "-y", "-q", f"--installroot={root}", "--releasever=9", "--disablerepo=*", f"--repofrompath=probe,{url}/rpms",
                             "--enablerepo=probe", "--nogpgcheck", "--nodocs", "--noplugins", f"--setopt=proxy={PROXY}", f"--setopt=logdir={tmp_path}/log",
                             f"--setopt=cachedir={tmp_path}/cache", "--setopt=reposdir=/nonexistent", "install", "probe"], env=env)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert (root / "opt/probe").stat().st_size == 300000
    assert any(r["bytes_down"] > 0 and r["status"] == 200 for r in ukai.records_since(mark))


# languages

PYTHON = """
import http.client, urllib.request, sys
url, path, proxy = sys.argv[1:4]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": "http://" + proxy}))
print(opener.open(url + "/hello", timeout=10).read().decode(), end="")
request = urllib.request.Request(url + path, data=b"x" * 100000, method="POST")
print(opener.open(request, timeout=10).read().decode())
connection = http.client.HTTPConnection(proxy, timeout=10)
for _ in range(3):
    connection.request("GET", url + "/hello")
    print(connection.getresponse().read().decode(), end="")
connection.request("POST", url + path, body=iter([b"abc", b"def"]), headers={"Transfer-Encoding": "chunked"}, encode_chunked=True)
print(connection.getresponse().read().decode())
connection.request("HEAD", url + "/big")
answer = connection.getresponse()
print(answer.status, answer.getheader("Content-Length"), len(answer.read()))
connection.request("GET", url + "/big", headers={"Range": "bytes=10-19"})
answer = connection.getresponse()
print(answer.status, answer.getheader("Content-Range"), len(answer.read()))
"""


def test_python(scene, url, site):
    path = echo(site)
    done = scene.host10.run(["/usr/bin/python3", "-c", PYTHON, url, path, PROXY[7:]])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["hello over plain http", f"POST 100000 {hashlib.sha1(b'x' * 100000).hexdigest()}",
                                        *["hello over plain http"] * 3, f"POST 6 {hashlib.sha1(b'abcdef').hexdigest()}",
                                        f"200 {3 << 20} 0", f"206 bytes 10-19/{3 << 20} 10"]


NODE = """
const http = require("http");
const [url, path, host, port] = process.argv.slice(2);
const agent = new http.Agent({keepAlive: true, maxSockets: 2});
function ask(target, options, body) {
    return new Promise((resolve, reject) => {
        const request = http.request({host, port, agent, path: target, headers: {Host: new URL(target).host}, ...options}, (answer) => {
            const parts = [];
            answer.on("data", (d) => parts.push(d));
            answer.on("end", () => resolve(answer.statusCode + " " + Buffer.concat(parts).toString().trim()));
            answer.on("error", reject);
        });
        request.on("error", reject);
        if (options && options.expect) request.on("continue", () => request.end(body));
        else { if (body) request.write(body); request.end(); }
    });
}
(async () => {
    console.log((await Promise.all([1, 2, 3, 4, 5, 6].map(() => ask(url + "/hello")))).join("\\n"));
    console.log(await ask(url + path, {method: "POST"}, "x".repeat(50000)));
    console.log(await ask(url + path, {method: "PUT", expect: true, headers: {Host: "other", Expect: "100-continue", "Content-Length": 5}}, "hello"));
    console.log(await ask(url + "/none"));
    agent.destroy();
})().catch((e) => { console.error(e); process.exit(1); });
"""


@needs("node", "nodejs")
def test_node(scene, url, site, tmp_path):
    (tmp_path / "client.js").write_text(NODE)
    done = scene.host10.run(["node", tmp_path / "client.js", url, echo(site), LAN_ROUTER, "8080"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["200 hello over plain http"] * 6 + [
        f"200 POST 50000 {hashlib.sha1(b'x' * 50000).hexdigest()}", f"200 PUT 5 {hashlib.sha1(b'hello').hexdigest()}", "404 not here"]


JAVA = """
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.util.*;
import java.util.concurrent.*;

public class Client {
    static String all(InputStream in) throws IOException { return new String(in.readAllBytes()).trim(); }

    public static void main(String[] a) throws Exception {
        String url = a[0], path = a[1];
        InetSocketAddress at = new InetSocketAddress(a[2], Integer.parseInt(a[3]));
        Proxy proxy = new Proxy(Proxy.Type.HTTP, at);
        for (int i = 0; i < 3; i++)
            System.out.println(all(new URL(url + "/hello").openConnection(proxy).getInputStream()));
        HttpURLConnection post = (HttpURLConnection) new URL(url + path).openConnection(proxy);
        post.setDoOutput(true);
        post.setChunkedStreamingMode(1000);
        post.getOutputStream().write("x".repeat(20000).getBytes());
        post.getOutputStream().close();
        System.out.println(all(post.getInputStream()));
        HttpURLConnection none = (HttpURLConnection) new URL(url + "/none").openConnection(proxy);
        System.out.println(none.getResponseCode() + " " + all(none.getErrorStream()));

        HttpClient client = HttpClient.newBuilder().proxy(ProxySelector.of(at)).build();
        List<CompletableFuture<String>> got = new ArrayList<>();
        for (int i = 0; i < 5; i++)
            got.add(client.sendAsync(HttpRequest.newBuilder(URI.create(url + "/hello")).build(), HttpResponse.BodyHandlers.ofString())
                    .thenApply(r -> r.statusCode() + " " + r.body().trim()));
        for (CompletableFuture<String> g : got)
            System.out.println(g.get(10, TimeUnit.SECONDS));
        HttpRequest put = HttpRequest.newBuilder(URI.create(url + path)).expectContinue(true)
            .PUT(HttpRequest.BodyPublishers.ofString("hello")).build();
        System.out.println(client.send(put, HttpResponse.BodyHandlers.ofString()).body());
        HttpRequest head = HttpRequest.newBuilder(URI.create(url + "/big")).method("HEAD", HttpRequest.BodyPublishers.noBody()).build();
        HttpResponse<String> h = client.send(head, HttpResponse.BodyHandlers.ofString());
        System.out.println(h.statusCode() + " " + h.headers().firstValue("Content-Length").orElse("-") + " " + h.body().length());
    }
}
"""


@needs("java", "default-jdk-headless")
def test_java(scene, url, site, tmp_path):
    (tmp_path / "Client.java").write_text(JAVA)
    done = scene.host10.run(["java", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true", tmp_path / "Client.java", url, echo(site),
                             LAN_ROUTER, "8080"], env=dict(CLEAN_ENV, HOME=str(tmp_path)))
    if "jdk.compiler" in done.stderr:
        pytest.skip("this Java cannot run a source file: install Debian's default-jdk-headless")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["hello over plain http"] * 3 + [
        f"POST 20000 {hashlib.sha1(b'x' * 20000).hexdigest()}", "404 not here", *["200 hello over plain http"] * 5,
        f"PUT 5 {hashlib.sha1(b'hello').hexdigest()}", f"200 {3 << 20} 0"]


# a browser

N_PARTS = 50


@needs("chromium", "chromium")
def test_chromium_shows_a_page_of_fifty_parts(scene, url, ukai, site, www, tmp_path):
    parts = www / "parts"
    parts.mkdir()
    tags = []
    for n in range(N_PARTS):
        if n % 2:
            (parts / f"{n}.js").write_text(f"window.seen = (window.seen || 0) + 1; // {'x' * 997 * n}\n")
            tags.append(f'<script src="/parts/{n}.js"></script>')
        else:
            (parts / f"{n}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="3" height="3"/>')
            tags.append(f'<img src="/parts/{n}.svg" onload="window.seen = (window.seen || 0) + 1">')
    (www / "page.html").write_text("<!DOCTYPE html><title>waiting</title>" + "".join(tags) +
                                   "<script>onload = () => { document.title = 'seen ' + window.seen }</script>")
    mark = ukai.mark()
    done = scene.host10.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
                             f"--user-data-dir={tmp_path / 'profile'}", f"--proxy-server={PROXY}", "--proxy-bypass-list=<-loopback>",
                             "--timeout=20000", "--dump-dom", f"{url}/page.html"], env=dict(CLEAN_ENV, HOME=str(tmp_path)), timeout=50)
    assert f"<title>seen {N_PARTS}</title>" in done.stdout, (done.stdout[:500], done.stderr[-2000:])
    records = [r for r in ukai.records_since(mark) if r.get("host") == SITE]
    assert len([r for r in records if r["status"] == 200]) >= N_PARTS + 1, records
    assert len({r["src_port"] for r in records}) <= 10, "kept connections"
    fetched = {r.target for r in site.requests}
    assert fetched >= {f"/parts/{n}.{'js' if n % 2 else 'svg'}" for n in range(N_PARTS)}
