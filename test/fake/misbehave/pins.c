/* SPDX-License-Identifier: Apache-2.0 */
#include "pins.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "dialect.h"
#include "sessions.h"
#include "state.h"

/* The file of one token, locked; one decimal number, the wrong PINs in a row. */
static int open_count(const struct misbehave_manner *manner, const CK_TOKEN_INFO *info)
{
    char path[MISBEHAVE_PATH + sizeof(info->serialNumber) + 2];
    int serial_len = (int)sizeof(info->serialNumber);
    while (serial_len > 0 && info->serialNumber[serial_len - 1] == ' ')
        serial_len--;
    (void)snprintf(path, sizeof(path), "%s.%.*s", manner->pin_state, serial_len,
                   (const char *)info->serialNumber);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0)
        misbehave_die(manner->log, "pin-limit %s: %s", path, strerror(errno));
    return fd;
}

static unsigned long read_count(int fd)
{
    char text[32] = "";
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
    return len > 0 ? strtoul(text, NULL, 10) : 0;
}

static void write_count(const struct misbehave_manner *manner, int fd, unsigned long count)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%lu\n", count);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
        misbehave_die(manner->log, "pin-limit %s: %s", manner->pin_state, strerror(errno));
}

void misbehave_pins_show(const struct misbehave_manner *manner, CK_TOKEN_INFO *info)
{
    int fd = open_count(manner, info);
    unsigned long count = read_count(fd);
    (void)close(fd);
    info->flags &= ~(CK_FLAGS)(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY |
                               CKF_USER_PIN_LOCKED);
    if (count > 0)
        info->flags |= CKF_USER_PIN_COUNT_LOW;
    if (count + 1 == manner->pin_limit)
        info->flags |= CKF_USER_PIN_FINAL_TRY;
    if (count >= manner->pin_limit)
        info->flags |= CKF_USER_PIN_LOCKED;
}

/* False: the session or its token isn't there. */
static bool token_of(CK_SESSION_HANDLE session, CK_TOKEN_INFO *ret_info)
{
    CK_SESSION_INFO info;
    return misbehave_real->C_GetSessionInfo(session, &info) == CKR_OK &&
           misbehave_real->C_GetTokenInfo(info.slotID, ret_info) == CKR_OK;
}

/* Luna's limited user: its PIN is its own there, and the user's here. */
#define LUNA_LIMITED_USER 0x80000001ul

/* CloudHSM knows many users: the token's PIN is what follows the first colon. */
static CK_RV try_pin(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_USER_TYPE user,
                     CK_BYTE *pin, CK_ULONG pin_len)
{
    if (misbehave_is_luna(call->manner.personality) && user == LUNA_LIMITED_USER)
        return misbehave_real->C_Login(session, CKU_USER, pin, pin_len);
    if (call->manner.personality != MISBEHAVE_CLOUDHSM || user != CKU_USER || pin == NULL)
        return misbehave_real->C_Login(session, user, pin, pin_len);
    const CK_BYTE *colon = memchr(pin, ':', pin_len);
    if (colon == NULL || colon == pin)
        return CKR_PIN_INCORRECT;
    CK_ULONG skip = (CK_ULONG)(colon - pin) + 1;
    return misbehave_real->C_Login(session, user, pin + skip, pin_len - skip);
}

CK_RV misbehave_C_Login(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_USER_TYPE user,
                        CK_BYTE *pin, CK_ULONG pin_len)
{
    CK_TOKEN_INFO info;
    if (call->manner.pin_limit == 0 || user != CKU_USER || !token_of(session, &info))
        return try_pin(call, session, user, pin, pin_len);
    int fd = open_count(&call->manner, &info); /* held: one attempt at a time is counted */
    unsigned long count = read_count(fd);
    CK_RV rv = CKR_PIN_LOCKED;
    if (count < call->manner.pin_limit)
        rv = try_pin(call, session, user, pin, pin_len);
    if (rv == CKR_PIN_INCORRECT || rv == CKR_OK)
        write_count(&call->manner, fd, rv == CKR_OK ? 0 : count + 1);
    (void)close(fd);
    return rv;
}

CK_RV misbehave_C_InitPIN(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_BYTE *pin,
                          CK_ULONG pin_len)
{
    CK_TOKEN_INFO info;
    CK_RV rv = misbehave_real->C_InitPIN(session, pin, pin_len);
    if (rv != CKR_OK || call->manner.pin_limit == 0 || !token_of(session, &info))
        return rv;
    int fd = open_count(&call->manner, &info);
    write_count(&call->manner, fd, 0);
    (void)close(fd);
    return CKR_OK;
}
