/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "attention.h"
#include "command.h"
#include "json.h"
#include "kek_view.h"
#include "keyring.h"
#include "kms/clock.h"
#include "text.h"

struct options {
    struct kms_keyring_options keyring;
    bool wide;
};

enum { WIDE = 256 };
static const struct argp_option argp_options[] = {
    { "wide", WIDE, NULL, 0,
      "whole SHA-256, fingerprint, label, attributes and reason, all in one row", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        return 0;
    case WIDE:
        options->wide = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void gather(const struct kms_keyring *keyring, const struct kms_snapshot *snapshot,
                   struct kms_attention *attention)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        struct kms_kek_view view = kms_kek_view_of(&snapshot->entries[i]);
        kms_attention_add_kek(attention, &view);
        kms_attention_add_age(attention, &view, keyring->config.policy.max_age_ms, kms_utc_s());
    }
}

static bool is_on(const struct kms_ring_entry *entry, size_t token)
{
    return (entry->kek.holders & UINT32_C(1) << token) != 0;
}

static json_t *tokens_json(const struct kms_snapshot *snapshot, const struct kms_ring_entry *entry)
{
    json_t *tokens = json_array();
    for (size_t i = 0; i < snapshot->token_count; i++)
        if (is_on(entry, i))
            kms_json_append(tokens, kms_json_text(snapshot->tokens[i].name));
    return tokens;
}

/* A line under the row, where a token that was listed lacks the key. */
static void note_tokens(const struct kms_snapshot *snapshot, const struct kms_ring_entry *entry,
                        struct kms_table *table)
{
    char text[KMS_NAMES_TEXT_MAX + 16] = "";
    size_t used = 0;
    bool lacks = false;
    for (size_t i = 0; i < snapshot->token_count && used < sizeof(text); i++) {
        lacks = lacks || (snapshot->tokens[i].listed && !is_on(entry, i));
        if (is_on(entry, i))
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s'%s'",
                                     used > 0 ? ", " : "only on ", snapshot->tokens[i].name);
    }
    if (lacks && used > 0)
        kms_table_note(table, text);
}

static void print_json(const struct kms_keyring *keyring, const struct kms_snapshot *snapshot)
{
    KMS_CLEANUP(kms_attention_done) struct kms_attention attention = { 0 };
    gather(keyring, snapshot, &attention);
    json_t *object = kms_json_open("key-list");
    json_t *keks = json_array();
    for (size_t i = 0; i < snapshot->count; i++) {
        struct kms_kek_view view = kms_kek_view_of(&snapshot->entries[i]);
        json_t *kek = json_object();
        kms_kek_view_json(&view, kek);
        if (snapshot->token_count > 0)
            kms_json_set(kek, "holders", tokens_json(snapshot, &snapshot->entries[i]));
        kms_json_append(keks, kek);
    }
    kms_json_set(object, "ring", kms_json_text(keyring->config.ring));
    kms_json_set(object, "promoted", json_integer(snapshot->promoted));
    kms_json_set(object, "node_state_known", json_boolean(keyring->state_known));
    kms_json_set(object, "problem", kms_json_text(snapshot->problem));
    kms_json_set(object, "attention", kms_attention_json(&attention));
    kms_json_set(object, "keks", keks);
    kms_json_print(object);
}

/* The rows have the reasons. */
static void print_next(const struct kms_keyring *keyring, const struct kms_snapshot *snapshot)
{
    KMS_CLEANUP(kms_attention_done) struct kms_attention attention = { 0 };
    gather(keyring, snapshot, &attention);
    if (snapshot->problem[0] != '\0') {
        (void)printf("problem: ");
        kms_text_put(stdout, snapshot->problem);
        (void)putchar('\n');
    }
    (void)printf("next: ");
    if (attention.count > 0) {
        (void)printf("look at ");
        kms_text_put(stdout, attention.names);
        (void)printf("; ");
    }
    (void)puts("hsm-kms status shows what the running plugin uses");
}

static void print_text(const struct kms_keyring *keyring, const struct kms_snapshot *snapshot,
                       bool wide)
{
    if (snapshot->count == 0) {
        (void)printf("no KEK of ring %s on the token\nnext: hsm-kms key create\n",
                     keyring->config.ring);
        return;
    }
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = kms_kek_view_table(wide);
    for (size_t i = 0; i < snapshot->count; i++) {
        struct kms_kek_view view = kms_kek_view_of(&snapshot->entries[i]);
        kms_kek_view_row(&view, wide, table);
        note_tokens(snapshot, &snapshot->entries[i], table);
    }
    kms_table_print(table, stdout);
    if (!keyring->state_known)
        (void)puts("without this node's ring.json: the states are what a new node would see");
    print_next(keyring, snapshot);
}

int kms_command_key_list(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Lists the ring's KEKs on the token: generation, state on this node, activation, "
               "key ID and the beginning of its SHA-256 (as in kube-apiserver's metrics); under a "
               "row what isn't as usual: the reason of its state, a label or attributes that key "
               "create doesn't give.",
        .children = children,
    };
    struct options options = { .wide = false };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;

    KMS_CLEANUP(kms_keyring_done) struct kms_keyring keyring = { 0 };
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = NULL;
    struct kms_error err = { 0 };
    enum kms_code rc = kms_keyring_init(&keyring, &options.keyring, &err);
    if (rc == KMS_OK)
        rc = kms_keyring_list(&keyring, &inventory, &err);
    if (rc == KMS_OK)
        rc = kms_keyring_judge(&keyring, &inventory, kms_utc_s(), &snapshot, &err);
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    if (options.keyring.json)
        print_json(&keyring, snapshot);
    else
        print_text(&keyring, snapshot, options.wide);
    return kms_command_finish(KMS_EXIT_OK);
}
