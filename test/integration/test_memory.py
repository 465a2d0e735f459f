# SPDX-License-Identifier: Apache-2.0
"""Nothing of a seed or PIN remains in memory: neither in serve, with gRPC core, nor in its child.

Each test knows the secrets that it sends, and then looks in all writable memory of both processes
for 8 bytes in a row of any of them, at any alignment.  So SoftHSM may keep none, too; with another
module the count of traces in hsm-kms-host is its own."""

import os
import secrets
import signal
import subprocess
import unittest

import grpc

import kms_memory as memory
import kms_wire as wire
from kms_case import Case, SharedCase
from kms_node import BINARY, wait_for

CALLS = 1000
IN_FLIGHT = 16
SOME = 100
# A sanitizer has an allocator of its own, which wipes what is freed if asked to, as ours is.
WIPING = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":max_free_fill_size=1073741824"}
SANITIZED = memory.holds(BINARY, b"__asan_init")
GAPS = 4  # read buffers that end within a seed, of the few that a test fills
WIPED_SOON_S = 20  # buffers of the last calls go with their connection, which ends a moment later


def new_pin():
    """Long and of many letters, so that no 8 of them are anywhere by accident."""
    return secrets.token_hex(16).translate(str.maketrans("0123456789", "ghijklmnop"))


class Ledger(dict):
    """The secrets of one test, by name."""

    def seed(self, size=32):
        value = os.urandom(size)
        self["seed%d" % len(self)] = value
        return value


class MemoryMixin:
    def clean(self, node, known, gaps=0):
        """Waits until no trace is left of what @known holds, but in @gaps gaps of glibc's."""
        found = []

        def nothing():
            found[:] = memory.scan_family(node.process.pid, known)
            return len(found) <= gaps and all(map(memory.is_gap, found))
        try:
            wait_for("the last trace to go", nothing, WIPED_SOON_S)
        except AssertionError:
            self.fail(memory.describe(found))

    def swallow(self, calls):
        """Waits for all @calls, however they end; returns how many were answered."""
        answered = 0
        for call in calls:
            try:
                call.result()
                answered += 1
            except (grpc.RpcError, grpc.FutureCancelledError):
                pass
        return answered


class SeedCase(SharedCase, MemoryMixin):
    @classmethod
    def prepare(cls):
        cls.node.env.update(WIPING)
        super().prepare()

    def setUp(self):
        super().setUp()
        self.known = Ledger()

    def nothing_remains(self):
        """Neither while the client stays, as kube-apiserver does, nor afterwards."""
        self.clean(self.node, self.known)
        self.nothing_remains_of_undelivered()

    def nothing_remains_of_undelivered(self):
        """What core drops before it hands it over we can't wipe: it stays in core's read buffers
        while the connection lasts, and glibc then spares the last 8 bytes of a buffer."""
        self.node.hang_up()
        self.clean(self.node, self.known, GAPS)

    def encrypted(self, count):
        """[(seed, answer)], a few calls at a time."""
        done = []
        for _ in range(0, count, IN_FLIGHT):
            seeds = [self.known.seed() for _ in range(IN_FLIGHT)]
            calls = [self.kms.start(wire.ENCRYPT, wire.encrypt_request(seed)) for seed in seeds]
            done += [(seed, wire.parse(call.result())) for seed, call in zip(seeds, calls)]
        return done

    def decrypt_requests(self, written):
        return [(seed, wire.decrypt_request(wire.one(answer, 1), wire.one(answer, 2)))
                for seed, answer in written]


class Calls(SeedCase):
    def test_a_thousand_encrypts_and_decrypts_leave_nothing(self):
        requests = self.decrypt_requests(self.encrypted(CALLS))
        for at in range(0, len(requests), IN_FLIGHT):
            few = requests[at:at + IN_FLIGHT]
            calls = [self.kms.start(wire.DECRYPT, request) for _, request in few]
            for (seed, _), call in zip(few, calls):
                self.assertEqual(wire.one(wire.parse(call.result()), 1), seed)
        self.assertGreaterEqual(len(self.known), CALLS)
        self.nothing_remains()

    def test_seeds_of_all_lengths_leave_nothing(self):
        for size in range(16, 257, 8):
            for _ in range(4):
                seed = self.known.seed(size)
                self.assertEqual(self.kms.unseal(self.kms.encrypt(seed)), seed)
        self.nothing_remains()

    def test_cancelled_calls_leave_nothing(self):
        requests = self.decrypt_requests(self.encrypted(SOME))
        calls = []
        for _, request in requests:
            calls += [self.kms.start(wire.DECRYPT, request),
                      self.kms.start(wire.ENCRYPT, wire.encrypt_request(self.known.seed()))]
        for call in calls[1::3] + calls[2::3]:
            call.cancel()
        self.assertLess(self.swallow(calls), len(calls))
        self.nothing_remains_of_undelivered()

    def test_calls_whose_deadline_passes_leave_nothing(self):
        requests = self.decrypt_requests(self.encrypted(SOME))
        calls = []
        for number, (_, request) in enumerate(requests):
            patience_s = number / SOME / 50  # some never leave the client, some are answered
            calls += [self.kms.start(wire.DECRYPT, request, patience_s),
                      self.kms.start(wire.ENCRYPT, wire.encrypt_request(self.known.seed()),
                                     patience_s)]
        self.assertLess(self.swallow(calls), len(calls))
        self.nothing_remains_of_undelivered()

    def test_refused_requests_leave_nothing(self):
        for _ in range(SOME):
            for path, request in self.bad_requests():
                with self.assertRaises(grpc.RpcError):
                    self.kms.call(path, request)
        self.nothing_remains()

    def bad_requests(self):
        seed = self.known.seed
        good = wire.encrypt_request(seed())
        return (
            (wire.ENCRYPT, good + b"\xff"), (wire.ENCRYPT, good[:-1]),
            (wire.ENCRYPT, wire.field(1, seed())),
            (wire.ENCRYPT, wire.encrypt_request(seed()[:31])),
            (wire.ENCRYPT, wire.encrypt_request(seed(), seed())),
            (wire.ENCRYPT, wire.field(7, seed()) + wire.field(1, seed())),
            (wire.ENCRYPT, wire.field(1, bytes(300) + seed())),
            (wire.ENCRYPT, wire.encrypt_request(seed()) + wire.varint(1 << 3 | 3)),
            (wire.DECRYPT, wire.decrypt_request(seed(), seed(), seed())),
            (wire.DECRYPT, wire.decrypt_request(seed(), b"k", annotations=[(seed(), seed())])),
            (wire.STATUS, wire.field(1, seed()) + b"\xff"),
            (wire.DESCRIBE, wire.field(1, seed()) + b"\xff"), (wire.HEALTH, wire.field(1, seed())))

    def test_unknown_methods_and_too_large_messages_leave_nothing(self):
        for _ in range(SOME):
            with self.refused(grpc.StatusCode.UNIMPLEMENTED):
                self.kms.call("/no.such.Service/Method", wire.field(1, self.known.seed()))
            with self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
                self.kms.call(wire.ENCRYPT, wire.field(1, self.known.seed()) + bytes(70000))
        self.nothing_remains_of_undelivered()


class Peers(SeedCase):
    """What no client library sends."""

    def test_messages_cut_off_after_each_byte_leave_nothing(self):
        size = len(memory.grpc_message(wire.encrypt_request(bytes(32))))
        for cut in range(size):
            message = memory.grpc_message(wire.encrypt_request(self.known.seed()))
            self.send(memory.frame(memory.DATA, 0, memory.STREAM, message)[:9 + cut])
            message = memory.grpc_message(wire.encrypt_request(self.known.seed()))
            self.send(memory.frame(memory.DATA, 0, memory.STREAM, message[:cut]))
        self.nothing_remains()

    def test_messages_in_frames_of_each_size_leave_nothing(self):
        for size in range(1, 41):
            message = memory.grpc_message(wire.encrypt_request(self.known.seed()))
            frames = [memory.frame(memory.DATA, 0, memory.STREAM, message[at:at + size])
                      for at in range(0, len(message), size)]
            self.send(*frames)
            self.send(b"".join(frames))
            self.send(*frames[:-1])
        self.nothing_remains()

    def test_calls_reset_after_a_whole_message_leave_nothing(self):
        for _ in range(SOME):
            self.send(self.whole_message() + memory.reset())
            self.send(self.whole_message(), memory.reset())
        self.nothing_remains()

    def test_messages_that_claim_compression_leave_nothing(self):
        for _ in range(SOME):
            message = memory.grpc_message(wire.encrypt_request(self.known.seed()))
            self.send(memory.frame(memory.DATA, memory.END_STREAM, memory.STREAM,
                                   b"\1" + message[1:]))
        self.nothing_remains()

    def whole_message(self):
        return memory.frame(memory.DATA, memory.END_STREAM, memory.STREAM, memory.grpc_message(
            wire.encrypt_request(self.known.seed())))

    def send(self, *pieces):
        memory.send_and_leave(self.node.socket, memory.opening(wire.ENCRYPT), *pieces)


class TokenCase(Case, MemoryMixin):
    def new_node(self, **options):
        node = super().new_node(**options)
        node.env.update(WIPING)
        node.token.pin = new_pin()
        return node

    def pin(self, node):
        return {"pin": node.token.pin.encode()}


class Outages(TokenCase):
    def test_calls_while_the_token_is_away_leave_nothing(self):
        node = self.ready_node()
        kms = node.client()
        known = Ledger()
        written = [kms.encrypt(known.seed()) for _ in range(SOME)]
        node.token.take_away()
        for answer in written:
            with self.assertRaises(grpc.RpcError):
                kms.encrypt(known.seed())
            self.swallow([kms.start(wire.DECRYPT, wire.decrypt_request(
                answer.ciphertext, answer.key_id.encode()))])
        node.token.put_back()
        node.wait_status()
        self.clean(node, {**known, **self.pin(node)})


class Pins(TokenCase):
    def test_nothing_of_the_pin_remains_after_the_login(self):
        node = self.ready_node()
        self.clean(node, self.pin(node))

    def test_nothing_of_the_pin_remains_after_a_reload(self):
        node = self.ready_node()
        node.process.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: "reload" in [event["msg"] for event in node.log_events()])
        node.wait_status()
        self.clean(node, self.pin(node))

    def test_nothing_of_a_refused_pin_remains(self):
        node = self.new_node().make_token()
        node.key_create()
        wrong = {"wrong": new_pin().encode()}
        node.token.write_pin(wrong["wrong"].decode())
        node.start().wait_failing(grpc.StatusCode.FAILED_PRECONDITION)
        self.clean(node, wrong)
        node.token.write_pin(node.token.pin)
        node.wait_status()
        self.clean(node, {**wrong, **self.pin(node)})


class Control(SeedCase):
    """A scan that finds nothing proves something only if it finds what is there."""

    def test_the_scan_finds_whole_secrets(self):
        held = [self.known.seed() for _ in range(SOME)]
        traces = memory.scan(os.getpid(), self.known).traces
        whole = {trace.name for trace in traces if trace.length == len(held[0])}
        self.assertEqual(whole, set(self.known))

    def test_the_scan_finds_8_bytes_at_any_alignment(self):
        seed = os.urandom(32)
        hidden = {"seed": bytes(byte ^ 0xFF for byte in seed)}
        for offset in range(25):
            piece = bytes(byte ^ 0xFF for byte in seed[offset:offset + 8])
            held = bytearray(b"\0" * (16 + offset % 8) + piece + b"\0" * 16)
            found = memory.scan(os.getpid(), hidden).traces
            self.assertIn(offset, [trace.offset for trace in found], memory.describe(found))
            del held

    def test_the_scan_reads_the_server(self):
        key_id = self.kms.status().key_id.encode()
        found = memory.scan(self.node.process.pid, {"key_id": key_id})
        self.assertIn(len(key_id), [trace.length for trace in found.traces])
        self.assertGreater(found.scanned, 1 << 20)


class Restart(Case):
    """glibc reads its tunables before main(), so serve executes itself anew."""

    OURS = "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"
    MARK = "HSM_KMS_RESTARTED=1"
    WARNING = "freed memory is not overwritten"

    def started(self, tunables=None, wrapper=()):
        node = self.new_node().make_token()
        node.key_create()
        node.wrapper = list(wrapper)
        if tunables is not None:
            node.env["GLIBC_TUNABLES"] = tunables
        return node.up()

    def assert_tunables(self, pid, tunables):
        """glibc has put NULs in the place of the colons."""
        environment = ":".join(memory.proc_strings(pid, "environ")) + ":"
        self.assertIn(":GLIBC_TUNABLES=%s:" % tunables, environment)

    def restarts(self, node):
        return memory.proc_strings(node.process.pid, "environ").count(self.MARK)

    def warnings(self, node):
        return [event for event in node.log_events() if event["msg"] == self.WARNING]

    def test_it_has_the_tunables_and_is_otherwise_as_it_was_started(self):
        node = self.started()
        self.assert_tunables(node.process.pid, self.OURS)
        self.assertEqual(memory.proc_strings(node.process.pid, "cmdline"),
                         [node.binary, "serve", "--config", node.config_path])
        self.assertEqual(memory.process_name(node.process.pid), "hsm-kms")
        self.assertEqual(self.warnings(node), [])

    def test_the_child_with_the_library_has_them_too(self):
        node = self.started()
        child, = memory.children(node.process.pid)
        self.assert_tunables(child, self.OURS)

    def test_the_operators_tunables_stay(self):
        node = self.started("glibc.malloc.arena_max=2")
        self.assert_tunables(node.process.pid, "glibc.malloc.arena_max=2:" + self.OURS)
        self.assertEqual(self.warnings(node), [])

    def test_it_does_not_restart_where_the_tunables_are_set(self):
        node = self.started(self.OURS)
        self.assertEqual(self.restarts(node), 0)
        self.assertEqual(self.warnings(node), [])

    def test_it_restarts_once(self):
        node = self.started()
        self.assertEqual(self.restarts(node), 1)

    def test_descriptors_and_ignored_signals_are_inherited(self):
        keep = "trap '' USR2; exec \"$@\" 9</dev/zero"
        node = self.started(wrapper=["sh", "-c", keep, "sh"])
        self.assertEqual(os.readlink("/proc/%d/fd/9" % node.process.pid), "/dev/zero")
        ignored = int(memory.proc_status(node.process.pid)["SigIgn"], 16)
        self.assertTrue(ignored & 1 << signal.SIGUSR2 - 1)

    def test_an_operator_who_chose_otherwise_is_obeyed_and_told(self):
        chosen = "glibc.malloc.perturb=0:glibc.malloc.tcache_count=7"
        node = self.started(chosen)
        self.assert_tunables(node.process.pid, chosen)
        self.assertEqual(self.restarts(node), 0)
        warning, = self.warnings(node)
        self.assertIn("GLIBC_TUNABLES", warning["error"])

    def test_it_serves_where_it_can_not_restart_and_says_so(self):
        room = 128 * 1024 - len("GLIBC_TUNABLES=") - 1  # the kernel's limit of one string
        node = self.started("glibc.malloc.check=0:" * (room // 21))
        warning, = self.warnings(node)
        self.assertEqual(warning["op"], "execve")
        self.assertEqual(node.client().status().healthz, "ok")


class Locking(Case):
    LIMITED = ["setpriv", "--bounding-set=-ipc_lock", "prlimit", "--memlock=8388608:8388608"]
    NO_PTRACE = ["setpriv", "--bounding-set=-sys_ptrace"]

    def unlocked(self, pid):
        return [where for where, flags in memory.mappings(pid) if "wr" in flags
                and "lo" not in flags]

    def test_all_writable_memory_is_locked_where_the_limit_allows(self):
        node = self.ready_node()
        for pid in (node.process.pid, *memory.children(node.process.pid)):
            if not SANITIZED:  # their mlockall() does nothing
                self.assertEqual(self.unlocked(pid), [])

    def test_it_serves_under_a_limit_and_says_once_what_to_set(self):
        node = self.new_node().make_token()
        node.key_create()
        node.wrapper = self.LIMITED
        kms = node.up().client()
        for _ in range(SOME):
            kms.unseal(kms.encrypt(os.urandom(32)))
        warning, = [event for event in node.log_events() if event["msg"] == "memory is not locked"]
        self.assertIn("LimitMEMLOCK=infinity", warning["error"])
        self.assertNotEqual(self.unlocked(node.process.pid), [])

    def test_it_is_not_dumpable(self):
        """The kernel then shows whose program it is to nobody without CAP_SYS_PTRACE."""
        node = self.new_node().make_token()
        node.key_create()
        node.wrapper = self.NO_PTRACE
        node.up()
        with subprocess.Popen([*self.NO_PTRACE, "cat"], stdin=subprocess.PIPE) as other:
            wait_for("cat", lambda: memory.process_name(other.pid) == "cat")
            self.assertTrue(self.is_visible(other.pid))
            other.stdin.close()
        for pid in (node.process.pid, *memory.children(node.process.pid)):
            self.assertFalse(self.is_visible(pid))

    def is_visible(self, pid):
        return subprocess.run([*self.NO_PTRACE, "readlink", "/proc/%d/exe" % pid],
                              stdout=subprocess.DEVNULL).returncode == 0

    def test_the_scan_says_what_it_needs(self):
        node = self.ready_node()
        done = subprocess.run([*self.NO_PTRACE, memory.MEMSCAN, str(node.process.pid), "/dev/null"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("CAP_SYS_PTRACE", done.stderr)


if __name__ == "__main__":
    unittest.main()
