/* SPDX-License-Identifier: Apache-2.0 */
/* The only place where compiler extensions are named. */
#ifndef KMS_COMPILER_H
#define KMS_COMPILER_H

#define KMS_MUST_CHECK __attribute__((warn_unused_result))
#define KMS_CLEANUP(fn) __attribute__((cleanup(fn), unused)) /* a guard is used by its end */
#define KMS_PRINTF(format_at, first_arg_at) __attribute__((format(printf, format_at, first_arg_at)))
#define KMS_NORETURN __attribute__((noreturn))
#define KMS_NOINLINE __attribute__((noinline))

/* Defines KMS_CLEANUP-able `<close>_ptr(type *p)`, which closes what *p points to.  For owners
 * that are pointers:  KMS_CLEANUP(kms_thing_close_ptr) struct kms_thing *thing = NULL; */
#define KMS_DEFINE_CLOSE_PTR(type, close)                                                          \
    __attribute__((unused)) static inline void close##_ptr(type *p) /* NOLINT: a type */           \
    {                                                                                              \
        close(*p);                                                                                 \
    }

/* ThreadSanitizer can't see hand-overs through libraries that are not instrumented (gRPC core):
 * release before the pointer is handed over, acquire after it came out.  Nothing otherwise. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define KMS_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(KMS_TSAN)
void __tsan_acquire(void *addr); /* NOLINT: the sanitizer's own name */
void __tsan_release(void *addr); /* NOLINT */
#define KMS_TSAN_ACQUIRE(addr) __tsan_acquire(addr)
#define KMS_TSAN_RELEASE(addr) __tsan_release(addr)
#else
#define KMS_TSAN_ACQUIRE(addr) ((void)(addr))
#define KMS_TSAN_RELEASE(addr) ((void)(addr))
#endif

#endif
