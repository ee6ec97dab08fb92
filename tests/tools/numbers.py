#!/usr/bin/python3
"""Whether every numbered statement has a test that carries its number; prints what is missing and fails.

Statements: the DNS checklist's sections of RFC 5625 (B1-4.3) and its lines (B2-06 to B7-63, counted through), and the abuse
cases by group: R and H requests, B bodies, C tunnels, A destinations, D and U the two sides of DNS, G files, O operations,
L the TLS listener. A number counts where a test is named by it (test_O07_O18_..., test_B2_06_D19_...), or where it stands
in the comment right above a test in C (/* B6, D19: ... */, /* B8 to B10 */). The checklist's lines and the abuse cases on
bodies share a letter: in Python the lines are B2_06, and in C a bare B6 is a line in tests of DNS and a case elsewhere.
A number that no list has, and an exception that a test has made needless, are findings too.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCHEMA = ROOT.parent / "conf" / "schema.c"

SECTIONS = "3 4.1 4.2 4.3 4.4 4.4.1 4.4.2 4.4.3 4.5 5.1 5.2 6.1 6.2 6.3".split()
LINES = {"B2": range(1, 22), "B3": range(22, 31), "B4": range(31, 42), "B5": range(42, 52), "B6": range(52, 61),
         "B7": range(61, 64)}
CASES = {"R": 32, "H": 26, "B": 21, "C": 22, "A": 32, "D": 24, "U": 23, "G": 27, "O": 24, "L": 9}
KINDS = "".join(CASES)

# Statements without a test of their own, and why: not the program's to do, not to be had here, covered elsewhere.
EXCEPTIONS = {
    "B1-5.1": "what a DHCP server hands out",
    "B1-5.2": "what a DHCP server hands out",
    "O24": "two hours are too long for every change; test_soak is the bounded one: reloads, upgrades and transfers at once",
}

# Statements about keys that the configuration does not have yet; the excuse ends when the key's row loses LATER.
NOT_YET = {f"L{n:02}": "tls-certificate" for n in range(1, CASES["L"] + 1)}


def keys_to_come():
    rows = re.split(r"^    \{\.section", SCHEMA.read_text(), flags=re.M)
    return {m[1] for row in rows if "LATER," in row and (m := re.search(r'\.name = "([^"]+)"', row))}


def of_name(name):
    """What a test's name says: B1_4_3, B2_06, and cases."""
    yield from ("B1-" + s.replace("_", ".") for s in re.findall(r"_B1_(\d(?:_\d)*)(?!\d)", name))
    yield from (f"line-{n}" for n in re.findall(r"_B[2-7]_(\d\d)(?!\d)", name))
    yield from re.findall(r"(?<=_)[A-Z]\d\d(?=_|$)", name)


def of_comment(comment, is_dns):
    """What the comment above a test in C says."""
    def number(kind, n):
        return f"line-{int(n):02}" if is_dns and kind == "B" else f"{kind}{int(n):02}"

    for kind, first, last in re.findall(rf"\b([{KINDS}])(\d+) to \1(\d+)", comment):
        yield from (number(kind, n) for n in range(int(first), int(last) + 1))
    digits = r"\d{1,2}" if is_dns else r"\d\d"
    yield from (number(kind, n) for kind, n in re.findall(rf"\b([{KINDS}])({digits})\b(?![-.]\d)", comment))
    yield from (f"line-{n}" for n in re.findall(r"\bB[2-7]-(\d\d)\b", comment))
    yield from (s.rstrip(".") for s in re.findall(r"\bB1-[\d.]+", comment))


def found():
    """Every number that a test carries -> one place where it does."""
    out = {}
    for path in sorted(ROOT.rglob("test_*")):
        text = path.read_text() if path.suffix in (".py", ".c") else ""
        if path.suffix == ".py":
            names = re.findall(r"^\s*def (test_\w+)", text, re.M)
        else:
            names = re.findall(r"Test\(\s*(?:[^,()]*\*[^,()]*,\s*)?\w+,\s*(\w+)", text)
            is_dns = "dns" in str(path.relative_to(ROOT))
            for comment in re.findall(r"/\*((?:(?!\*/).)*)\*/\s*(?:static [^;{]*;\s*)?(?:Parameterized)?Test\(", text, re.S):
                for number in of_comment(comment, is_dns):
                    out.setdefault(number, path.name)
        for name in names:
            for number in of_name(name):
                out.setdefault(number, f"{path.name}: {name}")
    return out


def wanted():
    """Every statement: the way it is shown, and the way found() has it."""
    yield from ((f"B1-{s}", f"B1-{s}") for s in SECTIONS)
    for group, numbers in LINES.items():
        yield from ((f"{group}-{n:02}", f"line-{n:02}") for n in numbers)
    for kind, last in CASES.items():
        yield from ((f"{kind}{n:02}", f"{kind}{n:02}") for n in range(1, last + 1))


def main():
    have, later, statements = found(), keys_to_come(), dict(wanted())
    n_bad = 0

    def bad(line):
        nonlocal n_bad
        n_bad += 1
        print(line)

    for shown, number in statements.items():
        if number in have:
            if shown in EXCEPTIONS or NOT_YET.get(shown) in later:
                bad(f"{shown}: excepted, but has a test ({have[number]})")
        elif shown in EXCEPTIONS:
            print(f"{shown}: {EXCEPTIONS[shown]}")
        elif NOT_YET.get(shown) in later:
            print(f"{shown}: {NOT_YET[shown]} does not exist yet")
        else:
            bad(f"{shown}: no test carries this number")
    for number, place in have.items():
        if number not in statements.values():
            bad(f"{number}: no such statement ({place})")
    for shown in {*EXCEPTIONS, *NOT_YET} - set(statements):
        bad(f"{shown}: an exception for no statement")
    print(f"{len(statements)} statements, {n_bad} to mend")
    return n_bad > 0


if __name__ == "__main__":
    sys.exit(main())
