# SPDX-License-Identifier: Apache-2.0
"""Keys that an HSM administrator made under labels of his own, and that join by adopt:."""

import json
import os
import signal

import grpc

from kms_case import Case
from kms_node import wait_for
from kms_token import RFC_KEK

PAST = "2026-01-01T00:00:00Z"
FAR = "2099-01-01T00:00:00Z"
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


def entry(generation, activation=PAST, **name):
    return dict(generation=generation, activation=activation, **name)


class Adopt(Case):
    def adopting_node(self, *entries, label="etcd master key", cka_id="a1"):
        """Serves generation 1, a key that the administrator made."""
        node = self.new_node(adopt=list(entries) or [entry(1, label=label)]).make_token()
        node.token.generate(label, cka_id)
        return node.up()

    def reload(self, node, *entries):
        node.configure(adopt=list(entries))
        node.process.send_signal(signal.SIGHUP)

    def command(self, node, *args, code=0):
        done = node.run("key", *args, "--config", node.config_path, "-o", "json")
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def memory(self, node):
        with open(node.ring_json, "rb") as file:
            return json.load(file)

    def seen(self, node, generation, state):
        kms = node.client()
        return wait_for("generation %d to be %s" % (generation, state), lambda: [
            kek for kek in kms.describe().keks
            if (kek.generation, kek.state) == (generation, state)])[0]

    def test_an_adopted_key_encrypts_under_a_key_id_of_the_ring(self):
        node = self.adopting_node()
        kms, seed = node.client(), os.urandom(32)
        self.assertRegex(kms.status().key_id, r"^prod\.v1\.[0-9a-f]{32}$")
        self.assertEqual(kms.unseal(kms.encrypt(seed)), seed)
        listed, = node.key_list()
        self.assertEqual((listed["label"], listed["generation"], listed["state"],
                          listed["activation"]), ("etcd master key", 1, "active", PAST))

    def test_a_key_may_be_adopted_by_its_cka_id(self):
        node = self.new_node(adopt=[entry(1, cka_id="b2")]).make_token()
        node.token.generate("same", "b1")
        node.token.generate("same", "b2")
        kms = node.up().client()
        seed = os.urandom(32)
        self.assertEqual(kms.unseal(kms.encrypt(seed)), seed)
        self.assertEqual(node.key_list()[0]["label"], "same")

    def test_it_is_rotated_away_from_and_reverted_to_like_any_other(self):
        node = self.adopting_node()
        kms, seed = node.client(), os.urandom(32)
        sealed = kms.encrypt(seed)
        self.assertEqual(node.rotate(), 2)
        self.assertEqual(kms.unseal(sealed), seed)
        self.command(node, "revert", "--to", "1", "--activate", "now", "--force")
        node.wait_generation(3)
        again = kms.encrypt(seed)
        self.assertEqual(again.ciphertext, sealed.ciphertext)  # the same material
        self.assertNotEqual(again.key_id, sealed.key_id)

    def test_it_is_described_disabled_enabled_and_destroyed_like_any_other(self):
        node = self.adopting_node()
        kms, seed = node.client(), os.urandom(32)
        sealed = kms.encrypt(seed)
        node.rotate()
        described = self.command(node, "describe", "1")
        self.assertEqual((described["label"], described["adopted"], described["generation"]),
                         ("etcd master key", True, 1))
        disabled = self.command(node, "disable", "1")
        self.assertEqual((disabled["changed"], disabled["generation"]), (True, 1))
        self.seen(node, 1, "disabled")
        with self.refused(PRECONDITION, "disabled"):
            kms.unseal(sealed)
        self.command(node, "enable", "1")
        self.seen(node, 1, "decrypt-only")
        self.assertEqual(kms.unseal(sealed), seed)
        self.command(node, "disable", "1")
        self.command(node, "destroy", "1", "--i-have-verified", "prod.v1")
        self.assertNotIn("etcd master key", node.token.labels())
        wait_for("the number to be buried", lambda: 1 in self.memory(node)["tombstones"])

    def test_create_waits_for_an_adopted_key_that_is_still_to_be_promoted(self):
        node = self.adopting_node(entry(1, label="etcd master key"),
                                  entry(2, FAR, label="next"))
        node.token.generate("next", "a2")
        self.seen(node, 2, "pre-active")
        created = node.key_create()
        self.assertEqual((created["changed"], created["generation"]), (False, 2))

    def test_a_changed_list_is_applied_by_sighup(self):
        node = self.adopting_node()
        node.token.generate("next", "a2")
        self.reload(node, entry(1, label="etcd master key"), entry(2, label="next"))
        node.wait_generation(2)

    def test_a_list_that_lets_the_promoted_key_go_is_refused_and_the_old_one_stays(self):
        node = self.adopting_node()
        self.reload(node)
        wait_for("the log to say so", lambda: [
            event for event in node.log_events()
            if "no longer names the key of generation 1" in event.get("error", "")])
        kms, seed = node.client(), os.urandom(32)
        self.assertEqual(kms.unseal(kms.encrypt(seed)), seed)

    def test_a_wrong_label_says_which_candidates_exist(self):
        node = self.new_node(adopt=[entry(1, label="etcd mastre")]).make_token()
        node.token.generate("etcd master", "a1")
        text = node.start().wait_failing(PRECONDITION)
        self.assertIn("etcd mastre", text)
        missing, = node.client().describe().keks
        self.assertEqual(missing.state, "missing")
        self.assertIn("'etcd master' with cka_id a1", missing.reason)
        self.assertEqual(node.key_list()[0]["reason"], missing.reason)

    def test_an_ambiguous_label_says_which_candidates_exist(self):
        node = self.adopting_node()
        before = node.client().status()
        node.token.generate("same", "b1")
        node.token.generate("same", "b2")
        self.reload(node, entry(1, label="etcd master key"), entry(2, label="same"))
        kek = self.seen(node, 2, "refused")
        for word in ("ambiguous", "cka_id b1", "cka_id b2"):
            self.assertIn(word, kek.reason)
        self.assertEqual(node.client().status(), before)

    def test_an_imported_key_needs_more_than_a_name(self):
        node = self.adopting_node()
        node.token.import_key("brought", "c1", RFC_KEK)
        self.reload(node, entry(1, label="etcd master key"), entry(2, label="brought"))
        kek = self.seen(node, 2, "refused")
        self.assertIn("foreign origin", kek.reason)
        self.command(node, "accept", "--generation", "2", "--fingerprint", kek.fingerprint)
        node.wait_generation(2)

    def test_cancel_does_not_destroy_what_the_administrator_made(self):
        node = self.adopting_node(entry(1, label="etcd master key"),
                                  entry(2, FAR, label="next"))
        node.token.generate("next", "a2")
        self.seen(node, 2, "pre-active")
        self.assertIn("adopt:", self.command(node, "cancel", "2", code=3))
        self.assertIn("next", node.token.labels())

    def test_keys_of_other_applications_are_not_used(self):
        node = self.new_node(adopt=[entry(1, label="etcd")]).make_token()
        node.token.generate("etcd", "a1")
        node.token.generate("billing", "a9")
        node.up()
        self.assertEqual([kek.label for kek in node.client().describe().keks], ["etcd"])
