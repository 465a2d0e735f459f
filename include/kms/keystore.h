/* SPDX-License-Identifier: Apache-2.0 */
/* Seam 1: what policy (provider/) may ask of mechanism (pkcs11/).  A keystore holds KEKs, named by
 * label and fingerprint; it knows no generation, key_id, promotion or pin.  Implementations: one
 * token in this process (pkcs11/keystore.h), one in a child process (pkcs11/remote.h),
 * test/fake/keystore.c; later several keystores as one (failover).
 *
 * All operations are thread-safe and block on the token until @deadline_ms (CLOCK_MONOTONIC) at
 * most as far as the module returns. */
#ifndef KMS_KEYSTORE_H
#define KMS_KEYSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/algorithm.h"
#include "kms/bytes.h"
#include "kms/error.h"
#include "kms/secret.h"

enum {
    KMS_FINGERPRINT_LEN = 32,            /* bytes */
    KMS_LABEL_MAX = 255,                 /* bytes of a CKA_LABEL; longer ones are never ours */
    KMS_CKA_ID_MAX = 64,                 /* bytes of a CKA_ID; longer ones are cut */
    KMS_SEED_MIN = 16,                   /* bytes: what AES key wrap carries (RFC 3394 section 2) */
    KMS_SEED_MAX = 256,                  /* bytes: the longest that every module tested unwraps */
    KMS_WRAP_OVERHEAD = 8,               /* bytes that RFC 3394 adds */
    KMS_WRAPPED_MAX = KMS_SEED_MAX + 32, /* bytes: the longest that any algorithm makes of a seed */
    KMS_TOKENS_MAX = 8,                  /* tokens of one ring */
    KMS_TOKEN_NAME_MAX = 32,             /* bytes of a name that the configuration gives a token */
    KMS_SPKI_MAX = 1200,                 /* bytes: the public key of RSA-8192 */
    KMS_TRANSPORT_MAX = 8192 / 8,        /* bytes: what RSA-8192 gives */
    KMS_SIGNATURE_MAX = 8192 / 8,        /* the same */
    KMS_SIGNED_MAX = 512,                /* bytes that are signed at once */
};

/* The public constant C whose wrapping under a KEK makes the KEK's fingerprint:
 * SHA-256(KMS_FINGERPRINT_DOMAIN ‖ RFC3394(KEK, C)), C = SHA-256(KMS_FINGERPRINT_SEED_TEXT). */
#define KMS_FINGERPRINT_DOMAIN "hsm-kms kek fingerprint v1"
#define KMS_FINGERPRINT_SEED_TEXT "k8s-kms-pkcs11 kek fingerprint v1"

/* Attributes of a KEK as read from the token; a bit is meaningful only if set in @known too. */
enum kms_kek_attribute {
    KMS_KEK_SENSITIVE = 1U << 0,
    KMS_KEK_ALWAYS_SENSITIVE = 1U << 1,
    KMS_KEK_EXTRACTABLE = 1U << 2,
    KMS_KEK_NEVER_EXTRACTABLE = 1U << 3,
    KMS_KEK_LOCAL = 1U << 4,
    KMS_KEK_PRIVATE = 1U << 5,
    KMS_KEK_WRAP = 1U << 6,
    KMS_KEK_UNWRAP = 1U << 7,
    KMS_KEK_ENCRYPT = 1U << 8,
    KMS_KEK_DECRYPT = 1U << 9,
};

struct kms_kek_info {
    char label[KMS_LABEL_MAX + 1];
    uint8_t cka_id[KMS_CKA_ID_MAX];
    size_t cka_id_len;
    uint32_t attributes; /* enum kms_kek_attribute: is true */
    uint32_t known;      /* enum kms_kek_attribute: the token told */
    size_t value_len;    /* bytes of the key; 0: the token didn't tell */
    uint32_t holders;    /* bit i: on kms_inventory.tokens[i]; 0 where that has none */
    bool fingerprinted;  /* else @problem says why not */
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    char problem[160]; /* public text; empty if none */
};

/* Names keys whose labels are somebody else's choice. */
struct kms_kek_name {
    char label[KMS_LABEL_MAX + 1]; /* "": any */
    uint8_t cka_id[KMS_CKA_ID_MAX];
    size_t cka_id_len; /* bytes; 0: any */
};
bool kms_kek_has_name(const struct kms_kek_info *kek, const struct kms_kek_name *name);

/* Which AES keys on the token an inventory lists: those whose label starts with @label_prefix, and
 * those that have one of @names.  Borrowed. */
struct kms_kek_filter {
    const char *label_prefix;
    const struct kms_kek_name *names;
    size_t name_count;
    uint32_t drained; /* bit i: the i-th of several tokens is left alone until the next listing */
};
bool kms_kek_filter_takes(const struct kms_kek_filter *filter, const struct kms_kek_info *kek);

/* One of several tokens, as it answered a listing. */
struct kms_token_listing {
    char name[KMS_TOKEN_NAME_MAX + 1];
    char serial[17]; /* "" if it never was reached */
    bool listed;     /* completely; else @problem says why not */
    bool drained;    /* by the filter: it wasn't asked */
    char problem[160];
};

enum { KMS_OTHERS_MAX = 16 };
struct kms_inventory {
    struct kms_kek_info *keks; /* owned; sorted by label, then CKA_ID */
    size_t count;
    /* Some AES keys on the token that the filter doesn't take, for texts; none unless it has names. */
    struct kms_kek_name *others; /* owned */
    size_t other_count;
    /* Of several tokens: each, in order of priority.  None: the one token listed everything. */
    struct kms_token_listing tokens[KMS_TOKENS_MAX];
    size_t token_count;
};
void kms_inventory_done(struct kms_inventory *inventory);

/* What a token says of itself, and how the keystore uses it.  All texts are trimmed and public. */
struct kms_token_info {
    char label[33];
    char serial[17];
    char model[17];
    char manufacturer[33];
    char firmware[16];
    char library[64];
    char profile[16]; /* the wrap profile in use ("aes-kw"), "" before the first connection */
    enum kms_algorithm algorithm; /* its algorithm, by which new seeds are wrapped */
    bool connected;
    /* of several tokens only */
    char name[KMS_TOKEN_NAME_MAX + 1];
    bool resting;      /* it failed, and is left out until its canary is good */
    char problem[160]; /* why it is resting, or wasn't listed; "" */
};

/* Names one KEK: label and fingerprint must match.  Borrowed pointers. */
struct kms_kek_ref {
    const char *label;
    const uint8_t *fingerprint; /* KMS_FINGERPRINT_LEN bytes */
    const char *key_id; /* what an authenticating algorithm binds a seed to; NULL: nothing */
};
bool kms_kek_is(const struct kms_kek_info *kek, const struct kms_kek_ref *ref);
/* Both have one label and one fingerprint, which they may have on two tokens. */
bool kms_kek_is_same(const struct kms_kek_info *a, const struct kms_kek_info *b);

/* Less than, equal to or greater than 0: by CKA_ID, bytewise, a beginning before what it begins. */
int kms_kek_order_by_id(const struct kms_kek_info *a, const struct kms_kek_info *b);
/* As every inventory is sorted: by label, then CKA_ID. */
int kms_kek_order(const struct kms_kek_info *a, const struct kms_kek_info *b);

/* Names one object whatever its attributes say, for commands: both must match.  Borrowed. */
struct kms_object {
    const char *label;
    struct kms_bytes cka_id;
};

/* What an auditor asks of a key beyond kms_kek_info. */
struct kms_kek_details {
    struct kms_kek_info info;
    bool has_check_value;
    uint8_t check_value[3]; /* CKA_CHECK_VALUE: the token's own, where it has one */
    bool has_mechanism;
    unsigned long key_gen_mechanism; /* CKA_KEY_GEN_MECHANISM; ~0 if not generated on a token */
    bool modifiable, copyable, destroyable; /* true where the token doesn't tell: its default */
};

/* Of RSA-OAEP; MGF1 uses the same, and there is no label. */
enum kms_oaep_hash { KMS_OAEP_SHA256, KMS_OAEP_SHA1 };

/* An RSA public key: a DER SubjectPublicKeyInfo. */
struct kms_spki {
    uint8_t data[KMS_SPKI_MAX];
    size_t len; /* bytes; 0: none */
};

/* The RSA key pair under whose public key keys come to a token. */
struct kms_transport_key {
    struct kms_spki spki;    /* len 0: there is none */
    enum kms_oaep_hash hash; /* the best that the token unwraps, as tried */
    bool made;               /* by this call */
};

/* A KEK by RSA-OAEP. */
struct kms_transport_blob {
    uint8_t data[KMS_TRANSPORT_MAX];
    size_t len; /* bytes */
    enum kms_oaep_hash hash;
};

/* A KEK to be brought in.  Borrowed. */
struct kms_transport_import {
    const char *transport_label; /* of the private key */
    struct kms_bytes blob;
    const uint8_t *fingerprint; /* KMS_FINGERPRINT_LEN bytes: what the key must have */
    const char *label;          /* NULL: only tried, nothing stays on the token */
};

/* How a token signs; both by SHA-256. */
enum kms_signing { KMS_SIGNING_ECDSA_P256, KMS_SIGNING_RSA_PKCS1 };

/* The key pair that signs for the audit log. */
struct kms_audit_key {
    struct kms_spki spki; /* len 0: there is none */
    enum kms_signing signing;
    bool made; /* by this call */
};

struct kms_signature {
    uint8_t data[KMS_SIGNATURE_MAX]; /* of ECDSA: in DER */
    size_t len;                      /* bytes */
    enum kms_signing signing;
    uint8_t key_sha256[KMS_SHA256_LEN]; /* of the public key's kms_spki */
};

struct kms_wrapped {
    uint8_t data[KMS_WRAPPED_MAX];
    size_t len; /* bytes */
    enum kms_algorithm algorithm;
};

struct kms_keystore {
    const struct kms_keystore_ops *ops;
};

/* What commands do with keys.  Every entry is mandatory. */
struct kms_manage_ops {
    enum kms_code (*generate)(struct kms_keystore *ks, const char *label, int64_t deadline_ms,
                              struct kms_kek_info *ret_kek, struct kms_error *err);
    enum kms_code (*destroy)(struct kms_keystore *ks, const char *label, struct kms_bytes cka_id,
                             int64_t deadline_ms, struct kms_error *err);
    enum kms_code (*copy)(struct kms_keystore *ks, const struct kms_object *from, const char *label,
                          int64_t deadline_ms, struct kms_kek_info *ret_kek, struct kms_error *err);
    enum kms_code (*relabel)(struct kms_keystore *ks, const struct kms_object *kek,
                             const char *label, int64_t deadline_ms, struct kms_error *err);
    enum kms_code (*set_usage)(struct kms_keystore *ks, const struct kms_object *kek, bool usable,
                               int64_t deadline_ms, struct kms_error *err);
    enum kms_code (*inspect)(struct kms_keystore *ks, const struct kms_object *kek,
                             int64_t deadline_ms, struct kms_kek_details *ret_details,
                             struct kms_error *err);
    enum kms_code (*transport_key)(struct kms_keystore *ks, const char *label, bool make,
                                   int64_t deadline_ms, struct kms_transport_key *ret_key,
                                   struct kms_error *err);
    enum kms_code (*import)(struct kms_keystore *ks, const struct kms_transport_import *import,
                            int64_t deadline_ms, struct kms_kek_info *ret_kek,
                            struct kms_error *err);
    enum kms_code (*generate_for_escrow)(struct kms_keystore *ks, const char *label,
                                         int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                         struct kms_error *err);
    enum kms_code (*export_to)(struct kms_keystore *ks, const struct kms_object *kek,
                               const struct kms_spki *recipient, enum kms_oaep_hash hash,
                               int64_t deadline_ms, struct kms_transport_blob *ret_blob,
                               struct kms_error *err);
    enum kms_code (*seal)(struct kms_keystore *ks, const struct kms_object *kek,
                          int64_t deadline_ms, struct kms_error *err);
    enum kms_code (*audit_key)(struct kms_keystore *ks, const char *label, bool make,
                               int64_t deadline_ms, struct kms_audit_key *ret_key,
                               struct kms_error *err);
};

/* What a plugin needs.  Every entry but @manage is mandatory.  Call through the functions below. */
struct kms_keystore_ops {
    enum kms_code (*inventory)(struct kms_keystore *ks, const struct kms_kek_filter *filter,
                               int64_t deadline_ms, struct kms_inventory *ret_inventory,
                               struct kms_error *err);
    enum kms_code (*canary)(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                            int64_t deadline_ms, struct kms_error *err);
    enum kms_code (*wrap)(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                          struct kms_bytes seed, int64_t deadline_ms,
                          struct kms_wrapped *ret_wrapped, struct kms_error *err);
    enum kms_code (*unwrap)(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                            enum kms_algorithm algorithm, struct kms_bytes wrapped,
                            int64_t deadline_ms, struct kms_secret *ret_seed,
                            struct kms_error *err);
    enum kms_code (*sign)(struct kms_keystore *ks, const char *label, struct kms_bytes message,
                          int64_t deadline_ms, struct kms_signature *ret_signature,
                          struct kms_error *err);
    size_t (*describe)(struct kms_keystore *ks,
                       struct kms_token_info *ret_infos); /* KMS_TOKENS_MAX */
    void (*reload)(struct kms_keystore *ks);
    void (*close)(struct kms_keystore *ks);
    const struct kms_manage_ops *manage; /* NULL: this keystore only serves */
};

/* Lists the AES keys on the token that @filter takes, with attributes and fingerprint (computed once
 * per handle; other keys are never used).  Connects first where there is no connection: this is the
 * one call that finds the token, logs in and recovers a lost module; callers pace it.  On success
 * the list is complete; release it with kms_inventory_done().
 * KMS_E_UNAVAILABLE, KMS_E_PRECONDITION (PIN, module or token unusable), KMS_E_BUSY, KMS_E_DEADLINE. */
KMS_MUST_CHECK enum kms_code kms_keystore_list(struct kms_keystore *ks,
                                               const struct kms_kek_filter *filter,
                                               int64_t deadline_ms,
                                               struct kms_inventory *ret_inventory,
                                               struct kms_error *err);
/* The same for the keys whose label starts with @label_prefix. */
KMS_MUST_CHECK enum kms_code kms_keystore_inventory(struct kms_keystore *ks,
                                                    const char *label_prefix, int64_t deadline_ms,
                                                    struct kms_inventory *ret_inventory,
                                                    struct kms_error *err);

/* Wrapping C under @kek gives its fingerprint, and unwrapping that gives C.
 * KMS_E_PRECONDITION: the key is gone, changed or may not be used; KMS_E_UNAVAILABLE otherwise. */
KMS_MUST_CHECK enum kms_code kms_keystore_canary(struct kms_keystore *ks,
                                                 const struct kms_kek_ref *kek, int64_t deadline_ms,
                                                 struct kms_error *err);

/* Wraps @seed (KMS_SEED_MIN … KMS_SEED_MAX bytes, a multiple of 8) under @kek, after the same
 * session and handle reproduced the fingerprint in this very call.  KMS_E_INVALID (length),
 * KMS_E_PRECONDITION, KMS_E_UNAVAILABLE, KMS_E_BUSY, KMS_E_DEADLINE. */
KMS_MUST_CHECK enum kms_code kms_keystore_wrap(struct kms_keystore *ks,
                                               const struct kms_kek_ref *kek, struct kms_bytes seed,
                                               int64_t deadline_ms, struct kms_wrapped *ret_wrapped,
                                               struct kms_error *err);

/* Unwraps @wrapped under @kek; on success *ret_seed owns the plaintext.  After an ambiguous CKR the
 * canary on the same KEK decides between KMS_E_CORRUPT and KMS_E_UNAVAILABLE.  KMS_E_INVALID
 * (length, or an algorithm that isn't the ring's and can't be had), KMS_E_PRECONDITION, KMS_E_BUSY,
 * KMS_E_DEADLINE. */
KMS_MUST_CHECK enum kms_code kms_keystore_unwrap(struct kms_keystore *ks,
                                                 const struct kms_kek_ref *kek,
                                                 enum kms_algorithm algorithm,
                                                 struct kms_bytes wrapped, int64_t deadline_ms,
                                                 struct kms_secret *ret_seed,
                                                 struct kms_error *err);

/* Signs @message (KMS_SIGNED_MAX bytes at most) by the audit key with @label: of several tokens, the
 * first that can.  The signature was checked by the public key.  KMS_E_PRECONDITION: there is no such
 * key pair, or it isn't one; KMS_E_UNAVAILABLE, KMS_E_BUSY, KMS_E_DEADLINE. */
KMS_MUST_CHECK enum kms_code kms_keystore_sign(struct kms_keystore *ks, const char *label,
                                               struct kms_bytes message, int64_t deadline_ms,
                                               struct kms_signature *ret_signature,
                                               struct kms_error *err);

/* From here to kms_keystore_audit_key(): KMS_E_PRECONDITION if the keystore only serves. */

/* Generates an AES-256 KEK on the token in one atomic call: CKA_TOKEN, PRIVATE, SENSITIVE, not
 * EXTRACTABLE, WRAP and UNWRAP only, a random 16-byte CKA_ID, and @label.  Needs a connection (call
 * inventory first).  *ret_kek is filled as inventory does. */
KMS_MUST_CHECK enum kms_code kms_keystore_generate(struct kms_keystore *ks, const char *label,
                                                   int64_t deadline_ms,
                                                   struct kms_kek_info *ret_kek,
                                                   struct kms_error *err);

/* Destroys the one key with @label and @cka_id; none or several: KMS_E_PRECONDITION, nothing done. */
KMS_MUST_CHECK enum kms_code kms_keystore_destroy(struct kms_keystore *ks, const char *label,
                                                  struct kms_bytes cka_id, int64_t deadline_ms,
                                                  struct kms_error *err);

/* Makes a second token object of the same key material under @label, with a fresh CKA_ID, in one
 * atomic call (C_CopyObject).  It keeps all other attributes: the copy of a disabled key is disabled.
 * KMS_E_PRECONDITION, nothing done: none or several match @from, it is extractable or not sensitive,
 * or the token forbids it. */
KMS_MUST_CHECK enum kms_code kms_keystore_copy(struct kms_keystore *ks,
                                               const struct kms_object *from, const char *label,
                                               int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                               struct kms_error *err);

/* Sets CKA_LABEL of the one key that @kek names, in one atomic call. KMS_E_PRECONDITION as above. */
KMS_MUST_CHECK enum kms_code kms_keystore_relabel(struct kms_keystore *ks,
                                                  const struct kms_object *kek, const char *label,
                                                  int64_t deadline_ms, struct kms_error *err);

/* @usable: sets CKA_WRAP and CKA_UNWRAP (what the profile needs); else clears WRAP, UNWRAP, ENCRYPT
 * and DECRYPT, in one C_SetAttributeValue, and reads them back. KMS_E_PRECONDITION as above. */
KMS_MUST_CHECK enum kms_code kms_keystore_set_usage(struct kms_keystore *ks,
                                                    const struct kms_object *kek, bool usable,
                                                    int64_t deadline_ms, struct kms_error *err);

/* Reads everything that an auditor asks. KMS_E_PRECONDITION as above. */
KMS_MUST_CHECK enum kms_code kms_keystore_inspect(struct kms_keystore *ks,
                                                  const struct kms_object *kek, int64_t deadline_ms,
                                                  struct kms_kek_details *ret_details,
                                                  struct kms_error *err);

/* The transport key pair whose private key has @label: generated there, and may unwrap and nothing
 * else; others of that label are passed over.  Made (RSA-3072) if there is none and @make.  Proved by
 * a throwaway key that comes in under its public key.  KMS_E_PRECONDITION: the module can't do it. */
KMS_MUST_CHECK enum kms_code kms_keystore_transport_key(struct kms_keystore *ks, const char *label,
                                                        bool make, int64_t deadline_ms,
                                                        struct kms_transport_key *ret_key,
                                                        struct kms_error *err);

/* Unwraps @import's blob as a session object that can't leave the token, and fingerprints it; only the
 * expected key becomes a token object, with label and a fresh CKA_ID, in one atomic call
 * (C_CopyObject).  *ret_kek is filled as inventory does; its label is empty if it was only tried.
 * KMS_E_INVALID: it is another key; KMS_E_CORRUPT: it doesn't unwrap; KMS_E_PRECONDITION: there is
 * no transport key.  Nothing stays on the token then. */
KMS_MUST_CHECK enum kms_code kms_keystore_import(struct kms_keystore *ks,
                                                 const struct kms_transport_import *import,
                                                 int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                                 struct kms_error *err);

/* As generate, but CKA_EXTRACTABLE until kms_keystore_seal(): never under a label of the ring. */
KMS_MUST_CHECK enum kms_code kms_keystore_generate_for_escrow(struct kms_keystore *ks,
                                                              const char *label,
                                                              int64_t deadline_ms,
                                                              struct kms_kek_info *ret_kek,
                                                              struct kms_error *err);

/* Wraps the one key that @kek names under @recipient, by @hash; a module that lacks SHA-256 uses SHA-1,
 * which *ret_blob says.  KMS_E_PRECONDITION as above, or the key isn't extractable. */
KMS_MUST_CHECK enum kms_code kms_keystore_export_to(struct kms_keystore *ks,
                                                    const struct kms_object *kek,
                                                    const struct kms_spki *recipient,
                                                    enum kms_oaep_hash hash, int64_t deadline_ms,
                                                    struct kms_transport_blob *ret_blob,
                                                    struct kms_error *err);

/* Clears CKA_EXTRACTABLE of the one key that @kek names, for good, and reads it back.
 * KMS_E_PRECONDITION as above, or the token didn't do it. */
KMS_MUST_CHECK enum kms_code kms_keystore_seal(struct kms_keystore *ks,
                                               const struct kms_object *kek, int64_t deadline_ms,
                                               struct kms_error *err);

/* The key pair with @label that was generated on the token and may sign: EC P-256, or RSA-3072 where the
 * token has no such.  Made if there is none and @make; of several tokens, on the first.  Proved by a
 * signature.  KMS_E_PRECONDITION: the module can't do it. */
KMS_MUST_CHECK enum kms_code kms_keystore_audit_key(struct kms_keystore *ks, const char *label,
                                                    bool make, int64_t deadline_ms,
                                                    struct kms_audit_key *ret_key,
                                                    struct kms_error *err);

/* What is known now of the keystore's tokens, in order of priority; returns how many there are, at
 * least 1.  Never blocks on a token. */
size_t kms_keystore_describe(struct kms_keystore *ks,
                             struct kms_token_info ret_infos[KMS_TOKENS_MAX]);

/* The operator says that something changed (SIGHUP): a refused PIN may be tried again.  Doesn't
 * block, doesn't touch a live login. */
void kms_keystore_reload(struct kms_keystore *ks);

/* Ends all use (the caller has no call in flight), logs out, finalizes; NULL is a no-op. */
void kms_keystore_close(struct kms_keystore *ks);
KMS_DEFINE_CLOSE_PTR(struct kms_keystore *, kms_keystore_close)

#endif
