/* SPDX-License-Identifier: Apache-2.0 */
/* What a report lists: values that aren't as they should be, and some that may be so. */
#ifndef KMS_REPORT_FINDING_H
#define KMS_REPORT_FINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/compiler.h"
#include "kms/error.h"

enum kms_finding_kind {
    /* of current values, as they are labelled */
    KMS_FINDING_PLAINTEXT,
    KMS_FINDING_OLD_KEY,        /* a KEK of the ring, not the promoted one */
    KMS_FINDING_UNKNOWN_KEY,    /* a key_id as the ring makes them, of no KEK that it has */
    KMS_FINDING_FOREIGN_KEY,    /* KMS v2, not of this ring */
    KMS_FINDING_OTHER_PROVIDER, /* KMS v1, aescbc, aesgcm, secretbox */
    KMS_FINDING_UNKNOWN_FORMAT, /* k8s:enc: and nothing that we know */
    KMS_FINDING_MALFORMED,
    /* by proof; of a DEK source: where it was met first */
    KMS_FINDING_SWAPPED,        /* it unwraps under another KEK than its key_id names */
    KMS_FINDING_CORRUPT_SEED,   /* it unwraps under none of the ring's KEKs */
    KMS_FINDING_LOST_KEY,       /* its KEK isn't to be had */
    KMS_FINDING_UNPROVEN,       /* its KEK can't be used now */
    KMS_FINDING_CORRUPT_OBJECT, /* the DEK source unwraps, the object doesn't open */
    /* no findings: what is in the clear because it may be, and what was asked for */
    KMS_LISTED_EXEMPT,    /* kube-apiserver never encrypts it */
    KMS_LISTED_EXEMPTED,  /* by --exempt or verify.exempt */
    KMS_LISTED_DEPENDENT, /* needs what is to be destroyed or removed */
};
enum { KMS_FINDING_KIND_COUNT = KMS_LISTED_DEPENDENT + 1 };

/* "plaintext", "old-key" …: for reports.  Static. */
const char *kms_finding_name(enum kms_finding_kind kind);
/* What it means, for people.  Static. */
const char *kms_finding_meaning(enum kms_finding_kind kind);
bool kms_finding_is_fault(enum kms_finding_kind kind);

/* Borrowed.  Hostile bytes, but for @detail. */
struct kms_finding {
    enum kms_finding_kind kind;
    bool history;
    int64_t mod_revision;
    struct kms_bytes key;    /* of etcd */
    struct kms_bytes key_id; /* or the provider, where there is none */
    const char *detail;      /* "" if there is none */
};

/* The first of each kind, as copies. */
enum {
    KMS_FINDINGS_SHOWN = 100,
    KMS_FINDING_KEY_MAX = 1024, /* bytes that are kept of a key */
    KMS_FINDING_TEXT_MAX = 160, /* bytes that are kept of a key_id or a detail */
};
struct kms_findings_item {
    bool history, cut; /* cut: the key is longer */
    int64_t mod_revision;
    struct kms_bytes key, key_id; /* owned by @bytes */
    char *detail;                 /* owned by @bytes */
    uint8_t *bytes;
};
struct kms_findings_list {
    uint64_t count; /* of all, however many are kept */
    struct kms_findings_item *items;
    size_t kept;
};
/* Caller owns the struct, which starts as zeros. */
struct kms_findings {
    struct kms_findings_list lists[KMS_FINDING_KIND_COUNT];
};
void kms_findings_done(struct kms_findings *findings);

/* KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_findings_add(struct kms_findings *findings,
                                              const struct kms_finding *finding,
                                              struct kms_error *err);

/* How many faults there are. */
uint64_t kms_findings_count_faults(const struct kms_findings *findings);

#endif
