/* SPDX-License-Identifier: Apache-2.0 */
/* Every Cryptoki function that serving calls × every CKR × every moment: what is answered, that
 * nothing is lost, and that the token is well again when the fault has ended. */
#include <stdio.h>
#include <stdlib.h>

#include "kms/log.h"
#include "pkcs11_rig.h"
#include "recovery_rows.h"
#include "status.h"

enum {
    SESSIONS_ALLOWED = 2, /* of the rig's keystore */
    SKIPS = 4,            /* a fault strikes the 1st to 4th call of a function */
    HEALING_MAX = 4,      /* listings until the token is well again */
};

/* A module, by the way it wraps (pkcs11/wrap.h), and what is called of it. */
struct way {
    const char *name;
    bool cipher;
    const char *unwrap; /* called by each Decrypt */
    const char *functions[20];
};
static const struct way by_objects = {
    "by objects",
    false,
    "C_UnwrapKey",
    { "C_Initialize", "C_Finalize", "C_GetInfo", "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession",
      "C_CloseSession", "C_GetSessionInfo", "C_Login", "C_FindObjectsInit", "C_FindObjects",
      "C_FindObjectsFinal", "C_GetAttributeValue", "C_CreateObject", "C_DestroyObject", "C_WrapKey",
      "C_UnwrapKey" },
};
static const struct way by_cipher = {
    "by cipher",
    true,
    "C_Decrypt",
    { "C_Initialize", "C_Finalize", "C_GetInfo", "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession",
      "C_CloseSession", "C_GetSessionInfo", "C_Login", "C_FindObjectsInit", "C_FindObjects",
      "C_FindObjectsFinal", "C_GetAttributeValue", "C_CreateObject", "C_DestroyObject",
      "C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt" },
};

/* What is under way when the fault strikes. */
enum moment {
    LISTING,
    CANARY,
    WRAPPING,
    UNWRAPPING,
    UNWRAPPING_TAMPERED,
    RECONNECTING,       /* and listing */
    REPLACING_SESSIONS, /* all died; and unwrapping */
    LOGGING_IN_AGAIN,   /* the login was lost; and wrapping */
    MOMENTS,
};
static const char *const moment_names[MOMENTS] = {
    "listing",
    "canary",
    "wrapping",
    "unwrapping",
    "unwrapping a tampered ciphertext",
    "reconnecting",
    "replacing sessions",
    "logging in again",
};

struct fault {
    const char *function;
    CK_RV rv;
    bool lasts;
    unsigned skip;
    enum moment moment;
};

struct table {
    struct rig *rig;
    const struct way *way;
    struct fault fault;
    bool striking;
    unsigned struck, answered, failed;
};

/* --- what may be seen of a fault --- */

#define REQUIRE(table, condition)                                                                  \
    do {                                                                                           \
        if (!(condition))                                                                          \
            complain((table), #condition, __LINE__);                                               \
    } while (0)

static void complain(const struct table *table, const char *condition, int line)
{
    const struct fault *fault = &table->fault;
    fail_msg(
        "line %d: %s\n  wrapping %s, %s answers 0x%lx %s, after %u good calls, while %s: %s (%s)",
        line, condition, table->way->name, fault->function, fault->rv,
        fault->lasts ? "always" : "once", fault->skip, moment_names[fault->moment],
        kms_code_name(table->rig->err.code), table->rig->err.msg);
}

/* A module may say that an attribute isn't there or is too long, and if it says so of labels in one
 * connection after the other, there are none.  Policy still knows its pins. */
static bool may_hide_labels(const struct fault *fault)
{
    return fault->lasts && strcmp(fault->function, "C_GetAttributeValue") == 0 &&
           (fault->rv == CKR_ATTRIBUTE_TYPE_INVALID || fault->rv == CKR_ATTRIBUTE_SENSITIVE ||
            fault->rv == CKR_BUFFER_TOO_SMALL);
}

static enum kms_code list_both(struct table *table)
{
    struct rig *rig = table->rig;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = kms_keystore_inventory(rig->keystore, "prod.", rig_soon_ms(), &inventory,
                                              &rig->err);
    REQUIRE(table, rc != KMS_OK || inventory.count == 2 ||
                       (table->striking && may_hide_labels(&table->fault)));
    for (size_t i = 0; i < inventory.count; i++)
        REQUIRE(table, inventory.keks[i].fingerprinted || inventory.keks[i].problem[0] != '\0');
    bool right = inventory.count != 2 || !inventory.keks[0].fingerprinted ||
                 memcmp(inventory.keks[0].fingerprint, rig->fingerprint, KMS_FINGERPRINT_LEN) == 0;
    REQUIRE(table, right);
    return rc;
}

static enum kms_code wrap_right(struct table *table)
{
    struct kms_wrapped sample = rig_sample();
    struct kms_wrapped wrapped = { 0 };
    enum kms_code rc = rig_wrap_seed(table->rig, &wrapped);
    REQUIRE(table, rc == KMS_OK ? wrapped.len == sample.len : wrapped.len == 0);
    REQUIRE(table, rc != KMS_OK || memcmp(wrapped.data, sample.data, sample.len) == 0);
    return rc;
}

static enum kms_code unwrap_right(struct table *table)
{
    struct rig *rig = table->rig;
    struct kms_wrapped sample = rig_sample();
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    enum kms_code rc = kms_keystore_unwrap(rig->keystore, &rig->kek, KMS_ALGORITHM_AES_KW,
                                           (struct kms_bytes){ sample.data, sample.len },
                                           rig_soon_ms(), &seed, &rig->err);
    uint8_t again[KMS_WRAPPED_MAX] = { 0 };
    if (rc == KMS_OK)
        (void)rig_wrap(rig_key, kms_secret_bytes(&seed), again);
    REQUIRE(table, rc == KMS_OK ? seed.len + KMS_WRAP_OVERHEAD == sample.len : seed.data == NULL);
    REQUIRE(table, rc != KMS_OK || memcmp(again, sample.data, sample.len) == 0);
    return rc;
}

static enum kms_code unwrap_tampered(struct table *table)
{
    struct kms_wrapped wrapped = rig_sample();
    wrapped.data[3] ^= 1;
    enum kms_code rc = rig_unwrap(table->rig, &wrapped);
    REQUIRE(table, rc != KMS_OK);
    return rc;
}

static enum kms_code try_canary(struct table *table)
{
    struct rig *rig = table->rig;
    return kms_keystore_canary(rig->keystore, &rig->kek, rig_soon_ms(), &rig->err);
}

static enum kms_code act(struct table *table)
{
    switch (table->fault.moment) {
    case LISTING:
    case RECONNECTING:
        return list_both(table);
    case CANARY:
        return try_canary(table);
    case WRAPPING:
    case LOGGING_IN_AGAIN:
        return wrap_right(table);
    case UNWRAPPING:
    case REPLACING_SESSIONS:
        return unwrap_right(table);
    case UNWRAPPING_TAMPERED:
        return unwrap_tampered(table);
    case MOMENTS:
        break;
    }
    fail_msg("no such moment");
    return KMS_E_INTERNAL;
}

static void lead_up_to(struct table *table)
{
    struct rig *rig = table->rig;
    struct kms_wrapped sample = rig_sample();
    switch (table->fault.moment) {
    case RECONNECTING:
        fake_module_fail_next(rig->module, table->way->unwrap, CKR_DEVICE_REMOVED);
        assert_int_equal(rig_unwrap(rig, &sample), KMS_E_UNAVAILABLE);
        break;
    case REPLACING_SESSIONS:
        fake_module_drop_sessions(rig->module);
        break;
    case LOGGING_IN_AGAIN:
        fake_module_log_out(rig->module);
        break;
    case LISTING:
    case CANARY:
    case WRAPPING:
    case UNWRAPPING:
    case UNWRAPPING_TAMPERED:
    case MOMENTS:
        break;
    }
}

/* --- one fault, and what comes after --- */

static bool refuses_a_seed(CK_RV rv)
{
    return rv == CKR_DATA_INVALID || rv == CKR_DATA_LEN_RANGE;
}

/* DATA_LOSS sends an operator to his backups: it is for a ciphertext that is bad on a token that is
 * well.  NOT_FOUND is said by those who know the ring.  INVALID_ARGUMENT blames the caller. */
static void check_code(struct table *table, enum kms_code rc)
{
    enum moment moment = table->fault.moment;
    bool wraps = moment == WRAPPING || moment == LOGGING_IN_AGAIN;
    REQUIRE(table, rc == KMS_OK || rc == table->rig->err.code);
    REQUIRE(table, rc != KMS_E_CORRUPT || moment == UNWRAPPING_TAMPERED);
    REQUIRE(table, rc != KMS_E_KEY_UNKNOWN && rc != KMS_E_DEADLINE);
    REQUIRE(table, rc != KMS_E_INVALID || (wraps && refuses_a_seed(table->fault.rv)));
}

static void check_nothing_left(struct table *table)
{
    REQUIRE(table, fake_module_session_objects(table->rig->module) == 0);
    REQUIRE(table, fake_module_sessions(table->rig->module) <= SESSIONS_ALLOWED);
}

/* As the refresher: listings, until one is good and the canary, too. */
static void heal(struct table *table)
{
    enum kms_code rc = KMS_E_UNAVAILABLE;
    if (strcmp(table->fault.function, "C_Login") == 0)
        kms_keystore_reload(table->rig->keystore); /* the operator's part */
    for (int i = 0; i < HEALING_MAX && rc != KMS_OK; i++) {
        rc = list_both(table);
        if (rc == KMS_OK)
            rc = try_canary(table);
    }
    REQUIRE(table, rc == KMS_OK);
    REQUIRE(table, wrap_right(table) == KMS_OK);
    REQUIRE(table, unwrap_right(table) == KMS_OK);
    check_nothing_left(table);
}

static bool strike(struct table *table, enum kms_code *ret_rc)
{
    const struct fault *fault = &table->fault;
    struct fake_module *module = table->rig->module;
    lead_up_to(table);
    unsigned before = fake_module_calls(module, fault->function);
    if (fault->lasts)
        fake_module_fail_always(module, fault->function, fault->rv);
    else
        fake_module_fail_after(module, fault->function, fault->skip, fault->rv);
    table->striking = true;
    *ret_rc = act(table);
    table->striking = false;
    check_code(table, *ret_rc);
    fake_module_fail_always(module, fault->function, CKR_OK);
    bool struck = fake_module_calls(module, fault->function) > before + fault->skip;
    if (struck || fault->moment >= RECONNECTING)
        heal(table);
    table->struck += struck;
    table->failed += struck && *ret_rc != KMS_OK;
    table->answered += struck && *ret_rc == KMS_OK;
    return struck;
}

/* --- the tables --- */

static void run_function(struct table *table, const char *function, CK_RV rv, bool lasts)
{
    enum kms_code rc = KMS_OK;
    for (enum moment moment = LISTING; moment < MOMENTS; moment++) {
        bool struck = true;
        for (unsigned skip = 0; struck && skip < (lasts ? 1 : SKIPS); skip++) {
            table->fault = (struct fault){ function, rv, lasts, skip, moment };
            struck = strike(table, &rc);
        }
    }
}

static void run_all(void **state, const struct way *way, bool lasts)
{
    struct table table = { .rig = *state, .way = way };
    for (size_t f = 0; way->functions[f] != NULL; f++) {
        unsigned before = table.struck;
        for (size_t i = 0; i < recovery_row_count; i++)
            run_function(&table, way->functions[f], recovery_rows[i].rv, lasts);
        if (table.struck - before < recovery_row_count)
            fail_msg("%s is called too rarely", way->functions[f]);
    }
    print_message("wrapping %s, %zu return values, %s: %u faults struck; %u calls succeeded, %u "
                  "failed; all healed\n",
                  way->name, recovery_row_count, lasts ? "as long as the call lasts" : "once",
                  table.struck, table.answered, table.failed);
}

static void a_fault_that_strikes_once_costs_at_most_its_call(void **state)
{
    run_all(state, &by_objects, false);
}

static void a_fault_that_lasts_ends_without_a_trace(void **state)
{
    run_all(state, &by_objects, true);
}

static void a_fault_that_strikes_a_cipher_once_costs_at_most_its_call(void **state)
{
    run_all(state, &by_cipher, false);
}

static void a_fault_of_a_cipher_that_lasts_ends_without_a_trace(void **state)
{
    run_all(state, &by_cipher, true);
}

/* What the API server is told. */
static void check_status(struct table *table, const char *function, enum moment moment, bool lasts,
                         CK_RV rv, grpc_status_code expected)
{
    enum kms_code rc = KMS_OK;
    table->fault = (struct fault){ function, rv, lasts, 0, moment };
    assert_true(strike(table, &rc));
    if (kms_status_of(rc) != expected)
        fail_msg("%s answers 0x%lx %s: status %s instead of %s", function, rv,
                 lasts ? "always" : "once", kms_grpc_status_name(kms_status_of(rc)),
                 kms_grpc_status_name(expected));
}

static void encrypt_has_the_status_of_its_row(void **state)
{
    struct table table = { .rig = *state, .way = &by_objects };
    for (size_t i = 0; i < recovery_row_count; i++) {
        const struct recovery_row *row = &recovery_rows[i];
        check_status(&table, "C_WrapKey", WRAPPING, true, row->rv, row->wrap);
        check_status(&table, "C_WrapKey", WRAPPING, false, row->rv,
                     row->wrap_retried ? GRPC_STATUS_OK : row->wrap);
    }
}

static void decrypt_has_the_status_of_its_row(void **state)
{
    struct table table = { .rig = *state, .way = &by_objects };
    for (size_t i = 0; i < recovery_row_count; i++) {
        const struct recovery_row *row = &recovery_rows[i];
        check_status(&table, "C_UnwrapKey", UNWRAPPING, true, row->rv, row->unwrap);
        check_status(&table, "C_UnwrapKey", UNWRAPPING, false, row->rv,
                     row->unwrap_retried ? GRPC_STATUS_OK : row->unwrap);
    }
}

static void a_tampered_ciphertext_is_data_loss_by_any_word_for_it(void **state)
{
    struct rig *rig = *state;
    struct table table = { .rig = rig, .way = &by_objects };
    for (size_t i = 0; i < recovery_row_count; i++) {
        const struct recovery_row *row = &recovery_rows[i];
        if (!row->may_mean_tampered)
            continue;
        table.fault = (struct fault){ "C_UnwrapKey", row->rv, true, 0, UNWRAPPING_TAMPERED };
        fake_module_behaviour(rig->module)->tamper_rv = row->rv;
        REQUIRE(&table, kms_status_of(unwrap_tampered(&table)) == GRPC_STATUS_DATA_LOSS);
        REQUIRE(&table, fake_module_calls(rig->module, "C_Initialize") == 1);
        heal(&table);
    }
}

static void set_up(void **state, const struct way *way)
{
    kms_log_set_level(KMS_LOG_ERROR);
    (void)rig_setup(state);
    struct rig *rig = *state;
    struct fake_behaviour *behaviour = fake_module_behaviour(rig->module);
    size_t places[] = { rig->place, fake_module_add_kek(rig->module, "prod.v2", rig_other_key) };
    behaviour->ciphers = true;
    behaviour->import_seed_rv = way->cipher ? CKR_ATTRIBUTE_VALUE_INVALID : CKR_OK;
    for (size_t i = 0; i < 2 && way->cipher; i++) {
        fake_module_set_bool(rig->module, places[i], CKA_ENCRYPT, true);
        fake_module_set_bool(rig->module, places[i], CKA_DECRYPT, true);
    }
    assert_ok(rig_inventory(rig), &rig->err);
}

static int set_up_objects(void **state)
{
    set_up(state, &by_objects);
    return 0;
}

static int set_up_cipher(void **state)
{
    set_up(state, &by_cipher);
    return 0;
}

#define BY_OBJECTS(f) cmocka_unit_test_setup_teardown(f, set_up_objects, rig_teardown)
#define BY_CIPHER(f) cmocka_unit_test_setup_teardown(f, set_up_cipher, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BY_OBJECTS(a_fault_that_strikes_once_costs_at_most_its_call),
        BY_OBJECTS(a_fault_that_lasts_ends_without_a_trace),
        BY_CIPHER(a_fault_that_strikes_a_cipher_once_costs_at_most_its_call),
        BY_CIPHER(a_fault_of_a_cipher_that_lasts_ends_without_a_trace),
        BY_OBJECTS(encrypt_has_the_status_of_its_row),
        BY_OBJECTS(decrypt_has_the_status_of_its_row),
        BY_OBJECTS(a_tampered_ciphertext_is_data_loss_by_any_word_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
