/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "command.h"
#include "json.h"
#include "kek_view.h"
#include "keyring.h"
#include "kms/clock.h"

static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

static void print_json(const struct kms_keyring *keyring, const struct kms_snapshot *snapshot)
{
    json_t *object = kms_json_open("key-list");
    json_t *keks = json_array();
    for (size_t i = 0; i < snapshot->count; i++) {
        struct kms_kek_view view = kms_kek_view_of(&snapshot->entries[i]);
        json_t *kek = json_object();
        kms_kek_view_json(&view, kek);
        kms_json_append(keks, kek);
    }
    kms_json_set(object, "ring", kms_json_text(keyring->config.ring));
    kms_json_set(object, "promoted", json_integer(snapshot->promoted));
    kms_json_set(object, "node_state_known", json_boolean(keyring->state_known));
    kms_json_set(object, "problem", kms_json_text(snapshot->problem));
    kms_json_set(object, "keks", keks);
    kms_json_print(object);
}

static void print_text(const struct kms_keyring *keyring, const struct kms_snapshot *snapshot)
{
    if (snapshot->count == 0) {
        (void)printf("no KEK of ring %s on the token\nnext: hsm-kms key create\n",
                     keyring->config.ring);
        return;
    }
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = kms_kek_view_table();
    for (size_t i = 0; i < snapshot->count; i++) {
        struct kms_kek_view view = kms_kek_view_of(&snapshot->entries[i]);
        kms_kek_view_row(&view, table);
    }
    kms_table_print(table, stdout);
    if (!keyring->state_known)
        (void)puts("without this node's ring.json: the states are what a new node would see");
    (void)puts("next: hsm-kms status shows what the running plugin uses");
}

int kms_command_key_list(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .parser = parse,
        .doc = "Lists the ring's KEKs on the token: generation, state on this node, activation, "
               "label, key ID, its SHA-256 (as in kube-apiserver's metrics), attributes and "
               "fingerprint.",
        .children = children,
    };
    struct kms_keyring_options options = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;

    KMS_CLEANUP(kms_keyring_done) struct kms_keyring keyring = { 0 };
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = NULL;
    struct kms_error err = { 0 };
    enum kms_code rc = kms_keyring_init(&keyring, &options, &err);
    if (rc == KMS_OK)
        rc = kms_keyring_list(&keyring, &inventory, &err);
    if (rc == KMS_OK)
        rc = kms_keyring_judge(&keyring, &inventory, kms_utc_s(), &snapshot, &err);
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    if (options.json)
        print_json(&keyring, snapshot);
    else
        print_text(&keyring, snapshot);
    return kms_command_finish(KMS_EXIT_OK);
}
