/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a value in etcd, and as a key: a class with spans of the input and nothing else, and
 * a value that says kms-v2 opens or is corrupt. */
#include <stdbool.h>
#include <string.h>

#include "etcd/object.h"
#include "etcd/registry.h"
#include "etcd/value.h"
#include "fuzz.h"

/* The corpus has a value that opens with them. */
static const char etcd_key[] = "/registry/secrets/t1/s1";
static const uint8_t zero_seed[32];

static void check_inside(struct kms_bytes span, struct kms_bytes all)
{
    if (span.len > 0)
        FUZZ_CHECK(span.data >= all.data && span.len <= all.len &&
                   (size_t)(span.data - all.data) <= all.len - span.len);
}

static void check_annotations(const struct kms_value *value, struct kms_bytes stored)
{
    struct kms_bytes rest = value->message;
    struct kms_value_annotation annotation;
    size_t count = 0, total = 0;
    while (kms_value_annotation_next(&rest, &annotation)) {
        check_inside(annotation.key, stored);
        check_inside(annotation.value, stored);
        FUZZ_CHECK(annotation.key.len >= 3); /* "a.b" */
        total += annotation.key.len + annotation.value.len;
        count++;
    }
    FUZZ_CHECK(count == value->annotation_count && total <= KMS_VALUE_ANNOTATIONS_MAX);
}

static void check_open(const struct kms_value *value)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    KMS_CLEANUP(kms_plaintext_done) struct kms_plaintext object = { 0 };
    struct kms_error err = { 0 };
    FUZZ_CHECK(kms_secret_copy(&seed, (struct kms_bytes){ zero_seed, sizeof zero_seed }, &err) ==
               KMS_OK);
    enum kms_code rc = kms_object_open(value, kms_bytes_of(etcd_key), &seed, &object, &err);
    FUZZ_CHECK(rc == KMS_OK || (rc == KMS_E_CORRUPT && object.data == NULL));
    FUZZ_CHECK(object.len < value->data.len);
}

static void check_v2(const struct kms_value *value, struct kms_bytes stored)
{
    struct kms_error err = { 0 };
    uint8_t digest[KMS_SHA256_LEN];
    FUZZ_CHECK(value->key_id.len >= 1 && value->key_id.len <= KMS_VALUE_KEY_ID_MAX);
    FUZZ_CHECK(kms_text_is_clean(value->key_id));
    FUZZ_CHECK(value->dek_source.len >= 1 && value->dek_source.len <= KMS_VALUE_DEK_SOURCE_MAX);
    check_annotations(value, stored);
    check_open(value);
    FUZZ_CHECK(kms_object_source_digest(value, digest, &err) == KMS_OK);
}

static void check_value(struct kms_bytes stored)
{
    struct kms_value value = kms_value_classify(stored);
    bool reserved = stored.len >= 8 && memcmp(stored.data, "k8s:enc:", 8) == 0;
    FUZZ_CHECK(kms_value_is_plaintext(&value) != reserved);
    FUZZ_CHECK((value.class == KMS_VALUE_MALFORMED) == (value.problem != NULL));
    FUZZ_CHECK(value.prefix != KMS_VALUE_MALFORMED);
    check_inside(value.provider, stored);
    check_inside(value.key_id, stored);
    check_inside(value.dek_source, stored);
    check_inside(value.data, stored);
    check_inside(value.message, stored);
    if (value.class == KMS_VALUE_KMS_V2)
        check_v2(&value, stored);
}

static void check_key(struct kms_bytes key)
{
    struct kms_registry_name name = kms_registry_parse(kms_bytes_of(KMS_REGISTRY_PREFIX), key);
    check_inside(name.namespace, key);
    check_inside(name.name, key);
    FUZZ_CHECK((name.kind == KMS_REGISTRY_OTHER) == (name.name.len == 0));
    FUZZ_CHECK((name.kind == KMS_REGISTRY_INTERNAL) == (name.exempt != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_value((struct kms_bytes){ data, size });
    check_key((struct kms_bytes){ data, size });
    return 0;
}
