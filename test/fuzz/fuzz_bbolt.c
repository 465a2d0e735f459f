/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a file of etcd: entries, newest first, or a refusal with the page.  Meta pages
 * get their checksum, or nothing behind them would ever be reached. */
#include "etcd/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake/etcd_file.h"
#include "fuzz.h"

enum { SECTOR = 512, META_LEN = 80, DIGEST_LEN = 32 };

struct reading {
    int64_t revision; /* of the entry before */
    size_t count;
};

static enum kms_code visit(void *context, const struct kms_etcd_entry *entry, struct kms_error *err)
{
    (void)err;
    struct reading *reading = context;
    FUZZ_CHECK(entry->key.len > 0);
    FUZZ_CHECK(entry->mod_revision >= 0 && entry->mod_revision <= reading->revision);
    FUZZ_CHECK(entry->fraction >= 0 && entry->fraction <= 1);
    /* Reads all of it, for the sanitizers. */
    uint8_t sum[KMS_SHA256_LEN];
    kms_sha256(entry->key, sum);
    kms_sha256(entry->value, sum);
    reading->revision = entry->mod_revision;
    reading->count++;
    return KMS_OK;
}

static enum kms_code read_file(const char *path, struct reading *reading, struct kms_error *err)
{
    KMS_CLEANUP(kms_etcd_close_ptr) struct kms_etcd_source *source = NULL;
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    const struct kms_etcd_query query = { .visit = visit, .context = reading };
    enum kms_code rc = kms_etcd_snapshot_open(path, &source, err);
    if (rc == KMS_OK)
        rc = kms_etcd_read(source, &query, &summary, err);
    if (rc == KMS_OK)
        FUZZ_CHECK(summary.span_count == 1 && !summary.stopped);
    return rc;
}

/* As long as a file is, with both checksums. */
static uint8_t *mend(const uint8_t *data, size_t size, size_t *ret_size)
{
    size_t padded = (size + SECTOR - 1) / SECTOR * SECTOR;
    uint8_t *copy = calloc(1, padded + META_LEN);
    FUZZ_CHECK(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    etcd_file_mend_meta(copy);
    if (padded > SECTOR)
        etcd_file_mend_meta(copy + SECTOR);
    *ret_size = padded;
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reading reading = { .revision = INT64_MAX };
    struct kms_error err = { 0 };
    size_t len = size;
    uint8_t *mended = size % SECTOR == DIGEST_LEN ? NULL : mend(data, size, &len);
    const char *path = fuzz_file("db", mended != NULL ? mended : data, len);
    free(mended);
    enum kms_code rc = read_file(path, &reading, &err);
    if (rc == KMS_OK)
        return 0;
    FUZZ_CHECK(rc == KMS_E_CORRUPT && err.code == rc);
    FUZZ_CHECK(strstr(err.msg, "page") != NULL || strstr(err.msg, "SHA-256") != NULL);
    return 0;
}
