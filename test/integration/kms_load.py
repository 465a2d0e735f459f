# SPDX-License-Identifier: Apache-2.0
"""Load on nodes that may be killed meanwhile, and a memory of all that they answered."""

import collections
import os
import random
import threading

import grpc

from kms_node import wait_for

Written = collections.namedtuple("Written", "seed answer")

PAUSE_S = 0.01  # two cores have other things to do


def generation_of(key_id):
    return int(key_id.split(".")[1][1:])


class Ledger:
    """What all nodes of a ring wrote; shared by all threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.written = []
        self.key_ids = collections.defaultdict(set)  # of each generation

    def add(self, seed, answer):
        with self.lock:
            self.written.append(Written(seed, answer))
            self.key_ids[generation_of(answer.key_id)].add(answer.key_id)

    def see(self, key_id):
        with self.lock:
            self.key_ids[generation_of(key_id)].add(key_id)

    def pick(self, rng):
        with self.lock:
            return rng.choice(self.written) if self.written else None


class Victim:
    """A node that may be killed, and what its clients need to know of that."""

    def __init__(self, node):
        self.node = node
        self.kills = 0  # odd while it is being killed

    def kill(self):
        self.kills += 1
        self.node.kill()
        self.kills += 1

    def restart(self):
        """Returns once it is logged in: SoftHSM's token doesn't survive a kill within C_Login."""
        before = self.connections()
        self.node.start()
        wait_for("the token to be connected", lambda: self.node.alive()
                 and self.connections() > before)

    def connections(self):
        return self.node.log().count("token connected")


class Load:
    """One client of one node in a thread: Status, Encrypt, two Decrypts of what anybody wrote.

    Any error is a fault, but UNAVAILABLE between a kill and the first good answer after it."""

    def __init__(self, victim, ledger, seed, pause_s=PAUSE_S):
        self.victim = victim
        self.ledger = ledger
        self.pause_s = pause_s
        self.rng = random.Random(seed)
        self.kms = victim.node.client()
        self.stop = threading.Event()
        self.faults = []
        self.shown = 0      # the generation of the last Status
        self.good = 0       # answers
        self.dropped = 0    # excused errors
        self.alive_at = -1  # victim.kills when the last good call was sent
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def end(self):
        self.stop.set()
        self.thread.join()

    def run(self):
        try:
            while not self.faults and not self.stop.wait(self.pause_s):
                self.round()
        except Exception as error:  # pylint: disable=broad-except
            self.faults.append(repr(error))

    def round(self):
        for step in (self.ask_status, self.encrypt, self.decrypt, self.decrypt):
            kills = self.victim.kills
            try:
                step()
            except grpc.RpcError as error:
                self.judge(step.__name__, error)
                return
            self.alive_at = kills
            self.good += 1

    def judge(self, step, error):
        kills = self.victim.kills
        if error.code() == grpc.StatusCode.UNAVAILABLE and (kills % 2 or kills != self.alive_at):
            self.dropped += 1
        else:
            self.faults.append("%s at generation %d: %s %s" % (
                step, self.shown, error.code(), error.details()))

    def ask_status(self):
        key_id = self.kms.status().key_id
        self.ledger.see(key_id)
        generation = generation_of(key_id)
        if generation < self.shown:
            self.faults.append("Status went from generation %d to %s" % (self.shown, key_id))
        self.shown = generation

    def encrypt(self):
        seed = os.urandom(32)
        answer = self.kms.encrypt(seed)
        self.ledger.add(seed, answer)
        if generation_of(answer.key_id) < self.shown:
            self.faults.append("Encrypt answers %s after Status named generation %d" % (
                answer.key_id, self.shown))

    def decrypt(self):
        item = self.ledger.pick(self.rng)
        if item is not None and self.kms.unseal(item.answer) != item.seed:
            self.faults.append("another seed comes back for %s" % item.answer.key_id)
