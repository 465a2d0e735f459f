/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as disabled.v1: exactly what `key disable` writes, or a refusal; either can be mended. */
#include "disabled.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

enum { GENERATION = 1, SINCE = 1700000000, TEXT_BYTES = 32 };
static const int64_t UTC_MAX_S = 253402300799; /* 9999-12-31T23:59:59Z */

static void check_same(int64_t utc_s, const uint8_t *data, size_t size)
{
    char text[TEXT_BYTES];
    int len = snprintf(text, sizeof text, "%" PRId64 "\n", utc_s);
    FUZZ_CHECK(utc_s > 0 && utc_s <= UTC_MAX_S);
    FUZZ_CHECK((size_t)len == size && memcmp(text, data, size) == 0);
}

/* As disable, and then destroy, leave it. */
static void check_mended(void)
{
    struct kms_error err = { 0 };
    int64_t utc_s = -1;
    FUZZ_CHECK(kms_disabled_record(fuzz_dir(), GENERATION, SINCE, &err) == KMS_OK);
    FUZZ_CHECK(kms_disabled_since(fuzz_dir(), GENERATION, &utc_s, &err) == KMS_OK);
    FUZZ_CHECK(utc_s == SINCE);
    FUZZ_CHECK(kms_disabled_forget(fuzz_dir(), GENERATION, &err) == KMS_OK);
    FUZZ_CHECK(kms_disabled_since(fuzz_dir(), GENERATION, &utc_s, &err) == KMS_OK);
    FUZZ_CHECK(utc_s == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_error err = { 0 };
    int64_t utc_s = -1;
    fuzz_file("disabled.v1", data, size);
    enum kms_code rc = kms_disabled_since(fuzz_dir(), GENERATION, &utc_s, &err);
    if (rc == KMS_OK)
        check_same(utc_s, data, size);
    else
        FUZZ_CHECK(rc == KMS_E_PRECONDITION && err.code == rc && utc_s == -1 && err.msg[0] != '\0');
    check_mended();
    return 0;
}
