# SPDX-License-Identifier: Apache-2.0
"""Keys that vanished, were replaced, or came from somewhere else."""

import hashlib
import os
import subprocess
import unittest

import grpc

from kms_case import Case
from kms_node import wait_for
from kms_token import RFC_KEK

PAST = "20260101T000000Z"
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

# KW(C) under RFC_KEK, C = SHA-256("k8s-kms-pkcs11 kek fingerprint v1"): computed elsewhere.
RFC_KEK_WRAPPED_C = bytes.fromhex(
    "9d59a37da8b916b979bea2207b35f02e3f9f5ac48a3780c5ed52904c6a81f444"
    "25fa6bd74614cd42")
RFC_KEK_FINGERPRINT = hashlib.sha256(b"hsm-kms kek fingerprint v1" + RFC_KEK_WRAPPED_C).hexdigest()


def openssl_unwrap(kek, ciphertext):
    """RFC 3394 by another implementation."""
    return subprocess.run(["openssl", "enc", "-d", "-id-aes256-wrap", "-K", kek.hex(), "-iv",
                           "a6" * 8], input=ciphertext, capture_output=True, check=True).stdout


class ImportedKek(Case):
    def pinned_node(self):
        node = self.new_node(pins=[{"generation": 1, "fingerprint": RFC_KEK_FINGERPRINT}])
        node.make_token()
        node.token.import_key("prod.v1@" + PAST, "01")
        return node.up()

    def test_an_imported_kek_is_not_promoted_and_the_reason_is_shown(self):
        node = self.new_node().make_token()
        node.token.import_key("prod.v1@" + PAST, "01")
        node.start()
        self.assertIn("prod", node.wait_failing(PRECONDITION))
        shown, = node.client().describe().keks
        self.assertEqual(shown.state, "refused")
        self.assertRegex(shown.reason, "(?i)local|import|origin")
        listed, = node.key_list()
        self.assertEqual((listed["state"], listed["fingerprint"]),
                         ("refused", RFC_KEK_FINGERPRINT))

    def test_a_later_imported_generation_does_not_disturb_the_promoted_one(self):
        node = self.ready_node()
        kms = node.client()
        before = kms.status()
        node.token.import_key("prod.v2@" + PAST, "02")
        wait_for("the node to see it", lambda: [
            kek for kek in kms.describe().keks if (kek.generation, kek.state) == (2, "refused")])
        self.assertEqual(kms.status(), before)
        self.assertEqual(kms.encrypt(os.urandom(32)).key_id, before.key_id)

    def test_a_kek_that_the_configuration_vouches_for_is_promoted(self):
        node = self.pinned_node()
        self.assertEqual(node.client().status().key_id, "prod.v1." + RFC_KEK_FINGERPRINT[:32])

    def test_a_pin_of_another_fingerprint_vouches_for_nothing(self):
        node = self.new_node(pins=[{"generation": 1, "fingerprint": "ab" * 32}]).make_token()
        node.token.import_key("prod.v1@" + PAST, "01")
        node.start().wait_failing(PRECONDITION)

    def test_encrypt_gives_the_vector_of_rfc_3394_section_4_6(self):
        node = self.pinned_node()
        seed = bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
        self.assertEqual(
            node.client().encrypt(seed).ciphertext.hex().upper(),
            "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21")

    def test_openssl_recovers_the_seed_from_the_ciphertext_alone(self):
        node = self.pinned_node()
        for size in (16, 32, 256):
            seed = os.urandom(size)
            self.assertEqual(openssl_unwrap(RFC_KEK, node.client().encrypt(seed).ciphertext), seed)


class MissingKek(Case):
    def delete(self, node, generation):
        label = [kek["label"] for kek in node.key_list() if kek["generation"] == generation][0]
        kek = [kek for kek in node.client().describe().keks if kek.generation == generation][0]
        node.token.delete(label, self.cka_id(node, label))
        return kek

    def cka_id(self, node, label):
        listing = node.token.list_ids()
        return listing[label]

    def two_generations(self):
        node = self.ready_node(canary="1s")
        kms = node.client()
        seeds = [os.urandom(32), os.urandom(32)]
        sealed = [kms.encrypt(seeds[0])]
        node.rotate()
        sealed.append(kms.encrypt(seeds[1]))
        return node, kms, seeds, sealed

    def test_a_deleted_promoted_kek_fails_status_by_name_and_older_ones_still_unwrap(self):
        node, kms, seeds, sealed = self.two_generations()
        gone = self.delete(node, 2)
        text = node.wait_complaint(PRECONDITION, gone.label.split("@")[0])
        self.assertIn("generation 2", text)
        self.assertIn(gone.fingerprint[:16], text)
        with self.refused(PRECONDITION):
            kms.encrypt(os.urandom(32))
        with self.refused(PRECONDITION, "do not delete"):
            kms.unseal(sealed[1])
        self.assertEqual(kms.unseal(sealed[0]), seeds[0])

    def test_an_older_generation_never_takes_over_even_after_a_restart(self):
        node, _, _, _ = self.two_generations()
        self.assertEqual(node.stop(), 0)
        node.hang_up()
        label = [label for label in node.token.labels() if label.startswith("prod.v2@")][0]
        node.token.delete(label, self.cka_id(node, label))
        node.start()
        self.assertIn("2", node.wait_failing(PRECONDITION))

    def test_a_deleted_older_kek_is_missing_for_decrypt_only(self):
        node, kms, seeds, sealed = self.two_generations()
        self.delete(node, 1)
        self.wait_missing(kms, 1)
        with self.refused(PRECONDITION, "do not delete"):
            kms.unseal(sealed[0])
        self.assertEqual(kms.unseal(sealed[1]), seeds[1])
        self.assertEqual(kms.status().key_id, sealed[1].key_id)

    def wait_missing(self, kms, generation):
        wait_for("Describe to call it missing", lambda: (generation, "missing") in [
            (kek.generation, kek.state) for kek in kms.describe().keks])

    def test_the_three_answers_about_a_key_are_different(self):
        node, kms, seeds, sealed = self.two_generations()
        with self.refused(grpc.StatusCode.NOT_FOUND):
            kms.decrypt(sealed[0].ciphertext, "prod.v9." + "0" * 32)
        self.delete(node, 1)
        self.wait_missing(kms, 1)
        with self.refused(PRECONDITION):
            kms.unseal(sealed[0])
        node.token.take_away()
        node.wait_failing(grpc.StatusCode.UNAVAILABLE)
        with self.refused(grpc.StatusCode.UNAVAILABLE):
            kms.unseal(sealed[1])
        node.token.put_back()
        node.wait_status()
        self.assertEqual(kms.unseal(sealed[1]), seeds[1])


class SubstitutedKek(Case):
    def replaced(self, running):
        """A node whose promoted KEK was made again under the same label."""
        node = self.ready_node(canary="1s")
        good = node.client().encrypt(os.urandom(32))
        old, = node.client().describe().keks
        if not running:
            self.assertEqual(node.stop(), 0)
            node.hang_up()
        node.token.delete(old.label, node.token.list_ids()[old.label])
        node.token.generate(old.label, "0badc0de")
        if not running:
            node.start()
        return node, old, good

    def assert_substituted(self, node, old, good):
        text = node.wait_complaint(PRECONDITION, "substituted")
        new = [kek["fingerprint"] for kek in node.key_list() if kek.get("fingerprint")]
        self.assertIn(old.fingerprint[:16], text)
        self.assertTrue(any(fingerprint[:16] in text for fingerprint in new
                            if fingerprint != old.fingerprint), text)
        kms = node.client()
        with self.refused(PRECONDITION):
            kms.encrypt(os.urandom(32))
        with self.refused(PRECONDITION):
            kms.unseal(good)

    def test_it_is_noticed_while_the_server_runs(self):
        self.assert_substituted(*self.replaced(running=True))

    def test_it_is_noticed_at_start(self):
        self.assert_substituted(*self.replaced(running=False))

    def test_no_encrypt_ever_uses_the_new_key(self):
        node = self.ready_node(canary="10m", refresh="10m")
        kms = node.client()
        good = kms.status().key_id
        label, = node.token.labels()
        node.token.delete(label, node.token.list_ids()[label])
        node.token.generate(label, "0badc0de")
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in range(10):
                self.assertEqual(kms.encrypt(os.urandom(32)).key_id, good)
        self.assertEqual(caught.exception.code(), PRECONDITION, caught.exception.details())


class Anomalies(Case):
    """Of a generation that was never promoted: it is shown, and disturbs nothing."""

    def assert_undisturbed(self, node, *states):
        kms = node.client()
        before = kms.status()
        self.assertTrue(before.key_id.startswith("prod.v1."))
        shown = wait_for("the anomaly to be shown", lambda: [
            kek for kek in kms.describe().keks if kek.generation == 2 and kek.state in states])
        self.assertTrue(all(kek.reason for kek in shown))
        listed = node.client().describe()
        self.assertTrue(listed.healthy)
        self.assertEqual(kms.status(), before)
        self.assertEqual(kms.encrypt(os.urandom(32)).key_id, before.key_id)
        return shown

    def test_a_duplicate_generation_is_not_promoted_until_one_is_gone(self):
        node = self.ready_node()
        node.token.generate("prod.v2@29990101T000000Z", "0201")
        node.token.generate("prod.v2@" + PAST, "0202")
        self.assertEqual(len(self.assert_undisturbed(node, "refused")), 2)
        node.token.delete("prod.v2@29990101T000000Z", "0201")
        node.wait_generation(2)

    def test_an_extractable_kek_is_not_promoted(self):
        node = self.ready_node()
        node.token.generate("prod.v2@" + PAST, "0201", "--extractable")
        self.assert_undisturbed(node, "refused")

    def test_a_kek_of_128_bits_is_not_promoted(self):
        node = self.ready_node()
        node.token.generate("prod.v2@" + PAST, "0201", "--key-type", "AES:16")
        self.assert_undisturbed(node, "refused")

    def test_a_duplicate_of_the_promoted_generation_is_told_and_never_used(self):
        node = self.ready_node()
        kms = node.client()
        seed = os.urandom(32)
        good = kms.encrypt(seed)
        node.token.generate("prod.v1@" + PAST, "0102")
        wait_for("both to be shown", lambda: len(kms.describe().keks) == 2)
        self.assertEqual(kms.unseal(good), seed)
        self.assertEqual(kms.status().key_id, good.key_id)
        self.assertEqual(kms.encrypt(os.urandom(32)).key_id, good.key_id)


if __name__ == "__main__":
    unittest.main()
