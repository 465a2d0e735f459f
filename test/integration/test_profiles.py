# SPDX-License-Identifier: Apache-2.0
"""The ways in which modules wrap: chosen by what they can do, all with the bytes of RFC 3394."""

import json
import os
import signal
import unittest

import grpc

from kms_profile import ALGORITHM, ProfileCase
from kms_token import RFC_KEK
from test_isolation import hosts_of

KEY_WRAP, LUNA, CLOUDHSM = 0x2109, 0x80000170, 0x80002109
FINDINGS = 2
# What a personality is, how it wraps, and what its test key is.
PERSONALITIES = {
    "plain": ("aes-kw", KEY_WRAP, "imported"),
    "strict-fips": ("aes-kw-cipher", KEY_WRAP, "generated"),
    "luna": ("aes-kw-cipher", LUNA, "imported"),
    "luna-cu": ("aes-kw-cipher", LUNA, "imported"),
    "cloudhsm": ("aes-kw", CLOUDHSM, "imported"),
}
NO_ADMINISTRATOR = ("luna-cu",)


class Profiles(ProfileCase):
    def key(self, node, *words):
        done = node.run("key", *words)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def assert_serves(self, node, profile, foreign=False):
        """Makes two KEKs, and serves under both over a restart."""
        seeds, sealed = [os.urandom(32), os.urandom(32)], []
        for generation in (1, 2):
            node.key_create(*([] if generation == 1 else ["--activate", "now", "--force"]))
            if generation == 1:
                node.start().wait_listening()
            if foreign:
                self.vouch(node, generation)
            node.wait_generation(generation)
            sealed.append(node.client().encrypt(seeds[generation - 1]))
        self.assertEqual(node.stop(), 0)
        node.up()
        kms = node.client()
        self.assertEqual([kms.unseal(one) for one in sealed], seeds)
        self.assertIn('"profile":"%s"' % profile, node.log().replace(" ", ""))
        return sealed


class Personalities(Profiles):
    def test_each_is_found_out_and_described(self):
        for name, (profile, number, test_key) in PERSONALITIES.items():
            with self.subTest(name):
                node, _ = self.personality(name)
                found = self.describe(node)["profile"]
                self.assertEqual(
                    (found["name"], found["mechanism"], found["test_key"], found["kek_encrypts"]),
                    (profile, number, test_key, profile == "aes-kw-cipher"))

    def test_each_serves_and_rotates(self):
        for name, (profile, _, _) in PERSONALITIES.items():
            if name in NO_ADMINISTRATOR:
                continue
            with self.subTest(name):
                node, _ = self.personality(name)
                self.assert_serves(node, profile)

    def test_keys_of_one_serve_another_with_the_same_fingerprint(self):
        # A cipher needs more rights of a key than it needs itself, so its keys serve everywhere.
        node, module = self.personality("strict-fips")
        node.key_create()
        seen, seed, sealed = {}, os.urandom(32), None
        for name in ("strict-fips", "luna", "luna-cu", "plain"):
            with self.subTest(name):
                module.tell("personality " + name)
                node.up()
                kms = node.client()
                sealed = sealed or kms.encrypt(seed)
                self.assertEqual(kms.unseal(sealed), seed)
                self.assertEqual(kms.unseal(kms.encrypt(seed)), seed)
                seen[name], = [kek["fingerprint"] for kek in node.key_list()]
                self.assertEqual(node.stop(), 0)
        self.assertEqual(len(set(seen.values())), 1, seen)

    def test_cloudhsm_never_sees_the_standard_number(self):
        node, module = self.personality("cloudhsm")
        self.assert_serves(node, "aes-kw")
        self.describe(node)
        self.assertNotIn("0x2109", module.log())

    def test_a_key_without_the_right_to_encrypt_says_so_where_that_is_needed(self):
        node, module = self.personality("plain")
        node.key_create()
        module.tell("personality strict-fips")
        kek, = node.key_list()
        self.assertEqual(kek["state"], "refused")
        self.assertIn("CKA_ENCRYPT is false", kek["reason"])

    def test_a_disabled_key_of_a_cipher_is_enabled_again(self):
        node, _ = self.personality("strict-fips")
        self.assert_serves(node, "aes-kw-cipher")
        for command, state in ((["disable", "1", "--socket", node.socket], "disabled"),
                               (["enable", "1"], "decrypt-only")):
            done = node.run("key", *command, "--config", node.config_path)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(node.key_list()[0]["state"], state)

    def test_keys_come_in_from_elsewhere_with_the_rights_that_a_cipher_needs(self):
        for name in ("strict-fips", "luna"):
            with self.subTest(name):
                node, _ = self.personality(name)
                raw, pem, blob = map(node.path, ("raw.key", "transport.pem", "wrapped.bin"))
                with open(raw, "wb") as out:
                    os.fchmod(out.fileno(), 0o600)
                    out.write(RFC_KEK)
                config = ["--config", node.config_path, "-o", "json"]
                self.key(node, "transport-key", "--out", pem, *config)
                wrapped = self.key(node, "wrap", "--transport", pem, "--in", raw, "--out", blob,
                                   "-o", "json")
                self.key(node, "import", "--wrapped", blob, "--expect-fingerprint",
                         wrapped["fingerprint"], *config)
                kek, = node.key_list()
                self.assertEqual(kek["fingerprint"], wrapped["fingerprint"])
                self.assertLessEqual({"encrypt", "decrypt"}, set(kek["attributes"]))

    def test_a_failing_call_changes_no_profile(self):
        node, module = self.personality("plain")
        node.key_create()
        node.up()
        sealed = node.client().encrypt(os.urandom(32))
        inits = module.calls("C_EncryptInit")
        module.tell("C_UnwrapKey fail MECHANISM_INVALID", "C_WrapKey fail FUNCTION_NOT_SUPPORTED")
        with self.refused(grpc.StatusCode.FAILED_PRECONDITION, "C_UnwrapKey"):
            node.client().unseal(sealed)
        node.client().unseal(sealed)
        self.assertEqual(module.calls("C_EncryptInit"), inits)

    def test_a_module_that_wraps_in_no_way_is_described_all_the_same(self):
        node, module = self.personality("plain")
        module.tell("C_WrapKey fail MECHANISM_INVALID always",
                    "C_EncryptInit fail MECHANISM_INVALID always")
        told = self.describe(node, FINDINGS)
        self.assertFalse(told["profile"]["usable"])
        self.assertIn("aes-kw (0x2109): C_WrapKey: CKR_MECHANISM_INVALID; aes-kw-cipher",
                      told["profile"]["reason"])
        self.assertTrue(told["mechanisms"])


class Change(Profiles):
    """A ring that goes from one algorithm to another and back."""

    def restart(self, node, profile):
        self.assertEqual(node.stop(), 0)
        self.asking_for(profile, node)
        node.start().wait_listening()

    def test_old_seeds_are_read_after_a_change_and_after_the_way_back(self):
        node = self.ready_node()
        seeds = [os.urandom(32) for _ in range(3)]
        sealed = [node.client().encrypt(seeds[0])]
        self.restart(node, "aes-gcm")
        node.wait_failing(grpc.StatusCode.FAILED_PRECONDITION)  # its KEK may not encrypt
        self.assertEqual(node.client().unseal(sealed[0]), seeds[0])
        node.rotate()
        sealed.append(node.client().encrypt(seeds[1]))
        self.restart(node, "auto")
        node.wait_generation(2)
        sealed.append(node.client().encrypt(seeds[2]))
        self.assertEqual([len(one.annotations) for one in sealed], [0, 1, 0])
        self.assertEqual([node.client().unseal(one) for one in sealed], seeds)


class Foreign(Profiles):
    """Values that name an algorithm which the token can't do: anyone who can write to etcd writes such."""

    TIMES = 20

    def test_no_annotation_takes_status_down(self):
        node = self.ready_node()
        kms = node.client()
        seed = os.urandom(32)
        sealed = kms.encrypt(seed)
        for algorithm, length in ((b"aes-kwp", 40), (b"aes-gcm", 60)):
            for _ in range(self.TIMES):
                with self.refused(grpc.StatusCode.INVALID_ARGUMENT,
                                  "this token can't unwrap by " + algorithm.decode()):
                    kms.decrypt(os.urandom(length), sealed.key_id,
                                annotations=[(ALGORITHM, algorithm)])
                self.assertEqual(kms.status_error(), (None, ""))
            self.assertEqual(kms.unseal(sealed), seed)


class Frozen(Profiles):
    def test_a_host_that_is_started_again_keeps_the_algorithm(self):
        node, module = self.personality("plain")
        module.tell("C_WrapKey fail MECHANISM_INVALID always")
        node.key_create()
        node.up()
        self.assertEqual(len(node.client().encrypt(os.urandom(32)).annotations), 1)
        module.tell()  # AES key wrap can be had now
        os.kill(hosts_of(node.process.pid)[0], signal.SIGKILL)
        node.wait_status()
        answer = node.client().encrypt(os.urandom(32))
        self.assertEqual(len(answer.annotations), 1)
        with open("/proc/%d/cmdline" % hosts_of(node.process.pid)[0], "rb") as command:
            words = command.read().split(b"\0")
        self.assertEqual(words[words.index(b"--profile") + 1], b"aes-gcm")


class CryptoUser(Profiles):
    def test_another_vendors_token_is_left_alone(self):
        node = self.new_node().make_token()
        node.key_create()
        node.config["tokens"][0]["user_type"] = "crypto-user"
        node.configure()
        node.start()
        self.assertIn("user_type: crypto-user: only Thales Luna",
                      node.wait_failing(grpc.StatusCode.FAILED_PRECONDITION))


class Nss(Profiles):
    def test_plain_nss_wraps_by_objects(self):
        node = self.softokn(fips=False)
        self.assertEqual(self.describe(node)["profile"]["name"], "aes-kw")
        self.assert_serves(node, "aes-kw", foreign=True)

    def test_the_fips_mode_wraps_as_a_cipher(self):
        node = self.softokn(fips=True)
        found = self.describe(node)["profile"]
        self.assertEqual((found["name"], found["test_key"]), ("aes-kw-cipher", "generated"))
        self.assertTrue(found["compared"])
        self.assertIn("aes-kw (0x2109): C_CreateObject: CKR_ATTRIBUTE_VALUE_INVALID",
                      found["reason"])
        self.assert_serves(node, "aes-kw-cipher", foreign=True)

    def test_a_damaged_ciphertext_is_told_from_a_broken_token(self):
        node = self.softokn(fips=True)
        node.key_create()
        node.start().wait_listening()
        self.vouch(node, 1)
        node.wait_generation(1)
        kms = node.client()
        seed = os.urandom(32)
        sealed = kms.encrypt(seed)
        damaged = bytearray(sealed.ciphertext)
        damaged[-1] ^= 1
        with self.refused(grpc.StatusCode.DATA_LOSS, "C_Decrypt"):
            kms.decrypt(bytes(damaged), sealed.key_id)
        self.assertEqual(kms.unseal(sealed), seed)


class Describe(Profiles):
    def test_softhsm_is_described_in_words(self):
        node = self.new_node().make_token()
        done = node.run("token", "describe", "--config", node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        for words in ("token          prod", "model          SoftHSM v2", "login          required",
                      "AES_KEY_WRAP ", "0x2109", "wrap unwrap", "profile        aes-kw",
                      "test key       imported", "known answer of RFC 3394", "next: ",
                      "chosen  right, by OpenSSL", "aes-gcm         0x1087  yes "):
            self.assertIn(words, done.stdout)

    def test_it_leaves_nothing_on_the_token(self):
        node = self.new_node().make_token()
        before = node.token.objects()
        self.describe(node)
        self.assertEqual(node.token.objects(), before)

    def test_json_has_the_token_its_flags_and_its_mechanisms(self):
        node = self.new_node().make_token()
        told = self.describe(node)
        self.assertEqual(told["schema"], "hsm-kms/token-describe/v1")
        self.assertEqual(told["token"]["label"], "prod")
        self.assertTrue(told["token"]["login_required"])
        self.assertFalse(told["token"]["pin_locked"])
        rows = {row["number"]: row for row in told["mechanisms"]}
        self.assertTrue(rows[KEY_WRAP]["wrap"] and rows[KEY_WRAP]["unwrap"])
        self.assertFalse(rows[KEY_WRAP]["encrypt"])
        self.assertEqual(rows[0x210B]["refusal"], "CKR_MECHANISM_INVALID")

    def test_every_profile_is_tried_and_the_chosen_one_marked(self):
        node = self.asking_for("aes-gcm", self.new_node().make_token())
        told = self.describe(node)
        tried = {row["name"]: row for row in told["profiles"]}
        self.assertEqual([name for name, row in tried.items() if row["works"]],
                         ["aes-kw", "aes-gcm"])
        self.assertEqual([name for name, row in tried.items() if row["chosen"]], ["aes-gcm"])
        self.assertEqual(tried["aes-kwp"]["answer"], "C_WrapKey: CKR_MECHANISM_INVALID")
        self.assertIn("asked for: it gave the known answer of AES-GCM", told["profile"]["reason"])

    def test_what_can_not_be_had_is_refused_by_name(self):
        node = self.asking_for("aes-kwp", self.new_node().make_token())
        told = self.describe(node, FINDINGS)
        self.assertIn("doesn't wrap by aes-kwp", told["profile"]["reason"])

    def test_a_wrong_pin_is_an_error_and_is_remembered(self):
        node = self.new_node().make_token()
        os.mkdir(node.state_dir, 0o700)
        node.token.write_pin("wrong-pin")
        first = node.run("token", "describe", "--config", node.config_path)
        again = node.run("token", "describe", "--config", node.config_path)
        self.assertEqual((first.returncode, again.returncode), (1, 1))
        self.assertIn("CKR_PIN_INCORRECT", first.stderr)
        self.assertIn("refused this PIN", again.stderr)


if __name__ == "__main__":
    unittest.main()
