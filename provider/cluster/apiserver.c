/* SPDX-License-Identifier: Apache-2.0 */
#include "apiserver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apiserver_edit.h"
#include "small_file.h"
#include "yaml_tree.h"

enum { WORD_MAX = 4096 };

static enum kms_code no_memory(const char *file, struct kms_error *err)
{
    return kms_fail(err, KMS_E_BUSY, "%s: out of memory", file);
}

enum kms_code kms_apiserver_add_arg(const char *file, const char *text,
                                    struct kms_apiserver *apiserver, struct kms_error *err)
{
    if (apiserver->args == NULL)
        apiserver->args = calloc(KMS_APISERVER_ARGS_MAX, sizeof(*apiserver->args));
    if (apiserver->args == NULL)
        return no_memory(file, err);
    if (apiserver->arg_count == KMS_APISERVER_ARGS_MAX)
        return kms_fail(err, KMS_E_INVALID, "%s: more than %d arguments", file,
                        KMS_APISERVER_ARGS_MAX);
    char *copy = strdup(text);
    if (copy == NULL)
        return no_memory(file, err);
    apiserver->args[apiserver->arg_count++] = copy;
    return KMS_OK;
}

/* Without the slashes at its end. */
static bool copy_path(const char *path, char ret_path[static KMS_APISERVER_PATH_MAX + 1])
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len == 0 || len > KMS_APISERVER_PATH_MAX)
        return false;
    memcpy(ret_path, path, len);
    ret_path[len] = '\0';
    return true;
}

enum kms_code kms_apiserver_reserve(const char *file, size_t mount_count,
                                    struct kms_apiserver *apiserver, struct kms_error *err)
{
    if (mount_count > KMS_APISERVER_MOUNTS_MAX)
        return kms_fail(err, KMS_E_INVALID, "%s: more than %d mounts", file,
                        KMS_APISERVER_MOUNTS_MAX);
    apiserver->mounts = calloc(mount_count + 1, sizeof(*apiserver->mounts));
    return apiserver->mounts != NULL ? KMS_OK : no_memory(file, err);
}

bool kms_apiserver_add_mount(struct kms_apiserver *apiserver, const char *host, const char *type,
                             const char *inside)
{
    struct kms_apiserver_mount *mount = &apiserver->mounts[apiserver->mount_count];
    if (inside == NULL || !copy_path(inside, mount->inside) ||
        (host != NULL && !copy_path(host, mount->host)))
        return false;
    (void)snprintf(mount->type, sizeof(mount->type), "%s", type != NULL ? type : "");
    apiserver->mount_count++;
    return true;
}

/* @prefix: what k3s leaves out. */
static enum kms_code add_word(struct kms_yaml_tree *tree, const yaml_node_t *node,
                              const char *prefix, struct kms_apiserver *apiserver,
                              struct kms_error *err)
{
    char text[WORD_MAX + 8];
    const char *word = kms_yaml_text(node);
    if (word == NULL || strlen(word) > WORD_MAX)
        return kms_yaml_fault(tree, node, err, "expected an argument");
    (void)snprintf(text, sizeof(text), "%s%s", prefix, word);
    return kms_apiserver_add_arg(tree->file, text, apiserver, err);
}

static enum kms_code add_args(struct kms_yaml_tree *tree, const yaml_node_t *list,
                              const char *prefix, struct kms_apiserver *apiserver,
                              struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; rc == KMS_OK && i < kms_yaml_count(list); i++)
        rc = add_word(tree, kms_yaml_item(tree, list, i), prefix, apiserver, err);
    return rc;
}

/* --- a Pod --- */

static bool is_named(const char *word, const char *name)
{
    const char *slash = word != NULL ? strrchr(word, '/') : NULL;
    return word != NULL && strcmp(slash != NULL ? slash + 1 : word, name) == 0;
}

static const yaml_node_t *find_container(struct kms_yaml_tree *tree, const yaml_node_t *spec)
{
    const yaml_node_t *list = kms_yaml_get(tree, spec, "containers");
    for (size_t i = 0; i < kms_yaml_count(list); i++) {
        const yaml_node_t *container = kms_yaml_item(tree, list, i);
        const yaml_node_t *command = kms_yaml_get(tree, container, "command");
        if (is_named(kms_yaml_text(kms_yaml_get(tree, container, "name")), "kube-apiserver") ||
            is_named(kms_yaml_text(kms_yaml_item(tree, command, 0)), "kube-apiserver"))
            return container;
    }
    return NULL;
}

/* A number that isn't there leaves *id alone. */
static void read_id(struct kms_yaml_tree *tree, const yaml_node_t *map, const char *key,
                    unsigned *id)
{
    const char *text = kms_yaml_text(kms_yaml_get(tree, map, key));
    char *end = NULL;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return;
    unsigned long number = strtoul(text, &end, 10);
    if (*end == '\0' && number < UINT32_MAX)
        *id = (unsigned)number;
}

static void add_group(struct kms_apiserver *apiserver, unsigned gid)
{
    if (gid != UINT32_MAX && apiserver->group_count < KMS_APISERVER_GROUPS_MAX)
        apiserver->groups[apiserver->group_count++] = gid;
}

static void read_user(struct kms_yaml_tree *tree, const yaml_node_t *spec,
                      const yaml_node_t *container, struct kms_apiserver *apiserver)
{
    const yaml_node_t *pods = kms_yaml_get(tree, spec, "securityContext");
    const yaml_node_t *own = kms_yaml_get(tree, container, "securityContext");
    const yaml_node_t *more = kms_yaml_get(tree, pods, "supplementalGroups");
    unsigned fs_group = UINT32_MAX;
    read_id(tree, pods, "runAsUser", &apiserver->uid);
    read_id(tree, own, "runAsUser", &apiserver->uid);
    read_id(tree, pods, "runAsGroup", &apiserver->gid);
    read_id(tree, own, "runAsGroup", &apiserver->gid);
    read_id(tree, pods, "fsGroup", &fs_group);
    add_group(apiserver, fs_group);
    for (size_t i = 0; i < kms_yaml_count(more); i++) {
        const char *text = kms_yaml_text(kms_yaml_item(tree, more, i));
        unsigned long gid = text != NULL ? strtoul(text, NULL, 10) : UINT32_MAX;
        add_group(apiserver, gid < UINT32_MAX ? (unsigned)gid : UINT32_MAX);
    }
}

/* The hostPath of volume @name; NULL if it isn't the host's. */
static const yaml_node_t *host_path(struct kms_yaml_tree *tree, const yaml_node_t *spec,
                                    const char *name)
{
    const yaml_node_t *volumes = kms_yaml_get(tree, spec, "volumes");
    for (size_t i = 0; name != NULL && i < kms_yaml_count(volumes); i++) {
        const yaml_node_t *volume = kms_yaml_item(tree, volumes, i);
        const char *own = kms_yaml_text(kms_yaml_get(tree, volume, "name"));
        if (own != NULL && strcmp(own, name) == 0)
            return kms_yaml_get(tree, volume, "hostPath");
    }
    return NULL;
}

static bool read_mount(struct kms_yaml_tree *tree, const yaml_node_t *spec, const yaml_node_t *node,
                       struct kms_apiserver *apiserver)
{
    const char *inside = kms_yaml_text(kms_yaml_get(tree, node, "mountPath"));
    const char *below = kms_yaml_text(kms_yaml_get(tree, node, "subPath"));
    const char *expr = kms_yaml_text(kms_yaml_get(tree, node, "subPathExpr"));
    const yaml_node_t *volume = host_path(tree, spec,
                                          kms_yaml_text(kms_yaml_get(tree, node, "name")));
    const char *host = kms_yaml_text(kms_yaml_get(tree, volume, "path"));
    const char *type = kms_yaml_text(kms_yaml_get(tree, volume, "type"));
    char joined[2 * KMS_APISERVER_PATH_MAX];
    if (host == NULL)
        return kms_apiserver_add_mount(apiserver, NULL, NULL, inside);
    bool sub_path = below != NULL && below[0] != '\0';
    int len = snprintf(joined, sizeof(joined), "%s%s%s", host, sub_path ? "/" : "",
                       sub_path ? below : "");
    if ((size_t)len >= sizeof(joined) || !kms_apiserver_add_mount(apiserver, joined, type, inside))
        return false;
    struct kms_apiserver_mount *mount = &apiserver->mounts[apiserver->mount_count - 1];
    mount->sub_path = sub_path;
    mount->sub_path_expr = expr != NULL && expr[0] != '\0';
    return true;
}

static enum kms_code read_mounts(struct kms_yaml_tree *tree, const yaml_node_t *spec,
                                 const yaml_node_t *container, struct kms_apiserver *apiserver,
                                 struct kms_error *err)
{
    const yaml_node_t *list = kms_yaml_get(tree, container, "volumeMounts");
    size_t count = kms_yaml_count(list);
    enum kms_code rc = kms_apiserver_reserve(tree->file, count, apiserver, err);
    if (rc != KMS_OK)
        return rc;
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *node = kms_yaml_item(tree, list, i);
        if (!read_mount(tree, spec, node, apiserver))
            return kms_yaml_fault(tree, node, err, "a mount without a usable path");
    }
    return KMS_OK;
}

static void read_words_of(struct kms_yaml_tree *tree, const yaml_node_t *list,
                          struct kms_probe *probe)
{
    size_t used = 0;
    for (size_t i = 0; i < kms_yaml_count(list) && used < sizeof(probe->text); i++) {
        const char *word = kms_yaml_text(kms_yaml_item(tree, list, i));
        used += (size_t)snprintf(probe->text + used, sizeof(probe->text) - used, "%s%s",
                                 i > 0 ? " " : "", word != NULL ? word : "?");
    }
}

static void read_probe(struct kms_yaml_tree *tree, const yaml_node_t *container, const char *name,
                       struct kms_probe *probe)
{
    const yaml_node_t *node = kms_yaml_get(tree, container, name);
    const yaml_node_t *get = kms_yaml_get(tree, node, "httpGet");
    const yaml_node_t *exec = kms_yaml_get(tree, node, "exec");
    const char *path = kms_yaml_text(kms_yaml_get(tree, get, "path"));
    if (kms_yaml_is_null(node))
        return;
    probe->kind = KMS_PROBE_OTHER;
    if (get != NULL) {
        probe->kind = KMS_PROBE_HTTP;
        (void)snprintf(probe->text, sizeof(probe->text), "%s", path != NULL ? path : "/");
    }
    if (exec != NULL) {
        probe->kind = KMS_PROBE_EXEC;
        read_words_of(tree, kms_yaml_get(tree, exec, "command"), probe);
    }
}

static enum kms_code read_pod(struct kms_yaml_tree *tree, struct kms_apiserver *apiserver,
                              struct kms_error *err)
{
    const yaml_node_t *root = kms_yaml_root(tree), *spec = kms_yaml_get(tree, root, "spec");
    const yaml_node_t *container = find_container(tree, spec);
    if (container == NULL)
        return kms_yaml_fault(tree, root, err, "a Pod without a container kube-apiserver");
    apiserver->source = KMS_APISERVER_POD;
    read_user(tree, spec, container, apiserver);
    read_probe(tree, container, "livenessProbe", &apiserver->liveness);
    read_probe(tree, container, "startupProbe", &apiserver->startup);
    enum kms_code rc = add_args(tree, kms_yaml_get(tree, container, "command"), "", apiserver, err);
    if (rc == KMS_OK)
        rc = add_args(tree, kms_yaml_get(tree, container, "args"), "", apiserver, err);
    if (rc == KMS_OK)
        rc = read_mounts(tree, spec, container, apiserver, err);
    return rc;
}

/* --- all of them --- */

static enum kms_code read_yaml(const char *file, struct kms_bytes text,
                               struct kms_apiserver *apiserver, struct kms_error *err)
{
    KMS_CLEANUP(kms_yaml_done) struct kms_yaml_tree tree = { 0 };
    enum kms_code rc = kms_yaml_load(file, text, &tree, err);
    if (rc != KMS_OK)
        return rc;
    const yaml_node_t *root = kms_yaml_root(&tree);
    const yaml_node_t *k3s = kms_yaml_get(&tree, root, "kube-apiserver-arg");
    const char *kind = kms_yaml_text(kms_yaml_get(&tree, root, "kind"));
    if (kind != NULL && strcmp(kind, "Pod") == 0)
        return read_pod(&tree, apiserver, err);
    if (kms_yaml_text(k3s) != NULL)
        return add_word(&tree, k3s, "--", apiserver, err); /* one, without a list */
    if (kms_yaml_count(k3s) > 0)
        return add_args(&tree, k3s, "--", apiserver, err);
    return kms_yaml_fault(&tree, root, err,
                          "neither a Pod nor a k3s configuration with kube-apiserver-arg");
}

static bool has_word(const struct kms_apiserver *apiserver, size_t at, const char *word)
{
    return at < apiserver->arg_count && strcmp(apiserver->args[at], word) == 0;
}

/* Makes the words of `k3s server` those of its kube-apiserver. */
static enum kms_code unwrap_k3s(const char *file, struct kms_apiserver *apiserver,
                                struct kms_error *err)
{
    KMS_CLEANUP(kms_apiserver_done)
    struct kms_apiserver inner = { .uid = apiserver->uid, .gid = apiserver->gid };
    const char *arg;
    enum kms_code rc = KMS_OK;
    for (size_t at = 0; rc == KMS_OK && (arg = kms_apiserver_next_flag(
                                             apiserver, "kube-apiserver-arg", &at)) != NULL;) {
        char text[WORD_MAX + 8];
        if (strlen(arg) > WORD_MAX)
            return kms_fail(err, KMS_E_INVALID, "%s: an argument is too long", file);
        (void)snprintf(text, sizeof(text), "--%s", arg);
        rc = kms_apiserver_add_arg(file, text, &inner, err);
    }
    if (rc == KMS_OK && inner.arg_count == 0)
        return kms_fail(err, KMS_E_INVALID,
                        "%s: k3s' command line without --kube-apiserver-arg; its config.yaml may "
                        "have them",
                        file);
    if (rc != KMS_OK)
        return rc;
    kms_apiserver_done(apiserver);
    *apiserver = inner;
    inner = (struct kms_apiserver){ 0 };
    return KMS_OK;
}

/* A command line of another process says nothing. */
static enum kms_code settle_words(const char *file, struct kms_apiserver *apiserver,
                                  struct kms_error *err)
{
    const char *program = apiserver->args[0];
    if (is_named(program, "kube-apiserver") ||
        (is_named(program, "hyperkube") &&
         (has_word(apiserver, 1, "kube-apiserver") || has_word(apiserver, 1, "apiserver"))))
        return KMS_OK;
    if ((is_named(program, "k3s") || is_named(program, "rke2")) && has_word(apiserver, 1, "server"))
        return unwrap_k3s(file, apiserver, err);
    return kms_fail(err, KMS_E_INVALID,
                    "%s: this isn't kube-apiserver's command line but that of "
                    "%.100s",
                    file, program);
}

static enum kms_code read_words(const char *file, struct kms_bytes text,
                                struct kms_apiserver *apiserver, struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    const char *at = (const char *)text.data, *end = at + text.len;
    for (; rc == KMS_OK && at < end; at += strnlen(at, (size_t)(end - at)) + 1) {
        char *word = strndup(at, (size_t)(end - at));
        rc = word != NULL ? kms_apiserver_add_arg(file, word, apiserver, err)
                          : no_memory(file, err);
        free(word);
    }
    if (rc == KMS_OK)
        rc = settle_words(file, apiserver, err);
    apiserver->source = KMS_APISERVER_PROCESS;
    return rc;
}

enum kms_code kms_apiserver_parse(const char *file, struct kms_bytes text, uid_t uid, gid_t gid,
                                  struct kms_apiserver *ret_apiserver, struct kms_error *err)
{
    KMS_CLEANUP(kms_apiserver_done) struct kms_apiserver apiserver = { 0 };
    bool words = text.len > 0 && memchr(text.data, '\0', text.len) != NULL;
    if (words) {
        apiserver.uid = uid;
        apiserver.gid = gid;
    }
    enum kms_code rc = words ? read_words(file, text, &apiserver, err)
                             : read_yaml(file, text, &apiserver, err);
    if (rc != KMS_OK)
        return rc;
    *ret_apiserver = apiserver;
    apiserver = (struct kms_apiserver){ 0 };
    return KMS_OK;
}

/* /proc/PID/root beside /proc/PID/cmdline. */
static void find_root(const char *path, struct kms_apiserver *apiserver)
{
    size_t len = strlen(path), end = strlen("/cmdline");
    if (is_named(path, "cmdline") && len - end + strlen("/root") <= KMS_APISERVER_PATH_MAX)
        (void)snprintf(apiserver->root, sizeof(apiserver->root), "%.*s/root", (int)(len - end),
                       path);
}

enum kms_code kms_apiserver_load(const char *path, struct kms_apiserver *ret_apiserver,
                                 struct kms_error *err)
{
    KMS_CLEANUP(kms_small_file_done) struct kms_small_file file = { 0 };
    enum kms_code rc = kms_small_file_read(path, &file, err);
    if (rc != KMS_OK)
        return rc;
    const struct kms_bytes text = { (const uint8_t *)file.text, file.len };
    rc = kms_apiserver_parse(path, text, file.uid, file.gid, ret_apiserver, err);
    if (rc == KMS_OK && ret_apiserver->source == KMS_APISERVER_PROCESS)
        find_root(path, ret_apiserver);
    return rc;
}

void kms_apiserver_done(struct kms_apiserver *apiserver)
{
    for (size_t i = 0; i < apiserver->arg_count; i++)
        free(apiserver->args[i]);
    free((void *)apiserver->args);
    free(apiserver->mounts);
    *apiserver = (struct kms_apiserver){ 0 };
}

/* What follows --@name in @arg: "=VALUE" or nothing; NULL: it is another one. */
static const char *after_name(const char *arg, const char *name)
{
    if (strncmp(arg, "--", 2) != 0)
        return NULL;
    for (arg += 2; *name != '\0'; arg++, name++) {
        if ((*arg == '_' ? '-' : *arg) != *name)
            return NULL;
    }
    return *arg == '=' || *arg == '\0' ? arg : NULL;
}

const char *kms_apiserver_next_flag(const struct kms_apiserver *apiserver, const char *name,
                                    size_t *at)
{
    while (*at < apiserver->arg_count) {
        size_t next = ++*at;
        const char *rest = after_name(apiserver->args[next - 1], name);
        if (rest == NULL)
            continue;
        bool followed = next < apiserver->arg_count && apiserver->args[next][0] != '-';
        if (*rest == '=')
            return rest + 1;
        return followed ? apiserver->args[next] : "true";
    }
    return NULL;
}

const char *kms_apiserver_flag(const struct kms_apiserver *apiserver, const char *name)
{
    const char *last = NULL, *value = NULL;
    for (size_t at = 0; (value = kms_apiserver_next_flag(apiserver, name, &at)) != NULL;)
        last = value;
    return last;
}

bool kms_path_is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    if (strcmp(dir, "/") == 0)
        return path[0] == '/';
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

const struct kms_apiserver_mount *kms_apiserver_mount_of(const struct kms_apiserver *apiserver,
                                                         const char *path)
{
    const struct kms_apiserver_mount *best = NULL;
    for (size_t i = 0; i < apiserver->mount_count; i++) {
        const struct kms_apiserver_mount *mount = &apiserver->mounts[i];
        if (kms_path_is_below(path, mount->inside) &&
            (best == NULL || strlen(mount->inside) >= strlen(best->inside)))
            best = mount;
    }
    return best;
}
