/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "json.h"
#include "kek_view.h"

static void an_object_names_its_schema(void **state)
{
    (void)state;
    json_t *object = kms_json_open("key-list");
    assert_string_equal(json_string_value(json_object_get(object, "schema")),
                        "hsm-kms/key-list/v1");
    json_decref(object);
}

static void hostile_bytes_make_valid_json(void **state)
{
    (void)state;
    json_t *value = kms_json_text("a\xff\x1b");
    assert_string_equal(json_string_value(value), "a\\xff\\x1b");
    json_decref(value);
}

static void nothing_is_null(void **state)
{
    (void)state;
    assert_true(json_is_null(kms_json_text(NULL)));
    assert_true(json_is_null(kms_json_text("")));
    assert_true(json_is_null(kms_json_time(0)));
}

static void a_time_is_rfc3339(void **state)
{
    (void)state;
    json_t *value = kms_json_time(1796126400);
    assert_string_equal(json_string_value(value), "2026-12-01T12:00:00Z");
    json_decref(value);
}

/* printf %s prod.v1.00ff | sha256sum */
static void the_hash_of_a_key_id_has_the_form_of_the_metrics(void **state)
{
    (void)state;
    char hash[KMS_KEY_ID_HASH_LEN + 1];
    kms_key_id_hash("prod.v1.00ff", hash);
    assert_string_equal(hash,
                        "sha256:3a5aeafc64b27bb7d723240db72ecf6087961142848564183d3b41769c6d2f06");
    kms_key_id_hash("", hash);
    assert_string_equal(hash, "");
}

static void a_kek_shows_only_attributes_that_the_token_told(void **state)
{
    (void)state;
    const struct kms_ring_entry entry = {
        .kek = { .attributes = KMS_KEK_SENSITIVE | KMS_KEK_EXTRACTABLE | KMS_KEK_WRAP,
                 .known = KMS_KEK_SENSITIVE | KMS_KEK_WRAP | KMS_KEK_LOCAL },
    };
    struct kms_kek_view view = kms_kek_view_of(&entry);
    json_t *object = json_object();
    kms_kek_view_json(&view, object);
    json_t *attributes = json_object_get(object, "attributes");
    assert_int_equal(json_array_size(attributes), 2);
    assert_string_equal(json_string_value(json_array_get(attributes, 0)), "sensitive");
    assert_string_equal(json_string_value(json_array_get(attributes, 1)), "wrap");
    json_decref(object);
}

static void a_kek_without_a_fingerprint_shows_none(void **state)
{
    (void)state;
    const struct kms_ring_entry entry = { .generation = 3, .reason = "no fingerprint" };
    struct kms_kek_view view = kms_kek_view_of(&entry);
    json_t *object = json_object();
    kms_kek_view_json(&view, object);
    assert_true(json_is_null(json_object_get(object, "fingerprint")));
    assert_true(json_is_null(json_object_get(object, "key_id")));
    assert_true(json_is_null(json_object_get(object, "key_id_hash")));
    assert_string_equal(json_string_value(json_object_get(object, "reason")), "no fingerprint");
    json_decref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_names_its_schema),
        cmocka_unit_test(hostile_bytes_make_valid_json),
        cmocka_unit_test(nothing_is_null),
        cmocka_unit_test(a_time_is_rfc3339),
        cmocka_unit_test(the_hash_of_a_key_id_has_the_form_of_the_metrics),
        cmocka_unit_test(a_kek_shows_only_attributes_that_the_token_told),
        cmocka_unit_test(a_kek_without_a_fingerprint_shows_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
