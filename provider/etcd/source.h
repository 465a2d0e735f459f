/* SPDX-License-Identifier: Apache-2.0 */
/* Where the keys and values of an etcd come from: a running etcd (client.h), or the file that
 * `etcdctl snapshot save` or a member wrote (snapshot.h).  Whatever is read is hostile: anybody who
 * can write etcd chose it. */
#ifndef KMS_ETCD_SOURCE_H
#define KMS_ETCD_SOURCE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"

enum kms_etcd_state {
    KMS_ETCD_CURRENT, /* the newest revision of a key that isn't deleted */
    KMS_ETCD_HISTORY, /* an older one, or any of a deleted key; only files have them */
    KMS_ETCD_DELETED, /* a tombstone, without a value; only files have them */
};

/* Borrowed: gone when the visitor returns. */
struct kms_etcd_entry {
    struct kms_bytes key, value;
    int64_t create_revision, mod_revision, version; /* of a tombstone only @mod_revision */
    enum kms_etcd_state state;
    double fraction; /* of the source that has been read, about, 0 to 1: for progress */
};

/* Anything but KMS_OK ends the reading and is what kms_etcd_read() returns. */
typedef enum kms_code kms_etcd_visit(void *context, const struct kms_etcd_entry *entry,
                                     struct kms_error *err);

/* What to read.  Borrowed. */
struct kms_etcd_query {
    struct kms_bytes prefix; /* of the keys; empty: all */
    kms_etcd_visit *visit;
    void *context;
    const volatile sig_atomic_t *stop; /* not 0: end soon; may be NULL */
};

enum kms_etcd_kind {
    KMS_ETCD_SERVER,    /* a running etcd */
    KMS_ETCD_SNAPSHOT,  /* of `etcdctl snapshot save`: its SHA-256 is checked */
    KMS_ETCD_MEMBER_DB, /* without one: a member's db, whose last writes may be in its WAL */
};

/* The keys from @from up to the next span's were read at @revision; the first begins at the
 * prefix. */
struct kms_etcd_span {
    uint8_t *from; /* owned */
    size_t from_len;
    int64_t revision;
};

struct kms_etcd_summary {
    enum kms_etcd_kind kind;
    bool stopped; /* by the query's flag: what was visited is a part */
    /* One span: all at one revision.  More: the revision was compacted meanwhile, so that what was
     * written between two revisions is seen on one side of @from and not on the other. */
    struct kms_etcd_span *spans; /* owned */
    size_t span_count;
    int64_t compact_revision;       /* files: older history is gone; 0 for a server */
    uint64_t cluster_id;            /* 0 for files, which don't tell */
    uint64_t member_id;             /* the one that answered last; 0 for files */
    uint8_t sha256[KMS_SHA256_LEN]; /* of a snapshot's database, as it was checked; else zeros */
    uint64_t consistent_index;      /* files: the last Raft entry that is in it */
    char version[32];               /* etcd's, of a file the cluster's; "": not told */
};
void kms_etcd_summary_done(struct kms_etcd_summary *summary);

/* The last revision that was read at; 0 if none. */
int64_t kms_etcd_summary_revision(const struct kms_etcd_summary *summary);

/* For sources: another span.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_etcd_summary_add(struct kms_etcd_summary *summary,
                                                  struct kms_bytes from, int64_t revision,
                                                  struct kms_error *err);

struct kms_etcd_source {
    const struct kms_etcd_source_ops *ops;
    enum kms_etcd_kind kind;
};

/* Every entry is mandatory. */
struct kms_etcd_source_ops {
    enum kms_code (*read)(struct kms_etcd_source *source, const struct kms_etcd_query *query,
                          struct kms_etcd_summary *ret_summary, struct kms_error *err);
    void (*close)(struct kms_etcd_source *source);
};

/* Visits every key that starts with the prefix: a server's sorted by key, a file's from the newest
 * revision to the oldest.  Blocks; one reading of a source at a time.  *ret_summary is the caller's
 * to release by kms_etcd_summary_done(), also when the query's flag ended it.
 * KMS_E_CORRUPT: the file, with the page; KMS_E_PRECONDITION, KMS_E_UNAVAILABLE, KMS_E_DEADLINE:
 * the server, with its endpoint; KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_etcd_read(struct kms_etcd_source *source,
                                           const struct kms_etcd_query *query,
                                           struct kms_etcd_summary *ret_summary,
                                           struct kms_error *err);

/* NULL is a no-op. */
void kms_etcd_close(struct kms_etcd_source *source);
KMS_DEFINE_CLOSE_PTR(struct kms_etcd_source *, kms_etcd_close)

#endif
