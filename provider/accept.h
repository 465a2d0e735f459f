/* SPDX-License-Identifier: Apache-2.0 */
/* The accept thread: asks the kernel who connects, refuses or hands over. */
#ifndef KMS_ACCEPT_H
#define KMS_ACCEPT_H

#include <sys/types.h>

#include "access.h"
#include "audit.h"
#include "kms/error.h"
#include "server.h"

struct kms_acceptor_options {
    int listener;                  /* borrowed; non-blocking */
    struct kms_access_rules rules; /* its list is borrowed */
    unsigned max_per_uid;          /* connections */
    struct kms_server *server;     /* borrowed */
    struct kms_audit *audit;       /* borrowed; NULL: none is configured */
};

struct kms_acceptor;
/* Starts the thread. KMS_E_INTERNAL: no descriptor or thread for it. */
KMS_MUST_CHECK enum kms_code kms_acceptor_open(const struct kms_acceptor_options *options,
                                               struct kms_acceptor **ret_acceptor,
                                               struct kms_error *err);
/* Stops and joins the thread; connections stay with the server. NULL is a no-op. */
void kms_acceptor_close(struct kms_acceptor *acceptor);

#endif
