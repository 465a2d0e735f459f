/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka with the headers that it wants first. */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kms/error.h"

/* Fails with the error's text where the call should have worked. */
#define assert_ok(call, err)                                                                       \
    do {                                                                                           \
        enum kms_code rc_ = (call);                                                                \
        if (rc_ != KMS_OK)                                                                         \
            fail_msg("%s: %s: %s", #call, kms_code_name(rc_), (err)->msg);                         \
    } while (0)

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (strstr((text), (part)) == NULL)                                                        \
            fail_msg("\"%s\" does not contain \"%s\"", (text), (part));                            \
    } while (0)

#endif
