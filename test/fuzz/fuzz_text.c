/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the small texts of the command line, the configuration and the wire: hexadecimal,
 * stamps, durations, UTF-8.  What parses survives formatting and parsing again. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fuzz.h"
#include "kms/bytes.h"
#include "kms/clock.h"

static void check_hex(const char *text)
{
    uint8_t bytes[8];
    char again[2 * sizeof bytes + 1];
    if (!kms_hex_decode(text, bytes, sizeof bytes))
        return;
    kms_hex_encode((struct kms_bytes){ bytes, sizeof bytes }, again);
    FUZZ_CHECK(strcasecmp(text, again) == 0);
}

static void check_times(const char *text)
{
    int64_t utc = 0, again = 0;
    char stamp[KMS_STAMP_LEN + 1], rfc3339[KMS_RFC3339_LEN + 1];
    if (kms_stamp_parse(text, &utc)) {
        kms_stamp_format(utc, stamp);
        FUZZ_CHECK(strcmp(text, stamp) == 0);
    }
    if (kms_rfc3339_parse(text, &utc)) {
        kms_rfc3339_format(utc, rfc3339);
        FUZZ_CHECK(kms_rfc3339_parse(rfc3339, &again) && again == utc);
    }
}

static void check_duration(const char *text)
{
    int64_t ms = 0, again = 0;
    char duration[KMS_DURATION_LEN + 1];
    if (!kms_duration_parse(text, &ms))
        return;
    kms_duration_format(ms, duration);
    FUZZ_CHECK(ms >= 0);
    FUZZ_CHECK(kms_duration_parse(duration, &again) && again == ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    check_hex(text);
    check_times(text);
    check_duration(text);
    if (kms_text_is_clean((struct kms_bytes){ size > 0 ? data : NULL, size }))
        FUZZ_CHECK(memchr(text, '\0', size + 1) == text + size);
    free(text);
    return 0;
}
