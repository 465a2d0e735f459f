/* SPDX-License-Identifier: Apache-2.0 */
/* A token host as a process: started, watched, ended. */
#ifndef KMS_HOST_PROCESS_H
#define KMS_HOST_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kms/error.h"

enum {
    KMS_HOST_FIRST_FD = 3, /* where the child finds its lanes, one after the other */
    KMS_HOST_LANES_MAX = 66,
};

/* Borrowed. */
struct kms_host_command {
    const char *path;               /* what is executed */
    const char *const *argv;        /* ends with NULL; the first is a name */
    const char *const *environment; /* ends with NULL: names of variables that the child sees;
                                     * CKNFAST_* is all that begin so */
};

struct kms_host_process {
    pid_t pid;
    int pidfd; /* readable once the process has ended */
};

/* Runs @command with "--lanes=N" and "--parent=PID" appended: nothing open but standard streams and
 * lanes, SIGTERM, SIGINT and SIGHUP blocked.  Our ends go to
 * @ret_lanes (@lane_count of them, KMS_HOST_LANES_MAX at most).  From a thread that lives as
 * long as the process: its end is what kills the child.  KMS_E_UNAVAILABLE. */
KMS_MUST_CHECK enum kms_code kms_host_spawn(const struct kms_host_command *command,
                                            size_t lane_count, int *ret_lanes,
                                            struct kms_host_process *ret_process,
                                            struct kms_error *err);

/* Bytes of its memory that are resident; 0: nobody knows. */
size_t kms_host_memory_of(const struct kms_host_process *process);

/* SIGKILL. */
void kms_host_kill(const struct kms_host_process *process);

/* Waits for the end until @deadline_ms.  KMS_OK: it is reaped, and @ret_how says how it ended: "exit status
 * 1", "signal 9 (KILL)".  KMS_E_DEADLINE. */
enum { KMS_HOST_HOW_MAX = 64 };
KMS_MUST_CHECK enum kms_code kms_host_reap(struct kms_host_process *process, int64_t deadline_ms,
                                           char ret_how[static KMS_HOST_HOW_MAX],
                                           struct kms_error *err);

#endif
