/* SPDX-License-Identifier: Apache-2.0 */
/* How a command changes a node's mind: it leaves state_dir/request.<kind>.<subject>.json, which the
 * daemon applies to ring.json and deletes, at start and at every refresh.  The subject is a generation,
 * a token's name, or <generation>.<token>. */
#ifndef KMS_REQUEST_H
#define KMS_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "kms/error.h"
#include "state.h"

enum { KMS_REQUEST_VERSION = 1, KMS_REQUEST_BY_MAX = 64, KMS_REQUEST_NAME_MAX = 63 };

enum kms_request_kind {
    KMS_REQUEST_ACCEPT,    /* the generation's pin becomes @fingerprint, whatever it was */
    KMS_REQUEST_TOMBSTONE, /* the generation's number is never used again, and its pin goes */
    KMS_REQUEST_DRAIN,     /* the token is left alone until @until_utc_s */
    KMS_REQUEST_RESUME,    /* it isn't any more */
    KMS_REQUEST_WAIVE      /* the token needn't confirm the generation before that is promoted */
};
const char *kms_request_kind_name(enum kms_request_kind kind);

struct kms_request {
    enum kms_request_kind kind;
    uint32_t generation;                      /* of ACCEPT, TOMBSTONE, WAIVE */
    char token[KMS_TOKEN_NAME_MAX + 1];       /* of DRAIN, RESUME, WAIVE: its name */
    uint8_t fingerprint[KMS_FINGERPRINT_LEN]; /* of ACCEPT */
    int64_t until_utc_s;                      /* of DRAIN */
    int64_t asked_utc_s;
    char by[KMS_REQUEST_BY_MAX + 1]; /* who ran the command; for the log */
};

/* --- the commands' side: run as the owner of state_dir --- */

/* Leaves a request, whole and durable or not at all; one that is there already is replaced.  Whether
 * a daemon runs doesn't matter.  KMS_E_PRECONDITION: state_dir isn't there or can't be written. */
KMS_MUST_CHECK enum kms_code kms_request_accept(const char *state_dir, uint32_t generation,
                                                const uint8_t *fingerprint, struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_request_tombstone(const char *state_dir, uint32_t generation,
                                                   struct kms_error *err);

/* Of a token the last word counts: a drain takes the place of a resume that waits, and the other way
 * round.  KMS_E_INVALID besides the above: @token is no token's name, @until_utc_s no time of day. */
KMS_MUST_CHECK enum kms_code kms_request_drain(const char *state_dir, const char *token,
                                               int64_t until_utc_s, struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_request_resume(const char *state_dir, const char *token,
                                                struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_request_waive(const char *state_dir, uint32_t generation,
                                               const char *token, struct kms_error *err);

/* --- the daemon's side --- */

struct kms_request_file {
    char name[KMS_REQUEST_NAME_MAX + 1];
    struct kms_request request; /* of a bad file only what its name says */
    struct kms_error fault;     /* code not KMS_OK: damaged, or of a newer release */
    ino_t inode;                /* with @written: which version of the file this is */
    struct timespec written;
};

/* All of them, in the order in which they were asked; bad ones first.  Release with kms_request_list_done(). */
struct kms_request_list {
    struct kms_request_file *files;
    size_t count;
};
void kms_request_list_done(struct kms_request_list *list);

/* Reads every request file of @state_dir; a bad one is listed with its fault.  KMS_E_PRECONDITION:
 * the directory can't be read. */
KMS_MUST_CHECK enum kms_code kms_request_read(const char *state_dir,
                                              struct kms_request_list *ret_list,
                                              struct kms_error *err);

/* Changes @state as @request asks; *ret_changed: it wasn't so already.  KMS_E_PRECONDITION: the
 * promoted generation can't be buried, a buried one can't be accepted or waived, too many tokens are
 * drained. KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_request_apply(const struct kms_request *request,
                                               struct kms_state *state, bool *ret_changed,
                                               struct kms_error *err);

/* Deletes a request file that is applied, durably; one that a command replaced meanwhile stays, for
 * the next time. */
KMS_MUST_CHECK enum kms_code kms_request_remove(const char *state_dir,
                                                const struct kms_request_file *file,
                                                struct kms_error *err);

#endif
