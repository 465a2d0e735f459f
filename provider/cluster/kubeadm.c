/* SPDX-License-Identifier: Apache-2.0 */
#include "kubeadm.h"

#include <stdio.h>
#include <string.h>

#include "apiserver_edit.h"
#include "small_file.h"
#include "yaml_tree.h"

static const char cluster_kind[] = "ClusterConfiguration", map_kind[] = "ConfigMap";

/* --- extraArgs --- */

static enum kms_code add_arg(struct kms_yaml_tree *tree, const yaml_node_t *at, const char *name,
                             const char *value, struct kms_apiserver *apiserver,
                             struct kms_error *err)
{
    enum { ARG_MAX_LEN = 4096 };
    char text[ARG_MAX_LEN + 1];
    if (name == NULL || name[0] == '\0' || value == NULL)
        return kms_yaml_fault(tree, at, err, "expected an argument's name and value");
    int len = snprintf(text, sizeof(text), "--%s=%s", name, value);
    if (len < 0 || len > ARG_MAX_LEN)
        return kms_yaml_fault(tree, at, err, "an argument of more than %d bytes", ARG_MAX_LEN);
    return kms_apiserver_add_arg(tree->file, text, apiserver, err);
}

/* v1beta3: a mapping. */
static enum kms_code read_arg_map(struct kms_yaml_tree *tree, const yaml_node_t *map,
                                  struct kms_apiserver *apiserver, struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    const yaml_node_t *key, *value;
    if (map->type != YAML_MAPPING_NODE)
        return kms_yaml_fault(tree, map, err, "in v1beta3 extraArgs is a mapping");
    for (size_t i = 0; rc == KMS_OK && kms_yaml_pair(tree, map, i, &key, &value); i++)
        rc = add_arg(tree, key, kms_yaml_text(key), kms_yaml_text(value), apiserver, err);
    return rc;
}

/* v1beta4: a list of names and values. */
static enum kms_code read_arg_list(struct kms_yaml_tree *tree, const yaml_node_t *list,
                                   struct kms_apiserver *apiserver, struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    if (list->type != YAML_SEQUENCE_NODE)
        return kms_yaml_fault(tree, list, err, "in v1beta4 extraArgs is a list of name and value");
    for (size_t i = 0; rc == KMS_OK && i < kms_yaml_count(list); i++) {
        const yaml_node_t *item = kms_yaml_item(tree, list, i);
        rc = add_arg(tree, item, kms_yaml_text(kms_yaml_get(tree, item, "name")),
                     kms_yaml_text(kms_yaml_get(tree, item, "value")), apiserver, err);
    }
    return rc;
}

/* --- extraVolumes --- */

/* kubeadm mounts it by itself, and many have their EncryptionConfiguration there. */
static const char *certificates(struct kms_yaml_tree *tree)
{
    const char *dir = kms_yaml_text(kms_yaml_get(tree, kms_yaml_root(tree), "certificatesDir"));
    return dir != NULL && dir[0] != '\0' ? dir : "/etc/kubernetes/pki";
}

static enum kms_code read_volumes(struct kms_yaml_tree *tree, const yaml_node_t *list,
                                  struct kms_apiserver *apiserver, struct kms_error *err)
{
    const char *dir = certificates(tree);
    size_t count = kms_yaml_count(list);
    enum kms_code rc = kms_apiserver_reserve(tree->file, count + 1, apiserver, err);
    if (rc != KMS_OK)
        return rc;
    if (!kms_apiserver_add_mount(apiserver, dir, NULL, dir))
        return kms_yaml_fault(tree, kms_yaml_root(tree), err, "certificatesDir is too long");
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *volume = kms_yaml_item(tree, list, i);
        const char *host = kms_yaml_text(kms_yaml_get(tree, volume, "hostPath"));
        const char *inside = kms_yaml_text(kms_yaml_get(tree, volume, "mountPath"));
        const char *type = kms_yaml_text(kms_yaml_get(tree, volume, "pathType"));
        if (host == NULL || !kms_apiserver_add_mount(apiserver, host, type, inside))
            return kms_yaml_fault(tree, volume, err, "a volume without usable paths");
    }
    return KMS_OK;
}

/* --- all of it --- */

static enum kms_code read_args(struct kms_yaml_tree *tree, const yaml_node_t *args,
                               struct kms_apiserver *apiserver, struct kms_error *err)
{
    const yaml_node_t *root = kms_yaml_root(tree);
    const yaml_node_t *node = kms_yaml_get(tree, root, "apiVersion");
    const char *version = kms_yaml_text(node);
    bool is_list = version != NULL && strcmp(version, "kubeadm.k8s.io/v1beta4") == 0;
    bool is_map = version != NULL && strcmp(version, "kubeadm.k8s.io/v1beta3") == 0;
    if (!is_list && !is_map)
        return kms_yaml_fault(tree, node != NULL ? node : root, err,
                              "apiVersion is neither kubeadm.k8s.io/v1beta3 nor v1beta4 (kubeadm "
                              "config migrate writes a newer one)");
    if (kms_yaml_is_null(args))
        return KMS_OK;
    return is_list ? read_arg_list(tree, args, apiserver, err)
                   : read_arg_map(tree, args, apiserver, err);
}

static enum kms_code read_cluster(struct kms_yaml_tree *tree, struct kms_apiserver *apiserver,
                                  struct kms_error *err)
{
    const yaml_node_t *section = kms_yaml_get(tree, kms_yaml_root(tree), "apiServer");
    enum kms_code rc = read_args(tree, kms_yaml_get(tree, section, "extraArgs"), apiserver, err);
    if (rc == KMS_OK)
        rc = read_volumes(tree, kms_yaml_get(tree, section, "extraVolumes"), apiserver, err);
    apiserver->source = KMS_APISERVER_POD;
    return rc;
}

static enum kms_code read_map(struct kms_yaml_tree *map, struct kms_apiserver *apiserver,
                              struct kms_error *err)
{
    static const char *const kinds[] = { cluster_kind, NULL };
    KMS_CLEANUP(kms_yaml_done) struct kms_yaml_tree tree = { 0 };
    const yaml_node_t *root = kms_yaml_root(map);
    char name[256];
    const char *text = kms_yaml_text(
        kms_yaml_get(map, kms_yaml_get(map, root, "data"), cluster_kind));
    if (text == NULL)
        return kms_yaml_fault(map, root, err, "a ConfigMap without data.ClusterConfiguration");
    (void)snprintf(name, sizeof(name), "%.200s, data.%s", map->file, cluster_kind);
    enum kms_code rc = kms_yaml_load_kind(name, kms_bytes_of(text), kinds, &tree, err);
    return rc == KMS_OK ? read_cluster(&tree, apiserver, err) : rc;
}

enum kms_code kms_kubeadm_parse(const char *file, struct kms_bytes text,
                                struct kms_apiserver *ret_apiserver, struct kms_error *err)
{
    static const char *const kinds[] = { cluster_kind, map_kind, NULL };
    KMS_CLEANUP(kms_apiserver_done) struct kms_apiserver apiserver = { 0 };
    KMS_CLEANUP(kms_yaml_done) struct kms_yaml_tree tree = { 0 };
    enum kms_code rc = kms_yaml_load_kind(file, text, kinds, &tree, err);
    if (rc != KMS_OK)
        return rc;
    const char *kind = kms_yaml_text(kms_yaml_get(&tree, kms_yaml_root(&tree), "kind"));
    rc = strcmp(kind, map_kind) == 0 ? read_map(&tree, &apiserver, err)
                                     : read_cluster(&tree, &apiserver, err);
    if (rc != KMS_OK)
        return rc;
    *ret_apiserver = apiserver;
    apiserver = (struct kms_apiserver){ 0 };
    return KMS_OK;
}

enum kms_code kms_kubeadm_load(const char *path, struct kms_apiserver *ret_apiserver,
                               struct kms_error *err)
{
    KMS_CLEANUP(kms_small_file_done) struct kms_small_file file = { 0 };
    enum kms_code rc = kms_small_file_read(path, &file, err);
    if (rc != KMS_OK)
        return rc;
    const struct kms_bytes text = { (const uint8_t *)file.text, file.len };
    return kms_kubeadm_parse(path, text, ret_apiserver, err);
}
