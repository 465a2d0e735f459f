/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an escrow file: they give an escrow that is written and read again as it is, or are
 * refused. */
#include "escrow_file.h"

#include <string.h>

#include "fuzz.h"

static void check_escrow(const struct kms_escrow *escrow)
{
    FUZZ_CHECK(kms_ring_name_is_valid(escrow->ring));
    FUZZ_CHECK(strspn(escrow->id, "0123456789abcdef") == KMS_BACKUP_ID_LEN);
    FUZZ_CHECK(strlen(escrow->id) == KMS_BACKUP_ID_LEN);
    FUZZ_CHECK((escrow->blob.len > 0) == escrow->complete);
    FUZZ_CHECK(escrow->blob.len <= sizeof(escrow->blob.data));
}

static bool is_same(const struct kms_escrow *a, const struct kms_escrow *b)
{
    return strcmp(a->ring, b->ring) == 0 && strcmp(a->id, b->id) == 0 &&
           memcmp(a->recipient, b->recipient, sizeof(a->recipient)) == 0 &&
           a->complete == b->complete && a->blob.hash == b->blob.hash &&
           memcmp(a->fingerprint, b->fingerprint, sizeof(a->fingerprint)) == 0 &&
           a->blob.len == b->blob.len && memcmp(a->blob.data, b->blob.data, a->blob.len) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_escrow escrow = { .complete = false }, again = { .complete = false };
    struct kms_error err = { 0 };
    bool found = false;
    const char *path = fuzz_file("kek.escrow", data, size);
    enum kms_code rc = kms_escrow_read(path, &found, &escrow, &err);
    FUZZ_CHECK(found);
    if (rc != KMS_OK) {
        FUZZ_CHECK(rc == KMS_E_INVALID && err.code == rc && err.msg[0] != '\0');
        return 0;
    }
    check_escrow(&escrow);
    FUZZ_CHECK(kms_escrow_write(path, &escrow, &err) == KMS_OK);
    FUZZ_CHECK(kms_escrow_read(path, &found, &again, &err) == KMS_OK && is_same(&escrow, &again));
    return 0;
}
