/* SPDX-License-Identifier: Apache-2.0 */
/* What the lifecycle commands share around their acts: options, the scene, output. */
#ifndef KMS_KEY_STAGE_H
#define KMS_KEY_STAGE_H

#include <argp.h>
#include <stdbool.h>

#include "key_act.h"
#include "key_survey.h"
#include "keyring.h"
#include "node_source.h"

/* --config, --output …, --fingerprint and --cka-id; an argp child whose input is this. */
struct kms_key_options {
    struct kms_keyring_options keyring;
    struct kms_key_target target;
};
extern const struct argp kms_key_options_argp;
/* The same with the argument GENERATION; more arguments are another parser's. */
extern const struct argp kms_key_generation_argp;

/* A generation as typed; anything else is a usage error. */
uint32_t kms_key_parse_generation(struct argp_state *state, const char *text);

struct kms_key_stage {
    struct kms_keyring keyring;
    struct kms_inventory inventory;
    struct kms_snapshot *snapshot;
    struct kms_key_survey survey;
    struct kms_key_scene scene;
};

/* Who is asked what is promoted, before the token is listed. */
struct kms_key_inquiry {
    bool ask_node;                    /* the plugin on the local socket, if one answers */
    struct kms_node_sources *sources; /* each of these must answer; NULL: none */
    uint32_t generation;              /* … what it says of this one */
};
/* Opens the keyring, asks, lists and judges.  Afterwards kms_key_stage_done(), also after a failure;
 * survey.unanswered: it is one to refuse for. */
KMS_MUST_CHECK enum kms_code kms_key_stage_init(struct kms_key_stage *stage,
                                                const struct kms_keyring_options *options,
                                                const struct kms_key_inquiry *inquiry,
                                                struct kms_error *err);
void kms_key_stage_done(struct kms_key_stage *stage);

struct kms_key_job {
    const char *name; /* "key-cancel", for the JSON schema */
    const struct kms_keyring_options *keyring;
    bool ask_node;                    /* as above */
    struct kms_node_sources *sources; /* as above */
    uint32_t generation;              /* as above */
    bool blind;                       /* ring.json may be damaged */
    bool can_force;                   /* --force is what makes @blind */
    bool dry_run;
    enum kms_keyring_reach reach; /* the tokens without which it is refused; but ANY: not --token */
    const void *input;            /* the command's options */
    enum kms_code (*act)(const struct kms_key_stage *stage, const void *input,
                         struct kms_key_outcome *outcome, struct kms_error *err);
};
/* Sets the stage, acts, and tells what came of it.  Returns the exit code. */
int kms_key_job_run(const struct kms_key_job *job);

#endif
