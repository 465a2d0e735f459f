/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a PIN latch: a record that prints and reads again as the same, or a refusal. */
#include "pin_record.h"

#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pkcs11_pin_record record = { 0 }, again = { 0 };
    struct kms_error err = { 0 };
    char text[PKCS11_PIN_RECORD_MAX], text_again[PKCS11_PIN_RECORD_MAX];
    enum kms_code rc = pkcs11_pin_record_parse((struct kms_bytes){ data, size }, &record, &err);
    if (rc != KMS_OK) {
        FUZZ_CHECK(rc == KMS_E_PRECONDITION && err.code == rc && err.msg[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(record.refused_count <= PKCS11_PIN_REFUSED_MAX && record.iterations > 0);
    size_t len = pkcs11_pin_record_print(&record, text);
    FUZZ_CHECK(len == strlen(text) && len < sizeof(text));
    rc = pkcs11_pin_record_parse(kms_bytes_of(text), &again, &err);
    FUZZ_CHECK(rc == KMS_OK);
    (void)pkcs11_pin_record_print(&again, text_again);
    FUZZ_CHECK(strcmp(text, text_again) == 0);
    return 0;
}
