"""Tunnels that live long do not stay with one worker: new clients go where there are fewer."""
import collections
import json

from client import open_tunnel
from daemon import Ukai, run_tool, sections
from scene import wait_until

TARGET = "agents.deepsecurity.trendmicro.com:443"


def by_worker(daemon):
    lines = run_tool("tunnels", "-c", daemon.conf_path, "--json").out.splitlines()
    return collections.Counter(json.loads(line)["id"].split(".")[0] for line in lines)


def open_many(scene, n):
    socks = []
    for _ in range(n):
        socks.append(scene.dial())
        open_tunnel(socks[-1], TARGET)
    return socks


def test_new_clients_go_to_the_worker_with_fewer(scene):
    with Ukai(scene, sections()) as daemon:
        open_many(scene, 160)
        lines = [json.loads(line) for line in run_tool("tunnels", "-c", daemon.conf_path, "--json").out.splitlines()]
        assert len(lines) == 160
        for line in lines:
            if line["id"].startswith("0."):
                assert run_tool("kill", "-c", daemon.conf_path, line["id"]).returncode == 0
        n_left = by_worker(daemon)["1"]
        wait_until(lambda: by_worker(daemon)["0"] == 0)
        open_many(scene, n_left)
        now = by_worker(daemon)
        assert now["0"] + now["1"] == 2 * n_left
        # By chance alone worker 1 would have three of four; with hands full it has at most the slack more.
        assert abs(now["0"] - now["1"]) <= 24, (n_left, now)
