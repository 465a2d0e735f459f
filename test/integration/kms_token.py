# SPDX-License-Identifier: Apache-2.0
"""A SoftHSM token of its own, and an HSM administrator's hands on it (pkcs11-tool)."""

import glob
import os
import secrets
import subprocess

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../softhsm-fixtures")
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
# FACTS: the KEK of RFC 3394 section 4.6, and KW(C) under it (the fingerprint's raw material).
RFC_KEK = bytes(range(32))


def spy_module():
    """OpenSC's pass-through module, which logs every call; tests count logins with it."""
    return glob.glob("/usr/lib/*/pkcs11-spy.so")[0]


class Token:
    def __init__(self, directory, label="prod"):
        self.label = label
        self.pin = "pin-" + secrets.token_hex(8)
        self.directory = directory
        # As new-token lays them out.
        self.pin_file = os.path.join(directory, label + ".pin")
        self.conf = os.path.join(directory, "softhsm2.conf")
        self.tokens = os.path.join(directory, "tokens")

    @property
    def env(self):
        return {"SOFTHSM2_CONF": self.conf}

    def prepare(self):
        """SoftHSM's configuration, but neither token nor PIN file yet."""
        os.makedirs(self.tokens, mode=0o700)
        with open(self.conf, "w", encoding="ascii") as out:
            out.write("directories.tokendir = %s\nobjectstore.backend = file\n"
                      "log.level = ERROR\nslots.removable = false\n" % self.tokens)

    def make(self):
        self._run([os.path.join(FIXTURES, "new-token"), "--dir", self.directory, "--label",
                      self.label, "--pin", self.pin])

    def make_another(self, label):
        """A second token in the same SoftHSM; the label may be the same."""
        self._run(["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin",
                   "so-" + self.pin, "--pin", self.pin])

    def objects(self):
        """What the files of all objects on all tokens hold, without asking anybody."""
        found = {}
        for path in glob.glob(os.path.join(self.tokens, "*", "*.object")):
            if os.path.basename(path) != "token.object":  # each login writes that
                with open(path, "rb") as content:
                    found[path] = content.read()
        return found

    def write_pin(self, pin, mode=0o400):
        temporary = self.pin_file + ".new"
        with open(temporary, "w", encoding="ascii") as out:
            os.fchmod(out.fileno(), mode)
            out.write(pin + "\n")
        os.replace(temporary, self.pin_file)

    def take_away(self):
        os.rename(self.tokens, self.tokens + ".away")

    def put_back(self):
        os.rename(self.tokens + ".away", self.tokens)

    def generate(self, label, cka_id, *flags):
        self._tool("--keygen", "--key-type", "AES:32", "--label", label, "--id", cka_id,
                   "--private", "--sensitive", "--usage-wrap", *flags)

    def import_key(self, label, cka_id, value=RFC_KEK):
        path = os.path.join(self.directory, "import.key")
        with open(path, "wb") as out:
            out.write(value)
        self._tool("--write-object", path, "--type", "secrkey", "--key-type", "AES:32", "--label",
                   label, "--id", cka_id, "--private", "--sensitive", "--usage-wrap")
        os.unlink(path)

    def delete(self, label, cka_id, kind="secrkey"):
        self._tool("--delete-object", "--type", kind, "--label", label, "--id", cka_id)
        if label in self.list_ids(kind):
            raise AssertionError("pkcs11-tool left %s on the token" % label)

    def labels(self):
        return sorted(self.list_ids())

    def list_ids(self, kind="secrkey"):
        """{label: CKA_ID} of all keys."""
        found, label = {}, ""
        for line in self._tool("--list-objects", "--type", kind).splitlines():
            name, _, value = line.strip().partition(":")
            if name == "label":
                label = value.strip()
                found[label] = ""
            elif name == "ID":
                found[label] = value.strip()
        return found

    def _tool(self, *args):
        return self._run(["pkcs11-tool", "--module", MODULE, "--token-label", self.label, "--login",
                          "--pin", "env:TEST_PIN", *args])

    def _run(self, command):
        env = dict(os.environ, TEST_PIN=self.pin, **self.env)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise AssertionError("%s: %s%s" % (command[0], done.stdout, done.stderr))
        return done.stdout
