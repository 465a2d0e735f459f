/* SPDX-License-Identifier: Apache-2.0 */
#include "misbehave_rig.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attributes.h"

CK_FUNCTION_LIST *misbehave;

static char control_path[96], log_path[96], stats_path[96];
static const struct misbehave_stats *stats;

void misbehave_tell(const char *text)
{
    char path[128], whole[2048];
    (void)snprintf(path, sizeof(path), "%s.new", control_path);
    int len = snprintf(whole, sizeof(whole), "log %s\nstats %s\n%s\n", log_path, stats_path, text);
    assert_in_range(len, 1, sizeof(whole) - 1);
    softhsm_write_file(path, whole);
    assert_int_equal(rename(path, control_path), 0);
}

void misbehave_read_log(char *ret, size_t size)
{
    FILE *file = fopen(log_path, "r");
    ret[0] = '\0';
    if (file == NULL)
        return;
    ret[fread(ret, 1, size - 1, file)] = '\0';
    (void)fclose(file);
}

/* --- counters --- */

static const struct misbehave_counter *counter(const char *function)
{
    if (stats == NULL) {
        int fd = open(stats_path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        void *memory = mmap(NULL, sizeof(*stats), PROT_READ, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(memory, MAP_FAILED);
        (void)close(fd);
        stats = memory;
    }
    assert_memory_equal(stats->magic, MISBEHAVE_STATS_MAGIC, sizeof(stats->magic));
    for (uint64_t i = 0; i < stats->count; i++) {
        if (strcmp(stats->counters[i].name, function) == 0)
            return &stats->counters[i];
    }
    fail_msg("no counter of %s", function);
    return NULL;
}

static uint64_t load(const uint64_t *value)
{
    return __atomic_load_n(value, __ATOMIC_RELAXED);
}

uint64_t misbehave_calls(const char *function)
{
    return load(&counter(function)->calls);
}

uint64_t misbehave_failed(const char *function)
{
    return load(&counter(function)->failed);
}

uint64_t misbehave_injected(const char *function)
{
    return load(&counter(function)->injected);
}

uint64_t misbehave_hanging(const char *function)
{
    return load(&counter(function)->hanging);
}

void misbehave_wait_hanging(const char *function, uint64_t before)
{
    const struct timespec pause = { .tv_nsec = 2000000L };
    int64_t deadline_ms = rig_soon_ms();
    while (misbehave_hanging(function) <= before) {
        if (kms_monotonic_ms() > deadline_ms)
            fail_msg("no call of %s hangs", function);
        (void)nanosleep(&pause, NULL);
    }
}

/* --- set up --- */

int misbehave_setup(void **state)
{
    if (softhsm_setup(state) != 0)
        return -1;
    (void)snprintf(control_path, sizeof(control_path), "%s/control", softhsm_dir);
    (void)snprintf(log_path, sizeof(log_path), "%s/log", softhsm_dir);
    (void)snprintf(stats_path, sizeof(stats_path), "%s/stats", softhsm_dir);
    assert_int_equal(setenv("MISBEHAVE_CONTROL", control_path, 1), 0);
    assert_int_equal(setenv("MISBEHAVE_MODULE", SOFTHSM_MODULE, 1), 0);
    misbehave_tell("");
    void *library = dlopen(KMS_MISBEHAVE, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fail_msg("%s", dlerror());
    CK_C_GetFunctionList get = NULL;
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    assert_non_null(get);
    assert_int_equal(get(&misbehave), CKR_OK);
    return 0;
}

int misbehave_teardown(void **state)
{
    return softhsm_teardown(state);
}

int misbehave_begin(void **state)
{
    (void)state;
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    (void)unlink(log_path);
    misbehave_tell("");
    return misbehave->C_Initialize(&args) == CKR_OK ? 0 : -1;
}

int misbehave_end(void **state)
{
    (void)state;
    misbehave_tell("");
    return misbehave->C_Finalize(NULL) == CKR_OK ? 0 : -1;
}

/* --- sessions --- */

CK_SLOT_ID misbehave_slot(void)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = 16;
    assert_int_equal(misbehave->C_GetSlotList(CK_FALSE, slots, &count), CKR_OK);
    assert_true(count >= 1);
    return slots[0]; /* the uninitialised one is last */
}

CK_SESSION_HANDLE misbehave_session(void)
{
    CK_SESSION_HANDLE session = CK_INVALID_HANDLE;
    assert_int_equal(misbehave->C_OpenSession(misbehave_slot(), CKF_SERIAL_SESSION | CKF_RW_SESSION,
                                              NULL, NULL, &session),
                     CKR_OK);
    return session;
}

CK_RV misbehave_log_in(CK_SESSION_HANDLE session, const char *pin)
{
    unsigned char copy[64];
    size_t len = strlen(pin);
    assert_in_range(len, 0, sizeof(copy));
    memcpy(copy, pin, len);
    return misbehave->C_Login(session, CKU_USER, copy, len);
}

CK_SESSION_HANDLE misbehave_user(void)
{
    CK_SESSION_HANDLE session = misbehave_session();
    assert_int_equal(misbehave_log_in(session, SOFTHSM_PIN), CKR_OK);
    return session;
}

CK_RV misbehave_random(CK_SESSION_HANDLE session)
{
    CK_BYTE byte = 0;
    return misbehave->C_GenerateRandom(session, &byte, 1);
}

static void *call_random(void *session)
{
    return (void *)misbehave_random(*(CK_SESSION_HANDLE *)session); // NOLINT: a number
}

bool misbehave_start_hanging(CK_SESSION_HANDLE *session, pthread_t *ret_thread)
{
    uint64_t before = misbehave_hanging("C_GenerateRandom");
    if (pthread_create(ret_thread, NULL, call_random, session) != 0)
        return false;
    misbehave_wait_hanging("C_GenerateRandom", before);
    return true;
}

/* --- objects --- */

static void add_label(struct pkcs11_template *template, const char *label)
{
    pkcs11_template_bytes(template, CKA_LABEL,
                          (struct kms_bytes){ (const uint8_t *)label, strlen(label) });
}

CK_OBJECT_HANDLE misbehave_make_kek(CK_SESSION_HANDLE session, const char *label,
                                    const uint8_t *key, bool ciphers)
{
    CK_MECHANISM generate = { CKM_AES_KEY_GEN, NULL, 0 };
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    struct pkcs11_template template = { 0 };
    pkcs11_template_number(&template, CKA_CLASS, CKO_SECRET_KEY);
    pkcs11_template_number(&template, CKA_KEY_TYPE, CKK_AES);
    pkcs11_template_bool(&template, CKA_TOKEN, true);
    pkcs11_template_bool(&template, CKA_PRIVATE, true);
    pkcs11_template_bool(&template, CKA_SENSITIVE, true);
    pkcs11_template_bool(&template, CKA_EXTRACTABLE, false);
    pkcs11_template_bool(&template, CKA_WRAP, true);
    pkcs11_template_bool(&template, CKA_UNWRAP, true);
    pkcs11_template_bool(&template, CKA_ENCRYPT, ciphers);
    pkcs11_template_bool(&template, CKA_DECRYPT, ciphers);
    add_label(&template, label);
    if (key != NULL) {
        pkcs11_template_bytes(&template, CKA_VALUE, (struct kms_bytes){ key, 32 });
        assert_int_equal(
            misbehave->C_CreateObject(session, template.items, template.count, &handle), CKR_OK);
        return handle;
    }
    pkcs11_template_number(&template, CKA_VALUE_LEN, 32);
    assert_int_equal(
        misbehave->C_GenerateKey(session, &generate, template.items, template.count, &handle),
        CKR_OK);
    return handle;
}

static CK_ULONG find(CK_SESSION_HANDLE session, const char *label, CK_OBJECT_HANDLE ret[static 8])
{
    CK_ULONG count = 0;
    struct pkcs11_template template = { 0 };
    add_label(&template, label);
    assert_int_equal(misbehave->C_FindObjectsInit(session, template.items, template.count), CKR_OK);
    assert_int_equal(misbehave->C_FindObjects(session, ret, 8, &count), CKR_OK);
    assert_int_equal(misbehave->C_FindObjectsFinal(session), CKR_OK);
    return count;
}

CK_OBJECT_HANDLE misbehave_find(CK_SESSION_HANDLE session, const char *label)
{
    CK_OBJECT_HANDLE found[8];
    assert_int_equal(find(session, label, found), 1);
    return found[0];
}

CK_ULONG misbehave_count(CK_SESSION_HANDLE session, const char *label)
{
    CK_OBJECT_HANDLE found[8];
    return find(session, label, found);
}

void misbehave_label_of(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, char ret[static 64])
{
    CK_ATTRIBUTE attribute = { CKA_LABEL, ret, 63 };
    assert_int_equal(misbehave->C_GetAttributeValue(session, object, &attribute, 1), CKR_OK);
    ret[attribute.ulValueLen] = '\0';
}

CK_RV misbehave_make_seed(CK_SESSION_HANDLE session, bool sensitive, CK_OBJECT_HANDLE *ret)
{
    struct pkcs11_template template = { 0 };
    pkcs11_template_number(&template, CKA_CLASS, CKO_SECRET_KEY);
    pkcs11_template_number(&template, CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    pkcs11_template_bool(&template, CKA_TOKEN, false);
    pkcs11_template_bool(&template, CKA_SENSITIVE, sensitive);
    pkcs11_template_bool(&template, CKA_EXTRACTABLE, true);
    pkcs11_template_bytes(&template, CKA_VALUE,
                          (struct kms_bytes){ softhsm_seed, sizeof(softhsm_seed) });
    return misbehave->C_CreateObject(session, template.items, template.count, ret);
}

CK_RV misbehave_wrap(CK_SESSION_HANDLE session, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE kek,
                     CK_OBJECT_HANDLE seed, uint8_t ret[static 64], CK_ULONG *ret_len)
{
    CK_MECHANISM mechanism = { type, NULL, 0 };
    *ret_len = 64;
    return misbehave->C_WrapKey(session, &mechanism, kek, seed, ret, ret_len);
}

CK_RV misbehave_unwrap(CK_SESSION_HANDLE session, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE kek,
                       const uint8_t *wrapped, CK_ULONG len, struct misbehave_wish wish,
                       CK_OBJECT_HANDLE *ret)
{
    CK_MECHANISM mechanism = { type, NULL, 0 };
    uint8_t copy[64];
    struct pkcs11_template template = { 0 };
    memcpy(copy, wrapped, len);
    pkcs11_template_number(&template, CKA_CLASS, CKO_SECRET_KEY);
    pkcs11_template_number(&template, CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    pkcs11_template_bool(&template, CKA_TOKEN, false);
    pkcs11_template_bool(&template, CKA_EXTRACTABLE, true);
    if (wish.sensitive >= 0)
        pkcs11_template_bool(&template, CKA_SENSITIVE, wish.sensitive > 0);
    if (wish.private >= 0)
        pkcs11_template_bool(&template, CKA_PRIVATE, wish.private > 0);
    if (wish.value_len > 0)
        pkcs11_template_number(&template, CKA_VALUE_LEN, wish.value_len);
    return misbehave->C_UnwrapKey(session, &mechanism, kek, copy, len, template.items,
                                  template.count, ret);
}

CK_RV misbehave_read(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, uint8_t ret[static 64],
                     CK_ULONG *ret_len)
{
    CK_ATTRIBUTE attribute = { CKA_VALUE, ret, 64 };
    CK_RV rv = misbehave->C_GetAttributeValue(session, object, &attribute, 1);
    *ret_len = attribute.ulValueLen;
    return rv;
}

/* --- children --- */

int misbehave_in_child(int (*step)(void *arg), void *arg)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(step(arg));
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        return WTERMSIG(status);
    assert_int_equal(WEXITSTATUS(status), 0);
    return 0;
}
