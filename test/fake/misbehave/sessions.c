/* SPDX-License-Identifier: Apache-2.0 */
#include "sessions.h"

#include <stddef.h>

#include "state.h"

enum { SESSIONS = 8192 };

static struct misbehave_session sessions[SESSIONS];
static size_t count;
static size_t reserved;

bool misbehave_sessions_reserve(unsigned long cap)
{
    size_t alive = 0;
    for (size_t i = 0; i < count; i++)
        alive += !sessions[i].lost;
    if (cap != 0 && alive + reserved >= cap)
        return false;
    if (count + reserved >= SESSIONS)
        misbehave_die("", "more than %d sessions", SESSIONS);
    reserved++;
    return true;
}

void misbehave_sessions_add(CK_SESSION_HANDLE handle, CK_SLOT_ID slot)
{
    reserved--;
    sessions[count++] = (struct misbehave_session){ .handle = handle, .slot = slot };
}

void misbehave_sessions_give_back(void)
{
    reserved--;
}

struct misbehave_session *misbehave_sessions_find(CK_SESSION_HANDLE handle)
{
    for (size_t i = 0; i < count; i++) {
        if (sessions[i].handle == handle)
            return &sessions[i];
    }
    return NULL;
}

static void remove_at(size_t place)
{
    sessions[place] = sessions[--count];
}

void misbehave_sessions_remove(CK_SESSION_HANDLE handle)
{
    struct misbehave_session *session = misbehave_sessions_find(handle);
    if (session != NULL)
        remove_at((size_t)(session - sessions));
}

void misbehave_sessions_clear(void)
{
    count = 0;
}

bool misbehave_sessions_take(CK_SLOT_ID slot, bool lost, CK_SESSION_HANDLE *ret_handle)
{
    for (size_t i = 0; i < count; i++) {
        if (sessions[i].slot != slot || (lost && !sessions[i].lost))
            continue;
        *ret_handle = sessions[i].handle;
        remove_at(i);
        return true;
    }
    return false;
}

void misbehave_sessions_lose_all(void)
{
    for (size_t i = 0; i < count; i++)
        sessions[i].lost = true;
}
