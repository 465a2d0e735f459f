/* SPDX-License-Identifier: Apache-2.0 */
#include "module.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "module_state.h"

/* --- bookkeeping; the mutex is held --- */

static void count_call(const char *call)
{
    for (size_t i = 0; i < NAMES; i++) {
        if (the->calls[i].call == NULL)
            the->calls[i].call = call;
        if (strcmp(the->calls[i].call, call) == 0) {
            the->calls[i].count++;
            return;
        }
    }
    assert(false && "more calls than NAMES");
}

static CK_RV consult_rules(const char *call)
{
    for (size_t i = 0; i < RULES; i++) {
        struct rule *rule = &the->rules[i];
        if (rule->call == NULL || strcmp(rule->call, call) != 0)
            continue;
        if (rule->skip > 0) {
            rule->skip--;
            continue;
        }
        if (!rule->always)
            rule->call = NULL;
        return rule->rv;
    }
    return CKR_OK;
}

static void stop_if_held(const char *call)
{
    if (the->hold == NULL || strcmp(the->hold, call) != 0)
        return;
    the->hold = NULL;
    the->held = true;
    pthread_cond_broadcast(&the->changed);
    while (the->held)
        pthread_cond_wait(&the->changed, &the->mutex);
}

CK_RV fake_begin(const char *call)
{
    pthread_mutex_lock(&the->mutex);
    count_call(call);
    stop_if_held(call);
    CK_RV rv = consult_rules(call);
    if (rv == CKR_OK && !the->initialized && strcmp(call, "C_Initialize") != 0)
        rv = CKR_CRYPTOKI_NOT_INITIALIZED;
    return rv;
}

CK_RV fake_end(CK_RV rv)
{
    pthread_mutex_unlock(&the->mutex);
    return rv;
}

/* The answer of a call that did its work. */
static CK_RV end_late(void)
{
    CK_RV rv = the->behaviour.late_rv;
    the->behaviour.late_rv = CKR_OK;
    return fake_end(rv);
}

static CK_RV end_late_in_session(void)
{
    CK_RV rv = the->behaviour.late_session_rv;
    the->behaviour.late_session_rv = CKR_OK;
    return fake_end(rv);
}

bool fake_is_session(CK_SESSION_HANDLE session)
{
    return session > 0 && session < SESSIONS && the->sessions[session];
}

static bool is_hidden(const struct object *object)
{
    return object->session == 0 && !the->logged_in;
}

struct object *fake_object_at(CK_OBJECT_HANDLE handle)
{
    CK_ULONG place = handle - the->handle_base - 1;
    if (handle <= the->handle_base || place >= OBJECTS || !the->objects[place].used ||
        is_hidden(&the->objects[place]))
        return NULL;
    return &the->objects[place];
}

static const CK_ATTRIBUTE *in_template(const CK_ATTRIBUTE *template, CK_ULONG count,
                                       CK_ATTRIBUTE_TYPE type)
{
    for (CK_ULONG i = 0; i < count; i++) {
        if (template[i].type == type)
            return &template[i];
    }
    return NULL;
}

static bool template_flag(const CK_ATTRIBUTE *template, CK_ULONG count, CK_ATTRIBUTE_TYPE type)
{
    const CK_ATTRIBUTE *item = in_template(template, count, type);
    return item != NULL && *(const CK_BBOOL *)item->pValue != 0;
}

static struct object *object_of_template(CK_SESSION_HANDLE session, const CK_ATTRIBUTE *template,
                                         CK_ULONG count, CK_OBJECT_HANDLE *ret_handle)
{
    size_t place = 0;
    bool on_token = template_flag(template, count, CKA_TOKEN);
    struct object *object = fake_new_object(on_token ? 0 : session, &place);
    for (CK_ULONG i = 0; i < count; i++)
        fake_set_attribute(object, template[i].type, template[i].pValue, template[i].ulValueLen);
    *ret_handle = the->handle_base + place + 1;
    return object;
}

/* --- RFC 3394 by OpenSSL --- */

bool fake_key_wrap(bool padded, bool encrypt, const struct attribute *key, const uint8_t *in,
                   CK_ULONG in_len, uint8_t *out, CK_ULONG *ret_len)
{
    if (key == NULL || key->len != 32)
        return false;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    assert(ctx != NULL);
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    static const uint8_t other_iv[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    const uint8_t *iv = the->behaviour.other_iv ? other_iv : NULL;
    const EVP_CIPHER *cipher = padded ? EVP_aes_256_wrap_pad() : EVP_aes_256_wrap();
    int len = 0;
    bool ok = EVP_CipherInit_ex(ctx, cipher, NULL, key->data, padded ? NULL : iv, encrypt) == 1 &&
              EVP_CipherUpdate(ctx, out, &len, in, (int)in_len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    *ret_len = ok ? (CK_ULONG)len : 0;
    return ok;
}

/* --- Cryptoki --- */

static CK_RV fake_initialize(void *args)
{
    const CK_C_INITIALIZE_ARGS *given = args;
    BEGIN("C_Initialize");
    if (given == NULL || given->flags != CKF_OS_LOCKING_OK || given->pReserved != NULL)
        return fake_end(CKR_ARGUMENTS_BAD);
    if (the->initialized)
        return fake_end(CKR_CRYPTOKI_ALREADY_INITIALIZED);
    the->initialized = true;
    the->handle_base += HANDLE_STEP;
    return fake_end(CKR_OK);
}

static CK_RV fake_finalize(void *reserved)
{
    BEGIN("C_Finalize");
    if (reserved != NULL)
        return fake_end(CKR_ARGUMENTS_BAD);
    for (CK_SESSION_HANDLE i = 1; i < SESSIONS; i++)
        fake_drop_session(i);
    the->initialized = false;
    the->logged_in = false;
    return fake_end(CKR_OK);
}

static void pad(unsigned char *ret_text, size_t size, const char *text)
{
    memset(ret_text, ' ', size);
    memcpy(ret_text, text, strlen(text));
}

static CK_RV fake_get_info(CK_INFO *info)
{
    BEGIN("C_GetInfo");
    memset(info, 0, sizeof(*info));
    pad(info->manufacturerID, sizeof(info->manufacturerID), the->behaviour.manufacturer);
    pad(info->libraryDescription, sizeof(info->libraryDescription), "fake module");
    info->libraryVersion.major = 2;
    info->libraryVersion.minor = the->behaviour.library;
    return fake_end(CKR_OK);
}

static CK_RV fake_get_slot_list(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    BEGIN("C_GetSlotList");
    (void)present;
    CK_ULONG room = *count;
    *count = the->behaviour.tokens;
    if (slots == NULL)
        return fake_end(CKR_OK);
    if (room < the->behaviour.tokens)
        return fake_end(CKR_BUFFER_TOO_SMALL);
    for (unsigned i = 0; i < the->behaviour.tokens; i++)
        slots[i] = FIRST_SLOT + i;
    return fake_end(CKR_OK);
}

static CK_RV fake_get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    BEGIN("C_GetTokenInfo");
    if (slot < FIRST_SLOT || slot >= FIRST_SLOT + the->behaviour.tokens)
        return fake_end(CKR_SLOT_ID_INVALID);
    memset(info, 0, sizeof(*info));
    pad(info->label, sizeof(info->label), FAKE_TOKEN);
    pad(info->serialNumber, sizeof(info->serialNumber), slot == FIRST_SLOT ? "0001" : "0002");
    pad(info->model, sizeof(info->model), "fake");
    pad(info->manufacturerID, sizeof(info->manufacturerID), "hsm-kms\ntests");
    info->flags = CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED |
                  the->behaviour.token_flags;
    info->firmwareVersion.major = 1;
    info->firmwareVersion.minor = the->behaviour.firmware;
    return fake_end(CKR_OK);
}

static CK_RV fake_open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                               CK_SESSION_HANDLE *ret_session)
{
    BEGIN("C_OpenSession");
    (void)application;
    (void)notify;
    if (slot < FIRST_SLOT || slot >= FIRST_SLOT + the->behaviour.tokens)
        return fake_end(CKR_TOKEN_NOT_PRESENT);
    if (flags != (CKF_SERIAL_SESSION | CKF_RW_SESSION))
        return fake_end(CKR_ARGUMENTS_BAD);
    unsigned open = 0;
    for (CK_SESSION_HANDLE i = 1; i < SESSIONS; i++)
        open += the->sessions[i];
    if (the->behaviour.session_limit != 0 && open >= the->behaviour.session_limit)
        return fake_end(CKR_SESSION_COUNT);
    for (CK_SESSION_HANDLE i = 1; i < SESSIONS; i++) {
        if (the->sessions[i])
            continue;
        the->sessions[i] = true;
        *ret_session = i;
        return fake_end(CKR_OK);
    }
    return fake_end(CKR_SESSION_COUNT);
}

static CK_RV fake_close_session(CK_SESSION_HANDLE session)
{
    BEGIN_IN_SESSION("C_CloseSession", session);
    fake_drop_session(session);
    return fake_end(CKR_OK);
}

static CK_RV fake_get_session_info(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
    BEGIN_IN_SESSION("C_GetSessionInfo", session);
    memset(info, 0, sizeof(*info));
    info->slotID = FIRST_SLOT;
    info->state = the->logged_in ? CKS_RW_USER_FUNCTIONS : CKS_RW_PUBLIC_SESSION;
    return fake_end(CKR_OK);
}

static CK_RV fake_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin,
                        CK_ULONG pin_len)
{
    BEGIN_IN_SESSION("C_Login", session);
    if (user != the->behaviour.user)
        return fake_end(CKR_USER_TYPE_INVALID);
    if (the->logged_in)
        return fake_end(CKR_USER_ALREADY_LOGGED_IN);
    if (pin_len != strlen(the->behaviour.pin) || memcmp(pin, the->behaviour.pin, pin_len) != 0)
        return fake_end(CKR_PIN_INCORRECT);
    the->logged_in = true;
    return fake_end(CKR_OK);
}

static bool matches(struct object *object, const struct search *search)
{
    for (CK_ULONG i = 0; i < search->count; i++) {
        const CK_ATTRIBUTE *wanted = &search->template[i];
        const struct attribute *has = fake_attribute_of(object, wanted->type);
        if (has == NULL || has->len != wanted->ulValueLen ||
            (has->len > 0 && memcmp(has->data, wanted->pValue, has->len) != 0))
            return false;
    }
    return true;
}

static CK_RV fake_find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count)
{
    BEGIN_IN_SESSION("C_FindObjectsInit", session);
    struct search *search = &the->searches[session];
    if (search->template != NULL)
        return fake_end(CKR_OPERATION_ACTIVE);
    search->template = calloc(count + 1, sizeof(*search->template));
    assert(search->template != NULL);
    for (CK_ULONG i = 0; i < count; i++) {
        search->template[i] = template[i];
        search->template[i].pValue = malloc(template[i].ulValueLen + 1);
        assert(search->template[i].pValue != NULL);
        if (template[i].ulValueLen > 0)
            memcpy(search->template[i].pValue, template[i].pValue, template[i].ulValueLen);
    }
    search->count = count;
    return fake_end(CKR_OK);
}

static CK_RV fake_find(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *handles, CK_ULONG max,
                       CK_ULONG *ret_count)
{
    BEGIN_IN_SESSION("C_FindObjects", session);
    struct search *search = &the->searches[session];
    if (search->template == NULL)
        return fake_end(CKR_OPERATION_NOT_INITIALIZED);
    *ret_count = 0;
    for (; search->at < OBJECTS && *ret_count < max; search->at++) {
        struct object *object = &the->objects[search->at];
        if (object->used && !is_hidden(object) && matches(object, search))
            handles[(*ret_count)++] = the->handle_base + search->at + 1;
    }
    return fake_end(CKR_OK);
}

static CK_RV fake_find_final(CK_SESSION_HANDLE session)
{
    BEGIN_IN_SESSION("C_FindObjectsFinal", session);
    fake_end_search(session);
    return fake_end(CKR_OK);
}

static CK_RV read_one(struct object *object, CK_ATTRIBUTE *item)
{
    const struct attribute *has = fake_attribute_of(object, item->type);
    CK_ULONG room = item->ulValueLen;
    item->ulValueLen = CK_UNAVAILABLE_INFORMATION;
    if (has == NULL)
        return CKR_ATTRIBUTE_TYPE_INVALID;
    if (item->type == CKA_VALUE &&
        (fake_flag_of(object, CKA_SENSITIVE) || !fake_flag_of(object, CKA_EXTRACTABLE)))
        return CKR_ATTRIBUTE_SENSITIVE;
    CK_ULONG len = has->len;
    if (item->type == CKA_VALUE)
        len += (CK_ULONG)the->behaviour.value_len_error;
    if (room < len)
        return CKR_BUFFER_TOO_SMALL;
    memcpy(item->pValue, has->data, len);
    item->ulValueLen = len;
    return CKR_OK;
}

static CK_RV fake_get_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle,
                                 CK_ATTRIBUTE *template, CK_ULONG count)
{
    BEGIN_IN_SESSION("C_GetAttributeValue", session);
    struct object *object = fake_object_at(handle);
    if (object == NULL)
        return fake_end(CKR_OBJECT_HANDLE_INVALID);
    CK_RV rv = CKR_OK;
    for (CK_ULONG i = 0; i < count; i++) {
        CK_RV one = read_one(object, &template[i]);
        rv = one != CKR_OK ? one : rv;
    }
    return fake_end(rv);
}

static CK_RV fake_create(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count,
                         CK_OBJECT_HANDLE *ret_handle)
{
    BEGIN_IN_SESSION("C_CreateObject", session);
    if (!the->logged_in)
        return fake_end(CKR_USER_NOT_LOGGED_IN);
    const CK_ATTRIBUTE *type = in_template(template, count, CKA_KEY_TYPE);
    if (type == NULL)
        return fake_end(CKR_TEMPLATE_INCOMPLETE);
    bool aes = *(const CK_KEY_TYPE *)type->pValue == CKK_AES;
    CK_RV rv = aes ? the->behaviour.import_aes_rv : the->behaviour.import_seed_rv;
    if (rv != CKR_OK)
        return fake_end(rv);
    (void)object_of_template(session, template, count, ret_handle);
    return end_late_in_session();
}

static CK_RV fake_destroy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle)
{
    BEGIN_IN_SESSION("C_DestroyObject", session);
    struct object *object = fake_object_at(handle);
    if (object == NULL)
        return fake_end(CKR_OBJECT_HANDLE_INVALID);
    object->used = false;
    return end_late();
}

/* True where the object doesn't say: the standard's default. */
static bool permits(struct object *object, CK_ATTRIBUTE_TYPE type)
{
    return fake_attribute_of(object, type) == NULL || fake_flag_of(object, type);
}

static void set_all(struct object *object, const CK_ATTRIBUTE *template, CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++)
        fake_set_attribute(object, template[i].type, template[i].pValue, template[i].ulValueLen);
}

static CK_RV fake_copy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE *template,
                       CK_ULONG count, CK_OBJECT_HANDLE *ret_handle)
{
    BEGIN_IN_SESSION("C_CopyObject", session);
    struct object *from = fake_object_at(handle);
    if (from == NULL)
        return fake_end(CKR_OBJECT_HANDLE_INVALID);
    if (!permits(from, CKA_COPYABLE))
        return fake_end(CKR_ACTION_PROHIBITED);
    size_t place = 0;
    struct object *copy = fake_new_object(from->session, &place);
    *copy = *from;
    set_all(copy, template, count);
    if (the->behaviour.copies_extractable)
        fake_set_flag(copy, CKA_EXTRACTABLE, true);
    *ret_handle = the->handle_base + place + 1;
    return end_late();
}

static CK_RV fake_set_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle,
                                 CK_ATTRIBUTE *template, CK_ULONG count)
{
    BEGIN_IN_SESSION("C_SetAttributeValue", session);
    struct object *object = fake_object_at(handle);
    if (object == NULL)
        return fake_end(CKR_OBJECT_HANDLE_INVALID);
    if (!permits(object, CKA_MODIFIABLE))
        return fake_end(CKR_ACTION_PROHIBITED);
    if (!the->behaviour.sets_nothing)
        set_all(object, template, count);
    return end_late();
}

static CK_RV fake_generate(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                           CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret_handle)
{
    BEGIN_IN_SESSION("C_GenerateKey", session);
    if (mechanism->mechanism != CKM_AES_KEY_GEN)
        return fake_end(CKR_MECHANISM_INVALID);
    struct object *object = object_of_template(session, template, count, ret_handle);
    uint8_t key[32];
    if (RAND_bytes(key, sizeof(key)) != 1)
        return fake_end(CKR_DEVICE_ERROR);
    fake_set_attribute(object, CKA_VALUE, key, sizeof(key));
    fake_set_flag(object, CKA_LOCAL, true);
    fake_set_flag(object, CKA_ALWAYS_SENSITIVE, true);
    fake_set_flag(object, CKA_NEVER_EXTRACTABLE, true);
    fake_set_attribute(object, CKA_KEY_GEN_MECHANISM, &mechanism->mechanism,
                       sizeof(mechanism->mechanism));
    return end_late();
}

static bool is_padded(const CK_MECHANISM *mechanism)
{
    return the->behaviour.padded != 0 && mechanism->mechanism == the->behaviour.padded;
}

static CK_RV fake_wrap(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE kek,
                       CK_OBJECT_HANDLE key, unsigned char *wrapped, CK_ULONG *wrapped_len)
{
    BEGIN_IN_SESSION("C_WrapKey", session);
    struct object *with = fake_object_at(kek);
    struct object *what = fake_object_at(key);
    if ((mechanism->mechanism != the->behaviour.key_wrap && !is_padded(mechanism)) ||
        mechanism->ulParameterLen != 0)
        return fake_end(CKR_MECHANISM_INVALID);
    if (with == NULL)
        return fake_end(CKR_WRAPPING_KEY_HANDLE_INVALID);
    if (what == NULL)
        return fake_end(CKR_KEY_HANDLE_INVALID);
    if (!fake_flag_of(with, CKA_WRAP))
        return fake_end(CKR_KEY_FUNCTION_NOT_PERMITTED);
    const struct attribute *value = fake_attribute_of(what, CKA_VALUE);
    if (value == NULL || *wrapped_len < value->len + 8)
        return fake_end(CKR_BUFFER_TOO_SMALL);
    if (!fake_key_wrap(is_padded(mechanism), true, fake_attribute_of(with, CKA_VALUE), value->data,
                       value->len, wrapped, wrapped_len))
        return fake_end(CKR_KEY_SIZE_RANGE);
    if (the->behaviour.wraps_wrongly)
        wrapped[0] ^= 1;
    *wrapped_len += (CK_ULONG)the->behaviour.wrap_len_error;
    return fake_end(CKR_OK);
}

static CK_RV check_unwrap_template(const CK_ATTRIBUTE *template, CK_ULONG count)
{
    bool told = in_template(template, count, CKA_VALUE_LEN) != NULL;
    if (told)
        return the->behaviour.value_len_rv;
    return the->behaviour.demand_value_len ? CKR_TEMPLATE_INCOMPLETE : CKR_OK;
}

static CK_RV fake_unwrap(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE kek,
                         unsigned char *wrapped, CK_ULONG wrapped_len, CK_ATTRIBUTE *template,
                         CK_ULONG count, CK_OBJECT_HANDLE *ret_handle)
{
    BEGIN_IN_SESSION("C_UnwrapKey", session);
    struct object *with = fake_object_at(kek);
    if ((mechanism->mechanism != the->behaviour.key_wrap && !is_padded(mechanism)) ||
        mechanism->ulParameterLen != 0)
        return fake_end(CKR_MECHANISM_INVALID);
    if (with == NULL)
        return fake_end(CKR_UNWRAPPING_KEY_HANDLE_INVALID);
    if (!fake_flag_of(with, CKA_UNWRAP))
        return fake_end(CKR_KEY_FUNCTION_NOT_PERMITTED);
    CK_RV rv = check_unwrap_template(template, count);
    if (rv != CKR_OK)
        return fake_end(rv);
    uint8_t value[VALUE_MAX];
    CK_ULONG len = 0;
    if (!fake_key_wrap(is_padded(mechanism), false, fake_attribute_of(with, CKA_VALUE), wrapped,
                       wrapped_len, value, &len))
        return fake_end(the->behaviour.tamper_rv);
    struct object *object = object_of_template(session, template, count, ret_handle);
    fake_set_attribute(object, CKA_VALUE, value, len);
    return end_late_in_session();
}

void fake_module_fill(CK_FUNCTION_LIST *fn)
{
    *fn = (CK_FUNCTION_LIST){
        .version = { 2, 40 },
        .C_Initialize = fake_initialize,
        .C_Finalize = fake_finalize,
        .C_GetInfo = fake_get_info,
        .C_GetSlotList = fake_get_slot_list,
        .C_GetTokenInfo = fake_get_token_info,
        .C_OpenSession = fake_open_session,
        .C_CloseSession = fake_close_session,
        .C_GetSessionInfo = fake_get_session_info,
        .C_Login = fake_login,
        .C_FindObjectsInit = fake_find_init,
        .C_FindObjects = fake_find,
        .C_FindObjectsFinal = fake_find_final,
        .C_GetAttributeValue = fake_get_attributes,
        .C_CreateObject = fake_create,
        .C_CopyObject = fake_copy,
        .C_DestroyObject = fake_destroy,
        .C_SetAttributeValue = fake_set_attributes,
        .C_GenerateKey = fake_generate,
        .C_WrapKey = fake_wrap,
        .C_UnwrapKey = fake_unwrap,
        .C_GetMechanismList = fake_get_mechanism_list,
        .C_GetMechanismInfo = fake_get_mechanism_info,
        .C_EncryptInit = fake_encrypt_init,
        .C_Encrypt = fake_encrypt,
        .C_DecryptInit = fake_decrypt_init,
        .C_Decrypt = fake_decrypt,
    };
}
