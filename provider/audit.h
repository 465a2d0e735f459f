/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: one JSON line per use of a key, per key command and per change of state, chained by
 * SHA-256 (audit_line.h says what a line is), made durable before the caller goes on.
 *
 * A NULL log is one that isn't configured: all functions take it, do nothing and succeed. */
#ifndef KMS_AUDIT_H
#define KMS_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/compiler.h"
#include "kms/error.h"

enum kms_audit_sync {
    KMS_AUDIT_BATCH,  /* durable before the caller goes on; those that wait share a sync */
    KMS_AUDIT_ALWAYS, /* the same, one sync a line */
    KMS_AUDIT_NONE,   /* written, but left to the kernel */
};

enum kms_audit_on_error {
    KMS_AUDIT_CONTINUE, /* callers go on; how many lines are missing is recorded later */
    KMS_AUDIT_REFUSE,   /* callers fail until the log can be written */
};

/* Where copies of the lines go, besides the file. */
enum kms_audit_sink { KMS_AUDIT_JOURNALD = 1, KMS_AUDIT_SYSLOG = 2 };

/* Copied, texts too. */
struct kms_audit_options {
    const char *path;   /* the file is "<path>.<writer>" */
    const char *writer; /* "serve" or "admin": each has a chain of its own */
    const char *cluster, *node;
    enum kms_audit_sync sync;
    enum kms_audit_on_error on_error;
    uint64_t rotate_bytes; /* a file doesn't grow beyond it; 0: never rotated */
    uint32_t rotate_keep;  /* rotated files that stay; 0: all */
    unsigned sinks;        /* enum kms_audit_sink */
    const char *syslog;    /* the datagram socket of KMS_AUDIT_SYSLOG */
    const char *encrypt;   /* the certificate that lines are sealed to; NULL: they aren't */
    int64_t wait_ms;       /* how long an open waits for another process that has the file; a line
                            * may take as much longer */
    bool one_shot;         /* opened for one line: failures are returned, not logged */
    bool existing;         /* where there is no file, none is made: that is a failure */
};

struct kms_audit;

/* Opens the file, mends its end and goes on with its chain: in a thread, which is waited for as for a
 * line.  A file that can't be used is no reason to fail: it is one to be unhealthy, and it is tried
 * again once a second.  KMS_E_BUSY, KMS_E_INVALID: the path is too long, or nothing can be sealed to
 * the certificate. */
KMS_MUST_CHECK enum kms_code kms_audit_open(const struct kms_audit_options *options,
                                            struct kms_audit **ret_audit, struct kms_error *err);
/* Nobody may write any more.  Records a gap that is still open, if that works now; waits two seconds
 * at most for a disk that doesn't answer. */
void kms_audit_close(struct kms_audit *audit);
KMS_DEFINE_CLOSE_PTR(struct kms_audit *, kms_audit_close)

struct kms_audit_peer {
    uint32_t uid, gid;
    int32_t pid; /* 0: not known */
};

/* An Encrypt or Decrypt that was answered, or is about to be.  Texts may be hostile. */
struct kms_audit_use {
    const char *op;
    struct kms_bytes uid, key_id; /* empty: not known */
    struct kms_bytes ciphertext;  /* only its SHA-256 is recorded; empty: there is none */
    enum kms_code code;
    struct kms_audit_peer peer;
    int64_t queue_us, token_us, total_us;
    int64_t deadline_ms; /* CLOCK_MONOTONIC: the call's own; 0: none */
};
/* Who is behind a command, as far as it can be known: -1 where it can't. */
struct kms_audit_login {
    int64_t login_uid;   /* the kernel's: who logged in, whatever he became since */
    int64_t started_uid; /* who started the command, before it became the service's account */
    int64_t claimed_uid; /* who called sudo, by an environment that anyone may set */
};
/* A command of an administrator: one line before it acts, one with what came of it. */
struct kms_audit_command {
    const char *op;                 /* "key-destroy" */
    bool done;                      /* else it is about to begin */
    const char *outcome;            /* NULL: none yet */
    uint32_t generation;            /* 0: not known */
    const char *key_id;             /* NULL: not known */
    const char *token;              /* the name of the one it is about; NULL: none */
    const char *verified_by, *wait; /* of a key's end: on what ground; NULL: no such thing */
    enum kms_code code;
    struct kms_audit_peer peer;
    const struct kms_audit_login *login; /* NULL: not known */
};
/* A change of state. */
struct kms_audit_event {
    const char *op;                    /* "promoted" */
    const char *key_id, *reason;       /* NULL: none */
    const char *token;                 /* the name of the one it is about; NULL: none */
    const struct kms_audit_peer *peer; /* NULL: none */
    uint64_t count;                    /* events that this line stands for; 0: one */
};

/* Thread-safe; block until the line is as durable as configured, but for two seconds at most, and
 * for three quarters of the time that the call has left; once the two seconds were in vain, nobody waits until the
 * disk has answered.  A line that takes longer is still written then, and counted as late.
 * KMS_OK: it is durable, or that need not be (KMS_AUDIT_CONTINUE).  KMS_E_UNAVAILABLE: it couldn't be
 * written, or not in time, so don't go on. */
KMS_MUST_CHECK enum kms_code kms_audit_write_use(struct kms_audit *audit,
                                                 const struct kms_audit_use *use,
                                                 struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_audit_write_command(struct kms_audit *audit,
                                                     const struct kms_audit_command *command,
                                                     struct kms_error *err);
/* What happened can't be refused. */
void kms_audit_write_event(struct kms_audit *audit, const struct kms_audit_event *event);

/* KMS_E_PRECONDITION "audit log: …" while a log of KMS_AUDIT_REFUSE can't be written.  Thread-safe;
 * never blocks. */
KMS_MUST_CHECK enum kms_code kms_audit_health(struct kms_audit *audit, struct kms_error *err);

/* Why lines can't be written now, whatever becomes of calls meanwhile; KMS_OK: they can.  Thread-safe;
 * never blocks. */
enum kms_code kms_audit_failure(struct kms_audit *audit, struct kms_error *ret_why);

/* Since the log was opened.  Thread-safe; never blocks. */
struct kms_audit_counts {
    uint64_t written;  /* lines of callers */
    uint64_t lost;     /* the same that aren't in the file */
    uint64_t late;     /* of those written: after their caller went on */
    uint64_t uncopied; /* copies that journald or syslog didn't take */
};
struct kms_audit_counts kms_audit_count(struct kms_audit *audit);

#endif
