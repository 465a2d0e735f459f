/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <unistd.h>

#include "json.h"
#include "node_view.h"

enum { NOW_MS = 2000000 };

/* A file that is removed with the bench. */
struct bench {
    char path[64];
    struct kms_node node;
    struct kms_error err;
};

static int set_up(void **state)
{
    static struct bench bench;
    bench = (struct bench){ .path = "/tmp/node-view-XXXXXX" };
    int fd = mkstemp(bench.path);
    *state = &bench;
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    return unlink(bench->path);
}

static char *text(const char *literal)
{
    union {
        const char *in;
        char *out;
    } same = { .in = literal };
    return same.out;
}

static json_t *made_up_export(int64_t now_ms, const char *health_text)
{
    Hsmkms__Node__V1__DescribeResponse description = HSMKMS__NODE__V1__DESCRIBE_RESPONSE__INIT;
    Hsmkms__Node__V1__Health health = HSMKMS__NODE__V1__HEALTH__INIT;
    health.ok = health_text[0] == '\0';
    health.message = text(health_text);
    health.code = text("ok");
    description.health = &health;
    description.node = text("beta");
    description.version = text("0.1");
    description.ring = text("prod");
    description.promoted = 7;
    description.key_id = text("prod.v7.abc");
    description.refresh = 30000;
    description.clock_skew = 20000;
    description.listed = 1796126400;
    description.now = now_ms;
    json_t *object = kms_json_open(KMS_NODE_EXPORT);
    kms_node_describe_json(&description, object);
    return object;
}

static enum kms_code read_back(struct bench *bench, json_t *object)
{
    assert_int_equal(json_dump_file(object, bench->path, 0), 0);
    json_decref(object);
    return kms_node_read(bench->path, NOW_MS, &bench->node, &bench->err);
}

static void an_export_reads_back_as_the_node_that_wrote_it(void **state)
{
    struct bench *bench = *state;
    assert_ok(read_back(bench, made_up_export(NOW_MS, "")), &bench->err);
    assert_true(bench->node.is_export);
    assert_true(bench->node.reached);
    assert_true(bench->node.healthy);
    assert_string_equal(bench->node.source, bench->path);
    assert_string_equal(bench->node.name, "beta");
    assert_string_equal(bench->node.ring, "prod");
    assert_string_equal(bench->node.key_id, "prod.v7.abc");
    assert_int_equal(bench->node.promoted, 7);
    assert_int_equal(bench->node.refresh_ms, 30000);
    assert_int_equal(bench->node.clock_skew_ms, 20000);
    assert_int_equal(bench->node.listed_utc_s, 1796126400);
    assert_int_equal(bench->node.told_utc_s, NOW_MS / 1000);
}

static void tokens_and_holders_are_shown(void **state)
{
    (void)state;
    Hsmkms__Node__V1__DescribeResponse description = HSMKMS__NODE__V1__DESCRIBE_RESPONSE__INIT;
    Hsmkms__Node__V1__Health health = HSMKMS__NODE__V1__HEALTH__INIT;
    Hsmkms__Node__V1__Token token = HSMKMS__NODE__V1__TOKEN__INIT, *tokens[] = { &token };
    Hsmkms__Node__V1__Kek kek = HSMKMS__NODE__V1__KEK__INIT, *keks[] = { &kek };
    char *holders[] = { text("spare") };
    token.name = text("spare");
    token.resting = true;
    token.problem = text("it hangs");
    kek.holders = holders;
    kek.n_holders = 1;
    kek.may_unwrap = true;
    description.health = &health;
    description.tokens = tokens;
    description.keks = keks;
    description.n_tokens = description.n_keks = 1;
    json_t *object = json_object();
    kms_node_describe_json(&description, object);
    const json_t *shown = json_array_get(json_object_get(object, "tokens"), 0);
    assert_string_equal(json_string_value(json_object_get(shown, "name")), "spare");
    assert_true(json_is_false(json_object_get(shown, "in_use")));
    assert_true(json_is_false(json_object_get(shown, "required")));
    assert_true(json_is_true(json_object_get(shown, "resting")));
    assert_true(json_is_null(json_object_get(shown, "drained_until")));
    assert_string_equal(json_string_value(json_object_get(shown, "problem")), "it hangs");
    const json_t *shown_kek = json_array_get(json_object_get(object, "keks"), 0);
    const json_t *holder = json_array_get(json_object_get(shown_kek, "holders"), 0);
    assert_string_equal(json_string_value(holder), "spare");
    assert_true(json_is_true(json_object_get(shown_kek, "may_unwrap")));
    json_decref(object);
}

static void an_export_keeps_the_nodes_complaint(void **state)
{
    struct bench *bench = *state;
    assert_ok(read_back(bench, made_up_export(NOW_MS, "the token is away")), &bench->err);
    assert_false(bench->node.healthy);
    assert_string_equal(bench->node.health, "the token is away");
}

static void an_export_of_the_past_says_nothing_of_the_clock(void **state)
{
    struct bench *bench = *state;
    assert_ok(read_back(bench, made_up_export(NOW_MS - 999999, "")), &bench->err);
    assert_int_equal(bench->node.offset_ms, 0);
}

static void an_export_of_the_future_shows_a_clock_ahead(void **state)
{
    struct bench *bench = *state;
    assert_ok(read_back(bench, made_up_export(NOW_MS + 4321, "")), &bench->err);
    assert_int_equal(bench->node.offset_ms, 4321);
}

static void an_export_lacking_any_field_is_refused(void **state)
{
    struct bench *bench = *state;
    static const char *const fields[] = { "schema",   "node",       "version",      "ring",
                                          "promoted", "key_id",     "health",       "listed",
                                          "now_ms",   "refresh_ms", "clock_skew_ms" };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        json_t *object = made_up_export(NOW_MS, "");
        assert_int_equal(json_object_del(object, fields[i]), 0);
        assert_int_equal(read_back(bench, object), KMS_E_INVALID);
        assert_contains(bench->err.msg, bench->path);
    }
}

static void numbers_out_of_range_are_refused(void **state)
{
    struct bench *bench = *state;
    static const char *const fields[] = { "promoted", "refresh_ms", "clock_skew_ms" };
    static const json_int_t bad[] = { -1, INT64_MAX };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        for (size_t j = 0; j < sizeof(bad) / sizeof(bad[0]); j++) {
            json_t *object = made_up_export(NOW_MS, "");
            kms_json_set(object, fields[i], json_integer(bad[j]));
            assert_int_equal(read_back(bench, object), KMS_E_INVALID);
        }
}

static void other_documents_are_refused_by_name(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(read_back(bench, kms_json_open("status")), KMS_E_INVALID);
    assert_contains(bench->err.msg, "key nodes --export");
    assert_int_equal(read_back(bench, json_array()), KMS_E_INVALID);
}

static void a_file_that_is_no_json_is_refused(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(kms_node_read(bench->path, NOW_MS, &bench->node, &bench->err), KMS_E_INVALID);
    assert_int_equal(kms_node_read("/nonexistent/x", NOW_MS, &bench->node, &bench->err),
                     KMS_E_INVALID);
    assert_contains(bench->err.msg, "/nonexistent/x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_export_reads_back_as_the_node_that_wrote_it, set_up,
                                        tear_down),
        cmocka_unit_test(tokens_and_holders_are_shown),
        cmocka_unit_test_setup_teardown(an_export_keeps_the_nodes_complaint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_export_of_the_past_says_nothing_of_the_clock, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_export_of_the_future_shows_a_clock_ahead, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_export_lacking_any_field_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_out_of_range_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_documents_are_refused_by_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_no_json_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
