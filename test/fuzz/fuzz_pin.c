/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a PIN file: a PIN of 1..255 bytes without NUL, or a refusal. */
#include "pin.h"

#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_secret pin = { 0 };
    struct kms_error err = { 0 };
    enum kms_code rc = pkcs11_pin_read(fuzz_file("pin", data, size), &pin, &err);
    if (rc != KMS_OK) {
        FUZZ_CHECK(err.code == rc && err.msg[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(pin.len >= 1 && pin.len <= PKCS11_PIN_MAX && pin.len <= size);
    FUZZ_CHECK(memcmp(pin.data, data, pin.len) == 0);
    FUZZ_CHECK(memchr(pin.data, '\0', pin.len) == NULL);
    kms_secret_done(&pin);
    return 0;
}
