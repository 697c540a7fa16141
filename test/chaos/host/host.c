// Makes the host of a program that preloads it a bad one. Its wall clock is wrong by CHAOS_CLOCK_SECONDS; the monotonic
// clock is right. Every write at a position of a file, as those of PostgreSQL's log and data are, takes as many
// microseconds longer as the first number in the file CHAOS_DISK says at that moment.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static long skew;
static volatile const uint32_t *disk;

__attribute__((constructor)) static void look(void) {
  const char *seconds = getenv("CHAOS_CLOCK_SECONDS"), *path = getenv("CHAOS_DISK");
  skew = seconds ? atol(seconds) : 0;
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0)
    return;
  void *page = mmap(NULL, sizeof *disk, PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED)
    disk = page;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += skew;
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec precise;
  (void)zone;
  int result = clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return result;
}

time_t time(time_t *now) {
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  if (now)
    *now = precise.tv_sec;
  return precise.tv_sec;
}

static void turn(void) {
  uint32_t delay = disk ? *disk : 0;
  if (delay == 0)
    return;
  struct timespec rest = {delay / 1000000, (long)(delay % 1000000) * 1000};
  syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &rest, NULL);
}

ssize_t pwrite64(int file, const void *from, size_t length, off64_t at) {
  turn();
  return syscall(SYS_pwrite64, file, from, length, at);
}

ssize_t pwrite(int file, const void *from, size_t length, off_t at) {
  return pwrite64(file, from, length, at);
}
