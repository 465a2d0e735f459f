/* SPDX-License-Identifier: Apache-2.0 */
/* What commands do to a key, on a real module and as another process sees it. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "softhsm_rig.h"

enum { MANY = 50, REFRESHES = 20, READ_END = 0, WRITE_END = 1 };

/* --- another process: this program with arguments, which lists what it is asked for --- */

static int answer_questions(char *const argv[])
{
    struct kms_error err;
    struct kms_keystore *keystore = NULL;
    struct pkcs11_keystore_options options = { .module = SOFTHSM_MODULE,
                                               .uri = SOFTHSM_URI,
                                               .pin_file = argv[1],
                                               .sessions = 1,
                                               .lock_dir = argv[2] };
    if (pkcs11_keystore_open(&options, &keystore, &err) != KMS_OK)
        return 1;
    char prefix[64];
    while (scanf("%63s", prefix) == 1) {
        struct kms_inventory inventory = { 0 };
        if (kms_keystore_inventory(keystore, prefix, rig_soon_ms(), &inventory, &err) != KMS_OK)
            return 1;
        const struct kms_kek_info *first = inventory.keks;
        (void)printf("%zu %s %s %s\n", inventory.count, first != NULL ? first->label : "-",
                     first != NULL && first->fingerprinted ? "fingerprinted" : "not",
                     first != NULL && (first->attributes & KMS_KEK_WRAP) != 0 ? "wraps" : "not");
        (void)fflush(stdout);
        kms_inventory_done(&inventory);
    }
    kms_keystore_close(keystore);
    return 0;
}

struct other {
    pid_t pid;
    FILE *question;
    FILE *answer;
};

static struct other start_other(void)
{
    int question[2];
    int answer[2];
    assert_int_equal(pipe2(question, O_CLOEXEC), 0);
    assert_int_equal(pipe2(answer, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, question[READ_END], 0), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, answer[WRITE_END], 1), 0);
    struct other other = { 0 };
    char program[] = "/proc/self/exe";
    char *const argv[] = { program, softhsm_pin_file, softhsm_dir, NULL };
    assert_int_equal(posix_spawn(&other.pid, program, &actions, NULL, argv, environ), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    assert_int_equal(close(question[READ_END]), 0);
    assert_int_equal(close(answer[WRITE_END]), 0);
    other.question = fdopen(question[WRITE_END], "w");
    other.answer = fdopen(answer[READ_END], "r");
    assert_non_null(other.question);
    assert_non_null(other.answer);
    return other;
}

static void assert_other_sees(struct other *other, const char *prefix, const char *expected)
{
    char line[128] = "";
    assert_true(fprintf(other->question, "%s\n", prefix) > 0);
    assert_int_equal(fflush(other->question), 0);
    assert_non_null(fgets(line, sizeof(line), other->answer));
    line[strcspn(line, "\n")] = '\0';
    assert_string_equal(line, expected);
}

static void end_other(struct other *other)
{
    int status = 0;
    assert_int_equal(fclose(other->question), 0);
    assert_int_equal(waitpid(other->pid, &status, 0), other->pid);
    assert_int_equal(fclose(other->answer), 0);
    assert_int_equal(status, 0);
}

/* --- the tests --- */

static struct kms_object object_of(const struct kms_kek_info *kek)
{
    struct kms_bytes id = { kek->cka_id, kek->cka_id_len };
    return (struct kms_object){ kek->label, id };
}

static enum kms_code set_usage(struct kms_keystore *keystore, const struct kms_kek_info *kek,
                               bool usable, struct kms_error *err)
{
    struct kms_object object = object_of(kek);
    return kms_keystore_set_usage(keystore, &object, usable, rig_soon_ms(), err);
}

static struct kms_kek_info only(struct kms_keystore *keystore, const char *prefix)
{
    struct kms_error err;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    assert_ok(kms_keystore_inventory(keystore, prefix, rig_soon_ms(), &inventory, &err), &err);
    assert_int_equal(inventory.count, 1);
    return inventory.keks[0];
}

static void a_copy_is_the_same_key_and_as_trustworthy(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    struct kms_kek_info copy;
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "copy.v1", &sample);
    struct kms_object from = object_of(&sample.kek);
    assert_ok(kms_keystore_copy(keystore, &from, "copy.v2", rig_soon_ms(), &copy, &err), &err);
    assert_string_equal(copy.label, "copy.v2");
    assert_memory_equal(copy.fingerprint, sample.kek.fingerprint, KMS_FINGERPRINT_LEN);
    assert_int_equal(copy.cka_id_len, sample.kek.cka_id_len);
    assert_memory_not_equal(copy.cka_id, sample.kek.cka_id, copy.cka_id_len);
    assert_int_equal(copy.known, sample.kek.known);
    assert_int_equal(copy.attributes, sample.kek.attributes);
    assert_true((copy.attributes & KMS_KEK_LOCAL) != 0);
    sample.ref.label = "copy.v2";
    assert_ok(softhsm_unwrap(keystore, &sample, &err), &err);
}

static void a_copy_outlives_what_it_was_copied_from(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    struct kms_kek_info copy;
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "heir.v1", &sample);
    struct kms_object from = object_of(&sample.kek);
    assert_ok(kms_keystore_copy(keystore, &from, "heir.v2", rig_soon_ms(), &copy, &err), &err);
    assert_ok(kms_keystore_destroy(keystore, from.label, from.cka_id, rig_soon_ms(), &err), &err);
    sample.ref.label = "heir.v2";
    assert_ok(softhsm_unwrap(keystore, &sample, &err), &err);
}

static void another_process_finds_a_key_under_its_new_label(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "label.old", &sample);
    struct other other = start_other();
    assert_other_sees(&other, "label.", "1 label.old fingerprinted wraps");
    struct kms_object object = object_of(&sample.kek);
    assert_ok(kms_keystore_relabel(keystore, &object, "label.new", rig_soon_ms(), &err), &err);
    assert_other_sees(&other, "label.", "1 label.new fingerprinted wraps");
    end_other(&other);
    assert_string_equal(only(keystore, "label.").label, "label.new");
    sample.ref.label = "label.new";
    assert_ok(softhsm_unwrap(keystore, &sample, &err), &err);
}

static void a_disabled_key_is_refused_until_it_is_enabled(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    struct kms_wrapped wrapped;
    const struct kms_bytes seed = { softhsm_seed, sizeof(softhsm_seed) };
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "off.v1", &sample);
    assert_ok(set_usage(keystore, &sample.kek, false, &err), &err);
    assert_int_equal(softhsm_unwrap(keystore, &sample, &err), KMS_E_PRECONDITION);
    assert_int_equal(kms_keystore_wrap(keystore, &sample.ref, seed, rig_soon_ms(), &wrapped, &err),
                     KMS_E_PRECONDITION);
    struct kms_kek_info off = only(keystore, "off.");
    assert_false(off.fingerprinted);
    assert_int_equal(off.attributes & (KMS_KEK_WRAP | KMS_KEK_UNWRAP), 0);
    assert_ok(set_usage(keystore, &sample.kek, true, &err), &err);
    struct kms_kek_info on = only(keystore, "off.");
    assert_memory_equal(on.fingerprint, sample.kek.fingerprint, KMS_FINGERPRINT_LEN);
    assert_ok(softhsm_unwrap(keystore, &sample, &err), &err);
    assert_ok(kms_keystore_wrap(keystore, &sample.ref, seed, rig_soon_ms(), &wrapped, &err), &err);
}

static void another_process_sees_a_key_disabled_and_enabled(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    struct softhsm_sample second;
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "seen.v1", &sample);
    softhsm_make_sample(keystore, "seen.v2", &second);
    struct other other = start_other();
    assert_other_sees(&other, "seen.", "2 seen.v1 fingerprinted wraps");
    assert_ok(set_usage(keystore, &sample.kek, false, &err), &err);
    assert_other_sees(&other, "seen.", "2 seen.v1 not not");
    assert_ok(set_usage(keystore, &sample.kek, true, &err), &err);
    assert_other_sees(&other, "seen.", "2 seen.v1 fingerprinted wraps");
    end_other(&other);
}

static void a_disabled_key_can_be_destroyed(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    size_t count = 0;
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "end.v1", &sample);
    struct kms_object object = object_of(&sample.kek);
    assert_ok(set_usage(keystore, &sample.kek, false, &err), &err);
    assert_ok(kms_keystore_destroy(keystore, object.label, object.cka_id, rig_soon_ms(), &err),
              &err);
    assert_ok(softhsm_list(keystore, "end.", &count, &err), &err);
    assert_int_equal(count, 0);
    assert_int_equal(set_usage(keystore, &sample.kek, true, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "0 keys have label 'end.v1'");
}

static void a_generated_key_is_inspected(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    struct kms_kek_details details;
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "look.v1", &sample);
    struct kms_object object = object_of(&sample.kek);
    assert_ok(kms_keystore_inspect(keystore, &object, rig_soon_ms(), &details, &err), &err);
    assert_memory_equal(&details.info, &sample.kek, sizeof(sample.kek));
    assert_true(details.has_mechanism);
    assert_int_equal(details.key_gen_mechanism, CKM_AES_KEY_GEN);
    assert_true(details.has_check_value);
    assert_true(details.modifiable);
    assert_true(details.copyable);
    assert_true(details.destroyable);
}

static void fifty_keys_are_listed_again_and_again(void **state)
{
    (void)state;
    struct kms_error err;
    size_t count = 0;
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    assert_ok(softhsm_list(keystore, "fifty.", &count, &err), &err);
    for (int i = 1; i <= MANY; i++) {
        char label[32];
        struct kms_kek_info kek;
        (void)snprintf(label, sizeof(label), "fifty.v%d", i);
        assert_ok(kms_keystore_generate(keystore, label, rig_soon_ms(), &kek, &err), &err);
    }
    int64_t start_ms = kms_monotonic_ms();
    assert_ok(softhsm_list(keystore, "fifty.", &count, &err), &err);
    int64_t first_ms = kms_monotonic_ms();
    for (int i = 0; i < REFRESHES; i++)
        assert_ok(softhsm_list(keystore, "fifty.", &count, &err), &err);
    int64_t end_ms = kms_monotonic_ms();
    assert_int_equal(count, MANY);
    print_message("50 keys: first inventory %ld ms, %d refreshes %ld ms\n",
                  (long)(first_ms - start_ms), REFRESHES, (long)(end_ms - first_ms));
}

int main(int argc, char *argv[])
{
    if (argc == 3)
        return answer_questions(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_is_the_same_key_and_as_trustworthy),
        cmocka_unit_test(a_copy_outlives_what_it_was_copied_from),
        cmocka_unit_test(another_process_finds_a_key_under_its_new_label),
        cmocka_unit_test(a_disabled_key_is_refused_until_it_is_enabled),
        cmocka_unit_test(another_process_sees_a_key_disabled_and_enabled),
        cmocka_unit_test(a_disabled_key_can_be_destroyed),
        cmocka_unit_test(a_generated_key_is_inspected),
        cmocka_unit_test(fifty_keys_are_listed_again_and_again),
    };
    return cmocka_run_group_tests(tests, softhsm_setup, softhsm_teardown);
}
