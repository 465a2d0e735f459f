# SPDX-License-Identifier: Apache-2.0
"""Operators who vouch for a key: `key accept`, its request files, and `pins:` after SIGHUP."""

import datetime
import json
import os
import signal
import subprocess
import unittest

import grpc

import test_socket
from kms_case import Case
from kms_node import wait_for
from kms_token import RFC_KEK
from test_pins import PAST, RFC_KEK_FINGERPRINT

OK, ERROR, REFUSED = 0, 1, 3
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


class AcceptCase(Case):
    def accept(self, node, generation, *flags):
        return node.run("key", "accept", "--config", node.config_path, "--generation",
                        str(generation), *flags)

    def accepted(self, node, generation, fingerprint, *flags):
        done = self.accept(node, generation, "--fingerprint", fingerprint, "-o", "json", *flags)
        self.assertEqual(done.returncode, OK, done.stderr)
        return json.loads(done.stdout)

    def requests(self, node):
        return sorted(name for name in os.listdir(node.state_dir) if name.startswith("request."))

    def wait_applied(self, node):
        wait_for("the request to be applied", lambda: not self.requests(node))

    def logged(self, node, message):
        return [event for event in node.log_events() if event["msg"] == message]

    def with_imported(self, **options):
        """Serves generation 1; generation 2 is an imported key that nobody vouched for."""
        node = self.ready_node(**options)
        node.token.import_key("prod.v2@" + PAST, "02")
        wait_for("the node to refuse it", lambda: [
            kek for kek in node.client().describe().keks
            if (kek.generation, kek.state) == (2, "refused")])
        return node


class ImportedKek(AcceptCase):
    def test_without_a_fingerprint_the_key_is_shown_and_nothing_is_trusted(self):
        node = self.with_imported()
        done = self.accept(node, 2)
        self.assertEqual(done.returncode, REFUSED)
        for word in (RFC_KEK_FINGERPRINT, "prod.v2@" + PAST, "CKA_LOCAL is false"):
            self.assertIn(word, done.stdout)
        self.assertIn("key accept --generation 2 --fingerprint", done.stderr)
        self.assertEqual(self.requests(node), [])

    def test_it_becomes_active_in_the_running_server(self):
        node = self.with_imported()
        self.assertTrue(self.accepted(node, 2, RFC_KEK_FINGERPRINT)["changed"])
        status = node.wait_generation(2)
        self.assertEqual(status.key_id, "prod.v2." + RFC_KEK_FINGERPRINT[:32])
        self.assertEqual(self.requests(node), [])
        line, = self.logged(node, "request applied")
        self.assertEqual((line["kind"], line["generation"]), ("accept", 2))

    def test_it_waits_for_its_activation(self):
        node = self.ready_node()
        node.token.import_key("prod.v2@29990101T000000Z", "02")
        self.accepted(node, 2, RFC_KEK_FINGERPRINT)
        self.wait_applied(node)
        wait_for("it to be pre-active", lambda: [
            kek for kek in node.client().describe().keks
            if (kek.generation, kek.state) == (2, "pre-active")])
        self.assertTrue(node.client().status().key_id.startswith("prod.v1."))

    def test_a_wrong_fingerprint_is_refused(self):
        node = self.with_imported()
        done = self.accept(node, 2, "--fingerprint", "ab" * 32)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("custodian", done.stderr)
        self.assertEqual(self.requests(node), [])

    def test_half_a_fingerprint_is_a_usage_error(self):
        node = self.with_imported()
        done = self.accept(node, 2, "--fingerprint", RFC_KEK_FINGERPRINT[:32])
        self.assertEqual(done.returncode, ERROR)

    def test_a_generation_that_is_not_on_the_token_is_an_error(self):
        node = self.ready_node()
        done = self.accept(node, 7, "--fingerprint", RFC_KEK_FINGERPRINT)
        self.assertEqual(done.returncode, ERROR)
        self.assertIn("generation 7", done.stderr)

    def test_an_extractable_key_is_refused(self):
        node = self.ready_node()
        node.token.generate("prod.v2@" + PAST, "0201", "--extractable")
        fingerprint, = [kek["fingerprint"] for kek in node.key_list() if kek["generation"] == 2]
        done = self.accept(node, 2, "--fingerprint", fingerprint)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("CKA_EXTRACTABLE", done.stderr)

    def test_a_second_run_changes_nothing(self):
        node = self.with_imported()
        self.accepted(node, 2, RFC_KEK_FINGERPRINT)
        node.wait_generation(2)
        again = self.accepted(node, 2, RFC_KEK_FINGERPRINT)
        self.assertEqual((again["changed"], again["outcome"]), (False, "unchanged"))
        self.assertEqual(self.requests(node), [])

    def test_a_dry_run_leaves_no_request(self):
        node = self.with_imported()
        planned = self.accepted(node, 2, RFC_KEK_FINGERPRINT, "--dry-run")
        self.assertEqual((planned["changed"], planned["outcome"]), (False, "planned"))
        self.assertEqual(planned["schema"], "hsm-kms/key-accept/v1")
        self.assertEqual(self.requests(node), [])

    def test_a_pin_in_the_configuration_is_not_overruled(self):
        node = self.with_imported(pins=[{"generation": 2, "fingerprint": "ab" * 32}])
        done = self.accept(node, 2, "--fingerprint", RFC_KEK_FINGERPRINT)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("pins:", done.stderr)

    def test_a_damaged_ring_json_is_not_overruled(self):
        node = self.with_imported()
        self.assertEqual(node.stop(), 0)
        node.hang_up()
        with open(node.ring_json, "w", encoding="ascii") as out:
            out.write("{")
        done = self.accept(node, 2, "--fingerprint", RFC_KEK_FINGERPRINT)
        self.assertEqual(done.returncode, REFUSED)
        self.assertEqual(self.requests(node), [])


class Warnings(AcceptCase):
    """Whoever accepts late must hurry on the other nodes."""

    def warning(self, node, *flags):
        return self.accepted(node, 2, RFC_KEK_FINGERPRINT, *flags)["warning"]

    def import_in(self, node, seconds):
        activation = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(0, seconds)
        node.token.import_key(activation.strftime("prod.v2@%Y%m%dT%H%M%SZ"), "02")

    def test_an_activation_that_has_passed_is_warned_of(self):
        node = self.with_imported()
        self.assertIn("has passed", self.warning(node, "--dry-run"))
        self.assertIn("can't decrypt", self.warning(node))

    def test_an_activation_within_two_refreshes_and_the_clock_skew_is_warned_of(self):
        node = self.ready_node(clock_skew="10m")
        self.import_in(node, 300)
        self.assertIn("is near", self.warning(node))

    def test_an_activation_that_leaves_time_is_not_warned_of(self):
        node = self.ready_node(clock_skew="2m")
        self.import_in(node, 900)
        self.assertIsNone(self.warning(node))

    def test_a_promoted_generation_is_not_warned_of(self):
        node = self.with_imported()
        self.accepted(node, 2, RFC_KEK_FINGERPRINT)
        node.wait_generation(2)
        self.assertIsNone(self.warning(node))

    def test_the_text_has_it_before_the_next_step_which_names_the_other_nodes(self):
        node = self.with_imported()
        done = self.accept(node, 2, "--fingerprint", RFC_KEK_FINGERPRINT)
        self.assertEqual(done.returncode, OK, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(len([line for line in lines if line.startswith("warning: ")]), 1)
        for words in ("next: ", "on every other control-plane node", "key ready --generation 2"):
            self.assertIn(words, lines[-1])


class WhileNothingServes(AcceptCase):
    def test_the_request_waits_and_is_applied_at_start(self):
        node = self.with_imported()
        self.assertEqual(node.stop(), 0)
        node.hang_up()
        self.assertTrue(self.accepted(node, 2, RFC_KEK_FINGERPRINT)["changed"])
        self.assertEqual(self.requests(node), ["request.accept.2.json"])
        again = self.accepted(node, 2, RFC_KEK_FINGERPRINT)
        self.assertEqual((again["changed"], again["outcome"]), (False, "waiting"))
        node.start()
        self.assertEqual(node.wait_generation(2).key_id, "prod.v2." + RFC_KEK_FINGERPRINT[:32])
        self.assertEqual(self.requests(node), [])

    def test_a_request_of_root_belongs_to_the_services_user(self):
        node = test_socket.ServiceUser.service_node(self)
        node.token.import_key("prod.v1@" + PAST, "01")
        subprocess.run(["chown", "-R", str(test_socket.STRANGER), node.token.directory], check=True)
        self.accepted(node, 1, RFC_KEK_FINGERPRINT)
        info = os.stat(os.path.join(node.state_dir, "request.accept.1.json"))
        self.assertEqual((info.st_uid, info.st_mode & 0o7777), (test_socket.STRANGER, 0o600))
        node.up()
        self.assertEqual(self.requests(node), [])

    def test_a_damaged_request_is_logged_once_and_left_alone(self):
        node = self.ready_node()
        path = os.path.join(node.state_dir, "request.accept.2.json")
        with open(path, "w", encoding="ascii") as out:
            out.write('{"version": 99}')
        wait_for("it to be logged", lambda: self.logged(node, "request not applied"))
        node.rotate()  # takes several refreshes
        self.assertEqual(len(self.logged(node, "request not applied")), 1)
        self.assertEqual(self.requests(node), ["request.accept.2.json"])


class ReplacedKek(AcceptCase):
    def replaced(self):
        """The promoted key is gone; an imported one has its label."""
        node = self.ready_node(canary="1s")
        label, = node.token.labels()
        node.token.delete(label, node.token.list_ids()[label])
        node.token.import_key(label, "0badc0de", RFC_KEK)
        node.wait_complaint(PRECONDITION, "substituted")
        return node

    def test_accepted_it_serves_under_its_own_key_id(self):
        node = self.replaced()
        self.assertTrue(self.accepted(node, 1, RFC_KEK_FINGERPRINT)["changed"])
        status = node.wait_status(what="Status to be well again")
        self.assertEqual(status.key_id, "prod.v1." + RFC_KEK_FINGERPRINT[:32])
        kms = node.client()
        seed = os.urandom(32)
        self.assertEqual(kms.unseal(kms.encrypt(seed)), seed)

    def test_a_changed_mind_takes_the_place_of_a_request_that_waits(self):
        node = self.replaced()
        self.accepted_while_stopped(node)
        label, = node.token.labels()
        node.token.delete(label, "0badc0de")
        node.token.import_key(label, "0badc0df", bytes(reversed(RFC_KEK)))
        other, = [kek["fingerprint"] for kek in node.key_list() if kek["state"] == "refused"]
        self.assertEqual(self.accepted(node, 1, other)["outcome"], "requested")
        node.start()
        self.assertEqual(node.wait_status().key_id, "prod.v1." + other[:32])

    def accepted_while_stopped(self, node):
        self.assertEqual(node.stop(), 0)
        node.hang_up()
        self.assertEqual(self.accepted(node, 1, RFC_KEK_FINGERPRINT)["outcome"], "requested")

    def test_it_is_not_accepted_while_the_pinned_key_is_there_too(self):
        node = self.ready_node()
        node.token.import_key("prod.v1@" + PAST, "0102")
        done = self.accept(node, 1, "--fingerprint", RFC_KEK_FINGERPRINT)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("pinned key is on the token too", done.stderr)


class PinsAfterSighup(AcceptCase):
    def test_a_new_entry_is_trusted_without_a_restart(self):
        node = self.with_imported()
        node.configure(pins=[{"generation": 2, "fingerprint": RFC_KEK_FINGERPRINT}])
        node.process.send_signal(signal.SIGHUP)
        node.wait_generation(2)

    def test_what_was_read_is_told_and_the_rest_waits_for_a_restart(self):
        node = self.with_imported()
        before = self.read_by(node)
        self.assertEqual(before, self.written(node))
        node.configure(pins=[{"generation": 2, "fingerprint": RFC_KEK_FINGERPRINT}])
        self.assertNotEqual(self.read_by(node), self.written(node))
        node.process.send_signal(signal.SIGHUP)
        wait_for("the new pins", lambda: self.read_by(node) == self.written(node))
        self.assertFalse(self.logged(node, "configuration differs in more than pins and adoptions"))
        node.configure(canary="7s")
        node.process.send_signal(signal.SIGHUP)
        wait_for("the warning", lambda: self.logged(
            node, "configuration differs in more than pins and adoptions"))
        self.assertEqual(self.read_by(node)[0], before[0])
        self.assertNotEqual(self.written(node)[0], before[0])

    def read_by(self, node):
        """The SHA-256 of what the plugin read: of settings, and of pins and adoptions."""
        told = json.loads(node.run("status", "-o", "json", "--socket", node.socket).stdout)
        configuration = told["configuration"]
        self.assertTrue(configuration["settings_read"] and configuration["vouched_read"])
        return configuration["settings_sha256"], configuration["vouched_sha256"]

    def written(self, node):
        """The same of the file."""
        told = json.loads(node.run("config", "show", "-o", "json", "--config",
                                   node.config_path).stdout)
        return told["settings_sha256"], told["vouched_sha256"]

    def test_a_file_that_can_not_be_read_changes_nothing(self):
        node = self.with_imported()
        node.write_config("ring: prod\nnonsense: 1\n")
        node.process.send_signal(signal.SIGHUP)
        wait_for("the complaint", lambda: self.logged(
            node, "configuration not reloaded, the old one stays"))
        self.assertTrue(node.client().status().key_id.startswith("prod.v1."))

    def test_pins_that_contradict_ring_json_change_nothing(self):
        node = self.with_imported()
        node.configure(pins=[{"generation": 1, "fingerprint": "ab" * 32}])
        node.process.send_signal(signal.SIGHUP)
        wait_for("the complaint", lambda: self.logged(node, "pins and adoptions not reloaded, the old ones stay"))
        self.assertTrue(node.client().status().key_id.startswith("prod.v1."))


if __name__ == "__main__":
    unittest.main()
