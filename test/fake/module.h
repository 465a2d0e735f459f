/* SPDX-License-Identifier: Apache-2.0 */
/* Seam 2 without a library: one token in memory that wraps with OpenSSL's RFC 3394 and fails on
 * request.  One at a time: Cryptoki functions have no context. */
#ifndef FAKE_MODULE_H
#define FAKE_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cryptoki.h"

#define FAKE_PIN "1234"
#define FAKE_TOKEN "fake"
#define FAKE_URI "pkcs11:token=fake"

/* Who makes the IV of AES-GCM. */
enum fake_gcm {
    FAKE_GCM_NONE,      /* the module has no AES-GCM */
    FAKE_GCM_CALLER,    /* the caller */
    FAKE_GCM_WRITTEN,   /* the module, over 12 zero bytes; it refuses others */
    FAKE_GCM_PREPENDED, /* the module, in front of what it encrypts; it refuses a pIv */
};

/* How the module behaves; set before or between calls. */
struct fake_behaviour {
    char pin[64];
    CK_USER_TYPE user;               /* the only one that can log in */
    const char *manufacturer;        /* of the module */
    unsigned char firmware, library; /* minor versions */
    CK_FLAGS token_flags;            /* added to the usual ones */
    unsigned tokens;                 /* 0..2 that are called FAKE_TOKEN */
    unsigned session_limit;          /* 0: none */
    CK_RV tamper_rv;                 /* what C_UnwrapKey says to a bad ciphertext */
    CK_RV import_aes_rv;             /* CKR_OK: AES keys may be imported */
    CK_RV import_seed_rv;            /* the same of other secret keys */
    bool ciphers;                    /* key wrap is a cipher, too */
    bool blocks;                     /* there is CKM_AES_ECB */
    bool other_iv;                   /* key wrap has an IV of its own: right lengths, other bytes */
    CK_MECHANISM_TYPE key_wrap;      /* the only number by which it knows RFC 3394 */
    CK_MECHANISM_TYPE padded;        /* the same of RFC 5649; 0: none */
    CK_MECHANISM_TYPE gcm;           /* the same of AES-GCM */
    enum fake_gcm gcm_iv;
    bool gcm_ignores_aad;
    bool gcm_makes_no_iv;    /* where it should */
    bool gcm_repeats_iv;     /* the same */
    bool gcm_lacks_a_byte;   /* of the tag */
    CK_RV value_len_rv;      /* what C_UnwrapKey says to CKA_VALUE_LEN in the template */
    bool demand_value_len;   /* C_UnwrapKey wants it */
    bool wraps_wrongly;      /* 8 right bytes too many, or other bytes: not RFC 3394 */
    int wrap_len_error;      /* added to the length that C_WrapKey tells */
    int value_len_error;     /* added to the length of CKA_VALUE */
    bool copies_extractable; /* C_CopyObject sets CKA_EXTRACTABLE */
    bool sets_nothing;       /* C_SetAttributeValue says yes, and changes nothing */
    CK_RV late_rv;           /* what the next call that makes, changes or destroys an object answers
                              * though it did it; CKR_OK: none */
    CK_RV late_session_rv;   /* the same of C_CreateObject and C_UnwrapKey */
};

struct fake_module;
struct fake_module *fake_module_new(void);
void fake_module_free(struct fake_module *m);
CK_FUNCTION_LIST *fake_module_functions(struct fake_module *m);
struct fake_behaviour *fake_module_behaviour(struct fake_module *m);

/* The next call of @call, after @skip good ones, or every call (CKR_OK: none any more). */
void fake_module_fail_next(struct fake_module *m, const char *call, CK_RV rv);
void fake_module_fail_after(struct fake_module *m, const char *call, unsigned skip, CK_RV rv);
void fake_module_fail_always(struct fake_module *m, const char *call, CK_RV rv);

unsigned fake_module_calls(struct fake_module *m, const char *call);
unsigned fake_module_all_calls(struct fake_module *m);
unsigned fake_module_sessions(struct fake_module *m);
unsigned fake_module_session_objects(struct fake_module *m);
bool fake_module_is_initialized(struct fake_module *m);

/* A KEK with the usual attributes; returns its place, not a handle. */
size_t fake_module_add_kek(struct fake_module *m, const char *label, const uint8_t key[static 32]);
void fake_module_set_bool(struct fake_module *m, size_t place, CK_ATTRIBUTE_TYPE type, bool value);
void fake_module_set_bytes(struct fake_module *m, size_t place, CK_ATTRIBUTE_TYPE type,
                           const void *data, size_t len);
void fake_module_drop_attribute(struct fake_module *m, size_t place, CK_ATTRIBUTE_TYPE type);
void fake_module_remove(struct fake_module *m, size_t place);

/* All handles change. */
void fake_module_renumber(struct fake_module *m);
void fake_module_log_out(struct fake_module *m);
/* All sessions die. */
void fake_module_drop_sessions(struct fake_module *m);

/* Stops the next call of @call inside the module until let go. */
void fake_module_hold_next(struct fake_module *m, const char *call);
void fake_module_wait_held(struct fake_module *m);
void fake_module_let_go(struct fake_module *m);

#endif
