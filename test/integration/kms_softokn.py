# SPDX-License-Identifier: Apache-2.0
"""Tokens of NSS's softokn, plain or in FIPS mode (test/fake/softokn.c)."""

import ctypes
import os
import subprocess
import sys

FIPS_LABEL = "NSS FIPS 140-2 Certificate DB"
PLAIN_LABEL = "NSS Certificate DB"
PIN = "kms-Fips-1x"  # the FIPS mode wants 7 characters of several classes

# Places in CK_FUNCTION_LIST, after the version.
INITIALIZE, FINALIZE, INIT_PIN, OPEN_SESSION, LOGIN = 0, 1, 10, 12, 18
RW_SERIAL, SECURITY_OFFICER, OS_LOCKING_OK = 6, 0, 2
SLOTS = {False: 2, True: 3}


def library(binary):
    """Beside the binary, in its build folder."""
    path = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(binary)),
                                         "../../test/fake/libkms_softokn.so"))
    if not os.path.exists(path):
        raise AssertionError("no %s: build the target softokn" % path)
    return path


class Softokn:
    """Becomes @node's token: made, with a user PIN, and named in its configuration."""

    def __init__(self, node, fips):
        directory = node.path("nss")
        os.mkdir(directory, 0o700)
        node.env["SOFTOKN_DIR"] = directory
        if fips:
            node.env["SOFTOKN_FIPS"] = "1"
        self.module = library(node.binary)
        # softokn keeps what it is told first: each token is made in a process of its own
        subprocess.run([sys.executable, os.path.abspath(__file__), directory,
                        "fips" if fips else "plain"], check=True, timeout=60)
        label = (FIPS_LABEL if fips else PLAIN_LABEL).replace(" ", "%20")
        os.makedirs(node.token.directory, exist_ok=True)
        node.token.write_pin(PIN)
        node.config["tokens"][0].update(module=self.module, uri="pkcs11:token=" + label,
                                        environment=["SOFTOKN_DIR", "SOFTOKN_FIPS"])
        node.configure()


class InitializeArgs(ctypes.Structure):
    _fields_ = [("callbacks", ctypes.c_void_p * 4), ("flags", ctypes.c_ulong),
                ("reserved", ctypes.c_char_p)]


def set_first_pin(directory, fips):
    """As NSS wants it: there is no C_InitToken, and the security officer's PIN is empty."""
    softokn = ctypes.CDLL("libsoftokn3.so")  # not the module in front, which sanitizers may watch
    get = softokn.FC_GetFunctionList if fips else softokn.NSC_GetFunctionList
    functions = ctypes.POINTER(ctypes.c_void_p)()
    check("C_GetFunctionList", get(ctypes.byref(functions)))

    def call(place, *arguments):
        prototype = ctypes.CFUNCTYPE(ctypes.c_ulong, *(type(one) for one in arguments))
        check(str(place), prototype(functions[1 + place])(*arguments))

    text = "configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags=" % directory
    args = InitializeArgs(flags=OS_LOCKING_OK, reserved=text.encode())
    session, nothing = ctypes.c_ulong(), ctypes.c_void_p()
    call(INITIALIZE, ctypes.cast(ctypes.byref(args), ctypes.c_void_p))
    call(OPEN_SESSION, ctypes.c_ulong(SLOTS[fips]), ctypes.c_ulong(RW_SERIAL), nothing, nothing,
         ctypes.cast(ctypes.byref(session), ctypes.c_void_p))
    call(LOGIN, session, ctypes.c_ulong(SECURITY_OFFICER), ctypes.c_char_p(b""), ctypes.c_ulong(0))
    call(INIT_PIN, session, ctypes.c_char_p(PIN.encode()), ctypes.c_ulong(len(PIN)))
    call(FINALIZE, nothing)


def check(name, rv):
    if rv != 0:
        raise SystemExit("function %s of NSS answered 0x%x" % (name, rv))


if __name__ == "__main__":
    set_first_pin(sys.argv[1], sys.argv[2] == "fips")
