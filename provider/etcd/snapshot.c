/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "etcd/bolt.h"
#include "etcd/file_digest.h"
#include "etcd/kv.h"
#include "etcd/seen.h"

enum {
    REVISION_LEN = 17,  /* bytes: main u64 big-endian, '_', sub u64 big-endian */
    TOMBSTONE_LEN = 18, /* bytes: the same and 't' */
    SECTOR = 512,       /* bytes: what etcd itself knows a file with a SHA-256 by */
};

struct snapshot {
    struct kms_etcd_source source; /* first: it is what callers hold */
    int fd;
    uint64_t size; /* bytes, without the SHA-256 */
    struct kms_bolt *bolt;
};

static void close_snapshot(struct kms_etcd_source *source)
{
    struct snapshot *snapshot = (struct snapshot *)source;
    kms_bolt_close(snapshot->bolt);
    if (snapshot->fd >= 0)
        close(snapshot->fd); /* and with it the flock */
    free(snapshot);
}

/* --- reading --- */

struct reading {
    const struct kms_etcd_query *query;
    struct kms_etcd_summary *summary;
    struct kms_etcd_seen *seen;
    int64_t revision; /* the newest; 0: none yet */
};

static bool stopped(const struct kms_etcd_query *query)
{
    return query->stop != NULL && *query->stop != 0;
}

static uint64_t big_endian(const uint8_t *data)
{
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof value; i++)
        value = value << 8 | data[i];
    return value;
}

/* Of a key of the bucket "key". */
static bool parse_revision(struct kms_bytes key, int64_t *ret_main, bool *ret_tombstone)
{
    bool tombstone = key.len == TOMBSTONE_LEN && key.data[REVISION_LEN] == 't';
    if ((key.len != REVISION_LEN && !tombstone) || key.data[8] != '_')
        return false;
    uint64_t revision = big_endian(key.data);
    if (revision > INT64_MAX)
        return false;
    *ret_main = (int64_t)revision;
    *ret_tombstone = tombstone;
    return true;
}

static bool has_prefix(struct kms_bytes key, struct kms_bytes prefix)
{
    return key.len >= prefix.len &&
           kms_bytes_equal((struct kms_bytes){ key.data, prefix.len }, prefix);
}

static enum kms_code visit_kv(struct reading *reading, const struct kms_etcd_kv *kv, bool tombstone,
                              double fraction, struct kms_error *err)
{
    if (!has_prefix(kv->key, reading->query->prefix))
        return KMS_OK;
    bool newest = false;
    enum kms_code rc = kms_etcd_seen_add(reading->seen, kv->key, &newest, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_etcd_entry entry = { .key = kv->key,
                                    .value = kv->value,
                                    .create_revision = kv->create_revision,
                                    .mod_revision = kv->mod_revision,
                                    .version = kv->version,
                                    .state = newest ? KMS_ETCD_CURRENT : KMS_ETCD_HISTORY,
                                    .fraction = fraction };
    if (tombstone)
        entry.state = KMS_ETCD_DELETED;
    return reading->query->visit(reading->query->context, &entry, err);
}

static enum kms_code visit_revision(void *context, const struct kms_bolt_item *item, uint64_t page,
                                    double fraction, struct kms_error *err)
{
    struct reading *reading = context;
    if (stopped(reading->query)) {
        reading->summary->stopped = true;
        return kms_fail(NULL, KMS_E_UNAVAILABLE, "stopped"); /* ends the walk; no error */
    }
    int64_t revision = 0;
    bool tombstone = false;
    if (item->bucket || !parse_revision(item->key, &revision, &tombstone))
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": a key that is no revision", page);
    struct kms_etcd_kv kv;
    if (!kms_etcd_kv_parse(item->value, &kv) || (!tombstone && kv.mod_revision != revision))
        return kms_fail(err, KMS_E_CORRUPT,
                        "page %" PRIu64 ": revision %" PRId64 " is not a key and value of it", page,
                        revision);
    if (reading->revision == 0)
        reading->revision = revision;
    kv.mod_revision = revision;
    return visit_kv(reading, &kv, tombstone, fraction, err);
}

/* etcd goes on from here when the bucket "key" is empty. */
static enum kms_code visit_meta(void *context, const struct kms_bolt_item *item, uint64_t page,
                                double fraction, struct kms_error *err)
{
    (void)fraction;
    struct kms_etcd_summary *summary = context;
    int64_t revision = 0;
    bool tombstone = false;
    if (kms_bytes_equal(item->key, kms_bytes_of("consistent_index"))) {
        if (item->value.len != sizeof summary->consistent_index)
            return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": consistent_index", page);
        summary->consistent_index = big_endian(item->value.data);
    }
    if (kms_bytes_equal(item->key, kms_bytes_of("finishedCompactRev"))) {
        if (!parse_revision(item->value, &revision, &tombstone))
            return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": finishedCompactRev", page);
        summary->compact_revision = revision;
    }
    return KMS_OK;
}

static enum kms_code visit_cluster(void *context, const struct kms_bolt_item *item, uint64_t page,
                                   double fraction, struct kms_error *err)
{
    (void)fraction;
    struct kms_etcd_summary *summary = context;
    if (!kms_bytes_equal(item->key, kms_bytes_of("clusterVersion")))
        return KMS_OK;
    if (item->value.len >= sizeof summary->version || !kms_text_is_clean(item->value))
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": clusterVersion", page);
    snprintf(summary->version, sizeof summary->version, "%.*s", (int)item->value.len,
             (const char *)item->value.data);
    return KMS_OK;
}

static enum kms_code walk_buckets(struct snapshot *snapshot, struct reading *reading,
                                  struct kms_error *err)
{
    const struct kms_bolt_visitor meta = { .visit = visit_meta, .context = reading->summary };
    const struct kms_bolt_visitor cluster = { .visit = visit_cluster, .context = reading->summary };
    const struct kms_bolt_visitor keys = { .visit = visit_revision, .context = reading };
    enum kms_code rc = kms_bolt_walk(snapshot->bolt, "meta", &meta, err);
    if (rc == KMS_OK)
        rc = kms_bolt_walk(snapshot->bolt, "cluster", &cluster, err);
    if (rc == KMS_OK)
        rc = kms_bolt_walk(snapshot->bolt, "key", &keys, err);
    return rc;
}

static enum kms_code check_digest(const struct snapshot *snapshot, const struct reading *reading,
                                  struct kms_error *err)
{
    if (snapshot->source.kind != KMS_ETCD_SNAPSHOT)
        return KMS_OK;
    enum kms_code rc = kms_file_digest_check(snapshot->fd, snapshot->size, reading->query->stop,
                                             &reading->summary->stopped, err);
    if (rc != KMS_OK)
        return rc;
    uint8_t *digest = reading->summary->sha256;
    if (pread(snapshot->fd, digest, KMS_SHA256_LEN, (off_t)snapshot->size) != KMS_SHA256_LEN)
        return kms_fail(err, KMS_E_PRECONDITION, "the file's SHA-256 can't be read any more");
    return KMS_OK;
}

static enum kms_code read_snapshot(struct kms_etcd_source *source,
                                   const struct kms_etcd_query *query,
                                   struct kms_etcd_summary *ret_summary, struct kms_error *err)
{
    struct snapshot *snapshot = (struct snapshot *)source;
    KMS_CLEANUP(kms_etcd_seen_close_ptr) struct kms_etcd_seen *seen = NULL;
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { .kind = source->kind };
    enum kms_code rc = kms_etcd_seen_open(&seen, err);
    if (rc != KMS_OK)
        return rc;
    struct reading reading = { .query = query, .summary = &summary, .seen = seen };
    rc = check_digest(snapshot, &reading, err);
    if (rc == KMS_OK && !summary.stopped)
        rc = walk_buckets(snapshot, &reading, err);
    if (rc != KMS_OK && !summary.stopped)
        return rc;
    int64_t revision = reading.revision > summary.compact_revision ? reading.revision
                                                                   : summary.compact_revision;
    rc = kms_etcd_summary_add(&summary, query->prefix, revision, err);
    if (rc != KMS_OK)
        return rc;
    *ret_summary = summary;
    summary = (struct kms_etcd_summary){ 0 };
    return KMS_OK;
}

static const struct kms_etcd_source_ops ops = { .read = read_snapshot, .close = close_snapshot };

/* --- opening --- */

static enum kms_code lock_file(int fd, const char *path, struct kms_error *err)
{
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return KMS_OK;
    if (errno != EWOULDBLOCK)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "flock", errno, "%s", path);
    return kms_fail(err, KMS_E_PRECONDITION,
                    "%s is in use by a running etcd: use --etcd or etcdctl snapshot save", path);
}

static enum kms_code measure(struct snapshot *snapshot, const char *path, struct kms_error *err)
{
    struct stat info;
    if (fstat(snapshot->fd, &info) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "fstat", errno, "%s", path);
    if (!S_ISREG(info.st_mode))
        return kms_fail(err, KMS_E_PRECONDITION, "%s is not a regular file", path);
    uint64_t size = (uint64_t)info.st_size, rest = size % SECTOR;
    if (rest != 0 && rest != KMS_SHA256_LEN)
        return kms_fail(err, KMS_E_CORRUPT,
                        "%s has %" PRIu64 " bytes, which no snapshot has: it was cut off; "
                        "copy it again",
                        path, size);
    snapshot->source.kind = rest == 0 ? KMS_ETCD_MEMBER_DB : KMS_ETCD_SNAPSHOT;
    snapshot->size = size - rest;
    return KMS_OK;
}

static enum kms_code open_bolt(struct snapshot *snapshot, const char *path, struct kms_error *err)
{
    enum kms_code rc = measure(snapshot, path, err);
    if (rc == KMS_OK)
        rc = lock_file(snapshot->fd, path, err);
    if (rc == KMS_OK)
        rc = kms_bolt_open(snapshot->fd, snapshot->size, &snapshot->bolt, err);
    return rc;
}

enum kms_code kms_etcd_snapshot_open(const char *path, struct kms_etcd_source **ret_source,
                                     struct kms_error *err)
{
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    KMS_CLEANUP(kms_etcd_close_ptr) struct kms_etcd_source *source = &snapshot->source;
    source->ops = &ops;
    /* O_NONBLOCK: a pipe is refused, not waited for. */
    snapshot->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (snapshot->fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "%s", path);
    enum kms_code rc = open_bolt(snapshot, path, err);
    if (rc != KMS_OK)
        return rc;
    *ret_source = source;
    source = NULL;
    return KMS_OK;
}
