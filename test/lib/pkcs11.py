# SPDX-License-Identifier: Apache-2.0
"""C_CreateObject for one AES key with exactly the attributes of a KEK.

pkcs11-tool can't: it leaves CKA_ENCRYPT and CKA_DECRYPT to the module's defaults."""

import ctypes
import os

CKU_USER = 1
CKF_RW_SERIAL_SESSION = 0x6
CKO_SECRET_KEY, CKK_AES = 4, 0x1F
CKA_CLASS, CKA_TOKEN, CKA_PRIVATE, CKA_LABEL = 0x0, 0x1, 0x2, 0x3
CKA_VALUE, CKA_KEY_TYPE, CKA_ID, CKA_SENSITIVE = 0x11, 0x100, 0x102, 0x103
CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP = 0x104, 0x105, 0x106, 0x107
CKA_SIGN, CKA_VERIFY, CKA_DERIVE, CKA_EXTRACTABLE = 0x108, 0x10A, 0x10C, 0x162
CKA_ID_LEN = 16  # bytes


class Attribute(ctypes.Structure):
    _fields_ = [("type", ctypes.c_ulong), ("value", ctypes.c_char_p), ("len", ctypes.c_ulong)]


def encode(value):
    if isinstance(value, bool):
        return bytes([value])
    if isinstance(value, int):
        return bytes(ctypes.c_ulong(value))
    return value


def kek_template(label, value):
    attributes = {
        CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_TOKEN: True, CKA_PRIVATE: True,
        CKA_SENSITIVE: True, CKA_EXTRACTABLE: False, CKA_WRAP: True, CKA_UNWRAP: True,
        CKA_ENCRYPT: False, CKA_DECRYPT: False, CKA_SIGN: False, CKA_VERIFY: False,
        CKA_DERIVE: False, CKA_LABEL: label.encode(), CKA_ID: os.urandom(CKA_ID_LEN),
        CKA_VALUE: value,
    }
    encoded = [(kind, encode(what)) for kind, what in attributes.items()]
    return (Attribute * len(encoded))(*(Attribute(kind, v, len(v)) for kind, v in encoded))


class Module:
    """Calls that raise on anything but CKR_OK.  The module is finalized at the end of `with`."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)

    def __enter__(self):
        self.call("C_Initialize", None)
        return self

    def __exit__(self, *_):
        self.call("C_Finalize", None)

    def call(self, name, *arguments):
        function = getattr(self.library, name)
        function.restype = ctypes.c_ulong
        rv = function(*arguments)
        if rv != 0:
            raise RuntimeError(f"{name}: CKR 0x{rv:x}")

    def slot_of(self, token_label):
        count = ctypes.c_ulong()
        self.call("C_GetSlotList", ctypes.c_ubyte(1), None, ctypes.byref(count))
        slots = (ctypes.c_ulong * count.value)()
        self.call("C_GetSlotList", ctypes.c_ubyte(1), slots, ctypes.byref(count))
        for slot in slots:
            info = ctypes.create_string_buffer(512)  # CK_TOKEN_INFO starts with the label
            self.call("C_GetTokenInfo", ctypes.c_ulong(slot), info)
            if info.raw[:32].rstrip() == token_label.encode():
                return ctypes.c_ulong(slot)
        raise RuntimeError(f"no token '{token_label}'")


def import_kek(module_path, conf, token_label, pin, label, value):
    os.environ["SOFTHSM2_CONF"] = conf
    with Module(module_path) as module:
        session = ctypes.c_ulong()
        module.call("C_OpenSession", module.slot_of(token_label),
                    ctypes.c_ulong(CKF_RW_SERIAL_SESSION), None, None, ctypes.byref(session))
        module.call("C_Login", session, ctypes.c_ulong(CKU_USER), pin, ctypes.c_ulong(len(pin)))
        template = kek_template(label, value)
        handle = ctypes.c_ulong()
        module.call("C_CreateObject", session, template, ctypes.c_ulong(len(template)),
                    ctypes.byref(handle))
