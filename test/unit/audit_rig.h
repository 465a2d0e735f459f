/* SPDX-License-Identifier: Apache-2.0 */
/* A directory with an audit log in it. */
#ifndef TEST_AUDIT_RIG_H
#define TEST_AUDIT_RIG_H

#include <jansson.h>

#include "audit.h"
#include "audit_check.h"

/* cmocka's setup and teardown: a fresh directory, nothing logged. */
int audit_rig_setup(void **state);
int audit_rig_teardown(void **state);

/* The path of @name in the directory.  Static, two at a time. */
const char *audit_rig_path(const char *name);
/* "log.serve", synced never unless the test says otherwise. */
struct kms_audit_options audit_rig_options(void);
struct kms_audit *audit_rig_open(const struct kms_audit_options *options);

/* A Decrypt with this uid; the writer's own answer. */
enum kms_code audit_rig_put(struct kms_audit *audit, const char *uid, struct kms_error *err);
/* Opens, writes @count lines and closes. */
void audit_rig_write(const struct kms_audit_options *options, unsigned count);

/* The file's whole contents: free(). */
char *audit_rig_read(const char *name, size_t *ret_len);
void audit_rig_store(const char *name, const char *text, size_t len);
bool audit_rig_exists(const char *name);
/* Files in the directory whose names start so. */
unsigned audit_rig_count(const char *prefix);

/* The @index'th line of @name, from 0: json_decref(). */
json_t *audit_rig_line(const char *name, unsigned index);
/* @line has the text @expected as @key. */
void audit_rig_assert_text(const json_t *line, const char *key, const char *expected);

struct kms_audit_check audit_rig_check(const char *name);
/* The same of a file that must be whole. */
struct kms_audit_check audit_rig_check_whole(const char *name);

#endif
