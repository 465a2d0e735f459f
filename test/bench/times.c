/* SPDX-License-Identifier: Apache-2.0 */
#include "times.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int64_t bench_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void bench_times_init(struct bench_times *times, size_t count)
{
    times->us = calloc(count, sizeof *times->us);
    if (times->us == NULL) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    times->count = count;
    times->begun_us = bench_now_us();
}

void bench_times_done(struct bench_times *times)
{
    free(times->us);
    *times = (struct bench_times){ 0 };
}

static int compare_us(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

void bench_times_print(struct bench_times *times, const char *name)
{
    double seconds = (double)(bench_now_us() - times->begun_us) / 1e6;
    qsort(times->us, times->count, sizeof *times->us, compare_us);
    printf("%s calls=%zu p50_us=%u p99_us=%u max_us=%u per_second=%.0f\n", name, times->count,
           times->us[times->count / 2], times->us[times->count * 99 / 100],
           times->us[times->count - 1], (double)times->count / seconds);
    fflush(stdout);
}
