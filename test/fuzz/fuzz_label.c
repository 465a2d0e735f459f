/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a KEK label and as a key_id: what parses is exactly what the formatter writes. */
#include "keyid.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static void check_label(const char *ring, const char *label)
{
    uint32_t generation = 0;
    int64_t activation = 0;
    if (!kms_label_parse(ring, label, &generation, &activation))
        return;
    char again[KMS_KEK_LABEL_LEN + 1];
    kms_label_format(ring, generation, activation, again);
    FUZZ_CHECK(generation >= 1 && generation <= KMS_GENERATION_MAX);
    FUZZ_CHECK(strcmp(label, again) == 0);
}

static void check_key_id(const char *ring, struct kms_bytes text)
{
    struct kms_key_id id = { 0 };
    if (!kms_key_id_parse(ring, text, &id))
        return;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN] = { 0 };
    memcpy(fingerprint, id.fingerprint_head, sizeof id.fingerprint_head);
    char again[KMS_KEY_ID_LEN + 1];
    kms_key_id_format(ring, id.generation, fingerprint, again);
    FUZZ_CHECK(id.generation >= 1 && id.generation <= KMS_GENERATION_MAX);
    FUZZ_CHECK(kms_bytes_equal(text, kms_bytes_of(again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *bytes = size > 0 ? data : NULL; /* as protobuf-c says it */
    char *text = fuzz_text(data, size);
    check_label("prod", text);
    check_label("p", text);
    check_key_id("prod", (struct kms_bytes){ bytes, size });
    check_key_id("p", (struct kms_bytes){ bytes, size });
    kms_ring_name_is_valid(text);
    free(text);
    return 0;
}
