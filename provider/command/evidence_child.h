/* SPDX-License-Identifier: Apache-2.0 */
/* This very program, run again as another command: with a deadline, and ended with us. */
#ifndef KMS_EVIDENCE_CHILD_H
#define KMS_EVIDENCE_CHILD_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "kms/compiler.h"
#include "kms/error.h"

/* SIGINT, SIGTERM and SIGHUP, which wait until somebody asks; SIGCHLD. */
struct kms_signals {
    int fd;        /* a signalfd */
    sigset_t kept; /* the mask before */
    int stop;      /* the signal that said to stop; 0: none */
};
/* Blocks them for this process.  kms_signals_done(). KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code kms_signals_init(struct kms_signals *signals, struct kms_error *err);
void kms_signals_done(struct kms_signals *signals);
/* Whether a signal said to stop by now; never blocks. */
bool kms_signals_stopped(struct kms_signals *signals);

struct kms_child {
    char *const *argv; /* ends with NULL; argv[0] is but a name */
    int dir_fd;        /* where it runs; -1: where we are */
    int out_fd, err_fd;
    int64_t timeout_ms;
};

struct kms_evidence_ending {
    enum kms_evidence_how {
        KMS_CHILD_UNRUN,
        KMS_CHILD_EXITED,
        KMS_CHILD_KILLED, /* by a signal that wasn't ours */
        KMS_CHILD_LATE,   /* at its deadline, by SIGKILL */
        KMS_CHILD_STOPPED /* the same, because we were to stop */
    } how;
    int code; /* exit status, or the signal */
    int64_t started_utc_s, duration_ms;
};

/* Runs it to its end, with stdin from /dev/null.  KMS_E_BUSY: it couldn't be started. */
KMS_MUST_CHECK enum kms_code kms_child_run(const struct kms_child *child,
                                           struct kms_signals *signals,
                                           struct kms_evidence_ending *ret_ending,
                                           struct kms_error *err);

#endif
