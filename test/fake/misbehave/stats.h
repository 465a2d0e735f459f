/* SPDX-License-Identifier: Apache-2.0 */
/* Counters in a file that others read while the calls go on, and after the process was killed.
 * Several processes that name one file add to the same counters. */
#ifndef MISBEHAVE_STATS_H
#define MISBEHAVE_STATS_H

#include <stdint.h>

#include "table.h"

#define MISBEHAVE_STATS_MAGIC "KMSMISB1"

/* In the machine's own byte order. */
struct misbehave_counter {
    char name[32];
    uint64_t calls;
    uint64_t failed;   /* of these, answered by anything but CKR_OK */
    uint64_t injected; /* of these, by a rule or a directive, without asking the module behind */
    uint64_t hanging;  /* now, by a rule */
};

struct misbehave_stats {
    char magic[8];
    uint64_t count; /* of @counters */
    struct misbehave_counter counters[MISBEHAVE_COUNT];
};

/* Counts in @path from now on; "": nowhere that others see.  With misbehave_lock() held. */
void misbehave_stats_use(const char *path, const char *log_path);

/* Any thread, without the lock. */
void misbehave_stats_called(enum misbehave_function function);
void misbehave_stats_failed(enum misbehave_function function, int injected);
void misbehave_stats_hanging(enum misbehave_function function, int change);

#endif
