/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as it is in force, field by field. */
#include "config_rig.h"

#include <stdio.h>
#include <string.h>

struct found {
    const char *wanted;
    size_t count; /* of fields in all */
    size_t times; /* @wanted was met */
    enum kms_config_kind kind;
    char text[256];
    int64_t number;
    bool truth;
};

static void note(void *context, const struct kms_config_value *value)
{
    struct found *found = context;
    found->count++;
    if (strcmp(value->field, found->wanted) != 0)
        return;
    found->times++;
    found->kind = value->kind;
    found->number = value->number;
    found->truth = value->truth;
    (void)snprintf(found->text, sizeof(found->text), "%s", value->text != NULL ? value->text : "");
}

static struct found look(const char *text, const char *field)
{
    struct kms_config config = load(text);
    struct found found = { .wanted = field };
    kms_config_walk(&config, note, &found);
    kms_config_done(&config);
    assert_int_equal(found.times, 1);
    return found;
}

static void assert_text(const char *text, const char *field, const char *expected)
{
    struct found found = look(text, field);
    assert_int_equal(found.kind, KMS_CONFIG_TEXT);
    assert_string_equal(found.text, expected);
}

static void what_is_written_is_in_force(void **state)
{
    (void)state;
    assert_text(MINIMAL "refresh: 90s\n", "refresh", "90s");
    assert_text(MINIMAL "socket: {mode: \"0600\"}\n", "socket.mode", "0600");
    assert_text(MINIMAL "profile: aes-kwp\n", "profile", "aes-kwp");
    assert_text(MINIMAL "log: {level: warn}\n", "log.level", "warn");
}

static void what_is_not_written_has_its_default(void **state)
{
    (void)state;
    assert_text(MINIMAL, "policy.destroy_wait", "30d");
    assert_text(MINIMAL, "log.format", "text");
    assert_text(MINIMAL, "tokens[0].name", "token-1");
    assert_int_equal(look(MINIMAL, "tokens[0].sessions").number, 4);
    assert_true(look(MINIMAL, "tokens[0].required").truth);
}

static void what_has_no_default_has_no_value(void **state)
{
    (void)state;
    assert_int_equal(look(MINIMAL, "audit.path").kind, KMS_CONFIG_NONE);
    assert_int_equal(look(MINIMAL, "pins").kind, KMS_CONFIG_NONE);
    assert_int_equal(look(MINIMAL, "policy.max_age").kind, KMS_CONFIG_NONE);
}

static void lists_have_their_items(void **state)
{
    static const char text[] = MINIMAL "    environment: [ONE, TWO]\n"
                                       "socket: {allow_uids: [7, 8]}\n"
                                       "pins:\n  - {generation: 3, fingerprint: " DIGITS "}\n"
                                       "adopt:\n  - {generation: 4, cka_id: 0aff, "
                                       "activation: 2026-12-01T12:00:00Z}\n";
    (void)state;
    assert_text(text, "tokens[0].environment[1]", "TWO");
    assert_int_equal(look(text, "socket.allow_uids[0]").number, 7);
    assert_int_equal(look(text, "pins[0].generation").number, 3);
    assert_text(text, "pins[0].fingerprint", DIGITS);
    assert_text(text, "adopt[0].cka_id", "0aff");
    assert_text(text, "adopt[0].activation", "2026-12-01T12:00:00Z");
    assert_int_equal(look(text, "adopt[0].label").kind, KMS_CONFIG_NONE);
}

/* --- what two readings have in common --- */

static bool has_same_settings(const char *one, const char *other, bool *ret_vouched)
{
    struct kms_config a = load(one), b = load(other);
    bool same = memcmp(a.settings.sha256, b.settings.sha256, sizeof(a.settings.sha256)) == 0;
    *ret_vouched = memcmp(a.vouched.sha256, b.vouched.sha256, sizeof(a.vouched.sha256)) == 0;
    assert_true(a.settings.read_utc_s > 0 && a.vouched.read_utc_s > 0);
    kms_config_done(&a);
    kms_config_done(&b);
    return same;
}

static void comments_and_defaults_change_no_digest(void **state)
{
    bool vouched = false;
    (void)state;
    assert_true(has_same_settings(MINIMAL, "# why\n" MINIMAL "canary: 30s\n", &vouched));
    assert_true(vouched);
}

static void pins_have_a_digest_of_their_own(void **state)
{
    static const char pinned[] = MINIMAL "pins:\n  - {generation: 3, fingerprint: " DIGITS "}\n";
    bool vouched = true;
    (void)state;
    assert_true(has_same_settings(MINIMAL, pinned, &vouched));
    assert_false(vouched);
}

static void any_other_field_changes_the_digest_of_settings(void **state)
{
    bool vouched = false;
    (void)state;
    assert_false(has_same_settings(MINIMAL, MINIMAL "refresh: 91s\n", &vouched));
    assert_true(vouched);
    assert_false(has_same_settings(MINIMAL, MINIMAL "    sessions: 5\n", &vouched));
    assert_false(has_same_settings(MINIMAL, MINIMAL "    required: false\n", &vouched));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_in_force),
        cmocka_unit_test(what_is_not_written_has_its_default),
        cmocka_unit_test(what_has_no_default_has_no_value),
        cmocka_unit_test(lists_have_their_items),
        cmocka_unit_test(comments_and_defaults_change_no_digest),
        cmocka_unit_test(pins_have_a_digest_of_their_own),
        cmocka_unit_test(any_other_field_changes_the_digest_of_settings),
    };
    return cmocka_run_group_tests_name("effective", tests, make_file, remove_file);
}
