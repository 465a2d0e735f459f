/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of KEKs, and what of them wants attention. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#include "attention.h"

enum { WIDTH = 120 };

static const uint32_t usual = KMS_KEK_SENSITIVE | KMS_KEK_ALWAYS_SENSITIVE |
                              KMS_KEK_NEVER_EXTRACTABLE | KMS_KEK_LOCAL | KMS_KEK_PRIVATE |
                              KMS_KEK_WRAP | KMS_KEK_UNWRAP;
static const uint8_t fingerprint[KMS_FINGERPRINT_LEN] = { 0xab };

static struct kms_kek_view sample(const char *state, const char *reason)
{
    return (struct kms_kek_view){
        .label = "prod.v3@20261201T120000Z",
        .key_id = "prod.v3.ab000000000000000000000000000000",
        .state = state,
        .reason = reason,
        .generation = 3,
        .activation_utc_s = 1796126400,
        .fingerprint = { fingerprint, sizeof(fingerprint) },
        .attributes = usual,
    };
}

/* The table of one KEK; the caller frees it. */
static char *print(const struct kms_kek_view *view, bool wide)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct kms_table *table = kms_kek_view_table(wide);
    kms_kek_view_row(view, wide, table);
    kms_table_print(table, out);
    kms_table_close(table);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_shows(const struct kms_kek_view *view, bool wide, const char *part)
{
    char *text = print(view, wide);
    assert_contains(text, part);
    free(text);
}

static size_t widest_line(const char *text)
{
    size_t widest = 0;
    for (; *text != '\0'; text += strcspn(text, "\n") + 1)
        if (strcspn(text, "\n") > widest)
            widest = strcspn(text, "\n");
    return widest;
}

static void a_usual_key_is_one_short_row(void **state)
{
    (void)state;
    const struct kms_kek_view view = sample("active", "");
    char *text = print(&view, false);
    assert_string_equal(text,
                        "GEN  STATE   ACTIVATION            KEY_ID                            "
                        "        SHA256(KEY_ID)\n"
                        "3    active  2026-12-01T12:00:00Z  prod.v3.ab0000000000000000000000"
                        "00000000  sha256:791dcfaea706\n");
    free(text);
}

static void a_key_in_the_worst_state_fits_a_terminal(void **state)
{
    (void)state;
    struct kms_kek_view view = sample("decrypt-only", "foreign origin (CKA_LOCAL is not true)");
    view.attributes = KMS_KEK_SENSITIVE | KMS_KEK_PRIVATE | KMS_KEK_WRAP | KMS_KEK_UNWRAP;
    char *text = print(&view, false);
    assert_in_range(widest_line(text), 1, WIDTH);
    assert_contains(text, "\n     foreign origin (CKA_LOCAL is not true)\n");
    assert_contains(text, "\n     unlike a key made by key create: not always-sensitive, not "
                          "never-extractable, not local\n");
    free(text);
}

static void attributes_that_should_not_be_there_are_shown(void **state)
{
    (void)state;
    struct kms_kek_view view = sample("refused", "");
    view.attributes |= KMS_KEK_EXTRACTABLE;
    assert_shows(&view, false, "unlike a key made by key create: extractable\n");
}

static void a_label_that_does_not_follow_from_the_rest_is_shown(void **state)
{
    (void)state;
    struct kms_kek_view view = sample("active", "");
    view.label = "kek-of-2019";
    assert_shows(&view, false, "label: kek-of-2019\n");
    view.label = "prod.v4@20261201T120000Z";
    assert_shows(&view, false, "label: prod.v4@20261201T120000Z\n");
}

static void a_missing_key_has_only_its_reason(void **state)
{
    (void)state;
    struct kms_kek_view view = sample("missing", "the key is not on the token");
    view.label = "prod.v3";
    view.attributes = 0;
    char *text = print(&view, false);
    assert_contains(text, "\n     the key is not on the token\n");
    assert_null(strstr(text, "label"));
    assert_null(strstr(text, "unlike"));
    free(text);
}

static void a_wide_row_has_everything(void **state)
{
    (void)state;
    const struct kms_kek_view view = sample("refused", "a reason");
    char hash[KMS_KEY_ID_HASH_LEN + 1];
    kms_key_id_hash(view.key_id, hash);
    assert_shows(&view, true, hash);
    assert_shows(&view, true, "  prod.v3@20261201T120000Z  ");
    assert_shows(&view, true,
                 "  ab00000000000000000000000000000000000000000000000000000000000000  "
                 "a reason\n");
    assert_shows(&view, true, "sensitive,always-sensitive,never-extractable,local,private,wrap,");
}

/* --- attention --- */

static void sound_keys_want_no_attention(void **state)
{
    (void)state;
    static const char *const sound[] = { "active", "pre-active", "pending", "decrypt-only",
                                         "disabled" };
    struct kms_attention attention = { 0 };
    for (size_t i = 0; i < sizeof(sound) / sizeof(sound[0]); i++) {
        const struct kms_kek_view view = sample(sound[i], "");
        kms_attention_add_kek(&attention, &view);
    }
    assert_int_equal(attention.count, 0);
    json_t *texts = kms_attention_json(&attention);
    assert_true(json_is_array(texts));
    assert_int_equal(json_array_size(texts), 0);
    json_decref(texts);
}

static void one_key_is_named_with_its_reason(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_attention_done) struct kms_attention attention = { 0 };
    const struct kms_kek_view view = sample("refused", "a reason");
    kms_attention_add_kek(&attention, &view);
    assert_string_equal(kms_attention_line(&attention), "generation 3 is refused: a reason");
}

static void several_keys_are_named_and_each_has_its_text(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_attention_done) struct kms_attention attention = { 0 };
    const struct kms_kek_view first = sample("refused", "a reason"), second = sample("missing", "");
    kms_attention_add_kek(&attention, &first);
    kms_attention_add_kek(&attention, &second);
    assert_string_equal(kms_attention_line(&attention),
                        "generation 3 (refused), generation 3 (missing)");
    json_t *texts = kms_attention_json(&attention);
    assert_int_equal(json_array_size(texts), 2);
    assert_string_equal(json_string_value(json_array_get(texts, 1)), "generation 3 is missing");
    json_decref(texts);
}

static void a_key_without_a_generation_is_named_by_its_label(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_attention_done) struct kms_attention attention = { 0 };
    struct kms_kek_view view = sample("refused", "");
    view.generation = 0;
    kms_attention_add_kek(&attention, &view);
    assert_string_equal(kms_attention_line(&attention), "'prod.v3@20261201T120000Z' is refused");
}

static void an_active_key_beyond_its_age_is_named(void **state)
{
    (void)state;
    const int64_t day_s = 86400, day_ms = day_s * 1000;
    KMS_CLEANUP(kms_attention_done) struct kms_attention attention = { 0 };
    struct kms_kek_view view = sample("active", "");
    int64_t later_utc_s = view.activation_utc_s + 91 * day_s;
    kms_attention_add_age(&attention, &view, 0, later_utc_s);
    kms_attention_add_age(&attention, &view, 91 * day_ms, later_utc_s);
    assert_int_equal(attention.count, 0);
    kms_attention_add_age(&attention, &view, 90 * day_ms, later_utc_s);
    assert_string_equal(kms_attention_line(&attention),
                        "generation 3 has been active for 91 days, and policy.max_age is 90d: "
                        "hsm-kms key rotate");
    assert_string_equal(attention.names, "generation 3 (old)");
}

static void another_key_may_be_of_any_age(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_attention_done) struct kms_attention attention = { 0 };
    const struct kms_kek_view view = sample("decrypt-only", "");
    kms_attention_add_age(&attention, &view, 1000, view.activation_utc_s + INT32_MAX);
    assert_int_equal(attention.count, 0);
}

static void many_keys_make_no_endless_line(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_attention_done) struct kms_attention attention = { 0 };
    const struct kms_kek_view view = sample("refused", "a reason");
    for (size_t i = 0; i < 100; i++)
        kms_attention_add_kek(&attention, &view);
    assert_int_equal(attention.count, 100);
    assert_in_range(strlen(kms_attention_line(&attention)), 1, 200);
    assert_contains(kms_attention_line(&attention), "and more");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_usual_key_is_one_short_row),
        cmocka_unit_test(a_key_in_the_worst_state_fits_a_terminal),
        cmocka_unit_test(attributes_that_should_not_be_there_are_shown),
        cmocka_unit_test(a_label_that_does_not_follow_from_the_rest_is_shown),
        cmocka_unit_test(a_missing_key_has_only_its_reason),
        cmocka_unit_test(a_wide_row_has_everything),
        cmocka_unit_test(sound_keys_want_no_attention),
        cmocka_unit_test(one_key_is_named_with_its_reason),
        cmocka_unit_test(several_keys_are_named_and_each_has_its_text),
        cmocka_unit_test(a_key_without_a_generation_is_named_by_its_label),
        cmocka_unit_test(an_active_key_beyond_its_age_is_named),
        cmocka_unit_test(another_key_may_be_of_any_age),
        cmocka_unit_test(many_keys_make_no_endless_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
