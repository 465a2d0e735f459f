/* SPDX-License-Identifier: Apache-2.0 */
#include "apiserver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "small_file.h"
#include "yaml_tree.h"

static enum kms_code no_memory(const char *file, struct kms_error *err)
{
    return kms_fail(err, KMS_E_BUSY, "%s: out of memory", file);
}

static enum kms_code add_arg(const char *file, const char *text, struct kms_apiserver *apiserver,
                             struct kms_error *err)
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

/* @prefix: what k3s leaves out. */
static enum kms_code add_word(struct kms_yaml_tree *tree, const yaml_node_t *node,
                              const char *prefix, struct kms_apiserver *apiserver,
                              struct kms_error *err)
{
    enum { WORD_MAX = 4096 };
    char text[WORD_MAX + 8];
    const char *word = kms_yaml_text(node);
    if (word == NULL || strlen(word) > WORD_MAX)
        return kms_yaml_fault(tree, node, err, "expected an argument");
    (void)snprintf(text, sizeof(text), "%s%s", prefix, word);
    return add_arg(tree->file, text, apiserver, err);
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

static bool names_apiserver(const char *word)
{
    const char *slash = word != NULL ? strrchr(word, '/') : NULL;
    const char *name = slash != NULL ? slash + 1 : word;
    return name != NULL && strcmp(name, "kube-apiserver") == 0;
}

static const yaml_node_t *find_container(struct kms_yaml_tree *tree, const yaml_node_t *spec)
{
    const yaml_node_t *list = kms_yaml_get(tree, spec, "containers");
    for (size_t i = 0; i < kms_yaml_count(list); i++) {
        const yaml_node_t *container = kms_yaml_item(tree, list, i);
        const yaml_node_t *command = kms_yaml_get(tree, container, "command");
        if (names_apiserver(kms_yaml_text(kms_yaml_get(tree, container, "name"))) ||
            names_apiserver(kms_yaml_text(kms_yaml_item(tree, command, 0))))
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

/* The host's path of volume @name; NULL if it isn't the host's. */
static const char *host_path(struct kms_yaml_tree *tree, const yaml_node_t *spec, const char *name)
{
    const yaml_node_t *volumes = kms_yaml_get(tree, spec, "volumes");
    for (size_t i = 0; i < kms_yaml_count(volumes); i++) {
        const yaml_node_t *volume = kms_yaml_item(tree, volumes, i);
        const char *own = kms_yaml_text(kms_yaml_get(tree, volume, "name"));
        if (own != NULL && strcmp(own, name) == 0)
            return kms_yaml_text(
                kms_yaml_get(tree, kms_yaml_get(tree, volume, "hostPath"), "path"));
    }
    return NULL;
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

static bool read_mount(struct kms_yaml_tree *tree, const yaml_node_t *spec, const yaml_node_t *node,
                       struct kms_apiserver_mount *mount)
{
    const char *name = kms_yaml_text(kms_yaml_get(tree, node, "name"));
    const char *inside = kms_yaml_text(kms_yaml_get(tree, node, "mountPath"));
    const char *below = kms_yaml_text(kms_yaml_get(tree, node, "subPath"));
    const char *host = name != NULL ? host_path(tree, spec, name) : NULL;
    char joined[2 * KMS_APISERVER_PATH_MAX];
    if (inside == NULL || !copy_path(inside, mount->inside))
        return false;
    if (host == NULL)
        return true;
    int len = snprintf(joined, sizeof(joined), "%s%s%s", host, below != NULL ? "/" : "",
                       below != NULL ? below : "");
    return (size_t)len < sizeof(joined) && copy_path(joined, mount->host);
}

static enum kms_code read_mounts(struct kms_yaml_tree *tree, const yaml_node_t *spec,
                                 const yaml_node_t *container, struct kms_apiserver *apiserver,
                                 struct kms_error *err)
{
    const yaml_node_t *list = kms_yaml_get(tree, container, "volumeMounts");
    size_t count = kms_yaml_count(list);
    if (count > KMS_APISERVER_MOUNTS_MAX)
        return kms_yaml_fault(tree, list, err, "more than %d mounts", KMS_APISERVER_MOUNTS_MAX);
    apiserver->mounts = calloc(count + 1, sizeof(*apiserver->mounts));
    if (apiserver->mounts == NULL)
        return no_memory(tree->file, err);
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *node = kms_yaml_item(tree, list, i);
        if (!read_mount(tree, spec, node, &apiserver->mounts[apiserver->mount_count++]))
            return kms_yaml_fault(tree, node, err, "a mount without a usable path");
    }
    return KMS_OK;
}

/* The path of an HTTP probe; "" where it has another kind or none. */
static void read_probe(struct kms_yaml_tree *tree, const yaml_node_t *container, const char *name,
                       char ret_path[static KMS_APISERVER_PATH_MAX + 1])
{
    const yaml_node_t *get = kms_yaml_get(tree, kms_yaml_get(tree, container, name), "httpGet");
    const char *path = kms_yaml_text(kms_yaml_get(tree, get, "path"));
    (void)snprintf(ret_path, KMS_APISERVER_PATH_MAX + 1, "%s", path != NULL ? path : "");
}

static enum kms_code read_pod(struct kms_yaml_tree *tree, struct kms_apiserver *apiserver,
                              struct kms_error *err)
{
    const yaml_node_t *root = kms_yaml_root(tree), *spec = kms_yaml_get(tree, root, "spec");
    const yaml_node_t *container = find_container(tree, spec);
    if (container == NULL)
        return kms_yaml_fault(tree, root, err, "a Pod without a container kube-apiserver");
    apiserver->is_pod = true;
    read_user(tree, spec, container, apiserver);
    read_probe(tree, container, "livenessProbe", apiserver->liveness);
    read_probe(tree, container, "startupProbe", apiserver->startup);
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

static enum kms_code read_words(const char *file, struct kms_bytes text,
                                struct kms_apiserver *apiserver, struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    const char *at = (const char *)text.data, *end = at + text.len;
    for (; rc == KMS_OK && at < end; at += strnlen(at, (size_t)(end - at)) + 1) {
        char *word = strndup(at, (size_t)(end - at));
        rc = word != NULL ? add_arg(file, word, apiserver, err) : no_memory(file, err);
        free(word);
    }
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

enum kms_code kms_apiserver_load(const char *path, struct kms_apiserver *ret_apiserver,
                                 struct kms_error *err)
{
    KMS_CLEANUP(kms_small_file_done) struct kms_small_file file = { 0 };
    enum kms_code rc = kms_small_file_read(path, &file, err);
    if (rc != KMS_OK)
        return rc;
    const struct kms_bytes text = { (const uint8_t *)file.text, file.len };
    return kms_apiserver_parse(path, text, file.uid, file.gid, ret_apiserver, err);
}

void kms_apiserver_done(struct kms_apiserver *apiserver)
{
    for (size_t i = 0; i < apiserver->arg_count; i++)
        free(apiserver->args[i]);
    free((void *)apiserver->args);
    free(apiserver->mounts);
    *apiserver = (struct kms_apiserver){ 0 };
}

const char *kms_apiserver_flag(const struct kms_apiserver *apiserver, const char *name)
{
    const char *value = NULL;
    size_t len = strlen(name);
    for (size_t i = 0; i < apiserver->arg_count; i++) {
        const char *arg = apiserver->args[i];
        if (strncmp(arg, "--", 2) != 0 || strncmp(arg + 2, name, len) != 0)
            continue;
        const char *rest = arg + 2 + len;
        bool followed = i + 1 < apiserver->arg_count && apiserver->args[i + 1][0] != '-';
        if (*rest == '=')
            value = rest + 1;
        else if (*rest == '\0')
            value = followed ? apiserver->args[i + 1] : "true";
    }
    return value;
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
