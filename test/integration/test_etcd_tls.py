# SPDX-License-Identifier: Apache-2.0
"""key destroy, verify and inspect over TLS, with an etcd that wants a client certificate."""

import json
import os

from kms_etcd import Certificates, Etcd
from test_destroy import DestroyCase

ERROR, REFUSED = 1, 3


class OverTls(DestroyCase):
    @classmethod
    def make_etcd(cls):
        cls.authority = Certificates(cls.directory)
        cls.stranger = Certificates(cls.directory, "stranger")
        return Etcd(cls.directory, cls.authority)

    def rotated(self, **options):
        node = super().rotated(**options)
        flags = os.environ.get("ASAN_OPTIONS", "")
        # gRPC core ends a channel in its own time: it may shake hands once more while the command ends,
        # and what OpenSSL makes for that thread is nobody's then
        node.env["ASAN_OPTIONS"] = flags + ":detect_leaks=0"
        return node

    def over_tls(self, ca=None, pair=None):
        """The words for etcd; with @pair () without a client certificate."""
        pair = self.etcd.client if pair is None else pair
        return ("--etcd", self.etcd.url, "--prefix", self.prefix, "--cacert",
                ca or self.authority.ca, *(word for name, path in zip(("--cert", "--key"), pair)
                                           for word in (name, path)))

    def strange(self):
        """(what is wrong, the words): of an etcd, or of a client, that must not be trusted."""
        return (("another CA", self.over_tls(ca=self.stranger.ca)),
                ("another CA's client", self.over_tls(pair=self.stranger.issue("client2"))),
                ("no client certificate", self.over_tls(pair=())),
                ("no TLS", ("--etcd", self.etcd.url.replace("https", "http"), "--prefix",
                            self.prefix)))

    def test_a_generation_is_proven_and_destroyed(self):
        node = self.rotated()
        self.put("old", self.old)
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", *self.over_tls(), word="secrets/default/old")
        self.put("old", self.new)
        told = self.done(node, "destroy", "1", *self.over_tls())
        self.assertEqual((told["outcome"], told["verified_by"]), ("destroyed", "proof"))
        self.assertEqual(self.generations(node), [2])

    def test_an_etcd_that_is_not_trusted_proves_nothing(self):
        node = self.rotated()
        self.put("a", self.new)
        self.done(node, "disable", "1")
        for what, words in self.strange():
            with self.subTest(what):
                self.says_no(node, "destroy", "1", *words, word="it can't be told")
                self.says_no(node, "destroy", "1", "--now", *words, word=self.etcd.url[8:])
        self.says_no(node, "destroy", "1", *self.over_tls(ca="/nowhere.crt"), word="/nowhere.crt")
        self.done(node, "enable", "1")
        self.assertEqual(node.client().unseal(self.old.sealed), self.old.secret)

    def test_verify_reads_it_and_no_other(self):
        node = self.rotated()
        self.put("a", self.new)
        command = ("verify", "--prove", "-o", "json", "--config", node.config_path)
        report = json.loads(node.run(*command, *self.over_tls()).stdout)
        self.assertEqual((report["verdict"], report["level"]), ("clean", "proven"))
        for what, words in self.strange():
            with self.subTest(what):
                done = node.run(*command, *words)
                self.assertEqual((done.returncode, done.stdout), (ERROR, ""), done.stderr)
                self.assertIn("UNAVAILABLE", done.stderr)

    def test_inspect_reads_it_and_no_other(self):
        node = self.rotated()
        self.put("a", self.new)
        command = ("inspect", f"{self.prefix}/secrets/default/a", "-o", "json", "--config",
                   node.config_path)
        told = json.loads(node.run(*command, *self.over_tls()).stdout)
        self.assertEqual(told["key_id"], self.new.key_id)
        for what, words in self.strange():
            with self.subTest(what):
                done = node.run(*command, *words)
                self.assertEqual((done.returncode, done.stdout), (ERROR, ""), done.stderr)
