/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "kek_view.h"
#include "key_plan.h"
#include "key_settle.h"
#include "keyring.h"
#include "kms/clock.h"
#include "text.h"

struct options {
    struct kms_keyring_options keyring;
    const char *activate;
    bool force;
    bool dry_run;
};

/* What the command says in the end. */
struct outcome {
    const char *name; /* created, planned, pending, yielded */
    bool changed;
    struct kms_key_plan plan;
    struct kms_kek_info kek; /* the key that stands; of `planned` only the label */
};

enum { FORCE = 256, DRY_RUN, ACTIVATE };
static const struct argp_option argp_options[] = {
    { "activate", ACTIVATE, "WHEN", 0,
      "now, +DURATION (+1h) or a UTC time (2026-12-01T12:00:00Z); default: now for the first key, "
      "else after 2 x refresh + clock_skew",
      0 },
    { "force", FORCE, NULL, 0,
      "allow an activation before all nodes can know the key, or a damaged ring.json", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        return 0;
    case ACTIVATE:
        options->activate = arg;
        return 0;
    case FORCE:
        options->force = true;
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum kms_code make_plan(struct kms_keyring *keyring, const struct options *options,
                               struct outcome *outcome, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = NULL;
    enum kms_code rc = kms_key_list_settled(keyring->keystore, keyring->config.ring,
                                            2 * (int64_t)KMS_KEY_PATIENCE_MS, &inventory, err);
    int64_t now_utc_s = kms_utc_s();
    if (rc == KMS_OK)
        rc = kms_keyring_judge(keyring, &inventory, now_utc_s, &snapshot, err);
    if (rc != KMS_OK)
        return rc;
    for (size_t i = 0; i < snapshot->count; i++)
        if (snapshot->entries[i].state == KMS_KEK_MISSING)
            kms_command_note("generation %" PRIu32 ": %s", snapshot->entries[i].generation,
                             snapshot->entries[i].reason);
    const struct kms_key_plan_input input = {
        .ring = keyring->config.ring,
        .snapshot = snapshot,
        .state = &keyring->state,
        .state_known = keyring->state_known,
        .activate = options->activate,
        .force = options->force,
        .now_utc_s = now_utc_s,
        .refresh_ms = keyring->config.refresh_ms,
        .clock_skew_ms = keyring->config.clock_skew_ms,
    };
    rc = kms_key_plan(&input, &outcome->plan, err);
    if (rc != KMS_OK)
        return rc;
    memcpy(outcome->kek.label, outcome->plan.label, sizeof(outcome->kek.label));
    if (outcome->plan.pending != NULL)
        outcome->kek = outcome->plan.pending->kek;
    outcome->plan.pending = NULL; /* the snapshot goes */
    return KMS_OK;
}

static enum kms_code act(struct kms_keyring *keyring, const struct options *options,
                         struct outcome *outcome, struct kms_error *err)
{
    outcome->name = outcome->plan.kind == KMS_KEY_IS_PENDING ? "pending" : "planned";
    if (outcome->plan.kind != KMS_KEY_CREATE || options->dry_run)
        return KMS_OK;
    struct kms_kek_info made = { 0 };
    enum kms_code rc = kms_keystore_generate(keyring->keystore, outcome->plan.label,
                                             kms_keyring_deadline(), &made, err);
    if (rc != KMS_OK)
        return rc;
    outcome->kek = made;
    bool yielded = false;
    rc = kms_key_settle(keyring->keystore, keyring->config.ring, KMS_KEY_PATIENCE_MS, &outcome->kek,
                        &yielded, err);
    if (rc != KMS_OK)
        return rc;
    outcome->name = yielded ? "yielded" : "created";
    outcome->changed = !yielded;
    return KMS_OK;
}

static struct kms_kek_view view_of(const struct kms_keyring *keyring, const struct outcome *outcome,
                                   char key_id[static KMS_KEY_ID_LEN + 1])
{
    const struct kms_kek_info *kek = &outcome->kek;
    struct kms_kek_view view = { .label = kek->label, .key_id = key_id };
    key_id[0] = '\0';
    if (!kms_label_parse(keyring->config.ring, kek->label, &view.generation,
                         &view.activation_utc_s))
        view.generation = outcome->plan.generation;
    view.attributes = kek->attributes & kek->known;
    if (kek->fingerprinted) {
        view.fingerprint = (struct kms_bytes){ kek->fingerprint, sizeof(kek->fingerprint) };
        kms_key_id_format(keyring->config.ring, view.generation, kek->fingerprint, key_id);
    }
    return view;
}

static void print_json(const struct kms_keyring *keyring, const struct outcome *outcome,
                       const struct kms_kek_view *view, bool dry_run)
{
    json_t *object = kms_json_open("key-create");
    kms_json_set(object, "changed", json_boolean(outcome->changed));
    kms_json_set(object, "dry_run", json_boolean(dry_run));
    kms_json_set(object, "outcome", kms_json_text(outcome->name));
    kms_json_set(object, "ring", kms_json_text(keyring->config.ring));
    kms_kek_view_json(view, object);
    kms_json_print(object);
}

static void print_headline(const struct outcome *outcome, const struct kms_kek_view *view)
{
    if (strcmp(outcome->name, "pending") == 0)
        (void)printf("generation %" PRIu32 " is there and not yet promoted; nothing was created\n",
                     view->generation);
    else if (strcmp(outcome->name, "yielded") == 0)
        (void)printf("another key create made generation %" PRIu32
                     " at the same time: its key stands, ours is destroyed\n",
                     view->generation);
    else
        (void)printf("%s generation %" PRIu32 "\n", outcome->changed ? "created" : "would create",
                     view->generation);
}

static void print_text(const struct outcome *outcome, const struct kms_kek_view *view)
{
    char activation[KMS_RFC3339_LEN + 1];
    kms_time_text(view->activation_utc_s, activation, sizeof(activation));
    print_headline(outcome, view);
    (void)printf("label       ");
    kms_text_put(stdout, view->label);
    (void)printf("\nactivation  %s\n", activation);
    if (view->key_id[0] != '\0')
        (void)printf("key_id      %s\n", view->key_id);
    if (strcmp(outcome->name, "planned") == 0)
        (void)puts("next: run it again without --dry-run");
    else if (outcome->plan.generation == 1 && outcome->changed)
        (void)puts("next: hsm-kms serve; a running one finds the key by itself");
    else
        (void)printf("next: after %s kube-apiserver's next Status, once a minute, activates it on "
                     "each node; see hsm-kms status\n",
                     activation);
}

static int refuse_blindly(void)
{
    (void)kms_command_error(
        "refused: without ring.json a number that was used before could be used "
        "again; mend it first, or --force");
    return KMS_EXIT_REFUSED;
}

static int refuse_early(const struct kms_key_plan *plan)
{
    char wanted[KMS_RFC3339_LEN + 1], earliest[KMS_RFC3339_LEN + 1];
    kms_time_text(plan->activation_utc_s, wanted, sizeof(wanted));
    kms_time_text(plan->earliest_utc_s, earliest, sizeof(earliest));
    (void)kms_command_error("refused: activation %s is before %s (now + 2 x refresh + clock_skew): "
                            "a node could use the key while another doesn't know it yet; --force "
                            "does it all the same",
                            wanted, earliest);
    return KMS_EXIT_REFUSED;
}

int kms_command_key_create(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Generates the ring's next KEK on the token.  Every node promotes it by itself once "
               "its activation has passed.  A rerun that finds an unpromoted key reports it and "
               "changes nothing.",
        .children = children,
    };
    struct options options = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;

    KMS_CLEANUP(kms_keyring_done) struct kms_keyring keyring = { 0 };
    struct outcome outcome = { 0 };
    struct kms_error err = { 0 };
    enum kms_code rc = kms_keyring_init(&keyring, &options.keyring, &err);
    if (rc == KMS_OK && keyring.state_fault.code != KMS_OK && !options.force)
        return refuse_blindly();
    if (rc == KMS_OK)
        rc = make_plan(&keyring, &options, &outcome, &err);
    if (rc == KMS_OK && outcome.plan.kind == KMS_KEY_TOO_EARLY)
        return refuse_early(&outcome.plan);
    if (rc == KMS_OK)
        rc = act(&keyring, &options, &outcome, &err);
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    char key_id[KMS_KEY_ID_LEN + 1];
    struct kms_kek_view view = view_of(&keyring, &outcome, key_id);
    if (options.keyring.json)
        print_json(&keyring, &outcome, &view, options.dry_run);
    else
        print_text(&outcome, &view);
    return kms_command_finish(KMS_EXIT_OK);
}
