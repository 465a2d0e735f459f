/* SPDX-License-Identifier: Apache-2.0 */
#include "key_tokens.h"

#include <string.h>
#include <time.h>

#include "audit_log.h"
#include "command.h"
#include "key_settle.h"
#include "kms/clock.h"

static int refuse(const char *why)
{
    (void)kms_command_error("refused: %s", why);
    return KMS_EXIT_REFUSED;
}

/* Without the notes: they come with the listing that the plan is made of. */
static enum kms_code list(const struct kms_keyring *keyring, struct kms_inventory *ret_inventory,
                          struct kms_error *err)
{
    const struct kms_kek_filter filter = kms_keyring_filter(keyring);
    return kms_keystore_list(keyring->keystore, &filter, kms_keyring_deadline(), ret_inventory,
                             err);
}

/* --- before --- */

static int gather(const struct kms_keyring *keyring, struct kms_spread *ret_spread)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    char why[KMS_REACH_TEXT_MAX];
    struct kms_error err = { 0 };
    *ret_spread = kms_keyring_spread(keyring, &inventory);
    if (keyring->token_count == 1)
        return KMS_EXIT_OK;
    if (list(keyring, &inventory, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (!kms_keyring_reaches(keyring, &inventory, KMS_REACH_NEW, why))
        return refuse(why);
    *ret_spread = kms_keyring_spread(keyring, &inventory);
    return KMS_EXIT_OK;
}

static int refuse_or_fail(enum kms_code code, const struct kms_error *err)
{
    if (code == KMS_E_PRECONDITION)
        return refuse(err->msg);
    return code == KMS_OK ? KMS_EXIT_OK : kms_command_fail(err);
}

/* Nothing is done that the audit log doesn't have. */
static int mend(const struct kms_keyring *keyring, const char *command,
                const struct kms_spread *spread, struct kms_spread_mended *ret_mended)
{
    struct kms_audit_command line = { .op = command, .outcome = "mended" };
    struct kms_error err = { .code = KMS_OK };
    size_t count = 0;
    enum kms_code rc = kms_spread_count(spread, &count, &err);
    if (rc != KMS_OK || count == 0)
        return refuse_or_fail(rc, &err);
    if (kms_audit_log_begin(&keyring->config, command, 0, &err) != KMS_OK)
        return kms_audit_log_refuse(&err);
    line.code = kms_spread_mend(spread, KMS_KEY_PATIENCE_MS, ret_mended, &err);
    kms_audit_log_done(&keyring->config, &line);
    return refuse_or_fail(line.code, &err);
}

/* Half of the lead is the nodes': they must still learn of a key in time. */
static int64_t finish_from_utc_s(const struct kms_config *config)
{
    return kms_utc_s() + kms_key_lead_s(config->refresh_ms, config->clock_skew_ms) / 2;
}

int kms_key_tokens_ready(struct kms_keyring *keyring, const char *command, bool dry_run, bool force,
                         struct kms_spread *ret_spread, bool *ret_changed)
{
    struct kms_spread_mended mended = { 0 };
    int code = gather(keyring, ret_spread);
    if (code != KMS_EXIT_OK || keyring->token_count == 1 || dry_run)
        return code;
    ret_spread->finish_from_utc_s = force ? 0 : finish_from_utc_s(&keyring->config);
    ret_spread->state = &keyring->state;
    code = mend(keyring, command, ret_spread, &mended);
    if (code != KMS_EXIT_OK)
        return code;
    if (mended.finished > 0)
        kms_command_note("an interrupted run is finished: its key has its label on all tokens");
    if (mended.withdrawn > 0)
        kms_command_note("an interrupted run is withdrawn: its prepared key is destroyed");
    *ret_changed = mended.finished + mended.withdrawn > 0;
    return KMS_EXIT_OK;
}

/* --- after --- */

/* Which of the listed tokens must have a key before it is promoted: a bit for each. */
static uint32_t find_required(const struct kms_keyring *keyring,
                              const struct kms_inventory *inventory)
{
    uint32_t required = 0;
    for (size_t i = 0; i < inventory->token_count; i++)
        for (size_t k = 0; k < keyring->token_count; k++)
            if (strcmp(inventory->tokens[i].name, keyring->tokens[k].config->name) == 0 &&
                keyring->tokens[k].config->required)
                required |= UINT32_C(1) << i;
    return required;
}

static enum kms_code look(const struct kms_keyring *keyring, struct kms_creation *creation,
                          struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    const struct kms_kek_info *kek = &creation->kek;
    enum kms_code rc = list(keyring, &inventory, err);
    if (rc != KMS_OK)
        return rc;
    creation->token_count = inventory.token_count;
    memcpy(creation->tokens, inventory.tokens, sizeof(creation->tokens));
    creation->required = find_required(keyring, &inventory);
    creation->holders = 0;
    for (size_t i = 0; i < inventory.count; i++)
        if (kms_kek_is_same(&inventory.keks[i], kek))
            creation->holders |= inventory.keks[i].holders;
    return KMS_OK;
}

enum kms_code kms_key_tokens_see(struct kms_keyring *keyring, int64_t give_up_ms,
                                 struct kms_creation *creation, struct kms_error *err)
{
    const struct timespec pause = { .tv_nsec = 500L * 1000L * 1000L };
    if (keyring->token_count == 1 || strcmp(creation->name, "planned") == 0)
        return KMS_OK;
    for (;;) {
        struct kms_error why = { .code = KMS_OK };
        enum kms_code rc = look(keyring, creation, &why);
        bool again = rc == KMS_E_UNAVAILABLE ||
                     (rc == KMS_OK && kms_creation_is_outstanding(creation));
        bool last = !again || kms_monotonic_ms() >= give_up_ms;
        if (last && rc == KMS_OK)
            return rc;
        if (last)
            return kms_fail(
                err, rc, "which tokens have the key can't be seen: %.350s; run it again", why.msg);
        (void)nanosleep(&pause, NULL);
    }
}
