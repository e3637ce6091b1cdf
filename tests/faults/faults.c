/*
 * Faults for the files of a store, by LD_PRELOAD: writes and syncs of files below a directory "store" fail or take their
 * time while the file named by IOR_FAULTS says so, one line for each kind of call:
 *
 *     write ENOSPC        no write succeeds, nor anything that makes a file longer
 *     sync EIO            no sync succeeds
 *     sync 200            every sync takes 200 ms longer
 *
 * The file named by IOR_FAULTS_COUNT holds how many writes, written bytes and syncs there were: three numbers.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_ullong writes, bytes, syncs;

/* System calls of its own, since the functions of this name are those below. */
static ssize_t raw_pwrite(int fd, const void *from, size_t length, off_t at) {
    return syscall(SYS_pwrite64, fd, from, length, at);
}

static int is_of_the_store(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return strstr(path, "/store/") != NULL;
}

static void tell(void) {
    const char *name = getenv("IOR_FAULTS_COUNT");
    char text[80];
    if (name == NULL)
        return;
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    int length = snprintf(text, sizeof text, "%20llu %20llu %20llu\n", writes, bytes, syncs);
    raw_pwrite(fd, text, length, 0);
    close(fd);
}

static void pause_for(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* 0, or the error that this call ends with. */
static int fault(const char *call) {
    const char *name = getenv("IOR_FAULTS");
    char text[256], which[16], what[16];
    if (name == NULL)
        return 0;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return 0;
    text[length] = 0;
    int found = 0;
    for (char *next, *line = strtok_r(text, "\n", &next); line != NULL; line = strtok_r(NULL, "\n", &next)) {
        if (sscanf(line, "%15s %15s", which, what) != 2 || strcmp(which, call) != 0)
            continue;
        if (strcmp(what, "ENOSPC") == 0)
            found = ENOSPC;
        else if (strcmp(what, "EIO") == 0)
            found = EIO;
        else
            pause_for(atol(what));
    }
    return found;
}

/* Whether the call shall not happen; errno says why. */
static int fails(int fd, const char *call, size_t length) {
    if (!is_of_the_store(fd))
        return 0;
    if (strcmp(call, "sync") == 0)
        syncs++;
    else {
        writes++;
        bytes += length;
    }
    tell();
    int error = fault(call);
    if (error != 0)
        errno = error;
    return error != 0;
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *from, size_t length) {
    return fails(fd, "write", length) ? -1 : syscall(SYS_write, fd, from, length);
}

ssize_t pwrite(int fd, const void *from, size_t length, off_t at) {
    return fails(fd, "write", length) ? -1 : raw_pwrite(fd, from, length, at);
}

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
    return fails(fd, "write", length) ? -1 : raw_pwrite(fd, from, length, at);
}

ssize_t writev(int fd, const struct iovec *from, int count) {
    return fails(fd, "write", 0) ? -1 : syscall(SYS_writev, fd, from, count);
}

int ftruncate(int fd, off_t length) {
    return fails(fd, "write", 0) ? -1 : REAL(int, ftruncate, int, off_t)(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    return fails(fd, "write", 0) ? -1 : REAL(int, ftruncate64, int, off64_t)(fd, length);
}

int fallocate(int fd, int mode, off_t from, off_t length) {
    return fails(fd, "write", 0) ? -1 : REAL(int, fallocate, int, int, off_t, off_t)(fd, mode, from, length);
}

/* Gives its error instead of setting errno. */
int posix_fallocate(int fd, off_t from, off_t length) {
    return fails(fd, "write", 0) ? errno : REAL(int, posix_fallocate, int, off_t, off_t)(fd, from, length);
}

int fsync(int fd) {
    return fails(fd, "sync", 0) ? -1 : syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    return fails(fd, "sync", 0) ? -1 : syscall(SYS_fdatasync, fd);
}
