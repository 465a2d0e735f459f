# SPDX-License-Identifier: Apache-2.0
"""Nodes on modules that wrap in their own ways."""

import json

from kms_case import Case
from kms_misbehave import Misbehaviour
from kms_softokn import Softokn

ALGORITHM = b"algorithm.hsm-kms.dev"  # the annotation


class ProfileCase(Case):
    def personality(self, name):
        node = self.new_node().make_token()
        if name == "cloudhsm":  # its PINs are "user:password"
            node.config["tokens"][0]["user"] = "crypto-user"
        module = Misbehaviour(node)
        module.tell("personality " + name)
        return node, module

    def softokn(self, fips):
        node = self.new_node()
        Softokn(node, fips)
        return node

    def describe(self, node, code=0):
        done = node.run("token", "describe", "--config", node.config_path, "-o", "json")
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def vouch(self, node, generation):
        """Takes a key whose origin the token doesn't tell: NSS never says CKA_LOCAL."""
        fingerprint, = [kek["fingerprint"] for kek in node.key_list()
                        if kek["generation"] == generation]
        done = node.run("key", "accept", "--config", node.config_path, "--generation",
                        str(generation), "--fingerprint", fingerprint)
        self.assertEqual(done.returncode, 0, done.stderr)

    def asking_for(self, profile, node):
        node.configure(profile=profile)
        return node

    def in_process(self, node):
        node.config["tokens"][0]["isolation"] = "none"
        node.configure()
        return node
