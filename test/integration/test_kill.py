# SPDX-License-Identifier: Apache-2.0
"""kill -9 of each key command at each Cryptoki call, beside a plugin that serves."""

import contextlib
import json
import os
import re
import sys
import unittest

import kms_killer as killer
from kms_case import Case
from kms_load import Ledger, Load, Victim

LONG = os.environ.get("KMS_LONG") == "1"  # repeated reads too, and reruns after no change
LATER = ("--activate", "+1h")  # never promoted within a test

# What they do to the token is nothing; rotate is create by another name.
HARMLESS = {"accept", "describe", "list", "nodes", "ready", "rotate", "wrap"}
KILLED = {"cancel", "commit", "create", "destroy", "disable", "enable", "import", "prepare",
          "revert", "transport-key"}
KILLED_ELSEWHERE = {"escrow"}  # by test_transport, between two tokens
ELSEWHERE = {"escrow"}  # killed in test_transport.py, which has two tokens


class Killed(Case):
    """The ring has generation 1 and the promoted 2; each round leaves it so again."""

    def setUp(self):
        super().setUp()
        self.node = self.new_node()
        self.node.env = killer.environment()
        self.node.configure(tokens=[dict(self.node.config["tokens"][0],
                                         module=killer.killed_commands_module(),
                                         environment=sorted(killer.environment()))])
        self.node.make_token()
        self.node.key_create()
        self.node.up()
        self.node.rotate()
        self.base = self.node.token.labels()
        self.load = Load(Victim(self.node), Ledger(), "kill", pause_s=0.05)
        self.addCleanup(self.load.end)

    def key(self, *words):
        return ("key", words[0], "--config", self.node.config_path, "-o", "json", *words[1:])

    def done(self, *words):
        """Runs a key command that must succeed, and returns what it says."""
        done = self.node.run(*self.key(*words))
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def new_labels(self):
        return [label for label in self.node.token.labels() if label not in self.base]

    def delete(self, label):
        self.node.token.delete(label, self.node.token.list_ids()[label])

    def traces(self):
        """All that a command may have changed: not ring.json, the plugin writes that."""
        found = self.node.token.objects()
        for entry in os.scandir(self.node.state_dir):
            if entry.name == "ring.json":
                continue
            with contextlib.suppress(FileNotFoundError):  # the plugin has dealt with a request
                with open(entry.path, "rb") as content:
                    found[entry.name] = content.read()
        return found

    def kill_everywhere(self, arrange, check, begin="C_FindObjectsInit", shape=None):
        """@arrange returns the command; @check sees what a rerun said, and tidies up.  The calls
        before @begin are the same for all commands: the login, and what the module is asked then.

        A kill that left no trace needs no rerun: it would be the first run again.  Where @shape
        tells what a kill left, one rerun for each is enough."""
        calls = killer.calls_of(self.node, *self.key(*arrange()))
        check(None)
        points = killer.points(calls, "C_Login" if LONG else begin, LONG)
        shapes, half_done, command = set(), 0, arrange()
        for point in points:
            before = self.traces()
            killer.run_killed(self.node, point, *self.key(*command))
            changed = self.traces() != before
            half_done += changed
            if not changed and not LONG:
                continue
            left = shape() if shape else point
            if left not in shapes or LONG:
                self.rerun(point, command, check)
            else:
                check(None)
            shapes.add(left)
            command = arrange()
        check(self.done(*command))
        self.load.end()
        self.assertEqual(self.load.faults, [])
        print("%d kills, %d of them after a change, %d things left; %d calls answered meanwhile" % (
            len(points), half_done, len(shapes), self.load.good), file=sys.stderr)
        self.assertGreater(half_done, 0)
        self.assertLess(half_done, len(points))

    def rerun(self, point, command, check):
        try:
            check(self.done(*command))
            self.assertEqual(self.node.token.labels(), self.base)
            self.assertEqual(self.load.faults, [])
        except Exception as error:
            raise AssertionError("%s, killed at %s: %s" % (command, point, error)) from error


class NewKeys(Killed):
    """Whatever was done before the kill, one key more is there after a rerun."""

    def shape(self):
        """What keys and files there are, whatever their numbers."""
        names = [*self.node.token.labels(), *self.node.token.list_ids("privkey"),
                 *os.listdir(self.node.state_dir)]
        return tuple(sorted(re.sub("[0-9a-f]*[0-9][0-9a-f]*", "#", name) for name in names))

    def kill_maker(self, *command, arrange=lambda: None, **options):
        def check(said):
            label, = self.new_labels()
            if said is not None:
                self.assertEqual(said["label"], label)
            self.delete(label)

        def arranged():
            got = arrange()
            return (*command[:1], got, *command[1:]) if got else command
        self.kill_everywhere(arranged, check, shape=self.shape, **options)

    def test_key_create_killed_at_any_call_and_run_again_makes_one_generation(self):
        self.kill_maker("create", *LATER, begin="C_Login")

    def test_key_revert_killed_at_any_call_and_run_again_makes_one_generation(self):
        self.kill_maker("revert", "--to", "1", *LATER)

    def test_key_prepare_killed_at_any_call_and_run_again_leaves_one_prepared_key(self):
        self.kill_maker("prepare")

    def test_key_commit_killed_at_any_call_and_run_again_makes_one_generation(self):
        self.kill_maker("commit", "--backup-ref", "safe 7", *LATER,
                        arrange=self.prepare)

    def test_key_import_killed_at_any_call_and_run_again_makes_one_generation(self):
        public, raw, wrapped = map(self.node.path, ("transport.pem", "raw", "wrapped"))
        with open(os.open(raw, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as out:
            out.write(os.urandom(32))
        oaep_hash = self.done("transport-key", "--out", public)["oaep_hash"]
        said = self.node.run("key", "wrap", "--in", raw, "--transport", public, "--out", wrapped,
                             "--hash", oaep_hash, "-o", "json")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.kill_maker("import", "--wrapped", wrapped, "--expect-fingerprint",
                        json.loads(said.stdout)["fingerprint"], *LATER)

    def test_key_transport_key_killed_at_any_call_and_run_again_leaves_one_pair(self):
        def check(said):
            (label, cka_id), = self.node.token.list_ids("privkey").items()
            if said is not None:
                again = self.done("transport-key")
                self.assertEqual((again["changed"], again["sha256"]), (False, said["sha256"]))
            self.node.token.delete(label, cka_id, "privkey")
        self.kill_everywhere(lambda: ("transport-key",), check, shape=self.shape)

    def prepare(self):
        return self.done("prepare")["label"].removeprefix("prod.pending.")


class OldKeys(Killed):
    def new_generation(self):
        """One that isn't promoted; its number was never used before."""
        generation = self.done("create", *LATER)["generation"]
        self.assertNotIn(generation, self.used)
        self.used.add(generation)
        return str(generation)

    def setUp(self):
        super().setUp()
        self.used = {1, 2}

    def state_of(self, generation):
        return next(kek["state"] for kek in self.node.key_list()
                    if kek["generation"] == generation)

    def test_key_cancel_killed_at_any_call_and_run_again_removes_that_generation_alone(self):
        self.kill_everywhere(lambda: ("cancel", self.new_generation()), lambda said: None)

    def test_key_destroy_killed_at_any_call_and_run_again_removes_that_generation_alone(self):
        def arrange():
            generation = self.new_generation()
            self.done("disable", generation)
            return "destroy", generation, "--i-have-verified", "prod.v" + generation
        self.kill_everywhere(arrange, lambda said: None)

    def test_key_disable_killed_at_any_call_and_run_again_disables(self):
        def arrange():
            self.done("enable", "1")
            return "disable", "1"
        self.kill_everywhere(arrange,
                             lambda said: self.assertEqual(self.state_of(1), "disabled"))

    def test_key_enable_killed_at_any_call_and_run_again_enables(self):
        def arrange():
            self.done("disable", "1")
            return "enable", "1"
        self.kill_everywhere(arrange,
                             lambda said: self.assertEqual(self.state_of(1), "decrypt-only"))


class Table(Case):
    def test_every_key_command_is_killed_here_or_known_to_be_harmless(self):
        _, _, listed = self.new_node().run("key", "--help").stdout.partition("Commands:")
        commands = set(re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE))
        self.assertEqual(commands, KILLED | HARMLESS | ELSEWHERE)


if __name__ == "__main__":
    unittest.main()
