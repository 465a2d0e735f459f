/* SPDX-License-Identifier: Apache-2.0 */
/* What is encrypted in an etcd, and under which key: a visitor of etcd/source.h that counts and judges.
 *
 * Two words are kept apart.  *Labelled*: the key_id was read, which whoever can write etcd can forge.
 * *Proven*: the DEK source was unwrapped under that KEK; a prover does that, once for each.
 *
 * Memory is bounded but for 16 to 24 bytes for each distinct DEK source.  They are told apart as
 * etcd/seen.h does it: two that collide, a chance of 2^-57 among a million, are counted and proved as
 * one. */
#ifndef KMS_REPORT_H
#define KMS_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "etcd/source.h"
#include "etcd/value.h"
#include "keyid.h"
#include "kms/error.h"
#include "kms/secret.h"
#include "report/finding.h"
#include "report/resources.h"
#include "report/tally.h"

enum kms_proof_result {
    KMS_PROOF_GOOD,    /* it unwraps under the KEK that its key_id names */
    KMS_PROOF_SWAPPED, /* under another one of the ring */
    KMS_PROOF_CORRUPT, /* under none that could be tried */
    KMS_PROOF_LOST,    /* that KEK isn't there */
    KMS_PROOF_BARRED,  /* that KEK is there, and can't be used now */
    KMS_PROOF_FOREIGN, /* the key_id is of another ring, and it unwraps under none of this one's */
};
enum { KMS_PROOF_WHY_MAX = KMS_ERROR_MSG_MAX };
struct kms_proof {
    enum kms_proof_result result;
    uint32_t generation;         /* under which it unwrapped; 0: none */
    bool untried;                /* of FOREIGN: a KEK under which it may be couldn't be tried */
    struct kms_secret seed;      /* of GOOD; owned */
    char why[KMS_PROOF_WHY_MAX]; /* "" if there is nothing to say */
};
void kms_proof_done(struct kms_proof *proof);

/* Unwraps DEK sources of KMS v2.  Fails only if the reading must end. */
struct kms_prover {
    void *context;
    enum kms_code (*prove)(void *context, const struct kms_value *value,
                           struct kms_proof *ret_proof, struct kms_error *err);
};

/* Borrowed; NULL and 0 mean that it isn't known or wasn't asked. */
struct kms_report_options {
    struct kms_bytes prefix; /* of kube-apiserver's keys; beyond it only what is encrypted counts */
    const char *key_id;      /* the promoted one; never NULL */
    const char *ring;
    const char *const *key_ids; /* all of the ring's */
    size_t key_id_count;
    const char *const *allowed; /* key_ids that are as good as the promoted one */
    size_t allowed_count;
    struct kms_resources exempt;   /* may be in the clear */
    struct kms_resources expected; /* only these are judged, and each must be there */
    uint32_t promoted;             /* generation, as this node knows it */
    uint32_t destroy;              /* the generation that is to be destroyed */
    const char *remove; /* the provider that is to be removed from an EncryptionConfiguration */
    const struct kms_prover *prover;
    unsigned sample; /* objects of each resource to be opened */
    void (*list)(void *context, const struct kms_finding *finding); /* told of each */
    void *list_context;
};

/* Not thread-safe. */
struct kms_report;
KMS_MUST_CHECK enum kms_code kms_report_open(const struct kms_report_options *options,
                                             struct kms_report **ret_report, struct kms_error *err);
void kms_report_close(struct kms_report *report);
KMS_DEFINE_CLOSE_PTR(struct kms_report *, kms_report_close)

/* A kms_etcd_visit whose context is a kms_report. */
KMS_MUST_CHECK enum kms_code kms_report_visit(void *report, const struct kms_etcd_entry *entry,
                                              struct kms_error *err);

struct kms_report_totals {
    struct kms_count values;  /* without tombstones */
    uint64_t deleted;         /* tombstones */
    uint64_t promoted;        /* current values under the promoted key_id */
    uint64_t allowed;         /* under an allowed one */
    uint64_t beyond;          /* encrypted values that aren't below the prefix, among all these */
    uint64_t sources, proven; /* distinct DEK sources of KMS v2; those that a prover found good */
    uint64_t proven_promoted; /* of these, those under the promoted key_id */
    uint64_t untried;         /* those of another label that couldn't be tried with each KEK */
    uint64_t opened;          /* sampled objects that opened */
};
/* All borrowed. */
const struct kms_report_options *kms_report_asked(const struct kms_report *report);
const struct kms_report_totals *kms_report_totals(const struct kms_report *report);
const struct kms_findings *kms_report_findings(const struct kms_report *report);
struct kms_tally *kms_report_tally(struct kms_report *report);
/* Whether a current value was seen of options.expected.names[@index]. */
bool kms_report_has_seen(const struct kms_report *report, size_t index);
/* Expected resources that weren't seen. */
size_t kms_report_count_absent(const struct kms_report *report);

#endif
