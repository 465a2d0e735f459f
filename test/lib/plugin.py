# SPDX-License-Identifier: Apache-2.0
"""hsm-kms as a test runs it: its config, `serve` as a daemon, and the commands beside it."""

import json
import os
import pathlib
import subprocess

from daemon import Daemon, wait_until

RING = "prod"
READY_S = 60  # a sanitizer build on a busy machine takes a while
COMMAND_S = 120

CONFIG = """\
ring: {ring}
profile: {profile}
socket: {{path: {socket}, mode: "0600", group: "{group}"}}
tokens:
  - module: {module}
    uri: "{uri}"
    pin_file: {pin_file}
    sessions: 4
state_dir: {state_dir}
refresh: 1s
canary: 5s
clock_skew: 1s
"""


class Plugin:
    def __init__(self, binary, directory, token, pins=(), profile="auto"):
        directory = pathlib.Path(directory)
        self.binary = binary
        self.socket = directory / "kms.sock"
        self.endpoint = f"unix://{self.socket}"
        self.config = directory / "config.yaml"
        self.env = dict(os.environ, SOFTHSM2_CONF=token.conf)
        self.config.write_text(CONFIG.format(
            ring=RING, profile=profile, socket=self.socket, group=os.getgid(), module=token.module, uri=token.uri,
            pin_file=token.pin_file, state_dir=directory / "state") + pin_lines(pins))
        self.daemon = Daemon(
            "hsm-kms", [binary, "serve", "--config", self.config, "--log-format", "json",
                        "--log-level", "debug"], directory, self.env)

    def finish(self, *words):
        """Runs one command to its end, whatever that is."""
        return subprocess.run([self.binary, *map(str, words)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, env=self.env, timeout=COMMAND_S)

    def command(self, *words):
        """Runs one command and returns its stdout."""
        done = self.finish(*words)
        if done.returncode != 0:
            raise RuntimeError(f"hsm-kms {' '.join(map(str, words))}: exit {done.returncode}: "
                               f"{done.stderr.strip()}")
        return done.stdout

    def create_key(self, *flags):
        self.command("key", "create", "--config", self.config, *flags)

    def keys(self):
        listed = self.command("key", "list", "--config", self.config, "-o", "json")
        return json.loads(listed)["keks"]

    def promoted(self):
        """The generation that the running plugin uses; 0 for none."""
        return json.loads(self.command("status", "--socket", self.socket, "-o", "json"))["promoted"]

    def is_serving(self):
        return subprocess.run([self.binary, "probe", "--socket", self.socket], env=self.env,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=COMMAND_S).returncode == 0

    def start(self):
        self.daemon.start()
        wait_until(self.is_serving, "hsm-kms answers its probe", READY_S, alive=[self.daemon])
        return self

    def stop(self):
        return self.daemon.stop()


def pin_lines(pins):
    """pins: (generation, fingerprint) pairs that the configuration vouches for."""
    if not pins:
        return ""
    return "pins:\n" + "".join(
        f"  - {{generation: {generation}, fingerprint: {fingerprint}}}\n"
        for generation, fingerprint in pins)
