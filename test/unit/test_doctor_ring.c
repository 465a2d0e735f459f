/* SPDX-License-Identifier: Apache-2.0 */
/* doctor's checks of KEKs, memory and plugin: each as it passes and as it fails. */
#include <stdio.h>
#include <stdlib.h>

#include "doctor_rig.h"

static const int64_t day_ms = INT64_C(86400) * 1000;

static struct doctor_rig *rig_of(void **state)
{
    return *state;
}

static struct kms_kek_info *only_kek(struct doctor_rig *rig)
{
    return &rig->doctor.tokens[0].inventory.keks[0];
}

static void spoil(struct doctor_rig *rig, uint32_t set, uint32_t clear)
{
    only_kek(rig)->attributes = (DOCTOR_USUAL | set) & ~clear;
    doctor_rig_judge(rig);
}

static void a_kek_has_the_attributes_of_one(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "kek-attributes", KMS_DOCTOR_OK, "AES-256");
    spoil(rig, KMS_KEK_EXTRACTABLE, 0);
    doctor_rig_expect(rig, "kek-attributes", KMS_DOCTOR_FAIL, "CKA_EXTRACTABLE");
    spoil(rig, 0, KMS_KEK_SENSITIVE);
    doctor_rig_expect(rig, "kek-attributes", KMS_DOCTOR_FAIL, "CKA_SENSITIVE");
    spoil(rig, 0, KMS_KEK_UNWRAP);
    doctor_rig_expect(rig, "kek-attributes", KMS_DOCTOR_FAIL, "only wrap");
    spoil(rig, 0, KMS_KEK_NEVER_EXTRACTABLE);
    doctor_rig_expect(rig, "kek-attributes", KMS_DOCTOR_WARN, "could leave");
    spoil(rig, 0, KMS_KEK_PRIVATE);
    doctor_rig_expect(rig, "kek-attributes", KMS_DOCTOR_WARN, "CKA_PRIVATE");
    only_kek(rig)->value_len = 16;
    spoil(rig, 0, 0);
    doctor_rig_expect(rig, "kek-attributes", KMS_DOCTOR_FAIL, "AES-256");
}

static void a_ring_without_a_kek_is_a_warning(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.tokens[0].inventory.count = 0;
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "kek-attributes", KMS_DOCTOR_WARN, "no KEK of this ring");
}

static void two_keys_of_one_generation_fail(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "duplicate-generations", KMS_DOCTOR_OK, "one key");
    (void)doctor_rig_add_kek(rig, "prod.v1@20261101T120000Z", 2);
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "duplicate-generations", KMS_DOCTOR_FAIL, "2 keys of generation 1");
}

static void a_key_of_unknown_origin_fails_until_it_is_pinned(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_OK, "made on a token");
    doctor_rig_add_kek(rig, "prod.v2@20261102T120000Z", 2)->attributes &= ~(uint32_t)KMS_KEK_LOCAL;
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_FAIL, "generation 2");
    doctor_rig_pin(rig, 2, 2);
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_OK, "vouched for");
}

static void a_pinned_key_stays_known_while_it_is_disabled(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    only_kek(rig)->fingerprinted = false; /* a disabled key can't be asked for it */
    spoil(rig, 0, KMS_KEK_LOCAL | KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_OK, "vouched for");
}

/* Generation 2 on both tokens of a node that pinned neither; the second one has a copy. */
static struct kms_kek_info *copy_to_second(struct doctor_rig *rig, uint8_t tag)
{
    doctor_rig_add_token(rig);
    (void)doctor_rig_add_kek(rig, "prod.v2@20261102T120000Z", 2);
    struct kms_kek_info *copy = doctor_rig_add_kek_to(rig, 1, "prod.v2@20261102T120000Z", tag);
    copy->attributes &= ~(uint32_t)KMS_KEK_LOCAL;
    doctor_rig_judge(rig);
    return copy;
}

static void a_copy_of_a_key_of_another_token_isnt_foreign(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    (void)copy_to_second(rig, 2);
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_OK, "made on a token");
}

static void a_copy_that_no_token_made_is_foreign(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    (void)copy_to_second(rig, 2);
    rig->doctor.tokens[0].inventory.keks[1].attributes &= ~(uint32_t)KMS_KEK_LOCAL;
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_FAIL, "generation 2 on one");
}

static void a_generation_that_only_one_token_has_isnt_foreign(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_add_token(rig);
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_OK, "made on a token");
}

static void another_key_of_the_same_number_on_another_token_fails(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_kek_info *other = copy_to_second(rig, 3);
    other->attributes = DOCTOR_USUAL; /* made there, so by itself it would do */
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "duplicate-generations", KMS_DOCTOR_OK, "one key");
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_FAIL,
                      "generation 2 is the key 0200000000000000 on one and 0300000000000000 on "
                      "two");
}

static void a_pin_says_which_of_two_keys_is_foreign(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    copy_to_second(rig, 3)->attributes = DOCTOR_USUAL;
    doctor_rig_pin(rig, 2, 2);
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_FAIL,
                      "generation 2 is the key 0300000000000000 on two and 0200000000000000 on "
                      "one");
}

static void a_buried_number_fails_and_an_odd_label_warns(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_error err = { 0 };
    (void)doctor_rig_add_kek(rig, "prod.v2-old", 2);
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_WARN, "prod.v2-old");
    (void)doctor_rig_add_kek(rig, "prod.v3@20261102T120000Z", 3);
    assert_ok(kms_state_bury(&rig->doctor.state, 3, &err), &err);
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "foreign-generations", KMS_DOCTOR_FAIL, "generation 3");
}

static void a_disabled_key_is_a_warning(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "disabled-keys", KMS_DOCTOR_OK, "no KEK is disabled");
    spoil(rig, 0, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    doctor_rig_expect(rig, "disabled-keys", KMS_DOCTOR_WARN, "quiet days prove nothing");
}

static void another_rings_kek_is_a_warning(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_inventory *inventory = &rig->doctor.tokens[0].inventory;
    inventory->others = calloc(2, sizeof(*inventory->others));
    assert_non_null(inventory->others);
    inventory->other_count = 2;
    (void)snprintf(inventory->others[0].label, KMS_LABEL_MAX, "backup key.v1");
    (void)snprintf(inventory->others[1].label, KMS_LABEL_MAX, "prod.pending.0123456789abcdef");
    doctor_rig_expect(rig, "other-rings", KMS_DOCTOR_OK, "no other ring");
    (void)snprintf(inventory->others[1].label, KMS_LABEL_MAX, "stage.v7@20261101T120000Z");
    doctor_rig_expect(rig, "other-rings", KMS_DOCTOR_WARN, "ring 'stage'");
}

static void a_pinned_key_is_there_and_the_same(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "pins", KMS_DOCTOR_OK, "1 pinned");
    only_kek(rig)->fingerprint[0] = 9;
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "pins", KMS_DOCTOR_FAIL, "another fingerprint than its pin");
    rig->doctor.tokens[0].inventory.count = 0;
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "pins", KMS_DOCTOR_FAIL, "isn't on one");
}

static void a_kek_that_one_of_two_tokens_lacks_is_a_warning(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_add_token(rig);
    doctor_rig_expect(rig, "pins", KMS_DOCTOR_WARN, "isn't on two, but on another token");
    doctor_rig_expect(rig, "activation", KMS_DOCTOR_WARN, "two can't serve generation 1");
    rig->doctor.tokens[0].inventory.count = 0;
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "pins", KMS_DOCTOR_FAIL, "isn't on one");
    doctor_rig_expect(rig, "activation", KMS_DOCTOR_FAIL, "generation 1");
}

static void a_memory_that_is_new_warns_and_one_that_is_damaged_fails(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.state_is_new = true;
    doctor_rig_expect(rig, "pins", KMS_DOCTOR_WARN, "pinned nothing");
    rig->doctor.state_fault.code = kms_fail(&rig->doctor.state_fault, KMS_E_PRECONDITION,
                                            "ring.json is damaged");
    doctor_rig_expect(rig, "pins", KMS_DOCTOR_FAIL, "ring.json is damaged");
}

static void the_promoted_key_is_usable(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "activation", KMS_DOCTOR_OK, "generation 1");
    spoil(rig, KMS_KEK_EXTRACTABLE, 0);
    doctor_rig_expect(rig, "activation", KMS_DOCTOR_FAIL, "one: ");
    rig->doctor.state.promoted = 0;
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "activation", KMS_DOCTOR_WARN, "no generation yet");
}

static void a_key_that_waits_too_long_is_a_warning(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    (void)doctor_rig_add_kek(rig, "prod.v2@20261102T120000Z", 2);
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "activation", KMS_DOCTOR_WARN, "isn't promoted here");
    (void)snprintf(rig->doctor.tokens[0].inventory.keks[1].label, KMS_LABEL_MAX,
                   "prod.v2@20991102T120000Z");
    doctor_rig_judge(rig);
    doctor_rig_expect(rig, "activation", KMS_DOCTOR_OK, "generation 1");
}

static void a_clock_is_kept_right_and_not_behind(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "clock", KMS_DOCTOR_OK, "kept right");
    rig->doctor.clock_is_synchronised = false;
    doctor_rig_expect(rig, "clock", KMS_DOCTOR_WARN, "doesn't say that anything keeps");
    rig->doctor.now_utc_s = 1000;
    doctor_rig_expect(rig, "clock", KMS_DOCTOR_FAIL, "1970-01-01");
}

static void a_key_older_than_allowed_warns_or_fails(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    int64_t now_utc_s = rig->doctor.now_utc_s;
    doctor_rig_expect(rig, "key-age", KMS_DOCTOR_OK, "90 are allowed");
    rig->doctor.now_utc_s = now_utc_s + 100 * day_ms / 1000;
    doctor_rig_expect(rig, "key-age", KMS_DOCTOR_WARN, "90 are allowed, for want of");
    rig->doctor.config.policy.max_age_ms = 20 * day_ms;
    doctor_rig_expect(rig, "key-age", KMS_DOCTOR_FAIL, "20 are allowed by policy.max_age");
    rig->doctor.options.max_age_ms = 10 * day_ms;
    doctor_rig_expect(rig, "key-age", KMS_DOCTOR_FAIL, "10 are allowed by --max-age");
    rig->doctor.options.max_age_ms = 400 * day_ms;
    doctor_rig_expect(rig, "key-age", KMS_DOCTOR_OK, "400 are allowed");
    rig->doctor.now_utc_s = 1000;
    doctor_rig_expect(rig, "key-age", KMS_DOCTOR_WARN, "isn't active yet");
    rig->doctor.state.promoted = 0;
    doctor_rig_expect(rig, "key-age", KMS_DOCTOR_WARN, "no promoted KEK");
}

static void a_backup_is_recorded_or_its_lack_is_told(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "backup", KMS_DOCTOR_OK, "recorded for every KEK");
    rig->doctor.without_backup = 1;
    rig->doctor.first_without_backup = 7;
    doctor_rig_expect(rig, "backup", KMS_DOCTOR_WARN, "generation 7");
    rig->doctor.backups_fault.code = kms_fail(&rig->doctor.backups_fault, KMS_E_PRECONDITION,
                                              "backups.json is damaged");
    doctor_rig_expect(rig, "backup", KMS_DOCTOR_FAIL, "backups.json is damaged");
}

static void the_plugin_answers_and_is_ours(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_node *node = &rig->doctor.node;
    doctor_rig_expect(rig, "instance", KMS_DOCTOR_OK, "healthy");
    (void)snprintf(node->version, sizeof(node->version), "0.0.1");
    doctor_rig_expect(rig, "instance", KMS_DOCTOR_WARN, "version 0.0.1");
    node->healthy = false;
    (void)snprintf(node->health, sizeof(node->health), "the token is away");
    doctor_rig_expect(rig, "instance", KMS_DOCTOR_FAIL, "the token is away");
    (void)snprintf(node->ring, sizeof(node->ring), "stage");
    doctor_rig_expect(rig, "instance", KMS_DOCTOR_FAIL, "ring 'stage'");
    node->reached = false;
    doctor_rig_expect(rig, "instance", KMS_DOCTOR_FAIL, "the plugin doesn't answer");
}

static void the_plugin_uses_what_the_file_says(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_node *node = &rig->doctor.node;
    rig->doctor.config.settings.sha256[0] = rig->doctor.config.vouched.sha256[0] = 1;
    doctor_rig_expect(rig, "instance", KMS_DOCTOR_OK, "healthy"); /* an older one doesn't tell */
    node->tells_configuration = true;
    doctor_rig_expect(rig, "instance", KMS_DOCTOR_WARN, "another configuration than the file");
    node->settings[0] = 1;
    doctor_rig_expect(rig, "instance", KMS_DOCTOR_WARN, "other pins and adoptions");
    node->vouched[0] = 1;
    doctor_rig_expect(rig, "instance", KMS_DOCTOR_OK, "healthy");
}

int main(void)
{
#define with_rig(test) cmocka_unit_test_setup_teardown(test, doctor_rig_setup, doctor_rig_teardown)
    const struct CMUnitTest tests[] = {
        with_rig(a_kek_has_the_attributes_of_one),
        with_rig(a_ring_without_a_kek_is_a_warning),
        with_rig(two_keys_of_one_generation_fail),
        with_rig(a_key_of_unknown_origin_fails_until_it_is_pinned),
        with_rig(a_pinned_key_stays_known_while_it_is_disabled),
        with_rig(a_copy_of_a_key_of_another_token_isnt_foreign),
        with_rig(a_copy_that_no_token_made_is_foreign),
        with_rig(a_generation_that_only_one_token_has_isnt_foreign),
        with_rig(another_key_of_the_same_number_on_another_token_fails),
        with_rig(a_pin_says_which_of_two_keys_is_foreign),
        with_rig(a_buried_number_fails_and_an_odd_label_warns),
        with_rig(a_disabled_key_is_a_warning),
        with_rig(another_rings_kek_is_a_warning),
        with_rig(a_pinned_key_is_there_and_the_same),
        with_rig(a_kek_that_one_of_two_tokens_lacks_is_a_warning),
        with_rig(a_memory_that_is_new_warns_and_one_that_is_damaged_fails),
        with_rig(the_promoted_key_is_usable),
        with_rig(a_key_that_waits_too_long_is_a_warning),
        with_rig(a_clock_is_kept_right_and_not_behind),
        with_rig(a_key_older_than_allowed_warns_or_fails),
        with_rig(a_backup_is_recorded_or_its_lack_is_told),
        with_rig(the_plugin_answers_and_is_ours),
        with_rig(the_plugin_uses_what_the_file_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
