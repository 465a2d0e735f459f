/* SPDX-License-Identifier: Apache-2.0 */
#include "report/tally.h"

#include <stdio.h>
#include <stdlib.h>

#include "check.h"

static void add(struct kms_tally *tally, const char *resource, const char *key_id, bool current)
{
    const struct kms_registry_name name = { .kind = KMS_REGISTRY_CUSTOM,
                                            .group = kms_bytes_of("example.com"),
                                            .resource = kms_bytes_of(resource) };
    const struct kms_value value = { .class = KMS_VALUE_KMS_V2,
                                     .provider = kms_bytes_of("hsm"),
                                     .key_id = kms_bytes_of(key_id) };
    struct kms_tally_place place;
    struct kms_error err = { 0 };
    assert_ok(kms_tally_add(tally, &name, &value, current, &place, &err), &err);
}

static uint64_t sum(struct kms_tally *tally)
{
    size_t count;
    const struct kms_tally_row *rows = kms_tally_rows(tally, &count);
    uint64_t values = 0;
    for (size_t i = 0; i < count; i++)
        values += rows[i].values.current + rows[i].values.history;
    return values;
}

static void values_are_counted_by_resource_and_key(void **state)
{
    add(*state, "b", "k1", true);
    add(*state, "a", "k2", true);
    add(*state, "a", "k1", false);
    add(*state, "a", "k1", true);
    size_t count, ignored;
    const struct kms_tally_resource *resources = kms_tally_resources(*state, &ignored);
    const struct kms_tally_key *keys = kms_tally_keys(*state, &ignored);
    const struct kms_tally_row *rows = kms_tally_rows(*state, &count);
    assert_int_equal(count, 4);
    assert_int_equal(rows[0].values.current + rows[0].values.history, 0); /* of the others */
    assert_true(kms_bytes_equal(resources[rows[1].resource].resource, kms_bytes_of("a")));
    assert_true(kms_bytes_equal(keys[rows[1].key].key_id, kms_bytes_of("k1")));
    assert_int_equal(rows[1].values.current, 1);
    assert_int_equal(rows[1].values.history, 1);
    assert_true(kms_bytes_equal(resources[rows[3].resource].resource, kms_bytes_of("b")));
    assert_true(kms_bytes_equal(resources[rows[3].resource].group, kms_bytes_of("example.com")));
}

static void hostile_key_ids_are_counted_together_once_there_is_no_room(void **state)
{
    char key_id[32];
    for (int i = 0; i < 2 * KMS_TALLY_KEYS_MAX; i++) {
        snprintf(key_id, sizeof key_id, "key-%d", i);
        add(*state, "a", key_id, true);
    }
    size_t count;
    const struct kms_tally_key *keys = kms_tally_keys(*state, &count);
    assert_int_equal(count, KMS_TALLY_KEYS_MAX);
    assert_true(keys[0].others);
    assert_int_equal(keys[0].values.current, KMS_TALLY_KEYS_MAX + 1);
    assert_int_equal(sum(*state), 2 * KMS_TALLY_KEYS_MAX);
}

static void hostile_resources_are_counted_together_once_there_is_no_room(void **state)
{
    char resource[32];
    for (int i = 0; i < 20 * 1000; i++) {
        snprintf(resource, sizeof resource, "resource-%d", i);
        add(*state, resource, "k1", true);
    }
    size_t count;
    const struct kms_tally_resource *resources = kms_tally_resources(*state, &count);
    assert_int_equal(count, KMS_TALLY_RESOURCES_MAX);
    assert_int_equal(resources[0].values.current, 20 * 1000 - KMS_TALLY_RESOURCES_MAX + 1);
    assert_int_equal(sum(*state), 20 * 1000);
}

static void a_name_that_is_too_long_is_one_of_the_others(void **state)
{
    char name[KMS_TALLY_NAME_MAX + 2];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    add(*state, name, "k1", true);
    size_t count;
    assert_int_equal(kms_tally_resources(*state, &count)[0].values.current, 1);
}

static int set_up(void **state)
{
    struct kms_error err = { 0 };
    return kms_tally_open((struct kms_tally **)state, &err) == KMS_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    kms_tally_close(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(values_are_counted_by_resource_and_key),
        TEST(hostile_key_ids_are_counted_together_once_there_is_no_room),
        TEST(hostile_resources_are_counted_together_once_there_is_no_room),
        TEST(a_name_that_is_too_long_is_one_of_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
