/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: lines of the chain that hold a token's signature of an earlier line's place and hash, and
 * so of all lines before it.  Who only has the files can't make one. */
#ifndef KMS_AUDIT_CHECKPOINT_H
#define KMS_AUDIT_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "audit_line.h"
#include "kms/error.h"
#include "kms/keystore.h"

/* What is signed: "hsm-kms audit checkpoint v1", the chain's ID, the line's number and its SHA-256, each
 * with a line end.  Returns the length. */
enum { KMS_AUDIT_SIGNED_MAX = 192 };
size_t kms_audit_checkpoint_text(const struct kms_audit_chain *at,
                                 char ret_text[static KMS_AUDIT_SIGNED_MAX]);

/* --- of a running log --- */

/* Where its chain is, how many files it has filled since it was opened, and whether its disk has
 * stopped to answer. */
struct kms_audit_where {
    struct kms_audit_chain chain;
    uint64_t rotations;
    bool hung;
};
/* Seq 0: nowhere yet, or there is no log.  Thread-safe; never blocks on the disk. */
struct kms_audit_where kms_audit_where(struct kms_audit *audit);

/* Records that @signature is of @at.  Thread-safe; blocks as a line of a call does.
 * KMS_E_UNAVAILABLE, whatever callers do: it isn't in the file, and part of a gap. */
KMS_MUST_CHECK enum kms_code kms_audit_write_checkpoint(struct kms_audit *audit,
                                                        const struct kms_audit_chain *at,
                                                        const struct kms_signature *signature,
                                                        struct kms_error *err);

/* --- checked --- */

enum { KMS_AUDIT_KEYS_MAX = 16 };

/* The places that good signatures vouch for, of any number of files.  Caller owns the struct, zeroed
 * before but for the keys; kms_audit_vouchers_done(). */
struct kms_audit_vouchers {
    struct kms_spki keys[KMS_AUDIT_KEYS_MAX]; /* that may sign */
    size_t key_count;
    struct kms_audit_chain *items; /* owned; sorted by chain and number */
    size_t count;
};
void kms_audit_vouchers_done(struct kms_audit_vouchers *vouchers);

/* The first checkpoint of a file that isn't signed as it says. */
enum { KMS_AUDIT_FORGERY_MAX = 200 };
struct kms_audit_forgery {
    uint64_t line; /* 0: there is none */
    char why[KMS_AUDIT_FORGERY_MAX];
};

/* Checks the signature of each checkpoint in @in, up to the first line that isn't one, and adds what they
 * vouch for.  KMS_E_PRECONDITION: it can't be read; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_audit_vouchers_add(struct kms_audit_vouchers *vouchers, FILE *in,
                                                    struct kms_audit_forgery *ret_forgery,
                                                    struct kms_error *err);
/* Once all are added. */
void kms_audit_vouchers_sort(struct kms_audit_vouchers *vouchers);

enum kms_audit_vouched {
    KMS_AUDIT_UNVOUCHED, /* no signature is of this very line */
    KMS_AUDIT_VOUCHED,
    KMS_AUDIT_BELIED, /* one is of another line in its place */
};
enum kms_audit_vouched kms_audit_vouchers_ask(const struct kms_audit_vouchers *vouchers,
                                              const struct kms_audit_chain *at);

#endif
