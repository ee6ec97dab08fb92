#!/usr/bin/env python3
"""Puts the key table of the schema into ukai.conf.5.in: assemble.py TEMPLATE TOOL OUT."""
import pathlib
import subprocess
import sys

template, tool, out = sys.argv[1:]
keys = subprocess.run([tool], check=True, stdout=subprocess.PIPE).stdout.decode()
text = pathlib.Path(template).read_text(encoding="utf-8")
pathlib.Path(out).write_text(text.replace("@KEYS@\n", keys), encoding="utf-8")
