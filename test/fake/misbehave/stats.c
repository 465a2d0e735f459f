/* SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "state.h"

/* Where to count while no file is named. */
static struct misbehave_stats own;

/* A mapping that is replaced stays mapped: a call of another thread may still count in it. */
static _Atomic(struct misbehave_stats *) now = &own;

static struct misbehave_stats *map(const char *path, const char *log_path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct misbehave_stats)) != 0)
        misbehave_die(log_path, "stats %s: %s", path, strerror(errno));
    void *memory = mmap(NULL, sizeof(struct misbehave_stats), PROT_READ | PROT_WRITE, MAP_SHARED,
                        fd, 0);
    if (memory == MAP_FAILED)
        misbehave_die(log_path, "stats %s: %s", path, strerror(errno));
    (void)close(fd);
    return memory;
}

/* All processes write the same here. */
static void name_all(struct misbehave_stats *stats)
{
    for (int i = 0; i < MISBEHAVE_COUNT; i++)
        (void)snprintf(stats->counters[i].name, sizeof(stats->counters[i].name), "%s",
                       misbehave_names[i]);
    stats->count = MISBEHAVE_COUNT;
    memcpy(stats->magic, MISBEHAVE_STATS_MAGIC, sizeof(stats->magic));
}

void misbehave_stats_use(const char *path, const char *log_path)
{
    static char used[MISBEHAVE_PATH];
    if (strcmp(used, path) == 0)
        return;
    (void)snprintf(used, sizeof(used), "%s", path);
    struct misbehave_stats *stats = path[0] == '\0' ? &own : map(path, log_path);
    name_all(stats);
    atomic_store(&now, stats);
}

/* The file's fields aren't of an _Atomic type: its layout is for readers of any language. */
static void add(uint64_t *counter, uint64_t change)
{
    (void)__atomic_fetch_add(counter, change, __ATOMIC_RELAXED);
}

void misbehave_stats_called(enum misbehave_function function)
{
    add(&atomic_load(&now)->counters[function].calls, 1);
}

void misbehave_stats_failed(enum misbehave_function function, int injected)
{
    struct misbehave_counter *counter = &atomic_load(&now)->counters[function];
    add(&counter->failed, 1);
    add(&counter->injected, injected != 0);
}

void misbehave_stats_hanging(enum misbehave_function function, int change)
{
    add(&atomic_load(&now)->counters[function].hanging, (uint64_t)(int64_t)change);
}
