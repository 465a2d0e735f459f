/* SPDX-License-Identifier: Apache-2.0 */
#include "key_stage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit_log.h"
#include "client.h"
#include "command.h"
#include "json.h"
#include "kek_view.h"
#include "kms/clock.h"
#include "text.h"

enum { NODE_TIMEOUT_MS = 3000, FINGERPRINT = 256, CKA_ID };

/* --- options --- */

static const struct argp_option argp_options[] = {
    { "fingerprint", FINGERPRINT, "HEX", 0,
      "first digits of the key's fingerprint, where several have the generation", 0 },
    { "cka-id", CKA_ID, "HEX", 0, "the same by the key's CKA_ID", 0 },
    { 0 },
};

static const char *parse_digits(struct argp_state *state, const char *text)
{
    if (text[0] == '\0' || text[strspn(text, "0123456789abcdefABCDEF")] != '\0')
        argp_error(state, "--fingerprint and --cka-id are hexadecimal digits");
    return text;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct kms_key_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        return 0;
    case FINGERPRINT:
        options->target.fingerprint = parse_digits(state, arg);
        return 0;
    case CKA_ID:
        options->target.cka_id = parse_digits(state, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

uint32_t kms_key_parse_generation(struct argp_state *state, const char *text)
{
    enum { DIGITS_MAX = 9 };
    size_t len = strspn(text, "0123456789");
    if (text[0] == '0' || len == 0 || len > DIGITS_MAX || text[len] != '\0')
        argp_error(state, "a generation is a number, 1 to %u", (unsigned)KMS_GENERATION_MAX);
    return (uint32_t)strtoul(text, NULL, 10);
}

static error_t parse_generation(int key, char *arg, struct argp_state *state)
{
    struct kms_key_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options;
        return 0;
    case ARGP_KEY_ARG:
        if (options->target.generation != 0)
            return ARGP_ERR_UNKNOWN; /* a file after --nodes, or one too many */
        options->target.generation = kms_key_parse_generation(state, arg);
        return 0;
    case ARGP_KEY_END:
        if (options->target.generation == 0)
            argp_error(state, "which generation?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child keyring_child[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
const struct argp kms_key_options_argp = { .options = argp_options,
                                           .parser = parse_option,
                                           .children = keyring_child };
static const struct argp_child options_child[] = { { &kms_key_options_argp, 0, NULL, 0 }, { 0 } };
const struct argp kms_key_generation_argp = { .parser = parse_generation,
                                              .args_doc = "GENERATION",
                                              .children = options_child };

/* --- the scene --- */

/* ring.json is this node's memory already; the plugin knows what it promoted a moment ago.  Nobody
 * there is no failure: the keys may be managed from elsewhere. */
static uint32_t ask_node_promoted(const struct kms_config *config)
{
    if (access(config->socket.path, F_OK) != 0)
        return 0;
    Hsmkms__Node__V1__DescribeResponse *told = NULL;
    struct kms_error err = { 0 };
    enum kms_code rc = kms_client_describe_at(config->socket.path,
                                              kms_monotonic_ms() + NODE_TIMEOUT_MS, &told, &err);
    if (rc != KMS_OK) {
        kms_command_note("no plugin answers at %s, going by ring.json: %s", config->socket.path,
                         err.msg);
        return 0;
    }
    uint32_t promoted = strcmp(told->ring, config->ring) == 0 ? told->promoted : 0;
    kms_client_free_describe(told);
    return promoted;
}

enum kms_code kms_key_stage_init(struct kms_key_stage *stage,
                                 const struct kms_keyring_options *options,
                                 const struct kms_key_inquiry *inquiry, struct kms_error *err)
{
    const struct kms_config *config = &stage->keyring.config;
    enum kms_code rc = kms_keyring_init(&stage->keyring, options, err);
    /* before the clock is read: who promotes a key later does so after its activation */
    uint32_t node_promoted = rc == KMS_OK && inquiry->ask_node ? ask_node_promoted(config) : 0;
    if (rc == KMS_OK && inquiry->sources != NULL)
        rc = kms_key_survey_take(&stage->survey, inquiry->sources, options->config_path,
                                 inquiry->generation, err);
    if (rc == KMS_OK)
        rc = kms_keyring_list(&stage->keyring, &stage->inventory, err);
    int64_t now_utc_s = kms_utc_s();
    if (rc == KMS_OK)
        rc = kms_keyring_judge(&stage->keyring, &stage->inventory, now_utc_s, &stage->snapshot,
                               err);
    if (rc != KMS_OK)
        return rc;
    stage->scene = (struct kms_key_scene){
        .keystore = stage->keyring.keystore,
        .ring = config->ring,
        .state_dir = config->state_dir,
        .state = &stage->keyring.state,
        .state_known = stage->keyring.state_known,
        .snapshot = stage->snapshot,
        .node_promoted = node_promoted,
        .peers = stage->survey.peers,
        .peer_count = stage->survey.count,
        .now_utc_s = now_utc_s,
        .refresh_ms = config->refresh_ms,
        .clock_skew_ms = config->clock_skew_ms,
    };
    return KMS_OK;
}

void kms_key_stage_done(struct kms_key_stage *stage)
{
    if (stage->snapshot != NULL)
        kms_snapshot_release(stage->snapshot);
    kms_inventory_done(&stage->inventory);
    kms_key_survey_done(&stage->survey);
    kms_keyring_done(&stage->keyring);
    *stage = (struct kms_key_stage){ 0 };
}

/* --- output --- */

static struct kms_kek_view view_of(const struct kms_keyring *keyring,
                                   const struct kms_kek_info *kek,
                                   char key_id[static KMS_KEY_ID_LEN + 1])
{
    struct kms_kek_view view = { .label = kek->label,
                                 .key_id = key_id,
                                 .attributes = kek->attributes & kek->known };
    const char *ring = keyring->config.ring;
    struct kms_membership member = { .generation = 0 };
    bool in_ring = kms_vouched_identify(&keyring->vouched, ring, kek, &member);
    view.generation = member.generation;
    view.activation_utc_s = member.activation_utc_s;
    key_id[0] = '\0';
    if (!kek->fingerprinted)
        return view;
    view.fingerprint = (struct kms_bytes){ kek->fingerprint, sizeof(kek->fingerprint) };
    if (in_ring)
        kms_key_id_format(ring, view.generation, kek->fingerprint, key_id);
    return view;
}

static void print_json(const struct kms_key_job *job, const struct kms_key_stage *stage,
                       const struct kms_key_outcome *outcome)
{
    const char *ring = stage->keyring.config.ring;
    char key_id[KMS_KEY_ID_LEN + 1];
    json_t *object = kms_json_open(job->name);
    kms_json_set(object, "changed", json_boolean(outcome->changed));
    kms_json_set(object, "dry_run", json_boolean(job->dry_run));
    kms_json_set(object, "outcome", kms_json_text(outcome->name));
    kms_json_set(object, "message", kms_json_text(outcome->text));
    kms_json_set(object, "ring", kms_json_text(ring));
    if (outcome->kek.label[0] != '\0') {
        struct kms_kek_view view = view_of(&stage->keyring, &outcome->kek, key_id);
        kms_kek_view_json(&view, object);
    }
    for (size_t i = 0; i < KMS_KEY_FACTS_MAX && outcome->facts[i].name != NULL; i++)
        kms_json_set(object, outcome->facts[i].name, kms_json_text(outcome->facts[i].value));
    if (stage->survey.count > 0)
        kms_json_set(object, "nodes", kms_key_survey_json(&stage->survey));
    kms_json_print(object);
}

static void print_line(const char *name, const char *text)
{
    (void)printf("%-12s", name);
    kms_text_put(stdout, text);
    (void)putchar('\n');
}

static void print_kek(const struct kms_keyring *keyring, const struct kms_kek_info *kek)
{
    char key_id[KMS_KEY_ID_LEN + 1], activation[KMS_RFC3339_LEN + 1];
    char fingerprint[2 * KMS_FINGERPRINT_LEN + 1];
    struct kms_kek_view view = view_of(keyring, kek, key_id);
    print_line("label", view.label);
    kms_time_text(view.activation_utc_s, activation, sizeof(activation));
    if (view.activation_utc_s != 0)
        print_line("activation", activation);
    if (key_id[0] != '\0')
        print_line("key_id", key_id);
    if (view.fingerprint.len == 0)
        return;
    kms_hex_encode(view.fingerprint, fingerprint);
    print_line("fingerprint", fingerprint);
}

static void print_peers(const struct kms_key_scene *scene)
{
    for (size_t i = 0; i < scene->peer_count; i++) {
        char text[KMS_KEY_PEER_TEXT_MAX];
        kms_key_peer_text(&scene->peers[i], scene->now_utc_s, text);
        print_line("node", text);
    }
}

static void print_text(const struct kms_key_job *job, const struct kms_key_stage *stage,
                       const struct kms_key_outcome *outcome)
{
    bool unasked = job->sources != NULL && stage->scene.peer_count == 0;
    kms_text_put(stdout, outcome->text);
    (void)putchar('\n');
    if (outcome->kek.label[0] != '\0')
        print_kek(&stage->keyring, &outcome->kek);
    print_peers(&stage->scene);
    if (job->dry_run && strcmp(outcome->name, "planned") == 0)
        (void)printf("next: run it again without --dry-run%s\n", unasked ? KMS_KEY_UNASKED : "");
    else
        (void)printf("next: %s\n", outcome->next);
}

static int refuse(const char *why)
{
    (void)kms_command_error("refused: %s", why);
    return KMS_EXIT_REFUSED;
}

static int refuse_blindly(const struct kms_key_job *job)
{
    (void)kms_command_error("refused: without ring.json nobody knows what this node uses; mend it "
                            "first%s",
                            job->can_force ? ", or --force" : "");
    return KMS_EXIT_REFUSED;
}

/* --- several tokens --- */

static int refuse_token(const struct kms_key_job *job)
{
    return kms_command_error("--token %s: this command works on all tokens; --without leaves one "
                             "out",
                             job->keyring->token);
}

/* Without a new generation there is nothing to wait for. */
static enum kms_code waive(const struct kms_key_stage *stage, const struct kms_key_outcome *outcome,
                           struct kms_error *err)
{
    struct kms_membership member = { .generation = 0 };
    if (!kms_vouched_identify(&stage->keyring.vouched, stage->scene.ring, &outcome->kek, &member) ||
        member.generation <= kms_key_promoted(&stage->scene))
        return KMS_OK;
    return kms_keyring_waive(&stage->keyring, member.generation, err);
}

/* What --without means for the tokens that it names. */
static enum kms_code settle_waived(const struct kms_key_job *job, const struct kms_key_stage *stage,
                                   struct kms_key_outcome *outcome, struct kms_error *err)
{
    char names[KMS_NAMES_TEXT_MAX], next[KMS_KEY_TEXT_MAX];
    kms_keyring_name_waived(&stage->keyring, names);
    if (names[0] == '\0' || outcome->refused || job->reach == KMS_REACH_ANY)
        return KMS_OK;
    memcpy(next, outcome->next, sizeof(next));
    if (job->reach == KMS_REACH_ALL) {
        kms_key_next(outcome, "%.600s; what %s has of the key is untouched", next, names);
        return KMS_OK;
    }
    kms_key_next(
        outcome,
        "%.500s; the same command on every other node, whose plugin else waits for the key "
        "on %s",
        next, names);
    return job->dry_run ? KMS_OK : waive(stage, outcome, err);
}

static const char *find_fact(const struct kms_key_outcome *outcome, const char *name)
{
    for (size_t i = 0; i < KMS_KEY_FACTS_MAX && outcome->facts[i].name != NULL; i++)
        if (strcmp(outcome->facts[i].name, name) == 0)
            return outcome->facts[i].value;
    return NULL;
}

/* A disabled key, or one that is gone, shows no fingerprint; its pin does. */
static void recall_key_id(const struct kms_key_stage *stage, uint32_t generation,
                          char key_id[static KMS_KEY_ID_LEN + 1])
{
    const struct kms_pin *pin = kms_state_pin(stage->scene.state, generation);
    if (key_id[0] == '\0' && pin != NULL)
        kms_key_id_format(stage->scene.ring, generation, pin->fingerprint, key_id);
}

static void record(const struct kms_key_job *job, const struct kms_key_stage *stage,
                   const struct kms_key_outcome *outcome, enum kms_code code)
{
    char key_id[KMS_KEY_ID_LEN + 1];
    struct kms_kek_view view = view_of(&stage->keyring, &outcome->kek, key_id);
    uint32_t generation = view.generation != 0 ? view.generation : job->generation;
    recall_key_id(stage, generation, key_id);
    const struct kms_audit_command line = {
        .op = job->name,
        .outcome = outcome->refused ? "refused" : outcome->name,
        .generation = generation,
        .key_id = key_id,
        .verified_by = outcome->refused ? NULL : find_fact(outcome, "verified_by"),
        .wait = outcome->refused ? NULL : find_fact(outcome, "wait"),
        .code = outcome->refused ? KMS_E_PRECONDITION : code,
    };
    kms_audit_log_done(&stage->keyring.config, &line);
}

/* Nothing is done that the audit log doesn't have. */
static enum kms_code act(const struct kms_key_job *job, const struct kms_key_stage *stage,
                         struct kms_key_outcome *outcome, struct kms_error *err)
{
    if (job->dry_run)
        return job->act(stage, job->input, outcome, err);
    const struct kms_config *config = &stage->keyring.config;
    if (kms_audit_log_begin(config, job->name, job->generation, err) != KMS_OK)
        return kms_key_refuse(outcome, "%s", err->msg);
    enum kms_code rc = job->act(stage, job->input, outcome, err);
    record(job, stage, outcome, rc);
    return rc;
}

int kms_key_job_run(const struct kms_key_job *job)
{
    KMS_CLEANUP(kms_key_stage_done) struct kms_key_stage stage = { 0 };
    struct kms_key_outcome outcome = { .name = "" };
    struct kms_error err = { 0 };
    char why[KMS_REACH_TEXT_MAX];
    if (job->reach != KMS_REACH_ANY && job->keyring->token != NULL)
        return refuse_token(job);
    const struct kms_key_inquiry inquiry = { job->ask_node, job->sources, job->generation };
    enum kms_code rc = kms_key_stage_init(&stage, job->keyring, &inquiry, &err);
    if (stage.keyring.state_fault.code != KMS_OK && !job->blind)
        return refuse_blindly(job);
    if (stage.survey.unanswered)
        return refuse(err.msg);
    if (rc == KMS_OK && !kms_keyring_reaches(&stage.keyring, &stage.inventory, job->reach, why))
        return refuse(why);
    if (rc == KMS_OK)
        rc = act(job, &stage, &outcome, &err);
    if (rc == KMS_OK)
        rc = settle_waived(job, &stage, &outcome, &err);
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    if (outcome.refused)
        return refuse(outcome.text);
    if (job->keyring->json)
        print_json(job, &stage, &outcome);
    else
        print_text(job, &stage, &outcome);
    return kms_command_finish(KMS_EXIT_OK);
}
