# SPDX-License-Identifier: Apache-2.0
"""Bad configurations: serve ends at once, non-zero, and names file and line."""

import unittest

from kms_case import Case

GOOD = """\
ring: prod
socket:
  path: {socket}
  mode: "0660"
  group: root
  allow_uids: []
tokens:
  - module: /usr/lib/softhsm/libsofthsm2.so
    uri: "pkcs11:token=prod"
    pin_file: {pin_file}
    sessions: 4
state_dir: {state_dir}
refresh: 30s
canary: 30s
clock_skew: 30s
"""

# name: (what is replaced, by what, the line of the fault, words of the message)
BAD = {
    "an unknown field": ("refresh: 30s", "refrehs: 30s", 13, ["refrehs"]),
    "an unknown nested field": ("    sessions: 4", "    session: 4", 11, ["tokens[0]", "session"]),
    "sessions of 0": ("sessions: 4", "sessions: 0", 11,
                      ["tokens[0].sessions: 0 is out of range 1..64"]),
    "sessions of 65": ("sessions: 4", "sessions: 65", 11,
                       ["tokens[0].sessions: 65 is out of range 1..64"]),
    "sessions as a word": ("sessions: 4", "sessions: many", 11, ["tokens[0].sessions"]),
    "sessions beyond any integer": ("sessions: 4", "sessions: 99999999999999999999", 11,
                                    ["tokens[0].sessions"]),
    "a ring name in capitals": ("ring: prod", "ring: Prod", 1, ["ring"]),
    "a ring name of 25 characters": ("ring: prod", "ring: " + "r" * 25, 1, ["ring"]),
    "an empty ring name": ("ring: prod", 'ring: ""', 1, ["ring"]),
    "a ring that is a list": ("ring: prod", "ring: [prod]", 1, ["ring"]),
    "a socket that is a text": (GOOD[GOOD.index("socket:"):GOOD.index("tokens")],
                                "socket: {socket}\n", 2, ["socket"]),
    "an abstract socket": ("path: {socket}", 'path: "@kms"', 3, ["socket.path", "abstract"]),
    "a relative socket path": ("path: {socket}", "path: run/kms.sock", 3, ["socket.path"]),
    "a socket path that does not fit": ("path: {socket}", "path: /run/" + "x" * 120, 3,
                                        ["socket.path"]),
    "an executable mode": ('mode: "0660"', 'mode: "0777"', 4, ["socket.mode"]),
    "a mode that is not octal": ('mode: "0660"', 'mode: "0980"', 4, ["socket.mode"]),
    "a negative uid": ("allow_uids: []", "allow_uids: [-1]", 6, ["socket.allow_uids"]),
    "no tokens": (GOOD[GOOD.index("tokens:"):GOOD.index("state_dir")], "tokens: []\n", 7,
                  ["tokens"]),
    "a token without a module": ("  - module: /usr/lib/softhsm/libsofthsm2.so\n    uri",
                                 "  - uri", 8, ["module"]),
    "a token without a PIN file": ("    pin_file: {pin_file}\n", "", 8, ["pin_file"]),
    "a URI that is not pkcs11:": ('"pkcs11:token=prod"', '"https:token=prod"', 9,
                                  ["tokens[0].uri"]),
    "a URI with a PIN inside": ('"pkcs11:token=prod"', '"pkcs11:token=prod?pin-value=s3cr3t"', 9,
                                ["tokens[0].uri"]),
    "a duration without a unit": ("refresh: 30s", "refresh: 30", 13, ["refresh"]),
    "a duration of fractions": ("refresh: 30s", "refresh: 1.5s", 13, ["refresh"]),
    "a refresh of 0": ("refresh: 30s", "refresh: 0s", 13, ["refresh", "out of range"]),
    "a canary of an hour": ("canary: 30s", "canary: 1h", 14, ["canary", "out of range"]),
    "a field given twice": ("clock_skew: 30s", "ring: prod", 15, ["ring"]),
    "two documents": ("clock_skew: 30s", "clock_skew: 30s\n---\nring: x", 16, ["document"]),
    "an anchor": ("ring: prod", "ring: &a prod", 1, ["anchor"]),
    "broken YAML": ("ring: prod", "ring: [prod", None, []),
    "a tab as indentation": ("  mode", "\tmode", None, []),
    "a pin without a fingerprint": ("clock_skew: 30s", "pins: [{{generation: 1}}]", 15,
                                    ["pins[0]"]),
    "a pin of generation 0": ("clock_skew: 30s",
                              "pins: [{{generation: 0, fingerprint: " + "0" * 64 + "}}]", 15,
                              ["pins[0].generation"]),
    "a fingerprint of 63 digits": ("clock_skew: 30s",
                                   "pins: [{{generation: 1, fingerprint: \"" + "a" * 63 + "\"}}]",
                                   15, ["pins[0].fingerprint"]),
    "an unknown log level": ("clock_skew: 30s", "log: {{level: loud}}", 15, ["log.level"]),
    "an unknown log format": ("clock_skew: 30s", "log: {{format: xml}}", 15, ["log.format"]),
}


class BadConfiguration(Case):
    def refuse(self, text, line, words):
        node = self.new_node()
        node.write_config(text.format(socket=node.socket, pin_file=node.token.pin_file,
                                      state_dir=node.state_dir))
        said = node.serve_fails()
        where = node.config_path + (":%d:" % line if line else ":")
        for word in [where, *words]:
            self.assertIn(word, said)
        self.assertNotIn("s3cr3t", said)
        return said

    def test_an_empty_file_is_refused(self):
        self.refuse("", None, [])

    def test_a_missing_file_is_named(self):
        said = self.new_node().serve_fails("--config", "/nonexistent/config.yaml")
        self.assertIn("/nonexistent/config.yaml", said)

    def test_a_missing_ring_is_named(self):
        self.refuse(GOOD.replace("ring: prod\n", ""), None, ["ring"])

    def test_a_hostile_value_is_not_echoed_raw(self):
        said = self.refuse(GOOD.replace("ring: prod", 'ring: "a\\e[2Jb"'), 1, ["ring"])
        self.assertNotIn("\x1b", said)

    def test_a_flag_is_checked_like_the_field(self):
        for path in ("@kms", "kms.sock", "/run/" + "x" * 120):
            with self.subTest(path):
                self.assertIn("--socket", self.new_node().serve_fails("--socket", path))

    def test_a_token_uri_that_selects_nothing_or_too_much_is_refused(self):
        for uri, word in (("pkcs11:", "names no token"), ("pkcs11:slot-id=0", "slot"),
                          ("pkcs11:tokin=prod", "unknown attribute"),
                          ("pkcs11:token=prod?pin-source=/etc/passwd", "PIN")):
            with self.subTest(uri):
                node = self.new_node()
                node.config["tokens"][0]["uri"] = uri
                node.configure()
                self.assertIn(word, node.serve_fails())

    def test_a_fault_of_the_second_token_is_told_as_such(self):
        node = self.new_node()
        node.config["tokens"].append(dict(node.config["tokens"][0], uri="pkcs11:slot-id=0"))
        node.configure()
        done = node.run("config", "check", "--config", node.config_path)
        self.assertNotEqual(done.returncode, 0)
        for said in (done.stderr, node.serve_fails()):
            self.assertIn("tokens[1]: ", said)

    def test_a_relative_module_path_is_refused(self):
        node = self.new_node()
        node.config["tokens"][0]["module"] = "softhsm/libsofthsm2.so"
        node.configure()
        self.assertIn("tokens[0].module", node.serve_fails())

    def test_an_unknown_flag_is_refused(self):
        self.assertIn("--pin", self.new_node().serve_fails("--pin", "1234"))

    def test_config_check_says_the_same_as_serve(self):
        node = self.new_node()
        node.configure(refresh="0s")
        done = node.run("config", "check", "--config", node.config_path)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(node.config_path + ":5: refresh", done.stderr)

    def test_config_check_accepts_a_good_file(self):
        node = self.new_node()
        done = node.run("config", "check", "--config", node.config_path)
        self.assertEqual(done.returncode, 0, done.stderr)


def add_case(name, old, new, line, words):
    def test(self):
        self.assertIn(old, GOOD)
        self.refuse(GOOD.replace(old, new), line, words)
    slug = "".join(c if c.isalnum() else "_" for c in name)
    setattr(BadConfiguration, "test_%s_is_refused" % slug, test)


for case_name, (old_text, new_text, fault_line, wanted) in BAD.items():
    add_case(case_name, old_text, new_text, fault_line, wanted)


if __name__ == "__main__":
    unittest.main()
