/* SPDX-License-Identifier: Apache-2.0 */
/* Reads audit logs: line by line whatever their size, and whoever wrote them. */
#ifndef KMS_AUDIT_CHECK_H
#define KMS_AUDIT_CHECK_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "audit_line.h"
#include "kms/clock.h"
#include "kms/error.h"

/* The lines of a file.  Caller owns the struct, zeroed before but for @in. */
struct kms_audit_reader {
    FILE *in;        /* borrowed */
    uint64_t number; /* of the line that was read last, from 1 */
    char text[KMS_AUDIT_LINE_MAX];
};
/* KMS_OK with a line (kms_audit_line_done()) or, at the end, with *ret_end.  KMS_E_INVALID: the line
 * isn't one, or it is incomplete; the text doesn't name it.  KMS_E_PRECONDITION: the file can't be
 * read. */
KMS_MUST_CHECK enum kms_code kms_audit_reader_next(struct kms_audit_reader *reader,
                                                   struct kms_audit_line *ret_line, bool *ret_end,
                                                   struct kms_error *err);

enum { KMS_AUDIT_FAULT_MAX = 256, KMS_AUDIT_WRITER_MAX = 32 };

/* What is to be said of one file.  Its lines up to @fault_line are one piece of a chain. */
struct kms_audit_check {
    uint64_t lines;
    uint64_t fault_line; /* the first that is wrong; 0: none */
    char fault[KMS_AUDIT_FAULT_MAX];
    char writer[KMS_AUDIT_WRITER_MAX];
    uint64_t first_seq;
    uint8_t first_prev[KMS_SHA256_LEN]; /* what the line before must hash to */
    char previous[NAME_MAX + 1];        /* the file that its first line names; "": none */
    struct kms_audit_chain end;         /* at the last line */
    char from[KMS_RFC3339_LEN + 1], to[KMS_RFC3339_LEN + 1]; /* times of its ends; "": no line */
    uint64_t gaps, lost; /* records of lines that couldn't be written, and how many */
    uint64_t late;       /* lines that were written after their callers had gone on */
    uint64_t cuts;       /* records of incomplete ends */
    uint64_t checkpoints;
    uint64_t vouched_seq; /* the last line that a voucher is of; 0: none is */
};
struct kms_audit_vouchers;
/* Checks the chain of @in to its first fault; to be another line than the one that was signed in its
 * place is one.  @vouchers (audit_checkpoint.h) may be NULL.  KMS_E_PRECONDITION: it can't be read. */
KMS_MUST_CHECK enum kms_code kms_audit_check_file(FILE *in,
                                                  const struct kms_audit_vouchers *vouchers,
                                                  struct kms_audit_check *ret_check,
                                                  struct kms_error *err);

/* What @after is to @before, another file without a fault. */
enum kms_audit_join {
    KMS_AUDIT_JOINED,    /* it goes on where that ends */
    KMS_AUDIT_UNRELATED, /* another chain */
    KMS_AUDIT_MISSING,   /* the same chain, but lines between the two are missing */
    KMS_AUDIT_FORKED,    /* the same chain, but it doesn't follow from that end */
};
enum kms_audit_join kms_audit_check_join(const struct kms_audit_check *before,
                                         const struct kms_audit_check *after);

#endif
