/* SPDX-License-Identifier: Apache-2.0 */
#include "verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit_log.h"
#include "command.h"
#include "config.h"
#include "etcd/registry.h"
#include "kms/clock.h"
#include "node_source.h"
#include "own_file.h"
#include "text.h"
#include "unwrapper.h"

#define PROOF_OP "verify-prove"

enum {
    SOCKET = 768, /* beside the keys of the children */
    PREFIX,
    KEY_ID,
    LIST,
    EXEMPT,
    EXPECT,
    ALLOW,
    PROVE,
    SAMPLE,
    CAN_DESTROY,
    CAN_REMOVE,
    RECORD,
    SAMPLE_MAX = 1000000,
};

static const struct argp_option argp_options[] = {
    { "output", 'o', "FORMAT", 0, "text (default), json or csv", 0 },
    { "prefix", PREFIX, "PREFIX", 0, "kube-apiserver's --etcd-prefix (default /registry)", 1 },
    { "key-id", KEY_ID, "KEY_ID", 0, "what all should be under (default: as the plugin says)", 2 },
    { "socket", SOCKET, "PATH", 0, "the plugin's socket (default: as configured)", 2 },
    { "expect-resource", EXPECT, "RESOURCE", 0,
      "judge only this one, and miss it if there is none; repeatable", 3 },
    { "allow-key", ALLOW, "KEY_ID", 0, "as good as the promoted one; repeatable", 3 },
    { "exempt", EXEMPT, "RESOURCE", 0,
      "may be in the clear, as by verify.exempt in the configuration; repeatable", 3 },
    { "list", LIST, "FILE", 0, "write all that is found to this new file", 3 },
    { "prove", PROVE, NULL, 0, "unwrap every distinct DEK seed with the HSM", 4 },
    { "sample", SAMPLE, "N", 0, "with --prove: open N objects or more of each resource", 4 },
    { "record", RECORD, NULL, 0,
      "with --snapshot: remember for key destroy what it needs; proves as --prove does", 4 },
    { "can-destroy", CAN_DESTROY, "N", 0,
      "whether nothing needs generation N any more; proves as --prove does", 5 },
    { "can-remove-provider", CAN_REMOVE, "NAME", 0, "whether nothing needs this provider any more",
      5 },
    { 0 },
};

/* --- options --- */

static void add_name(struct kms_verify_names *names, const char *option, const char *arg,
                     struct argp_state *state)
{
    if (names->count == KMS_VERIFY_NAMES_MAX)
        argp_error(state, "%s may be given %d times at most", option, (int)KMS_VERIFY_NAMES_MAX);
    names->items[names->count++] = arg;
}

static void add_resource(struct kms_verify_names *names, const char *option, const char *arg,
                         struct argp_state *state)
{
    if (!kms_resource_name_is_valid(arg))
        argp_error(state, "%s takes RESOURCE or RESOURCE.GROUP, not '%s'", option, arg);
    add_name(names, option, arg, state);
}

static unsigned parse_sample(const char *arg, struct argp_state *state)
{
    char *end = NULL;
    unsigned long number = strtoul(arg, &end, 10);
    if (arg[0] < '0' || arg[0] > '9' || *end != '\0' || number > SAMPLE_MAX)
        argp_error(state, "--sample is a number, 0..%d", (int)SAMPLE_MAX);
    return (unsigned)number;
}

static enum kms_verify_format parse_format(const char *arg, struct argp_state *state)
{
    if (strcmp(arg, "csv") == 0)
        return KMS_VERIFY_CSV;
    if (strcmp(arg, "text") != 0 && strcmp(arg, "json") != 0)
        argp_error(state, "--output is text, json or csv");
    return strcmp(arg, "json") == 0 ? KMS_VERIFY_JSON : KMS_VERIFY_TEXT;
}

static void check(const struct kms_verify_options *options, struct argp_state *state)
{
    if (options->etcd.endpoints == NULL && options->etcd.snapshot == NULL)
        argp_error(state, "--etcd URL or --snapshot FILE is needed");
    if (options->destroy != 0 && options->remove != NULL)
        argp_error(state, "--can-destroy or --can-remove-provider, not both");
    if (options->record && options->etcd.snapshot == NULL)
        argp_error(state, "--record goes with --snapshot");
    if (options->sample > 0 && !options->prove)
        argp_error(state, "--sample goes with --prove");
}

static error_t parse_more(int key, char *arg, struct argp_state *state)
{
    struct kms_verify_options *options = state->input;
    switch (key) {
    case EXEMPT:
        add_resource(&options->exempt, "--exempt", arg, state);
        return 0;
    case EXPECT:
        add_resource(&options->expected, "--expect-resource", arg, state);
        return 0;
    case ALLOW:
        add_name(&options->allowed, "--allow-key", arg, state);
        return 0;
    case SAMPLE:
        options->sample = parse_sample(arg, state);
        return 0;
    case CAN_DESTROY:
        options->destroy = kms_generation_option(state, "--can-destroy", arg);
        options->prove = true;
        return 0;
    case RECORD:
        options->record = true;
        options->prove = true;
        return 0;
    case CAN_REMOVE:
        options->remove = arg;
        return 0;
    case ARGP_KEY_END:
        check(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct kms_verify_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->etcd;
        state->child_inputs[1] = &options->keyring;
        return 0;
    case 'o':
        options->format = parse_format(arg, state);
        return 0;
    case SOCKET:
        options->socket = arg;
        return 0;
    case PREFIX:
        options->prefix = arg;
        return 0;
    case KEY_ID:
        options->key_id = arg;
        return 0;
    case LIST:
        options->list_path = arg;
        return 0;
    case PROVE:
        options->prove = true;
        return 0;
    default:
        return parse_more(key, arg, state);
    }
}

/* verify.exempt, where there is a configuration; *ret_config is what the names are borrowed from. */
static enum kms_code add_configured(struct kms_verify_options *options,
                                    struct kms_config *ret_config, struct kms_error *err)
{
    const char *path = options->keyring.config_path;
    if (path == NULL && access(KMS_CONFIG_PATH, F_OK) != 0)
        return KMS_OK;
    enum kms_code rc = kms_config_load(path != NULL ? path : KMS_CONFIG_PATH, ret_config, err);
    for (size_t i = 0; rc == KMS_OK && i < ret_config->verify.exempt_count; i++) {
        if (options->exempt.count == KMS_VERIFY_NAMES_MAX)
            return kms_fail(err, KMS_E_INVALID, "more than %d resources are exempt",
                            (int)KMS_VERIFY_NAMES_MAX);
        options->exempt.items[options->exempt.count++] = ret_config->verify.exempt[i];
    }
    return rc;
}

/* --- the list --- */

static void put_bytes(FILE *out, struct kms_bytes bytes)
{
    char *text = kms_text_escape(bytes);
    (void)fputs(text, out);
    free(text);
}

static void list_finding(void *context, const struct kms_finding *finding)
{
    FILE *out = context;
    (void)fprintf(out, "%s\t%s\t%lld\t", kms_finding_name(finding->kind),
                  finding->history ? "history" : "current", (long long)finding->mod_revision);
    put_bytes(out, finding->key);
    (void)fputc('\t', out);
    put_bytes(out, finding->key_id);
    (void)fputc('\t', out);
    kms_text_put(out, finding->detail);
    (void)fputc('\n', out);
}

/* --- the command --- */

static int exit_code(enum kms_verdict_kind kind)
{
    switch (kind) {
    case KMS_VERDICT_CLEAN:
        return KMS_EXIT_OK;
    case KMS_VERDICT_FINDINGS:
        return KMS_EXIT_FINDINGS;
    case KMS_VERDICT_NEEDED:
        return KMS_EXIT_REFUSED;
    case KMS_VERDICT_LOST:
        return KMS_EXIT_LOST;
    case KMS_VERDICT_PARTIAL:
        return KMS_EXIT_ERROR;
    }
    return KMS_EXIT_ERROR;
}

static void print(const struct kms_verify_result *result)
{
    switch (result->options->format) {
    case KMS_VERIFY_TEXT:
        kms_verify_print_text(result);
        return;
    case KMS_VERIFY_JSON:
        kms_verify_print_json(result);
        return;
    case KMS_VERIFY_CSV:
        kms_verify_print_csv(result);
        if (result->verdict.kind != KMS_VERDICT_CLEAN)
            (void)kms_command_error("%s: %s", kms_verdict_name(result->verdict.kind),
                                    result->verdict.text);
        return;
    }
}

static struct kms_report_options report_options(const struct kms_verify_options *options,
                                                const struct kms_verify_ring *ring, FILE *list)
{
    return (struct kms_report_options){
        .prefix = kms_bytes_of(options->prefix),
        .key_id = ring->key_id,
        .ring = ring->name,
        .key_ids = (const char *const *)ring->ids,
        .key_id_count = ring->count,
        .allowed = options->allowed.items,
        .allowed_count = options->allowed.count,
        .exempt = { options->exempt.items, options->exempt.count },
        .expected = { options->expected.items, options->expected.count },
        .promoted = ring->snapshot != NULL ? ring->snapshot->promoted : 0,
        .destroy = options->destroy,
        .remove = options->remove,
        .sample = options->sample,
        .list = list != NULL ? list_finding : NULL,
        .list_context = list,
    };
}

bool kms_verify_reads_all(const struct kms_verify_options *options)
{
    return options->destroy != 0 || options->remove != NULL || options->record;
}

/* The HSM unwrapped seeds for whoever ran this. */
static void audit_proof(const struct kms_verify_result *result)
{
    const struct kms_report_totals *totals = kms_report_totals(result->report);
    char outcome[96];
    (void)snprintf(outcome, sizeof(outcome), "%s: %" PRIu64 " of %" PRIu64 " DEK sources unwrapped",
                   kms_verdict_name(result->verdict.kind), totals->proven, totals->sources);
    const struct kms_audit_command line = { .op = PROOF_OP,
                                            .outcome = outcome,
                                            .generation = result->options->destroy };
    kms_audit_log_done(&result->ring->keyring.config, &line);
}

static int fail_report(const struct kms_verify_options *options, const struct kms_verify_ring *ring,
                       const struct kms_error *err)
{
    const struct kms_audit_command line = { .op = PROOF_OP, .code = err->code };
    if (options->prove)
        kms_audit_log_done(&ring->keyring.config, &line);
    return kms_command_fail(err);
}

static int report(const struct kms_verify_options *options, const struct kms_verify_ring *ring,
                  struct kms_etcd_source *source, FILE *list, struct kms_error *err)
{
    struct kms_unwrapper unwrapper = { .ring = ring->name,
                                       .keystore = ring->keyring.keystore,
                                       .snapshot = ring->snapshot,
                                       .wanted = options->destroy };
    const struct kms_prover prover = { .context = &unwrapper, .prove = kms_unwrapper_prove };
    struct kms_report_options asked = report_options(options, ring, list);
    if (options->prove)
        asked.prover = &prover;
    KMS_CLEANUP(kms_report_close_ptr) struct kms_report *made = NULL;
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    struct kms_verify_result result = { .options = options,
                                        .ring = ring,
                                        .summary = &summary,
                                        .started_utc_s = kms_utc_s(),
                                        .duration_ms = -kms_monotonic_ms() };
    const char *below = kms_verify_reads_all(options) ? NULL : options->prefix;
    if (kms_report_open(&asked, &made, err) != KMS_OK ||
        kms_verify_read(source, below, made, &summary, err) != KMS_OK)
        return fail_report(options, ring, err);
    result.report = made;
    result.duration_ms += kms_monotonic_ms();
    result.verdict = kms_report_verdict(made, &summary);
    print(&result);
    if (options->prove)
        audit_proof(&result);
    int code = options->record ? kms_verify_record(&result) : KMS_EXIT_OK;
    return code == KMS_EXIT_OK ? exit_code(result.verdict.kind) : code;
}

/* Nothing is unwrapped that the audit log doesn't have. */
static int answer(const struct kms_verify_options *options, const struct kms_verify_ring *ring,
                  struct kms_etcd_source *source, FILE *list, struct kms_error *err)
{
    if (options->prove &&
        kms_audit_log_begin(&ring->keyring.config, PROOF_OP, options->destroy, err) != KMS_OK)
        return kms_audit_log_refuse(err);
    return report(options, ring, source, list, err);
}

static int verify(struct kms_verify_options *options)
{
    KMS_CLEANUP(kms_config_done) struct kms_config config = { 0 };
    KMS_CLEANUP(kms_etcd_close_ptr) struct kms_etcd_source *source = NULL;
    KMS_CLEANUP(kms_verify_ring_done) struct kms_verify_ring ring = { 0 };
    struct kms_error err = { .code = KMS_OK };
    FILE *list = NULL;
    enum kms_code rc = add_configured(options, &config, &err);
    if (rc == KMS_OK)
        rc = kms_etcd_choice_open(&options->etcd, &source, &err);
    if (rc == KMS_OK && options->list_path != NULL)
        rc = kms_own_file_open(options->list_path, &list, &err);
    if (rc == KMS_OK)
        rc = kms_verify_ring_find(&ring, options, &err);
    int code = rc == KMS_OK ? answer(options, &ring, source, list, &err) : kms_command_fail(&err);
    if (list != NULL && kms_own_file_finish(list, options->list_path, &err) != KMS_OK)
        code = kms_command_fail(&err);
    return code;
}

int kms_command_verify(int argc, char **argv)
{
    static const struct argp_child children[] = {
        { &kms_etcd_choice_argp, 0, NULL, 0 },
        { &kms_keyring_argp, 0, NULL, 0 },
        { 0 },
    };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc =
            "Reads all of kube-apiserver's values from etcd, or from a snapshot of it, and tells "
            "what is encrypted and under which key.\vExits 0 if everything is encrypted under the "
            "promoted key, 2 with findings, 4 if values are under KEKs that aren't there; with "
            "--can-destroy and --can-remove-provider 0 if nothing needs it, else 3.",
        .children = children,
    };
    struct kms_verify_options options = { .prefix = KMS_REGISTRY_PREFIX };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    return kms_command_finish(verify(&options));
}
