# SPDX-License-Identifier: Apache-2.0
"""Nobody reads the server's stderr, as when journald stands still: it serves all the same."""

import fcntl
import json
import os
import time
import unittest

from kms_case import Case
from kms_node import wait_for

SEED = bytes(range(32))
CALLS = 1500  # their lines are more than the pipe and the server's queue hold
STOP_S = 15   # after which serve would give up


class UnreadLog(Case):
    def setUp(self):
        super().setUp()
        self.reader, writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        self.node = self.new_node().make_token()
        self.node.key_create()
        own_path, self.node.log_path = self.node.log_path, "/proc/self/fd/%d" % writer
        self.node.start()
        self.node.log_path = own_path
        os.close(writer)
        self.node.wait_status()

    def fill(self):
        client = self.node.client()
        sealed = client.encrypt(SEED)
        for _ in range(CALLS):
            self.assertEqual(client.unseal(sealed), SEED)
        return client

    def read_events(self, text, until):
        """Reads on until an event is @until; returns all of them."""
        os.set_blocking(self.reader, False)

        def found():
            try:
                text.extend(os.read(self.reader, 65536))
            except BlockingIOError:
                return None
            events = [json.loads(line) for line in bytes(text).splitlines(keepends=True)
                      if line.endswith(b"\n")]
            return events if any(until(event) for event in events) else None
        return wait_for("the lines of the log", found)

    def test_calls_and_status_are_answered(self):
        client = self.fill()
        self.assertEqual(client.status().healthz, "ok")
        sealed = client.encrypt(SEED)
        self.assertEqual(client.unseal(sealed), SEED)
        self.assertEqual(self.node.run("status", "--socket", self.node.socket).returncode, 0)

    def test_it_goes_on_refreshing(self):
        self.fill()
        self.node.rotate()

    def test_it_stops_in_time(self):
        self.fill()
        self.node.hang_up()
        began = time.monotonic()
        self.assertEqual(self.node.stop(), 0)
        self.assertLess(time.monotonic() - began, STOP_S)

    def test_it_says_how_many_lines_were_lost_once_they_are_read(self):
        client = self.fill()
        text = bytearray()
        events = self.read_events(text, lambda event: "lost" in event["msg"])
        lost = [event for event in events if event["msg"].startswith("log lines are lost")]
        self.assertEqual(lost[0]["level"], "error")
        decrypts = sum(1 for event in events if event.get("method") == "Decrypt")
        self.assertGreater(decrypts, 0)
        self.assertGreaterEqual(decrypts + sum(event["lines"] for event in lost), CALLS)
        client.encrypt(SEED, uid=b"afterwards")
        self.read_events(text, lambda event: event.get("uid") == "afterwards")


if __name__ == "__main__":
    unittest.main()
