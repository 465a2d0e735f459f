# SPDX-License-Identifier: Apache-2.0
"""ring.json: what a node remembers, and that a damaged memory is refused and left as it is."""

import json
import os
import shutil
import stat
import unittest

from kms_case import Case


class Memory(Case):
    def test_the_promoted_mark_and_the_pin_are_on_disk_once_status_is_ok(self):
        node = self.ready_node()
        with open(node.ring_json, encoding="utf-8") as stored:
            state = json.load(stored)
        self.assertEqual((state["version"], state["ring"], state["promoted"]), (1, "prod", 1))
        fingerprint = node.client().describe().keks[0].fingerprint
        self.assertIn(fingerprint, json.dumps(state))

    def test_the_state_dir_is_private(self):
        node = self.ready_node()
        self.assertEqual(stat.S_IMODE(os.stat(node.state_dir).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(node.ring_json).st_mode) & 0o077, 0)

    def test_the_served_marker_is_written(self):
        self.assertTrue(os.path.exists(os.path.join(self.ready_node().state_dir, "served")))

    def test_a_new_node_says_once_that_it_trusts_on_first_use(self):
        node = self.ready_node()
        self.assertEqual(node.log().count("first use"), 1)
        self.assertEqual(node.stop(), 0)
        node.hang_up()
        node.up()
        self.assertEqual(node.log().count("first use"), 1)

    def test_a_restart_keeps_the_promoted_mark(self):
        node = self.ready_node()
        node.rotate()
        self.assertEqual(node.stop(), 0)
        with open(node.ring_json, encoding="utf-8") as stored:
            self.assertEqual(json.load(stored)["promoted"], 2)
        node.hang_up()
        self.assertTrue(node.start().wait_status().key_id.startswith("prod.v2."))

    def test_the_mark_is_durable_before_status_announces_it(self):
        node = self.ready_node()
        node.rotate()
        node.kill()
        with open(node.ring_json, encoding="utf-8") as stored:
            self.assertEqual(json.load(stored)["promoted"], 2)


class DamagedMemory(Case):
    def served_node(self):
        node = self.ready_node()
        self.assertEqual(node.stop(), 0)
        node.hang_up()
        return node

    def refuse(self, change, *words):
        """Serve refuses ring.json as @change left it, and touches nothing."""
        node = self.served_node()
        change(node)
        before = self.contents(node)
        said = node.serve_fails()
        for word in ("ring.json", *words):
            self.assertIn(word, said)
        self.assertEqual(self.contents(node), before)
        self.assertFalse(os.path.exists(node.socket))

    def contents(self, node):
        found = {}
        for name in sorted(os.listdir(node.state_dir)):
            path = os.path.join(node.state_dir, name)
            with open(path, "rb") as stored:
                found[name] = (stored.read(), os.stat(path).st_ino)
        return found

    def rewrite(self, **fields):
        def change(node):
            with open(node.ring_json, encoding="utf-8") as stored:
                state = json.load(stored)
            state.update(fields)
            with open(node.ring_json, "w", encoding="utf-8") as out:
                json.dump(state, out)
        return change

    def overwrite(self, data):
        def change(node):
            with open(node.ring_json, "wb") as out:
                out.write(data)
        return change

    def test_garbage_is_refused(self):
        self.refuse(self.overwrite(b"\0\1\2 not json"))

    def test_an_empty_file_is_refused(self):
        self.refuse(self.overwrite(b""))

    def test_half_a_file_is_refused(self):
        def cut(node):
            os.truncate(node.ring_json, os.path.getsize(node.ring_json) // 2)
        self.refuse(cut)

    def test_json_of_another_shape_is_refused(self):
        self.refuse(self.overwrite(b"[1, 2, 3]"))

    def test_another_rings_file_is_refused(self):
        self.refuse(self.rewrite(ring="other"), "other")

    def test_a_newer_version_is_refused(self):
        self.refuse(self.rewrite(version=2), "version")

    def test_a_negative_promoted_mark_is_refused(self):
        self.refuse(self.rewrite(promoted=-1))

    def test_a_missing_file_beside_the_served_marker_is_refused(self):
        self.refuse(lambda node: os.unlink(node.ring_json))

    def test_a_directory_in_its_place_is_refused(self):
        node = self.served_node()
        os.unlink(node.ring_json)
        os.mkdir(node.ring_json)
        self.assertIn("ring.json", node.serve_fails())

    def test_a_state_dir_that_others_may_read_is_refused(self):
        node = self.served_node()
        os.chmod(node.state_dir, 0o755)
        self.assertIn(node.state_dir, node.serve_fails())

    def test_a_state_dir_of_another_user_is_refused(self):
        node = self.served_node()
        os.chown(node.state_dir, 47111, 47111)
        self.assertIn(node.state_dir, node.serve_fails())

    def test_a_wiped_state_dir_is_a_new_node(self):
        node = self.served_node()
        shutil.rmtree(node.state_dir)
        node.up()


if __name__ == "__main__":
    unittest.main()
