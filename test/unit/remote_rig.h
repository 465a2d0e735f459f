/* SPDX-License-Identifier: Apache-2.0 */
/* A keystore in a child process (pkcs11/remote.h) whose host is test/fake/host.c. */
#ifndef REMOTE_RIG_H
#define REMOTE_RIG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "check.h"
#include "kms/keystore.h"

enum {
    REMOTE_SEED_LEN = 32,
    REMOTE_KEKS = 3,
    REMOTE_GATES = 2,           /* "gate", "gate2" */
    REMOTE_PATIENCE_MS = 60000, /* of a call that must work, however busy the machine is */
};

struct remote_rig {
    char dir[32]; /* temporary */
    int gates[REMOTE_GATES], log;
    struct kms_keystore *here;     /* the same KEKs in this process: what is right */
    struct kms_keystore *keystore; /* NULL: not opened */
    struct kms_error err;
    uint8_t fingerprints[REMOTE_KEKS][KMS_FINGERPRINT_LEN];
};

/* Of each test.  The remote isn't opened. */
int remote_rig_setup(void **state);
/* Closes the remote too. */
int remote_rig_teardown(void **state);

/* Opens it with @path as the host. */
void remote_rig_open_path(struct remote_rig *rig, const char *path, unsigned lanes);
/* Opens it, lists, and tries ring.a: it serves. */
void remote_rig_serve(struct remote_rig *rig, unsigned lanes);

/* Lets the host do @word at @name ("wrap.ring.a"): test/fake/README.md.  NULL: nothing any more. */
void remote_rig_tell(const struct remote_rig *rig, const char *name, const char *word);
/* Lets @count calls through that wait at the gate of this name. */
void remote_rig_open_gate(const struct remote_rig *rig, const char *gate, size_t count);

/* How often the host noted @line, and the same until it has. */
size_t remote_rig_count(const struct remote_rig *rig, const char *line);
void remote_rig_wait_count(const struct remote_rig *rig, const char *line, size_t count);
/* True if @text stands in our log. */
bool remote_rig_logged(const struct remote_rig *rig, const char *text);
void remote_rig_wait_logged(const struct remote_rig *rig, const char *text);

/* Hosts that started so far. */
size_t remote_rig_hosts(const struct remote_rig *rig);
void remote_rig_wait_hosts(const struct remote_rig *rig, size_t count);
/* Of the last one. */
pid_t remote_rig_pid(const struct remote_rig *rig);
void remote_rig_kill(const struct remote_rig *rig);
void remote_rig_wait_gone(pid_t pid);
/* Until a listing works again. */
void remote_rig_wait_serves(struct remote_rig *rig);

/* Calls with @ms until their deadline.  KEKs by letter. */
enum kms_code remote_rig_list(struct remote_rig *rig, int64_t ms, size_t *ret_count);
enum kms_code remote_rig_canary(struct remote_rig *rig, char kek, int64_t ms);
/* Wraps a fresh seed, and compares with what is right: KMS_E_CORRUPT if it isn't.  Thread-safe. */
enum kms_code remote_rig_wrap(const struct remote_rig *rig, char kek, int64_t ms,
                              struct kms_error *err);
enum kms_code remote_rig_unwrap(const struct remote_rig *rig, char kek, int64_t ms,
                                struct kms_error *err);

/* A remote_rig_wrap() in a thread of its own. */
struct remote_caller {
    struct remote_rig *rig;
    char kek;
    int64_t ms;
    enum kms_code rc;
    struct kms_error err;
    pthread_t thread;
};
void remote_caller_start(struct remote_caller *caller, struct remote_rig *rig, char kek,
                         int64_t ms);
enum kms_code remote_caller_join(struct remote_caller *caller);

#endif
