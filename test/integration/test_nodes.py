# SPDX-License-Identifier: Apache-2.0
"""Three nodes on one token: rotations under load with kill -9, and commands that race."""

import concurrent.futures
import os
import random
import sys
import threading
import unittest

from kms_case import Case
from kms_load import Ledger, Load, Victim, generation_of
from kms_node import wait_for

NODES = 3
ROTATIONS = 20
LEAD_S = 3  # from key create to the last promotion: 2 x refresh, and a listing
RACES = 3
FULL_CHECK_THREADS = 8


class Fleet(Case):
    def setUp(self):
        super().setUp()
        self.ledger = Ledger()
        self.fingerprints = {}  # key_id: what it stood for
        first = self.ready_node()
        self.victims = [Victim(first)] + [
            Victim(self.new_node(token=first.token).up()) for _ in range(NODES - 1)]

    def start_load(self, seed):
        loads = [Load(victim, self.ledger, "%s.%d" % (seed, i))
                 for i, victim in enumerate(self.victims)]
        for load in loads:
            self.addCleanup(load.end)
        return loads

    def faults(self, loads):
        return [fault for load in loads for fault in load.faults]

    def wait_generation(self, generation, loads):
        """Until all nodes are at it, or something went wrong."""
        wait_for("generation %d on all nodes; they are at %s" % (
            generation, [load.shown for load in loads]),
            lambda: self.faults(loads) or all(load.shown == generation for load in loads))
        self.assertEqual(self.faults(loads), [])

    def note_fingerprints(self):
        """A key_id stands for one fingerprint, on all nodes and for ever."""
        for victim in self.victims:
            for kek in victim.node.client().describe().keks:
                known = self.fingerprints.setdefault(kek.key_id, kek.fingerprint)
                self.assertEqual(kek.fingerprint, known, kek.key_id)

    def check_everything_ever_written(self):
        for victim in self.victims:
            kms = victim.node.client()
            with concurrent.futures.ThreadPoolExecutor(FULL_CHECK_THREADS) as pool:
                seeds = pool.map(kms.unseal, [item.answer for item in self.ledger.written])
                for item, seed in zip(self.ledger.written, seeds):
                    self.assertEqual(seed, item.seed, item.answer.key_id)

    def check_generations(self, count):
        """Each number was used, and for one key_id."""
        self.assertEqual(sorted(self.ledger.key_ids), list(range(1, count + 1)))
        for generation, key_ids in self.ledger.key_ids.items():
            self.assertEqual(len(key_ids), 1, "generation %d: %s" % (generation, key_ids))
        self.assertEqual(sorted(map(generation_of, self.fingerprints)),
                         list(range(1, count + 1)))
        self.assertEqual(len(set(self.fingerprints.values())), count)


class Rotations(Fleet):
    def test_twenty_rotations_under_load_with_a_node_killed_in_each_lose_nothing(self):
        seed = int(os.environ.get("KMS_SEED") or random.SystemRandom().randrange(10**6))
        print("KMS_SEED=%d" % seed, file=sys.stderr)
        rng = random.Random(seed)
        loads = self.start_load(seed)
        for generation in range(2, ROTATIONS + 2):
            victim = rng.choice(self.victims)
            killer = threading.Timer(rng.uniform(0, LEAD_S), self.kill_and_restart, [victim])
            killer.start()
            try:
                created = rng.choice(self.victims).node.key_create()
                self.assertEqual(created["generation"], generation)
            finally:
                killer.join()
            self.wait_generation(generation, loads)
            victim.node.alive()
        self.wait_answers_from_all(loads)
        for load in loads:
            load.end()
        self.assertEqual(self.faults(loads), [])
        self.assertEqual(sum(victim.kills for victim in self.victims), 2 * ROTATIONS)
        self.note_fingerprints()
        self.check_generations(ROTATIONS + 1)
        self.check_everything_ever_written()

    def kill_and_restart(self, victim):
        victim.kill()
        victim.restart()

    def wait_answers_from_all(self, loads):
        before = [load.good for load in loads]
        wait_for("each node to answer after the last kill", lambda: self.faults(loads) or all(
            load.good > count for load, count in zip(loads, before)))


class Races(Fleet):
    def test_two_key_create_at_once_beside_three_serving_nodes_make_one_generation(self):
        loads = self.start_load(0)
        for generation in range(2, RACES + 2):
            runs = self.race()
            self.assertEqual({run["generation"] for run in runs}, {generation})
            self.assertEqual(len({run["key_id"] for run in runs}), 1)
            self.assertEqual(sorted(run["changed"] for run in runs), [False, True], runs)
            self.assertEqual(len(self.victims[0].node.token.labels()), generation)
            self.wait_generation(generation, loads)
            self.note_fingerprints()
        for load in loads:
            load.end()
        self.check_generations(RACES + 1)
        self.check_everything_ever_written()

    def race(self):
        """Two commands on two nodes; what both say."""
        start = threading.Barrier(2)

        def create(victim):
            start.wait()
            return victim.node.key_create()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return list(pool.map(create, self.victims[:2]))


if __name__ == "__main__":
    unittest.main()
