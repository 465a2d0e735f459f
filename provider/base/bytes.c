/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/bytes.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

struct kms_bytes kms_bytes_of(const char *text)
{
    return (struct kms_bytes){ .data = (const uint8_t *)text, .len = strlen(text) };
}

bool kms_bytes_equal(struct kms_bytes a, struct kms_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

void kms_hex_encode(struct kms_bytes bytes, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.len; i++) {
        ret_text[2 * i] = digits[bytes.data[i] >> 4];
        ret_text[2 * i + 1] = digits[bytes.data[i] & 0x0f];
    }
    ret_text[2 * bytes.len] = '\0';
}

/* -1: not a hexadecimal digit. */
static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool kms_hex_decode(const char *text, uint8_t *ret_bytes, size_t len)
{
    if (strlen(text) != 2 * len)
        return false;
    for (size_t i = 0; i < 2 * len; i++) {
        if (digit_value(text[i]) < 0)
            return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned high = (unsigned)digit_value(text[2 * i]);
        unsigned low = (unsigned)digit_value(text[2 * i + 1]);
        ret_bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

struct utf8_lead {
    uint8_t mask, lead;
    uint8_t more;      /* bytes that follow */
    uint32_t smallest; /* code point: below it the form is overlong */
};

static const struct utf8_lead utf8_leads[] = {
    { 0x80, 0x00, 0, 0 },
    { 0xe0, 0xc0, 1, 0x80 },
    { 0xf0, 0xe0, 2, 0x800 },
    { 0xf8, 0xf0, 3, 0x10000 },
};

/* Reads one code point at @at; the number of its bytes, 0 if it is malformed (RFC 3629). */
static size_t utf8_decode(struct kms_bytes text, size_t at, uint32_t *ret_point)
{
    for (size_t i = 0; i < sizeof utf8_leads / sizeof utf8_leads[0]; i++) {
        const struct utf8_lead *form = &utf8_leads[i];
        if ((text.data[at] & form->mask) != form->lead)
            continue;
        if (form->more >= text.len - at)
            return 0;

        uint32_t point = text.data[at] & (uint8_t)~form->mask;
        for (size_t k = 1; k <= form->more; k++) {
            if ((text.data[at + k] & 0xc0) != 0x80)
                return 0;
            point = point << 6 | (text.data[at + k] & 0x3fU);
        }
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        if (point < form->smallest || point > 0x10ffff || surrogate)
            return 0;
        *ret_point = point;
        return form->more + 1U;
    }
    return 0;
}

bool kms_text_is_clean(struct kms_bytes text)
{
    for (size_t at = 0; at < text.len;) {
        uint32_t point;
        size_t used = utf8_decode(text, at, &point);
        if (used == 0 || point < 0x20 || (point >= 0x7f && point <= 0x9f))
            return false;
        at += used;
    }
    return true;
}

void kms_sha256(struct kms_bytes bytes, uint8_t ret_digest[static KMS_SHA256_LEN])
{
    unsigned len = 0;
    if (EVP_Digest(bytes.data, bytes.len, ret_digest, &len, EVP_sha256(), NULL) != 1 ||
        len != KMS_SHA256_LEN)
        abort(); /* a library without SHA-256 is no library to go on with */
}
