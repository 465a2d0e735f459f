/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `hsm-kms evidence` share: which files the archive has, or why it lacks them. */
#ifndef KMS_EVIDENCE_H
#define KMS_EVIDENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "config.h"
#include "etcd_choice.h"
#include "evidence_child.h"
#include "evidence_stage.h"
#include "kms/bytes.h"
#include "kms/clock.h"
#include "kms/error.h"
#include "node_source.h"

enum {
    KMS_EVIDENCE_REASON_MAX = 640,
    KMS_EVIDENCE_DIGITS = 2 * KMS_SHA256_LEN, /* of a SHA-256 in text */
    KMS_EVIDENCE_WORDS_MAX = 96,              /* options that are handed on to one command */
    KMS_EVIDENCE_STATEMENTS_MAX = 64,
    KMS_EVIDENCE_STATEMENT_BYTES_MAX = 16 * 1024 * 1024,
    KMS_EVIDENCE_SHOW_BYTES_MAX = 64 * 1024 * 1024, /* of audit logs that are also shown as text */
    KMS_EVIDENCE_SHOW_FILES_MAX = 512,              /* that `audit show` takes */
};

/* Options of another command as they were given: "--prefix=/registry".  The strings are owned. */
struct kms_evidence_words {
    char *items[KMS_EVIDENCE_WORDS_MAX];
    size_t count;
};

/* What the command line says.  Borrowed but for the words. */
struct kms_evidence_options {
    const char *config_path; /* NULL: the default */
    const char *out;
    struct kms_etcd_choice etcd;
    struct kms_node_sources nodes;
    struct kms_evidence_words verify, proven, doctor; /* @proven: besides @verify's */
    const char *statements[KMS_EVIDENCE_STATEMENTS_MAX];
    size_t statement_count;
    int64_t since_utc_s;
    int64_t timeout_ms;
    bool json, dry_run;
};

enum kms_evidence_status {
    KMS_EVIDENCE_OK,
    KMS_EVIDENCE_FINDINGS, /* it is there; the command says that something isn't as it should be */
    KMS_EVIDENCE_MISSING,  /* it was asked for, and isn't there */
    KMS_EVIDENCE_LEFT_OUT, /* it isn't there, and needn't be */
};
const char *kms_evidence_status_name(enum kms_evidence_status status);

/* How a file comes to be. */
enum kms_evidence_source {
    KMS_EVIDENCE_COMMAND, /* what @argv prints */
    KMS_EVIDENCE_COPY,    /* @from, as it is */
    KMS_EVIDENCE_KEY,     /* the public key in what @argv prints */
    KMS_EVIDENCE_CHECK,   /* what @argv prints of the audit files beside it */
    KMS_EVIDENCE_OWN,     /* written by evidence itself */
    KMS_EVIDENCE_ABOUT,   /* the same, about the archive: comes first in it */
};

struct kms_evidence_file {
    char *name;       /* in the archive; owned */
    const char *what; /* static */
    enum kms_evidence_source source;
    char **argv;      /* NULL-terminated, owned; NULL: no command */
    char *from;       /* owned; NULL: not a copy */
    int from_fd;      /* what is copied, opened before; -1: none */
    bool of_service;  /* @from must belong to the service's account */
    bool whole_lines; /* of a copy: up to its last line end */
    bool audit;       /* a part of the audit log */
    bool served;      /* of the plugin's, not the commands' */
    bool by_operator; /* its contents are the operator's word */

    enum kms_evidence_status status;
    char reason[KMS_EVIDENCE_REASON_MAX]; /* why it isn't KMS_EVIDENCE_OK, or is narrowed; "" */
    json_t *notes;                        /* texts that an auditor must know; owned; NULL: none */
    bool narrowed;                        /* options left something out of it */
    struct kms_evidence_ending ending;    /* of the command */
    char *said;                           /* the end of its stderr; owned; NULL: nothing */
    uint64_t size;
    char digest[KMS_EVIDENCE_DIGITS + 1]; /* SHA-256 */
};

/* One of the audit log's two. */
struct kms_evidence_writer {
    const char *name;               /* "serve", static */
    char from[KMS_RFC3339_LEN + 1]; /* time of the first line that is taken; "": none is */
};
enum { KMS_EVIDENCE_WRITERS = 2 };

/* All of an archive.  Zeroed before; kms_evidence_done(). */
struct kms_evidence {
    struct kms_evidence_options options;
    struct kms_config config;
    struct kms_evidence_file *files; /* owned */
    size_t count;
    struct kms_evidence_writer
        writers[KMS_EVIDENCE_WRITERS]; /* without names: no log is configured */
    uid_t service_uid; /* whose the audit log and the ledger are, if @service_known */
    bool service_known;
    int64_t made_utc_s;
};
void kms_evidence_done(struct kms_evidence *evidence);

/* Adds a file that isn't there yet; the pointer is good until the next one is added. */
struct kms_evidence_file *kms_evidence_add(struct kms_evidence *evidence, const char *name,
                                           const char *what, enum kms_evidence_source source);
/* Appends a copy of @word to the file's command line. */
void kms_evidence_argv(struct kms_evidence_file *file, const char *word);
/* Says that the file isn't as it should be, and why. */
void kms_evidence_set(struct kms_evidence_file *file, enum kms_evidence_status status,
                      const char *fmt, ...) KMS_PRINTF(3, 4);
/* Adds to what an auditor must know of the file, once. */
void kms_evidence_note(struct kms_evidence_file *file, const char *fmt, ...) KMS_PRINTF(2, 3);
/* An array; the caller's. */
json_t *kms_evidence_notes(const struct kms_evidence_file *file);
/* NULL: there is none of this name. */
struct kms_evidence_file *kms_evidence_find(const struct kms_evidence *evidence, const char *name);
bool kms_evidence_is_there(const struct kms_evidence_file *file);

/* --- evidence_plan.c --- */

/* Lists what there is to gather, by configuration and options; fixes what can't be had already. */
void kms_evidence_plan(struct kms_evidence *evidence);
/* NULL, or why @name (a file's last component) can't be a file of the archive. */
const char *kms_evidence_check_name(const char *name);

/* --- evidence_audit.c --- */

/* Lists the files of the audit log: of each writer the one that is written, which is open from then on, and
 * those rotated away whose last line is of @since_utc_s or later.  Whole files, since `audit verify` can't
 * check others. */
void kms_evidence_plan_audit(struct kms_evidence *evidence);
/* The time of the last whole line of @fd as in the line, "" if there is none. */
void kms_evidence_last_time(int fd, char ret_time[static KMS_RFC3339_LEN + 1]);

/* --- evidence_gather.c --- */

/* Fills the stage with all files that can be had.  KMS_E_PRECONDITION: the stage can't be written.
 * KMS_E_UNAVAILABLE: a signal said to stop. */
KMS_MUST_CHECK enum kms_code kms_evidence_gather(struct kms_evidence *evidence,
                                                 struct kms_stage *stage,
                                                 struct kms_signals *signals,
                                                 struct kms_error *err);

/* --- evidence_judge.c --- */

/* What is to be said of the files only once all are gathered: how far the reports on etcd go, whether the
 * running plugin uses this configuration, which snapshots need a KEK that is gone. */
void kms_evidence_judge(struct kms_evidence *evidence, const struct kms_stage *stage);

/* --- evidence_versions.c --- */

/* What runs here: the program, its libraries, the tokens' modules and (from what `token describe` said
 * into @stage) the tokens, kernel and distribution.  Owned by the caller. */
json_t *kms_evidence_versions(const struct kms_evidence *evidence, const struct kms_stage *stage);
/* NAME=value of an os-release file into @object. */
void kms_os_release_json(const char *text, json_t *object);

/* --- evidence_pack.c --- */

/* Writes README.txt, manifest.json and SHA256SUMS into the stage, which become files too, and all into the
 * archive, which appears whole; tells the archive's SHA-256.  As kms_stage_publish(). */
KMS_MUST_CHECK enum kms_code kms_evidence_pack(struct kms_evidence *evidence,
                                               const struct kms_stage *stage,
                                               char ret_digest[static KMS_EVIDENCE_DIGITS + 1],
                                               struct kms_error *err);
/* The same three for --dry-run, unwritten. */
void kms_evidence_plan_about(struct kms_evidence *evidence);

/* --- evidence_manifest.c --- */

/* README.txt, manifest.json, SHA256SUMS of all files so far, as they stand in the archive. */
json_t *kms_evidence_manifest(const struct kms_evidence *evidence);
void kms_evidence_readme(const struct kms_evidence *evidence, FILE *out);
/* As sha256sum(1) prints and checks. */
void kms_evidence_sums(const struct kms_evidence *evidence, FILE *out);

#endif
