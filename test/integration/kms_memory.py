# SPDX-License-Identifier: Apache-2.0
"""Traces of secrets in a process's memory (memscan.c), and HTTP/2 by hand: half a message, say."""

import collections
import os
import subprocess
import tempfile

from kms_client import raw_peer
from kms_node import BINARY

# Beside the binary, in its build folder.
MEMSCAN = os.environ.get("KMS_MEMSCAN") or os.path.normpath(os.path.join(
    os.path.dirname(os.path.abspath(BINARY)), "../../test/integration/memscan"))

# Whose it is, which bytes of it, and where: the process by its name (hsm-kms has gRPC,
# hsm-kms-host the PKCS#11 library), the mapping as /proc/PID/maps names it.
Trace = collections.namedtuple("Trace", "process pid name offset length address in_mapping mapping")
Scan = collections.namedtuple("Scan", "traces mappings scanned")

MANY = 8  # traces that a failure shows


def scan(pid, secrets):
    """All runs of 8 bytes and more that writable memory of @pid shares with one of @secrets, which
    are bytes by name."""
    if not os.path.exists(MEMSCAN):
        raise AssertionError("no %s: build the target memscan, or set KMS_MEMSCAN" % MEMSCAN)
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as needles:
        needles.writelines("%s %s\n" % (name, value.hex()) for name, value in secrets.items())
        needles.flush()
        done = subprocess.run([MEMSCAN, str(pid), needles.name], capture_output=True, text=True,
                              timeout=120)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    *lines, last = done.stdout.splitlines()
    words = last.split()
    return Scan([parse_trace(pid, line) for line in lines], int(words[1]), int(words[2]))


def parse_trace(pid, line):
    _, name, offset, length, address, in_mapping, mapping = line.split(None, 6)
    return Trace(process_name(pid), pid, name, int(offset), int(length), int(address, 16),
                 int(in_mapping, 16), mapping)


def process_name(pid):
    with open("/proc/%d/comm" % pid, encoding="ascii") as name:
        return name.read().strip()


def children(pid):
    """Living ones, of all its threads."""
    found = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/children" % (pid, task), encoding="ascii") as pids:
            found += [int(child) for child in pids.read().split()]
    return found


def scan_family(pid, secrets):
    """The traces in a process and in those of its children that live on meanwhile."""
    found = scan(pid, secrets).traces
    for child in children(pid):
        try:
            found += scan(child, secrets).traces
        except (AssertionError, FileNotFoundError):
            if child in children(pid):
                raise
    return found


def describe(traces):
    """For the text of a failure: how many, where, and the first ones."""
    places = collections.Counter((trace.process, trace.mapping, trace.length) for trace in traces)
    return "%d traces: %s; %s" % (
        len(traces), ", ".join("%d of %d bytes in %s %s" % (count, length, process, mapping)
                               for (process, mapping, length), count in sorted(places.items())),
        traces[:MANY])


def is_gap(trace):
    """Whether it may be the last 8 bytes of a freed block of the heap, which glibc.malloc.perturb
    spares since a size may stand there.  A byte or two beside it may be equal by accident."""
    return trace.length < 12 and any(at % 16 == 0 for at in range(
        trace.address, trace.address + trace.length - 7))


def mappings(pid):
    """[(name or address, the kernel's two-letter flags)]: lo is locked, wr writable."""
    found, name = [], ""
    with open("/proc/%d/smaps" % pid, encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if words[0] == "VmFlags:":
                found.append((name, words[1:]))
            elif not words[0].endswith(":"):
                name = words[5] if len(words) > 5 else words[0]
    return found


def holds(path, text):
    with open(path, "rb") as content:
        return text in content.read()


def proc_strings(pid, name):
    """What /proc/PID/@name holds, a NUL after each."""
    with open("/proc/%d/%s" % (pid, name), "rb") as content:
        return [text.decode() for text in content.read().split(b"\0")[:-1]]


def proc_status(pid):
    """{field: value} of /proc/PID/status."""
    with open("/proc/%d/status" % pid, encoding="ascii") as lines:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# --- HTTP/2 ---

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS = 1, 4
CANCEL = (8).to_bytes(4, "big")
STREAM = 1


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") \
        + payload


def header(name, value):
    """A literal that nobody indexes."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def call_headers(path):
    block = b"".join(header(name, value) for name, value in (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()),
        (b":authority", b"localhost"), (b"te", b"trailers"),
        (b"content-type", b"application/grpc")))
    return frame(HEADERS, END_HEADERS, STREAM, block)


def grpc_message(message):
    return b"\0" + len(message).to_bytes(4, "big") + message


def opening(path):
    """All of a call that comes before its message."""
    return PREFACE + frame(SETTINGS, 0, 0) + call_headers(path)


def reset():
    return frame(RST_STREAM, 0, STREAM, CANCEL)


def send_and_leave(socket_path, *pieces):
    """Returns when the server has read everything and closed its end, too."""
    with raw_peer(socket_path) as peer:
        try:
            for piece in pieces:
                peer.sendall(piece)
            peer.shutdown(1)  # SHUT_WR
            while peer.recv(4096):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass  # it had enough
