/* SPDX-License-Identifier: Apache-2.0 */
#include "pin_record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "kms/clock.h"

#define HEADER "hsm-kms pin latch "
enum {
    VERSION = 1,
    ITERATIONS_MIN = 1000,
    ITERATIONS_MAX = 1000000, /* a damaged number must not hold a login up */
    BEGUN_MAX = 1000000,
    /* With a PIN that never worked, on a token that counts nothing; and with one that did, though it
     * counts: somebody else may have mistyped while our login hung. */
    BEGUN_BLINDLY = 3,
    NUMBER_DIGITS = 9,
};

enum kms_code pkcs11_pin_record_new(struct pkcs11_pin_record *ret_record, struct kms_error *err)
{
    struct pkcs11_pin_record record = { .iterations = PKCS11_PIN_ITERATIONS };
    if (RAND_bytes(record.salt, sizeof(record.salt)) != 1)
        return kms_fail(err, KMS_E_INTERNAL, "no random bytes for the salt of a PIN latch");
    *ret_record = record;
    return KMS_OK;
}

/* --- text --- */

/* The text up to the next @end, which must come; NULL without one. */
static char *cut(char **rest, char end)
{
    char *begin = *rest;
    char *at = strchr(begin, end);
    if (at == NULL)
        return NULL;
    *at = '\0';
    *rest = at + 1;
    return begin;
}

/* Decimal digits alone. */
static bool read_number(const char *text, unsigned long max, unsigned long *ret_number)
{
    size_t len = text != NULL ? strlen(text) : 0;
    if (len == 0 || len > NUMBER_DIGITS || strspn(text, "0123456789") != len)
        return false;
    *ret_number = strtoul(text, NULL, 10);
    return *ret_number <= max;
}

/* "DIGEST TIME REST": @line is left at the rest. */
static bool read_mark(char **line, struct pkcs11_pin_mark *mark)
{
    const char *digest = cut(line, ' ');
    const char *when = digest != NULL ? cut(line, ' ') : NULL;
    return when != NULL && kms_hex_decode(digest, mark->digest, sizeof(mark->digest)) &&
           kms_rfc3339_parse(when, &mark->utc_s);
}

static bool read_good(char *line, struct pkcs11_pin_record *record)
{
    bool first = !record->has_good;
    record->has_good = true;
    return first && read_mark(&line, &record->good) && strcmp(line, "-") == 0;
}

static bool read_trying(char *line, struct pkcs11_pin_record *record)
{
    bool first = !record->has_trying;
    unsigned long begun = 0;
    record->has_trying = true;
    if (!first || !read_mark(&line, &record->trying) || !read_number(line, BEGUN_MAX, &begun))
        return false;
    record->trying.begun = (unsigned)begun;
    return begun > 0;
}

static bool read_refused(char *line, struct pkcs11_pin_record *record)
{
    if (record->refused_count == PKCS11_PIN_REFUSED_MAX)
        return false;
    struct pkcs11_pin_mark *mark = &record->refused[record->refused_count++];
    if (!read_mark(&line, mark))
        return false;
    size_t len = strlen(line);
    if (len == 0 || len > PKCS11_PIN_WHY_MAX ||
        strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_?") != len)
        return false;
    memcpy(mark->why, line, len + 1);
    return true;
}

static bool read_iterations(const char *line, struct pkcs11_pin_record *record)
{
    unsigned long iterations = 0;
    if (!read_number(line, ITERATIONS_MAX, &iterations) || iterations < ITERATIONS_MIN)
        return false;
    record->iterations = (uint32_t)iterations;
    return true;
}

static bool read_marks(char *text, struct pkcs11_pin_record *record)
{
    for (;;) {
        char *line = cut(&text, '\n');
        if (line == NULL)
            return false;
        if (strcmp(line, "end") == 0)
            return *text == '\0';
        const char *name = cut(&line, ' ');
        bool good = name != NULL && ((strcmp(name, "good") == 0 && read_good(line, record)) ||
                                     (strcmp(name, "trying") == 0 && read_trying(line, record)) ||
                                     (strcmp(name, "refused") == 0 && read_refused(line, record)));
        if (!good)
            return false;
    }
}

/* The value of the line that comes next, and must be called @name. */
static char *named_line(char **text, const char *name)
{
    char *line = cut(text, '\n');
    const char *found = line != NULL ? cut(&line, ' ') : NULL;
    return found != NULL && strcmp(found, name) == 0 ? line : NULL;
}

static bool read_record(char *text, struct pkcs11_pin_record *record)
{
    const char *salt = named_line(&text, "salt");
    if (salt == NULL || !kms_hex_decode(salt, record->salt, sizeof(record->salt)))
        return false;
    const char *iterations = named_line(&text, "iterations");
    return iterations != NULL && read_iterations(iterations, record) && read_marks(text, record);
}

enum kms_code pkcs11_pin_record_parse(struct kms_bytes text, struct pkcs11_pin_record *ret_record,
                                      struct kms_error *err)
{
    char copy[PKCS11_PIN_RECORD_MAX];
    struct pkcs11_pin_record record = { 0 };
    unsigned long version = 0;
    size_t header_len = strlen(HEADER);
    bool fits = text.len < sizeof(copy) && memchr(text.data, '\0', text.len) == NULL;
    if (fits) {
        memcpy(copy, text.data, text.len);
        copy[text.len] = '\0';
    }
    char *rest = copy;
    const char *first = fits && strncmp(copy, HEADER, header_len) == 0 ? cut(&rest, '\n') : NULL;
    if (first == NULL || !read_number(first + header_len, UINT32_MAX, &version) || version == 0)
        return kms_fail(err, KMS_E_PRECONDITION, "it is damaged");
    if (version != VERSION)
        return kms_fail(err, KMS_E_PRECONDITION, "a newer release wrote it (version %lu)", version);
    if (!read_record(rest, &record))
        return kms_fail(err, KMS_E_PRECONDITION, "it is damaged");
    *ret_record = record;
    return KMS_OK;
}

struct printer {
    char *text;
    size_t len;
};

static void put(struct printer *out, const char *fmt, ...) KMS_PRINTF(2, 3);

/* The largest record is less than half of PKCS11_PIN_RECORD_MAX. */
static void put(struct printer *out, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(out->text + out->len, PKCS11_PIN_RECORD_MAX - out->len, fmt, args);
    va_end(args);
    if (len > 0)
        out->len += (size_t)len;
}

static void put_mark(struct printer *out, const char *name, const struct pkcs11_pin_mark *mark)
{
    char digest[2 * PKCS11_PIN_DIGEST_LEN + 1];
    char when[KMS_RFC3339_LEN + 1];
    kms_hex_encode((struct kms_bytes){ mark->digest, sizeof(mark->digest) }, digest);
    kms_rfc3339_format(mark->utc_s, when);
    put(out, "%s %s %s ", name, digest, when);
}

size_t pkcs11_pin_record_print(const struct pkcs11_pin_record *record,
                               char ret_text[static PKCS11_PIN_RECORD_MAX])
{
    struct printer out = { .text = ret_text };
    char salt[2 * PKCS11_PIN_SALT_LEN + 1];
    kms_hex_encode((struct kms_bytes){ record->salt, sizeof(record->salt) }, salt);
    put(&out, HEADER "%d\nsalt %s\niterations %" PRIu32 "\n", VERSION, salt, record->iterations);
    if (record->has_good) {
        put_mark(&out, "good", &record->good);
        put(&out, "-\n");
    }
    if (record->has_trying) {
        put_mark(&out, "trying", &record->trying);
        put(&out, "%u\n", record->trying.begun);
    }
    for (size_t i = 0; i < record->refused_count; i++) {
        put_mark(&out, "refused", &record->refused[i]);
        put(&out, "%s\n", record->refused[i].why);
    }
    put(&out, "end\n");
    return out.len;
}

/* --- digests --- */

enum kms_code pkcs11_pin_record_digest(const struct pkcs11_pin_record *record,
                                       const uint8_t identity[static KMS_SHA256_LEN],
                                       const struct kms_secret *pin,
                                       uint8_t ret[static PKCS11_PIN_DIGEST_LEN],
                                       struct kms_error *err)
{
    uint8_t salt[PKCS11_PIN_SALT_LEN + KMS_SHA256_LEN];
    memcpy(salt, record->salt, PKCS11_PIN_SALT_LEN);
    memcpy(salt + PKCS11_PIN_SALT_LEN, identity, KMS_SHA256_LEN);
    if (PKCS5_PBKDF2_HMAC((const char *)pin->data, (int)pin->len, salt, sizeof(salt),
                          (int)record->iterations, EVP_sha256(), PKCS11_PIN_DIGEST_LEN, ret) != 1)
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL refuses PBKDF2 of the PIN");
    return KMS_OK;
}

static bool is_of(const struct pkcs11_pin_mark *mark, const uint8_t *digest)
{
    return CRYPTO_memcmp(mark->digest, digest, PKCS11_PIN_DIGEST_LEN) == 0;
}

bool pkcs11_pin_record_is_good(const struct pkcs11_pin_record *record,
                               const uint8_t digest[static PKCS11_PIN_DIGEST_LEN])
{
    return record->has_good && is_of(&record->good, digest);
}

bool pkcs11_pin_record_is_trying(const struct pkcs11_pin_record *record,
                                 const uint8_t digest[static PKCS11_PIN_DIGEST_LEN])
{
    return record->has_trying && is_of(&record->trying, digest);
}

static size_t find_refusal(const struct pkcs11_pin_record *record, const uint8_t *digest)
{
    size_t i = 0;
    while (i < record->refused_count && !is_of(&record->refused[i], digest))
        i++;
    return i;
}

const struct pkcs11_pin_mark *pkcs11_pin_record_refusal(
    const struct pkcs11_pin_record *record, const uint8_t digest[static PKCS11_PIN_DIGEST_LEN])
{
    size_t i = find_refusal(record, digest);
    return i < record->refused_count ? &record->refused[i] : NULL;
}

/* --- judging --- */

enum kms_code pkcs11_pin_fail_refused(struct kms_error *err)
{
    return kms_fail(err, KMS_E_PRECONDITION,
                    "the token refused this PIN; to spare the attempts it is tried again only when "
                    "the PIN file changes, by hsm-kms pin check, or on reload (SIGHUP)");
}

/* A login of this PIN was begun, and the process ended before it saw the end. */
static enum kms_code judge_unfinished(const struct pkcs11_pin_record *record, bool good,
                                      bool count_low, struct kms_error *err)
{
    if (count_low && !(good && record->trying.begun < BEGUN_BLINDLY))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "a login with this PIN was cut short and the token counts a failed "
                        "attempt: hsm-kms pin check tries it knowingly, so does a reload (SIGHUP)");
    if (!good && record->trying.begun >= BEGUN_BLINDLY)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "%u logins with this PIN were cut short: hsm-kms pin check tries it "
                        "knowingly, so does a reload (SIGHUP)",
                        record->trying.begun);
    return KMS_OK;
}

enum kms_code pkcs11_pin_record_judge(const struct pkcs11_pin_record *record,
                                      const uint8_t digest[static PKCS11_PIN_DIGEST_LEN],
                                      const struct pkcs11_pin_flags *flags, const char *token_label,
                                      struct kms_error *err)
{
    if (pkcs11_pin_record_refusal(record, digest) != NULL)
        return pkcs11_pin_fail_refused(err);
    bool good = pkcs11_pin_record_is_good(record, digest);
    if (pkcs11_pin_record_is_trying(record, digest))
        return judge_unfinished(record, good, flags->count_low, err);
    /* What we spent ourselves explains the count: a PIN that came since is a correction. */
    bool ours = record->refused_count > 0 || record->has_trying;
    if (flags->count_low && !good && !ours)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "somebody spent PIN attempts on token '%s', and this PIN never worked "
                        "here: hsm-kms pin check tries it knowingly, so does a reload (SIGHUP)",
                        token_label);
    return KMS_OK;
}

/* --- changes --- */

static struct pkcs11_pin_mark mark_of(const uint8_t *digest, int64_t utc_s)
{
    struct pkcs11_pin_mark mark = { .utc_s = utc_s };
    memcpy(mark.digest, digest, PKCS11_PIN_DIGEST_LEN);
    return mark;
}

static void drop_refusal(struct pkcs11_pin_record *record, size_t i)
{
    if (i >= record->refused_count)
        return;
    record->refused_count--;
    memmove(&record->refused[i], &record->refused[i + 1],
            (record->refused_count - i) * sizeof(record->refused[0]));
}

static void drop_trying(struct pkcs11_pin_record *record)
{
    record->has_trying = false;
    record->trying = (struct pkcs11_pin_mark){ 0 };
}

void pkcs11_pin_record_begin(struct pkcs11_pin_record *record,
                             const uint8_t digest[static PKCS11_PIN_DIGEST_LEN], bool count_low,
                             int64_t utc_s)
{
    unsigned begun = 0;
    if (pkcs11_pin_record_is_trying(record, digest)) {
        begun = record->trying.begun;
    } else if (record->has_trying && count_low) {
        /* The other one may be what the token counts: its turn is over. */
        const struct pkcs11_pin_mark other = record->trying;
        pkcs11_pin_record_refuse(record, other.digest, "CKR_?", other.utc_s);
    }
    record->has_trying = true;
    record->trying = mark_of(digest, utc_s);
    record->trying.begun = begun < BEGUN_MAX ? begun + 1 : begun;
}

void pkcs11_pin_record_good(struct pkcs11_pin_record *record,
                            const uint8_t digest[static PKCS11_PIN_DIGEST_LEN], bool of_service,
                            int64_t utc_s)
{
    drop_trying(record);
    if (!of_service) {
        drop_refusal(record, find_refusal(record, digest));
        return;
    }
    record->refused_count = 0;
    /* The time of the first: a login that changes nothing leaves the file as it was. */
    if (!pkcs11_pin_record_is_good(record, digest))
        record->good = mark_of(digest, utc_s);
    record->has_good = true;
}

void pkcs11_pin_record_refuse(struct pkcs11_pin_record *record,
                              const uint8_t digest[static PKCS11_PIN_DIGEST_LEN], const char *why,
                              int64_t utc_s)
{
    struct pkcs11_pin_mark mark = mark_of(digest, utc_s);
    (void)snprintf(mark.why, sizeof(mark.why), "%s", why);
    if (pkcs11_pin_record_is_good(record, digest)) {
        record->has_good = false;
        record->good = (struct pkcs11_pin_mark){ 0 };
    }
    drop_trying(record);
    drop_refusal(record, find_refusal(record, digest));
    if (record->refused_count == PKCS11_PIN_REFUSED_MAX)
        drop_refusal(record, 0);
    record->refused[record->refused_count++] = mark;
}
