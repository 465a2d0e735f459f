/* SPDX-License-Identifier: Apache-2.0 */
/* The floor under every RPC: the same PKCS#11 calls in a bare loop, one process, one session.
 *
 *   bench_raw MODULE TOKEN PIN_FILE KEK_LABEL CALLS
 *
 * Prints the time from C_Initialize to the KEK's handle, then one line for wrapping (create, wrap,
 * destroy) and one for unwrapping (unwrap, read, destroy) 32-byte seeds. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <p11-kit/pkcs11.h>

#include "kms/secret.h"
#include "pin.h"
#include "times.h"

enum { SEED_LEN = 32, WRAPPED_LEN = SEED_LEN + 8, SLOTS_MAX = 64, TOKEN_LABEL_LEN = 32 };

struct bench {
    CK_FUNCTION_LIST *fn;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE kek;
};

static void check(CK_RV rv, const char *what)
{
    if (rv == CKR_OK)
        return;
    fprintf(stderr, "bench_raw: %s: 0x%lx\n", what, rv);
    exit(1);
}

static CK_FUNCTION_LIST *load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get = NULL;
    if (library != NULL)
        *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (get == NULL) {
        fprintf(stderr, "bench_raw: %s\n", dlerror());
        exit(1);
    }
    CK_FUNCTION_LIST *fn = NULL;
    check(get(&fn), "C_GetFunctionList");
    return fn;
}

/* Labels on a token are padded with blanks, not terminated. */
static int has_label(const CK_TOKEN_INFO *info, const char *label)
{
    char padded[TOKEN_LABEL_LEN + 1];
    snprintf(padded, sizeof padded, "%-*s", (int)TOKEN_LABEL_LEN, label);
    return memcmp(padded, info->label, TOKEN_LABEL_LEN) == 0;
}

static CK_SLOT_ID find_token(CK_FUNCTION_LIST *fn, const char *label)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    check(fn->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (fn->C_GetTokenInfo(slots[i], &info) == CKR_OK && has_label(&info, label))
            return slots[i];
    }
    fprintf(stderr, "bench_raw: no token '%s'\n", label);
    exit(1);
}

static CK_SESSION_HANDLE log_in(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, const char *pin_file)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    struct kms_error err;
    if (pkcs11_pin_read(pin_file, &pin, &err) != KMS_OK) {
        fprintf(stderr, "bench_raw: %s\n", err.msg);
        exit(1);
    }
    CK_SESSION_HANDLE session = 0;
    check(fn->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session),
          "C_OpenSession");
    check(fn->C_Login(session, CKU_USER, pin.data, pin.len), "C_Login");
    return session;
}

static CK_OBJECT_HANDLE find_kek(const struct bench *bench, char *label)
{
    CK_ATTRIBUTE wanted = { CKA_LABEL, label, strlen(label) };
    CK_OBJECT_HANDLE found = 0;
    CK_ULONG count = 0;
    check(bench->fn->C_FindObjectsInit(bench->session, &wanted, 1), "C_FindObjectsInit");
    check(bench->fn->C_FindObjects(bench->session, &found, 1, &count), "C_FindObjects");
    check(bench->fn->C_FindObjectsFinal(bench->session), "C_FindObjectsFinal");
    if (count == 1)
        return found;
    fprintf(stderr, "bench_raw: no key '%s'\n", label);
    exit(1);
}

static void wrap(const struct bench *bench, uint8_t *seed, uint8_t *ret_wrapped)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE object[] = {
        { CKA_CLASS, &class, sizeof class },   { CKA_KEY_TYPE, &type, sizeof type },
        { CKA_TOKEN, &no, sizeof no },         { CKA_SENSITIVE, &no, sizeof no },
        { CKA_EXTRACTABLE, &yes, sizeof yes }, { CKA_VALUE, seed, SEED_LEN },
    };
    CK_MECHANISM mechanism = { CKM_AES_KEY_WRAP, NULL, 0 };
    CK_OBJECT_HANDLE handle = 0;
    CK_ULONG len = WRAPPED_LEN;
    CK_FUNCTION_LIST *fn = bench->fn;
    check(fn->C_CreateObject(bench->session, object, sizeof object / sizeof *object, &handle),
          "C_CreateObject");
    check(fn->C_WrapKey(bench->session, &mechanism, bench->kek, handle, ret_wrapped, &len),
          "C_WrapKey");
    check(fn->C_DestroyObject(bench->session, handle), "C_DestroyObject");
}

static void unwrap(const struct bench *bench, uint8_t *wrapped, uint8_t *ret_seed)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE object[] = {
        { CKA_CLASS, &class, sizeof class },   { CKA_KEY_TYPE, &type, sizeof type },
        { CKA_TOKEN, &no, sizeof no },         { CKA_SENSITIVE, &no, sizeof no },
        { CKA_EXTRACTABLE, &yes, sizeof yes },
    };
    CK_ATTRIBUTE value = { CKA_VALUE, ret_seed, SEED_LEN };
    CK_MECHANISM mechanism = { CKM_AES_KEY_WRAP, NULL, 0 };
    CK_OBJECT_HANDLE handle = 0;
    CK_FUNCTION_LIST *fn = bench->fn;
    check(fn->C_UnwrapKey(bench->session, &mechanism, bench->kek, wrapped, WRAPPED_LEN, object,
                          sizeof object / sizeof *object, &handle),
          "C_UnwrapKey");
    check(fn->C_GetAttributeValue(bench->session, handle, &value, 1), "C_GetAttributeValue");
    check(fn->C_DestroyObject(bench->session, handle), "C_DestroyObject");
}

/* Not a secret: it is made here and seals nothing. */
static void run(const struct bench *bench, size_t calls)
{
    uint8_t seed[SEED_LEN], again[SEED_LEN], wrapped[WRAPPED_LEN];
    memset(seed, 0x5a, sizeof seed);
    struct bench_times times;
    bench_times_init(&times, calls);
    for (size_t i = 0; i < calls; i++) {
        int64_t begun = bench_now_us();
        wrap(bench, seed, wrapped);
        times.us[i] = (uint32_t)(bench_now_us() - begun);
    }
    bench_times_print(&times, "encrypt");
    bench_times_done(&times);
    bench_times_init(&times, calls);
    for (size_t i = 0; i < calls; i++) {
        int64_t begun = bench_now_us();
        unwrap(bench, wrapped, again);
        times.us[i] = (uint32_t)(bench_now_us() - begun);
    }
    bench_times_print(&times, "decrypt");
    bench_times_done(&times);
    if (memcmp(seed, again, sizeof seed) != 0)
        check(CKR_GENERAL_ERROR, "round trip");
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: bench_raw MODULE TOKEN PIN_FILE KEK_LABEL CALLS\n", stderr);
        return 2;
    }
    size_t calls = strtoul(argv[5], NULL, 10);
    int64_t begun = bench_now_us();
    struct bench bench = { .fn = load(argv[1]) };
    CK_C_INITIALIZE_ARGS threads = { .flags = CKF_OS_LOCKING_OK };
    check(bench.fn->C_Initialize(&threads), "C_Initialize");
    bench.session = log_in(bench.fn, find_token(bench.fn, argv[2]), argv[3]);
    bench.kek = find_kek(&bench, argv[4]);
    printf("connect us=%lld\n", (long long)(bench_now_us() - begun));
    run(&bench, calls);
    check(bench.fn->C_Finalize(NULL), "C_Finalize");
    return 0;
}
