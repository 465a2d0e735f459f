/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int64_t read_clock_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t kms_monotonic_us(void)
{
    return read_clock_us(CLOCK_MONOTONIC);
}

int64_t kms_monotonic_ms(void)
{
    return kms_monotonic_us() / 1000;
}

int64_t kms_utc_ms(void)
{
    return read_clock_us(CLOCK_REALTIME) / 1000;
}

int64_t kms_utc_s(void)
{
    return kms_utc_ms() / 1000;
}

/* Writes @utc_s by strftime; years outside 0000..9999 are pinned to the nearer end. */
static void format_utc(int64_t utc_s, const char *format, char *ret_text, size_t size)
{
    static const int64_t year_0 = -62167219200, year_9999_end = 253402300799;
    if (utc_s < year_0)
        utc_s = year_0;
    if (utc_s > year_9999_end)
        utc_s = year_9999_end;
    time_t when = (time_t)utc_s;
    struct tm parts;
    gmtime_r(&when, &parts);
    if (parts.tm_year < -900) { /* strftime's %Y doesn't pad */
        parts.tm_year = -900;
    }
    ret_text[0] = '\0';
/* The two formats are constants of this file. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    strftime(ret_text, size, format, &parts);
#pragma GCC diagnostic pop
}

/* Reads exactly @text by strptime and refuses what doesn't print back the same (31 February). */
static bool parse_utc(const char *text, const char *format, int64_t *ret_utc_s)
{
    struct tm parts = { 0 };
    const char *end = strptime(text, format, &parts);
    if (end == NULL || *end != '\0')
        return false;

    int64_t utc_s = (int64_t)timegm(&parts);
    char again[KMS_RFC3339_LEN + 1];
    format_utc(utc_s, format, again, sizeof again);
    if (strcmp(again, text) != 0)
        return false;
    *ret_utc_s = utc_s;
    return true;
}

void kms_stamp_format(int64_t utc_s, char ret_text[static KMS_STAMP_LEN + 1])
{
    format_utc(utc_s, "%Y%m%dT%H%M%SZ", ret_text, KMS_STAMP_LEN + 1);
}

bool kms_stamp_parse(const char *text, int64_t *ret_utc_s)
{
    return parse_utc(text, "%Y%m%dT%H%M%SZ", ret_utc_s);
}

void kms_rfc3339_format(int64_t utc_s, char ret_text[static KMS_RFC3339_LEN + 1])
{
    format_utc(utc_s, "%Y-%m-%dT%H:%M:%SZ", ret_text, KMS_RFC3339_LEN + 1);
}

void kms_rfc3339_format_ms(int64_t utc_ms, char ret_text[static KMS_RFC3339_LEN + 1])
{
    format_utc(utc_ms / 1000, "%Y-%m-%dT%H:%M:%S", ret_text, KMS_RFC3339_LEN + 1);
    size_t used = strlen(ret_text);
    snprintf(ret_text + used, KMS_RFC3339_LEN + 1 - used, ".%03dZ", (int)(utc_ms % 1000));
}

bool kms_rfc3339_parse(const char *text, int64_t *ret_utc_s)
{
    return parse_utc(text, "%Y-%m-%dT%H:%M:%SZ", ret_utc_s);
}

static const struct {
    const char *unit;
    int64_t ms;
} duration_units[] = {
    { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};
enum { DURATION_UNIT_COUNT = sizeof duration_units / sizeof duration_units[0] };

bool kms_duration_parse(const char *text, int64_t *ret_ms)
{
    int64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, *at - '0', &number))
            return false;
    }
    if (at == text)
        return false;
    for (size_t i = 0; i < DURATION_UNIT_COUNT; i++) {
        if (strcmp(at, duration_units[i].unit) == 0)
            return !__builtin_mul_overflow(number, duration_units[i].ms, ret_ms);
    }
    return false;
}

void kms_duration_format(int64_t ms, char ret_text[static KMS_DURATION_LEN + 1])
{
    if (ms == 0) {
        memcpy(ret_text, "0s", sizeof "0s");
        return;
    }
    for (size_t i = 0; i < DURATION_UNIT_COUNT; i++) {
        if (ms % duration_units[i].ms != 0)
            continue;
        snprintf(ret_text, KMS_DURATION_LEN + 1, "%" PRId64 "%s", ms / duration_units[i].ms,
                 duration_units[i].unit);
        return;
    }
}

void kms_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool kms_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline_ms)
{
    if (deadline_ms == KMS_DEADLINE_NEVER)
        return pthread_cond_wait(cond, mutex) == 0;
    if (deadline_ms < 0)
        deadline_ms = 0;
    struct timespec until = { .tv_sec = (time_t)(deadline_ms / 1000),
                              .tv_nsec = (long)(deadline_ms % 1000) * 1000000 };
    return pthread_cond_timedwait(cond, mutex, &until) != ETIMEDOUT;
}
