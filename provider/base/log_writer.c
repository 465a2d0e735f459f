/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/log_writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "kms/clock.h"

/* A descriptor can't be asked not to block: O_NONBLOCK belongs to the description, which stderr
 * shares with other processes, and files on a disk that hangs ignore it.  So a thread blocks. */
enum {
    QUEUE_MAX = 256 * 1024, /* bytes: some thousand lines */
    WAIT_MS = 100,          /* how long a caller waits for its line: far more than a write takes */
};

static struct {
    pthread_mutex_t lock;            /* guards all below */
    pthread_cond_t arrived, written; /* for the thread; for those who wait for it */
    pthread_t thread;
    int fd;
    kms_log_format_lost *format_lost;
    char queue[QUEUE_MAX];                /* a ring of whole lines, … */
    size_t first, len;                    /* … from @first on */
    uint64_t queued_lines, written_lines; /* since the start */
    uint64_t lost;                        /* found no room since the last line that did */
    bool running, stopping;
    bool stalled; /* somebody waited in vain, and the queue wasn't empty since */
} writer = { .lock = PTHREAD_MUTEX_INITIALIZER };

void kms_log_write(int fd, const char *text, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(fd, text + done, len - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd ready = { .fd = fd, .events = POLLOUT };
            poll(&ready, 1, 1000);
        } else if (n == 0 || errno != EINTR) {
            return;
        }
    }
}

/* --- the queue, with the lock held --- */

static bool enqueue(const char *text, size_t len)
{
    if (len > sizeof(writer.queue) - writer.len)
        return false;
    size_t end = (writer.first + writer.len) % sizeof(writer.queue);
    size_t head = sizeof(writer.queue) - end < len ? sizeof(writer.queue) - end : len;
    memcpy(writer.queue + end, text, head);
    memcpy(writer.queue, text + head, len - head);
    writer.len += len;
    writer.queued_lines++;
    (void)pthread_cond_signal(&writer.arrived);
    return true;
}

/* What is missing is said in its place: behind the lines before it. */
static bool enqueue_lost(void)
{
    char text[KMS_LOG_LINE_MAX];
    if (writer.lost == 0)
        return true;
    if (!enqueue(text, writer.format_lost(writer.lost, text)))
        return false;
    writer.lost = 0;
    return true;
}

/* Nothing stays of a line: a client may have sent a seed where its uid was to be. */
static size_t take_line(char ret_text[static KMS_LOG_LINE_MAX])
{
    size_t len = 0;
    do {
        char *at = &writer.queue[(writer.first + len) % sizeof(writer.queue)];
        ret_text[len] = *at;
        *at = '\0';
    } while (ret_text[len++] != '\n' && len < KMS_LOG_LINE_MAX);
    writer.first = (writer.first + len) % sizeof(writer.queue);
    writer.len -= len;
    return len;
}

/* --- the thread --- */

/* With the lock held, which is released meanwhile. */
static void write_first(void)
{
    char text[KMS_LOG_LINE_MAX];
    size_t len = take_line(text);
    int fd = writer.fd;
    (void)pthread_mutex_unlock(&writer.lock);
    kms_log_write(fd, text, len);
    explicit_bzero(text, len);
    (void)pthread_mutex_lock(&writer.lock);
    writer.written_lines++;
    writer.stalled = writer.stalled && writer.len > 0;
    (void)pthread_cond_broadcast(&writer.written);
}

static void *run(void *arg)
{
    (void)arg;
    (void)pthread_mutex_lock(&writer.lock);
    for (;;) {
        if (writer.len == 0)
            (void)enqueue_lost();
        if (writer.len > 0)
            write_first();
        else if (writer.stopping)
            break;
        else
            (void)pthread_cond_wait(&writer.arrived, &writer.lock);
    }
    writer.running = false;
    (void)pthread_cond_broadcast(&writer.written);
    (void)pthread_mutex_unlock(&writer.lock);
    return NULL;
}

/* --- others --- */

/* With the lock held. */
static void wait_for(uint64_t line)
{
    int64_t deadline_ms = kms_monotonic_ms() + WAIT_MS;
    while (writer.written_lines < line && !writer.stalled) {
        if (kms_cond_wait_until(&writer.written, &writer.lock, deadline_ms))
            continue;
        writer.stalled = writer.written_lines < line;
        (void)pthread_cond_broadcast(&writer.written); /* nobody else need try */
        return;
    }
}

bool kms_log_writer_put(const char *text, size_t len)
{
    (void)pthread_mutex_lock(&writer.lock);
    bool running = writer.running;
    if (running && enqueue_lost() && enqueue(text, len))
        wait_for(writer.queued_lines);
    else if (running)
        writer.lost++;
    (void)pthread_mutex_unlock(&writer.lock);
    return running;
}

enum kms_code kms_log_writer_start(int fd, kms_log_format_lost *format_lost, struct kms_error *err)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_mutex_lock(&writer.lock);
    writer.fd = fd;
    writer.format_lost = format_lost;
    writer.first = writer.len = 0;
    writer.queued_lines = writer.written_lines = writer.lost = 0;
    writer.stopping = writer.stalled = false;
    kms_cond_init(&writer.arrived);
    kms_cond_init(&writer.written);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    writer.running = pthread_create(&writer.thread, NULL, run, NULL) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    bool running = writer.running;
    (void)pthread_mutex_unlock(&writer.lock);
    return running ? KMS_OK : kms_fail(err, KMS_E_BUSY, "no thread for the log");
}

void kms_log_writer_stop(int64_t wait_ms)
{
    int64_t deadline_ms = kms_monotonic_ms() + wait_ms;
    (void)pthread_mutex_lock(&writer.lock);
    bool started = writer.running;
    writer.stopping = true;
    (void)pthread_cond_signal(&writer.arrived);
    while (writer.running && kms_cond_wait_until(&writer.written, &writer.lock, deadline_ms))
        continue;
    bool ended = !writer.running;
    pthread_t thread = writer.thread;
    (void)pthread_mutex_unlock(&writer.lock);
    if (started && ended)
        (void)pthread_join(thread, NULL);
    else if (started)
        (void)pthread_detach(thread);
}
