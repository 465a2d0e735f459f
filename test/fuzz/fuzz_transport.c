/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the file of a transport key: they give a public key and a hash that are written and
 * read again as they are, or are refused. */
#include "transport_names.h"

#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_transport_key key = { .made = false };
    struct kms_spki again = { .len = 0 };
    enum kms_oaep_hash hash = KMS_OAEP_SHA256;
    struct kms_error err = { 0 };
    char pem[KMS_TRANSPORT_PEM_MAX];
    enum kms_code rc = kms_spki_read(fuzz_file("transport.pem", data, size), &key.spki, &key.hash,
                                     &err);
    if (rc != KMS_OK) {
        FUZZ_CHECK(rc == KMS_E_INVALID && err.code == rc && err.msg[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(key.spki.len > 0 && key.spki.len <= sizeof(key.spki.data));
    FUZZ_CHECK(kms_transport_pem("prod", &key, pem, &err) == KMS_OK);
    const char *path = fuzz_file("transport.pem", (const uint8_t *)pem, strlen(pem));
    FUZZ_CHECK(kms_spki_read(path, &again, &hash, &err) == KMS_OK);
    FUZZ_CHECK(hash == key.hash && again.len == key.spki.len);
    FUZZ_CHECK(memcmp(again.data, key.spki.data, again.len) == 0);
    return 0;
}
