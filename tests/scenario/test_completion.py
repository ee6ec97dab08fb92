"""Shell completion: every command and option of --help is offered, and what only the daemon or the files know."""
import os
import re
import shlex
import shutil
import subprocess

import pytest

from client import open_tunnel
from daemon import BINARY, REPOSITORY, Ukai, run_tool, sections
from tmux import Terminal

FILES = REPOSITORY / "contrib" / "completion"
IN = "[in]\ntcp 8080 = 192.168.1.10\nudp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\n"
PATH = {"PATH": f"{os.path.dirname(BINARY)}:{os.environ['PATH']}"}
HELP = run_tool("--help").out
COMMANDS = re.findall(r"^  ([a-z][a-z-]*) +\S", HELP, re.M)
SHELLS = ["bash", "bash-completion", "fish"]


def options_of(command):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", run_tool(command, "--help").out))


def offered(shell, *words):
    """What the shell offers for the last word."""
    if shell == "fish":
        line = " ".join(words)
        script = f"source {FILES}/ukai.fish; complete -C {shlex.quote(line)}"
        command = ["fish", "--no-config", "-c", script]
    else:
        before = "source /usr/share/bash-completion/bash_completion; " if shell == "bash-completion" else ""
        script = (before + f"source {FILES}/ukai.bash; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_LINE=\"$*\"; "
                  "COMP_POINT=${#COMP_LINE}; _ukai; printf '%s\\n' \"${COMPREPLY[@]}\"")
        command = ["bash", "--norc", "-c", script, "bash", *words]
    done = subprocess.run(command, env=dict(os.environ, **PATH), cwd=FILES, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=30)
    assert not done.stderr, done.stderr.decode()
    return {line.split("\t")[0] for line in done.stdout.decode().splitlines() if line}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_offered(shell):
    assert len(COMMANDS) > 15 and set(COMMANDS) <= offered(shell, "ukai", "")
    assert offered(shell, "ukai", "tu") == {"tunnels"}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_offered(shell, command):
    assert options_of(command) | {"--help"} == {word for word in offered(shell, "ukai", command, "-") if word[1] == "-"}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("words, wanted", [
    (["log", ""], {"error", "warning", "notice", "info", "debug"}),
    (["top", "--sort", ""], {"rate", "bytes", "age", "source"}),
    (["export", "--format", ""], {"nftables", "nifcloud-json"}),
    (["import", "--format", ""], {"nifcloud-json", "nifcloud-xml", "terraform-json", "iptables"}),
    (["diff", "--format", "t"], {"terraform-json"}),
    (["explain", "D"], {"DNS", "DNS/tcp"}),
    (["reload", "-c", "ukai.b"], {"ukai.bash"}),
    (["import", "ukai.b"], {"ukai.bash"}),
    (["explain", "--from", ""], set()),
])
def test_words(shell, words, wanted):
    assert {word for word in offered(shell, "ukai", *words) if not word.startswith("-")} == wanted


@pytest.mark.parametrize("shell", SHELLS)
def test_what_the_files_and_the_daemon_know(scene, shell):
    with Ukai(scene, sections(), IN) as ukai:
        open_tunnel(scene.dial(), "echo.lab.example:443")
        conf = str(ukai.conf_path)
        assert offered(shell, "ukai", "explain", "-c", conf, "--listener", "") == {"lan"}
        (ident,) = re.findall(r'^\{"id":"([0-9.]+)"', run_tool("tunnels", "-c", conf, "--json").out)
        words = offered(shell, "ukai", "kill", "-c", conf, "")
        assert {ident, "192.168.1.10"} == {word for word in words if not word.startswith("-")}
    assert not {word for word in offered(shell, "ukai", "kill", "-c", conf, "1") if word}  # nobody there: nothing, soon


@pytest.fixture(scope="module")
def zsh(scene):
    """Its completion needs a terminal: types, presses Tab, and waits until each word wanted is on the screen."""
    with Terminal(120, 50, PATH) as terminal:
        terminal.run(shutil.which("zsh"), "-f")
        terminal.run("eval", f"PS1='Z> '; fpath=({FILES} $fpath); autoload -U compinit; compinit -u -D; LISTMAX=1000")
        terminal.wait(lambda s: "Z> " in s)

        def offers(typed, wanted):
            terminal.keys("C-u", "C-l")
            terminal.wait(lambda s: s.strip() == "Z>")
            terminal.keys("-l", typed)
            terminal.keys("Tab")
            terminal.wait(lambda s: all(re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", s) for w in wanted))

        yield offers


def test_zsh_offers_every_command(zsh):
    zsh("ukai ", COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_zsh_offers_every_option(zsh, command):
    zsh(f"ukai {command} --", options_of(command) | {"--help"})


@pytest.mark.parametrize("typed, wanted", [
    ("ukai log ", ["error", "warning", "notice", "info", "debug"]), ("ukai top --sort ", ["rate", "bytes", "age", "source"]),
    ("ukai export --format n", ["nftables", "nifcloud-json"]),
    ("ukai import --format ", ["nifcloud-json", "nifcloud-xml", "terraform-json", "iptables"]),
    ("ukai explain ", ["CONNECT", "GET", "DNS", "DNS/tcp"]), (f"ukai reload -c {FILES}/ukai.", ["ukai.bash", "ukai.fish"]),
])
def test_zsh_offers_words(zsh, typed, wanted):
    zsh(typed, wanted)


def test_zsh_offers_what_the_files_and_the_daemon_know(scene, zsh):
    with Ukai(scene, sections(), IN) as ukai:
        open_tunnel(scene.dial(), "echo.lab.example:443")
        (ident,) = re.findall(r'^\{"id":"([0-9.]+)"', run_tool("tunnels", "-c", ukai.conf_path, "--json").out)
        zsh(f"ukai kill -c {ukai.conf_path} ", [ident, "192.168.1.10"])
        zsh(f"ukai explain -c {ukai.conf_path} --listener ", ["lan"])


def test_the_commands_of_the_scripts_exist():
    """Words after `_is`, `case` and the like are commands still."""
    text = (FILES / "ukai.fish").read_text()
    assert set(re.findall(r"__ukai_is ([a-z]+)", text)) <= set(COMMANDS)
    bash = (FILES / "ukai.bash").read_text()
    assert set(re.findall(r"^        ([a-z]+):\*\)", bash, re.M)) <= set(COMMANDS)
