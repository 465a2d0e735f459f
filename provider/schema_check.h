/* SPDX-License-Identifier: Apache-2.0 */
/* What the schema's rows check beyond type and range: NULL, or what is wrong (a constant).  Pure. */
#ifndef KMS_SCHEMA_CHECK_H
#define KMS_SCHEMA_CHECK_H

#include <stddef.h>

const char *kms_schema_check_ring(const char *text);
const char *kms_schema_check_token_name(const char *text);
const char *kms_schema_check_absolute(const char *text);
const char *kms_schema_check_group(const char *text);
const char *kms_schema_check_module(const char *text);
const char *kms_schema_check_uri(const char *text);
const char *kms_schema_check_variable(const char *text);
const char *kms_schema_check_resource(const char *text);
const char *kms_schema_check_syslog(const char *path);

/* @items are the config.h structs of the list; the last one is looked at, beside those before it. */
const char *kms_schema_check_tokens(const void *items, size_t count);
const char *kms_schema_check_pins(const void *items, size_t count);
const char *kms_schema_check_adopt(const void *items, size_t count);

#endif
