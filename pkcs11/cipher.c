/* SPDX-License-Identifier: Apache-2.0 */
#include "cipher.h"

#include "rv.h"

enum kms_code pkcs11_wrong_length(const char *call, size_t got, size_t expected,
                                  struct kms_error *err)
{
    return kms_fail(err, KMS_E_PRECONDITION,
                    "%s: the module answered with %zu bytes where its algorithm gives %zu: this "
                    "module can't be used",
                    call, got, expected);
}

/* An operation that may still be active must not meet the session's next user. */
static enum kms_code failed(const struct pkcs11_use *use, const char *call, CK_RV rv,
                            const char *what, struct kms_error *err)
{
    if (rv == CKR_BUFFER_TOO_SMALL)
        use->session->broken = true;
    return pkcs11_fail(err, call, rv, "%s", what);
}

enum kms_code pkcs11_cipher_encrypt(const struct pkcs11_use *use, CK_MECHANISM *mechanism,
                                    struct kms_bytes seed, struct kms_wrapped *wrapped,
                                    struct kms_error *err)
{
    CK_RV rv = use->fn->C_EncryptInit(use->session->handle, mechanism, use->kek);
    if (rv != CKR_OK)
        return failed(use, "C_EncryptInit", rv, "wrapping a seed", err);
    CK_ULONG len = sizeof(wrapped->data) - wrapped->len;
    /* Cryptoki's types have no const; the seed is only read, and a copy would have to be wiped. */
    rv = use->fn->C_Encrypt(use->session->handle, (CK_BYTE *)(uintptr_t)seed.data, seed.len,
                            wrapped->data + wrapped->len, &len);
    if (rv != CKR_OK)
        return failed(use, "C_Encrypt", rv, "wrapping a seed", err);
    size_t expected = seed.len + kms_algorithm_overhead(wrapped->algorithm) - wrapped->len;
    if (len != expected)
        return pkcs11_wrong_length("C_Encrypt", len, expected, err);
    wrapped->len += len;
    return KMS_OK;
}

enum kms_code pkcs11_cipher_decrypt(const struct pkcs11_use *use, CK_MECHANISM *mechanism,
                                    struct kms_bytes data, size_t seed_len,
                                    struct kms_secret *ret_seed, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret value = { 0 };
    enum kms_code rc = kms_secret_init(&value, KMS_WRAPPED_MAX, err);
    if (rc != KMS_OK)
        return rc;
    CK_RV rv = use->fn->C_DecryptInit(use->session->handle, mechanism, use->kek);
    if (rv != CKR_OK)
        return failed(use, "C_DecryptInit", rv, "unwrapping a seed", err);
    CK_ULONG len = value.cap;
    rv = use->fn->C_Decrypt(use->session->handle, (CK_BYTE *)(uintptr_t)data.data, data.len,
                            value.data, &len);
    if (rv != CKR_OK)
        return failed(use, "C_Decrypt", rv, "unwrapping a seed", err);
    if (len != seed_len)
        return pkcs11_wrong_length("C_Decrypt", len, seed_len, err);
    value.len = len;
    *ret_seed = kms_secret_take(&value);
    return KMS_OK;
}
