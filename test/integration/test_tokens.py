# SPDX-License-Identifier: Apache-2.0
"""Several tokens with the same keys: calls go on as long as one of them is there."""

import os
import random
import signal

import grpc

from kms_case import Case
from kms_node import wait_for
from kms_token import RFC_KEK
from kms_tokens import Tokens
from test_isolation import Caller
from test_pins import PAST, RFC_KEK_FINGERPRINT

KILLS = 200 if os.environ.get("KMS_LONG") else 20
CALLERS = 32

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Several(Case):
    def serving(self, *names, **options):
        """A node that serves generation 1 from equal tokens of these names."""
        node = self.new_node(pins=[{"generation": 1, "fingerprint": RFC_KEK_FINGERPRINT}],
                             canary="2s")
        tokens = Tokens(node, *names, **options)
        tokens.import_key("prod.v1@" + PAST, "01", RFC_KEK)
        node.up()
        tokens.wait_used()
        return node, tokens

    def under_load(self, node, callers, work):
        """Does @work(advance); advance() returns when each caller made a call that began since."""
        load = [Caller(node) for _ in range(callers)]

        def advance():
            goals = [caller.good + 2 for caller in load]
            wait_for("more calls", lambda: any(caller.faults for caller in load) or
                     all(caller.good >= goal for caller, goal in zip(load, goals)))
            self.assertEqual([fault for caller in load for fault in caller.faults], [])
        try:
            advance()
            work(advance)
            advance()
        finally:
            for caller in load:
                caller.end()
        self.assertEqual([fault for caller in load for fault in caller.faults], [])


class Serving(Several):
    def test_what_one_token_wrapped_another_unwraps(self):
        node, (one, two) = self.serving("one", "two")
        kms, seed = node.client(), os.urandom(32)
        sealed = kms.encrypt(seed)
        one.take_away()
        self.assertEqual(kms.unseal(sealed), seed)
        one.wait_away()
        two.take_away()
        one.put_back()
        one.wait_used()
        self.assertEqual(kms.unseal(sealed), seed)

    def test_without_any_token_calls_fail_as_unavailable_and_it_heals(self):
        node, tokens = self.serving("one", "two")
        kms = node.client()
        for token in tokens:
            token.take_away()
        with self.refused(UNAVAILABLE):
            kms.encrypt(os.urandom(32))
        node.wait_failing(UNAVAILABLE)
        tokens[1].put_back()
        node.wait_status()
        kms.encrypt(os.urandom(32))

    def test_it_starts_with_one_of_two_tokens(self):
        node, (one, two) = self.serving("one", "two")
        self.assertEqual(node.stop(), 0)
        one.take_away()
        node.up()
        node.client().encrypt(os.urandom(32))
        self.assertFalse(one.told()["in_use"])
        self.assertIn("away", one.told()["problem"])
        two.wait_used()
        one.put_back()
        one.wait_used()

    def test_each_token_has_a_host_of_its_own(self):
        node, tokens = self.serving("one", "two", "three")
        hosts = [token.hosts() for token in tokens]
        self.assertEqual([len(pids) for pids in hosts], [1, 1, 1])
        self.assertEqual(len({pid for pids in hosts for pid in pids}), 3)
        self.assertEqual(node.stop(), 0)

    def test_a_rest_begins_and_ends_with_one_line_each(self):
        node, (one, _) = self.serving("one", "two")
        one.take_away()
        one.wait_away()
        one.put_back()
        one.wait_used()
        lines = [event["msg"] for event in node.log_events() if event.get("token") == "one"]
        self.assertEqual(len([line for line in lines if line.startswith("token rests")]), 1)
        self.assertEqual(lines.count("token is used again"), 1)

    def test_status_tells_of_each_token(self):
        node, tokens = self.serving("one", "two")
        tokens[1].take_away()
        tokens[1].wait_away()
        said = node.run("status", "--socket", node.socket)
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertRegex(said.stdout, r"token +one: in use: hsm-one ")
        self.assertRegex(said.stdout, r"token +two: NOT IN USE")


class Load(Several):
    def test_any_two_of_three_tokens_may_be_taken_away(self):
        node, tokens = self.serving("one", "two", "three")

        def work(advance):
            for left in tokens:
                for token in tokens:
                    if token is not left:
                        token.take_away()
                advance()
                for token in tokens:
                    token.put_back()
                tokens.wait_used()
                advance()
        self.under_load(node, 8, work)

    def test_any_two_of_three_hosts_may_be_killed_or_hang(self):
        node, tokens = self.serving("one", "two", "three")

        def work(advance):
            for left in range(3):
                killed, hung = tokens[(left + 1) % 3], tokens[(left + 2) % 3]
                hosts = killed.kill_host(), hung.kill_host(signal.SIGSTOP)
                advance()
                killed.wait_other_host(hosts[0])
                hung.wait_other_host(hosts[1])
                tokens.wait_used()
                advance()
        self.under_load(node, 8, work)
        self.assertGreaterEqual(node.log().count('"token host ended"'), 6)

    def test_no_call_fails_while_the_first_tokens_host_is_killed(self):
        """Both hosts have the same library, and take turns with its login lock."""
        node, (one, _) = self.serving("one", "two", misbehave=False)
        rng = random.Random(7)

        def work(advance):
            for _ in range(KILLS):
                served = node.log().count('"token host serves"')
                one.kill_host()
                for _ in range(rng.randrange(1, 3)):
                    advance()
                wait_for("the next host to serve", lambda before=served: node.alive() and
                         node.log().count('"token host serves"') > before)
        self.under_load(node, CALLERS, work)
        self.assertGreaterEqual(node.log().count('"token host ended"'), KILLS)
