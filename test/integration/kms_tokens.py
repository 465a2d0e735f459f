# SPDX-License-Identifier: Apache-2.0
"""Several tokens of one node: in one SoftHSM, each behind a library of its own that misbehaves on
demand, so that each can be taken away without the others."""

import contextlib
import copy
import json
import os
import shutil
import signal

from kms_misbehave import LIBRARY
from kms_node import wait_for
from kms_token import MODULE


def hosts_of(pid):
    """Living children of the process."""
    found = set()
    for task in os.listdir("/proc/%d/task" % pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended
            with open("/proc/%d/task/%s/children" % (pid, task), encoding="ascii") as file:
                found.update(int(child) for child in file.read().split())
    return sorted(found)


def arguments(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


class OneOf:
    """One of the node's tokens."""

    def __init__(self, node, name, misbehaves):
        self.node = node
        self.name = name
        self.hsm = copy.copy(node.token)  # the administrator's hands
        self.hsm.label = "hsm-" + name
        self.uri = "pkcs11:token=" + self.hsm.label
        self.module = MODULE
        if misbehaves:
            self.module = node.path("lib%s.so" % name)
            shutil.copy(LIBRARY, self.module)
            self.tell()

    def configuration(self):
        return {"name": self.name, "module": self.module, "uri": self.uri,
                "pin_file": self.node.token.pin_file, "sessions": 4}

    def tell(self, *lines):
        """The whole of its control file: see test/fake/README.md."""
        control = self.module + ".control"
        with open(control + ".new", "w", encoding="ascii") as out:
            out.writelines(line + "\n" for line in ("module " + MODULE, *lines))
        os.replace(control + ".new", control)

    def take_away(self):
        self.tell("absent")

    def put_back(self):
        self.tell()

    def told(self):
        """What the plugin says of it, as `status -o json` shows it."""
        done = self.node.run("status", "--socket", self.node.socket, "-o", "json")
        for token in json.loads(done.stdout)["tokens"]:
            if token["name"] == self.name:
                return token
        raise AssertionError("status tells nothing of " + self.name)

    def wait_used(self):
        """Until it is in use, and not only as a last resort."""
        def used():
            told = self.told()
            return told["in_use"] and not told["resting"]
        self.wait("be used", used)

    def wait_away(self):
        self.wait("be away", lambda: not self.told()["in_use"])

    def wait(self, what, check):
        try:
            wait_for("%s to %s" % (self.name, what), check)
        except AssertionError as error:
            raise AssertionError("%s; it is: %s" % (error, self.told())) from None

    # --- its host ---

    def hosts(self):
        return [pid for pid in hosts_of(self.node.process.pid) if self.uri in arguments(pid)]

    def host(self):
        return wait_for("a host of " + self.name, self.hosts)[0]

    def kill_host(self, number=signal.SIGKILL):
        """Only once it is logged in: SoftHSM's token doesn't survive a kill within C_Login.  By SIGSTOP
        it hangs from now on.  Returns its number."""
        host = self.host()
        os.kill(host, number)
        return host

    def wait_other_host(self, before):
        self.wait("have another host", lambda: self.hosts() not in ([], [before]))


class Tokens:
    """Gives @node tokens of these names, in this order, instead of its one."""

    def __init__(self, node, *names, misbehave=True, **options):
        self.node = node
        node.token.make()  # SoftHSM itself and the PIN file; the token is used by nobody
        self.each = [OneOf(node, name, misbehave) for name in names]
        for one in self.each:
            node.token.make_another(one.hsm.label)
        node.configure(tokens=[dict(one.configuration(), **options) for one in self.each])

    def __iter__(self):
        return iter(self.each)

    def __getitem__(self, index):
        return self.each[index]

    def import_key(self, label, cka_id, value):
        """The same key on all of them, as clones have it."""
        for one in self.each:
            one.hsm.import_key(label, cka_id, value)

    def wait_used(self):
        for one in self.each:
            one.wait_used()
