/* SPDX-License-Identifier: Apache-2.0 */
#include "edit.h"
#include "pkcs11_rig.h"

static const uint8_t id_bytes[] = { 0xC0, 0xFF, 0xEE };
static const struct kms_object source = { "prod.v1", { id_bytes, sizeof(id_bytes) } };

/* The key that @source names; returns its place. */
static size_t add_source(struct rig_session *rig)
{
    size_t place = fake_module_add_kek(rig->module, source.label, rig_key);
    fake_module_set_bytes(rig->module, place, CKA_ID, id_bytes, sizeof(id_bytes));
    return place;
}

static const struct kms_kek_filter prod = { .label_prefix = "prod." };

static struct pkcs11_kek_list list(struct rig_session *rig)
{
    const struct pkcs11_kek_list none = { 0 };
    struct pkcs11_kek_list found = { 0 };
    assert_ok(pkcs11_kek_list_read(&rig->place, &prod, &none, &found, &rig->err), &rig->err);
    return found;
}

static size_t count(struct rig_session *rig)
{
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig);
    return keks.count;
}

static struct pkcs11_new_kek named(const char *label)
{
    struct kms_error err;
    struct pkcs11_new_kek new_kek;
    assert_ok(pkcs11_new_kek_init(&new_kek, label, &err), &err);
    return new_kek;
}

/* --- made --- */

static void a_label_of_no_or_too_many_bytes_is_refused(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_new_kek new_kek;
    char label[KMS_LABEL_MAX + 2] = "";
    assert_int_equal(pkcs11_new_kek_init(&new_kek, label, &rig->err), KMS_E_INVALID);
    memset(label, 'x', KMS_LABEL_MAX + 1);
    assert_int_equal(pkcs11_new_kek_init(&new_kek, label, &rig->err), KMS_E_INVALID);
}

static void a_generated_key_has_the_template_of_a_kek(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_kek kek;
    struct pkcs11_new_kek new_kek = named("prod.v1@x");
    assert_ok(pkcs11_kek_generate(&rig->place, &new_kek, &kek, &rig->err), &rig->err);
    assert_string_equal(kek.info.label, "prod.v1@x");
    assert_int_equal(kek.info.cka_id_len, 16);
    assert_int_equal(kek.info.value_len, 32);
    assert_true(kek.info.fingerprinted);
    assert_int_equal(kek.info.attributes, KMS_KEK_SENSITIVE | KMS_KEK_ALWAYS_SENSITIVE |
                                              KMS_KEK_NEVER_EXTRACTABLE | KMS_KEK_LOCAL |
                                              KMS_KEK_PRIVATE | KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    assert_int_equal(kek.info.known, 0x3FF);
}

static void a_key_for_a_cipher_may_encrypt_too(void **state)
{
    struct rig_session *rig = *state;
    rig_use_cipher(rig);
    struct pkcs11_kek kek;
    struct pkcs11_new_kek new_kek = named("prod.v1");
    assert_ok(pkcs11_kek_generate(&rig->place, &new_kek, &kek, &rig->err), &rig->err);
    assert_true(kek.info.fingerprinted);
    const uint32_t usage = KMS_KEK_WRAP | KMS_KEK_UNWRAP | KMS_KEK_ENCRYPT | KMS_KEK_DECRYPT;
    assert_int_equal(kek.info.attributes & usage, usage);
}

static void trying_again_makes_no_second_key(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_kek kek;
    struct pkcs11_new_kek new_kek = named("prod.v2");
    fake_module_behaviour(rig->module)->late_rv = CKR_SESSION_HANDLE_INVALID;
    assert_int_equal(pkcs11_kek_generate(&rig->place, &new_kek, &kek, &rig->err),
                     KMS_E_UNAVAILABLE);
    assert_ok(pkcs11_kek_generate(&rig->place, &new_kek, &kek, &rig->err), &rig->err);
    assert_memory_equal(kek.info.cka_id, new_kek.cka_id, sizeof(new_kek.cka_id));
    assert_int_equal(count(rig), 1);
}

/* --- copied --- */

static void a_copy_is_the_same_key_with_another_name(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    struct pkcs11_kek copy;
    struct pkcs11_new_kek new_kek = named("prod.v2");
    assert_ok(pkcs11_kek_copy(&rig->place, &source, &new_kek, &copy, &rig->err), &rig->err);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig);
    assert_int_equal(keks.count, 2);
    const struct kms_kek_info *from = &keks.keks[0].info;
    assert_string_equal(copy.info.label, "prod.v2");
    assert_memory_equal(copy.info.fingerprint, from->fingerprint, KMS_FINGERPRINT_LEN);
    assert_int_equal(copy.info.attributes, from->attributes);
    assert_int_equal(copy.info.cka_id_len, 16);
    assert_memory_equal(copy.info.cka_id, new_kek.cka_id, 16);
    assert_int_equal(fake_module_calls(rig->module, "C_CopyObject"), 1);
}

static void copying_again_after_a_late_failure_makes_no_second_copy(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    struct pkcs11_kek copy;
    struct pkcs11_new_kek new_kek = named("prod.v2");
    fake_module_behaviour(rig->module)->late_rv = CKR_SESSION_HANDLE_INVALID;
    assert_int_equal(pkcs11_kek_copy(&rig->place, &source, &new_kek, &copy, &rig->err),
                     KMS_E_UNAVAILABLE);
    assert_ok(pkcs11_kek_copy(&rig->place, &source, &new_kek, &copy, &rig->err), &rig->err);
    assert_string_equal(copy.info.label, "prod.v2");
    assert_int_equal(count(rig), 2);
}

static enum kms_code copy_source(struct rig_session *rig)
{
    struct pkcs11_kek copy;
    struct pkcs11_new_kek new_kek = named("prod.v2");
    return pkcs11_kek_copy(&rig->place, &source, &new_kek, &copy, &rig->err);
}

static void a_key_that_may_leave_the_token_is_not_copied(void **state)
{
    struct rig_session *rig = *state;
    size_t place = add_source(rig);
    fake_module_set_bool(rig->module, place, CKA_EXTRACTABLE, true);
    assert_int_equal(copy_source(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "is not copied");
    fake_module_set_bool(rig->module, place, CKA_EXTRACTABLE, false);
    fake_module_set_bool(rig->module, place, CKA_SENSITIVE, false);
    assert_int_equal(copy_source(rig), KMS_E_PRECONDITION);
    assert_int_equal(fake_module_calls(rig->module, "C_CopyObject"), 0);
}

static void a_copy_that_came_out_extractable_is_destroyed_again(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    fake_module_behaviour(rig->module)->copies_extractable = true;
    assert_int_equal(copy_source(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "it was destroyed again");
    assert_int_equal(count(rig), 1);
}

static void an_extractable_copy_that_stays_is_named(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    fake_module_behaviour(rig->module)->copies_extractable = true;
    /* The first one destroys the constant that the fingerprint wraps. */
    fake_module_fail_after(rig->module, "C_DestroyObject", 1, CKR_ACTION_PROHIBITED);
    assert_int_equal(copy_source(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "the copy 'prod.v2' can leave the token, and must be destroyed");
}

static void a_key_that_may_not_be_copied_says_so(void **state)
{
    struct rig_session *rig = *state;
    size_t place = add_source(rig);
    fake_module_set_bool(rig->module, place, CKA_COPYABLE, false);
    assert_int_equal(copy_source(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "CKR_ACTION_PROHIBITED");
    assert_contains(rig->err.msg, "CKA_COPYABLE");
    assert_int_equal(count(rig), 1);
}

/* --- changed --- */

static enum kms_code relabel_source(struct rig_session *rig, const char *label)
{
    bool tried = false;
    return pkcs11_kek_relabel(&rig->place, &source, label, &tried, &rig->err);
}

static void a_relabelled_key_keeps_all_but_its_label(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list before = list(rig);
    assert_ok(relabel_source(rig, "prod.v7@x"), &rig->err);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list after = list(rig);
    assert_int_equal(after.count, 1);
    assert_string_equal(after.keks[0].info.label, "prod.v7@x");
    assert_int_equal(after.keks[0].info.cka_id_len, sizeof(id_bytes));
    assert_memory_equal(after.keks[0].info.cka_id, id_bytes, sizeof(id_bytes));
    assert_int_equal(after.keks[0].info.attributes, before.keks[0].info.attributes);
}

static void relabelling_again_after_a_late_failure_finds_it_done(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    bool tried = false;
    fake_module_behaviour(rig->module)->late_rv = CKR_SESSION_HANDLE_INVALID;
    assert_int_equal(pkcs11_kek_relabel(&rig->place, &source, "prod.v7", &tried, &rig->err),
                     KMS_E_UNAVAILABLE);
    assert_ok(pkcs11_kek_relabel(&rig->place, &source, "prod.v7", &tried, &rig->err), &rig->err);
}

static void an_impossible_label_is_refused(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    assert_int_equal(relabel_source(rig, ""), KMS_E_INVALID);
    assert_int_equal(fake_module_calls(rig->module, "C_SetAttributeValue"), 0);
}

static void usage_is_cleared_and_set_in_one_call_each(void **state)
{
    struct rig_session *rig = *state;
    size_t place = add_source(rig);
    fake_module_set_bool(rig->module, place, CKA_ENCRYPT, true);
    fake_module_set_bool(rig->module, place, CKA_DECRYPT, true);
    const uint32_t usage = KMS_KEK_WRAP | KMS_KEK_UNWRAP | KMS_KEK_ENCRYPT | KMS_KEK_DECRYPT;
    assert_ok(pkcs11_kek_set_usage(&rig->place, &source, false, &rig->err), &rig->err);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list off = list(rig);
    assert_int_equal(off.keks[0].info.attributes & usage, 0);
    assert_ok(pkcs11_kek_set_usage(&rig->place, &source, true, &rig->err), &rig->err);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list on = list(rig);
    assert_int_equal(on.keks[0].info.attributes & usage, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    assert_int_equal(fake_module_calls(rig->module, "C_SetAttributeValue"), 2);
}

static void a_cipher_key_gets_all_its_rights_back(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    rig_use_cipher(rig);
    const uint32_t usage = KMS_KEK_WRAP | KMS_KEK_UNWRAP | KMS_KEK_ENCRYPT | KMS_KEK_DECRYPT;
    assert_ok(pkcs11_kek_set_usage(&rig->place, &source, false, &rig->err), &rig->err);
    assert_ok(pkcs11_kek_set_usage(&rig->place, &source, true, &rig->err), &rig->err);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list on = list(rig);
    assert_int_equal(on.keks[0].info.attributes & usage, usage);
    assert_true(on.keks[0].info.fingerprinted);
}

static void a_usage_that_did_not_change_is_no_success(void **state)
{
    struct rig_session *rig = *state;
    size_t place = add_source(rig);
    fake_module_behaviour(rig->module)->sets_nothing = true;
    assert_int_equal(pkcs11_kek_set_usage(&rig->place, &source, false, &rig->err),
                     KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "is not disabled");
    fake_module_set_bool(rig->module, place, CKA_UNWRAP, false);
    assert_int_equal(pkcs11_kek_set_usage(&rig->place, &source, true, &rig->err),
                     KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "is still disabled");
}

static void a_key_that_may_not_be_changed_says_so(void **state)
{
    struct rig_session *rig = *state;
    size_t place = add_source(rig);
    fake_module_set_bool(rig->module, place, CKA_MODIFIABLE, false);
    assert_int_equal(relabel_source(rig, "prod.v7"), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "CKA_MODIFIABLE");
    assert_int_equal(pkcs11_kek_set_usage(&rig->place, &source, false, &rig->err),
                     KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "CKR_ACTION_PROHIBITED");
}

/* --- destroyed --- */

static enum kms_code destroy_source(struct rig_session *rig)
{
    bool tried = false;
    return pkcs11_kek_destroy(&rig->place, &source, &tried, &rig->err);
}

static void exactly_one_key_is_destroyed(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    (void)fake_module_add_kek(rig->module, source.label, rig_key);
    assert_ok(destroy_source(rig), &rig->err);
    assert_int_equal(count(rig), 1);
    assert_int_equal(destroy_source(rig), KMS_E_PRECONDITION);
}

static void destroying_again_after_a_late_failure_finds_it_done(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    bool tried = false;
    fake_module_behaviour(rig->module)->late_rv = CKR_SESSION_HANDLE_INVALID;
    assert_int_equal(pkcs11_kek_destroy(&rig->place, &source, &tried, &rig->err),
                     KMS_E_UNAVAILABLE);
    assert_ok(pkcs11_kek_destroy(&rig->place, &source, &tried, &rig->err), &rig->err);
}

/* --- none and several --- */

static void assert_all_refuse(struct rig_session *rig, const char *text)
{
    struct kms_kek_details details;
    assert_int_equal(copy_source(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, text);
    assert_int_equal(relabel_source(rig, "prod.v7"), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, text);
    assert_int_equal(pkcs11_kek_set_usage(&rig->place, &source, false, &rig->err),
                     KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, text);
    assert_int_equal(pkcs11_kek_inspect(&rig->place, &source, &details, &rig->err),
                     KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, text);
    assert_int_equal(destroy_source(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, text);
}

static void a_key_that_is_not_there_changes_nothing_else(void **state)
{
    struct rig_session *rig = *state;
    (void)fake_module_add_kek(rig->module, source.label, rig_key);
    assert_all_refuse(rig, "0 keys have label 'prod.v1' and this CKA_ID: nothing was changed");
    assert_int_equal(count(rig), 1);
}

static void two_keys_alike_are_left_alone(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    (void)add_source(rig);
    assert_all_refuse(rig, "2 keys have label 'prod.v1' and this CKA_ID: nothing was changed");
    assert_int_equal(count(rig), 2);
}

/* --- looked at --- */

static struct kms_kek_details inspect(struct rig_session *rig)
{
    struct kms_kek_details details;
    assert_ok(pkcs11_kek_inspect(&rig->place, &source, &details, &rig->err), &rig->err);
    return details;
}

static void all_that_the_token_tells_is_read(void **state)
{
    struct rig_session *rig = *state;
    size_t place = add_source(rig);
    const CK_MECHANISM_TYPE mechanism = CKM_AES_KEY_GEN;
    fake_module_set_bytes(rig->module, place, CKA_KEY_GEN_MECHANISM, &mechanism, sizeof(mechanism));
    fake_module_set_bytes(rig->module, place, CKA_CHECK_VALUE, "\x01\x02\x03", 3);
    fake_module_set_bool(rig->module, place, CKA_MODIFIABLE, false);
    fake_module_set_bool(rig->module, place, CKA_COPYABLE, false);
    fake_module_set_bool(rig->module, place, CKA_DESTROYABLE, false);
    struct kms_kek_details details = inspect(rig);
    assert_string_equal(details.info.label, source.label);
    assert_true(details.info.fingerprinted);
    assert_true(details.has_mechanism);
    assert_int_equal(details.key_gen_mechanism, CKM_AES_KEY_GEN);
    assert_true(details.has_check_value);
    assert_memory_equal(details.check_value, "\x01\x02\x03", 3);
    assert_false(details.modifiable);
    assert_false(details.copyable);
    assert_false(details.destroyable);
}

static void what_the_token_keeps_to_itself_is_not_invented(void **state)
{
    struct rig_session *rig = *state;
    size_t place = add_source(rig);
    fake_module_set_bytes(rig->module, place, CKA_CHECK_VALUE, "longer", 6);
    struct kms_kek_details details = inspect(rig);
    assert_false(details.has_mechanism);
    assert_false(details.has_check_value);
    assert_true(details.modifiable);
    assert_true(details.copyable);
    assert_true(details.destroyable);
}

static void not_generated_on_a_token_is_an_answer(void **state)
{
    struct rig_session *rig = *state;
    size_t place = add_source(rig);
    const CK_MECHANISM_TYPE none = CK_UNAVAILABLE_INFORMATION;
    fake_module_set_bytes(rig->module, place, CKA_KEY_GEN_MECHANISM, &none, sizeof(none));
    struct kms_kek_details details = inspect(rig);
    assert_true(details.has_mechanism);
    assert_true(details.key_gen_mechanism == ~0UL);
}

static void a_disabled_key_is_inspected_too(void **state)
{
    struct rig_session *rig = *state;
    (void)add_source(rig);
    assert_ok(pkcs11_kek_set_usage(&rig->place, &source, false, &rig->err), &rig->err);
    struct kms_kek_details details = inspect(rig);
    assert_false(details.info.fingerprinted);
    assert_contains(details.info.problem, "disabled");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_session_setup, rig_session_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_label_of_no_or_too_many_bytes_is_refused),
        TEST(a_generated_key_has_the_template_of_a_kek),
        TEST(a_key_for_a_cipher_may_encrypt_too),
        TEST(trying_again_makes_no_second_key),
        TEST(a_copy_is_the_same_key_with_another_name),
        TEST(copying_again_after_a_late_failure_makes_no_second_copy),
        TEST(a_key_that_may_leave_the_token_is_not_copied),
        TEST(a_copy_that_came_out_extractable_is_destroyed_again),
        TEST(an_extractable_copy_that_stays_is_named),
        TEST(a_key_that_may_not_be_copied_says_so),
        TEST(a_relabelled_key_keeps_all_but_its_label),
        TEST(relabelling_again_after_a_late_failure_finds_it_done),
        TEST(an_impossible_label_is_refused),
        TEST(usage_is_cleared_and_set_in_one_call_each),
        TEST(a_cipher_key_gets_all_its_rights_back),
        TEST(a_usage_that_did_not_change_is_no_success),
        TEST(a_key_that_may_not_be_changed_says_so),
        TEST(exactly_one_key_is_destroyed),
        TEST(destroying_again_after_a_late_failure_finds_it_done),
        TEST(a_key_that_is_not_there_changes_nothing_else),
        TEST(two_keys_alike_are_left_alone),
        TEST(all_that_the_token_tells_is_read),
        TEST(what_the_token_keeps_to_itself_is_not_invented),
        TEST(not_generated_on_a_token_is_an_answer),
        TEST(a_disabled_key_is_inspected_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
