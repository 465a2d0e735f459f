/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "kms/clock.h"
#include "verify.h"

enum { SHOW_MS = 500, LOOK_EVERY = 256 /* values between two looks at the clock */ };

void kms_progress_start(struct kms_progress *progress)
{
    *progress = (struct kms_progress){ .shown = isatty(STDERR_FILENO) == 1,
                                       .started_ms = kms_monotonic_ms() };
}

void kms_progress_step(struct kms_progress *progress, double fraction)
{
    if (!progress->shown || ++progress->values % LOOK_EVERY != 0)
        return;
    int64_t now_ms = kms_monotonic_ms();
    int64_t spent_ms = now_ms - progress->started_ms;
    if (now_ms < progress->next_ms || spent_ms == 0)
        return;
    progress->next_ms = now_ms + SHOW_MS;
    (void)fprintf(stderr, "\r%" PRIu64 " values, %" PRIu64 "/s, %.0f %%", progress->values,
                  progress->values * 1000 / (uint64_t)spent_ms, fraction * 100);
    if (fraction > 0)
        (void)fprintf(stderr, ", %.0f s left", (double)spent_ms / 1000 * (1 - fraction) / fraction);
    (void)fputs("\033[K", stderr);
}

void kms_progress_end(const struct kms_progress *progress)
{
    if (progress->next_ms != 0)
        (void)fputs("\r\033[K", stderr);
}
