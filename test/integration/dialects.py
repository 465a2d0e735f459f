# SPDX-License-Identifier: Apache-2.0
"""What kube-apiserver needs of the plugin, on each module and by each profile that there is: a test each,
under a minute each (ctest's label dialect).  What is particular to one is in test_profiles.py."""

import os
import re
import unittest

import grpc

from kms_client import entries
from kms_profile import ALGORITHM, ProfileCase

OVERHEAD = {"aes-kw": 8, "aes-kwp": 8, "aes-gcm": 28}
SIZES = (16, 32, 256)
# A subset of what kube-apiserver takes: domain names (k8s.io/apimachinery's IsFullyQualifiedDomainName).
DOMAIN = re.compile(rb"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")


class Contract(ProfileCase):
    """@algorithm is what its ciphertexts are by, @foreign whether an operator must vouch for keys."""

    algorithm = "aes-kw"
    foreign = False

    def contract(self, node):
        self.seeds, self.answers = [], []
        self.make(node, 1)
        node.start().wait_listening()
        self.settle(node, 1)
        self.seal(node)
        self.refuses(node)
        self.make(node, 2, "--activate", "now", "--force")
        self.settle(node, 2)
        self.seal(node)
        self.is_bound(node)
        self.assertEqual(node.stop(), 0)
        node.up()
        self.unseal(node)
        self.assertEqual(node.client().status().healthz, "ok")

    def make(self, node, generation, *flags):
        self.assertEqual(node.key_create(*flags)["generation"], generation)

    def settle(self, node, generation):
        if self.foreign:
            self.vouch(node, generation)
        node.wait_generation(generation)

    def seal(self, node):
        """Seeds of all sizes; what was sealed before is still read."""
        kms = node.client()
        for size in SIZES:
            seed = os.urandom(size)
            answer = kms.encrypt(seed)
            self.assertEqual(answer.key_id, kms.status().key_id)
            self.assertEqual(len(answer.ciphertext), size + OVERHEAD[self.algorithm])
            self.check_annotations(answer)
            self.seeds.append(seed)
            self.answers.append(answer)
        self.unseal(node)

    def check_annotations(self, answer):
        told = entries(answer)
        expected = [] if self.algorithm == "aes-kw" else [(ALGORITHM, self.algorithm.encode())]
        self.assertEqual(told, expected)
        for key, _ in told:
            self.assertIsNotNone(DOMAIN.fullmatch(key))

    def unseal(self, node):
        kms = node.client()
        self.assertEqual([kms.unseal(one) for one in self.answers], self.seeds)

    def refuses(self, node):
        kms, answer = node.client(), self.answers[1]
        damaged = bytearray(answer.ciphertext)
        damaged[-1] ^= 1
        with self.refused(grpc.StatusCode.DATA_LOSS):
            kms.unseal(answer._replace(ciphertext=bytes(damaged)))
        with self.refused(grpc.StatusCode.INVALID_ARGUMENT, "bytes"):
            kms.unseal(answer._replace(ciphertext=answer.ciphertext[:-1]))
        with self.refused(grpc.StatusCode.INVALID_ARGUMENT, "annotation"):
            kms.decrypt(answer.ciphertext, answer.key_id, annotations=[(b"a.example.com", b"x")])
        with self.refused(grpc.StatusCode.INVALID_ARGUMENT, "annotation"):
            kms.decrypt(answer.ciphertext, answer.key_id, annotations=[(ALGORITHM, b"aes-cbc")])
        with self.refused(grpc.StatusCode.NOT_FOUND):
            kms.unseal(answer._replace(key_id="prod.v1." + 32 * "0"))
        self.assertEqual(kms.unseal(answer), self.seeds[1])
        self.assertEqual(kms.status().healthz, "ok")

    def is_bound(self, node):
        """The first generation's ciphertext under the second's key_id."""
        with self.refused(grpc.StatusCode.DATA_LOSS):
            node.client().unseal(self.answers[0]._replace(key_id=self.answers[-1].key_id))


class SoftHsm(Contract):
    def test_aes_kw_in_a_child_process(self):
        self.contract(self.new_node().make_token())

    def test_aes_kw_in_the_plugin(self):
        self.contract(self.in_process(self.new_node().make_token()))


class SoftHsmGcm(Contract):
    algorithm = "aes-gcm"

    def test_aes_gcm_in_a_child_process(self):
        self.contract(self.asking_for("aes-gcm", self.new_node().make_token()))

    def test_aes_gcm_in_the_plugin(self):
        self.contract(self.asking_for("aes-gcm", self.in_process(self.new_node().make_token())))

    def test_aes_gcm_where_key_wrap_can_not_be_had(self):
        node, module = self.personality("plain")
        module.tell("C_WrapKey fail MECHANISM_INVALID always")
        self.contract(node)


class Personalities(Contract):
    def test_strict_fips(self):
        self.contract(self.personality("strict-fips")[0])

    def test_luna(self):
        self.contract(self.personality("luna")[0])

    def test_cloudhsm(self):
        self.contract(self.personality("cloudhsm")[0])

    def test_network(self):
        self.contract(self.personality("network")[0])


class LimitedUser(Contract):
    """luna-cu: an administrator makes the keys, and serve logs in as who can't."""

    def make(self, node, generation, *flags):
        self.module.tell("personality luna")
        super().make(node, generation, *flags)
        self.module.tell("personality luna-cu")

    def test_luna_cu(self):
        node, self.module = self.personality("luna-cu")
        node.config["tokens"][0]["user_type"] = "crypto-user"
        node.configure()
        self.contract(node)
        self.assertIn("TOKEN_WRITE_PROTECTED",
                      node.run("key", "create", "--config", node.config_path).stderr)


class Nss(Contract):
    foreign = True  # NSS never says CKA_LOCAL

    def test_plain(self):
        self.contract(self.softokn(fips=False))

    def test_fips(self):
        self.contract(self.softokn(fips=True))


class NssPadded(Contract):
    algorithm = "aes-kwp"
    foreign = True

    def test_plain(self):
        self.contract(self.asking_for("aes-kwp", self.softokn(fips=False)))

    def test_fips(self):
        self.contract(self.asking_for("aes-kwp", self.softokn(fips=True)))


class NssGcm(Contract):
    algorithm = "aes-gcm"
    foreign = True

    def test_plain(self):
        self.contract(self.asking_for("aes-gcm", self.softokn(fips=False)))

    def test_fips(self):
        self.contract(self.asking_for("aes-gcm", self.softokn(fips=True)))


if __name__ == "__main__":
    unittest.main()
