"""A real terminal under test: a tmux server of its own, one session, its screen as text."""
import shlex
import subprocess
import tempfile

from scene import wait_until


class Terminal:
    """with Terminal(80, 24) as t: t.run("ukai", "top"); t.wait(lambda screen: "SOURCE" in screen)."""

    def __init__(self, columns, lines, env=None):
        self.size, self.env = (columns, lines), env or {}

    def __enter__(self):
        self._dir = tempfile.TemporaryDirectory(prefix="tmux-")
        self._socket = f"{self._dir.name}/socket"
        env = [f"{key}={value}" for key, value in {"PS1": "$ ", "LC_ALL": "C.UTF-8", **self.env}.items()]
        self._tmux("-f", "/dev/null", "-u", "new-session", "-d", "-x", str(self.size[0]), "-y", str(self.size[1]),
                   shlex.join(["env", *env, "sh"]))
        self.wait(lambda screen: "$" in screen)
        return self

    def __exit__(self, *_):
        self._tmux("kill-server", check=False)
        self._dir.cleanup()

    def _tmux(self, *args, check=True):
        done = subprocess.run(["tmux", "-S", self._socket, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=20)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def run(self, *command):
        self.keys(shlex.join(map(str, command)), "Enter")

    def keys(self, *names):
        self._tmux("send-keys", *names)

    def resize(self, columns, lines):
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def record(self, path):
        """From here on all bytes that programs write to the terminal go to that file, too."""
        self._tmux("pipe-pane", "-O", f"cat >>{shlex.quote(str(path))}")

    def modes(self, path):
        """What `stty -g` says, asked by the shell in the terminal; path is for its answer."""
        path.unlink(missing_ok=True)
        self.keys(f"stty -g >{shlex.quote(str(path))}.new; mv {shlex.quote(str(path))}.new {shlex.quote(str(path))}", "Enter")
        wait_until(path.exists, 15)
        return path.read_text()

    def screen(self, escapes=False):
        return self._tmux("capture-pane", "-p", *(["-e"] if escapes else []))

    def lines(self):
        return self.screen().split("\n")

    def state(self, *names):
        """Formats of tmux: cursor_flag, alternate_on, wrap_flag."""
        text = self._tmux("display-message", "-p", " ".join("#{%s}" % name for name in names))
        return text.split()

    def wait(self, condition, deadline_s=15):
        seen = []

        def look():
            seen[:] = [self.screen()]
            return condition(seen[0])

        try:
            wait_until(look, deadline_s)
        except Exception as error:
            raise AssertionError("the screen never came to that:\n" + (seen[0] if seen else "")) from error
        return seen[0]
