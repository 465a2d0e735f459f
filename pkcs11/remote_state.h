/* SPDX-License-Identifier: Apache-2.0 */
/* Private to remote.c (the seam), remote_call.c (calls) and keeper.c (the thread that has the hosts). */
#ifndef KMS_REMOTE_STATE_H
#define KMS_REMOTE_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host_child.h"
#include "host_memory.h"
#include "host_wire.h"
#include "kms/error.h"
#include "kms/keystore.h"

enum kms_remote_phase {
    KMS_REMOTE_DOWN,     /* there is no host */
    KMS_REMOTE_ENDING,   /* it ended or was killed, and is to be reaped */
    KMS_REMOTE_PROVING,  /* the keeper lists, and tries the KEK that was tried last */
    KMS_REMOTE_UNPROVED, /* that failed, or nothing was ever listed: the next listing may mend it */
    KMS_REMOTE_SERVING,
};

struct kms_remote {
    struct kms_keystore base;
    char *path, **argv, **environment; /* owned, with their texts */
    char **profile;                    /* in argv, the keeper's; NULL: none */
    size_t lane_count;
    size_t memory_limit; /* bytes; 0: none */
    int wake;            /* eventfd: the keeper should look */
    pthread_t keeper;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    enum kms_remote_phase phase;
    struct kms_host_child *child; /* NULL if DOWN */
    struct kms_error why;         /* of DOWN and UNPROVED */
    struct kms_token_info info;
    bool has_chosen; /* some host has, and it's @algorithm */
    enum kms_algorithm algorithm;
    struct kms_host_memory memory; /* changed only while SERVING or UNPROVED */
    unsigned deaths;               /* hosts that ended before they served, in a row */
    int64_t respawn_at_ms;
    int64_t away_since_ms; /* listings by this host have failed for want of a connection; 0: no */
    int64_t serves_since_ms;
    bool reload;
    bool may_prove;      /* UNPROVED, but a listing worked meanwhile */
    int64_t leave_by_ms; /* of a host that was asked to leave; 0: it wasn't */
    bool stopping;
};

/* With the lock held: the host has shown that it can. */
void kms_remote_serves(struct kms_remote *remote);

void kms_remote_wake_keeper(struct kms_remote *remote);
/* The thread; its argument is the remote. */
void *kms_remote_keep(void *argument);

/* Done on whatever host there is until @deadline_ms; again on the next if one is lost. */
KMS_MUST_CHECK enum kms_code kms_remote_call(struct kms_remote *remote,
                                             const struct kms_host_call *given, int64_t deadline_ms,
                                             struct kms_host_answer *ret_answer,
                                             struct kms_error *err);
/* The keeper's: only on the host that there is, while PROVING. */
KMS_MUST_CHECK enum kms_code kms_remote_try(struct kms_remote *remote,
                                            const struct kms_host_call *call, int64_t deadline_ms,
                                            struct kms_error *err);

#endif
