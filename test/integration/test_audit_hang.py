# SPDX-License-Identifier: Apache-2.0
"""The audit log of a real server on a disk that doesn't answer."""

import os
import signal
import subprocess
import time
import unittest

import grpc

from kms_audit import AuditCase, lines_of, serve_log
from kms_node import wait_for

SEED = bytes(range(32))
STOP_S = 15  # after which serve would give up
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


class HungDisk(AuditCase):
    """strace stands for a disk that doesn't answer: each fdatasync of the server waits for minutes."""

    def audited_node(self, **audit):
        node = super().audited_node(**audit)
        flags = os.environ.get("ASAN_OPTIONS", "")
        node.env["ASAN_OPTIONS"] = flags + ":detect_leaks=0"  # the leak checker traces, too
        return node

    def hang(self, node):
        """Returns strace: when it ends, the disk answers."""
        hung = subprocess.Popen(
            ["strace", "-f", "-p", str(node.process.pid), "-o", "/dev/null", "-e",
             "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=%d" % (10 ** 9)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.mend, hung)
        self.assertIn("attached", hung.stderr.readline())
        return hung

    def mend(self, hung):
        hung.kill()  # the kernel lets the threads go; strace itself may wait for one that has ended
        hung.wait()
        hung.stderr.close()

    def test_calls_go_on_and_late_lines_are_recorded_as_such(self):
        node = self.ready_audited_node()
        client = node.client()
        sealed = client.encrypt(SEED)
        hung = self.hang(node)
        for number in range(10):
            self.assertEqual(client.unseal(sealed, uid=b"late-%d" % number), SEED)
        self.assertEqual(client.status().healthz, "ok")
        self.assertIn("the disk doesn't answer", node.log())
        self.mend(hung)
        line = wait_for("a late record", lambda: next(
            (line for line in lines_of(serve_log(node)) if line["type"] == "late"), None))
        self.assertGreaterEqual(line["late"], 10)
        told = self.verify(node, serve_log(node))
        self.assertGreaterEqual(told["files"][0]["late"], 10)
        self.assertIn("audit log is written again", node.log())

    def test_calls_are_refused_where_that_is_asked_until_it_answers(self):
        node = self.ready_audited_node(on_error="refuse")
        client = node.client()
        sealed = client.encrypt(SEED)
        hung = self.hang(node)
        with self.refused(grpc.StatusCode.UNAVAILABLE, "audit log: ", "the disk doesn't answer"):
            client.unseal(sealed)
        self.assertIn("the disk doesn't answer", node.wait_failing(PRECONDITION))
        self.mend(hung)
        node.wait_status()
        self.assertEqual(client.unseal(sealed), SEED)

    def test_a_stop_does_not_wait_for_it(self):
        node = self.ready_audited_node()
        client = node.client()
        hung = self.hang(node)
        client.encrypt(SEED)
        node.hang_up()
        began = time.monotonic()
        node.process.send_signal(signal.SIGTERM)
        wait_for("the last word of the server", lambda: '"stopped"' in node.log())
        self.assertLess(time.monotonic() - began, STOP_S)
        self.mend(hung)
        self.assertEqual(node.wait_exit(), 0)


if __name__ == "__main__":
    unittest.main()
