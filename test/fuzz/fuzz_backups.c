/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as backups.json: they give a record of bounded texts, or none, or are refused. */
#include "backups.h"

#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_backup backup = { .recorded_utc_s = 0 };
    struct kms_error err = { 0 };
    bool found = false;
    fuzz_file("backups.json", data, size);
    enum kms_code rc = kms_backups_find(fuzz_dir(), NULL, NULL, &found, &backup, &err);
    if (rc != KMS_OK) {
        FUZZ_CHECK(rc == KMS_E_PRECONDITION && err.code == rc && err.msg[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(strlen(backup.reference) <= KMS_BACKUP_REFERENCE_MAX);
    FUZZ_CHECK(strlen(backup.id) == (found ? (size_t)KMS_BACKUP_ID_LEN : 0));
    return 0;
}
