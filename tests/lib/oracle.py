"""What must hold after every test, whatever it did: the daemon lives, holds nothing, touched nothing, logs cleanly."""


def check(scene, daemon, allowed_touches=()):
    """Raises AssertionError; closes the test's sockets first, so that descriptors can go back to their number."""
    scene.close_clients()
    touched = {t for t in scene.forbidden_touched() if t[0] not in allowed_touches}
    if daemon is not None and daemon.process is not None:
        if not daemon.is_alive():
            status, last, reports = daemon.process.poll(), daemon.lines[-30:], daemon.sanitizer_reports()
            daemon.start()
            raise AssertionError(f"the daemon died (status {status}):\n" + "\n".join(last + reports))
        assert not daemon.sanitizer_reports(), daemon.sanitizer_reports()
        daemon.wait_fds()
        daemon.records()
    assert not touched, f"forbidden destinations were tried: {touched}"
