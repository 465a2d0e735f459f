/* SPDX-License-Identifier: Apache-2.0 */
#include "describe.h"

#include <stdlib.h>

#include "proto/node.pb-c.h"
#include "wire.h"

/* A label may hold anything that somebody wrote to the token; a proto3 string must be UTF-8. */
static char *text_field(const char *text)
{
    return kms_pack_text(kms_text_is_clean(kms_bytes_of(text)) ? text : "(unprintable)");
}

/* @holders: room for as many names as there are tokens. */
static void describe_holders(const struct kms_snapshot *snapshot, uint32_t bits, char **holders,
                             Hsmkms__Node__V1__Kek *ret)
{
    ret->holders = holders;
    for (size_t i = 0; i < snapshot->token_count; i++)
        if ((bits & (UINT32_C(1) << i)) != 0)
            holders[ret->n_holders++] = text_field(snapshot->tokens[i].name);
}

static void describe_kek(const struct kms_ring_entry *entry, Hsmkms__Node__V1__Kek *ret)
{
    *ret = (Hsmkms__Node__V1__Kek)HSMKMS__NODE__V1__KEK__INIT;
    ret->label = text_field(entry->kek.label);
    ret->key_id = text_field(entry->key_id);
    ret->generation = entry->generation;
    ret->activation = entry->activation_utc_s;
    ret->state = text_field(kms_kek_state_name(entry->state));
    ret->reason = text_field(entry->reason);
    if (entry->kek.fingerprinted)
        ret->fingerprint = kms_pack_data((struct kms_bytes){
            .data = entry->kek.fingerprint, .len = sizeof entry->kek.fingerprint });
    ret->seen_since = entry->seen_since_utc_s;
    ret->attributes = entry->kek.attributes;
    ret->known = entry->kek.known;
    ret->cka_id = kms_pack_data(
        (struct kms_bytes){ .data = entry->kek.cka_id, .len = entry->kek.cka_id_len });
    ret->value_len = (uint32_t)entry->kek.value_len;
    ret->may_unwrap = entry->may_unwrap;
}

static void describe_token(const struct kms_token_info *token, Hsmkms__Node__V1__Token *ret)
{
    *ret = (Hsmkms__Node__V1__Token)HSMKMS__NODE__V1__TOKEN__INIT;
    ret->label = text_field(token->label);
    ret->serial = text_field(token->serial);
    ret->model = text_field(token->model);
    ret->manufacturer = text_field(token->manufacturer);
    ret->firmware = text_field(token->firmware);
    ret->library = text_field(token->library);
    ret->profile = text_field(token->profile);
    ret->connected = token->connected;
}

/* A @snapshot without tokens comes from the one there is, or is older than any listing. */
static void describe_use(const struct kms_snapshot *snapshot, size_t index,
                         const struct kms_token_info *token, Hsmkms__Node__V1__Token *ret)
{
    ret->name = text_field(token->name);
    ret->resting = token->resting;
    ret->problem = text_field(token->problem);
    if (index >= snapshot->token_count) {
        ret->in_use = token->connected && token->name[0] == '\0';
        return;
    }
    const struct kms_ring_token *use = &snapshot->tokens[index];
    ret->required = use->required;
    ret->drained_until = use->drained_until_utc_s;
    ret->in_use = use->in_use;
    if (use->problem[0] != '\0')
        ret->problem = text_field(use->problem);
}

static void describe_health(const struct kms_description *description,
                            Hsmkms__Node__V1__Health *ret)
{
    const struct kms_error *health = &description->health;
    *ret = (Hsmkms__Node__V1__Health)HSMKMS__NODE__V1__HEALTH__INIT;
    ret->ok = health->code == KMS_OK;
    ret->code = text_field(kms_code_name(health->code));
    ret->message = text_field(ret->ok ? "" : health->msg);
    ret->since = description->health_since_utc_s;
}

static void describe_audit(const struct kms_description *description, Hsmkms__Node__V1__Audit *ret)
{
    const struct kms_audit_counts *counts = &description->audit_counts;
    *ret = (Hsmkms__Node__V1__Audit)HSMKMS__NODE__V1__AUDIT__INIT;
    ret->ok = description->audit.code == KMS_OK;
    ret->message = text_field(ret->ok ? "" : description->audit.msg);
    ret->written = counts->written;
    ret->lost = counts->lost;
    ret->late = counts->late;
    ret->uncopied = counts->uncopied;
}

static ProtobufCBinaryData digest_field(const struct kms_source_mark *mark)
{
    return kms_pack_data((struct kms_bytes){ mark->sha256, sizeof mark->sha256 });
}

static void describe_node(const struct kms_description *description,
                          Hsmkms__Node__V1__DescribeResponse *ret)
{
    ret->node = text_field(description->node);
    ret->now = description->now_utc_ms;
    ret->version = text_field(description->version);
    ret->ring = text_field(description->ring);
    ret->promoted = description->snapshot->promoted;
    ret->key_id = text_field(description->snapshot->key_id);
    ret->refresh = description->refresh_ms;
    ret->canary = description->canary_ms;
    ret->clock_skew = description->clock_skew_ms;
    ret->max_age = description->max_age_ms;
    ret->settings = digest_field(&description->settings);
    ret->settings_read = description->settings.read_utc_s;
    ret->vouched = digest_field(&description->vouched);
    ret->vouched_read = description->vouched.read_utc_s;
    ret->listed = description->snapshot->listed_utc_s;
}

/* One block each for the KEKs' messages, the pointers to them, and those to their holders' names. */
struct kek_list {
    Hsmkms__Node__V1__Kek *messages;
    Hsmkms__Node__V1__Kek **pointers;
    char **holders; /* KMS_TOKENS_MAX for each KEK */
};

static void kek_list_done(struct kek_list *list)
{
    free(list->messages);
    free((void *)list->pointers);
    free((void *)list->holders);
}

static enum kms_code kek_list_init(struct kek_list *list, const struct kms_snapshot *snapshot,
                                   struct kms_error *err)
{
    list->messages = calloc(snapshot->count + 1, sizeof *list->messages);
    list->pointers = calloc(snapshot->count + 1, sizeof(Hsmkms__Node__V1__Kek *));
    list->holders = calloc((snapshot->count + 1) * KMS_TOKENS_MAX, sizeof(char *));
    if (list->messages == NULL || list->pointers == NULL || list->holders == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for %zu KEKs", snapshot->count);
    for (size_t i = 0; i < snapshot->count; i++) {
        describe_kek(&snapshot->entries[i], &list->messages[i]);
        describe_holders(snapshot, snapshot->entries[i].kek.holders,
                         &list->holders[i * KMS_TOKENS_MAX], &list->messages[i]);
        list->pointers[i] = &list->messages[i];
    }
    return KMS_OK;
}

enum kms_code kms_describe_pack(const struct kms_description *description,
                                struct kms_secret *ret_reply, struct kms_error *err)
{
    KMS_CLEANUP(kek_list_done) struct kek_list keks = { 0 };
    enum kms_code rc = kek_list_init(&keks, description->snapshot, err);
    if (rc != KMS_OK)
        return rc;
    Hsmkms__Node__V1__Token tokens[KMS_TOKENS_MAX];
    Hsmkms__Node__V1__Token *token_list[KMS_TOKENS_MAX];
    for (size_t i = 0; i < description->token_count; i++) {
        describe_token(&description->tokens[i], &tokens[i]);
        describe_use(description->snapshot, i, &description->tokens[i], &tokens[i]);
        token_list[i] = &tokens[i];
    }
    Hsmkms__Node__V1__Health health;
    describe_health(description, &health);
    Hsmkms__Node__V1__Audit audit;
    describe_audit(description, &audit);

    Hsmkms__Node__V1__DescribeResponse response = HSMKMS__NODE__V1__DESCRIBE_RESPONSE__INIT;
    describe_node(description, &response);
    response.n_keks = description->snapshot->count;
    response.keks = keks.pointers;
    response.n_tokens = description->token_count;
    response.tokens = token_list;
    response.health = &health;
    response.audit = description->audited ? &audit : NULL;
    return kms_pack(&response.base, ret_reply, err);
}
