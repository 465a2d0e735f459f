/* SPDX-License-Identifier: Apache-2.0 */
#include "remote.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kms/clock.h"
#include "remote_state.h"

static struct kms_remote *remote_of(struct kms_keystore *base)
{
    return (struct kms_remote *)base;
}

static enum kms_code inventory(struct kms_keystore *base, const struct kms_kek_filter *filter,
                               int64_t deadline_ms, struct kms_inventory *ret_inventory,
                               struct kms_error *err)
{
    struct kms_remote *remote = remote_of(base);
    struct kms_host_call call = { .op = KMS_HOST_LIST, .filter = *filter };
    KMS_CLEANUP(kms_host_answer_done)
    struct kms_host_answer answer = { .failure = { .code = KMS_OK } };
    struct kms_error own;
    (void)pthread_mutex_lock(&remote->lock);
    call.reload = remote->reload;
    remote->reload = false;
    (void)pthread_mutex_unlock(&remote->lock);
    enum kms_code rc = kms_remote_call(remote, &call, deadline_ms, &answer, &own);
    bool arrived = rc == KMS_OK || rc == KMS_E_DEADLINE || answer.failure.code != KMS_OK;
    if (call.reload && !arrived) {
        (void)pthread_mutex_lock(&remote->lock);
        remote->reload = true;
        (void)pthread_mutex_unlock(&remote->lock);
    }
    if (rc != KMS_OK) {
        if (err != NULL)
            *err = own;
        return rc;
    }
    *ret_inventory = answer.inventory;
    answer.inventory = (struct kms_inventory){ 0 };
    return KMS_OK;
}

static enum kms_code call_and_wait(struct kms_keystore *base, const struct kms_host_call *call,
                                   int64_t deadline_ms, struct kms_host_answer *answer,
                                   struct kms_error *err)
{
    struct kms_error own;
    enum kms_code rc = kms_remote_call(remote_of(base), call, deadline_ms, answer, &own);
    if (rc != KMS_OK && err != NULL)
        *err = own;
    return rc;
}

static enum kms_code canary(struct kms_keystore *base, const struct kms_kek_ref *kek,
                            int64_t deadline_ms, struct kms_error *err)
{
    const struct kms_host_call call = { .op = KMS_HOST_CANARY, .kek = *kek };
    KMS_CLEANUP(kms_host_answer_done)
    struct kms_host_answer answer = { .failure = { .code = KMS_OK } };
    return call_and_wait(base, &call, deadline_ms, &answer, err);
}

static enum kms_code wrap(struct kms_keystore *base, const struct kms_kek_ref *kek,
                          struct kms_bytes seed, int64_t deadline_ms,
                          struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    const struct kms_host_call call = { .op = KMS_HOST_WRAP, .kek = *kek, .data = seed };
    KMS_CLEANUP(kms_host_answer_done)
    struct kms_host_answer answer = { .failure = { .code = KMS_OK } };
    enum kms_code rc = call_and_wait(base, &call, deadline_ms, &answer, err);
    if (rc != KMS_OK)
        return rc;
    const struct kms_secret *wrapped = &answer.data;
    if (wrapped->len != seed.len + kms_algorithm_overhead(answer.algorithm) ||
        wrapped->len > sizeof(ret_wrapped->data))
        return kms_fail(err, KMS_E_INTERNAL, "the token host wrapped %zu bytes to %zu", seed.len,
                        wrapped->len);
    memcpy(ret_wrapped->data, wrapped->data, wrapped->len);
    ret_wrapped->len = wrapped->len;
    ret_wrapped->algorithm = answer.algorithm;
    return KMS_OK;
}

static enum kms_code unwrap(struct kms_keystore *base, const struct kms_kek_ref *kek,
                            enum kms_algorithm algorithm, struct kms_bytes wrapped,
                            int64_t deadline_ms, struct kms_secret *ret_seed, struct kms_error *err)
{
    const struct kms_host_call call = {
        .op = KMS_HOST_UNWRAP, .kek = *kek, .data = wrapped, .algorithm = algorithm
    };
    KMS_CLEANUP(kms_host_answer_done)
    struct kms_host_answer answer = { .failure = { .code = KMS_OK } };
    enum kms_code rc = call_and_wait(base, &call, deadline_ms, &answer, err);
    if (rc != KMS_OK)
        return rc;
    if (answer.data.len + kms_algorithm_overhead(algorithm) != wrapped.len)
        return kms_fail(err, KMS_E_INTERNAL, "the token host unwrapped %zu bytes to %zu",
                        wrapped.len, answer.data.len);
    *ret_seed = kms_secret_take(&answer.data);
    return KMS_OK;
}

static enum kms_code sign(struct kms_keystore *base, const char *label, struct kms_bytes message,
                          int64_t deadline_ms, struct kms_signature *ret_signature,
                          struct kms_error *err)
{
    const struct kms_host_call call = { .op = KMS_HOST_SIGN, .label = label, .data = message };
    KMS_CLEANUP(kms_host_answer_done)
    struct kms_host_answer answer = { .failure = { .code = KMS_OK } };
    enum kms_code rc = call_and_wait(base, &call, deadline_ms, &answer, err);
    if (rc != KMS_OK)
        return rc;
    if (answer.signature.len == 0)
        return kms_fail(err, KMS_E_INTERNAL, "the token host gave no signature");
    *ret_signature = answer.signature;
    return KMS_OK;
}

static size_t describe(struct kms_keystore *base, struct kms_token_info *ret_infos)
{
    struct kms_remote *remote = remote_of(base);
    (void)pthread_mutex_lock(&remote->lock);
    *ret_infos = remote->info;
    (void)pthread_mutex_unlock(&remote->lock);
    return 1;
}

static void reload(struct kms_keystore *base)
{
    struct kms_remote *remote = remote_of(base);
    (void)pthread_mutex_lock(&remote->lock);
    remote->reload = true;
    (void)pthread_mutex_unlock(&remote->lock);
}

/* --- opened and closed --- */

static void free_texts(char **texts)
{
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
        free(texts[i]);
    free((void *)texts);
}

/* NULL without memory. */
static char **copy_texts(const char *const *texts)
{
    size_t count = 0;
    while (texts[count] != NULL)
        count++;
    char **copy = calloc(count + 1, sizeof(char *));
    for (size_t i = 0; i < count && copy != NULL; i++) {
        copy[i] = strdup(texts[i]);
        if (copy[i] == NULL) {
            free_texts(copy);
            return NULL;
        }
    }
    return copy;
}

/* The value of @option; NULL: it isn't there. */
static char **find_value(char **argv, const char *option)
{
    for (size_t i = 0; option != NULL && argv[i] != NULL && argv[i + 1] != NULL; i++) {
        if (strcmp(argv[i], option) == 0)
            return &argv[i + 1];
    }
    return NULL;
}

static void free_remote(struct kms_remote *remote)
{
    kms_host_memory_done(&remote->memory);
    free(remote->path);
    free_texts(remote->argv);
    free_texts(remote->environment);
    if (remote->wake >= 0)
        (void)close(remote->wake);
    (void)pthread_mutex_destroy(&remote->lock);
    (void)pthread_cond_destroy(&remote->changed);
    free(remote);
}

static void close_remote(struct kms_keystore *base)
{
    struct kms_remote *remote = remote_of(base);
    (void)pthread_mutex_lock(&remote->lock);
    remote->stopping = true;
    if (remote->phase == KMS_REMOTE_PROVING) { /* which may take long: it ends with its lanes */
        remote->phase = KMS_REMOTE_ENDING;
        for (size_t i = 0; i < remote->lane_count; i++)
            (void)shutdown(remote->child->lanes[i].fd, SHUT_RDWR);
    }
    (void)pthread_cond_broadcast(&remote->changed);
    (void)pthread_mutex_unlock(&remote->lock);
    kms_remote_wake_keeper(remote);
    (void)pthread_join(remote->keeper, NULL);
    free_remote(remote);
}

static const struct kms_keystore_ops ops = {
    .inventory = inventory,
    .canary = canary,
    .wrap = wrap,
    .unwrap = unwrap,
    .sign = sign,
    .describe = describe,
    .reload = reload,
    .close = close_remote,
};

enum kms_code kms_remote_open(const struct kms_remote_options *options,
                              struct kms_keystore **ret_keystore, struct kms_error *err)
{
    if (options->lanes == 0 || options->lanes > KMS_HOST_LANES_MAX)
        return kms_fail(err, KMS_E_INVALID, "%u lanes are out of range 1..%d", options->lanes,
                        (int)KMS_HOST_LANES_MAX);
    struct kms_remote *remote = calloc(1, sizeof(*remote));
    if (remote == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a keystore");
    remote->base.ops = &ops;
    remote->lane_count = options->lanes;
    remote->memory_limit = options->memory_limit;
    remote->path = strdup(options->command.path);
    remote->argv = copy_texts(options->command.argv);
    remote->environment = copy_texts(options->command.environment);
    if (remote->argv != NULL)
        remote->profile = find_value(remote->argv, options->profile_option);
    remote->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    (void)pthread_mutex_init(&remote->lock, NULL);
    kms_cond_init(&remote->changed);
    kms_fail(&remote->why, KMS_E_UNAVAILABLE, "the token is not reached yet");
    if (remote->path == NULL || remote->argv == NULL || remote->environment == NULL ||
        remote->wake < 0 || pthread_create(&remote->keeper, NULL, kms_remote_keep, remote) != 0) {
        free_remote(remote);
        return kms_fail(err, KMS_E_BUSY, "no memory or no thread for a token host's keeper");
    }
    *ret_keystore = &remote->base;
    return KMS_OK;
}
