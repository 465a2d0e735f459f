/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "etcd_rig.h"

static const char v2[] = "k8s:enc:kms:v2:hsm:";

static void assert_bytes(struct kms_bytes got, struct kms_bytes want)
{
    assert_int_equal(got.len, want.len);
    if (want.len > 0)
        assert_memory_equal(got.data, want.data, want.len);
}

static void assert_text(struct kms_bytes got, const char *want)
{
    assert_bytes(got, kms_bytes_of(want));
}

/* Spans lie inside the value: nothing was copied. */
static void assert_borrowed(struct kms_bytes span, struct kms_bytes from)
{
    assert_true(span.data >= from.data && span.data + span.len <= from.data + from.len);
}

static void assert_malformed(const struct etcd_bytes *bytes, enum kms_value_class prefix,
                             const char *problem)
{
    struct kms_value value = kms_value_classify(etcd_bytes_view(bytes));
    assert_int_equal(value.class, KMS_VALUE_MALFORMED);
    assert_int_equal(value.prefix, prefix);
    assert_contains(value.problem, problem);
    assert_int_equal(value.key_id.len + value.data.len + value.dek_source.len, 0);
}

static void assert_text_malformed(const char *text, enum kms_value_class prefix,
                                  const char *problem)
{
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_text(&bytes, text);
    assert_malformed(&bytes, prefix, problem);
}

static enum kms_value_class class_of(const void *data, size_t len)
{
    return kms_value_classify((struct kms_bytes){ data, len }).class;
}

/* A well-formed value with @count bytes of @more behind it. */
static void assert_good_with(const void *more, size_t count, const char *problem)
{
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_good(&bytes);
    etcd_put(&bytes, more, count);
    assert_malformed(&bytes, KMS_VALUE_KMS_V2, problem);
}

/* --- what kube-apiserver wrote --- */

static void each_vector_has_its_class_and_name(void **state)
{
    const struct etcd_vectors *vectors = *state;
    for (size_t i = 0; i < vectors->count; i++) {
        struct kms_value value = kms_value_classify(vectors->items[i].value);
        assert_string_equal(kms_value_class_name(value.class), vectors->items[i].class);
        assert_int_equal(value.prefix, value.class);
        assert_null(value.problem);
        assert_text(value.provider, vectors->items[i].provider);
        assert_borrowed(value.data, vectors->items[i].value);
    }
}

static void each_kms_v2_vector_is_read_whole(void **state)
{
    const struct etcd_vectors *vectors = *state;
    size_t read = 0;
    for (size_t i = 0; i < vectors->count; i++) {
        const struct etcd_vector *vector = &vectors->items[i];
        struct kms_value value = kms_value_classify(vector->value);
        if (value.class != KMS_VALUE_KMS_V2)
            continue;
        read++;
        assert_text(value.key_id, vector->key_id);
        assert_bytes(value.dek_source, vector->wrapped);
        assert_int_equal(value.dek_type, vector->dek_type);
        assert_borrowed(value.key_id, vector->value);
        assert_borrowed(value.dek_source, vector->value);
        size_t around = vector->dek_type == KMS_DEK_SEED ? 32 + 12 + 16 : 12 + 16;
        assert_int_equal(value.data.len, vector->plaintext.len + around);
    }
    assert_int_equal(read, 9);
}

static void each_annotation_is_walked(void **state)
{
    const struct etcd_vectors *vectors = *state;
    for (size_t i = 0; i < vectors->count; i++) {
        const struct etcd_vector *vector = &vectors->items[i];
        struct kms_value value = kms_value_classify(vector->value);
        assert_int_equal(value.annotation_count, vector->annotation_count);
        struct kms_bytes rest = value.message;
        struct kms_value_annotation annotation;
        for (size_t k = 0; k < vector->annotation_count; k++) {
            assert_true(kms_value_annotation_next(&rest, &annotation));
            assert_text(annotation.key, vector->annotations[k].key);
            assert_bytes(annotation.value, vector->annotations[k].value);
        }
        assert_false(kms_value_annotation_next(&rest, &annotation));
    }
}

/* --- plaintext --- */

static void plaintext_is_told_by_its_first_bytes(void **state)
{
    (void)state;
    assert_int_equal(class_of("k8s\0\n\2v1", 8), KMS_VALUE_PROTOBUF);
    assert_int_equal(class_of("{\"kind\":1}", 10), KMS_VALUE_JSON);
    assert_int_equal(class_of(" \r\n\t{}", 6), KMS_VALUE_JSON);
    assert_int_equal(class_of("\xd9\xd9\xf7\xa1", 4), KMS_VALUE_CBOR);
    assert_int_equal(class_of("1234", 4), KMS_VALUE_OTHER);
    assert_int_equal(class_of("k8s", 3), KMS_VALUE_OTHER);
    assert_int_equal(class_of(" \n", 2), KMS_VALUE_OTHER);
    assert_int_equal(class_of("k8s:enc", 7), KMS_VALUE_OTHER); /* the reserved prefix has a colon */
}

static void an_empty_value_is_plaintext(void **state)
{
    (void)state;
    struct kms_value value = kms_value_classify((struct kms_bytes){ 0 });
    assert_int_equal(value.class, KMS_VALUE_OTHER);
    assert_true(kms_value_is_plaintext(&value));
}

static void only_plaintext_classes_are_plaintext(void **state)
{
    (void)state;
    for (unsigned class = 0; class < KMS_VALUE_CLASS_COUNT; class ++) {
        struct kms_value value = { .class = class };
        bool plain = class == KMS_VALUE_PROTOBUF || class == KMS_VALUE_JSON ||
                     class == KMS_VALUE_CBOR || class == KMS_VALUE_OTHER;
        assert_int_equal(kms_value_is_plaintext(&value), plain);
        assert_non_null(kms_value_class_name(value.class));
    }
}

static void a_reserved_prefix_that_nobody_knows_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(class_of("k8s:enc:", 8), KMS_VALUE_UNKNOWN);
    assert_int_equal(class_of("k8s:enc:kms:v3:hsm:x", 20), KMS_VALUE_UNKNOWN);
    assert_int_equal(class_of("k8s:enc:kms:v2", 14), KMS_VALUE_UNKNOWN);
    assert_int_equal(class_of("k8s:enc:AESCBC:v1:k:", 20), KMS_VALUE_UNKNOWN);
}

/* --- the local providers, and KMS v1 --- */

static void a_kms_v1_value_is_split(void **state)
{
    (void)state;
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_text(&bytes, "k8s:enc:kms:v1:old:");
    etcd_put(&bytes, "\0\4deksealed", 11);
    struct kms_value value = kms_value_classify(etcd_bytes_view(&bytes));
    assert_int_equal(value.class, KMS_VALUE_KMS_V1);
    assert_text(value.provider, "old");
    assert_text(value.dek_source, "deks");
    assert_text(value.data, "ealed");
}

static void a_kms_v1_value_needs_a_dek_and_data(void **state)
{
    (void)state;
    static const struct {
        const char *tail;
        size_t len;
    } tails[] = { { "", 0 }, { "\0", 1 }, { "\0\0data", 6 }, { "\0\4deks", 6 }, { "\xff\xff", 2 } };
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
        etcd_put_text(&bytes, "k8s:enc:kms:v1:old:");
        etcd_put(&bytes, tails[i].tail, tails[i].len);
        assert_malformed(&bytes, KMS_VALUE_KMS_V1, "wrapped DEK");
    }
}

/* The class of "@prefix" and @len zeros. */
static enum kms_value_class class_with_zeros(const char *prefix, size_t len)
{
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_text(&bytes, prefix);
    etcd_put_zeros(&bytes, len);
    return kms_value_classify(etcd_bytes_view(&bytes)).class;
}

static void the_local_providers_data_has_its_least_length(void **state)
{
    (void)state;
    assert_int_equal(class_with_zeros("k8s:enc:aescbc:v1:k:", 32), KMS_VALUE_AESCBC);
    assert_int_equal(class_with_zeros("k8s:enc:aescbc:v1:k:", 16), KMS_VALUE_MALFORMED);
    assert_int_equal(class_with_zeros("k8s:enc:aescbc:v1:k:", 33), KMS_VALUE_MALFORMED);
    assert_int_equal(class_with_zeros("k8s:enc:aesgcm:v1:k:", 28), KMS_VALUE_AESGCM);
    assert_int_equal(class_with_zeros("k8s:enc:aesgcm:v1:k:", 27), KMS_VALUE_MALFORMED);
    assert_int_equal(class_with_zeros("k8s:enc:secretbox:v1:k:", 40), KMS_VALUE_SECRETBOX);
    assert_int_equal(class_with_zeros("k8s:enc:secretbox:v1:k:", 39), KMS_VALUE_MALFORMED);
}

static void a_name_must_be_there_and_end(void **state)
{
    (void)state;
    assert_text_malformed("k8s:enc:kms:v2:", KMS_VALUE_KMS_V2, "has no end");
    assert_text_malformed("k8s:enc:kms:v2:hsm", KMS_VALUE_KMS_V2, "has no end");
    assert_text_malformed("k8s:enc:kms:v2::x", KMS_VALUE_KMS_V2, "is empty");
    assert_text_malformed("k8s:enc:aescbc:v1:k", KMS_VALUE_AESCBC, "has no end");
}

/* --- hostile KMS v2 --- */

static void a_malformed_value_keeps_its_provider(void **state)
{
    (void)state;
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_good(&bytes);
    bytes.len--;
    struct kms_value value = kms_value_classify(etcd_bytes_view(&bytes));
    assert_int_equal(value.class, KMS_VALUE_MALFORMED);
    assert_text(value.provider, "hsm");
}

/* Cut between two fields it may still be protobuf, but then one that it needs is missing; that the
 * last of kube-apiserver's fields, the DEK type, is away makes a value of type 0. */
static void a_value_cut_anywhere_is_malformed_or_of_the_old_type(void **state)
{
    const struct etcd_vectors *vectors = *state;
    const struct etcd_vector *vector = etcd_vectors_find(vectors, "kms-v2",
                                                         "/registry/secrets/t1/s1");
    for (size_t len = sizeof v2 - 1; len < vector->value.len; len++) {
        KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
        etcd_put(&bytes, vector->value.data, len);
        struct kms_value value = kms_value_classify(etcd_bytes_view(&bytes));
        if (value.class == KMS_VALUE_KMS_V2)
            assert_int_equal(value.dek_type, KMS_DEK_KEY);
        else
            assert_int_equal(value.class, KMS_VALUE_MALFORMED);
    }
}

static void a_field_twice_is_malformed(void **state)
{
    (void)state;
    assert_good_with("\x0a\x01x", 3, "comes twice");
    assert_good_with("\x12\x02k2", 4, "comes twice");
    assert_good_with("\x1a\x01x", 3, "comes twice");
    assert_good_with("\x28\x01", 2, "comes twice");
}

static void a_field_of_another_wire_type_is_malformed(void **state)
{
    (void)state;
    assert_good_with("\x08\x01", 2, "of another type");
    assert_good_with("\x15\1\2\3\4", 5, "of another type");
    assert_good_with("\x19\1\2\3\4\5\6\7", 9, "of another type");
    assert_good_with("\x20\x01", 2, "of another type");
    assert_good_with("\x2a\x01x", 3, "of another type");
}

static void bytes_that_are_no_field_are_malformed(void **state)
{
    (void)state;
    assert_good_with("\x80", 1, "cut short");
    assert_good_with("\xa8\x80\x00\x01", 4, "longer than it is");
    assert_good_with("\x0b", 1, "wire type");
    assert_good_with("\0", 1, "a number that can't be");
}

static void a_field_of_the_future_is_passed_over(void **state)
{
    (void)state;
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_good(&bytes);
    etcd_put_field(&bytes, 6, kms_bytes_of("new"));
    etcd_put_number(&bytes, 1000, 7);
    struct kms_value value = kms_value_classify(etcd_bytes_view(&bytes));
    assert_int_equal(value.class, KMS_VALUE_KMS_V2);
    assert_int_equal(value.dek_type, KMS_DEK_SEED);
    assert_text(value.key_id, "k1");
}

/* A value with these fields, each as long as said; a length of 0 leaves the field out. */
struct lengths {
    size_t data, key_id, dek_source;
    unsigned dek_type;
};
static struct kms_value value_of(const struct lengths *lengths, struct etcd_bytes *ret_bytes)
{
    static uint8_t text[2048];
    memset(text, 'x', sizeof text);
    etcd_put_text(ret_bytes, v2);
    if (lengths->data > 0)
        etcd_put_field(ret_bytes, 1, (struct kms_bytes){ text, lengths->data });
    if (lengths->key_id > 0)
        etcd_put_field(ret_bytes, 2, (struct kms_bytes){ text, lengths->key_id });
    if (lengths->dek_source > 0)
        etcd_put_field(ret_bytes, 3, (struct kms_bytes){ text, lengths->dek_source });
    etcd_put_number(ret_bytes, 5, lengths->dek_type);
    return kms_value_classify(etcd_bytes_view(ret_bytes));
}

static void lengths_are_held_to_kube_apiservers_limits(void **state)
{
    (void)state;
    static const struct {
        struct lengths lengths;
        const char *problem; /* NULL: fine */
    } rows[] = {
        { { 60, 1, 1, 1 }, NULL },
        { { 60, 1024, 1024, 1 }, NULL },
        { { 28, 1, 1, 0 }, NULL },
        { { 60, 0, 1, 1 }, "key_id" },
        { { 60, 1025, 1, 1 }, "key_id" },
        { { 60, 1, 0, 1 }, "DEK source" },
        { { 60, 1, 1025, 1 }, "DEK source" },
        { { 0, 1, 1, 1 }, "too short" },
        { { 59, 1, 1, 1 }, "too short" },
        { { 27, 1, 1, 0 }, "too short" },
        { { 60, 1, 1, 2 }, "encryptedDEKSourceType" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
        struct kms_value value = value_of(&rows[i].lengths, &bytes);
        bool fine = rows[i].problem == NULL;
        assert_int_equal(value.class, fine ? KMS_VALUE_KMS_V2 : KMS_VALUE_MALFORMED);
        if (!fine)
            assert_contains(value.problem, rows[i].problem);
    }
}

/* Go cuts an enum to 32 bits: 2^32 + 1 would be 1. */
static void a_dek_type_of_more_than_32_bits_is_malformed(void **state)
{
    (void)state;
    static const uint8_t zeros[60];
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_text(&bytes, v2);
    etcd_put_field(&bytes, 1, (struct kms_bytes){ zeros, sizeof zeros });
    etcd_put_field(&bytes, 2, kms_bytes_of("k1"));
    etcd_put_field(&bytes, 3, kms_bytes_of("wrapped"));
    etcd_put_number(&bytes, 5, (UINT64_C(1) << 32) + 1);
    assert_malformed(&bytes, KMS_VALUE_KMS_V2, "encryptedDEKSourceType");
}

static void a_key_id_must_be_clean_text(void **state)
{
    (void)state;
    static const uint8_t zeros[60];
    static const char *const key_ids[] = { "k\xff", "k\xc3", "k\n", "k\x7f" };
    for (size_t i = 0; i < sizeof key_ids / sizeof key_ids[0]; i++) {
        KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
        etcd_put_text(&bytes, v2);
        etcd_put_field(&bytes, 1, (struct kms_bytes){ zeros, sizeof zeros });
        etcd_put_field(&bytes, 2, kms_bytes_of(key_ids[i]));
        etcd_put_field(&bytes, 3, kms_bytes_of("wrapped"));
        assert_malformed(&bytes, KMS_VALUE_KMS_V2, "clean UTF-8");
    }
}

/* --- annotations --- */

static enum kms_value_class class_with_annotation(const char *key)
{
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_good(&bytes);
    etcd_put_annotation(&bytes, key);
    return kms_value_classify(etcd_bytes_view(&bytes)).class;
}

static void an_annotations_key_is_a_domain_name(void **state)
{
    (void)state;
    static const char label63[] = "a23456789012345678901234567890123456789012345678901234567890123";
    char longest[4 * 64];
    snprintf(longest, sizeof longest, "%s.%s.%s.%.61s", label63, label63, label63, label63);
    static const char *const good[] = { "a.b", "mechanism.hsm-kms.example.com", "a.b.", "1.2" };
    static const char *const bad[] = { "",
                                       "kid",
                                       "a/b.c",
                                       "Kid.example.com",
                                       "a_b.example.com",
                                       ".a.b",
                                       "a..b",
                                       "a.b..",
                                       "-a.b",
                                       "a-.b",
                                       "a.",
                                       "a.b-",
                                       "." };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(class_with_annotation(good[i]), KMS_VALUE_KMS_V2);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(class_with_annotation(bad[i]), KMS_VALUE_MALFORMED);
    assert_int_equal(strlen(longest), 253);
    assert_int_equal(class_with_annotation(longest), KMS_VALUE_KMS_V2);
    char label64[64 + 2 + 1];
    snprintf(label64, sizeof label64, "%sx.b", label63);
    assert_int_equal(class_with_annotation(label64), KMS_VALUE_MALFORMED);
}

static void an_annotations_key_of_more_than_253_bytes_is_malformed(void **state)
{
    (void)state;
    char name[254 + 1];
    for (size_t i = 0; i < sizeof name - 1; i++)
        name[i] = i % 2 == 0 ? 'a' : '.';
    name[253] = '\0'; /* ends in a letter */
    assert_int_equal(class_with_annotation(name), KMS_VALUE_KMS_V2);
    name[253] = 'a';
    name[254] = '\0';
    assert_int_equal(class_with_annotation(name), KMS_VALUE_MALFORMED);
}

/* A well-formed value with one annotation of key "a.b" and @len bytes. */
static enum kms_value_class class_with_annotation_of(size_t len)
{
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 }, entry = { 0 };
    uint8_t *zeros = calloc(1, len);
    assert_non_null(zeros);
    etcd_put_field(&entry, 1, kms_bytes_of("a.b"));
    etcd_put_field(&entry, 2, (struct kms_bytes){ zeros, len });
    free(zeros);
    etcd_put_good(&bytes);
    etcd_put_field(&bytes, 4, etcd_bytes_view(&entry));
    return kms_value_classify(etcd_bytes_view(&bytes)).class;
}

static void annotations_have_a_limit_together(void **state)
{
    (void)state;
    assert_int_equal(class_with_annotation_of(32768 - 3), KMS_VALUE_KMS_V2);
    assert_int_equal(class_with_annotation_of(32768 - 2), KMS_VALUE_MALFORMED);
}

static void a_broken_annotation_is_malformed(void **state)
{
    (void)state;
    assert_good_with("\x22\x02\x0a\x01", 4, "cut short"); /* key without end */
    assert_good_with("\x22\x0a\x0a\x03"
                     "a.b\x0a\x03"
                     "a.b",
                     12, "comes twice");
    assert_good_with("\x22\x02\x08\x01", 4, "no map entry has"); /* key as a number */
    assert_good_with("\x22\x02\x1a\x00", 4, "no map entry has"); /* a third field */
    assert_good_with("\x22\x00", 2, "no domain name");           /* no key */
}

static void an_annotation_may_lack_its_value(void **state)
{
    (void)state;
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_good(&bytes);
    etcd_put(&bytes,
             "\x22\x05\x0a\x03"
             "a.b",
             7);
    struct kms_value value = kms_value_classify(etcd_bytes_view(&bytes));
    struct kms_bytes rest = value.message;
    struct kms_value_annotation annotation;
    assert_true(kms_value_annotation_next(&rest, &annotation));
    assert_text(annotation.key, "a.b");
    assert_int_equal(annotation.value.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_vector_has_its_class_and_name),
        cmocka_unit_test(each_kms_v2_vector_is_read_whole),
        cmocka_unit_test(each_annotation_is_walked),
        cmocka_unit_test(plaintext_is_told_by_its_first_bytes),
        cmocka_unit_test(an_empty_value_is_plaintext),
        cmocka_unit_test(only_plaintext_classes_are_plaintext),
        cmocka_unit_test(a_reserved_prefix_that_nobody_knows_is_unknown),
        cmocka_unit_test(a_kms_v1_value_is_split),
        cmocka_unit_test(a_kms_v1_value_needs_a_dek_and_data),
        cmocka_unit_test(the_local_providers_data_has_its_least_length),
        cmocka_unit_test(a_name_must_be_there_and_end),
        cmocka_unit_test(a_malformed_value_keeps_its_provider),
        cmocka_unit_test(a_value_cut_anywhere_is_malformed_or_of_the_old_type),
        cmocka_unit_test(a_field_twice_is_malformed),
        cmocka_unit_test(a_field_of_another_wire_type_is_malformed),
        cmocka_unit_test(bytes_that_are_no_field_are_malformed),
        cmocka_unit_test(a_field_of_the_future_is_passed_over),
        cmocka_unit_test(lengths_are_held_to_kube_apiservers_limits),
        cmocka_unit_test(a_dek_type_of_more_than_32_bits_is_malformed),
        cmocka_unit_test(a_key_id_must_be_clean_text),
        cmocka_unit_test(an_annotations_key_is_a_domain_name),
        cmocka_unit_test(an_annotations_key_of_more_than_253_bytes_is_malformed),
        cmocka_unit_test(annotations_have_a_limit_together),
        cmocka_unit_test(a_broken_annotation_is_malformed),
        cmocka_unit_test(an_annotation_may_lack_its_value),
    };
    return cmocka_run_group_tests_name("etcd_value", tests, etcd_vectors_set_up,
                                       etcd_vectors_tear_down);
}
