/* SPDX-License-Identifier: Apache-2.0 */
/* Every Cryptoki v2.40 function but C_GetFunctionList, once: wrappers, names and counters are made
 * of this table. */
#ifndef MISBEHAVE_TABLE_H
#define MISBEHAVE_TABLE_H

/* X1..X8 take: `pass` (goes straight to the module behind) or `own` (goes to misbehave_NAME), the
 * name, and the types of 1..8 parameters in the words of module.c. */
#define MISBEHAVE_FUNCTIONS(X1, X2, X3, X4, X5, X6, X8)                                            \
    X1(own, C_Initialize, pointer)                                                                 \
    X1(own, C_Finalize, pointer)                                                                   \
    X1(own, C_GetInfo, info)                                                                       \
    X3(own, C_GetSlotList, boolean, slots, number_out)                                             \
    X2(own, C_GetSlotInfo, slot, slot_info)                                                        \
    X2(own, C_GetTokenInfo, slot, token_info)                                                      \
    X3(pass, C_WaitForSlotEvent, number, slots, pointer)                                           \
    X3(own, C_GetMechanismList, slot, mechanisms, number_out)                                      \
    X3(own, C_GetMechanismInfo, slot, number, mechanism_info)                                      \
    X4(pass, C_InitToken, slot, bytes, number, bytes)                                              \
    X3(own, C_InitPIN, session, bytes, number)                                                     \
    X5(pass, C_SetPIN, session, bytes, number, bytes, number)                                      \
    X5(own, C_OpenSession, slot, number, pointer, notify, handle_out)                              \
    X1(own, C_CloseSession, session)                                                               \
    X1(own, C_CloseAllSessions, slot)                                                              \
    X2(pass, C_GetSessionInfo, session, session_info)                                              \
    X3(pass, C_GetOperationState, session, bytes, number_out)                                      \
    X5(own, C_SetOperationState, session, bytes, number, object, object)                           \
    X4(own, C_Login, session, number, bytes, number)                                               \
    X1(pass, C_Logout, session)                                                                    \
    X4(own, C_CreateObject, session, template, number, handle_out)                                 \
    X5(own, C_CopyObject, session, object, template, number, handle_out)                           \
    X2(own, C_DestroyObject, session, object)                                                      \
    X3(own, C_GetObjectSize, session, object, number_out)                                          \
    X4(own, C_GetAttributeValue, session, object, template, number)                                \
    X4(own, C_SetAttributeValue, session, object, template, number)                                \
    X3(pass, C_FindObjectsInit, session, template, number)                                         \
    X4(own, C_FindObjects, session, handle_out, number, number_out)                                \
    X1(pass, C_FindObjectsFinal, session)                                                          \
    X3(own, C_EncryptInit, session, mechanism, object)                                             \
    X5(own, C_Encrypt, session, bytes, number, bytes, number_out)                                  \
    X5(own, C_EncryptUpdate, session, bytes, number, bytes, number_out)                            \
    X3(own, C_EncryptFinal, session, bytes, number_out)                                            \
    X3(own, C_DecryptInit, session, mechanism, object)                                             \
    X5(own, C_Decrypt, session, bytes, number, bytes, number_out)                                  \
    X5(own, C_DecryptUpdate, session, bytes, number, bytes, number_out)                            \
    X3(own, C_DecryptFinal, session, bytes, number_out)                                            \
    X2(pass, C_DigestInit, session, mechanism)                                                     \
    X5(pass, C_Digest, session, bytes, number, bytes, number_out)                                  \
    X3(pass, C_DigestUpdate, session, bytes, number)                                               \
    X2(own, C_DigestKey, session, object)                                                          \
    X3(pass, C_DigestFinal, session, bytes, number_out)                                            \
    X3(own, C_SignInit, session, mechanism, object)                                                \
    X5(pass, C_Sign, session, bytes, number, bytes, number_out)                                    \
    X3(pass, C_SignUpdate, session, bytes, number)                                                 \
    X3(pass, C_SignFinal, session, bytes, number_out)                                              \
    X3(own, C_SignRecoverInit, session, mechanism, object)                                         \
    X5(pass, C_SignRecover, session, bytes, number, bytes, number_out)                             \
    X3(own, C_VerifyInit, session, mechanism, object)                                              \
    X5(pass, C_Verify, session, bytes, number, bytes, number)                                      \
    X3(pass, C_VerifyUpdate, session, bytes, number)                                               \
    X3(pass, C_VerifyFinal, session, bytes, number)                                                \
    X3(own, C_VerifyRecoverInit, session, mechanism, object)                                       \
    X5(pass, C_VerifyRecover, session, bytes, number, bytes, number_out)                           \
    X5(pass, C_DigestEncryptUpdate, session, bytes, number, bytes, number_out)                     \
    X5(pass, C_DecryptDigestUpdate, session, bytes, number, bytes, number_out)                     \
    X5(pass, C_SignEncryptUpdate, session, bytes, number, bytes, number_out)                       \
    X5(pass, C_DecryptVerifyUpdate, session, bytes, number, bytes, number_out)                     \
    X5(own, C_GenerateKey, session, mechanism, template, number, handle_out)                       \
    X8(own, C_GenerateKeyPair, session, mechanism, template, number, template, number, handle_out, \
       handle_out)                                                                                 \
    X6(own, C_WrapKey, session, mechanism, object, object, bytes, number_out)                      \
    X8(own, C_UnwrapKey, session, mechanism, object, bytes, number, template, number, handle_out)  \
    X6(own, C_DeriveKey, session, mechanism, object, template, number, handle_out)                 \
    X3(pass, C_SeedRandom, session, bytes, number)                                                 \
    X3(pass, C_GenerateRandom, session, bytes, number)                                             \
    X1(pass, C_GetFunctionStatus, session)                                                         \
    X1(pass, C_CancelFunction, session)

#define MISBEHAVE_NUMBER(how, name, ...) MISBEHAVE_##name,
enum misbehave_function {
    MISBEHAVE_FUNCTIONS(MISBEHAVE_NUMBER, MISBEHAVE_NUMBER, MISBEHAVE_NUMBER, MISBEHAVE_NUMBER,
                        MISBEHAVE_NUMBER, MISBEHAVE_NUMBER, MISBEHAVE_NUMBER) MISBEHAVE_COUNT
};
#undef MISBEHAVE_NUMBER

extern const char *const misbehave_names[MISBEHAVE_COUNT];

#endif
