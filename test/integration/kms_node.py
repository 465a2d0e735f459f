# SPDX-License-Identifier: Apache-2.0
"""One control-plane host: a configuration, a token, a server process."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import grpc

from kms_client import Client
from kms_token import MODULE, Token

BINARY = os.environ.get("HSM_KMS", "")
# Generous: nothing waits so long but on a fault, and sanitizer builds are slow.
PATIENCE_S = 60


def wait_for(what, check, timeout=PATIENCE_S):
    """Polls @check until it gives something true, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited %d s in vain for: %s" % (timeout, what))
        time.sleep(0.02)


class Node:
    def __init__(self, token=None, ring="prod", **config):
        # Not $TMPDIR: a socket's path has to fit in sun_path.
        self.directory = tempfile.mkdtemp(prefix="hsm-kms-", dir="/tmp")
        os.chmod(self.directory, 0o711)  # peers of other users pass through
        self.token = token or Token(self.path("token"))
        self.socket_dir = self.path("run")
        os.mkdir(self.socket_dir)
        os.chmod(self.socket_dir, 0o755)
        self.socket = os.path.join(self.socket_dir, "kms.sock")
        self.state_dir = self.path("state")
        self.ring_json = os.path.join(self.state_dir, "ring.json")
        self.config_path = self.path("config.yaml")
        self.log_path = self.path("server.log")
        self.env = {}
        self.binary = BINARY
        self.wrapper = []  # a command that execs the server: prlimit …
        self.process = None
        self.clients = []
        self.ring = ring
        self.config = {
            "ring": ring,
            "socket": {"path": self.socket, "mode": "0660", "group": "root"},
            "tokens": [{"module": MODULE, "uri": "pkcs11:token=" + self.token.label,
                        "pin_file": self.token.pin_file, "sessions": 4}],
            "state_dir": self.state_dir,
            "refresh": "1s", "canary": "5s", "clock_skew": "0s",
            "log": {"format": "json", "level": "debug"},
        }
        self.configure(**config)

    def path(self, name):
        return os.path.join(self.directory, name)

    def configure(self, **fields):
        """JSON is YAML; one field a line."""
        self.config.update(fields)
        self.write_config("".join("%s: %s\n" % (name, json.dumps(value))
                                  for name, value in self.config.items()))

    def write_config(self, text):
        with open(self.config_path, "w", encoding="utf-8") as out:
            out.write(text)

    def make_token(self):
        self.token.make()
        return self

    # --- the server ---

    def start(self, *flags):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, self.binary, "serve", "--config", self.config_path, *flags],
                env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def environment(self):
        return dict(os.environ, **self.token.env, **self.env)

    def wait_listening(self):
        wait_for("a socket at " + self.socket, lambda: self.alive() and self.accepts())
        return self

    def accepts(self):
        with socket.socket(socket.AF_UNIX) as peer:
            try:
                peer.connect(self.socket)
            except OSError:
                return False
        return True

    def alive(self):
        if self.process.poll() is not None:
            raise AssertionError("the server ended with %d" % self.process.returncode)
        return True

    def wait_status(self, check=lambda status: True, what="Status ok"):
        """Waits until Status is answered, and as @check wants it."""
        def answered():
            self.alive()
            try:
                status = client.status()
            except grpc.RpcError:
                return None
            return status if check(status) else None
        self.wait_listening()
        client = self.client()
        return wait_for(what, answered)

    def wait_generation(self, generation):
        return self.wait_status(
            lambda status: status.key_id.startswith("%s.v%d." % (self.ring, generation)),
            "generation %d in Status" % generation)

    def wait_failing(self, code):
        """Waits until Status fails with @code; returns its text."""
        return self.wait_complaint(code, "")

    def wait_complaint(self, code, word):
        """Waits until Status fails with @code and @word in its text; returns the text."""
        def complains():
            self.alive()
            got, text = client.status_error()
            return text if got == code and word in text else None
        self.wait_listening()
        client = self.client()
        try:
            return wait_for("Status to fail with %s %s" % (code.name, word), complains)
        except AssertionError as error:
            raise AssertionError("%s; it says: %s %s" % (error, *client.status_error())) from None

    def up(self, *flags):
        self.start(*flags).wait_status()
        return self

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_exit()

    def wait_exit(self):
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self):
        self.process.kill()
        self.process.wait()

    def serve_fails(self, *flags):
        """Runs serve, which must end by itself with an error; returns what it wrote."""
        done = self.run("serve", "--config", self.config_path, *flags)
        if done.returncode == 0:
            raise AssertionError("serve exited 0: " + done.stderr)
        if done.returncode < 0:
            raise AssertionError("serve died of signal %d: %s" % (-done.returncode, done.stderr))
        return done.stderr

    def running(self):
        return self.process is not None and self.process.poll() is None

    # --- its neighbours ---

    def client(self):
        client = Client(self.socket)
        self.clients.append(client)
        return client

    def run(self, *args, timeout=PATIENCE_S, env=()):
        """Any hsm-kms command, in this node's environment."""
        return subprocess.run([BINARY, *args], env=dict(self.environment(), **dict(env)),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout)

    def key_create(self, *flags):
        done = self.run("key", "create", "--config", self.config_path, "-o", "json", *flags)
        if done.returncode != 0:
            raise AssertionError("key create: exit %d: %s" % (done.returncode, done.stderr))
        return json.loads(done.stdout)

    def key_list(self):
        done = self.run("key", "list", "--config", self.config_path, "-o", "json")
        if done.returncode != 0:
            raise AssertionError("key list: exit %d: %s" % (done.returncode, done.stderr))
        return json.loads(done.stdout)["keks"]

    def rotate(self):
        """Makes the next generation active now; returns its number once Status shows it."""
        created = self.key_create("--activate", "now", "--force")
        generation = created["generation"]
        self.wait_generation(generation)
        return generation

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="surrogateescape") as lines:
            return lines.read()

    def log_events(self):
        """Whole lines only: the last may be half written."""
        return [json.loads(line) for line in self.log().splitlines(keepends=True)
                if line.endswith("\n")]

    def hang_up(self):
        for client in self.clients:
            client.close()
        self.clients.clear()

    def close(self):
        """Ends everything; an unclean end of the server (a leak, say) is an error."""
        self.hang_up()
        code = 0
        try:
            if self.running():
                code = self.stop()
        finally:
            self.last_log = self.log() if os.path.exists(self.log_path) else ""
            shutil.rmtree(self.directory)
        if code != 0:
            raise AssertionError("the server ended with %d:\n%s" % (code, self.last_log[-4000:]))
