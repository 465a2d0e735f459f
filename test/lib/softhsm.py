# SPDX-License-Identifier: Apache-2.0
"""A SoftHSM token of the test's own, made by softhsm-fixtures/new-token."""

import pathlib
import shlex
import subprocess

import pkcs11

NEW_TOKEN = pathlib.Path(__file__).resolve().parents[2] / "softhsm-fixtures" / "new-token"


class Token:
    def __init__(self, directory, label):
        done = subprocess.run([NEW_TOKEN, "--dir", directory, "--label", label],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{NEW_TOKEN}: {done.stderr}")
        values = dict(word.split("=", 1) for line in done.stdout.splitlines()
                      for word in shlex.split(line)[1:])
        self.label = label
        self.conf = values["SOFTHSM2_CONF"]
        self.module = values["HSM_KMS_MODULE"]
        self.uri = values["HSM_KMS_TOKEN_URI"]
        self.pin_file = values["HSM_KMS_PIN_FILE"]

    def import_kek(self, label, value):
        """Puts a KEK of known value on the token, so that others can compute with it."""
        pin = pathlib.Path(self.pin_file).read_bytes().rstrip(b"\n")
        pkcs11.import_kek(self.module, self.conf, self.label, pin, label, value)
