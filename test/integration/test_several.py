# SPDX-License-Identifier: Apache-2.0
"""Key commands on several tokens: new keys that vendors copy or that are brought there (sync:
escrow), tokens that are away, maintenance."""

import io
import json
import os
import re
import sys
import threading
import time
import unittest

import grpc

import kms_audit as audit
import kms_killer as killer
from kms_case import Case
from kms_clones import Clones, Folders
from kms_misbehave import Misbehaviour
from kms_node import wait_for

ERROR, FINDINGS, REFUSED = 1, 2, 3
NOW = ("--activate", "now", "--force")
LATER = ("--activate", "+1h")


class Several(Case):
    def run_it(self, *words, exit_code=0, node=None):
        """Runs a command, and returns what it says: JSON, or the error's text."""
        node = node or self.node
        done = node.run(*words, "--config", node.config_path, "-o", "json")
        self.assertEqual(done.returncode, exit_code, done.stdout + done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def key(self, *words, **options):
        return self.run_it("key", *words, **options)

    def token(self, *words, **options):
        return self.run_it("token", *words, **options)

    def told(self, name):
        return next(token for token in self.token("list")["tokens"] if token["name"] == name)

    def states(self):
        return {kek["generation"]: kek["state"] for kek in self.key("list")["keks"]}

    def configure(self, **by_name):
        """Fields of single tokens."""
        tokens = self.node.config["tokens"]
        for token in tokens:
            token.update(by_name.get(token["name"], {}))
        self.node.configure(tokens=tokens)

    def ids(self, one):
        return one.hsm.list_ids()

    def labels(self, *names):
        """What is on each token, or on these."""
        return [one.hsm.labels() for one in self.tokens if not names or one.name in names]


class Native(Several):
    """Three tokens that the vendor keeps alike, in his time."""

    def setUp(self):
        super().setUp()
        self.node = self.new_node()
        self.tokens = Clones(self.node, "one", "two", "three")

    def ready(self):
        self.key("create")
        self.tokens.replicate()
        self.node.up()
        return self

    def test_a_new_key_is_made_on_the_first_token_and_awaited_on_the_others(self):
        made = self.ready().key("rotate", *NOW)
        self.assertEqual([token["has"] for token in made["tokens"]], [True, False, False])
        _, two, three = self.labels()
        self.assertNotIn(made["label"], two + three)
        wait_for("the plugin to name a token that lacks the key", lambda: any(
            "'two', 'three'" in (kek["reason"] or "") for kek in self.key("list")["keks"]))
        self.tokens.replicate("two")
        done = self.key("rotate", "--wait", "--timeout", "2s", exit_code=FINDINGS)
        self.assertEqual([token["has"] for token in done["tokens"]], [True, True, False])
        self.assertFalse(done["active_on_all"])
        self.assertEqual(self.node.client().status().key_id[:7], "prod.v1")
        self.tokens.replicate()
        self.node.wait_generation(2)

    def test_wait_ends_when_the_vendor_has_copied_the_key(self):
        self.ready()
        copies = threading.Timer(1.5, self.tokens.replicate)
        copies.start()
        done = self.key("rotate", *NOW, "--wait")
        copies.join()
        self.assertEqual([token["has"] for token in done["tokens"]], [True, True, True])
        self.assertTrue(done["active_on_all"])

    def test_a_required_token_that_is_away_blocks_a_rotation_unless_it_is_left_out(self):
        self.ready()
        self.tokens.take_away("three")
        text = self.key("rotate", *NOW, exit_code=REFUSED)
        for part in ("token 'three'", "--without three", "required"):
            self.assertIn(part, text)
        self.assertEqual(self.states().keys(), {1})
        made = self.key("rotate", *NOW, "--without", "three")
        self.assertEqual(made["without"], "'three'")
        self.tokens.replicate("two")
        self.node.wait_generation(2)
        self.tokens.put_back("three")
        wait_for("the plugin to see that three lacks it", lambda: (
            self.told("three")["state"], self.told("three")["generations"]) == ("not-in-use", [1]))
        self.tokens.replicate()
        wait_for("three to be in use", lambda: self.told("three")["state"] == "in-use")

    def test_a_rerun_on_another_node_waives_the_token_there(self):
        self.ready()
        self.tokens.take_away("three")
        self.node.stop()
        made = self.key("rotate", *LATER, "--without", "three")
        request = os.path.join(self.node.state_dir, "request.waive.2.three.json")
        os.unlink(request)
        again = self.key("rotate", "--without", "three")
        self.assertEqual((again["outcome"], again["label"]), ("pending", made["label"]))
        self.assertTrue(os.path.exists(request))

    def test_a_generation_waits_for_a_required_token_that_is_away_and_activates_when_it_is_back(self):
        self.ready()
        self.key("rotate", *NOW)
        self.tokens.take_away("three")
        self.tokens.replicate("two")

        def waits():
            kek = next(kek for kek in self.key("list")["keks"] if kek["generation"] == 2)
            return kek["state"] == "pre-active" and "'three'" in kek["reason"]
        wait_for("the plugin to wait for three alone", lambda: waits() and
                 self.told("three")["state"] == "away")
        kms = self.node.client()
        for _ in range(3):  # each waits for another listing
            with self.refused(grpc.StatusCode.UNAVAILABLE):
                kms.decrypt(bytes(40), "prod.v9." + 32 * "0")
        self.assertEqual(kms.status().key_id[:7], "prod.v1")
        self.tokens.put_back("three")
        self.tokens.replicate("three")
        self.node.wait_generation(2)

    def test_a_token_that_is_not_required_does_not_block(self):
        self.configure(three={"required": False})
        self.ready()
        self.tokens.take_away("three")
        self.key("rotate", *NOW)
        self.tokens.replicate("two")
        self.node.wait_generation(2)

    def when_made(self, act):
        """Acts once the key is made, and the command looks where it is."""
        audit.configure(self.node)

        def is_made():
            path = self.node.audit_path + ".admin"
            with open(path, encoding="utf-8") if os.path.exists(path) else io.StringIO() as lines:
                return any('"key-rotate"' in line and '"done"' in line for line in lines)

        def follow():
            wait_for("the key to be made", is_made)
            act()
        thread = threading.Thread(target=follow)
        thread.start()
        self.addCleanup(thread.join)

    def test_wait_does_not_wait_for_a_token_that_is_neither_there_nor_required(self):
        self.configure(three={"required": False})
        self.ready()
        self.tokens.take_away("three")
        self.when_made(lambda: self.tokens.replicate("two"))
        begun = time.monotonic()
        done = self.key("rotate", *NOW, "--wait", "--timeout", "50s")
        self.assertLess(time.monotonic() - begun, 40)
        self.assertTrue(done["active_on_all"])
        self.assertEqual([token["has"] for token in done["tokens"]], [True, True, False])

    def test_wait_goes_on_after_an_outage_of_all_tokens(self):
        self.ready()
        names = [one.name for one in self.tokens]

        def outage():
            for name in names:
                self.tokens.take_away(name)
            time.sleep(2)  # several looks
            for name in names:
                self.tokens.put_back(name)
            self.tokens.replicate()
        self.when_made(outage)
        done = self.key("rotate", *NOW, "--wait", "--timeout", "50s")
        self.assertTrue(done["active_on_all"])
        self.assertEqual([token["has"] for token in done["tokens"]], [True, True, True])

    def test_ending_a_key_needs_every_token(self):
        self.configure(three={"required": False})
        self.ready().key("rotate", *NOW)
        self.tokens.replicate()
        self.node.wait_generation(2)
        self.tokens.take_away("three")
        for command in (("disable", "1"), ("enable", "1"),
                        ("destroy", "1", "--i-have-verified", "prod.v1"), ("cancel", "3")):
            self.assertIn("token 'three'", self.key(*command, exit_code=REFUSED))
        self.key("disable", "1", "--without", "three")
        done = self.key("destroy", "1", "--i-have-verified", "prod.v1", "--without", "three")
        self.assertTrue(done["changed"])
        self.assertEqual([len(labels) for labels in self.labels("one", "two")], [1, 1])
        self.tokens.put_back("three")
        self.assertEqual(len(self.labels("three")[0]), 2)

    def test_a_disabled_generation_is_enabled_and_destroyed_everywhere(self):
        self.ready().key("rotate", *NOW)
        self.tokens.replicate()
        self.node.wait_generation(2)
        self.assertTrue(self.key("disable", "1")["changed"])
        self.assertFalse(self.key("disable", "1")["changed"])
        self.assertTrue(self.key("enable", "1")["changed"])
        self.assertEqual(self.states()[1], "decrypt-only")
        self.key("disable", "1")
        self.key("destroy", "1", "--i-have-verified", "prod.v1")
        self.assertEqual([len(labels) for labels in self.labels()], [1, 1, 1])

    def test_a_two_step_key_gets_its_label_everywhere(self):
        self.ready()
        prepared = self.key("prepare")["label"].removeprefix("prod.pending.")
        self.tokens.replicate()
        made = self.key("commit", prepared, "--backup-ref", "safe 7", *LATER)
        for labels in self.labels():
            self.assertIn(made["label"], labels)

    def test_an_imported_key_is_put_on_each_token_under_one_label(self):
        raw, public, wrapped = map(self.node.path, ("raw", "transport.pem", "wrapped"))
        with open(os.open(raw, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as out:
            out.write(os.urandom(32))

        def bring(*words, token=()):
            self.key("transport-key", "--out", public, *token)
            done = self.node.run("key", "wrap", "--in", raw, "--transport", public, "--out",
                                 wrapped, "-o", "json")
            fingerprint = json.loads(done.stdout)["fingerprint"]
            return self.key("import", "--wrapped", wrapped, "--expect-fingerprint", fingerprint,
                            *token, *words)
        label = bring()["label"]
        again = bring("--label-like", label, token=("--token", "two"))
        self.assertEqual(again["label"], label)
        self.assertEqual(self.labels(), [[label], [label], []])
        kek, = self.key("list")["keks"]
        self.assertEqual(kek["holders"], ["one", "two"])
        self.key("import", "--wrapped", wrapped, "--expect-fingerprint", "00" * 32, "--token",
                 "two", exit_code=ERROR)

    def test_each_token_has_a_pin_of_its_own(self):
        self.ready()
        bare = self.node.token.pin_file
        wrong = self.node.path("wrong.pin")
        with open(os.open(wrong, os.O_CREAT | os.O_WRONLY, 0o400), "w", encoding="ascii") as out:
            out.write("4321\n")
        text = self.key("list", "--pin-file", bare, exit_code=ERROR)
        self.assertIn("NAME=FILE", text)
        self.assertIn("one, two, three", text)
        self.key("list", "--pin-file", bare, "--token", "two")
        done = self.node.run("key", "list", "--config", self.node.config_path, "--pin-file",
                             "two=" + wrong)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("token 'two' wasn't listed", done.stderr)
        for words in (("--token", "four"), ("--without", "four"), ("--token", "one", "--without",
                      "two"), ("--without", "one", "--without", "two", "--without", "three")):
            self.key("list", *words, exit_code=ERROR)

    def test_commands_for_one_token_want_its_name(self):
        self.assertIn("--token one", self.run_it("pin", "check", exit_code=ERROR))
        self.assertIn("--token one", self.token("describe", exit_code=ERROR))
        self.assertEqual(self.token("describe", "--token", "two")["token"]["label"], "hsm-two")
        self.assertIn("--without leaves one out", self.key("rotate", "--token", "two",
                                                           exit_code=ERROR))
        self.assertIn("--without leaves one out", self.key("disable", "1", "--token", "two",
                                                           exit_code=ERROR))


class Maintenance(Several):
    def setUp(self):
        super().setUp()
        self.node = self.new_node()
        self.tokens = Clones(self.node, "one", "two")
        self.key("create")
        self.tokens.replicate()
        self.node.up()

    def wait_state(self, name, state):
        wait_for("%s to be %s" % (name, state), lambda: self.told(name)["state"] == state)

    def test_tokens_are_listed_with_what_they_hold(self):
        self.wait_state("two", "in-use")
        listed = self.token("list")["tokens"]
        self.assertEqual([(token["name"], token["sync"], token["required"], token["generations"])
                          for token in listed],
                         [("one", "first", True, [1]), ("two", "native", True, [1])])
        self.assertEqual([token["label"] for token in listed], ["hsm-one", "hsm-two"])

    def test_a_token_is_drained_and_resumed(self):
        self.wait_state("two", "in-use")
        self.token("can-stop", "two")
        self.assertEqual(self.token("drain", "two", "--for", "1h", "--dry-run")["changed"], False)
        done = self.token("drain", "two", "--until", "2099-01-01T00:00:00Z")
        self.assertTrue(done["changed"])
        self.wait_state("two", "drained")
        self.assertEqual(self.told("two")["drained_until"], "2099-01-01T00:00:00Z")
        self.assertFalse(self.token("drain", "two", "--until", "2099-01-01T00:00:00Z")["changed"])
        self.assertIn("drained by an operator", self.key("rotate", *LATER, exit_code=REFUSED))
        self.assertTrue(self.token("resume", "two")["changed"])
        self.assertFalse(self.token("resume", "two")["changed"])
        self.wait_state("two", "in-use")

    def test_the_last_token_that_has_a_generation_can_not_stop(self):
        self.wait_state("two", "in-use")
        self.token("drain", "two", "--for", "1h")
        for command in (("can-stop", "one"), ("drain", "one", "--for", "1h")):
            self.assertIn("generation 1", self.token(*command, exit_code=REFUSED))
        self.token("resume", "two")
        self.wait_state("two", "in-use")
        wait_for("one to be able to stop", lambda: self.node.run(
            "token", "can-stop", "one", "--config", self.node.config_path).returncode == 0)

    def test_a_drain_and_its_end_are_recorded(self):
        os.mkdir(self.node.path("audit"), 0o700)
        self.node.configure(audit={"path": self.node.path("audit/log")})
        self.token("drain", "two", "--for", "1h", "--dry-run")
        self.token("drain", "two", "--for", "1h")
        self.token("resume", "two")
        with open(self.node.path("audit/log.admin"), encoding="utf-8") as lines:
            told = [json.loads(line) for line in lines]
        self.assertEqual([(line["op"], line["phase"], line["token"], line.get("outcome"))
                          for line in told if line["type"] == "command"],
                         [("token-drain", "begin", "two", None),
                          ("token-drain", "done", "two", "drained"),
                          ("token-resume", "begin", "two", None),
                          ("token-resume", "done", "two", "resumed")])

    def test_a_drain_ends_by_itself(self):
        self.wait_state("two", "in-use")
        self.token("drain", "two", "--for", "3s")
        self.wait_state("two", "drained")
        self.wait_state("two", "in-use")

    def test_without_a_plugin_nobody_knows(self):
        self.node.stop()
        self.assertIn("no plugin answers", self.token("list", exit_code=ERROR))
        self.assertIn("no plugin answers", self.token("can-stop", "two", exit_code=REFUSED))
        self.assertIn("no plugin answers",
                      self.token("drain", "two", "--for", "1h", exit_code=REFUSED))

    def test_a_drain_wants_an_end_and_a_token(self):
        for words in (("drain", "two"), ("drain", "--for", "1h"), ("drain", "two", "--for", "0s"),
                      ("drain", "two", "--until", "2001-01-01T00:00:00Z"), ("drain", "three",
                      "--for", "1h"), ("resume", "three"), ("can-stop", "three")):
            self.token(*words, exit_code=ERROR)


class Escrow(Several):
    """'two' and 'three' get keys only from us."""

    def setUp(self):
        super().setUp()
        self.node = self.new_node()
        self.tokens = Folders(self.node, "one", "two", "three")
        self.configure(two={"sync": "escrow"}, three={"sync": "escrow"})

    def assert_everywhere(self, *labels):
        self.assertEqual(self.labels(), [sorted(labels)] * 3)

    def test_a_rotation_brings_the_key_to_every_token_and_any_of_them_serves(self):
        first = self.key("create")["label"]
        self.assert_everywhere(first)
        self.node.up()
        self.tokens.wait_used()
        second = self.key("rotate", *NOW, "--wait")
        self.assertTrue(second["active_on_all"])
        self.assertEqual([token["has"] for token in second["tokens"]], [True] * 3)
        self.assert_everywhere(first, second["label"])
        kms, seed = self.node.client(), os.urandom(32)
        sealed = kms.encrypt(seed)
        self.assertEqual(sealed.key_id, second["key_id"])
        for name in ("one", "two"):
            self.tokens.take_away(name)
        self.assertEqual(kms.unseal(sealed), seed)

    def test_a_key_can_leave_no_token_any_more(self):
        self.key("create")
        for one in self.tokens:
            self.assertNotIn("extractable", one.hsm._tool("--list-objects", "--type", "secrkey")
                             .replace("never extractable", ""))

    def test_a_token_that_is_away_blocks_though_it_is_not_required(self):
        self.configure(three={"required": False})
        self.key("create")
        self.tokens.take_away("three")
        text = self.key("rotate", *NOW, exit_code=REFUSED)
        self.assertIn("token 'three'", text)
        self.assertIn("never gets there", text)
        self.node.up()
        self.key("rotate", *LATER, "--without", "three")
        self.assertEqual([len(labels) for labels in self.labels("one", "two")], [2, 2])

    def test_a_failure_leaves_no_key_anywhere(self):
        first = self.key("create")["label"]
        self.node.up()
        faults = Misbehaviour(self.node)
        library = {key: self.node.config["tokens"][0][key] for key in ("module", "environment")}
        self.configure(two=library, three=library)
        faults.tell("C_CopyObject fail DEVICE_ERROR always")
        self.assertIn("token 'two'", self.key("rotate", *NOW, exit_code=ERROR))
        faults.tell()
        self.assert_everywhere(first)
        self.key("rotate", *NOW)

    def test_keys_are_not_prepared_where_they_would_never_get_to(self):
        self.assertIn("sync: escrow", self.key("prepare", exit_code=REFUSED))

    def test_what_a_killed_rotation_left_is_found_though_only_one_token_is_left_to_work_on(self):
        ring = self.key("create")["ring"]
        self.node.up()
        pending = ring + ".pending.v2@20261201T120000Z"
        self.tokens[0].hsm.import_key(pending, "0a", os.urandom(32))
        alone = ("--without", "two", "--without", "three")
        text = self.key("rotate", *LATER, *alone, exit_code=REFUSED)
        self.assertIn("interrupted", text)
        self.assertIn(pending, self.labels("one")[0])
        self.assertTrue(self.key("cancel", "2", *alone)["changed"])
        self.assertNotIn(pending, self.labels("one")[0])

    def test_a_dry_run_makes_nothing(self):
        self.assertEqual(self.key("create", "--dry-run")["outcome"], "planned")
        self.assert_everywhere()


class Killed(Several):
    """kill -9 of a rotation at each Cryptoki call that may change something."""

    def setUp(self):
        super().setUp()
        self.node = self.new_node()
        self.node.env = killer.environment()
        self.tokens = Folders(self.node, "one", "two")
        library = {"module": killer.killed_commands_module(),
                   "environment": sorted(killer.environment())}
        self.configure(one=library, two=dict(library, sync="escrow"))
        self.base = self.key("create")["label"]
        self.node.up()  # so that the key counts as promoted

    def shape(self):
        return tuple(tuple(re.sub("v[0-9]+@[0-9TZ]+", "#", label) for label in labels)
                     for labels in self.labels())

    def new_labels(self):
        return [[label for label in labels if label != self.base] for labels in self.labels()]

    def delete_all(self):
        for one in self.tokens:
            for label, cka_id in self.ids(one).items():
                if label != self.base:
                    one.hsm.delete(label, cka_id)

    def assert_one_new(self, label):
        self.assertEqual(self.new_labels(), [[label], [label]])

    def command(self):
        return "key", "create", "--config", self.node.config_path, "-o", "json", *LATER

    def test_a_rerun_finishes_or_withdraws(self):
        points = killer.points(killer.calls_of(self.node, *self.command()), "C_GenerateKey", False)
        self.delete_all()
        seen = set()
        for point in points:
            killer.run_killed(self.node, point, *self.command())
            left = self.shape()
            if left not in seen:
                seen.add(left)
                self.assert_one_new(self.key("create", *LATER)["label"])
            self.delete_all()
        print("%d kills, %d things left: %s" % (len(points), len(seen), sorted(seen)),
              file=sys.stderr)
        self.assertGreaterEqual(len(seen), 4)

    def test_cancel_withdraws_what_a_killed_rotation_left(self):
        points = killer.points(killer.calls_of(self.node, *self.command()), "C_GenerateKey", False)
        self.delete_all()
        seen = set()
        for point in points[::5]:
            killer.run_killed(self.node, point, *self.command())
            left = self.shape()
            if left not in seen and any("pending" in str(labels) for labels in left):
                seen.add(left)
                generation = next(re.search("v([0-9]+)@", label).group(1)
                                  for labels in self.new_labels() for label in labels)
                self.assertTrue(self.key("cancel", generation)["changed"])
                self.assertEqual(self.new_labels(), [[], []])
            self.delete_all()
        self.assertGreater(len(seen), 2)


if __name__ == "__main__":
    unittest.main()
