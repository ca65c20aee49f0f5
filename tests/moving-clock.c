/* SPDX-License-Identifier: LGPL-2.1-only */
/* Preloaded into a process, it gives it a clock that a test moves: the file
   $MOVING_CLOCK holds by how many seconds it is ahead (int64_t). Time passes as
   it would, only faster, and only while the process waits in epoll_wait(): from
   the end of one wait to the next, so that every timer has its turn at its time,
   and all of it before any other event. The monotonic clock isn't touched. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MSECS 1000
#define NSECS 1000000000
#define SLICE_MSECS 20

static int64_t ahead; /* milliseconds */
static const volatile int64_t *wanted; /* seconds */

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_epoll_wait)(int, struct epoll_event *, int, int);

__attribute__((constructor)) static void clock_init(void)
{
	static const int64_t none = 0;
	const char *path = getenv("MOVING_CLOCK");
	int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	real_clock_gettime = (int (*)(clockid_t, struct timespec *))
		dlsym(RTLD_NEXT, "clock_gettime");
	real_epoll_wait = (int (*)(int, struct epoll_event *, int, int))
		dlsym(RTLD_NEXT, "epoll_wait");
	wanted = &none;
	if (fd != -1) {
		wanted = mmap(NULL, sizeof(*wanted), PROT_READ, MAP_SHARED,
			      fd, 0);
		if (wanted == MAP_FAILED)
			abort();
		close(fd);
	}
	ahead = *wanted * MSECS;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int ret = real_clock_gettime(id, ts);

	if (ret == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
		ts->tv_sec += ahead / MSECS;
		ts->tv_nsec += ahead % MSECS * (NSECS / MSECS);
		if (ts->tv_nsec >= NSECS) {
			ts->tv_nsec -= NSECS;
			ts->tv_sec++;
		}
	}
	return ret;
}

int gettimeofday(struct timeval *tv, void *zone)
{
	struct timespec ts;

	(void)zone;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *t)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (t != NULL)
		*t = ts.tv_sec;
	return ts.tv_sec;
}

static int64_t now_msecs(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * MSECS + ts.tv_nsec / (NSECS / MSECS);
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	const int64_t end = timeout < 0 ? INT64_MAX : now_msecs() + timeout;
	int64_t behind, left;
	int ret;

	for (;;) {
		behind = *wanted * MSECS - ahead;
		left = end - now_msecs();
		if (behind > 0 && left <= behind) {
			ahead += left > 0 ? left : 0;
			return 0;
		}
		if (behind > 0) {
			ahead += behind;
			left -= behind;
		}
		ret = real_epoll_wait(fd, events, max, left <= 0 ? 0 :
				      left < SLICE_MSECS ? (int)left :
				      SLICE_MSECS);
		if (ret != 0 && *wanted * MSECS <= ahead)
			return ret;
		if (ret < 0)
			return ret;
		if (ret == 0 && left <= SLICE_MSECS && now_msecs() >= end)
			return 0;
	}
}
