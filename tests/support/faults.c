/* Put under a process by LD_PRELOAD: logs, kills or fails the calls that touch files inside one folder.
 *
 * What is not a call is not seen: SQLite changes its shared-memory file (-shm) through a map as well. Nothing is lost
 * by that, as the first connection after a crash builds that file anew from the log.
 *
 * Real calls are made by syscall(), so no symbol of the C library has to be looked up. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* the numbers are those of faults.py */
enum { CHANGES = 1, OPENS = 2, READS = 4 };
enum { COUNT, KILL, KILL_HALFWAY, FAIL_ONCE, FAIL_ALWAYS };
enum { CREATE = 1, WRITE, SYNC, TRUNCATE, UNLINK, RMDIR, RENAME, LINK, MKDIR, MARK };

static struct {
    char folder[PATH_MAX];
    size_t folder_length;
    int classes, action, error, log;
    long at;
} plan;
static atomic_long calls;

struct record {
    uint32_t kind, path_length, other_length, data_length;
    uint64_t inode, offset;
};

static int is_inside(const char *path) {
    return plan.folder_length && !strncmp(path, plan.folder, plan.folder_length) &&
           (path[plan.folder_length] == '/' || !path[plan.folder_length]);
}

static int path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return is_inside(path);
}

/* the absolute form of a path; whether it is inside the folder */
static int path_at(int folder, const char *name, char *path) {
    if (!plan.folder_length || !name) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        char start[PATH_MAX];
        if (folder == AT_FDCWD) {
            if (!getcwd(start, sizeof start)) return 0;
        } else {
            path_of(folder, start);
        }
        if ((size_t)snprintf(path, PATH_MAX, "%s/%s", start, name) >= PATH_MAX) return 0;
    }
    return is_inside(path);
}

static uint64_t inode_of(int descriptor) {
    struct stat status;
    return fstat(descriptor, &status) ? 0 : status.st_ino;
}

static void put(const void *data, size_t length) {
    while (length) {
        long done = syscall(SYS_write, plan.log, data, length);
        if (done < 0) abort();
        data = (const char *)data + done;
        length -= (size_t)done;
    }
}

static void note(int kind, const char *path, const char *other, uint64_t inode, off_t offset, const void *data,
                 size_t length) {
    if (plan.log < 0) return;
    struct record head = {(uint32_t)kind, (uint32_t)strlen(path), (uint32_t)strlen(other), (uint32_t)length, inode,
                          (uint64_t)offset};
    put(&head, sizeof head);
    put(path, head.path_length);
    put(other, head.other_length);
    put(data, length);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

enum verdict { GO, REFUSE, HALFWAY };

static enum verdict meet(int class) {
    if (!(plan.classes & class)) return GO;
    long number = atomic_fetch_add(&calls, 1) + 1;
    if (plan.action == COUNT || number < plan.at) return GO;
    if (plan.action == KILL) die();
    if (plan.action == KILL_HALFWAY) return HALFWAY;
    if (plan.action == FAIL_ONCE && number > plan.at) return GO;
    errno = plan.error;
    return REFUSE;
}

/* for calls that cannot be done by half */
static int is_refused(int class) {
    enum verdict verdict = meet(class);
    if (verdict == HALFWAY) die();
    return verdict == REFUSE;
}

void faults_arm(const char *folder, int classes, int action, long at, int error, int log) {
    snprintf(plan.folder, sizeof plan.folder, "%s", folder);
    plan.classes = classes;
    plan.action = action;
    plan.at = at;
    plan.error = error;
    plan.log = log;
    atomic_store(&calls, 0);
    plan.folder_length = strlen(folder);
}

long faults_disarm(void) {
    plan.folder_length = 0;
    return atomic_load(&calls);
}

void faults_mark(const char *text) { note(MARK, text, "", 0, 0, "", 0); }

/* opening */

static int open_at(int folder, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    if (!path_at(folder, name, path)) return (int)syscall(SYS_openat, folder, name, flags, mode);
    struct stat status;
    int exists = !lstat(path, &status);
    int changes = ((flags & O_CREAT) && !exists) || ((flags & O_TRUNC) && exists);
    if (is_refused(changes ? CHANGES | OPENS : OPENS)) return -1;
    int descriptor = (int)syscall(SYS_openat, folder, name, flags, mode);
    if (descriptor >= 0 && changes) {
        note(exists ? TRUNCATE : CREATE, path, "", inode_of(descriptor), 0, "", 0);
    }
    return descriptor;
}

#define MODE(flags)                                        \
    mode_t mode = 0;                                       \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                 \
        va_list rest;                                      \
        va_start(rest, flags);                             \
        mode = (mode_t)va_arg(rest, int);                  \
        va_end(rest);                                      \
    }

int open(const char *name, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, name, flags, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE(flags) return open_at(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE(flags) return open_at(folder, name, flags, mode); }
int __open_2(const char *name, int flags) { return open_at(AT_FDCWD, name, flags, 0); }
int __open64_2(const char *name, int flags) { return open_at(AT_FDCWD, name, flags, 0); }
int __openat_2(int folder, const char *name, int flags) { return open_at(folder, name, flags, 0); }
int __openat64_2(int folder, const char *name, int flags) { return open_at(folder, name, flags, 0); }
int creat(const char *name, mode_t mode) { return open_at(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return creat(name, mode); }

DIR *opendir(const char *name) {
    char path[PATH_MAX];
    if (path_at(AT_FDCWD, name, path) && is_refused(OPENS)) return NULL;
    return ((DIR * (*)(const char *)) dlsym(RTLD_NEXT, "opendir"))(name);
}

/* reading */

ssize_t read(int descriptor, void *data, size_t length) {
    char path[PATH_MAX];
    if (plan.folder_length && path_of(descriptor, path) && is_refused(READS)) return -1;
    return syscall(SYS_read, descriptor, data, length);
}

ssize_t pread(int descriptor, void *data, size_t length, off_t offset) {
    char path[PATH_MAX];
    if (plan.folder_length && path_of(descriptor, path) && is_refused(READS)) return -1;
    return syscall(SYS_pread64, descriptor, data, length, offset);
}
ssize_t pread64(int descriptor, void *data, size_t length, off64_t offset) {
    return pread(descriptor, data, length, offset);
}
ssize_t __read_chk(int descriptor, void *data, size_t length, size_t room) {
    if (length > room) abort();
    return read(descriptor, data, length);
}
ssize_t __pread_chk(int descriptor, void *data, size_t length, off_t offset, size_t room) {
    if (length > room) abort();
    return pread(descriptor, data, length, offset);
}
ssize_t __pread64_chk(int descriptor, void *data, size_t length, off64_t offset, size_t room) {
    return __pread_chk(descriptor, data, length, offset, room);
}

void *mmap(void *where, size_t length, int protection, int flags, int descriptor, off_t offset) {
    char path[PATH_MAX];
    if (descriptor >= 0 && plan.folder_length && path_of(descriptor, path) && is_refused(READS)) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, where, length, protection, flags, descriptor, offset);
}
void *mmap64(void *where, size_t length, int protection, int flags, int descriptor, off64_t offset) {
    return mmap(where, length, protection, flags, descriptor, offset);
}

/* writing */

static ssize_t write_at(int descriptor, const void *data, size_t length, off_t offset, int is_positioned) {
    char path[PATH_MAX];
    enum verdict verdict = GO;
    int is_watched = plan.folder_length && path_of(descriptor, path);
    if (is_watched) verdict = meet(CHANGES);
    if (verdict == REFUSE) return -1;
    if (verdict == HALFWAY) length /= 2;
    off_t start = offset;
    if (is_watched && !is_positioned) {
        int is_appending = fcntl(descriptor, F_GETFL) & O_APPEND;
        start = lseek(descriptor, 0, is_appending ? SEEK_END : SEEK_CUR);
    }
    ssize_t done = is_positioned ? syscall(SYS_pwrite64, descriptor, data, length, offset)
                                 : syscall(SYS_write, descriptor, data, length);
    if (verdict == HALFWAY) die();
    if (is_watched && done > 0) note(WRITE, path, "", inode_of(descriptor), start, data, (size_t)done);
    return done;
}

ssize_t write(int descriptor, const void *data, size_t length) { return write_at(descriptor, data, length, 0, 0); }
ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset) {
    return write_at(descriptor, data, length, offset, 1);
}
ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset) {
    return write_at(descriptor, data, length, offset, 1);
}
ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    if (!plan.folder_length || !path_of(descriptor, path)) return syscall(SYS_writev, descriptor, parts, count);
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = write_at(descriptor, parts[i].iov_base, parts[i].iov_len, 0, 0);
        if (done < 0) return total ? total : done;
        total += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return total;
}

int ftruncate(int descriptor, off_t length) {
    char path[PATH_MAX];
    int is_watched = plan.folder_length && path_of(descriptor, path);
    if (is_watched && is_refused(CHANGES)) return -1;
    int result = (int)syscall(SYS_ftruncate, descriptor, length);
    if (is_watched && !result) note(TRUNCATE, path, "", inode_of(descriptor), length, "", 0);
    return result;
}
int ftruncate64(int descriptor, off64_t length) { return ftruncate(descriptor, length); }

static int sync_by(long call, int descriptor) {
    char path[PATH_MAX];
    int is_watched = plan.folder_length && path_of(descriptor, path);
    if (is_watched && is_refused(CHANGES)) return -1;
    int result = (int)syscall(call, descriptor);
    if (is_watched && !result) note(SYNC, path, "", inode_of(descriptor), 0, "", 0);
    return result;
}
int fsync(int descriptor) { return sync_by(SYS_fsync, descriptor); }
int fdatasync(int descriptor) { return sync_by(SYS_fdatasync, descriptor); }

/* space that is set aside is a change like any other, but no content */
int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    char path[PATH_MAX];
    if (plan.folder_length && path_of(descriptor, path) && is_refused(CHANGES)) return -1;
    return (int)syscall(SYS_fallocate, descriptor, mode, offset, length);
}

/* names */

int unlinkat(int folder, const char *name, int flags) {
    char path[PATH_MAX];
    int is_watched = path_at(folder, name, path);
    if (is_watched && is_refused(CHANGES)) return -1;
    int result = (int)syscall(SYS_unlinkat, folder, name, flags);
    if (is_watched && !result) note(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, "", 0, 0, "", 0);
    return result;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int remove(const char *name) {
    int result = unlink(name);
    return result && errno == EISDIR ? rmdir(name) : result;
}

int mkdirat(int folder, const char *name, mode_t mode) {
    char path[PATH_MAX];
    int is_watched = path_at(folder, name, path);
    if (is_watched && is_refused(CHANGES)) return -1;
    int result = (int)syscall(SYS_mkdirat, folder, name, mode);
    if (is_watched && !result) note(MKDIR, path, "", 0, 0, "", 0);
    return result;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

static int two_names(int kind, long call, int from, const char *old, int to, const char *new, int flags) {
    char path[PATH_MAX], other[PATH_MAX];
    int is_watched = path_at(from, old, path);
    is_watched |= path_at(to, new, other);
    if (is_watched && is_refused(CHANGES)) return -1;
    int result = (int)syscall(call, from, old, to, new, flags);
    if (is_watched && !result) note(kind, path, other, 0, 0, "", 0);
    return result;
}
int linkat(int from, const char *old, int to, const char *new, int flags) {
    return two_names(LINK, SYS_linkat, from, old, to, new, flags);
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    return two_names(RENAME, SYS_renameat2, from, old, to, new, (int)flags);
}
int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }
