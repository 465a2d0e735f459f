/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations as texts: loaded from a file of their own. */
#ifndef TEST_CONFIG_RIG_H
#define TEST_CONFIG_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config.h"

#define TOKEN                                                                                      \
    "tokens:\n"                                                                                    \
    "  - module: /usr/lib/softhsm/libsofthsm2.so\n"                                                \
    "    uri: \"pkcs11:token=prod\"\n"                                                             \
    "    pin_file: /etc/hsm-kms/pin\n"
#define MINIMAL "ring: prod\n" TOKEN /* 5 lines */
#define DIGITS "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define NINETY_BYTES                                                                               \
    "/23456789012345678901234567890"                                                               \
    "123456789012345678901234567890"                                                               \
    "123456789012345678901234567890"

/* Set-up and tear-down of a group of tests: the file. */
int make_file(void **state);
int remove_file(void **state);

enum kms_code load_bytes(const char *text, size_t len, struct kms_config *config,
                         struct kms_error *err);
struct kms_config load(const char *text);
/* @expected is what follows "FILE:". */
void assert_refused_bytes(const char *text, size_t len, const char *expected);
void assert_refused(const char *text, const char *expected);

/* A test whose whole body is one refusal. */
#define REFUSES(name, text, expected)                                                              \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        assert_refused(text, expected);                                                            \
    }

#endif
