/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an EncryptionConfiguration: read within its limits, or refused with a text. */
#include <string.h>

#include "cluster/encryption.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_encryption encryption = { 0 };
    struct kms_error err = { 0 };
    const struct kms_bytes text = { data, size };
    enum kms_code rc = kms_encryption_parse("e.yaml", text, &encryption, &err);
    if (rc != KMS_OK) {
        FUZZ_CHECK(err.code == rc && err.msg[0] != '\0' && encryption.entries == NULL);
        return 0;
    }
    FUZZ_CHECK(encryption.entry_count > 0 && encryption.entry_count <= KMS_ENCRYPTION_ENTRIES_MAX);
    for (size_t i = 0; i < encryption.entry_count; i++) {
        const struct kms_encryption_entry *entry = &encryption.entries[i];
        FUZZ_CHECK(entry->resource_count > 0 &&
                   entry->resource_count <= KMS_ENCRYPTION_RESOURCES_MAX);
        FUZZ_CHECK(entry->provider_count > 0 &&
                   entry->provider_count <= KMS_ENCRYPTION_PROVIDERS_MAX);
        FUZZ_CHECK(strlen(entry->resources[0]) > 0);
        FUZZ_CHECK(kms_encryption_find(&encryption, entry->resources[0]) != NULL);
    }
    rc = kms_encryption_check(&encryption, size % 2 == 0, &err);
    FUZZ_CHECK(rc == KMS_OK || (rc == KMS_E_INVALID && err.msg[0] != '\0'));
    kms_encryption_done(&encryption);
    return 0;
}
