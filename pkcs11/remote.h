/* SPDX-License-Identifier: Apache-2.0 */
/* Seam 1 for one token in a child process, the token host.  A library that crashes, hangs, leaks or
 * brings its own OpenSSL takes the child with it and not the plugin: a call ends by its deadline, a
 * host that died or hangs is started again, and what it left undone is done again as long as there
 * is time.  Serves only (no kms_manage_ops). */
#ifndef KMS_REMOTE_H
#define KMS_REMOTE_H

#include "host_process.h"
#include "kms/error.h"
#include "kms/keystore.h"

struct kms_remote_options {
    struct kms_host_command command; /* copied */
    const char *profile_option; /* in argv, before its value; NULL: none.  Once a host has chosen an
                                      * algorithm the hosts after it are asked for that one */
    unsigned lanes;             /* calls at a time: 1 … KMS_HOST_LANES_MAX */
    size_t memory_limit;        /* bytes: a host that has more is replaced; 0: none */
};

/* Starts a thread, which starts the host. KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_remote_open(const struct kms_remote_options *options,
                                             struct kms_keystore **ret_keystore,
                                             struct kms_error *err);

#endif
