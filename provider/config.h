/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file: YAML (libyaml's document API) checked against one schema table, which
 * also prints the reference in docs/operations.md. */
#ifndef KMS_CONFIG_H
#define KMS_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "audit.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "kms/log.h"
#include "vouched.h"

#define KMS_CONFIG_PATH "/etc/hsm-kms/config.yaml"
#define KMS_CONFIG_SOCKET_PATH "/run/kmsplugin/hsm-kms.sock"

enum {
    KMS_CONFIG_TOKENS_MAX = KMS_TOKENS_MAX,
    KMS_CONFIG_SOCKET_PATH_MAX = 90, /* bytes: sun_path minus the suffixes of socket.c */
};

struct kms_config_socket {
    char *path;  /* absolute; abstract sockets are refused */
    mode_t mode; /* 0600..0666 */
    char *group; /* name or number; NULL: the service's own */
    uint32_t *allow_uids;
    size_t allow_uid_count;
};

/* Where the PKCS#11 library of `serve` lives. */
enum kms_isolation {
    KMS_ISOLATION_PROCESS, /* in a child process, which may crash or hang */
    KMS_ISOLATION_NONE,    /* in the plugin */
};

/* How keys that the first token makes get to another one. */
enum kms_sync {
    KMS_SYNC_NATIVE, /* the vendor's own means, which we wait for */
    KMS_SYNC_ESCROW, /* wrapped, by commands */
};

struct kms_config_token {
    char *name; /* [a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?, no two alike; never NULL */
    char *module;
    char *uri;
    char *pin_file;
    char *user; /* NULL: none */
    enum kms_user_type user_type;
    unsigned sessions;
    bool required;      /* it must have a KEK before that is promoted */
    enum kms_sync sync; /* of the first token: ignored */
    enum kms_isolation isolation;
    unsigned memory_limit_mib; /* of the child process; 0: none */
    char **environment;        /* names of variables that the library sees besides the known ones */
    size_t environment_count;
};

/* A fingerprint that the operator vouches for: trusted as if pinned on this node. */
struct kms_config_pin {
    uint32_t generation;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
};

/* A CKA_ID as written: pairs of hexadecimal digits. */
struct kms_config_cka_id {
    uint8_t data[KMS_CKA_ID_MAX];
    size_t len; /* bytes; 0: not given */
};

/* A key on the token whose label is somebody else's choice. */
struct kms_config_adoption {
    uint32_t generation;
    int64_t activation_utc_s;
    char *label; /* NULL: any; then there is a @cka_id */
    struct kms_config_cka_id cka_id;
};

/* What a new KEK must go through. */
struct kms_config_rotation {
    bool two_step;
    int64_t min_lead_ms;
};

/* When a KEK may end, or should. */
struct kms_config_policy {
    int64_t destroy_wait_ms;     /* since it was disabled */
    int64_t backup_retention_ms; /* since a recorded snapshot needed it; 0: nobody asks */
    int64_t max_age_ms;          /* of the promoted one, since its activation; 0: any */
};

enum kms_config_sink { KMS_CONFIG_JOURNALD, KMS_CONFIG_SYSLOG };

struct kms_config_audit {
    char *path;    /* NULL: there is no audit log */
    char *encrypt; /* NULL: its lines aren't sealed */
    char *cluster; /* NULL: none */
    enum kms_audit_sync sync;
    enum kms_audit_on_error on_error;
    unsigned rotate_size_mib, rotate_keep;
    unsigned *sinks; /* enum kms_config_sink */
    size_t sink_count;
    char *syslog;
};

/* What `verify` takes for granted. */
struct kms_config_verify {
    char **exempt; /* resources that may be in the clear */
    size_t exempt_count;
};

struct kms_config {
    char *ring; /* [a-z0-9]([-a-z0-9]{0,22}[a-z0-9])? */
    enum kms_profile profile;
    struct kms_config_socket socket;
    struct kms_config_token *tokens;
    size_t token_count;
    char *state_dir;
    int64_t refresh_ms;
    int64_t canary_ms;
    int64_t clock_skew_ms;
    int64_t ready_timeout_ms;
    struct kms_config_rotation rotation;
    struct kms_config_policy policy;
    struct kms_config_pin *pins;
    size_t pin_count;
    struct kms_config_adoption *adopt;
    size_t adopt_count;
    struct kms_config_audit audit;
    struct kms_config_verify verify;
    enum kms_log_format log_format;
    enum kms_log_level log_level;

    /* What the file said: of pins and adopt, and of all other fields, as kms_config_walk() tells them,
     * whatever comments and order they have.  Flags of `serve` aren't in it. */
    struct kms_source_mark vouched, settings;
};

/* Reads and checks @path.  On success the caller owns *ret_config's contents; kms_config_done().
 * KMS_E_INVALID with "FILE:LINE: tokens[0].sessions: 0 is out of range 1..64"; one message, the
 * first fault in the file's order; values that may be a PIN by mistake are never echoed.
 * KMS_E_PRECONDITION if the file can't be read; KMS_E_BUSY without memory. */
KMS_MUST_CHECK enum kms_code kms_config_load(const char *path, struct kms_config *ret_config,
                                             struct kms_error *err);
void kms_config_done(struct kms_config *config);

/* pins: and adopt: as the ring wants them. */
KMS_MUST_CHECK enum kms_code kms_config_vouched(const struct kms_config *config,
                                                struct kms_vouched *ret_vouched,
                                                struct kms_error *err);

/* The same range check for a flag that overrides a field; the text names the flag. */
KMS_MUST_CHECK enum kms_code kms_config_set_socket_path(struct kms_config *config, const char *path,
                                                        struct kms_error *err);

/* The schema as a Markdown table (field, type and range, default, meaning). */
void kms_config_print_reference(FILE *out);

/* A field as the file says: as written, else its default. */
struct kms_config_value {
    const char *field; /* "tokens[0].sessions" */
    enum kms_config_kind {
        KMS_CONFIG_NONE,
        KMS_CONFIG_TEXT,
        KMS_CONFIG_NUMBER,
        KMS_CONFIG_BOOL
    } kind;
    const char *text; /* durations, times, modes and bytes as one would write them */
    int64_t number;
    bool truth;
};
/* Calls @visit for each, in the schema's order; an empty list has no value, others one for each scalar
 * of their items.  The value lives as long as the call. */
void kms_config_walk(const struct kms_config *config,
                     void (*visit)(void *context, const struct kms_config_value *value),
                     void *context);
/* Fills in both marks of a configuration that was read now. */
void kms_config_set_marks(struct kms_config *config);

#endif
