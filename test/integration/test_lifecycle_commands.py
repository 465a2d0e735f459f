# SPDX-License-Identifier: Apache-2.0
"""key cancel, revert, disable, enable, destroy, describe, prepare, commit: on the token and in the
running plugin."""

import hashlib
import json
import os
import unittest

import grpc

from kms_case import Case
from kms_node import wait_for
from kms_token import RFC_KEK

REFUSED = 3
PAST = "20260101T000000Z"
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
SEED = bytes(range(32))


class LifecycleCase(Case):
    def key(self, node, *args):
        return node.run("key", args[0], "--config", node.config_path, *args[1:])

    def done(self, node, *args):
        """Runs a key command that must work; returns its JSON."""
        run = self.key(node, *args, "-o", "json")
        self.assertEqual(run.returncode, 0, run.stderr)
        told = json.loads(run.stdout)
        self.assertEqual(told["schema"], "hsm-kms/key-%s/v1" % args[0])
        return told

    def says_no(self, node, *args, word=""):
        before = node.token.labels()
        run = self.key(node, *args)
        self.assertEqual(run.returncode, REFUSED, run.stdout + run.stderr)
        self.assertIn("refused: ", run.stderr)
        self.assertIn(word, run.stderr)
        self.assertEqual(run.stdout, "")
        self.assertEqual(node.token.labels(), before)

    def rotated_node(self, **options):
        """A running node whose generation 2 is promoted, and what generation 1 encrypted."""
        node = self.ready_node(**options)
        sealed = node.client().encrypt(SEED)
        node.rotate()
        return node, sealed

    def state_of(self, node, generation):
        return [kek.state for kek in node.client().describe().keks if kek.generation == generation]

    def wait_state(self, node, generation, state):
        client = node.client()
        wait_for("generation %d to be %s" % (generation, state), lambda: [
            kek for kek in client.describe().keks
            if (kek.generation, kek.state) == (generation, state)])

    def generations(self, node):
        return sorted(kek["generation"] for kek in node.key_list() if kek["state"] != "missing")

    def tombstones(self, node):
        with open(node.ring_json, encoding="utf-8") as ring:
            return json.load(ring)["tombstones"]


class Cancel(LifecycleCase):
    def test_a_generation_that_is_still_to_come_goes_and_its_number_too(self):
        node = self.ready_node()
        node.key_create("--activate", "+1h")
        told = self.done(node, "cancel", "2")
        self.assertEqual((told["changed"], told["outcome"], told["generation"]),
                         (True, "destroyed", 2))
        self.assertEqual(self.generations(node), [1])
        wait_for("the tombstone in ring.json", lambda: self.tombstones(node) == [2])
        self.assertEqual(node.client().status().healthz, "ok")
        self.assertEqual(node.key_create("--activate", "+1h")["generation"], 3)

    def test_a_rerun_changes_nothing(self):
        node = self.ready_node()
        node.key_create("--activate", "+1h")
        self.done(node, "cancel", "2")
        again = self.done(node, "cancel", "2")
        self.assertEqual((again["changed"], again["outcome"]), (False, "gone"))

    def test_a_rerun_after_a_kill_buries_the_number(self):
        node = self.ready_node()
        node.key_create("--activate", "+1h")
        self.wait_state(node, 2, "pre-active")
        label = [name for name in node.token.labels() if name.startswith("prod.v2@")][0]
        node.token.delete(label, node.token.list_ids()[label])
        self.assertEqual(self.done(node, "cancel", "2")["outcome"], "buried")
        wait_for("the tombstone in ring.json", lambda: self.tombstones(node) == [2])

    def test_a_node_that_is_down_buries_it_when_it_starts(self):
        node = self.ready_node()
        node.stop()
        node.key_create("--activate", "+1h")
        self.done(node, "cancel", "2")
        node.up()
        wait_for("the tombstone in ring.json", lambda: self.tombstones(node) == [2])

    def test_the_promoted_generation_is_refused(self):
        node, _ = self.rotated_node()
        self.says_no(node, "cancel", "2", word="promoted")
        self.says_no(node, "cancel", "1", word="promoted")

    def test_after_the_activation_it_is_refused(self):
        node = self.ready_node()
        node.stop()
        node.key_create("--activate", "now", "--force")
        self.says_no(node, "cancel", "2", word="activation")

    def test_a_damaged_ring_json_is_refused(self):
        node = self.ready_node()
        node.key_create("--activate", "+1h")
        node.stop()
        with open(node.ring_json, "w", encoding="utf-8") as ring:
            ring.write("{")
        self.says_no(node, "cancel", "2", word="ring.json")
        self.says_no(node, "disable", "1", word="ring.json")
        self.says_no(node, "revert", "--to", "1", word="--force")

    def test_dry_run_changes_nothing(self):
        node = self.ready_node()
        node.key_create("--activate", "+1h")
        told = self.done(node, "cancel", "2", "--dry-run")
        self.assertEqual((told["changed"], told["outcome"]), (False, "planned"))
        self.assertEqual(self.generations(node), [1, 2])

    def test_of_two_keys_with_one_number_the_named_one_goes(self):
        node = self.ready_node()
        node.token.generate("prod.v2@29990101T000000Z", "02")
        node.token.generate("prod.v2@29990101T000001Z", "03")
        self.says_no(node, "cancel", "2", word="--fingerprint")
        fingerprint = [kek["fingerprint"] for kek in node.key_list()
                       if kek["label"] == "prod.v2@29990101T000001Z"][0]
        self.done(node, "cancel", "2", "--fingerprint", fingerprint[:12])
        self.assertEqual([name for name in node.token.labels() if ".v2@" in name],
                         ["prod.v2@29990101T000000Z"])
        self.wait_state(node, 2, "pre-active")
        self.assertEqual(self.tombstones(node), [])


class Revert(LifecycleCase):
    def test_old_material_becomes_active_under_a_new_key_id(self):
        node, old = self.rotated_node()
        new = node.client().encrypt(SEED)
        told = self.done(node, "revert", "--to", "1", "--activate", "now", "--force")
        self.assertEqual((told["changed"], told["generation"]), (True, 3))
        status = node.wait_generation(3)
        self.assertNotEqual(status.key_id, old.key_id)
        self.assertEqual(status.key_id.split(".")[-1], old.key_id.split(".")[-1])
        kms = node.client()
        reverted = kms.encrypt(SEED)
        self.assertEqual(reverted.key_id, status.key_id)
        self.assertEqual([kms.unseal(sealed) for sealed in (old, new, reverted)], [SEED] * 3)

    def test_the_copy_can_not_leave_the_token(self):
        node, _ = self.rotated_node()
        self.done(node, "revert", "--to", "1")
        copy = [kek for kek in node.key_list() if kek["generation"] == 3][0]
        self.assertLessEqual({"sensitive", "local", "private", "wrap", "unwrap"},
                             set(copy["attributes"]))
        self.assertNotIn("extractable", copy["attributes"])

    def test_a_rerun_reports_the_copy(self):
        node, _ = self.rotated_node()
        self.done(node, "revert", "--to", "1", "--activate", "+1h")
        again = self.done(node, "revert", "--to", "1", "--activate", "+1h")
        self.assertEqual((again["changed"], again["outcome"], again["generation"]),
                         (False, "pending", 3))
        self.assertEqual(self.generations(node), [1, 2, 3])

    def test_what_can_not_wrap_again_is_refused(self):
        node, _ = self.rotated_node()
        self.says_no(node, "revert", "--to", "2", word="promoted")
        self.says_no(node, "revert", "--to", "7", word="generation 7")
        self.done(node, "disable", "1")
        self.says_no(node, "revert", "--to", "1", word="disabled")

    def test_an_early_activation_needs_force(self):
        node, _ = self.rotated_node()
        self.says_no(node, "revert", "--to", "1", "--activate", "now", word="--force")

    def test_dry_run_changes_nothing(self):
        node, _ = self.rotated_node()
        told = self.done(node, "revert", "--to", "1", "--dry-run")
        self.assertEqual((told["changed"], told["generation"]), (False, 3))
        self.assertEqual(self.generations(node), [1, 2])


class Usage(LifecycleCase):
    def test_a_disabled_generation_does_not_decrypt_until_it_is_enabled(self):
        node, sealed = self.rotated_node()
        kms = node.client()
        self.assertEqual(kms.unseal(sealed), SEED)
        told = self.done(node, "disable", "1")
        self.assertEqual((told["changed"], told["outcome"]), (True, "disabled"))
        self.wait_state(node, 1, "disabled")
        with self.refused(PRECONDITION, "disabled", "do not delete objects"):
            kms.unseal(sealed)
        self.assertEqual(kms.status().healthz, "ok")
        self.assertTrue(self.done(node, "enable", "1")["changed"])
        self.wait_state(node, 1, "decrypt-only")
        self.assertEqual(kms.unseal(sealed), SEED)

    def test_what_is_so_already_stays(self):
        node, _ = self.rotated_node()
        self.assertFalse(self.done(node, "enable", "1")["changed"])
        self.assertTrue(self.done(node, "disable", "1")["changed"])
        self.assertFalse(self.done(node, "disable", "1")["changed"])

    def test_dry_run_changes_nothing(self):
        node, _ = self.rotated_node()
        self.assertFalse(self.done(node, "disable", "1", "--dry-run")["changed"])
        self.assertEqual(self.state_of(node, 1), ["decrypt-only"])

    def test_the_promoted_generation_is_not_disabled(self):
        node, _ = self.rotated_node()
        self.says_no(node, "disable", "2", word="promoted")
        self.assertEqual(node.client().status().healthz, "ok")

    def test_a_generation_to_come_may_be_disabled(self):
        node = self.ready_node()
        node.key_create("--activate", "+1h")
        self.assertTrue(self.done(node, "disable", "2")["changed"])
        self.wait_state(node, 2, "disabled")

    def test_the_text_says_what_it_is_worth(self):
        node, _ = self.rotated_node()
        text = self.key(node, "disable", "1").stdout
        last = text.splitlines()[-1]
        self.assertTrue(last.startswith("next: "), text)
        for words in ("next refresh", "safety catch", "no defence"):
            self.assertIn(words, last)

    def test_a_generation_that_is_not_there_is_an_error(self):
        node = self.ready_node()
        done = self.key(node, "disable", "9")
        self.assertEqual(done.returncode, 1)
        self.assertIn("generation 9", done.stderr)


class Destroy(LifecycleCase):
    VERIFIED = ("--i-have-verified", "prod.v1")

    def test_a_disabled_generation_is_destroyed_and_its_number_buried(self):
        node, sealed = self.rotated_node()
        self.done(node, "disable", "1")
        told = self.done(node, "destroy", "1", *self.VERIFIED)
        self.assertEqual((told["changed"], told["outcome"]), (True, "destroyed"))
        self.assertEqual(self.generations(node), [2])
        wait_for("the tombstone in ring.json", lambda: self.tombstones(node) == [1])
        kms = node.client()
        wait_for("the listing that follows", lambda: [
            kek.generation for kek in kms.describe().keks] == [2])
        self.assertEqual(kms.status().healthz, "ok")
        with self.refused(grpc.StatusCode.NOT_FOUND, "generation 1", "do not delete objects"):
            kms.unseal(sealed)
        again = self.done(node, "destroy", "1", *self.VERIFIED)
        self.assertEqual((again["changed"], again["outcome"]), (False, "gone"))

    def test_only_a_disabled_generation_is_destroyed(self):
        node, sealed = self.rotated_node()
        self.says_no(node, "destroy", "1", *self.VERIFIED, word="key disable 1")
        self.assertEqual(node.client().unseal(sealed), SEED)

    def test_it_wants_the_name_typed(self):
        node, _ = self.rotated_node()
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", word="--i-have-verified prod.v1")
        self.says_no(node, "destroy", "1", "--i-have-verified", "prod.v2", word="etcd backup")

    def test_the_promoted_generation_is_never_destroyed(self):
        node, _ = self.rotated_node()
        self.says_no(node, "destroy", "2", "--i-have-verified", "prod.v2", word="promoted")

    def test_dry_run_changes_nothing(self):
        node, _ = self.rotated_node()
        self.done(node, "disable", "1")
        self.assertFalse(self.done(node, "destroy", "1", *self.VERIFIED, "--dry-run")["changed"])
        self.assertEqual(self.generations(node), [1, 2])


class Describe(LifecycleCase):
    def test_it_tells_what_an_auditor_asks(self):
        node = self.ready_node()
        told = self.done(node, "describe", "1")
        key_id = node.client().status().key_id
        self.assertEqual((told["generation"], told["key_id"], told["state"], told["origin"]),
                         (1, key_id, "active", "generated on the token"))
        self.assertEqual(told["key_id_hash"],
                         "sha256:" + hashlib.sha256(key_id.encode()).hexdigest())
        self.assertGreaterEqual(told["age_s"], 0)
        self.assertIsNone(told["backup"])
        self.assertIsNone(told["could_leave_because"])
        self.assertEqual(told["token"]["label"], "prod")
        for field in ("serial", "model", "firmware", "manufacturer"):
            self.assertTrue(told["token"][field], field)
        asserted = told["asserted_by_token"]
        self.assertEqual(
            {name: asserted["CKA_" + name] for name in (
                "SENSITIVE", "ALWAYS_SENSITIVE", "EXTRACTABLE", "NEVER_EXTRACTABLE", "LOCAL",
                "WRAP", "UNWRAP", "ENCRYPT", "DECRYPT", "VALUE_LEN", "KEY_GEN_MECHANISM")},
            {"SENSITIVE": True, "ALWAYS_SENSITIVE": True, "EXTRACTABLE": False,
             "NEVER_EXTRACTABLE": True, "LOCAL": True, "WRAP": True, "UNWRAP": True,
             "ENCRYPT": False, "DECRYPT": False, "VALUE_LEN": 32,
             "KEY_GEN_MECHANISM": "CKM_AES_KEY_GEN"})

    def test_an_imported_key_is_shown_as_that(self):
        node = self.new_node().make_token()
        node.token.import_key("prod.v1@" + PAST, "01", RFC_KEK)
        told = self.done(node, "describe", "1")
        self.assertEqual((told["origin"], told["state"]), ("imported", "refused"))
        self.assertIn("elsewhere", told["could_leave_because"])

    def test_the_text_says_who_asserts_it(self):
        node = self.ready_node()
        done = self.key(node, "describe", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("asserted by the token:", done.stdout)
        self.assertTrue(done.stdout.splitlines()[-1].startswith("next: "), done.stdout)

    def test_a_generation_that_is_not_there_is_an_error(self):
        node = self.ready_node()
        done = self.key(node, "describe", "9")
        self.assertEqual(done.returncode, 1)
        self.assertIn("generation 9", done.stderr)


class TwoSteps(LifecycleCase):
    COMMIT = ("--backup-ref", "safe 4, shelf 2")

    def pending_id(self, told):
        return told["label"].rpartition(".")[2]

    def test_a_prepared_key_is_invisible_until_it_is_committed(self):
        node = self.ready_node()
        prepared = self.done(node, "prepare")
        self.assertEqual((prepared["changed"], prepared["outcome"]), (True, "prepared"))
        self.assertRegex(prepared["label"], r"^prod\.pending\.[0-9a-f]{16}$")
        self.assertEqual(self.generations(node), [1])
        told = self.done(node, "commit", self.pending_id(prepared), *self.COMMIT, "--activate",
                         "now", "--force")
        self.assertEqual((told["changed"], told["generation"], told["fingerprint"]),
                         (True, 2, prepared["fingerprint"]))
        node.wait_generation(2)
        self.assertEqual(node.client().encrypt(SEED).key_id, told["key_id"])
        self.assertEqual(self.done(node, "describe", "2")["backup"]["reference"],
                         "safe 4, shelf 2")

    def test_a_second_prepare_reports_the_first(self):
        node = self.ready_node()
        first = self.done(node, "prepare")
        again = self.done(node, "prepare")
        self.assertEqual((again["changed"], again["label"]), (False, first["label"]))
        self.assertNotEqual(self.done(node, "prepare", "--another")["label"], first["label"])

    def test_a_rerun_of_commit_changes_nothing(self):
        node = self.ready_node()
        identity = self.pending_id(self.done(node, "prepare"))
        self.done(node, "commit", identity, *self.COMMIT)
        again = self.done(node, "commit", identity, *self.COMMIT)
        self.assertEqual((again["changed"], again["generation"]), (False, 2))
        self.assertEqual(self.generations(node), [1, 2])

    def test_dry_runs_change_nothing(self):
        node = self.ready_node()
        self.assertFalse(self.done(node, "prepare", "--dry-run")["changed"])
        self.assertEqual(len(node.token.labels()), 1)
        identity = self.pending_id(self.done(node, "prepare"))
        told = self.done(node, "commit", identity, *self.COMMIT, "--dry-run")
        self.assertEqual((told["changed"], told["generation"]), (False, 2))
        self.assertEqual(self.generations(node), [1])
        self.assertFalse(os.path.exists(os.path.join(node.state_dir, "backups.json")))

    def test_the_backup_is_recorded_before_the_key_joins_the_ring(self):
        node = self.ready_node()
        identity = self.pending_id(self.done(node, "prepare"))
        path = os.path.join(node.state_dir, "backups.json")
        with open(path, "w", encoding="utf-8") as backups:
            backups.write("{")
        done = self.key(node, "commit", identity, *self.COMMIT)
        self.assertEqual(done.returncode, 1)
        self.assertIn("backups.json", done.stderr)
        self.assertEqual(self.generations(node), [1])
        os.unlink(path)
        self.done(node, "commit", identity, *self.COMMIT)
        self.assertEqual(self.generations(node), [1, 2])

    def test_a_key_that_was_made_elsewhere_is_not_committed(self):
        node = self.ready_node()
        node.token.import_key("prod.pending.00112233445566ff", "07", RFC_KEK)
        self.says_no(node, "commit", "00112233445566ff", *self.COMMIT, word="CKA_LOCAL")

    def test_an_unknown_id_is_an_error(self):
        node = self.ready_node()
        done = self.key(node, "commit", "00112233445566ff", *self.COMMIT)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no prepared key", done.stderr)

    def test_two_step_forbids_the_single_step(self):
        node = self.new_node(rotation={"two_step": True}).make_token()
        os.mkdir(node.state_dir, 0o700)
        for command in ("create", "rotate"):
            self.says_no(node, command, "--force", word="key prepare")
        identity = self.pending_id(self.done(node, "prepare"))
        self.assertEqual(self.done(node, "commit", identity, *self.COMMIT)["generation"], 1)
        node.up()
        self.says_no(node, "create", "--force", word="key prepare")

    def test_a_least_lead_holds_whatever_the_force(self):
        node = self.ready_node(rotation={"min_lead": "72h"})
        identity = self.pending_id(self.done(node, "prepare"))
        early = ("--activate", "+71h", "--force")
        self.says_no(node, "commit", identity, *self.COMMIT, *early, word="min_lead")
        self.says_no(node, "create", *early, word="min_lead")
        self.done(node, "commit", identity, *self.COMMIT)
        self.assertEqual(node.client().status().key_id.split(".")[1], "v1")


if __name__ == "__main__":
    unittest.main()
