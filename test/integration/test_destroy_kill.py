# SPDX-License-Identifier: Apache-2.0
"""kill -9 of key destroy --etcd between any two steps: what is there then, and what a rerun does."""

import collections
import os
import pathlib
import re
import signal
import subprocess
import sys

import kms_killer as killer
from kms_atrest import Source, value
from kms_clones import Folders
from kms_node import BINARY, PATIENCE_S, wait_for
from test_destroy import PLAIN, DestroyCase

LONG = os.environ.get("KMS_LONG") == "1"  # repeated reads too
LATER = ("--activate", "+1h")  # never promoted within a test
WAITED_S = 31 * 86400  # longer than destroy_wait
# The steps that change files, the token's among them.
STEPS = ("ftruncate", "fsync", "rename", "renameat", "unlink", "unlinkat")


def ends_of(calls):
    """The numbers, from 1, of the calls that end an object: the last ones end the key on its tokens,
    those before what a wrap or an unwrap made for itself."""
    return [number for number, call in enumerate(calls, 1) if call == "C_DestroyObject"]


class KilledCase(DestroyCase):
    """Generation 2 is promoted; a rerun of destroy waits for what policy wants, as the first run."""

    def setUp(self):
        super().setUp()
        self.node = node = self.new_node(policy={"backup_retention": "90d"})
        node.env = killer.environment()
        self.make_tokens()
        node.configure(tokens=[{**token, "module": killer.killed_commands_module(),
                                "environment": sorted(killer.environment()), **more}
                               for token, more in zip(node.config["tokens"], self.extras)])
        node.key_create()
        node.up()
        node.rotate()
        self.new = Source(node.client())
        self.put("a", self.new)
        self.put("b", Source(node.client()))
        self.ledger = pathlib.Path(node.state_dir, "snapshots.jsonl")
        done = node.run("verify", "--snapshot", str(self.snapshot()), "--record", "--prefix",
                        self.prefix, "--config", node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.recorded = self.ledger.read_bytes()

    def disable(self, generation):
        """As if for long enough."""
        self.done(self.node, "disable", str(generation))
        since = int(self.disabled(generation).read_text()) - WAITED_S
        self.disabled(generation).write_text(f"{since}\n")

    def ended(self):
        """A generation that is disabled; its number was never used before."""
        generation = self.done(self.node, "create", *LATER)["generation"]
        self.disable(generation)
        return generation

    def disabled(self, generation):
        return pathlib.Path(self.node.state_dir, f"disabled.v{generation}")

    def destroy(self, generation):
        return ("key", "destroy", "--config", self.node.config_path, "-o", "json", str(generation),
                *self.proof())

    def holders(self, generation):
        """How many tokens have it."""
        return sum(any(label.startswith(f"prod.v{generation}@") for label in hsm.labels())
                   for hsm in self.hsms)

    def is_buried(self, generation):
        return generation in self.tombstones(self.node)

    def rerun(self, generation):
        """Says what is done, and finishes; then a third run finds nothing to do."""
        was_there = self.holders(generation) > 0
        if was_there:
            self.assertFalse(self.is_buried(generation))
            self.assertTrue(self.disabled(generation).exists())
        told = self.done(self.node, "destroy", str(generation), *self.proof())
        self.assertIn((was_there, told["outcome"], told["changed"]),
                      [(True, "destroyed", True), (False, "buried", True), (False, "gone", False)])
        self.assertEqual(self.holders(generation), 0)
        self.assertFalse(self.disabled(generation).exists())
        wait_for(f"tombstone {generation}", lambda: self.is_buried(generation))
        again = self.done(self.node, "destroy", str(generation), *self.proof())
        self.assertEqual((again["outcome"], again["changed"]), ("gone", False))
        self.assertEqual(self.ledger.read_bytes(), self.recorded)
        self.assertEqual([self.holders(other) for other in (1, 2)], [len(self.hsms)] * 2)
        return told["outcome"]

    def traces(self, generation):
        asked = pathlib.Path(self.node.state_dir, f"request.tombstone.{generation}.json")
        return (self.holders(generation), self.disabled(generation).exists(),
                asked.exists() or self.is_buried(generation))

    def kill_everywhere(self, points, kill):
        """Returns what the reruns said.  A kill that left no trace needs none: it would be the first
        run again."""
        generation, outcomes = self.ended(), []
        untouched = self.traces(generation)
        for point in points:
            kill(point, generation)
            if self.traces(generation) == untouched and not LONG:
                continue
            try:
                outcomes.append(self.rerun(generation))
            except AssertionError as error:
                raise AssertionError(f"killed at {point}: {error}") from error
            generation = self.ended()
        self.assertEqual(self.rerun(generation), "destroyed")
        print(f"{len(points)} kills, {len(outcomes)} of them after a change: "
              f"{dict(collections.Counter(outcomes))}", file=sys.stderr)
        self.assertLess(len(outcomes), len(points))
        return outcomes

    def calls(self):
        """Those of a destruction, which is done."""
        return killer.calls_of(self.node, *self.destroy(self.ended()))

    def kill_at_call(self, point, generation):
        killer.run_killed(self.node, point, *self.destroy(generation))


class OneToken(KilledCase):
    extras = ({},)

    def make_tokens(self):
        self.node.make_token()
        self.hsms = [self.node.token]

    def test_killed_at_any_call_of_the_token_a_rerun_finishes(self):
        outcomes = self.kill_everywhere(
            killer.points(self.calls(), "C_FindObjectsInit", LONG), self.kill_at_call)
        self.assertIn("buried", outcomes)

    def test_killed_just_before_the_end_it_is_proven_again(self):
        at = ends_of(self.calls())[-1]
        generation = self.ended()
        self.kill_at_call(killer.Point("KILLER_AT", at, "C_DestroyObject"), generation)
        self.assertEqual(self.holders(generation), 1)
        key = f"{self.prefix}/secrets/default/late".encode()
        key_id = f"prod.v{generation}." + "00" * 16
        self.etcd.write([(key, value(self.new, key, PLAIN, key_id=key_id))])
        self.says_no(self.node, "destroy", str(generation), *self.proof(), word=key.decode())
        self.assertTrue(self.disabled(generation).exists())
        self.put("late", self.new)
        self.assertEqual(self.rerun(generation), "destroyed")

    def test_the_number_of_a_key_that_is_gone_is_buried_behind_one_that_is_disabled(self):
        _, generation = self.ended(), self.ended()
        label, cka_id = next((label, cka_id) for label, cka_id in self.node.token.list_ids().items()
                             if label.startswith(f"prod.v{generation}@"))
        self.node.token.delete(label, cka_id)  # which is all that a destruction did before a kill
        self.assertEqual(self.rerun(generation), "buried")

    def test_killed_at_any_change_of_a_file_a_rerun_finishes(self):
        points = self.file_steps(self.ended())
        self.assertGreater(len(points), 5)
        outcomes = self.kill_everywhere(points, self.kill_at_step)
        self.assertTrue({"buried", "gone"} <= set(outcomes), outcomes)

    def strace(self, generation, *flags):
        env = self.node.environment()
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"  # it traces, too
        return subprocess.run(
            ["strace", "-f", "-qq", "-y", *flags, BINARY, *self.destroy(generation)], env=env,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)

    def file_steps(self, generation):
        """(system call, how often its thread has made it by then): changes of state_dir, and the end
        of the key's file.  Not what a login writes: SoftHSM's token doesn't survive a kill there."""
        path = self.node.path("trace")
        done = self.strace(generation, "-o", path, "-e", "trace=" + ",".join(STEPS))
        self.assertEqual(done.returncode, 0, done.stderr)
        counts, found = collections.Counter(), set()
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            match = re.match(r"(\d+) +(\w+)\((.*)", line)
            if match is None:
                continue
            thread, step, what = match.groups()
            counts[thread, step] += 1
            if self.node.state_dir in what or (step == "unlink" and ".object" in what):
                found.add((step, counts[thread, step]))
        os.unlink(path)
        return sorted(found)

    def kill_at_step(self, point, generation):
        step, count = point
        done = self.strace(generation, "-o", os.devnull, "-e", f"trace={step}", "-e",
                           f"inject={step}:signal=SIGKILL:when={count}")
        self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)


class TwoTokens(KilledCase):
    extras = ({}, {"sync": "escrow"})

    def make_tokens(self):
        self.hsms = [one.hsm for one in Folders(self.node, "one", "two")]

    def test_killed_between_the_ends_on_two_tokens_a_rerun_finishes(self):
        calls = self.calls()
        points = [point for point in killer.points(calls, "C_FindObjectsInit", LONG)
                  if point.number >= ends_of(calls)[-2]]
        outcomes = self.kill_everywhere(points, self.kill_at_call)
        self.assertTrue({"destroyed", "buried"} <= set(outcomes), outcomes)
