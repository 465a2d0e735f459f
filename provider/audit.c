/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "audit_checkpoint.h"
#include "audit_copier.h"
#include "audit_file.h"
#include "audit_seal.h"
#include "kms/clock.h"
#include "kms/log.h"

enum {
    BATCH_MAX = 256, /* lines in one write */
    PROBE_MS = 1000, /* between two tries of what failed */
    LOG_AGAIN_MS = 60 * 1000,
};

/* A caller that waits for its line; on its stack. */
struct entry {
    const char *body;
    bool done;
    enum kms_code rc;
    struct entry *next;
};

/* Whoever finds no leader leads: it takes all entries, and writes them without the lock while others
 * line up behind.  Nobody waits for company, so a batch is what came during the sync before it. */
struct kms_audit {
    enum kms_audit_sync sync;
    enum kms_audit_on_error on_error;
    bool one_shot;
    char *cluster, *node, *writer;
    struct kms_audit_origin origin; /* of the above */
    struct kms_audit_seal *seal;    /* NULL: lines aren't sealed */

    /* the leader's alone */
    struct kms_audit_file file;
    struct kms_audit_copier *copier;
    int64_t probe_ms, log_ms; /* CLOCK_MONOTONIC: when to try, and to complain, again */
    uint64_t gap;             /* lines lost since … */
    int64_t gap_from_ms;      /* … this time (UTC) */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t turn;  /* a batch is done */
    bool led;
    struct entry *first, **last;
    struct kms_error failure; /* code KMS_OK: the log can be written */
    struct kms_audit_counts counts;
    struct kms_audit_where where; /* the file's, as the last leader left it */
};

/* --- the leader, without the lock --- */

static void set_failure(struct kms_audit *audit, const struct kms_error *err)
{
    pthread_mutex_lock(&audit->lock);
    audit->failure = *err;
    pthread_mutex_unlock(&audit->lock);
}

/* Loud at first, then once a minute. */
static void fell(struct kms_audit *audit, const struct kms_error *err)
{
    int64_t now_ms = kms_monotonic_ms();
    set_failure(audit, err);
    audit->probe_ms = now_ms + PROBE_MS;
    if (audit->one_shot || now_ms < audit->log_ms)
        return;
    audit->log_ms = now_ms + LOG_AGAIN_MS;
    const struct kms_log_field more[] = {
        KMS_F_TEXT("file", audit->file.path),
        KMS_F_TEXT("calls", audit->on_error == KMS_AUDIT_REFUSE ? "refused" : "go on unrecorded"),
        KMS_F_INT("lost", audit->gap),
    };
    kms_log_error(KMS_LOG_ERROR, "audit log can't be written", err, more, 3);
}

static enum kms_code record_gap(struct kms_audit *audit, const char *reason, struct kms_error *err)
{
    if (audit->gap == 0)
        return KMS_OK;
    char *body = kms_audit_body_gap(&audit->origin, audit->gap, audit->gap_from_ms, kms_utc_ms(),
                                    reason);
    if (body == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    const char *const bodies[] = { body };
    enum kms_code rc = kms_audit_file_append(&audit->file, bodies, 1, err);
    free(body);
    return rc;
}

/* Opens what failed again, if it is time; the record of the gap is the first that must work. */
static bool is_ready(struct kms_audit *audit)
{
    if (kms_audit_file_is_open(&audit->file) && audit->failure.code == KMS_OK && audit->gap == 0)
        return true;
    if (kms_monotonic_ms() < audit->probe_ms)
        return false;
    struct kms_error err = { .code = KMS_OK };
    struct kms_error before = audit->failure; /* only a leader writes it */
    enum kms_code rc = kms_audit_file_open(&audit->file, &err);
    if (rc == KMS_OK)
        rc = record_gap(audit, before.msg, &err);
    if (rc != KMS_OK) {
        fell(audit, &err);
        return false;
    }
    if (before.code != KMS_OK)
        kms_log(KMS_LOG_WARN, "audit log is written again", KMS_F_TEXT("file", audit->file.path),
                KMS_F_INT("lost", audit->gap));
    audit->gap = 0;
    audit->log_ms = 0;
    set_failure(audit, &(struct kms_error){ .code = KMS_OK });
    return true;
}

static void count_lost(struct kms_audit *audit, size_t count)
{
    if (audit->gap == 0)
        audit->gap_from_ms = kms_utc_ms();
    audit->gap += count;
}

/* What isn't in the file goes to the other sinks all the same, outside of the chain. */
static void copy_lost(struct kms_audit *audit, const char *const *bodies, size_t count)
{
    static const char head[] = "{\"seq\":null,";
    for (size_t i = 0; i < count; i++) {
        size_t len = sizeof(head) - 1 + strlen(bodies[i]);
        char *line = malloc(len + 1);
        if (line == NULL)
            continue;
        (void)stpcpy(stpcpy(line, head), bodies[i]);
        kms_audit_copier_send(audit->copier, (struct kms_bytes){ (const uint8_t *)line, len });
        free(line);
    }
}

static enum kms_code write_batch(struct kms_audit *audit, const char *const *bodies, size_t count)
{
    struct kms_error err = { .code = KMS_OK };
    enum kms_code rc = KMS_E_UNAVAILABLE;
    if (is_ready(audit)) {
        rc = kms_audit_file_append(&audit->file, bodies, count, &err);
        if (rc != KMS_OK)
            fell(audit, &err);
    }
    if (rc != KMS_OK) {
        count_lost(audit, count);
        copy_lost(audit, bodies, count);
    }
    pthread_mutex_lock(&audit->lock);
    audit->counts.written += rc == KMS_OK ? count : 0;
    audit->counts.lost += rc == KMS_OK ? 0 : count;
    pthread_mutex_unlock(&audit->lock);
    return rc;
}

/* --- taking turns --- */

/* With the lock held, which is released meanwhile. */
static void lead(struct kms_audit *audit)
{
    const char *bodies[BATCH_MAX];
    struct entry *mine = audit->first, *entry = mine;
    size_t max = audit->sync == KMS_AUDIT_ALWAYS ? 1 : BATCH_MAX, count = 0;
    for (; entry != NULL && count < max; entry = entry->next)
        bodies[count++] = entry->body;
    audit->first = entry;
    if (entry == NULL)
        audit->last = &audit->first;
    audit->led = true;
    pthread_mutex_unlock(&audit->lock);
    enum kms_code rc = write_batch(audit, bodies, count);
    pthread_mutex_lock(&audit->lock);
    audit->led = false;
    audit->where = (struct kms_audit_where){ audit->file.chain, audit->file.rotations };
    for (size_t i = 0; i < count; i++) {
        struct entry *next = mine->next; /* a caller may be gone once it is done */
        mine->rc = rc;
        mine->done = true;
        mine = next;
    }
    pthread_cond_broadcast(&audit->turn);
}

static enum kms_code put(struct kms_audit *audit, const char *body, struct kms_error *err)
{
    struct entry entry = { .body = body };
    pthread_mutex_lock(&audit->lock);
    *audit->last = &entry;
    audit->last = &entry.next;
    while (!entry.done) {
        if (audit->led)
            pthread_cond_wait(&audit->turn, &audit->lock);
        else
            lead(audit);
    }
    struct kms_error failure = audit->failure;
    pthread_mutex_unlock(&audit->lock);
    if (entry.rc == KMS_OK)
        return KMS_OK;
    return kms_fail(err, KMS_E_UNAVAILABLE, "audit log: %s", failure.msg);
}

/* A line that there was no memory to make. */
static void lose(struct kms_audit *audit)
{
    pthread_mutex_lock(&audit->lock);
    while (audit->led) /* the gap is a leader's */
        pthread_cond_wait(&audit->turn, &audit->lock);
    count_lost(audit, 1);
    audit->counts.lost++;
    pthread_mutex_unlock(&audit->lock);
}

/* @body is taken. */
static enum kms_code put_body(struct kms_audit *audit, char *body, struct kms_error *err)
{
    if (body != NULL) {
        enum kms_code rc = put(audit, body, err);
        free(body);
        return rc;
    }
    lose(audit);
    return kms_fail(err, KMS_E_UNAVAILABLE, "audit log: out of memory");
}

/* The same, sealed if lines are, and forgiven if callers go on. */
static enum kms_code seal_and_put(struct kms_audit *audit, char *body, struct kms_error *err)
{
    enum kms_code rc = put_body(audit, kms_audit_seal_body(audit->seal, &audit->origin, body), err);
    return audit->on_error == KMS_AUDIT_CONTINUE ? KMS_OK : rc;
}

enum kms_code kms_audit_write_use(struct kms_audit *audit, const struct kms_audit_use *use,
                                  struct kms_error *err)
{
    return audit != NULL ? seal_and_put(audit, kms_audit_body_use(&audit->origin, use), err)
                         : KMS_OK;
}

enum kms_code kms_audit_write_command(struct kms_audit *audit,
                                      const struct kms_audit_command *command,
                                      struct kms_error *err)
{
    if (audit == NULL)
        return KMS_OK;
    return seal_and_put(audit, kms_audit_body_command(&audit->origin, command), err);
}

void kms_audit_write_event(struct kms_audit *audit, const struct kms_audit_event *event)
{
    struct kms_error ignored; /* the log has it, and the gap */
    if (audit != NULL)
        (void)seal_and_put(audit, kms_audit_body_event(&audit->origin, event), &ignored);
}

enum kms_code kms_audit_write_checkpoint(struct kms_audit *audit, const struct kms_audit_chain *at,
                                         const struct kms_signature *signature,
                                         struct kms_error *err)
{
    if (audit == NULL)
        return KMS_OK;
    return put_body(audit, kms_audit_body_checkpoint(&audit->origin, at, signature), err);
}

struct kms_audit_where kms_audit_where(struct kms_audit *audit)
{
    struct kms_audit_where where = { .rotations = 0 };
    if (audit == NULL)
        return where;
    pthread_mutex_lock(&audit->lock);
    where = audit->where;
    pthread_mutex_unlock(&audit->lock);
    return where;
}

enum kms_code kms_audit_health(struct kms_audit *audit, struct kms_error *err)
{
    if (audit == NULL || audit->on_error == KMS_AUDIT_CONTINUE)
        return KMS_OK;
    pthread_mutex_lock(&audit->lock);
    struct kms_error failure = audit->failure;
    pthread_mutex_unlock(&audit->lock);
    if (failure.code == KMS_OK)
        return KMS_OK;
    return kms_fail(err, KMS_E_PRECONDITION, "audit log: %s", failure.msg);
}

void kms_audit_probe(struct kms_audit *audit)
{
    if (audit == NULL)
        return;
    pthread_mutex_lock(&audit->lock);
    if (audit->failure.code != KMS_OK && !audit->led) /* a leader tries by itself */
        lead(audit);
    pthread_mutex_unlock(&audit->lock);
}

struct kms_audit_counts kms_audit_count(struct kms_audit *audit)
{
    struct kms_audit_counts counts = { .written = 0 };
    if (audit == NULL)
        return counts;
    pthread_mutex_lock(&audit->lock);
    counts = audit->counts;
    pthread_mutex_unlock(&audit->lock);
    counts.uncopied = kms_audit_copier_uncopied(audit->copier);
    return counts;
}

/* --- opening --- */

static bool copy_origin(struct kms_audit *audit, const struct kms_audit_options *options)
{
    audit->cluster = strdup(options->cluster != NULL ? options->cluster : "");
    audit->node = strdup(options->node != NULL ? options->node : "");
    audit->writer = strdup(options->writer);
    audit->origin = (struct kms_audit_origin){ audit->cluster, audit->node, audit->writer };
    return audit->cluster != NULL && audit->node != NULL && audit->writer != NULL;
}

static void free_parts(struct kms_audit *audit)
{
    kms_audit_file_done(&audit->file);
    kms_audit_copier_close(audit->copier);
    kms_audit_seal_close(audit->seal);
    pthread_cond_destroy(&audit->turn);
    pthread_mutex_destroy(&audit->lock);
    free(audit->cluster);
    free(audit->node);
    free(audit->writer);
    free(audit);
}

enum kms_code kms_audit_open(const struct kms_audit_options *options, struct kms_audit **ret_audit,
                             struct kms_error *err)
{
    struct kms_audit *audit = calloc(1, sizeof(*audit));
    if (audit == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    audit->file = (struct kms_audit_file){ .dir_fd = -1, .lock_fd = -1, .fd = -1 };
    audit->sync = options->sync;
    audit->on_error = options->on_error;
    audit->one_shot = options->one_shot;
    audit->last = &audit->first;
    pthread_mutex_init(&audit->lock, NULL);
    pthread_cond_init(&audit->turn, NULL);
    enum kms_code rc = copy_origin(audit, options) ? KMS_OK
                                                   : kms_fail(err, KMS_E_BUSY, "out of memory");
    if (rc == KMS_OK)
        rc = kms_audit_copier_open(options, &audit->copier, err);
    if (rc == KMS_OK && options->encrypt != NULL)
        rc = kms_audit_seal_open(options->encrypt, &audit->seal, err);
    if (rc == KMS_OK)
        rc = kms_audit_file_init(&audit->file, options, &audit->origin, audit->copier, err);
    if (rc != KMS_OK) {
        free_parts(audit);
        return rc;
    }
    audit->file.seal = audit->seal;
    if (is_ready(audit)) /* else it is unhealthy, and tries again */
        audit->where.chain = audit->file.chain;
    *ret_audit = audit;
    return KMS_OK;
}

void kms_audit_close(struct kms_audit *audit)
{
    if (audit == NULL)
        return;
    audit->probe_ms = 0;
    audit->file.wait_ms = 0; /* whoever has the file was waited for before */
    if (audit->gap > 0)
        (void)is_ready(audit);
    free_parts(audit);
}
