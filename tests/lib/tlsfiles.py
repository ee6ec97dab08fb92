"""A test CA and one certificate of an origin, made by openssl(1) for each run."""
import subprocess


def make(directory, names, addresses):
    """Writes ca.pem, origin.pem and origin.key into directory."""
    def openssl(*args):
        done = subprocess.run(["openssl", *args], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stdout)

    san = ",".join([f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses])
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=scene test CA",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    openssl("req", *key, "-keyout", "origin.key", "-out", "origin.csr", "-subj", "/CN=" + names[0])
    (directory / "san.cnf").write_text(f"subjectAltName={san}\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "origin.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "origin.pem", "-days", "2", "-extfile", "san.cnf")


def make_all(directory, name, address):
    """good/, other/ (another name), stranger/ (another CA), expired/ and literal/ (an address): all but one of good's CA."""
    for kind, names, addresses in (("good", [name], []), ("stranger", [name], [])):
        (directory / kind).mkdir()
        make(directory / kind, names, addresses)
    for kind, san, days in (("other", "DNS:other.example", "2"), ("expired", f"DNS:{name}", "0"),
                            ("literal", f"IP:{address}", "2")):
        home = directory / kind
        home.mkdir()
        sign(home, directory / "good", san, days)


def sign(home, ca, san, days):
    """origin.pem and origin.key in home, of the CA in another directory; days 0 has expired by the time it is used."""
    (home / "san.cnf").write_text(f"subjectAltName={san}\nextendedKeyUsage=serverAuth\n")
    for args in (["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "origin.key",
                  "-out", "origin.csr", "-subj", "/CN=x"],
                 ["x509", "-req", "-in", "origin.csr", "-CA", ca / "ca.pem", "-CAkey", ca / "ca.key", "-CAcreateserial",
                  "-out", "origin.pem", "-days", days, "-extfile", "san.cnf"]):
        done = subprocess.run(["openssl", *map(str, args)], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stdout)
