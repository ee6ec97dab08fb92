#!/usr/bin/env python3
"""embed.py PAGE.html PAGE.css PAGE.js OUTPUT.h: the status page as C strings.

PAGE.html consists of parts, each behind a line <!-- part NAME -->. PAGE_POLICY is a content security policy that lets
exactly this style and this script work, by their hashes.
"""
import base64
import hashlib
import re
import sys


def source_hash(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def c_string(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return "\n".join(f'    "{line}\\n"' for line in escaped.splitlines()) or '    ""'


def main(html_path, css_path, js_path, out_path):
    html, css, js = (open(path, encoding="utf-8").read() for path in (html_path, css_path, js_path))
    if "</" in js + css:
        sys.exit("embed.py: the style and the script must hold no end tag")
    policy = (f"default-src 'none'; style-src {source_hash(css)}; script-src {source_hash(js)}; connect-src 'self'; "
              "base-uri 'none'; form-action 'none'")
    parts = re.split(r"^<!-- part ([a-z_]+) -->\n", html, flags=re.M)[1:]
    with open(out_path, "w", encoding="utf-8") as out:
        out.write("/* Made by embed.py. */\n#ifndef PROXY_DAEMON_PAGE_PARTS_H\n#define PROXY_DAEMON_PAGE_PARTS_H\n\n")
        out.write(f'#define PAGE_POLICY "{policy}"\n\n')
        out.write(f"static const char page_style[] =\n{c_string(css)};\n\nstatic const char page_script[] =\n{c_string(js)};\n\n")
        for name, text in zip(parts[::2], parts[1::2]):
            text = "\n".join(line.strip() for line in text.splitlines() if line.strip())
            out.write(f"static const char page_part_{name}[] =\n{c_string(text)};\n\n")
        out.write("#endif\n")


main(*sys.argv[1:])
