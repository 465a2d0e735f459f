# SPDX-License-Identifier: Apache-2.0
"""Several tokens of one SoftHSM and one library, for commands: a library that is there in several
copies is initialized by all of them at once, which SoftHSM doesn't survive in one process.  And
tokens that a vendor keeps alike: SoftHSM has no such means, so the test copies the files."""

import os
import shutil

from kms_tokens import Tokens

COUNTER = 8  # bytes, the highest first: SoftHSM reads a token anew when it has changed
LABEL, SERIAL = slice(0x20, 0x40), slice(0x58, 0x68)  # of token.object


def folder_of(one):
    """Where SoftHSM has the token's files."""
    padded = one.hsm.label.encode().ljust(32)
    for name in os.listdir(one.node.token.tokens):
        folder = os.path.join(one.node.token.tokens, name)
        with open(os.path.join(folder, "token.object"), "rb") as file:
            if file.read()[LABEL] == padded:
                return folder
    raise AssertionError("no token " + one.hsm.label)


class Folders(Tokens):
    """A token whose folder is away is found by nobody."""

    def __init__(self, node, *names, **options):
        super().__init__(node, *names, misbehave=False, **options)
        self.folders = {one.name: folder_of(one) for one in self.each}

    def take_away(self, name):
        os.rename(self.folders[name], self.node.path("away-" + name))

    def put_back(self, name):
        os.rename(self.node.path("away-" + name), self.folders[name])


class Clones(Folders):
    """All have the first one's master key, so that they can read each other's objects."""

    def __init__(self, node, *names, **options):
        super().__init__(node, *names, **options)
        self.first = self.folders[names[0]]
        with open(os.path.join(self.first, "token.object"), "rb") as file:
            first = file.read()
        for name in names[1:]:
            with open(os.path.join(self.folders[name], "token.object"), "r+b") as file:
                own = file.read()
                mixed = bytearray(first)
                mixed[LABEL], mixed[SERIAL] = own[LABEL], own[SERIAL]
                file.seek(0)
                file.write(mixed)

    def replicate(self, *names):
        """What the vendor does in a while: the tokens, all or these, become like the first one."""
        for name in names or [one.name for one in self.each[1:]]:
            copy_objects(self.first, self.folders[name])


def copy_objects(source, target):
    for name in os.listdir(target):
        if name.endswith(".object") and name != "token.object":
            os.unlink(os.path.join(target, name))
    for name in os.listdir(source):
        if name.endswith((".object", ".lock")) and not name.startswith("token."):
            shutil.copy(os.path.join(source, name), os.path.join(target, name))
    with open(os.path.join(target, "generation"), "r+b") as file:
        count = int.from_bytes(file.read(), "big") + 1
        file.seek(0)
        file.write(count.to_bytes(COUNTER, "big"))
