# SPDX-License-Identifier: Apache-2.0
"""Commands that die at a chosen Cryptoki call (test/fake/killer.c)."""

import collections
import os
import signal

from kms_node import BINARY
from kms_token import MODULE

# Beside the binary, in its build folder.
KILLER = os.environ.get("KMS_KILLER") or os.path.normpath(os.path.join(
    os.path.dirname(os.path.abspath(BINARY)), "../../test/fake/libkiller.so"))

# These leave the token as it is; of several in a row one stands for all.
READS = ("C_GetAttributeValue", "C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal",
         "C_GetInfo", "C_GetSlotList", "C_GetSlotInfo", "C_GetTokenInfo", "C_GetSessionInfo",
         "C_GetMechanismInfo", "C_GetMechanismList")

Point = collections.namedtuple("Point", "variable number call")


def environment():
    """What the module needs behind each process that loads it."""
    return {"KILLER_MODULE": MODULE}


def killed_commands_module():
    if not os.path.exists(KILLER):
        raise AssertionError("no %s: build the target killer, or set KMS_KILLER" % KILLER)
    return KILLER


def calls_of(node, *command):
    """The names of the Cryptoki calls that the command makes."""
    path = node.path("calls")
    done = node.run(*command, env={"KILLER_CALLS": path})
    if done.returncode != 0:
        raise AssertionError("%s: exit %d: %s" % (command, done.returncode, done.stderr))
    with open(path, encoding="ascii") as lines:
        calls = lines.read().split()
    os.unlink(path)
    return calls


def points(calls, begin, every):
    """Where to kill a command: from @begin on before each call, and after each that may change
    something.  SoftHSM's token doesn't survive a kill within C_Login, so @begin isn't earlier."""
    start = calls.index(begin) + 1
    found = []
    for number, call in enumerate(calls[start:], start + 1):
        if call not in READS or every:
            found += [Point("KILLER_AT", number, call), Point("KILLER_AFTER", number, call)]
        elif call != calls[number - 2]:
            found.append(Point("KILLER_AT", number, call))
    return found


def run_killed(node, point, *command):
    done = node.run(*command, env={point.variable: str(point.number)})
    if done.returncode != -signal.SIGKILL:
        raise AssertionError("%s was to die at %s, and exited %d: %s%s" % (
            command, point, done.returncode, done.stdout, done.stderr))
