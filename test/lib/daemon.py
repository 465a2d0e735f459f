# SPDX-License-Identifier: Apache-2.0
"""Processes that a test starts, and waiting for what they bring about."""

import pathlib
import signal
import socket
import subprocess
import sys
import time


def clean_up_on_sigterm():
    """Has SIGTERM unwind the stack, so that what a test started and made is taken away."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class NotYet(Exception):
    """A condition did not come true in time."""


def wait_until(condition, what, timeout_s, interval_s=0.1, alive=()):
    """Returns the first true value of condition(); raises NotYet after timeout_s.

    The daemons of alive must go on running meanwhile."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        for daemon in alive:
            daemon.must_run()
        if time.monotonic() >= deadline:
            raise NotYet(f"{what}: not within {timeout_s} s")
        time.sleep(interval_s)


def free_ports(count):
    """Ports of the loopback address that nobody listens on now; all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


class Daemon:
    """A child process whose output goes to a file; stopped by its own pid."""

    def __init__(self, name, command, log_dir, env=None):
        self.name = name
        self.command = [str(word) for word in command]
        self.log_path = pathlib.Path(log_dir) / f"{name}.log"
        self.env = env
        self.process = None

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        return self

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def must_run(self):
        if not self.is_running():
            raise RuntimeError(f"{self.name} ended by itself:\n{self.log_tail()}")

    def stop(self, timeout_s=60):
        """SIGTERM, then SIGKILL after timeout_s.  Returns the exit status (None: not started)."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def log(self, since=0):
        """What it wrote, without the first since characters."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_text(errors="replace")[since:]

    def log_tail(self, lines=25):
        return "\n".join(self.log().splitlines()[-lines:])
