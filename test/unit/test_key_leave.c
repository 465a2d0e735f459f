/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>

#include "escrow_file.h"
#include "key_leave.h"
#include "life_rig.h"
#include "transport_names.h"

static const struct kms_spki recipient = { .data = { 1, 2, 3 }, .len = 3 };
static const struct kms_spki another = { .data = { 4 }, .len = 1 };

struct trip {
    char path[64];
    struct kms_key_departure departure;
};

static struct trip *trip_of(const struct life_rig *rig)
{
    static struct trip trip;
    (void)snprintf(trip.path, sizeof(trip.path), "%s/kek.escrow", rig->state_dir);
    trip.departure = (struct kms_key_departure){ .path = trip.path, .recipient = &recipient };
    return &trip;
}

static enum kms_code escrow(struct life_rig *rig)
{
    return kms_key_escrow(life_look(rig), &trip_of(rig)->departure, false, &rig->outcome,
                          &rig->err);
}

static struct kms_escrow file_of(struct life_rig *rig)
{
    struct kms_escrow held;
    bool found = false;
    assert_ok(kms_escrow_read(trip_of(rig)->path, &found, &held, &rig->err), &rig->err);
    assert_true(found);
    return held;
}

/* How many prepared keys there are, and how many of them can leave. */
static size_t pending(struct life_rig *rig, size_t *ret_extractable)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    assert_ok(
        kms_keystore_inventory(rig->scene.keystore, "prod.pending.", 0, &inventory, &rig->err),
        &rig->err);
    *ret_extractable = 0;
    for (size_t i = 0; i < inventory.count; i++)
        *ret_extractable += (inventory.keks[i].attributes & KMS_KEK_EXTRACTABLE) != 0;
    return inventory.count;
}

static void assert_one_sealed(struct life_rig *rig)
{
    size_t extractable = 0;
    assert_int_equal(pending(rig, &extractable), 1);
    assert_int_equal(extractable, 0);
    struct kms_escrow held = file_of(rig);
    assert_true(held.complete);
    assert_memory_equal(held.fingerprint, rig->outcome.kek.fingerprint, KMS_FINGERPRINT_LEN);
    assert_string_equal(rig->outcome.kek.label + strlen("prod.pending."), held.id);
    assert_int_equal(rig->outcome.kek.attributes & KMS_KEK_EXTRACTABLE, 0);
}

static void assert_refused(struct life_rig *rig, const char *part)
{
    assert_true(rig->outcome.refused);
    assert_contains(rig->outcome.text, part);
}

static void an_exported_key_is_in_the_file_and_sealed(void **state)
{
    struct life_rig *rig = *state;
    uint8_t digest[KMS_SHA256_LEN];
    assert_ok(escrow(rig), &rig->err);
    assert_string_equal(rig->outcome.name, "exported");
    assert_one_sealed(rig);
    kms_sha256((struct kms_bytes){ recipient.data, recipient.len }, digest);
    assert_memory_equal(file_of(rig).recipient, digest, sizeof(digest));
}

static void assert_facts(const struct life_rig *rig, const char *hash)
{
    char digest[2 * KMS_SHA256_LEN + 1];
    kms_spki_digest(&recipient, digest);
    assert_string_equal(rig->outcome.facts[0].name, "recipient");
    assert_string_equal(rig->outcome.facts[0].value, digest);
    assert_string_equal(rig->outcome.facts[1].name, "oaep_hash");
    assert_string_equal(rig->outcome.facts[1].value, hash);
}

static void an_export_says_whose_key_it_is_and_by_which_hash(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(
        kms_key_escrow(life_look(rig), &trip_of(rig)->departure, true, &rig->outcome, &rig->err),
        &rig->err);
    assert_facts(rig, "");
    assert_ok(escrow(rig), &rig->err);
    assert_facts(rig, kms_oaep_hash_name(file_of(rig).blob.hash));
    assert_ok(escrow(rig), &rig->err);
    assert_facts(rig, kms_oaep_hash_name(file_of(rig).blob.hash));
}

static void a_rerun_reports_it(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(escrow(rig), &rig->err);
    assert_ok(escrow(rig), &rig->err);
    assert_string_equal(rig->outcome.name, "there");
    assert_false(rig->outcome.changed);
    assert_one_sealed(rig);
}

/* The file is begun, and no key was made. */
static void an_export_that_failed_to_generate_is_finished(void **state)
{
    struct life_rig *rig = *state;
    fake_keystore_fail(rig->fake, FAKE_GENERATE_FOR_ESCROW, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(escrow(rig), KMS_E_UNAVAILABLE);
    assert_false(file_of(rig).complete);
    assert_ok(escrow(rig), &rig->err);
    assert_one_sealed(rig);
}

/* An extractable key without a blob is destroyed: somebody may have taken it out meanwhile. */
static void a_key_whose_blob_is_missing_is_made_anew(void **state)
{
    struct life_rig *rig = *state;
    uint8_t first[KMS_FINGERPRINT_LEN];
    fake_keystore_fail(rig->fake, FAKE_EXPORT, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(escrow(rig), KMS_E_UNAVAILABLE);
    fake_keystore_fingerprint(1, first);
    assert_ok(escrow(rig), &rig->err);
    assert_one_sealed(rig);
    assert_memory_not_equal(rig->outcome.kek.fingerprint, first, sizeof(first));
}

static void a_key_whose_blob_is_written_is_only_sealed(void **state)
{
    struct life_rig *rig = *state;
    fake_keystore_fail(rig->fake, FAKE_SEAL, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(escrow(rig), KMS_E_UNAVAILABLE);
    struct kms_escrow before = file_of(rig);
    assert_true(before.complete);
    assert_ok(escrow(rig), &rig->err);
    assert_true(rig->outcome.changed);
    assert_one_sealed(rig);
    assert_memory_equal(file_of(rig).blob.data, before.blob.data, before.blob.len);
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_EXPORT), 1);
}

static void a_committed_key_is_found_by_its_fingerprint(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(escrow(rig), &rig->err);
    const struct kms_kek_info kek = rig->outcome.kek;
    const struct kms_object object = { kek.label, { kek.cka_id, kek.cka_id_len } };
    assert_ok(kms_keystore_relabel(rig->scene.keystore, &object, life_label(1, 0), 0, &rig->err),
              &rig->err);
    assert_ok(escrow(rig), &rig->err);
    assert_string_equal(rig->outcome.name, "committed");
    assert_contains(rig->outcome.next, life_label(1, 0));
}

static void a_file_whose_key_is_gone_is_kept(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(escrow(rig), &rig->err);
    fake_keystore_remove(rig->fake, rig->outcome.kek.label);
    assert_ok(escrow(rig), &rig->err);
    assert_refused(rig, "isn't on this token any more");
    assert_true(file_of(rig).complete);
}

static void a_file_for_another_recipient_is_kept(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(escrow(rig), &rig->err);
    struct kms_key_departure departure = trip_of(rig)->departure;
    departure.recipient = &another;
    assert_ok(kms_key_escrow(life_look(rig), &departure, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_refused(rig, "another recipient");
}

static void what_another_export_left_extractable_blocks_until_it_is_discarded(void **state)
{
    struct life_rig *rig = *state;
    size_t extractable = 0;
    fake_keystore_add(rig->fake, "prod.pending.0123456789abcdef", 9);
    fake_keystore_set(rig->fake, "prod.pending.0123456789abcdef", KMS_KEK_EXTRACTABLE, 0);
    fake_keystore_add(rig->fake, "prod.pending.fedcba9876543210", 8);
    assert_ok(escrow(rig), &rig->err);
    assert_refused(rig, "0123456789abcdef");
    struct kms_key_departure departure = trip_of(rig)->departure;
    departure.discard = true;
    assert_ok(kms_key_escrow(life_look(rig), &departure, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_false(rig->outcome.refused);
    assert_int_equal(pending(rig, &extractable), 2);
    assert_int_equal(extractable, 0);
    assert_true(life_has(rig, "prod.pending.fedcba9876543210"));
}

static void a_dry_run_changes_nothing(void **state)
{
    struct life_rig *rig = *state;
    size_t extractable = 0;
    struct kms_escrow held;
    bool found = true;
    assert_ok(
        kms_key_escrow(life_look(rig), &trip_of(rig)->departure, true, &rig->outcome, &rig->err),
        &rig->err);
    assert_string_equal(rig->outcome.name, "planned");
    assert_int_equal(pending(rig, &extractable), 0);
    assert_ok(kms_escrow_read(trip_of(rig)->path, &found, &held, &rig->err), &rig->err);
    assert_false(found);
}

#define LIFE_TEST(name) cmocka_unit_test_setup_teardown(name, life_set_up, life_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIFE_TEST(an_exported_key_is_in_the_file_and_sealed),
        LIFE_TEST(an_export_says_whose_key_it_is_and_by_which_hash),
        LIFE_TEST(a_rerun_reports_it),
        LIFE_TEST(an_export_that_failed_to_generate_is_finished),
        LIFE_TEST(a_key_whose_blob_is_missing_is_made_anew),
        LIFE_TEST(a_key_whose_blob_is_written_is_only_sealed),
        LIFE_TEST(a_committed_key_is_found_by_its_fingerprint),
        LIFE_TEST(a_file_whose_key_is_gone_is_kept),
        LIFE_TEST(a_file_for_another_recipient_is_kept),
        LIFE_TEST(what_another_export_left_extractable_blocks_until_it_is_discarded),
        LIFE_TEST(a_dry_run_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
