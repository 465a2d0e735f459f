# SPDX-License-Identifier: Apache-2.0
"""key rotate, key nodes, key ready: rotations that the nodes are asked about, and followed on."""

import concurrent.futures
import json
import os
import subprocess
import threading
import unittest

import grpc

from kms_case import Case
from kms_node import wait_for

FINDINGS = 2
REFUSED = 3


def rotate(node, *flags):
    return node.run("key", "rotate", "--config", node.config_path, *flags)


class RotateCase(Case):
    def two_nodes(self, **options):
        """Two hosts on one token; @options are the second one's."""
        one = self.ready_node()
        return one, self.new_node(token=one.token, **options).up()

    def rotated(self, node, *flags):
        done = rotate(node, "-o", "json", *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def assert_refused(self, done, *words):
        self.assertEqual(done.returncode, REFUSED, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)


class Wait(RotateCase):
    def test_it_ends_when_the_node_uses_the_new_key(self):
        node = self.ready_node()
        answer = self.rotated(node, "--wait")
        self.assertEqual((answer["schema"], answer["changed"], answer["generation"]),
                         ("hsm-kms/key-rotate/v1", True, 2))
        self.assertTrue(answer["active_on_all"])
        self.assertEqual(node.client().status().key_id, answer["key_id"])
        self.assertEqual(node.client().encrypt(os.urandom(32)).key_id, answer["key_id"])

    def test_each_step_is_one_line_in_its_order(self):
        node = self.ready_node()
        done = rotate(node, "--wait")
        self.assertEqual(done.returncode, 0, done.stderr)
        steps = ("generation 2 is created", "generation 2 is listed", "generation 2 is usable",
                 "generation 2 is active")
        for step in steps:
            self.assertEqual(done.stderr.count(step), 1, done.stderr)
        self.assertEqual(sorted(steps, key=done.stderr.index), list(steps))
        self.assertIn("rewrite old objects", done.stdout.splitlines()[-1])

    def test_the_proof_comes_before_the_activation(self):
        node = self.ready_node()
        done = rotate(node, "--wait", "--activate", "+10s")
        self.assertEqual(done.returncode, 0, done.stderr)
        created, = [line for line in done.stderr.splitlines() if "is created" in line]
        usable, = [line for line in done.stderr.splitlines() if "is usable" in line]
        activation = created.split()[-1]
        self.assertLess(usable.split()[0], activation)

    def test_all_nodes_are_followed(self):
        one, two = self.two_nodes()
        answer = self.rotated(one, "--wait", "--socket", one.socket, "--socket", two.socket)
        self.assertEqual([(node["source"], node["listed"], node["proved"], node["active"])
                          for node in answer["nodes"]],
                         [(one.socket, True, True, True), (two.socket, True, True, True)])
        for node in (one, two):
            self.assertEqual(node.client().status().key_id, answer["key_id"])

    def test_a_rerun_after_the_key_was_made_goes_on_waiting(self):
        node = self.ready_node()
        self.assertTrue(self.rotated(node)["changed"])
        answer = self.rotated(node, "--wait")
        self.assertEqual((answer["changed"], answer["generation"]), (False, 2))
        self.assertTrue(answer["active_on_all"])

    def test_a_node_that_does_not_follow_in_time_is_named_and_exits_2(self):
        one, two = self.two_nodes(refresh="10m")
        done = rotate(one, "--wait", "--timeout", "3s", "--activate", "now", "--force", "--socket",
                      one.socket, "--socket", two.socket)
        self.assertEqual(done.returncode, FINDINGS, done.stderr)
        self.assertIn("(%s): generation 2 is not listed yet" % two.socket, done.stdout)
        self.assertIn("nothing is lost", done.stdout.splitlines()[-1])

    def test_a_run_killed_after_the_key_was_made_is_taken_up_by_the_next(self):
        node = self.ready_node()
        with subprocess.Popen([node.binary, "key", "rotate", "--config", node.config_path,
                               "--wait"], env=node.environment(), stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as first:
            for line in first.stderr:
                if "is created" in line:
                    first.kill()
        answer = self.rotated(node, "--wait")
        self.assertEqual((answer["changed"], answer["generation"]), (False, 2))
        self.assertTrue(answer["active_on_all"])

    def test_an_activation_beyond_the_timeout_makes_no_key(self):
        node = self.ready_node()
        done = rotate(node, "--wait", "--activate", "+1h")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("--timeout", done.stderr)
        self.assertEqual(len(node.token.labels()), 1)

    def test_dry_run_asks_the_nodes_and_changes_nothing(self):
        one, two = self.two_nodes(refresh="10m")
        self.assertFalse(self.rotated(one, "--wait", "--dry-run")["changed"])
        self.assert_refused(rotate(one, "--dry-run", "--socket", two.socket), two.socket)
        self.assertEqual(len(one.token.labels()), 1)

    def test_the_first_key_can_be_waited_for(self):
        node = self.new_node().make_token()
        node.start().wait_listening()
        answer = self.rotated(node, "--wait")
        self.assertEqual((answer["generation"], answer["active_on_all"]), (1, True))


class Refusals(RotateCase):
    def test_a_node_with_a_larger_refresh_is_refused_with_its_numbers(self):
        one, two = self.two_nodes(refresh="20s")
        done = rotate(one, "--wait", "--socket", one.socket, "--socket", two.socket)
        self.assert_refused(done, two.socket, "refresh 20s", "40 s", "2 s")
        self.assertEqual(len(one.token.labels()), 1)

    def test_a_later_activation_gives_that_node_the_time(self):
        one, two = self.two_nodes(refresh="20s")
        answer = self.rotated(one, "--activate", "+60s", "--socket", one.socket, "--socket",
                              two.socket)
        self.assertTrue(answer["changed"])

    def test_a_node_that_does_not_answer_is_refused(self):
        node = self.ready_node()
        absent = node.path("absent.sock")
        self.assert_refused(rotate(node, "--socket", node.socket, "--socket", absent), absent)
        self.assertEqual(len(node.token.labels()), 1)

    def test_a_node_of_another_ring_is_refused(self):
        one = self.ready_node()
        other = self.new_node(token=one.token, ring="test")
        other.key_create()
        other.up()
        self.assert_refused(rotate(one, "--socket", one.socket, "--socket", other.socket),
                            "ring 'test'", other.socket)

    def test_a_node_that_promoted_another_generation_is_refused(self):
        one, two = self.two_nodes(refresh="10m")
        one.rotate()
        self.assert_refused(rotate(one, "--socket", one.socket, "--socket", two.socket),
                            two.socket, "promoted generation 1")


class From(RotateCase):
    def test_it_creates_if_that_generation_is_promoted(self):
        node = self.ready_node()
        answer = self.rotated(node, "--from", "1")
        self.assertEqual((answer["changed"], answer["generation"]), (True, 2))

    def test_it_has_nothing_to_do_if_the_next_one_is_there(self):
        node = self.ready_node()
        self.rotated(node, "--from", "1", "--wait")
        answer = self.rotated(node, "--from", "1")
        self.assertEqual((answer["changed"], answer["outcome"], answer["generation"]),
                         (False, "there", 2))
        self.assertEqual(answer["key_id"], node.client().status().key_id)
        self.assertEqual(len(node.token.labels()), 2)

    def test_a_rerun_after_the_activation_announces_no_time_of_the_past(self):
        node = self.ready_node()
        rotate(node, "--from", "1", "--wait")
        done = rotate(node, "--from", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("its activation has come", done.stdout.splitlines()[-1])
        self.assertNotIn("next: after", done.stdout)

    def test_it_is_refused_if_the_ring_has_moved_on(self):
        node = self.ready_node()
        node.rotate()
        node.rotate()
        self.assert_refused(rotate(node, "--from", "1"), "generation 3 is")
        self.assert_refused(rotate(node, "--from", "4"), "generation 3 is")
        self.assertEqual(len(node.token.labels()), 3)

    def test_anything_but_a_generation_is_a_usage_error(self):
        node = self.ready_node()
        for text in ("0", "-1", "one", "", "1x", "4294967297", "1000000000"):
            with self.subTest(text):
                self.assertEqual(rotate(node, "--from=" + text).returncode, 1)


class Nodes(RotateCase):
    def compare(self, *nodes, flags=()):
        sockets = [flag for node in nodes for flag in ("--socket", node.socket)]
        done = nodes[0].run("key", "nodes", "-o", "json", *sockets, *flags)
        return done.returncode, json.loads(done.stdout)

    def export(self, node):
        done = node.run("key", "nodes", "--export", "--config", node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        path = node.path("export.json")
        with open(path, "w", encoding="ascii") as out:
            out.write(done.stdout)
        return path

    def test_nodes_that_agree_exit_0(self):
        one, two = self.two_nodes()
        code, answer = self.compare(one, two)
        self.assertEqual((code, answer["agree"]), (0, True), answer)
        self.assertEqual({node["key_id"] for node in answer["nodes"]},
                         {one.client().status().key_id})

    def test_nodes_that_promoted_different_generations_exit_2(self):
        one, two = self.two_nodes(refresh="10m")
        one.rotate()
        code, answer = self.compare(one, two)
        self.assertEqual(code, FINDINGS)
        self.assertEqual([node["promoted"] for node in answer["nodes"]], [2, 1])

    def test_an_unhealthy_node_exits_2(self):
        node = self.new_node().make_token()
        node.start().wait_failing(grpc.StatusCode.FAILED_PRECONDITION)
        code, answer = self.compare(node)
        self.assertEqual(code, FINDINGS)
        self.assertFalse(answer["nodes"][0]["healthy"])

    def test_a_node_that_does_not_answer_is_shown_and_exits_2(self):
        node = self.ready_node()
        code, answer = self.compare(node, flags=("--socket", node.path("absent.sock")))
        self.assertEqual(code, FINDINGS)
        self.assertEqual([shown["reached"] for shown in answer["nodes"]], [True, False])

    def test_the_table_ends_with_the_next_step(self):
        node = self.ready_node()
        done = node.run("key", "nodes", "--socket", node.socket)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.splitlines()[-1].startswith("next: "), done.stdout)

    def test_an_exported_node_is_compared(self):
        one, two = self.two_nodes()
        code, answer = self.compare(one, flags=("--nodes", self.export(two)))
        self.assertEqual((code, [node["is_export"] for node in answer["nodes"]]),
                         (0, [False, True]))

    def test_an_exported_node_is_checked_before_a_rotation(self):
        one, two = self.two_nodes(refresh="20s")
        path = self.export(two)
        self.assert_refused(rotate(one, "--nodes", path), path, "refresh 20s")
        two.configure(refresh="1s")
        self.assertEqual(two.stop(), 0)
        two.hang_up()
        two.up()
        done = rotate(one, "--nodes", self.export(two), self.export(one))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("key ready --generation 2", done.stdout.splitlines()[-1])

    def test_a_file_that_is_no_export_is_an_error(self):
        node = self.ready_node()
        done = rotate(node, "--nodes", node.config_path)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(len(node.token.labels()), 1)


class Ready(RotateCase):
    def ready(self, node, generation, *flags):
        return node.run("key", "ready", "--socket", node.socket, "--generation", str(generation),
                        *flags).returncode

    def test_a_listed_generation_is_ready_and_a_future_one_is_not(self):
        node = self.ready_node()
        self.assertEqual(self.ready(node, 1), 0)
        self.assertEqual(self.ready(node, 2), FINDINGS)

    def test_a_generation_is_ready_before_its_activation(self):
        node = self.ready_node()
        node.key_create("--activate", "+1h")
        self.assertEqual(self.ready(node, 2, "--wait", "60s"), 0)

    def test_a_plugin_out_of_reach_exits_1(self):
        node = self.new_node()
        self.assertEqual(self.ready(node, 1), 1)

    def test_waiting_covers_a_plugin_that_starts_meanwhile(self):
        node = self.new_node().make_token()
        node.key_create()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self.ready, node, 1, "--wait", "60s")
            node.start()
            self.assertEqual(waiting.result(), 0)


class Races(RotateCase):
    LISTS = 1000 if os.environ.get("KMS_LONG") == "1" else 200

    def test_two_rotations_at_once_leave_one_generation_and_both_say_so(self):
        node = self.ready_node()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda _: rotate(node, "-o", "json", "--activate", "+1h"),
                                 range(2)))
        self.assertEqual([run.returncode for run in done], [0, 0], [run.stderr for run in done])
        answers = [json.loads(run.stdout) for run in done]
        made, = [kek for kek in node.key_list() if kek["generation"] > 1]
        self.assertEqual({answer["key_id"] for answer in answers}, {made["key_id"]})
        self.assertLessEqual(sum(answer["changed"] for answer in answers), 1)
        for answer in answers:
            self.assertEqual(answer["changed"], answer["outcome"] == "created")
            self.assertIn(answer["outcome"], ("created", "pending", "yielded"))

    def test_listing_beside_a_plugin_under_load_fails_no_call(self):
        node = self.ready_node()
        stop, faults, calls = threading.Event(), [], []

        def load():
            kms = node.client()
            try:
                while not stop.is_set():
                    seed = os.urandom(32)
                    if kms.unseal(kms.encrypt(seed)) != seed:
                        faults.append("another seed")
                    calls.append(kms.status().key_id)
            except grpc.RpcError as error:
                faults.append("%s %s" % (error.code(), error.details()))

        thread = threading.Thread(target=load)
        thread.start()
        try:
            wait_for("the load to run", lambda: calls)
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                done = list(pool.map(lambda _: node.run("key", "list", "--config",
                                                        node.config_path), range(self.LISTS)))
        finally:
            stop.set()
            thread.join()
        self.assertEqual([run.stderr for run in done if run.returncode != 0], [])
        self.assertEqual(faults, [])


if __name__ == "__main__":
    unittest.main()
