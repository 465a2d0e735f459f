/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_writer.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "audit_copier.h"
#include "audit_file.h"
#include "audit_queue.h"
#include "kms/clock.h"
#include "kms/log.h"

enum {
    BATCH_MAX = 256,     /* lines in one write */
    WAIT_MS = 2 * 1000,  /* what a line may take: kube-apiserver waits for three */
    CLOSE_MS = 2 * 1000, /* what a close waits for */
    PROBE_MS = 1000,     /* between two tries of what failed */
    LOG_AGAIN_MS = 60 * 1000,
};

/* Lines of which something is to be recorded. */
struct tally {
    uint64_t count;
    int64_t from_ms; /* UTC: the first one's */
};

struct kms_audit_writer {
    size_t batch_max;
    bool one_shot;
    const char *calls; /* what becomes of calls while nothing can be written */
    int64_t wait_ms;
    char *cluster, *node, *name;
    struct kms_audit_origin origin; /* of the above */
    struct kms_audit_seal *seal;    /* NULL: lines aren't sealed */
    struct kms_audit_copier *copier;
    pthread_t thread;

    /* the thread's alone */
    struct kms_audit_file file;
    int64_t probe_ms, log_ms; /* CLOCK_MONOTONIC: when to try, and to complain, again */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work;  /* there is something to write, to stop or to end */
    pthread_cond_t turn;  /* for those who wait: a batch is done, the disk hangs, or it has ended */
    struct kms_audit_queue queue;
    bool opened;              /* that was tried */
    bool hung;                /* a line took too long, and the queue wasn't empty since */
    struct tally gap;         /* lines that are lost since the last record of that */
    struct tally late;        /* the same that are in the file, but nobody waited for them */
    struct kms_error failure; /* of the file; code KMS_OK: none */
    struct kms_audit_counts counts;
    struct kms_audit_where where;
    bool stopping, ended, abandoned;
};

static void add(struct tally *tally, uint64_t count, int64_t from_ms)
{
    if (tally->count == 0)
        tally->from_ms = from_ms;
    tally->count += count;
}

/* What isn't in the file goes to the other sinks all the same, outside of the chain. */
static void copy_lost(struct kms_audit_writer *writer, const char *body)
{
    static const char head[] = "{\"seq\":null,";
    size_t len = sizeof(head) - 1 + strlen(body);
    char *line = malloc(len + 1);
    if (line == NULL)
        return;
    (void)stpcpy(stpcpy(line, head), body);
    kms_audit_copier_send(writer->copier, (struct kms_bytes){ (const uint8_t *)line, len });
    free(line);
}

static void free_writer(struct kms_audit_writer *writer)
{
    kms_audit_file_done(&writer->file);
    kms_audit_copier_close(writer->copier);
    kms_audit_seal_close(writer->seal);
    (void)pthread_cond_destroy(&writer->turn);
    (void)pthread_cond_destroy(&writer->work);
    (void)pthread_mutex_destroy(&writer->lock);
    free(writer->cluster);
    free(writer->node);
    free(writer->name);
    free(writer);
}

/* --- the thread, without the lock --- */

static void set_failure(struct kms_audit_writer *writer, const struct kms_error *err)
{
    (void)pthread_mutex_lock(&writer->lock);
    writer->failure = *err;
    (void)pthread_mutex_unlock(&writer->lock);
}

static void complain(const struct kms_audit_writer *writer, const struct kms_error *err,
                     uint64_t lost)
{
    const struct kms_log_field more[] = {
        KMS_F_TEXT("file", writer->file.path),
        KMS_F_TEXT("calls", writer->calls),
        KMS_F_INT("lost", lost),
    };
    kms_log_error(KMS_LOG_ERROR, "audit log can't be written", err, more, 3);
}

/* Loud at first, then once a minute. */
static void fell(struct kms_audit_writer *writer, const struct kms_error *err, uint64_t lost)
{
    int64_t now_ms = kms_monotonic_ms();
    set_failure(writer, err);
    writer->probe_ms = now_ms + PROBE_MS;
    if (writer->one_shot || now_ms < writer->log_ms)
        return;
    writer->log_ms = now_ms + LOG_AGAIN_MS;
    complain(writer, err, lost);
}

/* Both or none, or the one would be told twice. */
static enum kms_code record(struct kms_audit_writer *writer, const struct tally *gap,
                            const struct tally *late, const char *reason, struct kms_error *err)
{
    const struct kms_audit_origin *origin = &writer->origin;
    int64_t now_ms = kms_utc_ms();
    char *bodies[2] = { NULL };
    size_t count = 0;
    if (gap->count > 0)
        bodies[count++] = kms_audit_body_gap(origin, gap->count, gap->from_ms, now_ms, reason);
    if (late->count > 0)
        bodies[count++] = kms_audit_body_late(origin, late->count, late->from_ms, now_ms);
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; i < count && rc == KMS_OK; i++)
        if (bodies[i] == NULL)
            rc = kms_fail(err, KMS_E_BUSY, "out of memory");
    if (rc == KMS_OK && count > 0)
        rc = kms_audit_file_append(&writer->file, (const char *const *)bodies, count, err);
    free(bodies[0]);
    free(bodies[1]);
    return rc;
}

/* Opens what failed, and records what is to be recorded: that must work before other lines do.
 * @hung: that the disk answers again is news, too. */
static bool recover(struct kms_audit_writer *writer, bool hung)
{
    struct kms_error err = { .code = KMS_OK };
    enum kms_code rc = KMS_OK;
    (void)pthread_mutex_lock(&writer->lock);
    struct kms_error before = writer->failure;
    struct tally gap = writer->gap, late = writer->late;
    (void)pthread_mutex_unlock(&writer->lock);
    if (!kms_audit_file_is_open(&writer->file))
        rc = kms_audit_file_open(&writer->file, &err);
    if (rc == KMS_OK)
        rc = record(writer, &gap, &late,
                    before.code != KMS_OK ? before.msg : "too many lines waited, or no memory",
                    &err);
    if (rc != KMS_OK) {
        fell(writer, &err, gap.count);
        return false;
    }
    if (hung || before.code != KMS_OK || gap.count > 0)
        kms_log(KMS_LOG_WARN, "audit log is written again", KMS_F_TEXT("file", writer->file.path),
                KMS_F_INT("lost", gap.count), KMS_F_INT("written_late", late.count));
    writer->log_ms = 0;
    (void)pthread_mutex_lock(&writer->lock);
    writer->gap.count -= gap.count; /* callers may have added to it */
    writer->late.count -= late.count;
    writer->failure.code = KMS_OK;
    (void)pthread_mutex_unlock(&writer->lock);
    return true;
}

/* What may be tried now. */
static bool is_ready(struct kms_audit_writer *writer)
{
    (void)pthread_mutex_lock(&writer->lock);
    bool sound = writer->failure.code == KMS_OK && writer->gap.count == 0;
    (void)pthread_mutex_unlock(&writer->lock);
    if (sound && kms_audit_file_is_open(&writer->file))
        return true;
    return kms_monotonic_ms() >= writer->probe_ms && recover(writer, false);
}

static bool write_batch(struct kms_audit_writer *writer, const char *const *bodies, size_t count)
{
    struct kms_error err = { .code = KMS_OK };
    if (!is_ready(writer))
        return false;
    if (kms_audit_file_append(&writer->file, bodies, count, &err) == KMS_OK)
        return true;
    fell(writer, &err, count);
    return false;
}

/* --- the thread, with the lock, which is released meanwhile --- */

static void note_where(struct kms_audit_writer *writer)
{
    writer->where.chain = writer->file.chain;
    writer->where.rotations = writer->file.rotations;
}

static void note_done(struct kms_audit_writer *writer, struct kms_audit_entry *const *batch,
                      size_t count, bool written)
{
    note_where(writer);
    writer->counts.written += written ? count : 0;
    writer->counts.lost += written ? 0 : count;
    if (!written)
        add(&writer->gap, count, batch[0]->utc_ms);
    for (size_t i = 0; i < count; i++) {
        struct kms_audit_entry *entry = batch[i];
        entry->written = written;
        entry->done = true;
        if (entry->awaited)
            continue;
        if (written)
            add(&writer->late, 1, entry->utc_ms);
        writer->counts.late += written ? 1 : 0;
        kms_audit_entry_close(entry);
    }
    (void)pthread_cond_broadcast(&writer->turn);
}

static void write_first(struct kms_audit_writer *writer)
{
    struct kms_audit_entry *batch[BATCH_MAX];
    const char *bodies[BATCH_MAX];
    size_t count = kms_audit_queue_take(&writer->queue, writer->batch_max, batch);
    (void)pthread_mutex_unlock(&writer->lock);
    for (size_t i = 0; i < count; i++)
        bodies[i] = batch[i]->body;
    bool written = write_batch(writer, bodies, count);
    for (size_t i = 0; i < count && !written; i++)
        copy_lost(writer, bodies[i]);
    (void)pthread_mutex_lock(&writer->lock);
    note_done(writer, batch, count, written);
}

static void recover_unlocked(struct kms_audit_writer *writer, bool hung)
{
    (void)pthread_mutex_unlock(&writer->lock);
    bool recovered = recover(writer, hung);
    (void)pthread_mutex_lock(&writer->lock);
    if (recovered)
        note_where(writer);
}

/* Nothing is queued. */
static void idle(struct kms_audit_writer *writer)
{
    bool sound = writer->failure.code == KMS_OK && writer->gap.count == 0 &&
                 writer->late.count == 0 && writer->opened;
    bool hung = writer->hung;
    writer->hung = false;
    if (!sound && kms_monotonic_ms() >= writer->probe_ms)
        recover_unlocked(writer, hung);
    else
        (void)kms_cond_wait_until(&writer->work, &writer->lock,
                                  sound ? KMS_DEADLINE_NEVER : writer->probe_ms);
    if (!writer->opened)
        (void)pthread_cond_broadcast(&writer->turn);
    writer->opened = true;
}

/* Records what is still to be: whoever has the file was waited for before.  Even to close a file may
 * take long. */
static void finish(struct kms_audit_writer *writer)
{
    writer->file.wait_ms = 0;
    if (writer->gap.count + writer->late.count > 0 && !writer->abandoned)
        recover_unlocked(writer, writer->hung);
    (void)pthread_mutex_unlock(&writer->lock);
    kms_audit_file_done(&writer->file);
    (void)pthread_mutex_lock(&writer->lock);
}

static void *run(void *arg)
{
    struct kms_audit_writer *writer = arg;
    (void)pthread_mutex_lock(&writer->lock);
    while (!writer->abandoned && (writer->queue.first != NULL || !writer->stopping)) {
        if (writer->queue.first != NULL && writer->opened)
            write_first(writer);
        else
            idle(writer);
    }
    finish(writer);
    writer->ended = true;
    bool abandoned = writer->abandoned;
    (void)pthread_cond_broadcast(&writer->turn);
    (void)pthread_mutex_unlock(&writer->lock);
    if (abandoned)
        free_writer(writer);
    return NULL;
}

/* --- callers --- */

static enum kms_code hung_text(const struct kms_audit_writer *writer, struct kms_error *err)
{
    return kms_fail(err, KMS_E_UNAVAILABLE, "%s: the disk doesn't answer", writer->file.path);
}

/* With the lock held.  False: it is lost. */
static bool enqueue(struct kms_audit_writer *writer, struct kms_audit_entry *entry)
{
    if (entry != NULL && kms_audit_queue_put(&writer->queue, entry)) {
        entry->awaited = true;
        (void)pthread_cond_signal(&writer->work);
        return true;
    }
    add(&writer->gap, 1, kms_utc_ms());
    writer->counts.lost++;
    return false;
}

/* With the lock held.  Returns whether this is the first to find that the disk hangs. */
static bool await(struct kms_audit_writer *writer, const bool *done, int64_t deadline_ms)
{
    int64_t now_ms = kms_monotonic_ms(), left_ms = deadline_ms - now_ms;
    int64_t patience_ms = now_ms + WAIT_MS + writer->wait_ms;
    int64_t until_ms = now_ms + left_ms - left_ms / 4; /* a quarter is for the answer */
    if (until_ms > patience_ms)
        until_ms = patience_ms;
    while (!*done && !writer->hung) {
        if (kms_cond_wait_until(&writer->turn, &writer->lock, until_ms) || *done || writer->hung)
            continue;
        if (until_ms < patience_ms)
            return false; /* which shows nothing of the disk */
        writer->hung = true;
        (void)pthread_cond_broadcast(&writer->turn);
        return true;
    }
    return false;
}

static enum kms_code say_why(struct kms_audit_writer *writer, bool done, struct kms_error *err)
{
    struct kms_error why = writer->failure;
    if (!done && writer->hung)
        (void)hung_text(writer, &why);
    else if (!done)
        kms_fail(&why, KMS_E_UNAVAILABLE, "the call's time was up before its line was durable");
    return kms_fail(err, KMS_E_UNAVAILABLE, "audit log: %s", why.msg);
}

static enum kms_code lose(struct kms_audit_writer *writer, struct kms_audit_entry *entry,
                          struct kms_error *err)
{
    bool no_memory = entry == NULL;
    if (!no_memory)
        copy_lost(writer, entry->body);
    kms_audit_entry_close(entry);
    return kms_fail(err, KMS_E_UNAVAILABLE, "audit log: %s",
                    no_memory ? "out of memory" : "too many lines wait for the disk");
}

enum kms_code kms_audit_writer_put(struct kms_audit_writer *writer, char *body, int64_t deadline_ms,
                                   struct kms_error *err)
{
    struct kms_audit_entry *entry = kms_audit_entry_open(body);
    enum kms_code rc = KMS_OK;
    (void)pthread_mutex_lock(&writer->lock);
    if (!enqueue(writer, entry)) {
        (void)pthread_mutex_unlock(&writer->lock);
        return lose(writer, entry, err);
    }
    bool found = await(writer, &entry->done, deadline_ms), done = entry->done;
    if (!done || !entry->written)
        rc = say_why(writer, done, err);
    entry->awaited = false;
    if (done)
        kms_audit_entry_close(entry); /* else the thread does */
    uint64_t lost = writer->gap.count;
    (void)pthread_mutex_unlock(&writer->lock);
    if (found && !writer->one_shot)
        complain(writer, err, lost);
    return rc;
}

enum kms_code kms_audit_writer_failure(struct kms_audit_writer *writer, struct kms_error *ret_why)
{
    (void)pthread_mutex_lock(&writer->lock);
    *ret_why = writer->failure;
    if (writer->hung)
        (void)hung_text(writer, ret_why);
    (void)pthread_mutex_unlock(&writer->lock);
    return ret_why->code;
}

struct kms_audit_counts kms_audit_writer_count(struct kms_audit_writer *writer)
{
    (void)pthread_mutex_lock(&writer->lock);
    struct kms_audit_counts counts = writer->counts;
    (void)pthread_mutex_unlock(&writer->lock);
    counts.uncopied = kms_audit_copier_uncopied(writer->copier);
    return counts;
}

struct kms_audit_where kms_audit_writer_where(struct kms_audit_writer *writer)
{
    (void)pthread_mutex_lock(&writer->lock);
    struct kms_audit_where where = writer->where;
    where.hung = writer->hung;
    (void)pthread_mutex_unlock(&writer->lock);
    return where;
}

const struct kms_audit_origin *kms_audit_writer_origin(const struct kms_audit_writer *writer)
{
    return &writer->origin;
}

struct kms_audit_seal *kms_audit_writer_seal(struct kms_audit_writer *writer)
{
    return writer->seal;
}

/* --- opening and closing --- */

static enum kms_code copy_origin(struct kms_audit_writer *writer,
                                 const struct kms_audit_options *options, struct kms_error *err)
{
    writer->cluster = strdup(options->cluster != NULL ? options->cluster : "");
    writer->node = strdup(options->node != NULL ? options->node : "");
    writer->name = strdup(options->writer);
    writer->origin = (struct kms_audit_origin){ writer->cluster, writer->node, writer->name };
    if (writer->cluster == NULL || writer->node == NULL || writer->name == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    return KMS_OK;
}

static enum kms_code init(struct kms_audit_writer *writer, const struct kms_audit_options *options,
                          struct kms_error *err)
{
    writer->file = (struct kms_audit_file){ .dir_fd = -1, .lock_fd = -1, .fd = -1 };
    writer->batch_max = options->sync == KMS_AUDIT_ALWAYS ? 1 : BATCH_MAX;
    writer->one_shot = options->one_shot;
    writer->calls = options->on_error == KMS_AUDIT_REFUSE ? "refused" : "go on unrecorded";
    writer->wait_ms = options->wait_ms;
    kms_audit_queue_init(&writer->queue);
    (void)pthread_mutex_init(&writer->lock, NULL);
    kms_cond_init(&writer->work);
    kms_cond_init(&writer->turn);
    enum kms_code rc = copy_origin(writer, options, err);
    if (rc == KMS_OK)
        rc = kms_audit_copier_open(options, &writer->copier, err);
    if (rc == KMS_OK && options->encrypt != NULL)
        rc = kms_audit_seal_open(options->encrypt, &writer->seal, err);
    if (rc == KMS_OK)
        rc = kms_audit_file_init(&writer->file, options, &writer->origin, writer->copier, err);
    writer->file.seal = writer->seal;
    return rc;
}

/* Without signals: they are for the threads that were there before. */
static enum kms_code start(struct kms_audit_writer *writer, struct kms_error *err)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&writer->thread, NULL, run, writer);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed == 0 ? KMS_OK : kms_fail(err, KMS_E_BUSY, "no thread for the audit log");
}

enum kms_code kms_audit_writer_open(const struct kms_audit_options *options,
                                    struct kms_audit_writer **ret_writer, struct kms_error *err)
{
    struct kms_audit_writer *writer = calloc(1, sizeof(*writer));
    if (writer == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    enum kms_code rc = init(writer, options, err);
    if (rc == KMS_OK)
        rc = start(writer, err);
    if (rc != KMS_OK) {
        free_writer(writer);
        return rc;
    }
    struct kms_error why;
    (void)pthread_mutex_lock(&writer->lock);
    bool found = await(writer, &writer->opened, KMS_DEADLINE_NEVER);
    (void)pthread_mutex_unlock(&writer->lock);
    if (found && !writer->one_shot && hung_text(writer, &why) != KMS_OK)
        complain(writer, &why, 0);
    *ret_writer = writer;
    return KMS_OK;
}

/* With the lock held, or the thread would be gone with the sinks.  They get what the file doesn't. */
static void give_up_queue(struct kms_audit_writer *writer)
{
    struct kms_audit_entry *entry;
    while (kms_audit_queue_take(&writer->queue, 1, &entry) > 0) {
        copy_lost(writer, entry->body);
        kms_audit_entry_close(entry);
    }
}

/* True: the thread has ended.  Else it frees the writer when it does. */
static bool stop(struct kms_audit_writer *writer)
{
    int64_t deadline_ms = kms_monotonic_ms() + CLOSE_MS;
    (void)pthread_mutex_lock(&writer->lock);
    writer->stopping = true;
    (void)pthread_cond_signal(&writer->work);
    while (!writer->ended && kms_cond_wait_until(&writer->turn, &writer->lock, deadline_ms))
        continue;
    bool ended = writer->ended;
    writer->abandoned = !ended;
    give_up_queue(writer); /* none, if it has ended */
    if (!ended)
        (void)pthread_detach(writer->thread);
    (void)pthread_mutex_unlock(&writer->lock);
    return ended;
}

void kms_audit_writer_close(struct kms_audit_writer *writer)
{
    if (writer == NULL)
        return;
    bool one_shot = writer->one_shot;
    if (!stop(writer)) {
        if (one_shot)
            return;
        kms_log(KMS_LOG_ERROR, "audit log left behind: its last lines may be missing",
                KMS_F_TEXT("error", "the disk doesn't answer"));
        return;
    }
    (void)pthread_join(writer->thread, NULL);
    free_writer(writer);
}
