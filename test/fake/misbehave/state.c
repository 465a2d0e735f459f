/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "table.h"

#define NAME(how, name, ...) #name,
const char *const misbehave_names[MISBEHAVE_COUNT] = { MISBEHAVE_FUNCTIONS(NAME, NAME, NAME, NAME,
                                                                           NAME, NAME, NAME) };

CK_FUNCTION_LIST *misbehave_real;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void misbehave_lock(void)
{
    (void)pthread_mutex_lock(&mutex);
}

void misbehave_unlock(void)
{
    (void)pthread_mutex_unlock(&mutex);
}

/* One write: lines of several processes don't mix. */
static void append(const char *path, const char *what)
{
    if (path[0] == '\0')
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    (void)dprintf(fd, "%ld %s\n", (long)getpid(), what);
    (void)close(fd);
}

void misbehave_log(const char *path, const char *fmt, ...)
{
    char what[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    append(path, what);
}

void misbehave_die(const char *log_path, const char *fmt, ...)
{
    char what[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    append(log_path, what);
    (void)fprintf(stderr, "misbehave: %s\n", what);
    abort();
}
