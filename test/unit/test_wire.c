/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <stdlib.h>

#include "check.h"
#include "proto/kmsv2.pb-c.h"

static struct kms_bytes seed(void)
{
    return kms_bytes_of("thirty-two bytes of a DEK seed..");
}

static void unknown_fields_are_skipped(void **state)
{
    (void)state;
    static const uint8_t bytes[] = { 0x0a, 2,    'p',  'q', /* 1: plaintext */
                                     0x78, 0x96, 0x01,      /* 15: a varint */
                                     0x12, 1,    'u',       /* 2: uid */
                                     0xa2, 0x06, 3,    'x', 'y', 'z' /* 100: bytes */ };
    struct kms_wire_encrypt parsed;
    struct kms_error err = { 0 };
    assert_ok(kms_wire_parse_encrypt((struct kms_bytes){ bytes, sizeof bytes }, &parsed, &err),
              &err);
    assert_true(kms_bytes_equal(parsed.request.plaintext, kms_bytes_of("pq")));
    assert_true(kms_bytes_equal(parsed.request.uid, kms_bytes_of("u")));
    kms_wire_encrypt_done(&parsed);
}

static void of_a_field_given_twice_the_last_one_counts(void **state)
{
    (void)state;
    struct kms_wire_encrypt parsed;
    struct kms_error err = { 0 };
    assert_ok(kms_wire_parse_encrypt(kms_bytes_of("\x12\x05"
                                                  "first\x12\x04last"),
                                     &parsed, &err),
              &err);
    assert_true(kms_bytes_equal(parsed.request.uid, kms_bytes_of("last")));
    kms_wire_encrypt_done(&parsed);
}

static void nul_and_broken_utf8_reach_the_service(void **state)
{
    (void)state;
    static const uint8_t bytes[] = { 0x12, 3, 'a', 0, 0xff };
    struct kms_wire_decrypt parsed;
    struct kms_error err = { 0 };
    assert_ok(kms_wire_parse_decrypt((struct kms_bytes){ bytes, sizeof bytes }, &parsed, &err),
              &err);
    assert_int_equal(parsed.request.uid.len, 3);
    assert_memory_equal(parsed.request.uid.data, bytes + 2, 3);
    kms_wire_decrypt_done(&parsed);
}

static void duplicate_annotations_reach_the_service_as_they_are(void **state)
{
    (void)state;
    static const uint8_t bytes[] = { 0x22, 6, 0x0a, 1, 'k', 0x12, 1, 'v', /* k: v */
                                     0x22, 6, 0x0a, 1, 'k', 0x12, 1, 'w', /* k: w */
                                     0x22, 0 /* an entry of nothing */ };
    struct kms_wire_decrypt parsed;
    struct kms_error err = { 0 };
    assert_ok(kms_wire_parse_decrypt((struct kms_bytes){ bytes, sizeof bytes }, &parsed, &err),
              &err);
    const struct kms_annotation *entries = parsed.request.annotations;
    assert_int_equal(parsed.request.annotation_count, 3);
    assert_true(kms_bytes_equal(entries[0].key, kms_bytes_of("k")));
    assert_true(kms_bytes_equal(entries[0].value, kms_bytes_of("v")));
    assert_true(kms_bytes_equal(entries[1].key, kms_bytes_of("k")));
    assert_true(kms_bytes_equal(entries[1].value, kms_bytes_of("w")));
    assert_int_equal(entries[2].key.len + entries[2].value.len, 0);
    kms_wire_decrypt_done(&parsed);
}

static void an_empty_message_is_an_empty_request(void **state)
{
    (void)state;
    struct kms_wire_decrypt parsed;
    struct kms_error err = { 0 };
    assert_ok(kms_wire_parse_decrypt((struct kms_bytes){ 0 }, &parsed, &err), &err);
    assert_int_equal(parsed.request.ciphertext.len, 0);
    assert_int_equal(parsed.request.uid.len, 0);
    assert_int_equal(parsed.request.key_id.len, 0);
    assert_int_equal(parsed.request.annotation_count, 0);
    kms_wire_decrypt_done(&parsed);
}

static void a_message_of_nothing_but_tiny_entries_is_refused(void **state)
{
    (void)state;
    enum { ENTRIES = 32 * 1024 };
    uint8_t *bytes = malloc(2 * (size_t)ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++)
        memcpy(bytes + 2 * i, "\x22\x00", 2);
    struct kms_wire_decrypt parsed;
    struct kms_error err = { 0 };
    assert_int_equal(
        kms_wire_parse_decrypt((struct kms_bytes){ bytes, 2 * (size_t)ENTRIES }, &parsed, &err),
        KMS_E_INVALID);
    free(bytes);
}

static void the_largest_annotation_of_the_contract_is_taken(void **state)
{
    (void)state;
    enum { LEN = 32 * 1024 };
    V2__Annotation annotation = V2__ANNOTATION__INIT;
    uint8_t *value = calloc(1, LEN);
    annotation.value = (ProtobufCBinaryData){ .len = LEN, .data = value };
    V2__Annotation *annotations[] = { &annotation };
    V2__DecryptRequest request = V2__DECRYPT_REQUEST__INIT;
    request.n_annotations = 1;
    request.annotations = annotations;
    struct kms_secret packed = { 0 };
    struct kms_error err = { 0 };
    assert_ok(kms_pack(&request.base, &packed, &err), &err);
    struct kms_wire_decrypt parsed;
    assert_ok(kms_wire_parse_decrypt(kms_secret_bytes(&packed), &parsed, &err), &err);
    assert_int_equal(parsed.request.annotations[0].value.len, LEN);
    kms_wire_decrypt_done(&parsed);
    kms_secret_done(&packed);
    free(value);
}

static void a_cut_request_never_does_harm(void **state)
{
    (void)state;
    V2__Annotation annotation = V2__ANNOTATION__INIT;
    annotation.key = kms_pack_data(kms_bytes_of("key"));
    V2__Annotation *annotations[] = { &annotation };
    V2__DecryptRequest request = V2__DECRYPT_REQUEST__INIT;
    request.ciphertext = kms_pack_data(seed());
    request.uid = kms_pack_data(kms_bytes_of("uid"));
    request.key_id = kms_pack_data(kms_bytes_of("key_id"));
    request.n_annotations = 1;
    request.annotations = annotations;
    struct kms_secret packed = { 0 };
    struct kms_error err = { 0 };
    assert_ok(kms_pack(&request.base, &packed, &err), &err);
    unsigned refused = 0;
    for (size_t len = 0; len <= packed.len; len++) {
        struct kms_wire_decrypt parsed;
        /* a copy of its own, so that the sanitizer sees a read beyond it */
        struct kms_secret cut = { 0 };
        assert_ok(kms_secret_copy(&cut, (struct kms_bytes){ packed.data, len }, &err), &err);
        enum kms_code rc = kms_wire_parse_decrypt(kms_secret_bytes(&cut), &parsed, &err);
        if (rc == KMS_OK)
            kms_wire_decrypt_done(&parsed);
        else
            assert_int_equal(rc, KMS_E_INVALID);
        refused += rc != KMS_OK;
        kms_secret_done(&cut);
    }
    assert_in_range(refused, packed.len - 5, packed.len); /* whole fields alone are requests too */
    kms_secret_done(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(of_a_field_given_twice_the_last_one_counts),
        cmocka_unit_test(nul_and_broken_utf8_reach_the_service),
        cmocka_unit_test(duplicate_annotations_reach_the_service_as_they_are),
        cmocka_unit_test(an_empty_message_is_an_empty_request),
        cmocka_unit_test(a_message_of_nothing_but_tiny_entries_is_refused),
        cmocka_unit_test(the_largest_annotation_of_the_contract_is_taken),
        cmocka_unit_test(a_cut_request_never_does_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
