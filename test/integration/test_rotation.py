# SPDX-License-Identifier: Apache-2.0
"""Generations: when one is promoted, and that Status and Encrypt never disagree about it."""

import collections
import json
import os
import threading
import time
import unittest

import grpc

from kms_case import Case
from kms_node import wait_for

PAST = "20260101T000000Z"
Answer = collections.namedtuple("Answer", "sent received generation")


def generation_of(key_id):
    return int(key_id.split(".")[1][1:])


class Promotion(Case):
    def test_a_new_generation_appears_by_itself(self):
        node = self.ready_node()
        self.assertEqual(node.rotate(), 2)
        self.assertEqual(generation_of(node.client().encrypt(os.urandom(32)).key_id), 2)

    def test_a_generation_with_the_default_lead_is_promoted_when_its_time_comes(self):
        node = self.ready_node()
        node.key_create()
        node.wait_generation(2)

    def test_a_generation_of_the_future_waits(self):
        node = self.ready_node()
        node.key_create("--activate", "+1h")
        kms = node.client()
        wait_for("the node to list it", lambda: [
            kek for kek in kms.describe().keks if (kek.generation, kek.state) == (2, "pre-active")])
        self.assertEqual(generation_of(kms.status().key_id), 1)

    def test_five_generations_stay_decryptable(self):
        node = self.ready_node()
        kms = node.client()
        kept = []
        for generation in range(1, 6):
            if generation > 1:
                node.rotate()
            seed = os.urandom(32)
            kept.append((seed, kms.encrypt(seed)))
            self.assertEqual(generation_of(kept[-1][1].key_id), generation)
        for seed, answer in kept:
            self.assertEqual(kms.unseal(answer), seed)
        self.assertEqual(node.stop(), 0)
        node.hang_up()
        node.up()
        kms = node.client()
        self.assertEqual(generation_of(kms.status().key_id), 5)
        for seed, answer in kept:
            self.assertEqual(kms.unseal(answer), seed)

    def test_the_first_start_promotes_the_highest_active_generation_at_once(self):
        node = self.new_node(refresh="10m").make_token()
        for generation in (1, 2, 3):
            node.token.generate("prod.v%d@%s" % (generation, PAST), "0%d" % generation)
        node.token.generate("prod.v4@29990101T000000Z", "04")
        self.assertEqual(generation_of(node.start().wait_status().key_id), 3)

    def test_a_node_with_a_dead_clock_promotes_the_lowest_generation(self):
        node = self.new_node().make_token()
        node.token.generate("prod.v1@29990101T000000Z", "01")
        node.token.generate("prod.v2@29990101T000000Z", "02")
        self.assertEqual(generation_of(node.start().wait_status().key_id), 1)

    def test_the_ciphertext_of_one_generation_under_another_key_id_is_corrupt(self):
        node = self.ready_node()
        kms = node.client()
        old = kms.encrypt(os.urandom(32))
        node.rotate()
        with self.refused(grpc.StatusCode.DATA_LOSS):
            kms.decrypt(old.ciphertext, kms.status().key_id)
        self.assertEqual(kms.status().healthz, "ok")

    def test_two_nodes_on_one_token_agree_and_read_each_other(self):
        one = self.ready_node()
        two = self.new_node(token=one.token).up()
        for _ in range(2):
            seed = os.urandom(32)
            answer = one.client().encrypt(seed)
            self.assertEqual(answer.key_id, two.client().status().key_id)
            self.assertEqual(two.client().unseal(answer), seed)
            two.wait_generation(one.rotate())

    def test_a_decrypt_finds_a_generation_that_was_made_after_the_last_refresh(self):
        maker = self.ready_node()
        reader = self.new_node(token=maker.token, refresh="10m").up()
        maker.rotate()
        seed = os.urandom(32)
        answer = maker.client().encrypt(seed)
        self.assertEqual(reader.client().unseal(answer), seed)
        self.assertEqual(generation_of(reader.client().status().key_id), 1)

    def test_a_tokens_other_rings_and_odd_labels_are_ignored(self):
        node = self.ready_node()
        for number, label in enumerate((
                "prod2.v9@" + PAST, "prod.v9", "prod.v09@" + PAST, "prod.v9@2026",
                "prod.v9@%sx" % PAST, "prod.v9@20261301T000000Z", "prod.pending.9",
                "PROD.v9@" + PAST)):
            node.token.generate(label, "a%d" % number)
        self.assertEqual(node.rotate(), 2)
        shown = {kek.label: kek.state for kek in node.client().describe().keks}
        self.assertEqual({state for label, state in shown.items() if "v9" in label}, {"refused"})
        self.assertFalse([label for label in shown if not label.startswith("prod.v")])


class Numbers(Case):
    def test_a_cancelled_number_is_not_used_again_before_the_plugin_has_buried_it(self):
        node = self.ready_node(refresh="10m")
        self.assertEqual(node.key_create("--activate", "+1h")["generation"], 2)
        done = node.run("key", "cancel", "2", "--config", node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(node.key_create("--activate", "+1h")["generation"], 3)


class StatusAndEncryptAgree(Case):
    """F02: an Encrypt sent after a Status answer never names an older key_id; one answered before
    any Status that names a key_id was sent never names that one."""

    ROTATIONS = 4
    ENCRYPTERS = 8

    def test_a_promotion_waits_for_the_next_status(self):
        node = self.ready_node()
        kms = node.client()
        node.key_create("--activate", "now", "--force")
        wait_for("the promotion on disk", lambda: self.promoted_on_disk(node) == 2)
        for _ in range(300):
            self.assertEqual(generation_of(kms.encrypt(os.urandom(32)).key_id), 1)
        self.assertEqual(generation_of(kms.status().key_id), 2)
        self.assertEqual(generation_of(kms.encrypt(os.urandom(32)).key_id), 2)

    def promoted_on_disk(self, node):
        with open(node.ring_json, encoding="utf-8") as stored:
            return json.load(stored)["promoted"]

    def test_under_load_through_several_rotations(self):
        node = self.ready_node()
        self.node, self.stop = node, threading.Event()
        self.statuses, self.encrypts, self.faults = [], [], []
        threads = [threading.Thread(target=self.record, args=(self.statuses, self.ask_status))]
        threads += [threading.Thread(target=self.record, args=(self.encrypts, self.ask_encrypt))
                    for _ in range(self.ENCRYPTERS)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(self.ROTATIONS):
                generation = node.key_create("--activate", "now", "--force")["generation"]
                wait_for("generation %d in a Status" % generation, lambda g=generation: self.faults
                         or any(answer.generation == g for answer in self.statuses[-50:]))
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(self.faults, [])
        self.check()

    def ask_status(self, kms):
        return kms.status().key_id

    def ask_encrypt(self, kms):
        return kms.encrypt(os.urandom(32)).key_id

    def record(self, answers, ask):
        kms = self.node.client()
        try:
            while not self.stop.is_set():
                sent = time.monotonic()
                generation = generation_of(ask(kms))
                answers.append(Answer(sent, time.monotonic(), generation))
        except Exception as error:  # pylint: disable=broad-except
            self.faults.append(repr(error))

    def check(self):
        self.assertEqual(max(a.generation for a in self.statuses), 1 + self.ROTATIONS)
        generations = [answer.generation for answer in self.statuses]
        self.assertEqual(generations, sorted(generations), "Status went back")
        first_sent, first_received = {}, {}
        for answer in self.statuses:
            first_sent.setdefault(answer.generation, answer.sent)
            first_received.setdefault(answer.generation, answer.received)
        for answer in self.encrypts:
            self.assertIn(answer.generation, first_sent, "Encrypt names what no Status named")
            self.assertGreater(answer.received, first_sent[answer.generation],
                               "Encrypt names generation %d too early" % answer.generation)
            newer = [g for g, at in first_received.items() if at < answer.sent]
            self.assertGreaterEqual(answer.generation, max(newer, default=1),
                                    "Encrypt names an old generation")


if __name__ == "__main__":
    unittest.main()
