/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an EncryptRequest and as a DecryptRequest: a request whose every field can be read,
 * or KMS_E_INVALID. */
#include <stdbool.h>

#include "fuzz.h"
#include "wire.h"

/* Reads every byte, so that the sanitizer sees a span which isn't ours. */
static void read_all(struct kms_bytes bytes)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < bytes.len; i++)
        sum = (uint8_t)(sum + bytes.data[i]);
}

static bool parsed(enum kms_code rc, const struct kms_error *err)
{
    FUZZ_CHECK(rc == KMS_OK || (rc == KMS_E_INVALID && err->code == rc && err->msg[0] != '\0'));
    return rc == KMS_OK;
}

static void check_encrypt(struct kms_bytes bytes)
{
    struct kms_wire_encrypt message;
    struct kms_error err = { 0 };
    if (!parsed(kms_wire_parse_encrypt(bytes, &message, &err), &err))
        return;
    read_all(message.request.plaintext);
    read_all(message.request.uid);
    kms_wire_encrypt_done(&message);
}

static void check_decrypt(struct kms_bytes bytes)
{
    struct kms_wire_decrypt message;
    struct kms_error err = { 0 };
    if (!parsed(kms_wire_parse_decrypt(bytes, &message, &err), &err))
        return;
    read_all(message.request.ciphertext);
    read_all(message.request.uid);
    read_all(message.request.key_id);
    for (size_t i = 0; i < message.request.annotation_count; i++) {
        read_all(message.request.annotations[i].key);
        read_all(message.request.annotations[i].value);
    }
    kms_wire_decrypt_done(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_encrypt((struct kms_bytes){ data, size });
    check_decrypt((struct kms_bytes){ data, size });
    return 0;
}
