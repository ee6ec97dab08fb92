#!/usr/bin/python3
"""Whether every numbered statement on DNS has a test that carries its number; prints what is missing and fails.

Statements: the checklist's sections of RFC 5625 (B1-4.3), its lines (B2-06 to B7-63, counted through), the client's abuse
cases (D01 to D24) and the upstream's (U01 to U23). A number counts where a test is named by it
(test_B2_06_D19_...), or where it stands in the comment right above a test in C (/* B6, D19: ... */, /* B8 to B10 */).
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCHEMA = ROOT.parent / "conf" / "schema.c"

SECTIONS = "3 4.1 4.2 4.3 4.4 4.4.1 4.4.2 4.4.3 4.5 6.1 6.2 6.3".split()
LINES = {"B2": range(1, 22), "B3": range(22, 31), "B4": range(31, 42), "B5": range(42, 52), "B6": range(52, 61),
         "B7": range(61, 64)}
CASES = {"D": range(1, 25), "U": range(1, 24)}

# Statements that are not ours, or not the program's, and why.
NOT_OURS = {
    "B1-3": "also says that clients may bypass the proxy: an isolated LAN knowingly does not offer that",
    "B1-5.1": "what a DHCP server hands out",
    "B1-5.2": "what a DHCP server hands out",
    "B1-6.1-nat": "state of a NAT",
}

# Statements about a key that the configuration does not have yet; the excuse ends when its row loses LATER.
NOT_YET = {"B5-50": "rebind-protection", "U16": "rebind-protection", "B6-58": "prefetch"}


def keys_to_come():
    rows = re.split(r"^    \{\.section", SCHEMA.read_text(), flags=re.M)
    return {m[1] for row in rows if "LATER," in row and (m := re.search(r'\.name = "([^"]+)"', row))}


def of_python(text):
    for name in re.findall(r"^\s*def (test_\w+)", text, re.M):
        yield from re.findall(r"B1(?:_\d)+", name)
        yield from re.findall(r"(?:B[2-7]_\d\d|(?<=_)[DU]\d\d)(?!\d)", name)


def of_c(text):
    for name in re.findall(r"Test\((?:[^,()]+,)*\s*(\w+)\)", text):
        yield from re.findall(r"(?:B[2-7]_\d\d|(?<=_)[DU]\d\d)(?!\d)", name)
    for comment in re.findall(r"/\*((?:(?!\*/).)*)\*/\s*(?:static [^;{]*;\s*)?(?:Parameterized)?Test\(", text, re.S):
        for first, last in re.findall(r"\b([BDU]\d+) to [BDU](\d+)", comment):
            yield from (f"{first[0]}{i:02}" for i in range(int(first[1:]), int(last) + 1))
        yield from (f"{kind}{int(n):02}" for kind, n in re.findall(r"\b([BDU])(\d{1,2})\b(?![-.])", comment))
        yield from (f"B{n}" for _, n in re.findall(r"\bB([2-7])-(\d\d)\b", comment))
        yield from re.findall(r"\bB1-[\d.]+", comment)


def found():
    out = set()
    for path in ROOT.rglob("test_*"):
        if path.suffix == ".py":
            out.update(of_python(path.read_text()))
        elif path.suffix == ".c" and "dns" in str(path.relative_to(ROOT)):
            out.update(of_c(path.read_text()))
    return {normal(number) for number in out}


def normal(number):
    """B1-4.3, B06, D19, whatever way it was written."""
    if re.match(r"B1[_-]\d", number):
        return "B1-" + number[3:].replace("_", ".").strip(".")
    return "B" + number[3:] if re.match(r"B[2-7]_", number) else number


def wanted():
    yield from ((f"B1-{s}", f"B1-{s}") for s in SECTIONS)
    for group, numbers in LINES.items():
        yield from ((f"{group}-{n:02}", f"B{n:02}") for n in numbers)
    for kind, numbers in CASES.items():
        yield from ((f"{kind}{n:02}", f"{kind}{n:02}") for n in numbers)


def main():
    have, later = found(), keys_to_come()
    missing = [shown for shown, number in wanted() if number not in have and shown not in NOT_OURS]
    excused = {shown for shown in missing if NOT_YET.get(shown) in later}
    for shown in missing:
        print(f"{shown}: no test carries this number" + (f" ({NOT_YET[shown]} does not exist yet)" if shown in excused else ""))
    print(f"{sum(1 for _ in wanted())} statements, {len(missing)} without a test")
    return len(missing) > len(excused)


if __name__ == "__main__":
    sys.exit(main())
