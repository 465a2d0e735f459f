# SPDX-License-Identifier: Apache-2.0
"""Nodes whose PKCS#11 module misbehaves on demand (test/fake/README.md)."""

import collections
import mmap
import os
import struct

from kms_node import BINARY, wait_for
from kms_token import MODULE

# Beside the binary, in its build folder.
LIBRARY = os.environ.get("KMS_MISBEHAVE") or os.path.normpath(os.path.join(
    os.path.dirname(os.path.abspath(BINARY)), "../../test/fake/libkms_misbehave.so"))

HEADER = struct.Struct("=8sQ")
COUNTER = struct.Struct("=32s4Q")
MAGIC = b"KMSMISB1"

Counter = collections.namedtuple("Counter", "calls failed injected hanging")


class Misbehaviour:
    """Stands between @node and SoftHSM from its next start on, commands included."""

    def __init__(self, node):
        if not os.path.exists(LIBRARY):
            raise AssertionError("no %s: build the target misbehave, or set KMS_MISBEHAVE"
                                 % LIBRARY)
        self.control = node.path("misbehave.control")
        self.stats = node.path("misbehave.stats")
        self.log_path = node.path("misbehave.log")
        node.env.update(MISBEHAVE_CONTROL=self.control, MISBEHAVE_MODULE=MODULE)
        token = node.config["tokens"][0]
        token["module"] = LIBRARY
        token["environment"] = ["MISBEHAVE_CONTROL", "MISBEHAVE_MODULE"]  # of the module's process
        node.configure()
        self.tell()

    def tell(self, *lines):
        """The whole of the control file, but log and stats; the next call obeys it."""
        temporary = self.control + ".new"
        with open(temporary, "w", encoding="ascii") as out:
            out.write("log %s\nstats %s\n" % (self.log_path, self.stats))
            out.writelines(line + "\n" for line in lines)
        os.replace(temporary, self.control)

    def counter(self, function):
        with open(self.stats, "rb") as content, \
                mmap.mmap(content.fileno(), 0, prot=mmap.PROT_READ) as memory:
            magic, count = HEADER.unpack_from(memory)
            if magic != MAGIC:
                raise AssertionError("%s: not a file of counters" % self.stats)
            for i in range(count):
                name, *numbers = COUNTER.unpack_from(memory, HEADER.size + i * COUNTER.size)
                if name.rstrip(b"\0") == function.encode():
                    return Counter(*numbers)
        raise AssertionError("no counter of " + function)

    def calls(self, function):
        return self.counter(function).calls

    def injected(self, function):
        return self.counter(function).injected

    def wait_hanging(self, function):
        wait_for("a hanging " + function, lambda: self.counter(function).hanging)

    def wait_more(self, function, number):
        """Waits until @function was called @number times more."""
        before = self.calls(function)
        wait_for("%d more calls of %s" % (number, function),
                 lambda: self.calls(function) >= before + number)

    def log(self):
        """What it was told to do to whom, a line each; "" if nothing."""
        try:
            with open(self.log_path, encoding="utf-8") as lines:
                return lines.read()
        except FileNotFoundError:
            return ""
