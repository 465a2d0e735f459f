# SPDX-License-Identifier: Apache-2.0
"""key create, key list, probe, status: what they do, say and exit with."""

import concurrent.futures
import datetime
import hashlib
import json
import os
import re
import socket
import unittest

import grpc

from kms_case import Case, SharedCase
from kms_node import wait_for
from kms_token import RFC_KEK

REFUSED_FOR_SAFETY = 3
FINDINGS = 2
KEY_COMMANDS = ("accept", "cancel", "commit", "create", "describe", "destroy", "disable", "enable",
                "escrow", "import", "list", "nodes", "prepare", "ready", "revert", "rotate",
                "transport-key", "wrap")
COMMANDS = (["serve"], ["key"], *(["key", name] for name in KEY_COMMANDS), ["pin"],
            ["audit"], ["audit", "show"], ["audit", "verify"],
            ["pin", "check"], ["token"], ["token", "describe"], ["probe"], ["status"], ["doctor"],
            ["config"], ["config", "check"], ["config", "reference"])


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def activation_of(kek):
    return datetime.datetime.strptime(kek["activation"], "%Y-%m-%dT%H:%M:%SZ").replace(
        tzinfo=datetime.timezone.utc)


class KeyCreate(Case):
    def keyless_node(self, **options):
        return self.new_node(**options).make_token()

    def create(self, node, *flags):
        return node.run("key", "create", "--config", node.config_path, *flags)

    def test_the_first_key_is_active_now(self):
        node = self.keyless_node(clock_skew="10m")
        before = now().replace(microsecond=0)
        created = node.key_create()
        self.assertTrue(created["changed"])
        self.assertEqual(created["generation"], 1)
        kek, = node.key_list()
        self.assertLessEqual(before, activation_of(kek))
        self.assertLessEqual(activation_of(kek), now())

    def test_the_second_key_activates_after_two_refreshes_and_the_clock_skew(self):
        node = self.keyless_node(refresh="20s", clock_skew="60s")
        node.key_create()
        node.up()
        lead = datetime.timedelta(seconds=2 * 20 + 60)
        before = now().replace(microsecond=0)
        self.assertEqual(node.key_create()["generation"], 2)
        activation = activation_of(node.key_list()[1])
        self.assertLessEqual(before + lead, activation)
        self.assertLessEqual(activation, now() + lead + datetime.timedelta(seconds=1))

    def test_activation_now_of_a_second_key_needs_force(self):
        node = self.keyless_node()
        node.key_create()
        node.up()
        done = self.create(node, "--activate", "now")
        self.assertEqual(done.returncode, REFUSED_FOR_SAFETY, done.stderr)
        self.assertIn("--force", done.stderr)
        self.assertEqual(len(node.token.labels()), 1)
        self.assertEqual(node.key_create("--activate", "now", "--force")["generation"], 2)

    def test_an_absolute_activation_is_kept_to_the_second(self):
        node = self.keyless_node()
        node.key_create()
        node.up()
        node.key_create("--activate", "2099-12-01T12:00:00Z")
        self.assertEqual(node.key_list()[1]["activation"], "2099-12-01T12:00:00Z")
        self.assertIn("prod.v2@20991201T120000Z", node.token.labels())

    def test_a_relative_activation_counts_from_now(self):
        node = self.keyless_node()
        node.key_create()
        node.up()
        before = now().replace(microsecond=0)
        node.key_create("--activate", "+1h")
        activation = activation_of(node.key_list()[1]) - datetime.timedelta(hours=1)
        self.assertTrue(before <= activation <= now() + datetime.timedelta(seconds=1), activation)

    def test_a_rerun_reports_the_pending_generation_and_changes_nothing(self):
        node = self.keyless_node()
        node.key_create()
        node.up()
        node.key_create("--activate", "+1h")
        for flags in ([], ["--activate", "+1h"], ["--activate", "now", "--force"]):
            again = node.key_create(*flags)
            self.assertEqual((again["changed"], again["generation"]), (False, 2))
        self.assertEqual(len(node.token.labels()), 2)

    def test_a_rerun_before_the_first_start_makes_no_second_key(self):
        node = self.keyless_node()
        node.key_create()
        self.assertFalse(node.key_create()["changed"])
        self.assertEqual(len(node.token.labels()), 1)

    def test_runs_at_the_same_time_leave_one_key(self):
        node = self.keyless_node()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: self.create(node, "-o", "json"), range(4)))
        self.assertEqual([run.returncode for run in done], [0] * 4, [run.stderr for run in done])
        kek, = node.key_list()
        self.assertEqual({json.loads(run.stdout)["key_id"] for run in done}, {kek["key_id"]})

    def test_dry_run_changes_nothing(self):
        node = self.keyless_node()
        planned = node.key_create("--dry-run")
        self.assertEqual((planned["changed"], planned["generation"]), (False, 1))
        self.assertEqual(node.token.labels(), [])

    def test_a_bad_activation_is_a_usage_error(self):
        node = self.keyless_node()
        for text in ("tomorrow", "+1", "-1h", "2026-13-01T00:00:00Z", ""):
            with self.subTest(text):
                done = self.create(node, "--activate", text)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertEqual(node.token.labels(), [])

    def test_the_key_it_makes_can_not_leave_the_token(self):
        node = self.keyless_node()
        node.key_create()
        kek, = node.key_list()
        attributes = set(kek["attributes"])
        self.assertLessEqual({"sensitive", "never-extractable", "local", "private", "wrap",
                              "unwrap"}, attributes)
        self.assertFalse(attributes & {"extractable", "encrypt", "decrypt"})

    def test_text_output_ends_with_the_next_step(self):
        node = self.keyless_node()
        done = self.create(node)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.splitlines()[-1].startswith("next: "), done.stdout)

    def test_an_administrators_pin_file_is_used(self):
        node = self.keyless_node()
        admin = node.path("admin.pin")
        os.rename(node.token.pin_file, admin)
        self.assertEqual(node.key_create("--pin-file", admin)["generation"], 1)

    def test_a_wrong_pin_is_an_error_that_does_not_show_it(self):
        node = self.keyless_node()
        wrong = "wrong-" + node.token.pin
        node.token.write_pin(wrong)
        done = self.create(node)
        self.assertEqual(done.returncode, 1)
        self.assertIn("PIN", done.stderr)
        self.assertNotIn(wrong, done.stdout + done.stderr)

    def test_no_flag_takes_a_pin(self):
        done = self.create(self.keyless_node(), "--pin", "1234")
        self.assertEqual(done.returncode, 1)

    def test_a_destroyed_generations_number_is_not_used_again(self):
        node = self.keyless_node()
        node.key_create()
        node.up()
        node.rotate()
        label = [name for name in node.token.labels() if name.startswith("prod.v2@")][0]
        node.token.delete(label, node.token.list_ids()[label])
        self.assertEqual(node.key_create("--activate", "now", "--force")["generation"], 3)

    def test_a_missing_token_is_an_error_that_names_it(self):
        node = self.new_node()
        node.token.prepare()
        node.token.write_pin("1234")
        done = self.create(node)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no token", done.stderr)

    def test_commands_beside_a_running_server_do_not_disturb_it(self):
        node = self.keyless_node()
        node.key_create()
        node.up()
        kms = node.client()
        for _ in range(5):
            node.key_list()
            self.assertEqual(kms.status().healthz, "ok")


class KeyList(SharedCase):
    def test_it_shows_what_status_and_describe_say(self):
        kek, = self.node.key_list()
        told, = self.kms.describe().keks
        status = self.kms.status()
        self.assertEqual(
            (kek["generation"], kek["label"], kek["key_id"], kek["state"], kek["fingerprint"]),
            (1, told.label, status.key_id, "active", told.fingerprint))

    def test_it_shows_the_hash_that_kube_apiservers_metrics_show(self):
        kek, = self.node.key_list()
        digest = hashlib.sha256(kek["key_id"].encode()).hexdigest()
        self.assertIn("sha256:" + digest, json.dumps(kek))

    def test_text_has_one_line_for_the_kek(self):
        done = self.node.run("key", "list", "--config", self.node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [line for line in done.stdout.splitlines() if self.kms.status().key_id in line]
        self.assertTrue(rows, done.stdout)

    def test_a_row_fits_a_terminal_and_wide_has_the_rest(self):
        kek, = self.node.key_list()
        flags = ("key", "list", "--config", self.node.config_path)
        text, wide = self.node.run(*flags).stdout, self.node.run(*flags, "--wide").stdout
        self.assertLessEqual(max(len(line) for line in text.splitlines()), 120, text)
        self.assertNotIn("unlike", text)
        self.assertIn(kek["key_id_hash"][:len("sha256:") + 12] + "\n", text)
        for word in (kek["fingerprint"], kek["key_id_hash"], kek["label"], *kek["attributes"]):
            self.assertIn(word, wide)

    def test_json_names_its_schema_and_nothing_else_is_on_stdout(self):
        done = self.node.run("key", "list", "--config", self.node.config_path, "-o", "json")
        self.assertRegex(json.loads(done.stdout)["schema"], r"^hsm-kms/.*/v1$")


class KeyListFaults(Case):
    def test_a_missing_token_is_exit_1_with_the_reason(self):
        node = self.new_node()
        node.token.prepare()
        node.token.write_pin("1234")
        done = node.run("key", "list", "--config", node.config_path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no token", done.stderr)

    def test_a_label_with_hostile_bytes_is_escaped(self):
        node = self.new_node().make_token()
        node.key_create()
        node.token.import_key("prod.v2\x1b[2J", "02", RFC_KEK)
        done = node.run("key", "list", "--config", node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("\x1b", done.stdout + done.stderr)


class Probe(SharedCase):
    def test_a_good_node_is_exit_0(self):
        done = self.node.run("probe", "--socket", self.node.socket)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(self.kms.status().key_id, done.stdout)

    def test_the_socket_may_come_from_the_configuration(self):
        done = self.node.run("probe", "--config", self.node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_json_has_the_key_id_and_latencies(self):
        done = self.node.run("probe", "--socket", self.node.socket, "-o", "json")
        told = json.loads(done.stdout)
        self.assertEqual(told["schema"], "hsm-kms/probe/v1")
        self.assertEqual(told["key_id"], self.kms.status().key_id)
        self.assertEqual(set(told["latency_us"]), {"status", "encrypt", "decrypt"})

    def test_it_calls_as_kube_apiserver_does(self):
        seen = len(self.node.log_events())
        self.node.run("probe", "--socket", self.node.socket)
        methods = wait_for("the calls in the log", lambda: [
            m for m in re.findall(r"Encrypt|Decrypt", json.dumps(self.node.log_events()[seen:]))])
        self.assertIn("Encrypt", methods)


class ProbeFaults(Case):
    def probe(self, node, *flags):
        return node.run("probe", "--socket", node.socket, *flags)

    def test_no_socket_is_an_error_that_names_it(self):
        node = self.new_node()
        done = self.probe(node)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(node.socket, done.stderr)

    def test_an_unhealthy_node_is_an_error_with_the_reason(self):
        node = self.new_node().make_token()
        node.start().wait_failing(grpc.StatusCode.FAILED_PRECONDITION)
        done = self.probe(node)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Status", done.stdout + done.stderr)
        self.assertIn("FAILED_PRECONDITION", done.stdout + done.stderr)
        self.assertIn("key create", done.stdout + done.stderr)

    def test_a_failure_in_json_still_parses(self):
        node = self.new_node().make_token()
        node.start().wait_listening()
        done = self.probe(node, "-o", "json")
        self.assertNotEqual(done.returncode, 0)
        told = json.loads(done.stdout)
        self.assertEqual((told["ok"], told["failed"]), (False, "Status"))

    def test_a_peer_that_never_answers_ends_with_the_timeout(self):
        node = self.new_node()
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(node.socket)
            deaf.listen()
            done = self.probe(node, "--timeout", "1s")
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue(done.stderr)


class StatusCommand(Case):
    def status(self, node, *flags):
        return node.run("status", "--socket", node.socket, *flags)

    def test_a_healthy_node_is_exit_0_on_one_screen(self):
        node = self.ready_node()
        done = self.status(node)
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("prod", node.client().status().key_id, os.uname().nodename):
            self.assertIn(word, done.stdout)
        self.assertLess(len(done.stdout.splitlines()), 30)

    def test_an_unhealthy_node_is_exit_2_with_what_to_do(self):
        node = self.new_node().make_token()
        node.start().wait_failing(grpc.StatusCode.FAILED_PRECONDITION)
        done = self.status(node)
        self.assertEqual(done.returncode, FINDINGS, done.stderr)
        self.assertIn("key create", done.stdout + done.stderr)

    def test_an_unreachable_node_is_exit_1(self):
        node = self.new_node()
        done = self.status(node)
        self.assertEqual(done.returncode, 1)
        self.assertIn(node.socket, done.stderr)

    def test_json_lists_the_keks(self):
        node = self.ready_node()
        told = json.loads(self.status(node, "-o", "json").stdout)
        self.assertEqual(told["schema"], "hsm-kms/status/v1")
        self.assertIn(node.client().status().key_id, json.dumps(told))


class Attention(Case):
    """A healthy node with a KEK that it refuses."""

    def setUp(self):
        super().setUp()
        self.node = self.ready_node()
        self.node.token.import_key("prod.v2@20260101T000000Z", "02", RFC_KEK)
        wait_for("generation 2 on the node",
                 lambda: 2 in [kek.generation for kek in self.node.client().describe().keks])

    def last_line(self, *words):
        done = self.node.run(*words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()[-1]

    def test_status_names_the_refused_kek_and_stays_healthy(self):
        line = self.last_line("status", "--socket", self.node.socket)
        self.assertTrue(line.startswith("next: it is healthy, but"), line)
        self.assertIn("generation 2 is refused: foreign origin", line)
        self.assertNotIn("nothing to do", line)

    def test_key_list_names_it(self):
        line = self.last_line("key", "list", "--config", self.node.config_path)
        self.assertIn("look at generation 2 (refused)", line)

    def test_json_has_the_reasons(self):
        for words in (("status", "--socket", self.node.socket),
                      ("key", "list", "--config", self.node.config_path)):
            done = self.node.run(*words, "-o", "json")
            text, = json.loads(done.stdout)["attention"]
            self.assertIn("generation 2 is refused: foreign origin", text)

    def test_nothing_wants_attention_once_it_is_gone(self):
        self.node.token.delete("prod.v2@20260101T000000Z", "02")
        done = self.node.run("key", "list", "--config", self.node.config_path, "-o", "json")
        self.assertEqual(json.loads(done.stdout)["attention"], [])
        self.assertNotIn("look at",
                         self.last_line("key", "list", "--config", self.node.config_path))


class Age(Case):
    def test_a_key_beyond_policy_max_age_wants_attention_and_serves_on(self):
        node = self.new_node(policy={"max_age": "365d"}).make_token()
        node.token.generate("prod.v1@20200101T000000Z", "01")
        node.up()
        for words in (("status", "--socket", node.socket),
                      ("key", "list", "--config", node.config_path)):
            done = node.run(*words, "-o", "json")
            self.assertEqual(done.returncode, 0, done.stderr)
            text, = json.loads(done.stdout)["attention"]
            self.assertRegex(text, r"generation 1 has been active for \d{4} days, and "
                                   r"policy.max_age is 365d: hsm-kms key rotate")
        client = node.client()
        self.assertEqual(client.unseal(client.encrypt(bytes(32))), bytes(32))


class CommandLine(Case):
    def test_version_is_told(self):
        done = self.new_node().run("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"hsm-kms \d+\.\d+\.\d+")

    def test_every_command_has_help(self):
        node = self.new_node()
        for command in ([], *COMMANDS):
            with self.subTest(command):
                done = node.run(*command, "--help")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("Usage", done.stdout)

    def test_an_unknown_command_is_exit_1_with_a_suggestion(self):
        done = self.new_node().run("prob")
        self.assertEqual(done.returncode, 1)
        self.assertIn("probe", done.stderr)

    def test_no_command_is_a_usage_error(self):
        self.assertEqual(self.new_node().run().returncode, 1)

    def test_config_reference_names_every_field(self):
        done = self.new_node().run("config", "reference")
        self.assertEqual(done.returncode, 0, done.stderr)
        for field in ("ring", "socket.path", "socket.allow_uids", "tokens[].sessions", "state_dir",
                      "refresh", "canary", "clock_skew", "ready_timeout"):
            self.assertIn(field, done.stdout)


if __name__ == "__main__":
    unittest.main()
