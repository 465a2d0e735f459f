/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML document of somebody else's as a tree; one that nests too deep isn't even loaded.  Private to
 * this layer.  All look-ups take NULL and other kinds of node, and then find nothing. */
#ifndef KMS_YAML_TREE_H
#define KMS_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include <yaml.h>

#include "kms/bytes.h"
#include "kms/error.h"

struct kms_yaml_tree {
    const char *file; /* borrowed; what messages call it */
    yaml_document_t document;
};

/* Loads the one document of @text.  KMS_E_INVALID with file and line; KMS_E_BUSY without memory.  On
 * success *ret_tree is released by kms_yaml_done(). */
KMS_MUST_CHECK enum kms_code kms_yaml_load(const char *file, struct kms_bytes text,
                                           struct kms_yaml_tree *ret_tree, struct kms_error *err);
/* The same of several documents: loads the one whose `kind` is one of @kinds (ends with NULL; the first
 * stands for all in texts).  KMS_E_INVALID, too: there is none, or a second. */
KMS_MUST_CHECK enum kms_code kms_yaml_load_kind(const char *file, struct kms_bytes text,
                                                const char *const *kinds,
                                                struct kms_yaml_tree *ret_tree,
                                                struct kms_error *err);
void kms_yaml_done(struct kms_yaml_tree *tree);

const yaml_node_t *kms_yaml_root(struct kms_yaml_tree *tree);
/* The value of @key in a mapping. */
const yaml_node_t *kms_yaml_get(struct kms_yaml_tree *tree, const yaml_node_t *map,
                                const char *key);
/* Pair @i of a mapping; false: there are no more. */
bool kms_yaml_pair(struct kms_yaml_tree *tree, const yaml_node_t *map, size_t i,
                   const yaml_node_t **ret_key, const yaml_node_t **ret_value);
/* How many items a sequence has, and each. */
size_t kms_yaml_count(const yaml_node_t *list);
const yaml_node_t *kms_yaml_item(struct kms_yaml_tree *tree, const yaml_node_t *list, size_t i);
/* A scalar's text, without a NUL inside; NULL for anything else. */
const char *kms_yaml_text(const yaml_node_t *node);
/* Nothing there, or an empty value, "~" or "null" in no quotes. */
bool kms_yaml_is_null(const yaml_node_t *node);

/* KMS_E_INVALID unless @node is a mapping with keys of @known (ends with NULL) only, each once. */
KMS_MUST_CHECK enum kms_code kms_yaml_check_keys(struct kms_yaml_tree *tree,
                                                 const yaml_node_t *node, const char *const *known,
                                                 struct kms_error *err);
/* KMS_E_INVALID, "FILE:LINE: text". */
enum kms_code kms_yaml_fault(const struct kms_yaml_tree *tree, const yaml_node_t *node,
                             struct kms_error *err, const char *fmt, ...) KMS_PRINTF(4, 5);
#define kms_yaml_fault(...) kms_not_ok(kms_yaml_fault(__VA_ARGS__))

#endif
