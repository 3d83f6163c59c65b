/* SPDX-License-Identifier: MIT */
/* A wall clock that a test can step, for the processes that have this library preloaded (clock.py).
 *
 * Time namespaces do not cover CLOCK_REALTIME, and to step the machine's own clock would harm everything else on it.
 * The schedule says from which true time on the clock shows which offset. Whatever the kernel stamped (files' times
 * too) is shown as a clock that really was stepped would have stamped it; what a program waits for by the wall clock is
 * given to the kernel in true time. The monotonic clock is left alone, as a step leaves it alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000LL
#define STEPS 255
#define SINCE_2001 1000000000 /* no monotonic clock shows that many seconds: a deadline beyond is one of the wall clock */

struct schedule {
    int64_t count, unused;
    struct { int64_t from_ns, offset_ns; } step[STEPS];
};

static const volatile struct schedule *schedule;

static void __attribute__((constructor)) map_schedule(void) {
    int fd = open(SCHEDULE, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(struct schedule), PROT_READ, MAP_SHARED, fd, 0);
    schedule = map == MAP_FAILED ? NULL : map;
    close(fd);
}

/* What the clock showed beyond the true time, at a true time. */
static int64_t offset_at(int64_t true_ns) {
    if (!schedule)
        return 0;
    for (int64_t i = schedule->count - 1; i >= 0; i--)
        if (schedule->step[i].from_ns <= true_ns)
            return schedule->step[i].offset_ns;
    return 0;
}

static int64_t ns_of(const struct timespec *t) { return t->tv_sec * NS + t->tv_nsec; }

static struct timespec from_ns(int64_t ns) {
    struct timespec t = {.tv_sec = ns / NS, .tv_nsec = ns % NS};
    return t;
}

static int64_t true_now(void) {
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
    return ns_of(&t);
}

static int64_t shown_now(void) {
    int64_t now = true_now();
    return now + offset_at(now);
}

static void show(struct timespec *t) { *t = from_ns(ns_of(t) + offset_at(ns_of(t))); }

/* A deadline of the wall clock in true time; one of another clock as it is. */
static struct timespec in_truth(const struct timespec *deadline) {
    if (deadline->tv_sec < SINCE_2001)
        return *deadline;
    return from_ns(ns_of(deadline) - offset_at(true_now()));
}

/* dlsym gives the oldest of several versions, which for conditions is another function. */
static void *next(const char *name) {
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

#define NEXT(name) \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name))next(#name)

/* --- reading the clock --- */

int clock_gettime(clockid_t clock, struct timespec *t) {
    NEXT(clock_gettime);
    int rc = real(clock, t);
    if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        show(t);
    return rc;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    (void)zone;
    int64_t now = shown_now();
    t->tv_sec = now / NS;
    t->tv_usec = now % NS / 1000;
    return 0;
}

time_t time(time_t *t) {
    time_t now = shown_now() / NS;
    if (t)
        *t = now;
    return now;
}

int timespec_get(struct timespec *t, int base) {
    *t = from_ns(shown_now());
    return base;
}

/* --- times of files --- */

#define SHOW_TIMES(rc, s) \
    if ((rc) == 0) { \
        show(&(s)->st_atim); \
        show(&(s)->st_mtim); \
        show(&(s)->st_ctim); \
    } \
    return (rc)

int stat(const char *restrict path, struct stat *restrict s) { NEXT(stat); int rc = real(path, s); SHOW_TIMES(rc, s); }
int lstat(const char *restrict path, struct stat *restrict s) { NEXT(lstat); int rc = real(path, s); SHOW_TIMES(rc, s); }
int fstat(int fd, struct stat *s) { NEXT(fstat); int rc = real(fd, s); SHOW_TIMES(rc, s); }
int stat64(const char *restrict path, struct stat64 *restrict s) { NEXT(stat64); int rc = real(path, s); SHOW_TIMES(rc, s); }
int lstat64(const char *restrict path, struct stat64 *restrict s) { NEXT(lstat64); int rc = real(path, s); SHOW_TIMES(rc, s); }
int fstat64(int fd, struct stat64 *s) { NEXT(fstat64); int rc = real(fd, s); SHOW_TIMES(rc, s); }

int fstatat(int fd, const char *restrict path, struct stat *restrict s, int flags) {
    NEXT(fstatat);
    int rc = real(fd, path, s, flags);
    SHOW_TIMES(rc, s);
}

int fstatat64(int fd, const char *restrict path, struct stat64 *restrict s, int flags) {
    NEXT(fstatat64);
    int rc = real(fd, path, s, flags);
    SHOW_TIMES(rc, s);
}

static void show_statx(struct statx_timestamp *t) {
    struct timespec shown = {.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
    show(&shown);
    t->tv_sec = shown.tv_sec;
    t->tv_nsec = shown.tv_nsec;
}

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict s) {
    NEXT(statx);
    int rc = real(fd, path, flags, mask, s);
    if (rc == 0) {
        show_statx(&s->stx_atime);
        show_statx(&s->stx_btime);
        show_statx(&s->stx_ctime);
        show_statx(&s->stx_mtime);
    }
    return rc;
}

/* --- waiting for a time --- */

int pthread_cond_timedwait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m, const struct timespec *restrict t) {
    NEXT(pthread_cond_timedwait);
    struct timespec until = in_truth(t);
    return real(c, m, &until);
}

int pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m, clockid_t clock, const struct timespec *t) {
    NEXT(pthread_cond_clockwait);
    struct timespec until = in_truth(t);
    return real(c, m, clock, &until);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict m, const struct timespec *restrict t) {
    NEXT(pthread_mutex_timedlock);
    struct timespec until = in_truth(t);
    return real(m, &until);
}

int pthread_rwlock_timedrdlock(pthread_rwlock_t *restrict l, const struct timespec *restrict t) {
    NEXT(pthread_rwlock_timedrdlock);
    struct timespec until = in_truth(t);
    return real(l, &until);
}

int pthread_rwlock_timedwrlock(pthread_rwlock_t *restrict l, const struct timespec *restrict t) {
    NEXT(pthread_rwlock_timedwrlock);
    struct timespec until = in_truth(t);
    return real(l, &until);
}

int sem_timedwait(sem_t *restrict s, const struct timespec *restrict t) {
    NEXT(sem_timedwait);
    struct timespec until = in_truth(t);
    return real(s, &until);
}

int sem_clockwait(sem_t *restrict s, clockid_t clock, const struct timespec *restrict t) {
    NEXT(sem_clockwait);
    struct timespec until = in_truth(t);
    return real(s, clock, &until);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *t, struct timespec *left) {
    NEXT(clock_nanosleep);
    struct timespec until = flags & TIMER_ABSTIME ? in_truth(t) : *t;
    return real(clock, flags, &until, left);
}
