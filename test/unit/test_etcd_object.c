/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "check.h"
#include "etcd/object.h"
#include "etcd_rig.h"

static const char first_key[] = "/registry/secrets/t1/s1";

/* Opens @stored under @etcd_key by @source. */
static enum kms_code open_by(struct kms_bytes stored, const char *etcd_key, struct kms_bytes source,
                             struct kms_plaintext *object, struct kms_error *err)
{
    struct kms_value value = kms_value_classify(stored);
    KMS_CLEANUP(kms_secret_done) struct kms_secret secret = { 0 };
    enum kms_code rc = kms_secret_copy(&secret, source, err);
    return rc != KMS_OK ? rc
                        : kms_object_open(&value, kms_bytes_of(etcd_key), &secret, object, err);
}

/* What a failure leaves: the code, and nothing of the object. */
static void assert_fails(struct kms_bytes stored, const char *etcd_key, struct kms_bytes source,
                         enum kms_code want)
{
    struct kms_plaintext object = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(open_by(stored, etcd_key, source, &object, &err), want);
    assert_int_equal(err.code, want);
    assert_null(object.data);
    assert_int_equal(object.len, 0);
}

static const struct etcd_vector *first(void **state)
{
    return etcd_vectors_find(*state, "kms-v2", first_key);
}

static void each_vector_opens(void **state)
{
    const struct etcd_vectors *vectors = *state;
    size_t opened = 0;
    for (size_t i = 0; i < vectors->count; i++) {
        const struct etcd_vector *vector = &vectors->items[i];
        if (strcmp(vector->class, "kms-v2") != 0)
            continue;
        KMS_CLEANUP(kms_plaintext_done) struct kms_plaintext object = { 0 };
        struct kms_error err;
        assert_ok(open_by(vector->value, vector->etcd_key, vector->dek_source, &object, &err),
                  &err);
        assert_int_equal(object.len, vector->plaintext.len);
        assert_memory_equal(object.data, vector->plaintext.data, object.len);
        opened++;
    }
    assert_int_equal(opened, 9); /* 6 by a seed; 3 by a key of 16, 24 and 32 bytes */
}

static void a_value_under_another_key_is_corrupt(void **state)
{
    const struct etcd_vector *vector = first(state);
    assert_fails(vector->value, "/registry/secrets/t1/s2", vector->dek_source, KMS_E_CORRUPT);
    assert_fails(vector->value, "", vector->dek_source, KMS_E_CORRUPT);
}

static void another_seed_is_corrupt(void **state)
{
    const struct etcd_vector *vector = first(state);
    const struct etcd_vector *other = etcd_vectors_find(*state, "kms-v2",
                                                        "/registry/configmaps/t1/c1");
    assert_fails(vector->value, first_key, other->dek_source, KMS_E_CORRUPT);
}

static void a_seed_of_a_wrong_length_is_corrupt(void **state)
{
    const struct etcd_vector *vector = first(state);
    static const uint8_t seed[1025];
    static const size_t lengths[] = { 0, 31, 1025 };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct kms_plaintext object = { 0 };
        struct kms_error err;
        assert_int_equal(open_by(vector->value, first_key, (struct kms_bytes){ seed, lengths[i] },
                                 &object, &err),
                         KMS_E_CORRUPT);
        assert_contains(err.msg, "the DEK seed has");
    }
}

static void a_key_that_is_no_aes_key_is_corrupt(void **state)
{
    const struct etcd_vector *vector = etcd_vectors_find(*state, "kms-v2",
                                                         "/registry/secrets/t1/old32");
    struct kms_bytes dek = vector->dek_source;
    assert_fails(vector->value, vector->etcd_key, (struct kms_bytes){ dek.data, 31 },
                 KMS_E_CORRUPT);
    assert_fails(vector->value, vector->etcd_key, (struct kms_bytes){ dek.data, 0 }, KMS_E_CORRUPT);
    assert_fails(vector->value, vector->etcd_key, (struct kms_bytes){ dek.data, 16 },
                 KMS_E_CORRUPT);
}

/* Info, nonce, ciphertext and tag: whichever bit is changed. */
static void a_bit_changed_in_the_data_is_corrupt(void **state)
{
    const struct etcd_vector *vector = first(state);
    struct kms_value value = kms_value_classify(vector->value);
    size_t start = (size_t)(value.data.data - vector->value.data);
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put(&bytes, vector->value.data, vector->value.len);
    for (size_t bit = 0; bit < 8 * value.data.len; bit++) {
        uint8_t *byte = &bytes.data[start + bit / 8];
        *byte ^= (uint8_t)(1U << bit % 8);
        assert_fails(etcd_bytes_view(&bytes), first_key, vector->dek_source, KMS_E_CORRUPT);
        *byte ^= (uint8_t)(1U << bit % 8);
    }
}

static void a_value_cut_anywhere_never_opens(void **state)
{
    const struct etcd_vector *vector = first(state);
    for (size_t len = 0; len < vector->value.len; len++) {
        KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
        etcd_put(&bytes, vector->value.data, len);
        struct kms_plaintext object = { 0 };
        struct kms_error err;
        enum kms_code rc = open_by(etcd_bytes_view(&bytes), first_key, vector->dek_source, &object,
                                   &err);
        assert_true(rc == KMS_E_INVALID || rc == KMS_E_CORRUPT);
        assert_null(object.data);
    }
}

static void only_kms_v2_opens(void **state)
{
    const struct etcd_vectors *vectors = *state;
    uint8_t seed[32] = { 0 };
    for (size_t i = 0; i < vectors->count; i++) {
        if (strcmp(vectors->items[i].class, "kms-v2") != 0)
            assert_fails(vectors->items[i].value, vectors->items[i].etcd_key,
                         (struct kms_bytes){ seed, sizeof seed }, KMS_E_INVALID);
    }
}

static void a_value_larger_than_the_limit_is_refused(void **state)
{
    (void)state;
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    uint8_t seed[32] = { 0 };
    uint8_t *zeros = calloc(1, KMS_OBJECT_MAX);
    assert_non_null(zeros);
    etcd_put_text(&bytes, "k8s:enc:kms:v2:hsm:");
    etcd_put_field(&bytes, 1, (struct kms_bytes){ zeros, KMS_OBJECT_MAX });
    etcd_put_field(&bytes, 2, kms_bytes_of("k1"));
    etcd_put_field(&bytes, 3, kms_bytes_of("wrapped"));
    free(zeros);
    assert_fails(etcd_bytes_view(&bytes), "k", (struct kms_bytes){ seed, sizeof seed },
                 KMS_E_INVALID);
    assert_fails(etcd_bytes_view(&bytes), "", (struct kms_bytes){ seed, sizeof seed },
                 KMS_E_CORRUPT); /* the limit itself is looked at */
}

static void done_twice_is_safe(void **state)
{
    const struct etcd_vector *vector = first(state);
    struct kms_plaintext object = { 0 };
    struct kms_error err;
    assert_ok(open_by(vector->value, first_key, vector->dek_source, &object, &err), &err);
    kms_plaintext_done(&object);
    kms_plaintext_done(&object);
    assert_null(object.data);
    assert_int_equal(object.len, 0);
}

/* --- which values share a DEK source --- */

struct digest {
    uint8_t bytes[KMS_SHA256_LEN];
};

static struct digest digest_of(struct kms_bytes stored)
{
    struct kms_value value = kms_value_classify(stored);
    struct digest digest;
    struct kms_error err;
    assert_int_equal(value.class, KMS_VALUE_KMS_V2);
    assert_ok(kms_object_source_digest(&value, digest.bytes, &err), &err);
    return digest;
}

static bool same_source(const struct etcd_vectors *vectors, const char *a, const char *b)
{
    struct digest first = digest_of(etcd_vectors_find(vectors, "kms-v2", a)->value);
    struct digest second = digest_of(etcd_vectors_find(vectors, "kms-v2", b)->value);
    return memcmp(&first, &second, sizeof first) == 0;
}

static void values_of_one_seed_have_one_digest(void **state)
{
    assert_true(same_source(*state, "/registry/configmaps/t1/c1",
                            "/registry/persistentvolumeclaims/t1/pvc1"));
    assert_false(same_source(*state, "/registry/configmaps/t1/c1", first_key));
}

/* The digest of a well-formed value but for what is said. */
static struct digest digest_with(const char *provider, const char *key_id, const char *wrapped,
                                 const char *annotation, unsigned dek_type)
{
    static const uint8_t zeros[60];
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_text(&bytes, "k8s:enc:kms:v2:");
    etcd_put_text(&bytes, provider);
    etcd_put_text(&bytes, ":");
    etcd_put_field(&bytes, 1, (struct kms_bytes){ zeros, sizeof zeros });
    etcd_put_field(&bytes, 2, kms_bytes_of(key_id));
    etcd_put_field(&bytes, 3, kms_bytes_of(wrapped));
    if (annotation != NULL)
        etcd_put_annotation(&bytes, annotation);
    etcd_put_number(&bytes, 5, dek_type);
    return digest_of(etcd_bytes_view(&bytes));
}

static void whatever_goes_into_unwrapping_changes_the_digest(void **state)
{
    (void)state;
    const struct digest digests[] = {
        digest_with("hsm", "k1", "wrapped", NULL, 1),
        digest_with("hsm2", "k1", "wrapped", NULL, 1),
        digest_with("hsm", "k2", "wrapped", NULL, 1),
        digest_with("hsm", "k1", "wrapper", NULL, 1),
        digest_with("hsm", "k1", "wrapped", "a.b", 1),
        digest_with("hsm", "k1", "wrapped", NULL, 0),
        digest_with("hsm", "k1w", "rapped", NULL, 1),
        digest_with("hsm", "k1", "wrapped", "a.c", 1),
    };
    enum { COUNT = sizeof digests / sizeof digests[0] };
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t k = i + 1; k < COUNT; k++)
            assert_memory_not_equal(&digests[i], &digests[k], sizeof digests[i]);
    }
}

static void a_copy_of_nothing_is_empty_and_no_failure(void **state)
{
    (void)state;
    struct kms_plaintext object = { 0 };
    struct kms_error err = { 0 };
    assert_ok(kms_plaintext_copy(&object, (struct kms_bytes){ NULL, 0 }, &err), &err);
    assert_non_null(object.data);
    assert_int_equal(object.len, 0);
    kms_plaintext_done(&object);
    assert_ok(kms_plaintext_copy(&object, kms_bytes_of("abc"), &err), &err);
    assert_int_equal(object.len, 3);
    assert_memory_equal(object.data, "abc", 3);
    kms_plaintext_done(&object);
    assert_null(object.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_of_nothing_is_empty_and_no_failure),
        cmocka_unit_test(each_vector_opens),
        cmocka_unit_test(a_value_under_another_key_is_corrupt),
        cmocka_unit_test(another_seed_is_corrupt),
        cmocka_unit_test(a_seed_of_a_wrong_length_is_corrupt),
        cmocka_unit_test(a_key_that_is_no_aes_key_is_corrupt),
        cmocka_unit_test(a_bit_changed_in_the_data_is_corrupt),
        cmocka_unit_test(a_value_cut_anywhere_never_opens),
        cmocka_unit_test(only_kms_v2_opens),
        cmocka_unit_test(a_value_larger_than_the_limit_is_refused),
        cmocka_unit_test(done_twice_is_safe),
        cmocka_unit_test(values_of_one_seed_have_one_digest),
        cmocka_unit_test(whatever_goes_into_unwrapping_changes_the_digest),
    };
    return cmocka_run_group_tests_name("etcd_object", tests, etcd_vectors_set_up,
                                       etcd_vectors_tear_down);
}
