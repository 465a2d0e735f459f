# SPDX-License-Identifier: Apache-2.0
"""key disable, destroy, cancel with --socket and --nodes: what another node needs stays."""

import json
import unittest

from test_lifecycle_commands import LifecycleCase

ERROR = 1
SLOW = {"refresh": "10m", "canary": "10m"}  # a node that doesn't notice for the time of a test


class EndingCase(LifecycleCase):
    def two_nodes(self, **options):
        """Two hosts on one token; @options are the second one's."""
        one = self.ready_node()
        return one, self.new_node(token=one.token, **options).up()

    def apart(self):
        """The first node is at generation 2, the second still at 1."""
        one, two = self.two_nodes(**SLOW)
        one.rotate()
        return one, two

    def together(self):
        one, two = self.two_nodes()
        one.rotate()
        two.wait_generation(2)
        return one, two

    def export(self, node):
        done = node.run("key", "nodes", "--export", "--config", node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        path = node.path("export.json")
        with open(path, "w", encoding="ascii") as out:
            out.write(done.stdout)
        return path

    def age(self, path, **fields):
        """The export as it would have been written otherwise."""
        with open(path, encoding="ascii") as was:
            export = json.load(was)
        with open(path, "w", encoding="ascii") as out:
            json.dump({**export, **fields}, out)
        return path


class Disable(EndingCase):
    def test_what_a_node_that_lags_has_promoted_is_refused(self):
        one, two = self.apart()
        self.says_no(one, "disable", "1", "--socket", one.socket, "--socket", two.socket,
                     word="(%s) has promoted generation 1 and needs it" % two.socket)
        self.assertEqual(self.state_of(one, 1), ["decrypt-only"])

    def test_what_no_node_needs_is_disabled_and_the_nodes_are_shown(self):
        one, two = self.together()
        told = self.done(one, "disable", "1", "--socket", one.socket, "--socket", two.socket)
        self.assertEqual((told["changed"], told["outcome"]), (True, "disabled"))
        self.assertEqual([(node["source"], node["promoted"]) for node in told["nodes"]],
                         [(one.socket, 2), (two.socket, 2)])

    def test_a_node_that_does_not_answer_refuses(self):
        one, two = self.together()
        self.assertEqual(two.stop(), 0)
        two.hang_up()
        self.says_no(one, "disable", "1", "--socket", one.socket, "--socket", two.socket,
                     word="the node on %s does not answer" % two.socket)

    def test_a_node_of_another_ring_refuses(self):
        one, _ = self.rotated_node()
        other = self.new_node(ring="test").make_token()
        other.key_create()
        other.up()
        self.says_no(one, "disable", "1", "--socket", other.socket, word="serves ring 'test'")

    def test_unnamed_nodes_are_not_asked_and_the_text_says_so(self):
        one, _ = self.apart()
        done = self.key(one, "disable", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("No other node was asked", done.stdout.splitlines()[-1])

    def test_with_nodes_the_configured_plugin_must_answer_too(self):
        one, two = self.together()
        export = self.export(two)
        self.assertEqual(one.stop(), 0)
        one.hang_up()
        self.says_no(one, "disable", "1", "--nodes", export, word=one.socket)

    def test_enable_names_no_nodes(self):
        node, _ = self.rotated_node()
        self.assertEqual(self.key(node, "enable", "1", "--socket", node.socket).returncode, ERROR)


class Exports(EndingCase):
    def test_several_files_follow_one_option(self):
        one, two = self.together()
        told = self.done(one, "disable", "1", "--nodes", self.export(one), self.export(two))
        self.assertEqual([node["is_export"] for node in told["nodes"]], [True, True, False])

    def test_an_export_at_the_generation_or_below_it_refuses(self):
        one, two = self.together()
        path = self.export(two)
        self.says_no(one, "disable", "1", "--nodes", self.age(path, promoted=1), word="needs it")
        one.rotate()
        self.says_no(one, "disable", "2", "--nodes", self.age(path, promoted=1),
                     word="export it anew")

    def test_an_old_export_beyond_the_generation_will_do_and_its_age_is_said(self):
        one, two = self.together()
        path = self.age(self.export(two), now_ms=1796126400000 - 10 * 365 * 86400 * 1000)
        done = self.key(one, "disable", "1", "--nodes", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("(%s) has promoted generation 2, as of 2016-12-03T12:00:00Z, " % path,
                      done.stdout)

    def test_a_file_that_is_no_export_is_an_error(self):
        node, _ = self.rotated_node()
        done = self.key(node, "disable", "1", "--nodes", node.config_path)
        self.assertEqual(done.returncode, ERROR, done.stdout)
        self.assertEqual(self.state_of(node, 1), ["decrypt-only"])

    def test_one_generation_too_many_is_a_usage_error(self):
        node, _ = self.rotated_node()
        self.assertEqual(self.key(node, "disable", "1", "2").returncode, ERROR)


class Destroy(EndingCase):
    VERIFIED = ("--i-have-verified", "prod.v1")

    def test_what_a_node_that_lags_has_promoted_is_refused(self):
        one, two = self.apart()
        self.done(one, "disable", "1")
        nodes = "--socket", one.socket, "--socket", two.socket
        self.says_no(one, "destroy", "1", *self.VERIFIED, *nodes, word="has promoted generation 1")
        self.done(one, "enable", "1")
        self.assertEqual(self.generations(one), [1, 2])

    def test_what_no_node_needs_is_destroyed_and_buried_on_each(self):
        one, two = self.together()
        nodes = "--socket", one.socket, "--socket", two.socket
        self.done(one, "disable", "1", *nodes)
        self.assertEqual(self.done(one, "destroy", "1", *self.VERIFIED, *nodes)["outcome"],
                         "destroyed")
        self.assertEqual(self.done(two, "destroy", "1", *self.VERIFIED, *nodes)["outcome"],
                         "buried")


class Cancel(EndingCase):
    def test_what_no_node_can_have_promoted_is_destroyed(self):
        one, two = self.two_nodes()
        one.key_create("--activate", "+1h")
        told = self.done(one, "cancel", "2", "--socket", one.socket, "--nodes", self.export(two))
        self.assertEqual((told["outcome"], [node["promoted"] for node in told["nodes"]]),
                         ("destroyed", [1, 1]))

    def test_what_another_node_has_promoted_is_refused(self):
        one, two = self.two_nodes()
        path = self.age(self.export(two), promoted=2)
        one.key_create("--activate", "+1h")
        self.says_no(one, "cancel", "2", "--nodes", path, word="has promoted generation 2")

    def test_a_node_whose_clock_may_have_passed_the_activation_refuses(self):
        one, two = self.two_nodes(clock_skew="10m")
        one.key_create("--activate", "+5m")
        self.says_no(one, "cancel", "2", "--socket", two.socket, word="at any moment")

    def test_a_dry_run_asks_too(self):
        one, two = self.two_nodes(clock_skew="10m")
        one.key_create("--activate", "+5m")
        self.says_no(one, "cancel", "2", "--dry-run", "--socket", two.socket, word="at any moment")
        done = self.key(one, "cancel", "2", "--dry-run")
        self.assertIn("No other node was asked", done.stdout.splitlines()[-1])


class Planted(EndingCase):
    def test_a_foreign_key_that_no_node_trusts_is_disabled_and_destroyed(self):
        one, two = self.two_nodes()
        one.token.import_key("prod.v900@20260101T000000Z", "09")
        for node in (one, two):
            self.wait_state(node, 900, "refused")
        nodes = "--socket", one.socket, "--socket", two.socket
        self.done(one, "disable", "900", *nodes)
        self.done(one, "destroy", "900", "--i-have-verified", "prod.v900", *nodes)
        self.assertEqual(self.generations(one), [1])


if __name__ == "__main__":
    unittest.main()
