/* SPDX-License-Identifier: Apache-2.0 */
#include "creation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "kek_view.h"
#include "kms/clock.h"
#include "text.h"

enum {
    MS_PER_S = 1000,
    OLD_SEED_S = 3 * 60, /* an API server may go on with its old seed */
    RESERVE_S = 5 * 60,
};

void kms_creation_name(struct kms_creation *creation, const char *ring)
{
    const struct kms_kek_info *kek = &creation->kek;
    if (!kms_label_parse(ring, kek->label, &creation->generation, &creation->activation_utc_s)) {
        creation->generation = creation->plan.generation;
        creation->activation_utc_s = creation->plan.activation_utc_s;
    }
    if (kek->fingerprinted)
        kms_key_id_format(ring, creation->generation, kek->fingerprint, creation->key_id);
}

static struct kms_kek_view view_of(const struct kms_creation *creation)
{
    const struct kms_kek_info *kek = &creation->kek;
    return (struct kms_kek_view){
        .label = kek->label,
        .key_id = creation->key_id,
        .generation = creation->generation,
        .activation_utc_s = creation->activation_utc_s,
        .fingerprint = { kek->fingerprint, kek->fingerprinted ? sizeof(kek->fingerprint) : 0 },
        .attributes = kek->attributes & kek->known,
    };
}

static const char *missing_of(const struct kms_watched *watched)
{
    if (watched->active)
        return "";
    return watched->why[0] != '\0' ? watched->why : "its activation has not come yet";
}

static json_t *nodes_json(const struct kms_creation *creation)
{
    json_t *nodes = json_array();
    for (size_t i = 0; i < creation->watch->count; i++) {
        const struct kms_watched *watched = &creation->watch->nodes[i];
        json_t *node = kms_node_json(&watched->node);
        if (creation->waited) {
            kms_json_set(node, "listed", json_boolean(watched->listed));
            kms_json_set(node, "proved", json_boolean(watched->proved));
            kms_json_set(node, "active", json_boolean(watched->active));
            kms_json_set(node, "missing", kms_json_text(missing_of(watched)));
        }
        kms_json_append(nodes, node);
    }
    return nodes;
}

static bool has_it(const struct kms_creation *creation, size_t i)
{
    return (creation->holders & UINT32_C(1) << i) != 0;
}

bool kms_creation_is_outstanding(const struct kms_creation *creation)
{
    for (size_t i = 0; i < creation->token_count; i++) {
        bool required = (creation->required & UINT32_C(1) << i) != 0;
        if (!has_it(creation, i) && (creation->tokens[i].listed || required))
            return true;
    }
    return false;
}

static json_t *tokens_json(const struct kms_creation *creation)
{
    json_t *tokens = json_array();
    for (size_t i = 0; i < creation->token_count; i++) {
        json_t *token = json_object();
        kms_json_set(token, "name", kms_json_text(creation->tokens[i].name));
        kms_json_set(token, "listed", json_boolean(creation->tokens[i].listed));
        kms_json_set(token, "has", json_boolean(has_it(creation, i)));
        kms_json_append(tokens, token);
    }
    return tokens;
}

void kms_creation_print_json(const struct kms_creation *creation, const struct kms_config *config)
{
    struct kms_kek_view view = view_of(creation);
    json_t *object = kms_json_open(creation->command);
    kms_json_set(object, "changed", json_boolean(creation->changed));
    kms_json_set(object, "dry_run", json_boolean(creation->dry_run));
    kms_json_set(object, "outcome", kms_json_text(creation->name));
    kms_json_set(object, "ring", kms_json_text(config->ring));
    kms_kek_view_json(&view, object);
    if (creation->watch->count > 0)
        kms_json_set(object, "nodes", nodes_json(creation));
    if (creation->waited)
        kms_json_set(object, "active_on_all", json_boolean(creation->through));
    if (creation->token_count > 0)
        kms_json_set(object, "tokens", tokens_json(creation));
    if (creation->waived[0] != '\0')
        kms_json_set(object, "without", kms_json_text(creation->waived));
    kms_json_print(object);
}

static void print_headline(const struct kms_creation *creation)
{
    const uint32_t generation = creation->generation;
    if (strcmp(creation->name, "pending") == 0)
        (void)printf("generation %" PRIu32 " is there and not yet promoted; nothing was created\n",
                     generation);
    else if (strcmp(creation->name, "there") == 0)
        (void)printf("generation %" PRIu32 " is there already; nothing was created\n", generation);
    else if (strcmp(creation->name, "yielded") == 0)
        (void)printf("another key create made generation %" PRIu32
                     " at the same time: its key stands, ours is destroyed\n",
                     generation);
    else
        (void)printf("%s generation %" PRIu32 "\n", creation->changed ? "created" : "would create",
                     generation);
}

static void print_missing(const struct kms_creation *creation)
{
    for (size_t i = 0; i < creation->watch->count; i++) {
        const struct kms_watched *watched = &creation->watch->nodes[i];
        char title[KMS_NODE_TITLE_MAX];
        if (watched->active)
            continue;
        kms_node_title(&watched->node, title);
        (void)printf("not yet     ");
        kms_text_put(stdout, title);
        (void)printf(": ");
        kms_text_put(stdout, missing_of(watched));
        (void)putchar('\n');
    }
}

static void print_outstanding(const struct kms_creation *creation)
{
    for (size_t i = 0; i < creation->token_count; i++) {
        const struct kms_token_listing *token = &creation->tokens[i];
        if (has_it(creation, i))
            continue;
        (void)printf("not yet on  %s", token->name);
        if (!token->listed) {
            (void)printf(": ");
            kms_text_put(stdout, token->problem);
        }
        (void)putchar('\n');
    }
}

/* 3 + N + M minutes: see "Rotation" in the operator's manual. */
static void migration_time(const struct kms_creation *creation, const struct kms_config *config,
                           char ret_text[static KMS_RFC3339_LEN + 1])
{
    int64_t seen_ms = config->refresh_ms + config->clock_skew_ms;
    kms_time_text(creation->activation_utc_s + OLD_SEED_S + RESERVE_S +
                      (seen_ms + MS_PER_S - 1) / MS_PER_S,
                  ret_text, KMS_RFC3339_LEN + 1);
}

static void print_next(const struct kms_creation *creation, const struct kms_config *config)
{
    char activation[KMS_RFC3339_LEN + 1], migration[KMS_RFC3339_LEN + 1];
    kms_time_text(creation->activation_utc_s, activation, sizeof(activation));
    migration_time(creation, config, migration);
    if (strcmp(creation->name, "planned") == 0)
        (void)puts("next: run it again without --dry-run");
    else if (creation->token_count > 0 && kms_creation_is_outstanding(creation))
        (void)puts(
            "next: no node promotes the key before it is on every token that it uses or "
            "requires: see that the HSMs copy it (sync: native), then hsm-kms status; run it "
            "again with --wait to wait for that");
    else if (creation->waited && !creation->through)
        (void)puts("next: nothing is lost: each node promotes the key by itself as soon as it can; "
                   "mend what is named above, run the same command again to go on waiting");
    else if (creation->export_count > 0)
        (void)printf("next: on each host of --nodes: hsm-kms key ready --generation %" PRIu32
                     " --wait 10m; then rewrite old objects, from %s on\n",
                     creation->generation, migration);
    else if (creation->waited)
        (void)printf("next: rewrite old objects, from %s on (3 + N + M minutes)\n", migration);
    else if (creation->plan.is_first && creation->changed)
        (void)puts("next: hsm-kms serve; a running one finds the key by itself");
    else if (creation->activation_utc_s <= kms_utc_s())
        (void)printf("next: its activation has come: a node that hasn't promoted it yet does so at "
                     "its next refresh, and uses it from its next Status on; see hsm-kms status, "
                     "and rewrite old objects from %s on\n",
                     migration);
    else
        (void)printf("next: after %s kube-apiserver's next Status, once a minute, activates it on "
                     "each node; see hsm-kms status\n",
                     activation);
}

void kms_creation_print_text(const struct kms_creation *creation, const struct kms_config *config)
{
    char activation[KMS_RFC3339_LEN + 1];
    kms_time_text(creation->activation_utc_s, activation, sizeof(activation));
    print_headline(creation);
    (void)printf("label       ");
    kms_text_put(stdout, creation->kek.label);
    (void)printf("\nactivation  %s\n", activation);
    if (creation->key_id[0] != '\0')
        (void)printf("key_id      %s\n", creation->key_id);
    if (creation->waited && creation->through)
        (void)printf("active on   %zu node%s\n", creation->watch->count,
                     creation->watch->count == 1 ? "" : "s");
    print_outstanding(creation);
    if (creation->waited)
        print_missing(creation);
    if (creation->waived[0] != '\0')
        (void)printf("without     %s: the same command on every other node, whose plugin else "
                     "waits for the key there\n",
                     creation->waived);
    print_next(creation, config);
}
