/* calls WORK PATH COUNT [BYTES [ATTRIBUTE VALUE]]
 *
 * Does one kind of work on any directory and prints how many seconds its measured part took. In C, because a system
 * call of half a microsecond cannot be measured from Python, whose own part is as long.
 *
 * Files of a directory are called 0, 1, 2 … Exits with 1 and the words of perror(3) when a call fails.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { KIB4 = 4 << 10, MIB = 1 << 20 };

static char buffer[MIB];
static volatile uint64_t sink; /* so that the compiler leaves nothing out */

static void require(int holds, const char *what)
{
	if (!holds) {
		perror(what);
		exit(1);
	}
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);
	require(fd >= 0, path);
	return fd;
}

static void put(int fd, size_t bytes)
{
	while (bytes) {
		size_t part = bytes < MIB ? bytes : MIB;
		require(write(fd, buffer, part) == (ssize_t)part, "write");
		bytes -= part;
	}
}

static off_t size_of(int fd)
{
	struct stat status;
	require(fstat(fd, &status) == 0, "fstat");
	return status.st_size;
}

/* read PATH: in calls of 1 MiB, from the beginning to the end; as often as COUNT says */
static void read_all(const char *path, long count)
{
	while (count--) {
		int fd = open_file(path, O_RDONLY);
		ssize_t got;
		while ((got = read(fd, buffer, MIB)) > 0)
			;
		require(got == 0, "read");
		close(fd);
	}
}

/* random PATH: COUNT reads of BYTES each, in an order that looks like chance, is always the same, and comes to no place
 * twice, if the size of the file is a power of two */
static void read_random(const char *path, long count, size_t bytes)
{
	int fd = open_file(path, O_RDONLY);
	uint64_t place = 0, places = size_of(fd) / bytes;
	while (count--) {
		place = (place * 1664525 + 1013904223) % places;
		require(pread(fd, buffer, bytes, place * bytes) == (ssize_t)bytes, "pread");
	}
	close(fd);
}

/* mmap PATH: all of its words */
static void read_mapped(const char *path)
{
	int fd = open_file(path, O_RDONLY);
	size_t bytes = size_of(fd);
	uint64_t *words = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0), sum = 0;
	require(words != MAP_FAILED, "mmap");
	for (size_t at = 0; at < bytes / sizeof *words; at++)
		sum += words[at];
	sink = sum;
	munmap(words, bytes);
	close(fd);
}

/* write PATH: a new file of COUNT MiB, in calls of 1 MiB */
static void write_new(const char *path, long count)
{
	int fd = open_file(path, O_WRONLY | O_CREAT | O_EXCL);
	while (count--)
		put(fd, MIB);
	require(close(fd) == 0, "close");
}

static const char *numbered(long number)
{
	static char name[24];
	snprintf(name, sizeof name, "%ld", number);
	return name;
}

/* create PATH: COUNT new files of BYTES, no two the same, in the directory PATH. None has a name that waits for another,
 * as 4913, by which vim tries whether it may write, does */
static void create(long count, size_t bytes)
{
	for (long number = 0; number < count; number++) {
		snprintf(buffer, sizeof buffer, "%d %ld", getpid(), number);
		char name[32];
		snprintf(name, sizeof name, "new-%ld", number);
		int fd = open_file(name, O_WRONLY | O_CREAT | O_EXCL);
		put(fd, bytes);
		require(close(fd) == 0, "close");
	}
}

/* open PATH: open and close each of the COUNT files; with BYTES, read as much of it */
static void open_each(long count, size_t bytes)
{
	for (long number = 0; number < count; number++) {
		int fd = open_file(numbered(number), O_RDONLY);
		if (bytes)
			require(read(fd, buffer, bytes) == (ssize_t)bytes, "read");
		close(fd);
	}
}

static int by_size(const void *left, const void *right)
{
	double difference = *(const double *)left - *(const double *)right;
	return (difference > 0) - (difference < 0);
}

/* latency PATH: COUNT samples, some 4,000 a second; returns the 99th percentile of the seconds that one took: of stat(2),
 * or with BYTES of a read at a place where none was before */
static double latency(const char *path, long count, size_t bytes)
{
	double *samples = malloc(count * sizeof *samples);
	int fd = open_file(path, O_RDONLY);
	struct stat status;
	require(samples != NULL, "malloc");
	for (long number = 0; number < count; number++) {
		usleep(200);
		double begin = now();
		if (bytes)
			require(pread(fd, buffer, bytes, number * MIB) == (ssize_t)bytes, "pread");
		else
			require(stat(path, &status) == 0, path);
		samples[number] = now() - begin;
	}
	qsort(samples, count, sizeof *samples, by_size);
	return samples[count * 99 / 100];
}

/* stat PATH: each of the COUNT files */
static void stat_each(long count)
{
	struct stat status;
	for (long number = 0; number < count; number++)
		require(stat(numbered(number), &status) == 0, "stat");
}

/* walk PATH: list all directories below it and stat each entry, as ls -lR does */
static long walk(int fd)
{
	DIR *directory = fdopendir(fd);
	struct dirent *entry;
	long entries = 0;
	require(directory != NULL, "opendir");
	while ((entry = readdir(directory))) {
		struct stat status;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		require(fstatat(fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0, entry->d_name);
		entries++;
		if (S_ISDIR(status.st_mode)) {
			int below = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			require(below >= 0, entry->d_name);
			entries += walk(below);
		}
	}
	closedir(directory);
	return entries;
}

/* fill PATH: COUNT files of BYTES in the directory PATH, as `create`, each with the attribute and its sticky bit, as
 * an original has them in the backing tree; what there is already stays */
static void fill(long count, size_t bytes, const char *attribute, const char *value)
{
	for (long number = 0; number < count; number++) {
		int fd = open_file(numbered(number), O_WRONLY | O_CREAT);
		put(fd, bytes);
		require(fsetxattr(fd, attribute, value, strlen(value), 0) == 0, "fsetxattr");
		require(fchmod(fd, 01444) == 0, "fchmod");
		close(fd);
	}
}

static int works_in_directory(const char *work)
{
	return strcmp(work, "read") && strcmp(work, "random") && strcmp(work, "mmap") && strcmp(work, "write");
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	const char *work = argv[1], *path = argv[2];
	long count = atol(argv[3]);
	size_t bytes = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;

	memset(buffer, 'x', sizeof buffer);
	if (!strcmp(work, "latency")) {
		printf("%.9f\n", latency(path, count, bytes));
		return 0;
	}
	if (works_in_directory(work))
		require(chdir(path) == 0, path);
	double begin = now();
	if (!strcmp(work, "read"))
		read_all(path, count);
	else if (!strcmp(work, "random"))
		read_random(path, count, bytes);
	else if (!strcmp(work, "mmap"))
		read_mapped(path);
	else if (!strcmp(work, "write"))
		write_new(path, count);
	else if (!strcmp(work, "create"))
		create(count, bytes);
	else if (!strcmp(work, "open"))
		open_each(count, bytes);
	else if (!strcmp(work, "stat"))
		stat_each(count);
	else if (!strcmp(work, "walk"))
		require(walk(open_file(".", O_RDONLY | O_DIRECTORY)) == count, "as many entries as there should be");
	else if (!strcmp(work, "fill") && argc > 6)
		fill(count, bytes, argv[5], argv[6]);
	else
		return 2;
	printf("%.9f\n", now() - begin);
	return 0;
}
