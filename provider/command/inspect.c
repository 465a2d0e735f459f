/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "kms/fd.h"

enum { SOCKET = 768, PREFIX, REVISION, DECRYPT, OUT, STDOUT };

static const struct argp_option argp_options[] = {
    { "prefix", PREFIX, "PREFIX", 0, "kube-apiserver's --etcd-prefix (default /registry)", 1 },
    { "revision", REVISION, "N", 0, "of a snapshot: the value as written at this revision", 1 },
    { "socket", SOCKET, "PATH", 0, "the plugin's socket (default: as configured)", 2 },
    { "decrypt", DECRYPT, NULL, 0,
      "open the object with the HSM; needs --pin-file or --ask-pin, and --out or --stdout", 3 },
    { "out", OUT, "FILE", 0, "with --decrypt: write the object to this new file", 3 },
    { "stdout", STDOUT, NULL, 0, "with --decrypt: write the object to stdout, and nothing else",
      3 },
    { 0 },
};

static int64_t parse_revision(const char *arg, struct argp_state *state)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(arg, &end, 10);
    if (arg[0] < '0' || arg[0] > '9' || *end != '\0' || errno != 0 || number == 0)
        argp_error(state, "--revision is a number, 1 or more");
    return number;
}

static void check(const struct kms_inspect_options *options, struct argp_state *state)
{
    bool has_source = options->etcd.endpoints != NULL || options->etcd.snapshot != NULL;
    if (options->key == NULL && (has_source || options->decrypt))
        argp_error(state, "the etcd KEY is needed: /registry/secrets/NAMESPACE/NAME");
    if (options->revision != 0 && options->etcd.snapshot == NULL)
        argp_error(state, "--revision goes with --snapshot");
    if (options->decrypt && (options->out_path != NULL) == options->to_stdout)
        argp_error(state, "--decrypt needs --out FILE or --stdout");
    if (!options->decrypt && (options->out_path != NULL || options->to_stdout))
        argp_error(state, "--out and --stdout go with --decrypt");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct kms_inspect_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->etcd;
        state->child_inputs[1] = &options->keyring;
        return 0;
    case SOCKET:
        options->socket = arg;
        return 0;
    case PREFIX:
        options->prefix = arg;
        return 0;
    case REVISION:
        options->revision = parse_revision(arg, state);
        return 0;
    case DECRYPT:
        options->decrypt = true;
        return 0;
    case OUT:
        options->out_path = arg;
        return 0;
    case STDOUT:
        options->to_stdout = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->key != NULL)
            argp_error(state, "one KEY at a time");
        options->key = arg;
        return 0;
    case ARGP_KEY_END:
        check(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- the value --- */

struct search {
    const struct kms_inspect_options *options;
    struct kms_inspected *found;
    int64_t deleted; /* revision of the newest tombstone; 0: none */
    int64_t older;   /* of the newest value of history; 0: none */
    bool done;
};

static enum kms_code visit(void *context, const struct kms_etcd_entry *entry, struct kms_error *err)
{
    struct search *search = context;
    int64_t wanted = search->options->revision;
    if (search->done || !kms_bytes_equal(entry->key, kms_bytes_of(search->options->key)))
        return KMS_OK;
    if (entry->state == KMS_ETCD_DELETED) {
        if (search->deleted == 0)
            search->deleted = entry->mod_revision;
        return KMS_OK;
    }
    if (entry->state == KMS_ETCD_HISTORY && search->older == 0)
        search->older = entry->mod_revision;
    if (wanted != 0 ? entry->mod_revision != wanted : entry->state != KMS_ETCD_CURRENT)
        return KMS_OK;
    search->done = true;
    search->found->history = entry->state == KMS_ETCD_HISTORY;
    search->found->create_revision = entry->create_revision;
    search->found->mod_revision = entry->mod_revision;
    search->found->version = entry->version;
    return kms_plaintext_copy(&search->found->stored, entry->value, err);
}

static enum kms_code fail_absent(const struct search *search, struct kms_error *err)
{
    if (search->options->revision != 0)
        return kms_fail(err, KMS_E_INVALID, "the key has no value of this revision%s",
                        search->deleted != 0 || search->older != 0 ? ", but of others" : "");
    if (search->deleted != 0 && search->older != 0)
        return kms_fail(err, KMS_E_INVALID,
                        "the key was deleted at revision %" PRId64
                        "; its last value is there by --revision %" PRId64,
                        search->deleted, search->older);
    if (search->deleted != 0)
        return kms_fail(err, KMS_E_INVALID,
                        "the key was deleted at revision %" PRId64
                        ", and no value of it is left in this file",
                        search->deleted);
    return kms_fail(err, KMS_E_INVALID, "there is no such key");
}

static enum kms_code read_source(const struct kms_inspect_options *options,
                                 struct kms_inspected *inspected, struct kms_error *err)
{
    KMS_CLEANUP(kms_etcd_close_ptr) struct kms_etcd_source *source = NULL;
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    struct search search = { .options = options, .found = inspected };
    const struct kms_etcd_query query = { .prefix = kms_bytes_of(options->key),
                                          .visit = visit,
                                          .context = &search };
    enum kms_code rc = kms_etcd_choice_open(&options->etcd, &source, err);
    if (rc == KMS_OK)
        rc = kms_etcd_read(source, &query, &summary, err);
    if (rc == KMS_OK && !search.done)
        rc = fail_absent(&search, err);
    return rc;
}

/* One buffer for the largest, so that nothing is left behind by growing. */
static enum kms_code read_stdin(struct kms_plaintext *ret_stored, struct kms_error *err)
{
    KMS_CLEANUP(kms_plaintext_done) struct kms_plaintext buffer = { 0 };
    enum kms_code rc = kms_plaintext_init(&buffer, KMS_OBJECT_MAX + 1, err);
    size_t len = 0;
    if (rc != KMS_OK)
        return rc;
    if (!kms_fd_read(STDIN_FILENO, buffer.data, buffer.len, &len))
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "can't read stdin");
    if (len == 0)
        return kms_fail(
            err, KMS_E_INVALID,
            "stdin is empty: pipe in a raw value, or name --etcd or --snapshot and KEY");
    if (len > KMS_OBJECT_MAX)
        return kms_fail(err, KMS_E_INVALID, "stdin has more than %d bytes", KMS_OBJECT_MAX);
    return kms_plaintext_copy(ret_stored, (struct kms_bytes){ buffer.data, len }, err);
}

/* etcdctl get --print-value-only ends a value with a newline that isn't part of it. */
static void drop_newline(struct kms_inspected *inspected)
{
    struct kms_plaintext *stored = &inspected->stored;
    if (inspected->value.class != KMS_VALUE_MALFORMED || stored->data[stored->len - 1] != '\n')
        return;
    const struct kms_bytes shorter = { stored->data, stored->len - 1 };
    struct kms_value value = kms_value_classify(shorter);
    if (value.class == KMS_VALUE_MALFORMED)
        return;
    kms_command_note("the newline at the end is left out: etcdctl adds one");
    stored->len = shorter.len;
    inspected->value = value;
}

static void inspected_done(struct kms_inspected *inspected)
{
    kms_plaintext_done(&inspected->stored);
}

static int inspect(const struct kms_inspect_options *options)
{
    KMS_CLEANUP(inspected_done) struct kms_inspected inspected = { .history = false };
    struct kms_error err = { .code = KMS_OK };
    bool from_stdin = options->etcd.endpoints == NULL && options->etcd.snapshot == NULL;
    enum kms_code rc = from_stdin ? read_stdin(&inspected.stored, &err)
                                  : read_source(options, &inspected, &err);
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    const struct kms_bytes stored = { inspected.stored.data, inspected.stored.len };
    inspected.value = kms_value_classify(stored);
    if (from_stdin)
        drop_newline(&inspected);
    inspected.name = kms_registry_parse(kms_bytes_of(options->prefix),
                                        kms_bytes_of(options->key != NULL ? options->key : ""));
    if (options->decrypt)
        return kms_inspect_open(options, &inspected);
    struct kms_inspect_kek kek = { .from = NULL };
    kms_inspect_find_kek(options, &inspected.value, &kek);
    kms_inspect_print(options, &inspected, &kek);
    return KMS_EXIT_OK;
}

int kms_command_inspect(int argc, char **argv)
{
    static const struct argp_child children[] = {
        { &kms_etcd_choice_argp, 0, NULL, 0 },
        { &kms_keyring_argp, 0, NULL, 0 },
        { 0 },
    };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .args_doc = "[KEY]",
        .doc =
            "Shows every field of one value of kube-apiserver's: from etcd, from a snapshot, or as "
            "it stands on stdin.\vWith --decrypt the object itself, with etcd and the HSM alone: "
            "that passes by RBAC and by kube-apiserver's audit.",
        .children = children,
    };
    struct kms_inspect_options options = { .prefix = KMS_REGISTRY_PREFIX };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    return kms_command_finish(inspect(&options));
}
