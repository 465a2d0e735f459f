/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies of one run, and the line that test/bench/run reads. */
#ifndef BENCH_TIMES_H
#define BENCH_TIMES_H

#include <stddef.h>
#include <stdint.h>

struct bench_times {
    uint32_t *us; /* owned; microseconds, one a call */
    size_t count;
    int64_t begun_us; /* CLOCK_MONOTONIC */
};

int64_t bench_now_us(void);

/* Room for @count calls; the clock of the whole run starts.  Ends the program without memory. */
void bench_times_init(struct bench_times *times, size_t count);
void bench_times_done(struct bench_times *times);

/* Prints "NAME calls=… p50_us=… p99_us=… max_us=… per_second=…"; sorts the latencies. */
void bench_times_print(struct bench_times *times, const char *name);

#endif
